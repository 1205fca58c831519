# SPDX-License-Identifier: LGPL-2.1-only
"""Keeps LVM's hands off the original while its clone is visible under the same identity."""

import re
import threading
import time

from relvm import errors
from relvm.engine import blockdev
from relvm.formats import lvmlabel
from relvm.host import devices
from relvm.host import locks

_VG_NAME = re.compile(r'(?:^|\n)[ \t]*([A-Za-z0-9_.+-]+)[ \t]*\{')


class OriginalGuard(threading.Thread):
    """Keeps LVM's hands off the original while its clone is visible under the same identity.

    On older LVMs `lvchange -ay` of an inactive LV of the original maps the clone once that is visible. sm returns from an iSCSI
    login only after five seconds, so this thread, started before, looks for the LUN's device, reads the VG name from it and
    takes LVM's lock on that name at once. The lock is released after switch 1, and always before an LVM command of ours.
    """

    def __init__(self, scsi_id):
        threading.Thread.__init__(self)
        self.setDaemon(True)
        self.scsi_id = scsi_id
        self.vg_name = ''
        self.error = None
        self._lock = None
        self._stop_asked = False

    def run(self):
        """The thread: ends when the lock is held, cannot be had, or is not wanted any more."""
        try:
            while not self._stop_asked:
                for path in devices.scsi_paths(self.scsi_id):
                    self.vg_name = self._vg_name_on(path)
                    if self.vg_name:
                        self._take(self.vg_name)
                        return
                time.sleep(locks.LOOK)
        except errors.ResignError:
            self.error = errors.current()

    def _vg_name_on(self, path):
        """The VG name on a device, or '' while that cannot be read or is nothing that we would resign."""
        try:
            device = blockdev.Device(path, False)
            try:
                label = lvmlabel.find_label(device.read(0, lvmlabel.AREA_OFFSET))
                area = lvmlabel.Area(device, label.area[0], label.area[1])
                match = not area.empty and _VG_NAME.search(area.text)
            finally:
                device.close()
        except errors.ResignError:
            return ''
        if match:
            return match.group(1)
        return ''

    def _take(self, vg_name):
        lock = locks.vg_lock(vg_name)
        end = time.time() + locks.LOCK_TIMEOUT
        while not self._stop_asked and time.time() < end:
            if lock.try_acquire():
                self._lock = lock
                return
            time.sleep(locks.LOOK)

    def hold(self, vg_name):
        """The lock on `vg_name` is held when this returns. Raises errors.LockTimeout."""
        if self.vg_name == vg_name:
            self.join(locks.LOCK_TIMEOUT + 1)
        if self._lock is None or self.vg_name != vg_name:
            self.release()
            self._lock = locks.vg_lock(vg_name)
            self._lock.acquire()

    def release(self):
        """No error when nothing is held."""
        self._stop_asked = True
        self.join(locks.LOCK_TIMEOUT + 1)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
