# SPDX-License-Identifier: LGPL-2.1-only
"""Keeps LVM's hands off every original whose copy comes up while this host looks at a target.

A login shows all LUNs of the target. For each that carries the VG name of another LUN of this host, LVM's lock on that name is taken as
soon as the two are there, and kept until the one that came up is gone again. The locks are only tried for, never waited for: whoever has
one has it for an LVM command or a resign, neither of which this may hold up while it holds another.
"""

import sys
import threading
import time

from relvm.host import devices
from relvm.host import locks
from relvm.host import neighbours

# A disk that has only just appeared may not answer yet
LOOKS = 100


class TwinGuard(threading.Thread):
    """before: [neighbours.Look] of the LUNs that were there before. Starts no process and writes no log, as guard.OriginalGuard.

    names    {SCSI id: VG name or ''} of what was there and of what came up; held: {VG name: FileLock}; error: what ended it, or None
    """

    def __init__(self, before):
        threading.Thread.__init__(self)
        self.names = dict([(look.scsi_id, look.vg_name) for look in before])
        self.held = {}
        self.error = None
        self._came_up = {}
        self._stop_asked = False

    def run(self):
        try:
            while not self._stop_asked:
                self._look()
                self._take()
                time.sleep(locks.LOOK)
        except Exception:
            self.error = sys.exc_info()[1]

    def _look(self):
        for scsi_id in devices.scsi_ids():
            if scsi_id not in self.names:
                self.names[scsi_id] = ''
                self._came_up[scsi_id] = 0
            if not self.names[scsi_id] and self._came_up.get(scsi_id, LOOKS) < LOOKS:
                self._came_up[scsi_id] += 1
                self.names[scsi_id] = neighbours.Look(scsi_id, devices.scsi_disks(scsi_id)).vg_name

    def _take(self):
        for scsi_id in self._came_up:
            name = self.names[scsi_id]
            twins = [other for other in self.names if self.names[other] == name]
            if name and len(twins) > 1 and name not in self.held:
                lock = locks.vg_lock(name)
                if lock.try_acquire():
                    self.held[name] = lock

    def release(self):
        """The thread has ended and nothing is held when this returns."""
        self._stop_asked = True
        self.join()
        for lock in self.held.values():
            lock.release()
        self.held = {}
