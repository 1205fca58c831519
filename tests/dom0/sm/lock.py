# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lock: fcntl locks on files below /var/lock/sm (sm-api, sections 4.1 and 6.5)."""

import errno
import fcntl
import os
import shutil
import sys

import generation
import util

BASE_DIR = os.environ.get("DOM0_ROOT", "") + "/var/lock/sm"


class LockException(util.SMException):
    """The lock's file cannot be made."""


class LockImplementation(object):
    """A lock of this process on one file; its file is open as long as the object lives."""

    def __init__(self, name, ns=None):
        self.name = name
        self.ns = ns or ".nil"
        self.lockpath = os.path.join(BASE_DIR, self.ns, name)
        self.count = 0
        self._held = False
        util.makedirs(os.path.dirname(self.lockpath))
        self.lockfile = open(self.lockpath, "w+")

    def __del__(self):
        if getattr(self, "lockfile", None) is not None:
            self.lockfile.close()       # drops this process's lock on the file, whoever took it

    def held(self):
        return self._held

    def acquire(self):
        if not generation.LOCK_SINGLETON and self._held:
            raise AssertionError("lock %s acquired twice" % self.lockpath)
        if not self._held:
            fcntl.lockf(self.lockfile, fcntl.LOCK_EX)
            self._held = True
            util.SMlog("lock: acquired %s" % self.lockpath)
        self.count += 1

    def acquireNoblock(self):
        if not generation.LOCK_SINGLETON and self._held:
            raise AssertionError("lock %s acquired twice" % self.lockpath)
        if not self._held:
            try:
                fcntl.lockf(self.lockfile, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (IOError, OSError):
                if sys.exc_info()[1].errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                return False
            self._held = True
        self.count += 1
        return True

    def release(self):
        if self.count >= 1:
            self.count -= 1
        if self.count > 0 and generation.LOCK_SINGLETON:
            return
        self.count = 0
        fcntl.lockf(self.lockfile, fcntl.LOCK_UN)
        self._held = False
        util.SMlog("lock: released %s" % self.lockpath)

    def cleanup(self, name, ns=None):
        Lock.cleanup(name, ns)

    def cleanupAll(self, ns=None):
        Lock.cleanupAll(ns)


def _cleanup(name, ns=None):
    util.force_unlink(os.path.join(BASE_DIR, ns or ".nil", name))
    if generation.LOCK_SINGLETON:
        Lock.INSTANCES.pop((ns, name), None)


def _cleanupAll(ns=None):
    shutil.rmtree(os.path.join(BASE_DIR, ns or ".nil"), ignore_errors=True)


if generation.LOCK_SINGLETON:
    class Lock(object):
        """Lock(name, ns) gives the one lock object of that name in this process."""

        INSTANCES = {}
        BASE_DIR = BASE_DIR

        def __new__(cls, name, ns=None, *args, **kwargs):
            if (ns, name) not in cls.INSTANCES:
                cls.INSTANCES[(ns, name)] = LockImplementation(name, ns)
            return cls.INSTANCES[(ns, name)]

        cleanup = staticmethod(_cleanup)
        cleanupAll = staticmethod(_cleanupAll)
else:
    class Lock(LockImplementation):
        """A lock object of its own on each call."""

        BASE_DIR = BASE_DIR
        cleanup = staticmethod(_cleanup)
        cleanupAll = staticmethod(_cleanupAll)
