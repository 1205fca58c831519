# SPDX-License-Identifier: LGPL-2.1-only
"""Brings a LUN behind an HBA to this host and takes it away again, leaving the host as it was.

There is no session to count. The LUN may have been there for days, with a multipath map that somebody made: both are used and stay.
What was not there before is taken away again, the map first, since its paths cannot go while it queues for them.
"""

import os
import time

from relvm import errors
from relvm.host import bus
from relvm.host import devices
from relvm.host import locks
from relvm.host import smcompat
from relvm.host.access import Access

# Seconds for the node of a map that was just made
MAP_TIMEOUT = 10


class FabricAccess(Access):
    """The LUN of one SR object while it is on this host; as access.Access."""

    # On a fabric every host sees what the array presents to it, whether or not it was told to look
    shared = True

    def __init__(self, sr, sr_uuid):
        Access.__init__(self, sr, sr_uuid)
        self._map_before = ''

    def _look_before(self):
        """What is there already; or what was there before a run that died on this LUN."""
        self._disks_before = devices.scsi_disks(self.scsi_id)
        self._map_before = devices.multipath_map(self.scsi_id)
        lines = locks.read_state(self.scsi_id)
        if len(lines) == 3 and lines[0] == 'hba':
            smcompat.log('a run died on the LUN %s; what it brought up is taken for its own' % self.scsi_id)
            self._disks_before = [disk for disk in self._disks_before if disk in lines[1].split()]
            if lines[2] != 'map':
                self._map_before = ''
        self.was_visible = bool(self._disks_before)
        state = {True: 'map', False: 'no map'}[bool(self._map_before)]
        locks.write_state(self.scsi_id, ['hba', ' '.join(self._disks_before) or '-', state])
        # what a dead run has brought up goes, whatever becomes of this one
        self._attached = True

    def _may_be_early(self):
        """Nothing sleeps here, so there is nothing to be ahead of."""
        return False

    def _bring(self):
        if not devices.scsi_disks(self.scsi_id):
            self._scan()
        disks = devices.scsi_disks(self.scsi_id)
        if not disks:
            raise errors.LUNMissing(scsi_id=self.scsi_id)
        for disk in disks:
            if bus.over_iscsi(disk):
                raise errors.WrongTransport(scsi_id=self.scsi_id, disk=disk)

    def _scan(self):
        lock = locks.scan_lock()
        lock.acquire()
        try:
            added = bus.scan(self.scsi_id, smcompat.log)
            bus.remove_duplicates(added, self.scsi_id, self.guard, self._flush, smcompat.log)
        finally:
            lock.release()

    def _find(self):
        """The map's, which is made if this host uses multipathing; otherwise the disk's."""
        found = devices.multipath_map(self.scsi_id)
        if not found and smcompat.multipathing(self.sr):
            self.sr.mpathmodule.refresh(self.scsi_id, 0)
            found = devices.multipath_map(self.scsi_id)
        if not found:
            return self._disks_link()
        path = '%s/mapper/%s' % (devices.DEV, devices.map_name(found))
        smcompat.util.wait_for_path(path, MAP_TIMEOUT)
        return path

    def _disks_link(self):
        """The path by which lvmohba knows the LUN. udev makes a disk's links one by one, and another of them may have told us of it."""
        path = '%s/disk/by-id/scsi-%s' % (devices.DEV, self.scsi_id)
        end = time.time() + bus.UDEV_TIMEOUT
        told = False
        while not os.path.exists(path) and time.time() < end:
            if not told:
                smcompat.log('%s: udev has not made %s yet' % (self.scsi_id, path))
                told = True
            time.sleep(locks.LOOK)
        if not os.path.exists(path):
            raise errors.LUNMissing(scsi_id=self.scsi_id)
        return path

    def _leave(self):
        if not self._map_before:
            self._flush(self.scsi_id)
        if self.resigned:
            devices.trigger(self.scsi_id)

    def _remove_disks(self):
        if devices.multipath_map(self.scsi_id) and not self._map_before:
            smcompat.log('the map of %s could not be removed: its paths stay as well' % self.scsi_id)
            return
        Access._remove_disks(self)

    def _flush(self, scsi_id):
        """Removes the multipath map of a LUN, unless something sits on it. True when there is none any more."""
        found = devices.multipath_map(scsi_id)
        if found and not devices.holders(found):
            smcompat.flush_map(devices.map_name(found), scsi_id)
        return not devices.multipath_map(scsi_id)
