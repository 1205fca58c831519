# SPDX-License-Identifier: LGPL-2.1-only
"""What dom0's kernel and udev know about a LUN: its SCSI disks, its multipath map, what sits on them. No sm in here."""

import errno
import fcntl
import os
import re
import stat

from relvm import errors
from relvm.engine.blockdev import BLKFLSBUF

DEV = '/dev'
SYS = '/sys'
# What reading in sysfs ends in when the device goes: EINVAL is device-mapper's (dm_attr_show)
GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EINVAL)

# sm replaces white space and nothing else
_SCSI_ID = re.compile(r'[!-.0-~]+\Z')
_SESSION = re.compile(r'/session([0-9]+)/.*:([0-9]+)\Z')


def is_scsi_id(value):
    """True for what can be a SCSI id in /dev/disk; it becomes part of paths."""
    return _SCSI_ID.match(value) is not None and value not in ('.', '..')


def scsi_paths(scsi_id):
    """The SCSI disks that udev lists under a SCSI id, links resolved: ['/dev/sda', '/dev/sdb']; no multipath map."""
    found = {}
    places = ['%s/disk/by-id/scsi-%s' % (DEV, scsi_id)]
    directory = '%s/disk/by-scsid/%s' % (DEV, scsi_id)
    if os.path.isdir(directory):
        places.extend([os.path.join(directory, name) for name in os.listdir(directory)])
    for place in places:
        if os.path.exists(place):
            path = os.path.realpath(place)
            if not os.path.basename(path).startswith('dm-'):
                found[path] = None
    return sorted(found)


def scsi_ids():
    """The SCSI ids of all disks, as udev lists them."""
    return _listed('%s/disk/by-scsid' % DEV)


def scsi_disks(scsi_id):
    """Their kernel names: ['sda', 'sdb']."""
    return [os.path.basename(path) for path in scsi_paths(scsi_id)]


def multipath_map(scsi_id):
    """Kernel name ('dm-3') of the multipath map of a SCSI id, or ''."""
    directory = SYS + '/block'
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith('dm-') and read_line('%s/%s/dm/uuid' % (directory, name)) == 'mpath-' + scsi_id:
                return name
    return ''


def has_maps():
    """True when there is a multipath map of whatever LUN: multipathd is at work on this host."""
    directory = SYS + '/block'
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith('dm-') and read_line('%s/%s/dm/uuid' % (directory, name)).startswith('mpath-'):
                return True
    return False


def holders(name):
    """Names of the device-mapper (or other) devices that sit on a kernel device: ['VG-LV', ...]."""
    return [map_name(holder) or holder for holder in _listed('%s/block/%s/holders' % (SYS, name))]


def _listed(directory):
    try:
        return sorted(os.listdir(directory))
    except OSError:
        if errors.current().errno not in (errno.ENOTDIR,) + GONE:
            raise
        return []


def map_name(name):
    """The name below /dev/mapper of a device-mapper device, by its kernel name; '' for other devices."""
    return read_line('%s/block/%s/dm/name' % (SYS, name))


def users(scsi_id):
    """Names of all that sits on a LUN, on whichever of its disks and their partitions or on its multipath map: ['VG-LV', ...]."""
    mapped = multipath_map(scsi_id)
    found = {}
    for name in scsi_disks(scsi_id) + slaves(mapped) + [mapped]:
        if not name:
            continue
        below = [name] + ['%s/%s' % (name, part) for part in _listed('%s/block/%s' % (SYS, name)) if part.startswith(name)]
        for device in below:
            for holder in _listed('%s/block/%s/holders' % (SYS, device)):
                if holder != mapped:
                    found[map_name(holder) or holder] = None
    return sorted(found)


def slaves(name):
    """Kernel names of what a device-mapper device sits on: for a multipath map its paths."""
    return _listed('%s/block/%s/slaves' % (SYS, name))


def read_line(path):
    """What a small file says, stripped; '' when there is none, or when it is of a device that goes away meanwhile."""
    try:
        stream = open(path)
    except IOError:
        return ''
    try:
        try:
            return stream.read().strip()
        except EnvironmentError:
            if errors.current().errno not in GONE:
                raise
            return ''
    finally:
        stream.close()


def check_device(path, scsi_id, reported_id):
    """The block device at `path` is the whole LUN `scsi_id`, one LUN, and nothing on this host sits on it.

    reported_id: function (path) -> SCSI id that the device itself reports.
    Raises WrongLUN, NotADisk, ManyDevices, HolderPresent.
    """
    real = os.path.realpath(path)
    name = os.path.basename(real)
    if not stat.S_ISBLK(os.stat(real)[stat.ST_MODE]):
        return
    if os.path.exists('%s/class/block/%s/partition' % (SYS, name)):
        raise errors.NotADisk(device=path, kind='a partition')
    disks = scsi_disks(scsi_id)
    if name.startswith('dm-'):
        uuid = read_line('%s/block/%s/dm/uuid' % (SYS, name))
        if not uuid.startswith('mpath-'):
            raise errors.NotADisk(device=path, kind='a device-mapper device that is no multipath map')
        if uuid != 'mpath-' + scsi_id:
            raise errors.WrongLUN(device=path, found=uuid[6:], wanted=scsi_id)
        paths = slaves(name)
        if [disk for disk in disks if disk not in paths]:
            raise errors.ManyDevices(scsi_id=scsi_id, devices=', '.join(disks + [name]))
        for disk in paths:
            found = disk in disks and scsi_id or reported_id('%s/%s' % (DEV, disk))
            if found != scsi_id:
                raise errors.WrongLUN(device='%s, a path of the map %s,' % (disk, path), found=found, wanted=scsi_id)
    else:
        found = reported_id(real)
        if found != scsi_id:
            raise errors.WrongLUN(device=path, found=found, wanted=scsi_id)
        if len(dict.fromkeys([_lun_of(disk) for disk in disks])) > 1:
            raise errors.ManyDevices(scsi_id=scsi_id, devices=', '.join(disks))
    on_it = users(scsi_id)
    if on_it:
        raise errors.HolderPresent(host='this host', device=path, holders=', '.join(on_it))


def _lun_of(disk):
    """(target IQN, LUN number) of a SCSI disk: the same for two paths to one LUN."""
    match = _SESSION.search(os.path.realpath('%s/block/%s/device' % (SYS, disk)))
    if match is None:
        return disk
    session, number = match.groups()
    return read_line('%s/class/iscsi_session/session%s/targetname' % (SYS, session)), number


def remove_disk(name):
    """Takes a SCSI disk off this host."""
    stream = open('%s/block/%s/device/delete' % (SYS, name), 'w')
    try:
        stream.write('1')
    finally:
        stream.close()


def trigger(scsi_id):
    """Lets udev look at a LUN again, whose links in /dev/disk/by-id tell what was on it when udev last looked.

    The paths' page cache goes first: it may hold the old label. Raises EnvironmentError.
    """
    for name in scsi_disks(scsi_id) + [multipath_map(scsi_id)]:
        node = '%s/%s' % (DEV, name)
        if not name or not os.path.exists(node):
            continue
        if stat.S_ISBLK(os.stat(node)[stat.ST_MODE]):
            fd = os.open(node, os.O_RDONLY)
            try:
                fcntl.ioctl(fd, BLKFLSBUF, 0)
            finally:
                os.close(fd)
        stream = open('%s/block/%s/uevent' % (SYS, name), 'w')
        try:
            stream.write('change')
        finally:
            stream.close()
