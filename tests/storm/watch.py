# SPDX-License-Identifier: LGPL-2.1-only
"""Looks at a storm from outside: how long each clone shows its old identity, and how long LVM waits for the original."""
from __future__ import absolute_import, division, print_function

import fcntl
import os
import threading
import time

# Where a label in sector 1 has its PV uuid (LVM2 on disk: label header of 32 bytes, then the PV header)
PV_UUID = 512 + 32
LENGTH = 32
LOOK = 0.005


class Watcher(threading.Thread):
    """A thread that looks until finish() is called."""

    def __init__(self):
        threading.Thread.__init__(self)
        self.daemon = True
        self._finished = threading.Event()

    def run(self):
        while not self._finished.wait(LOOK):
            self.look()

    def finish(self):
        self._finished.set()
        self.join()


class Visible(Watcher):
    """seconds: {SCSI id: for how long its device was there with the old identity}, of those that had both a beginning and an end."""

    def __init__(self, images, device):
        """images: {SCSI id: path of what the array has}; device: function from a SCSI id to the path at which the host has it."""
        Watcher.__init__(self)
        self._device = device
        self._files = dict((scsi_id, open(path, "rb")) for scsi_id, path in images.items())
        self._old = dict((scsi_id, self._label(scsi_id)) for scsi_id in images)
        self._since = {}
        self.seconds = {}

    def _label(self, scsi_id):
        return os.pread(self._files[scsi_id].fileno(), LENGTH, PV_UUID)

    def look(self):
        now = time.time()
        for scsi_id in self._old:
            if scsi_id in self.seconds:
                continue
            if scsi_id not in self._since:
                if os.path.exists(self._device(scsi_id)):
                    self._since[scsi_id] = now
            elif self._label(scsi_id) != self._old[scsi_id]:
                self.seconds[scsi_id] = now - self._since[scsi_id]

    def finish(self):
        Watcher.finish(self)
        for stream in self._files.values():
            stream.close()


class Waiting(Watcher):
    """waits: seconds that an LVM command would have waited for the lock on a VG name, taken as LVM takes it, again and again."""

    def __init__(self, path):
        Watcher.__init__(self)
        self._path = path
        self.waits = []

    def look(self):
        begin = time.time()
        fd = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o777)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            self.waits.append(time.time() - begin)
        finally:
            os.close(fd)


class Commands(Watcher):
    """Runs an LVM command on the original again and again. failed: [(status, stderr)]; longest: seconds; count."""

    def __init__(self, command):
        """command: a function that runs it: (status, stderr)."""
        Watcher.__init__(self)
        self._command = command
        self.failed = []
        self.longest = 0
        self.count = 0

    def look(self):
        begin = time.time()
        status, error = self._command()
        self.longest = max(self.longest, time.time() - begin)
        self.count += 1
        if status:
            self.failed.append((status, error))
