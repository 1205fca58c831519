# SPDX-License-Identifier: LGPL-2.1-only
"""Takes the LUN of one SR off this host: its multipath map, then its SCSI disks. Never those of another LUN.

A device goes only when the disk itself says that it is this LUN (INQUIRY), its LVM label leads to the VG of this SR, and it can be opened
exclusively, so that nothing sits on it and nobody has it for himself. All devices are looked at before the first one goes. An iSCSI
session that brought one up is left to sm, which logs out when the last SR that uses it is unplugged.
"""

import errno
import os
import time

from relvm import errors
from relvm import identity
from relvm.engine.descriptor import CLOSE_ON_EXEC
from relvm.formats import lvmgroup
from relvm.host import devices
from relvm.host import inquiry
from relvm.host import locks
from relvm.host import neighbours

# Seconds for kernel and udev to have taken away what was deleted
GONE_TIMEOUT = 60


def look(scsi_id, sr_uuid):
    """{SCSIid, devices}: the names of the devices of the LUN on this host, each of which is this LUN and carries this SR. Changes nothing.

    Raises errors.BadSCSIid, NoSuchSR, WrongLUN, OtherContent.
    """
    _check(scsi_id, sr_uuid)
    mapped, disks = _devices(scsi_id)
    for disk in disks:
        _is_this_lun(disk, scsi_id)
    _carries(scsi_id, mapped and [mapped] or disks, sr_uuid)
    return {'SCSIid': scsi_id, 'devices': disks + [name for name in [mapped] if name]}


def release(scsi_id, sr_uuid):
    """The same, and then they are gone. Nothing is there already: no error.

    Raises what look() raises, and errors.HolderPresent, DeviceBusy, LockTimeout; LUNStays when kernel or udev keep a device.
    """
    _check(scsi_id, sr_uuid)
    lock = locks.lun_lock(scsi_id)
    lock.acquire()
    try:
        found = look(scsi_id, sr_uuid)
        mapped, disks = _devices(scsi_id)
        used = devices.users(scsi_id)
        if used:
            raise errors.HolderPresent(host='this host', device='the LUN ' + scsi_id, holders=', '.join(used))
        if mapped:
            os.close(_exclusively(mapped))
            _flush(mapped, scsi_id)
        taken = []
        try:
            for disk in disks:
                taken.append(_exclusively(disk))
            for disk in disks:
                devices.remove_disk(disk)
        finally:
            for fd in taken:
                os.close(fd)
        _wait_until_gone(scsi_id, disks)
        return found
    finally:
        lock.release()


def _check(scsi_id, sr_uuid):
    if not devices.is_scsi_id(scsi_id):
        raise errors.BadSCSIid(scsi_id=scsi_id)
    if not identity.is_uuid(sr_uuid):
        raise errors.NoSuchSR(sr=sr_uuid)


def _devices(scsi_id):
    """(kernel name of the map or '', those of the disks)"""
    mapped = devices.multipath_map(scsi_id)
    found = dict.fromkeys(devices.scsi_disks(scsi_id))
    if mapped:
        found.update(dict.fromkeys(devices.slaves(mapped)))
    return mapped, sorted(found)


def _is_this_lun(disk, scsi_id):
    """Raises errors.WrongLUN unless the disk says so of itself."""
    path = os.path.join(devices.DEV, disk)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | CLOSE_ON_EXEC)
        try:
            said = inquiry.scsi_ids(inquiry.identification(fd))
        finally:
            os.close(fd)
    except EnvironmentError:
        raise errors.WrongLUN(device=path, found='(none: %s)' % errors.current().args[-1], wanted=scsi_id)
    if not said:
        # an id of another kind, which udev's scsi_id makes
        from relvm.host import smcompat
        said = [smcompat.scsiutil.getSCSIid(path)]
    if scsi_id not in said:
        raise errors.WrongLUN(device=path, found=' '.join(said), wanted=scsi_id)


def _carries(scsi_id, names, sr_uuid):
    """Raises errors.OtherContent unless the label on each device leads to the VG of this SR."""
    for name in names:
        found = neighbours.Look(scsi_id, [name]).vg_name
        if found != lvmgroup.VG_PREFIX + sr_uuid:
            raise errors.OtherContent(device=os.path.join(devices.DEV, name), scsi_id=scsi_id, sr=sr_uuid,
                                      found=found or 'nothing that can be read')


def _exclusively(name):
    """A descriptor of the device, which nobody else has or gets for himself while it is open. Read-only: udev looks again at whatever
    was open for writing, and multipathd would make the map anew. Raises errors.DeviceBusy, DeviceMissing."""
    path = os.path.join(devices.DEV, name)
    try:
        return os.open(path, os.O_RDONLY | os.O_EXCL | CLOSE_ON_EXEC)
    except OSError:
        if errors.current().errno == errno.EBUSY:
            raise errors.DeviceBusy(device=path)
        raise errors.DeviceMissing(device=path, cause=errors.current().args[-1])


def _flush(mapped, scsi_id):
    from relvm.host import smcompat
    smcompat.flush_map(devices.map_name(mapped), scsi_id)
    if devices.multipath_map(scsi_id):
        raise errors.LUNStays(host='this host', scsi_id=scsi_id, what='its multipath map %s cannot be removed' % mapped)


def _wait_until_gone(scsi_id, disks):
    end = time.time() + GONE_TIMEOUT
    while True:
        left = [name for name in disks if os.path.exists('%s/block/%s' % (devices.SYS, name))]
        left = left or devices.scsi_disks(scsi_id)
        if not left:
            return
        if time.time() > end:
            raise errors.LUNStays(host='this host', scsi_id=scsi_id, what='%s did not go' % ', '.join(left))
        time.sleep(locks.LOOK)
