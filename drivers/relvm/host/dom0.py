# SPDX-License-Identifier: LGPL-2.1-only
"""What dom0's kernel, udev and LVM know about a LUN, and the locks of this product. No sm in here.

The paths below are the only absolute ones that are not sm's.
"""

import errno
import fcntl
import os
import re
import stat
import threading
import time

from relvm.engine import blockdev
from relvm import errors
from relvm.formats import lvm

DEV = '/dev'
SYS = '/sys'
RUN_DIR = '/var/run/relvmoiscsi'
LVM_LOCK_DIR = '/var/lock/lvm'
LVM_CONF = '/etc/lvm/lvm.conf'

# Seconds to wait for any lock, and between two looks
LOCK_TIMEOUT = 60
LOOK = 0.01

_SCSI_ID = re.compile(r'[A-Za-z0-9_.:-]+\Z')
_VG_NAME = re.compile(r'(?:^|\n)[ \t]*([A-Za-z0-9_.+-]+)[ \t]*\{')
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


def scsi_disks(scsi_id):
    """Their kernel names: ['sda', 'sdb']."""
    return [os.path.basename(path) for path in scsi_paths(scsi_id)]


def multipath_map(scsi_id):
    """Kernel name ('dm-3') of the multipath map of a SCSI id, or ''."""
    directory = SYS + '/block'
    if os.path.isdir(directory):
        for name in os.listdir(directory):
            if name.startswith('dm-') and _read('%s/%s/dm/uuid' % (directory, name)) == 'mpath-' + scsi_id:
                return name
    return ''


def holders(name):
    """Names of the device-mapper (or other) devices that sit on a kernel device: ['VG-LV', ...]."""
    directory = '%s/block/%s/holders' % (SYS, name)
    if not os.path.isdir(directory):
        return []
    return [_read('%s/block/%s/dm/name' % (SYS, holder)) or holder for holder in sorted(os.listdir(directory))]


def slaves(name):
    """Kernel names of what a device-mapper device sits on: for a multipath map its paths."""
    directory = '%s/block/%s/slaves' % (SYS, name)
    if not os.path.isdir(directory):
        return []
    return sorted(os.listdir(directory))


def _read(path):
    try:
        stream = open(path)
    except IOError:
        return ''
    try:
        return stream.read().strip()
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
        uuid = _read('%s/block/%s/dm/uuid' % (SYS, name))
        if not uuid.startswith('mpath-'):
            raise errors.NotADisk(device=path, kind='a device-mapper device that is no multipath map')
        if uuid != 'mpath-' + scsi_id:
            raise errors.WrongLUN(device=path, found=uuid[6:], wanted=scsi_id)
        paths = slaves(name)
        if [disk for disk in disks if disk not in paths]:
            raise errors.ManyDevices(scsi_id=scsi_id, devices=', '.join(disks + [name]))
    else:
        found = reported_id(real)
        if found != scsi_id:
            raise errors.WrongLUN(device=path, found=found, wanted=scsi_id)
        if len(dict.fromkeys([_lun_of(disk) for disk in disks])) > 1:
            raise errors.ManyDevices(scsi_id=scsi_id, devices=', '.join(disks))
    on_it = holders(name)
    if on_it:
        raise errors.HolderPresent(device=path, holders=', '.join(on_it))


def _lun_of(disk):
    """(target IQN, LUN number) of a SCSI disk: the same for two paths to one LUN."""
    match = _SESSION.search(os.path.realpath('%s/block/%s/device' % (SYS, disk)))
    if match is None:
        return disk
    session, number = match.groups()
    return _read('%s/class/iscsi_session/session%s/targetname' % (SYS, session)), number


def remove_disk(name):
    """Takes a SCSI disk off this host."""
    stream = open('%s/block/%s/device/delete' % (SYS, name), 'w')
    try:
        stream.write('1')
    finally:
        stream.close()


def write_state(name, lines):
    """Writes a small file of this product; raises errors.HostUnusable when dom0 cannot take it."""
    path = os.path.join(RUN_DIR, name)
    try:
        if not os.path.isdir(RUN_DIR):
            os.makedirs(RUN_DIR, 448)
        stream = open(path, 'w')
        try:
            stream.write('\n'.join(lines) + '\n')
            stream.flush()
            os.fsync(stream.fileno())
        finally:
            stream.close()
    except EnvironmentError:
        raise errors.HostUnusable(path=path, cause=errors.current().args[-1])
    return path


