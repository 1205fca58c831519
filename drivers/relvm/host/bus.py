# SPDX-License-Identifier: LGPL-2.1-only
"""Looking for LUNs behind this host's HBAs in a way that only adds: what is there already is left as it is.

A LUN that the array has presented lately is unknown to the kernel until somebody scans; writing `- - -` (channel, target and LUN: any)
to a SCSI host's `scan` in sysfs does that. sm's own scan removes disks as well, which may be the original's paths.
"""

import glob
import os
import re
import time

from relvm import errors
from relvm.host import devices
from relvm.host import locks
from relvm.host import neighbours

# Seconds for udev to list what the kernel has found; and to wait for a LUN after a scan that found nothing new
UDEV_TIMEOUT = 20
NOTHING_NEW = 4
# What sm takes for no HBA (devscan): local disks, iSCSI sessions, USB
_NO_HBA = re.compile(r'(s|p|)ata_|ahci\Z|pdc_adma\Z|iscsi_tcp\Z|usb-storage\Z')


def adapters():
    """Names of this host's HBAs: ['host0', ...]."""
    directory = devices.SYS + '/class/scsi_host'
    if not os.path.isdir(directory):
        return []
    return [name for name in sorted(os.listdir(directory))
            if not _NO_HBA.match(devices.read_line('%s/%s/proc_name' % (directory, name)))]


def host_of(disk):
    """The name of the SCSI host behind which a disk is: 'host3'; '' when that is not known."""
    host = re.search(r'/(host[0-9]+)/', os.path.realpath('%s/block/%s/device' % (devices.SYS, disk)) + '/')
    return host and host.group(1) or ''


def driver_of(disk):
    """The kernel's name for the driver of that host: 'iscsi_tcp', 'qla2xxx'."""
    return devices.read_line('%s/class/scsi_host/%s/proc_name' % (devices.SYS, host_of(disk)))


def over_iscsi(disk):
    """True for a SCSI disk that iscsi_tcp brought up."""
    return driver_of(disk) == 'iscsi_tcp'


def unlisted():
    """Disks over iSCSI that the kernel has and udev has not listed under a SCSI id yet: kernel names, or addresses ('1:0:0:3')."""
    known = []
    for scsi_id in devices.scsi_ids():
        known.extend(devices.scsi_disks(scsi_id))
    return [disk for disk in scsi_devices() if disk not in known and (':' in disk or over_iscsi(disk))]


def hosts_of_session(iqn):
    """Names of the SCSI hosts of this host's sessions with a target: ['host3']; [] when there is no session."""
    found = []
    for path in glob.glob('%s/class/iscsi_session/session*' % devices.SYS):
        host = re.search(r'/(host[0-9]+)/', os.path.realpath(path) + '/')
        if host and devices.read_line(path + '/targetname') == iqn:
            found.append(host.group(1))
    return sorted(found)


def ask(hosts, log):
    """Has the kernel look for LUNs behind SCSI hosts; what is there stays. log: function (sentence)."""
    for name in hosts:
        path = '%s/class/scsi_host/%s/scan' % (devices.SYS, name)
        try:
            stream = open(path, 'w')
            try:
                stream.write('- - -\n')
            finally:
                stream.close()
        except IOError:
            log('scanning %s: %s' % (name, errors.current()))


def scan(scsi_id, log):
    """Looks for a LUN that is not there; what came up beside it: {SCSI id: [disk, ...]}.

    log: function (sentence). The caller holds scan_lock(). Returns when udev lists all that came up, or after UDEV_TIMEOUT seconds.
    """
    before = scsi_devices()
    listed = neighbours.luns()
    ask(adapters(), log)
    start = time.time()
    waiting = True
    while waiting:
        time.sleep(locks.LOOK)
        known = []
        for disks in neighbours.luns().values():
            known.extend(disks)
        if [disk for disk in scsi_devices() if disk not in before and disk not in known]:
            waiting = time.time() < start + UDEV_TIMEOUT
        else:
            waiting = not devices.scsi_disks(scsi_id) and time.time() < start + NOTHING_NEW
    added = {}
    for other, disks in neighbours.luns().items():
        if other != scsi_id and other not in listed:
            added[other] = [disk for disk in disks if disk not in before]
    return added


def scsi_devices():
    """Kernel names of all SCSI disks. One that the kernel knows, but has not named yet, goes by its address: '1:0:0:3'."""
    found = []
    directory = devices.SYS + '/class/scsi_device'
    if os.path.isdir(directory):
        for address in os.listdir(directory):
            device = '%s/%s/device' % (directory, address)
            if devices.read_line(device + '/type') == '0':
                block = device + '/block'
                found.extend(os.path.isdir(block) and os.listdir(block) or [address])
    return found


def remove_duplicates(added, scsi_id, guard, flush, log):
    """Takes the LUNs of `added` off this host again that carry a VG name which another LUN of this host has too.

    added: as scan() answers; scsi_id: of the LUN that was looked for; guard: guard.OriginalGuard, which may hold LVM's lock on that
    name already; flush: function (SCSI id) -> True when it has no multipath map any more. What somebody uses stays.
    """
    everything = neighbours.looks(None)
    for look in everything:
        twice = [other for other in everything if other is not look and other.vg_name == look.vg_name]
        if look.scsi_id not in added or not look.vg_name or not twice:
            continue
        lock = locks.vg_lock(look.vg_name)
        try:
            try:
                if not guard.holds(look.vg_name):
                    lock.acquire()
                _remove(look.scsi_id, added[look.scsi_id], flush)
                what = 'off this host again'
            except errors.Refused:
                what = 'still there: %s' % errors.current()
        finally:
            lock.release()
        log('%s came up with the LUN %s, carries %s as another LUN does, and is %s' % (look.scsi_id, scsi_id, look.vg_name, what))
        everything = [other for other in everything if other is not look or devices.scsi_disks(look.scsi_id)]


def _remove(scsi_id, disks, flush):
    """Raises errors.HolderPresent when somebody uses the LUN."""
    users = devices.users(scsi_id)
    if not users and not flush(scsi_id):
        users = [devices.multipath_map(scsi_id)]
    if users:
        raise errors.HolderPresent(host='this host', device=', '.join(disks), holders=', '.join(users))
    for disk in disks:
        devices.remove_disk(disk)
