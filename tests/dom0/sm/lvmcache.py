# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lvmcache (sm-api, section 6.3)."""

import os

import generation
import lvhdutil
import lvutil
import util
from lock import Lock
from refcounter import RefCounter

ROOT = os.environ.get("DOM0_ROOT", "")


class LVInfo(object):
    """What is cached of an LV."""

    def __init__(self, name):
        self.name = name
        self.size = 0
        self.active = False
        self.open = 0
        self.readonly = False
        self.tags = []


def lazyInit(op):
    """Fills the cache before the first call; takes positional arguments only, as sm's does."""

    def wrapper(self, *args):
        if not self.initialized:
            self.refresh()
        return op(self, *args)
    return wrapper


class LVMCache(object):
    """LVs of one VG, as of the last refresh."""

    def __init__(self, vgName):
        self.vgName = vgName
        self.vgPath = ROOT + "/dev/" + vgName
        self.lvs = {}
        self.tags = {}
        self.initialized = False
        util.SMlog("LVMCache created for %s" % vgName)

    def refresh(self):
        util.SMlog("LVMCache: refreshing")
        text = lvutil._run([lvutil._command("lvs"), "--noheadings", "--units", "b", "-o", "+lv_tags", self.vgPath])
        self.lvs.clear()
        self.tags.clear()
        for line in text.split("\n"):
            fields = line.split()
            if not fields:
                continue
            info = LVInfo(fields[0])
            info.size = int(fields[3].replace("B", ""))
            info.active = fields[2][4] == "a"
            info.open = int(fields[2][5] == "o")
            info.readonly = fields[2][1] == "r"
            self.lvs[info.name] = info
            if len(fields) >= 5:
                for tag in fields[4].split(","):
                    self._addTag(info.name, tag)
        self.initialized = True

    @lazyInit
    def create(self, lvName, size, tag=None, *activate):
        lvutil.create(lvName, size, self.vgName, tag)
        info = LVInfo(lvName)
        info.size = size
        info.active = True
        self.lvs[lvName] = info
        if tag:
            self._addTag(lvName, tag)

    @lazyInit
    def remove(self, lvName):
        lvutil.remove(self._getPath(lvName))
        for tag in self.lvs[lvName].tags:
            self._removeTag(lvName, tag)
        del self.lvs[lvName]

    @lazyInit
    def rename(self, lvName, newName):
        lvutil.rename(self._getPath(lvName), newName)
        info = self.lvs.pop(lvName)
        info.name = newName
        self.lvs[newName] = info

    @lazyInit
    def setSize(self, lvName, newSize):
        lvutil.setSize(self._getPath(lvName), newSize, newSize < self.lvs[lvName].size)
        self.lvs[lvName].size = newSize

    @lazyInit
    def activate(self, ns, ref, lvName, binary):
        lock = Lock(ref, ns)
        lock.acquire()
        try:
            if RefCounter.get(ref, binary, ns) == 1:
                try:
                    self.activateNoRefcount(lvName, generation.REFRESH_ON_ACTIVATE)
                except util.CommandException:
                    RefCounter.put(ref, binary, ns)
                    raise
        finally:
            lock.release()

    @lazyInit
    def deactivate(self, ns, ref, lvName, binary):
        lock = Lock(ref, ns)
        lock.acquire()
        try:
            if RefCounter.put(ref, binary, ns) > 0:
                return
            self.refresh()
            if lvName not in self.lvs:
                raise util.SMException("LV info not found for %s" % ref)
            if self.lvs[lvName].open:
                util.SMlog("WARNING: deactivate: LV %s open" % lvName)
                return
            try:
                self.deactivateNoRefcount(lvName)
            except util.CommandException:
                self.refresh()
                if self.lvs.get(lvName) and self.lvs[lvName].active:
                    RefCounter.get(ref, binary, ns)
                    raise
        finally:
            lock.release()

    @lazyInit
    def activateNoRefcount(self, lvName, refresh=False):
        lvutil.activateNoRefcount(self._getPath(lvName), refresh)
        self.lvs[lvName].active = True

    @lazyInit
    def deactivateNoRefcount(self, lvName):
        path = self._getPath(lvName)
        if lvName in self.lvs:
            lvutil.deactivateNoRefcount(path)
            self.lvs[lvName].active = False
        else:
            lvutil._lvmBugCleanup(path)

    @lazyInit
    def setHidden(self, lvName, hidden=True):
        lvutil.setHidden(self._getPath(lvName), hidden)
        if hidden:
            self._addTag(lvName, lvutil.LV_TAG_HIDDEN)
        else:
            self._removeTag(lvName, lvutil.LV_TAG_HIDDEN)

    @lazyInit
    def setReadonly(self, lvName, readonly):
        path = self._getPath(lvName)
        if generation.ALWAYS_SETS_PERMISSION:
            lvutil.setReadonly(path, readonly)
        elif self.lvs[lvName].readonly != readonly:
            if generation.LOCKS_PERMISSION:
                lock = Lock("lvchange-p", lvhdutil.NS_PREFIX_LVM + util.findall_uuid(path)[0])
                lock.acquire()
                lvutil.setReadonly(path, readonly)
                lock.release()
            else:
                lvutil.setReadonly(path, readonly)
        self.lvs[lvName].readonly = readonly

    @lazyInit
    def changeOpen(self, lvName, inc):
        self.lvs[lvName].open += inc

    @lazyInit
    def checkLV(self, lvName):
        return self.lvs.get(lvName)

    @lazyInit
    def getLVInfo(self, lvName=None):
        found = {}
        for name in self.lvs if lvName is None else [n for n in [lvName] if n in self.lvs]:
            info = lvutil.LVInfo(name)
            cached = self.lvs[name]
            info.size, info.active, info.readonly = cached.size, cached.active, cached.readonly
            info.open = cached.open > 0
            info.hidden = lvutil.LV_TAG_HIDDEN in cached.tags
            found[name] = info
        return found

    @lazyInit
    def getSize(self, lvName):
        return self.lvs[lvName].size

    @lazyInit
    def getHidden(self, lvName):
        return lvutil.LV_TAG_HIDDEN in self.lvs[lvName].tags

    @lazyInit
    def getTagged(self, tag):
        return self.tags.get(tag) or []

    @lazyInit
    def is_active(self, lvname):
        return self.lvs[lvname].active

    def _getPath(self, lvName):
        return os.path.join(self.vgPath, lvName)

    def _addTag(self, lvName, tag):
        self.lvs[lvName].tags.append(tag)
        self.tags.setdefault(tag, []).append(lvName)

    def _removeTag(self, lvName, tag):
        self.lvs[lvName].tags.remove(tag)
        self.tags[tag].remove(lvName)
