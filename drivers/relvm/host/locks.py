# SPDX-License-Identifier: LGPL-2.1-only
"""The locks of this product on this host, LVM's own lock on a VG name, and the small files that say what a run is about."""

import errno
import fcntl
import os
import re
import time

from relvm import errors
from relvm.engine.descriptor import CLOSE_ON_EXEC
from relvm.host import line
from relvm.host.devices import read_line

RUN_DIR = '/var/run/relvmoiscsi'
LVM_LOCK_DIR = '/var/lock/lvm'
LVM_CONF = '/etc/lvm/lvm.conf'
# Of the tickets, in RUN_DIR
LINE = 'line'

# Seconds to wait for any lock while nothing moves, and between two looks
LOCK_TIMEOUT = 60
LOOK = 0.01


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
    return read_line(os.path.join(RUN_DIR, name)).split('\n')


def remove_state(name):
    """No error when there is none."""
    try:
        os.unlink(os.path.join(RUN_DIR, name))
    except OSError:
        if errors.current().errno != errno.ENOENT:
            raise


class FileLock(object):
    """An exclusive flock on a file, taken the way LVM takes its own: opened with O_CREAT|O_APPEND|O_RDWR, and when the file was
    unlinked while we waited, once more. The kernel drops it when the process ends. Runs of this product get it one after the other,
    in the order in which they came."""

    def __init__(self, path, what):
        self.path = path
        self.what = what
        self.fd = -1
        self._ticket = None

    def try_acquire(self):
        """True when it is held now. Waits for nobody, not even in line."""
        if self.fd >= 0:
            return True
        try:
            fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR | CLOSE_ON_EXEC, 511)
        except OSError:
            raise errors.HostUnusable(path=self.path, cause=errors.current().args[-1])
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

    def acquire(self, timeout=None, wanted=None, meanwhile=None):
        """Waits, in line, as long as something moves: the line, or, at its head, the holder of the lock from one to another. Raises
        errors.LockTimeout when nothing has moved for `timeout` seconds. wanted: a function; the wait also ends, without the lock,
        when that answers False. meanwhile: a function that is called once, unless the lock is there at once. True when the lock is
        held."""
        if timeout is None:
            timeout = LOCK_TIMEOUT
        self._draw_ticket()
        try:
            self._wait(timeout, wanted, meanwhile)
        finally:
            if self.fd < 0:
                self.release()
        return self.fd >= 0

    def _draw_ticket(self):
        directory = os.path.join(RUN_DIR, LINE)
        try:
            self._ticket = line.Ticket(directory, os.path.basename(self.path))
        except EnvironmentError:
            raise errors.HostUnusable(path=directory, cause=errors.current().args[-1])

    def _wait(self, timeout, wanted, meanwhile):
        seen = None
        since = time.time()
        behind = False
        while wanted is None or wanted():
            ahead = self._ticket.ahead()
            if ahead:
                behind = True
            elif behind:
                # one look is let go by: an LVM command that waits for the lock gets it in between
                behind = False
            elif self.try_acquire():
                return
            else:
                ahead = holders(self.path)
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            if ahead != seen:
                seen = ahead
                since = time.time()
            elif time.time() > since + timeout:
                raise errors.LockTimeout(seconds=timeout, what=self.what)
            # who is further back in the line looks less often: many that wait would keep the host from what they wait for
            time.sleep(LOOK * max(1, len(ahead) - 1))

    def touch(self):
        """Shows those who wait that the work goes on."""
        if self._ticket is not None:
            self._ticket.touch()

    def release(self):
        """No error when it is not held."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            line.unlock(fd)
        if self._ticket is not None:
            ticket, self._ticket = self._ticket, None
            ticket.leave()


def holders(path):
    """The process ids that have a lock on a file, as the kernel lists them; they change when it goes from one to another."""
    try:
        inode = os.stat(path).st_ino
    except OSError:
        return ()
    lines = [words.split() for words in read_line('/proc/locks').split('\n')]
    return tuple([words[4] for words in lines if len(words) > 5 and words[1] != '->' and words[5].endswith(':%d' % inode)])


def lun_lock(scsi_id):
    """The lock that lets one resign at a time work on a LUN on this host."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, scsi_id + '.lock'), 'another resign of the LUN %s' % scsi_id)


def session_lock(iqn):
    """The lock under which this product changes sm's list of users of an iSCSI session; sm itself takes none for sr-create."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, 'session-' + re.sub('[^A-Za-z0-9_.:-]', '_', iqn) + '.lock'),
                    'another resign that uses the target %s' % iqn)


def scan_lock():
    """The lock under which one run at a time looks for new LUNs behind this host's HBAs."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, 'scan.lock'), 'another run that looks for its LUN')


def discover_lock():
    """The lock under which one run at a time looks at a target's LUNs."""
    write_state('.writable', [])
    return FileLock(os.path.join(RUN_DIR, 'discover.lock'), 'another look at the LUNs of a target')


def vg_lock(vg_name):
    """LVM's own lock on a VG name: while it is held, every LVM command of this host that uses a VG of that name waits."""
    return FileLock(os.path.join(lvm_lock_dir(), 'V_' + vg_name), 'an LVM command that uses the VG %s' % vg_name)


def lvm_lock_dir():
    """LVM's locking_dir: what lvm.conf says, otherwise the usual one."""
    configured = re.search(r'^[ \t]*locking_dir[ \t]*=[ \t]*"([^"]+)"', read_line(LVM_CONF), re.M)
    if configured and os.path.isdir(configured.group(1)):
        return configured.group(1)
    return LVM_LOCK_DIR
