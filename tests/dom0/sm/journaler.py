# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's journaler: entries as LVs called <type>_<id>_<value> (sm-api, section 4.5)."""

import util

LVM_MAX_NAME_LEN = 127


class JournalerException(util.SMException):
    """An entry that cannot be made or read."""


class Journaler(object):
    """Entries in the VG of an LVMCache."""

    LV_SIZE = 4 * 1024 * 1024
    LV_TAG = "journaler"
    SEPARATOR = "_"
    JRN_CLONE = "clone"
    JRN_LEAF = "leaf"

    def __init__(self, lvmCache):
        self.vgName = lvmCache.vgName
        self.lvmCache = lvmCache

    def create(self, type, id, val):
        if self.get(type, id):
            raise JournalerException("Journal already exists for '%s:%s'" % (type, id))
        name = self._name(type, id, val)
        self.lvmCache.create(name, self.LV_SIZE, self.LV_TAG)
        if name.endswith("_1") and val != "1":
            with open(self.lvmCache._getPath(name), "r+b") as f:
                f.write(("%d %s" % (len(val), val)).encode("utf-8").ljust(512))
        self.lvmCache.deactivateNoRefcount(name)

    def remove(self, type, id):
        val = self.get(type, id)
        if not val:
            raise JournalerException("No journal for '%s:%s'" % (type, id))
        self.lvmCache.remove(self._name(type, id, val))

    def get(self, type, id):
        return self._getAllEntries().get(type, {}).get(id)

    def getAll(self, type):
        return self._getAllEntries().get(type, {})

    def hasJournals(self, id):
        return any(id in entries for entries in self._getAllEntries(False).values())

    def _name(self, type, id, val):
        """The LV's name; with 1 for the value where the mapper name would be too long."""
        name = self.SEPARATOR.join((type, id, val))
        if len(self.vgName.replace("-", "--")) + 1 + len(name) > LVM_MAX_NAME_LEN:
            name = self.SEPARATOR.join((type, id, "1"))
        return name

    def _getAllEntries(self, readFile=True):
        entries = {}
        for name in self.lvmCache.getTagged(self.LV_TAG):
            parts = name.split(self.SEPARATOR, 2)
            if len(parts) != 3:
                raise JournalerException("Bad LV name: %s" % name)
            type, id, val = parts
            if readFile and type in (self.JRN_CLONE, self.JRN_LEAF):
                val = self._stored(name)
            entries.setdefault(type, {})[id] = val
        return entries

    def _stored(self, name):
        self.lvmCache.activateNoRefcount(name, False)
        try:
            with open(self.lvmCache._getPath(name), "rb") as f:
                length, val = f.read(512).decode("utf-8").split(" ", 1)
            return val[:int(length)]
        except (IOError, ValueError):
            raise JournalerException("Failed to read from journal %s" % name)
        finally:
            self.lvmCache.deactivateNoRefcount(name)
