# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lvmanager (sm-api, section 6.4)."""

import lvhdutil
import util


class LVManagerException(util.SMException):
    """An activation that must not be."""


class LVActivator(object):
    """Remembers which LVs an operation activated, by the names they had then."""

    NORMAL = False
    BINARY = True
    TEMPORARY = False
    PERSISTENT = True

    def __init__(self, srUuid, lvmCache):
        self.ns = lvhdutil.NS_PREFIX_LVM + srUuid
        self.lvmCache = lvmCache
        self.lvActivations = {}
        for persistent in (self.TEMPORARY, self.PERSISTENT):
            self.lvActivations[persistent] = {self.NORMAL: {}, self.BINARY: {}}

    def activate(self, uuid, lvName, binary, persistent=False):
        if uuid in self.lvActivations[persistent][binary]:
            if persistent:
                raise LVManagerException("Double persistent activation: %s" % uuid)
            return
        self.lvActivations[persistent][binary][uuid] = lvName
        self.lvmCache.activate(self.ns, uuid, lvName, binary)

    def activateEnforce(self, uuid, lvName, lvPath):
        self.activate(uuid, lvName, self.NORMAL)

    def deactivate(self, uuid, binary, persistent=False):
        lvName = self.lvActivations[persistent][binary][uuid]
        self.lvmCache.deactivate(self.ns, uuid, lvName, binary)
        del self.lvActivations[persistent][binary][uuid]

    def deactivateAll(self):
        success = True
        for persistent in (self.TEMPORARY, self.PERSISTENT):
            for binary in (self.NORMAL, self.BINARY):
                for uuid in list(self.lvActivations[persistent][binary]):
                    try:
                        self.deactivate(uuid, binary, persistent)
                    except Exception:
                        success = False
                        util.logException("_deactivateAll")
        return success

    def persist(self):
        for binary in (self.NORMAL, self.BINARY):
            self.lvActivations[self.PERSISTENT][binary].clear()

    def replace(self, oldUuid, uuid, lvName, binary):
        del self.lvActivations[self.TEMPORARY][binary][oldUuid]
        self.lvActivations[self.TEMPORARY][binary][uuid] = lvName

    def add(self, uuid, lvName, binary):
        self.lvActivations[self.TEMPORARY][binary][uuid] = lvName

    def remove(self, uuid, binary):
        del self.lvActivations[self.TEMPORARY][binary][uuid]

    def get(self, uuid, binary):
        return self.lvActivations[self.TEMPORARY][binary].get(uuid)