def read_state(name):
    """Its lines, or []."""
    return _read(os.path.join(RUN_DIR, name)).split('\n')


def remove_state(name):
    """No error when there is none."""
    try:
        os.unlink(os.path.join(RUN_DIR, name))
    except OSError:
        if errors.current().errno != errno.ENOENT:
            raise


class FileLock(object):
    """An exclusive flock on a file, taken the way LVM takes its own: opened with O_CREAT|O_APPEND|O_RDWR, and when the file was
    unlinked while we waited, once more. The kernel drops it when the process ends."""

    def __init__(self, path, what):
        self.path = path
        self.what = what
        self.fd = -1

    def try_acquire(self):
        """True when it is held now."""
        if self.fd >= 0:
            return True
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 511)
        except OSError:
            raise errors.HostUnusable(path=self.path, cause=errors.current().args[-1])
        # a command that is started later must not inherit the lock
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
        held = False
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = os.path.exists(self.path) and os.path.samestat(os.fstat(fd), os.stat(self.path))
            except EnvironmentError:
                if errors.current().errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR, errno.ENOENT):
                    raise
        finally:
            if not held:
                os.close(fd)
        if held:
            self.fd = fd
        return held

    def acquire(self, timeout=None):
        """Waits; raises errors.LockTimeout."""
        if timeout is None:
            timeout = LOCK_TIMEOUT
        end = time.time() + timeout
        while not self.try_acquire():
            if time.time() > end:
                raise errors.LockTimeout(seconds=timeout, what=self.what)
            time.sleep(LOOK)

    def release(self):
        """No error when it is not held."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)


def lun_lock(scsi_id):
    """The lock that lets one resign at a time work on a LUN on this host."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, scsi_id + '.lock'), 'another resign of the LUN %s' % scsi_id)


def session_lock(iqn):
    """The lock under which this product changes sm's list of users of an iSCSI session; sm itself takes none for sr-create."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, 'session-' + re.sub('[^A-Za-z0-9_.:-]', '_', iqn) + '.lock'),
                    'another resign that uses the target %s' % iqn)


def vg_lock(vg_name):
    """LVM's own lock on a VG name: while it is held, every LVM command of this host that uses a VG of that name waits."""
    return FileLock(os.path.join(lvm_lock_dir(), 'V_' + vg_name), 'an LVM command that uses the VG %s' % vg_name)


def lvm_lock_dir():
    """LVM's locking_dir: what lvm.conf says, otherwise the usual one."""
    configured = re.search(r'^[ \t]*locking_dir[ \t]*=[ \t]*"([^"]+)"', _read(LVM_CONF), re.M)
    if configured and os.path.isdir(configured.group(1)):
        return configured.group(1)
    return LVM_LOCK_DIR


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
                for path in scsi_paths(self.scsi_id):
                    self.vg_name = self._vg_name_on(path)
                    if self.vg_name:
                        self._take(self.vg_name)
                        return
                time.sleep(LOOK)
        except errors.ResignError:
            self.error = errors.current()

    def _vg_name_on(self, path):
        """The VG name on a device, or '' while that cannot be read or is nothing that we would resign."""
        try:
            device = blockdev.Device(path, False)
            try:
                label = lvm.find_label(device.read(0, lvm.AREA_OFFSET))
                area = lvm.Area(device, label.area[0], label.area[1])
                match = not area.empty and _VG_NAME.search(area.text)
            finally:
                device.close()
        except errors.ResignError:
            return ''
        if match:
            return match.group(1)
        return ''

    def _take(self, vg_name):
        lock = vg_lock(vg_name)
        end = time.time() + LOCK_TIMEOUT
        while not self._stop_asked and time.time() < end:
            if lock.try_acquire():
                self._lock = lock
                return
            time.sleep(LOOK)

    def hold(self, vg_name):
        """The lock on `vg_name` is held when this returns. Raises errors.LockTimeout."""
        if self.vg_name == vg_name:
            self.join(LOCK_TIMEOUT + 1)
        if self._lock is None or self.vg_name != vg_name:
            self.release()
            self._lock = vg_lock(vg_name)
            self._lock.acquire()

    def release(self):
        """No error when nothing is held."""
        self._stop_asked = True
        self.join(LOCK_TIMEOUT + 1)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
