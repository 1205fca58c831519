# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's refcounter: two counts, normal and binary, in a file per object (sm-api, section 6.5)."""

import os
import shutil

import generation
import util
from lock import Lock

LOCK_NAME = "refcounter"


class RefCounterException(util.SMException):
    """A count that cannot be."""


class RefCounter(object):
    """All methods are static; the file holds "<count> <binary count>"."""

    BASE_DIR = os.environ.get("DOM0_ROOT", "") + generation.RUN_DIRECTORY + "/sm/refcount"

    @staticmethod
    def _path(obj, ns):
        return os.path.join(RefCounter.BASE_DIR, ns or ".nil", obj)

    @staticmethod
    def _read(obj, ns):
        try:
            with open(RefCounter._path(obj, ns)) as f:
                count, binary = f.read().split()
            return int(count), int(binary)
        except IOError:
            return 0, 0

    @staticmethod
    def set(obj, count, binaryCount, ns=None):
        path = RefCounter._path(obj, ns)
        if not count and not binaryCount:
            util.force_unlink(path)
            try:
                os.rmdir(os.path.dirname(path))
            except OSError:
                pass
            return
        util.makedirs(os.path.dirname(path))
        with open(path, "w") as f:
            f.write("%d %d\n" % (count, binaryCount))

    @staticmethod
    def get(obj, binary, ns=None):
        """One more user; how many there are now."""
        return RefCounter._adjust(obj, binary, ns, 1)

    @staticmethod
    def put(obj, binary, ns=None):
        """One user less; how many are left."""
        return RefCounter._adjust(obj, binary, ns, -1)

    @staticmethod
    def _adjust(obj, binary, ns, delta):
        lock = Lock(LOCK_NAME, ns)
        lock.acquire()
        try:
            count, binaries = RefCounter._read(obj, ns)
            if binary:
                binaries = 1 if delta > 0 else 0
            else:
                count = max(count + delta, 0)
            RefCounter.set(obj, count, binaries, ns)
            return count + binaries
        finally:
            lock.release()

    @staticmethod
    def check(obj, ns=None):
        return RefCounter._read(obj, ns)

    checkLocked = check

    @staticmethod
    def reset(obj, ns=None):
        RefCounter.set(obj, 0, 0, ns)

    @staticmethod
    def resetAll(ns=None):
        shutil.rmtree(os.path.join(RefCounter.BASE_DIR, ns or ".nil"), ignore_errors=True)
