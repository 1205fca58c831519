# SPDX-License-Identifier: LGPL-2.1-only
"""Keeps LVM's hands off the original while its clone is visible under the same identity, and makes that time short."""

import os
import re
import sys
import threading
import time

from relvm import errors
from relvm.engine import blockdev
from relvm.formats import lvmlabel
from relvm.host import devices
from relvm.host import locks

_VG_NAME = re.compile(r'(?:^|\n)[ \t]*([A-Za-z0-9_.+-]+)[ \t]*\{')


def _go_first():
    """LVM commands on the original wait for this thread, so it computes before others. On Linux that is the thread's own, and ends
    with it."""
    try:
        os.nice(-20)
    except OSError:
        # only root may
        pass


class OriginalGuard(threading.Thread):
    """Keeps LVM's hands off the original while its clone is visible under the same identity.

    On older LVMs `lvchange -ay` of an inactive LV of the original maps the clone once that is visible. sm returns from an iSCSI
    login only after five seconds, so this thread, started before, looks for the LUN's device, reads the VG name from it and
    takes LVM's lock on that name at once. The lock is released after switch 1, and always before an LVM command of ours.

    early: an early.EarlyWork, or None. Its prepare() is called when the lock has to be waited for, and it itself, once the lock is held,
    may do the whole job then and there, in this thread. None leaves that to the caller.
    times: [(what, seconds since the epoch)] of what has happened. error: what early() or the wait for the lock raised, or None.
    """

    def __init__(self, scsi_id, early=None):
        threading.Thread.__init__(self)
        self.scsi_id = scsi_id
        self.vg_name = ''
        self.error = None
        self.times = []
        self._early = early
        self._lock = None
        self._stop_asked = False
        self._at_work = False
        self._deciding = threading.Lock()

    def run(self):
        """The thread: ends when the lock is held and the work is done or left to others, or when the lock cannot be had or is not wanted
        any more. Writes no log, and starts no process: in Python 2.4 that would take the main thread's processes away from it."""
        try:
            path = self._find_and_lock()
            if path and self._early is not None and self._may_begin():
                _go_first()
                self._early(path)
        except Exception:
            self.error = sys.exc_info()[1]
            self.unlock()

    def _find_and_lock(self):
        """The path of the LUN's device, the lock on whose VG name is held; '' when nobody wants that any more."""
        while self._wanted():
            for path in devices.scsi_paths(self.scsi_id):
                self.vg_name = self._vg_name_on(path)
                if self.vg_name:
                    self.note('device there')
                    lock = locks.vg_lock(self.vg_name)
                    if not lock.acquire(None, self._wanted, lambda path=path: self._prepare(path)):
                        return ''
                    self._lock = lock
                    self.note('lock taken')
                    return path
            time.sleep(locks.LOOK)
        return ''

    def _prepare(self, path):
        self._deciding.acquire()
        try:
            if self._early is not None:
                self._early.prepare(path)
        finally:
            self._deciding.release()

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

    def _wanted(self):
        return not self._stop_asked

    def _may_begin(self):
        """True when the work may begin in this thread: nobody waits for it to end without any."""
        self._deciding.acquire()
        try:
            self._at_work = not self._stop_asked and self._early is not None
            return self._at_work
        finally:
            self._deciding.release()

    def settle(self):
        """To be called when sm's attach has ended, in whichever way: no work begins in the thread from here on, and none is going on
        when this returns."""
        self._deciding.acquire()
        try:
            self._early = None
            at_work = self._at_work
        finally:
            self._deciding.release()
        if at_work:
            self.join()

    def note(self, what):
        """Something has happened."""
        self.times.append((what, time.time()))

    def hold(self, vg_name):
        """The lock on `vg_name` is held when this returns. Raises errors.LockTimeout."""
        if self.vg_name == vg_name:
            self.join()
            if isinstance(self.error, errors.ResignError):
                raise self.error
        if self._lock is None or self.vg_name != vg_name:
            self.release()
            self._lock = locks.vg_lock(vg_name)
            self._lock.acquire()
            self.note('lock taken')

    def touch(self):
        """Shows other runs that wait for the lock that the work goes on."""
        if self._lock is not None:
            self._lock.touch()

    def unlock(self):
        """LVM may use the original again. No error when nothing is held."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            lock.release()
            self.note('lock released')

    def holds(self, vg_name):
        """True while the lock on `vg_name` is held."""
        return self._lock is not None and self.vg_name == vg_name

    def release(self):
        """Not for the thread itself, which has ended and nothing is held when this returns. No error when that is so already."""
        self._stop_asked = True
        self.join()
        self.unlock()
