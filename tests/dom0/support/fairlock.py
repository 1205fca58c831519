# SPDX-License-Identifier: LGPL-2.1-only
"""Stand-in for the fairlock module of XenServer 8 and later: without its systemd service, a flock; refuses to be nested."""

import fcntl
import os

DIRECTORY = os.environ.get("DOM0_ROOT", "") + "/var/run/fairlock"


class FairlockException(Exception):
    """Base of this module's errors."""


class FairlockDeadlock(FairlockException):
    """The process holds this lock already."""


class FairlockServiceTimeout(FairlockException):
    """Never raised here."""


class Fairlock(object):
    """with Fairlock(name): one object for each name in a process."""

    _instances = {}

    def __new__(cls, name):
        if name not in cls._instances:
            instance = object.__new__(cls)
            instance.name = name
            instance.connected = False
            instance._file = None
            cls._instances[name] = instance
        return cls._instances[name]

    def __enter__(self):
        if self.connected:
            raise FairlockDeadlock("Deadlock on Fairlock resource '%s'" % self.name)
        if not os.path.isdir(DIRECTORY):
            os.makedirs(DIRECTORY)
        self._file = open(os.path.join(DIRECTORY, self.name), "w")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self.connected = True
        return self

    def __exit__(self, kind, value, trace):
        self._file.close()
        self.connected = False
        return False
