# SPDX-License-Identifier: LGPL-2.1-only
"""Resigns a LUN as soon as its device is there, while sm's attach still waits for it to settle.

sm sleeps five seconds after an iSCSI login. For all that time the clone would be visible under its original's identity. So the
guard's thread, which holds LVM's lock on that identity, does the work at once, if nothing speaks against it:

* the clone's own metadata names another LUN as the one on which the SR was last used: it is a copy, and no original;
* exactly one disk of this host says that it has this SCSI id, and udev says the same;
* multipathing is off, since multipathd cannot make a map of a disk that is open exclusively;
* the LUN was not visible on this host before, nothing sits on it, and no interrupted run waits on it to be finished.

Otherwise the work is done when sm's attach has returned, and whatever is wrong is said then.
"""

import os
import time

from relvm import errors
from relvm.engine import blockdev
from relvm.engine.lun import Placement
from relvm.formats import lvmgroup
from relvm.host import devices
from relvm.host import inquiry
from relvm.host import locks
from relvm.host import smcompat
from relvm.host.steps import Steps

# Seconds for which a disk may be busy: a process that sm starts has our descriptors until it runs its program
BUSY_TIMEOUT = 1


class EarlyWork(object):
    """The work on one LUN, called by the guard's thread.

    began   True from when on the LUN may have been written
    lines   for the log, which the thread does not write
    """

    def __init__(self, lun, rewrite):
        """lun: access.Access; rewrite: function (open Device, Progress) that gives the LUN its new identity."""
        self.began = False
        self.lines = []
        self._lun = lun
        self._rewrite = rewrite

    def prepare(self, path):
        """What needs no lock: this host's LVM begins to look at the device, which writes nothing and waits for nobody."""
        try:
            self._lun.ask_lvm(path)
        except EnvironmentError:
            self._leave_it()

    def __call__(self, path):
        """path: of the device that udev lists first. Raises what the work raises; what speaks against doing it here is no error."""
        self.prepare(path)
        device = self._open(path)
        if device is None:
            return
        try:
            self.began = True
            self._rewrite(device, Steps(self._lun, self.lines.append))
        finally:
            device.close()

    def _open(self, path):
        """The Device, open exclusively, or None when something speaks against it."""
        scsi_id = self._lun.scsi_id
        name = os.path.basename(path)
        try:
            if devices.has_maps() or devices.holders(name) or devices.scsi_disks(scsi_id) != [name]:
                return None
            if inquiry.disks_reporting(scsi_id) != [name]:
                return None
            device = blockdev.Device(path, False)
            try:
                if not device.is_block or not is_copy(device, scsi_id):
                    return None
            finally:
                device.close()
            device = _open_exclusively(path)
        except (errors.ResignError, EnvironmentError):
            self._leave_it()
            return None
        try:
            if inquiry.reports(device.fd, scsi_id) and is_copy(device, scsi_id) and not devices.holders(name):
                return device
        except (errors.ResignError, EnvironmentError):
            self._leave_it()
        device.close()
        return None

    def _leave_it(self):
        self.lines.append('%s: not yet: %s' % (self._lun.scsi_id, errors.printable(smcompat.describe(errors.current()))))


def is_copy(device, scsi_id):
    """True when the metadata on the LUN `scsi_id` say that its SR was last used on another LUN, and nothing else has begun on it."""
    placement = Placement(device)
    vg = placement.group()
    return not placement.staged and lvmgroup.copied_from(vg.pv_device) not in ('', scsi_id)


def _open_exclusively(path):
    end = time.time() + BUSY_TIMEOUT
    while True:
        try:
            return blockdev.Device(path)
        except errors.DeviceBusy:
            if time.time() > end:
                raise
        time.sleep(locks.LOOK)
