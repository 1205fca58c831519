# SPDX-License-Identifier: LGPL-2.1-only
"""Images on a tmpfs and loop devices on them: a medium that costs as good as nothing, so that programs are compared and not disks."""

import contextlib
import dataclasses
import errno
import os
import shutil
import subprocess
import tempfile
import time

TMPFS = '/dev/shm'
LOOP_ATTEMPTS = 120
LOOP_WAIT = 0.25
SECTOR = 512


@contextlib.contextmanager
def scratch():
    """A directory for the images, on a tmpfs where there is one; (path, what kind of file system that is)."""
    place, kind = None, 'file system of %s' % tempfile.gettempdir()
    if os.access(TMPFS, os.W_OK) and _filesystem(TMPFS) == 'tmpfs':
        place, kind = TMPFS, 'tmpfs'
    directory = tempfile.mkdtemp(prefix='relvm-bench-', dir=place)
    try:
        yield directory, kind
    finally:
        shutil.rmtree(directory)


def _filesystem(path):
    with open('/proc/mounts') as mounts:
        found = [line.split()[2] for line in mounts if line.split()[1] == path]
    return found[-1] if found else ''


def copy(source, target):
    """A sparse copy: what an array's clone costs is no part of any figure."""
    with open(source, 'rb') as old, open(target, 'wb') as new:
        size = os.fstat(old.fileno()).st_size
        end = 0
        while end < size:
            try:
                start = os.lseek(old.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            os.lseek(new.fileno(), start, os.SEEK_SET)
            position = start
            while position < end:
                position += os.sendfile(new.fileno(), old.fileno(), position, end - position)
        new.truncate(size)


@contextlib.contextmanager
def loop(image):
    """A loop device for the image; its path."""
    for _ in range(LOOP_ATTEMPTS):
        done = subprocess.run(['losetup', '--find', '--show', image], capture_output=True, text=True)
        if done.returncode == 0:
            break
        # all taken, or another process took the one that was found
        time.sleep(LOOP_WAIT)
    else:
        raise RuntimeError('no loop device: ' + done.stderr)
    device = done.stdout.strip()
    try:
        # a device that somebody set read-only stays so for the next image
        subprocess.run(['blockdev', '--setrw', device], check=True)
        yield device
    finally:
        subprocess.run(['losetup', '--detach', device], check=True)


def no_loop():
    """Why there are no loop devices here, or None."""
    if os.geteuid() != 0:
        return 'loop devices need root'
    if not os.path.exists('/dev/loop-control'):
        return 'this kernel has no loop devices'
    for program in ('losetup', 'blockdev'):
        if shutil.which(program) is None:
            return '%s is not installed' % program
    return None


@dataclasses.dataclass
class Requests:
    """What the kernel counted on a block device, or a difference of two such counts. Lengths are bytes."""
    reads: int
    bytes_read: int
    writes: int
    bytes_written: int
    flushes: int

    def __sub__(self, other):
        return Requests(*(getattr(self, field.name) - getattr(other, field.name) for field in dataclasses.fields(self)))


def requests(device):
    """The Requests since boot of a loop device (Documentation/block/stat.rst of Linux)."""
    with open('/sys/block/%s/stat' % os.path.basename(device)) as stream:
        fields = [int(word) for word in stream.read().split()]
    flushes = fields[15]
    # a flush is counted as a write of nothing, too
    return Requests(fields[0], fields[2] * SECTOR, fields[4] - flushes, fields[6] * SECTOR, flushes)
