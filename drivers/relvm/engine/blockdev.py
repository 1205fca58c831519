# SPDX-License-Identifier: LGPL-2.1-only
"""Exclusive, aligned, flushed I/O on one LUN: a block device, or an image file of one.

On a block device everything bypasses the page cache (O_DIRECT): what was read is what the array has, and a flush has
nothing left behind. O_DIRECT wants offsets and lengths in multiples of the logical block size and a buffer that is aligned
as well; an anonymous mmap is, and an unbuffered file's `readinto` and `os.write` use it in place. Where that does not work
the page cache is used and thrown away (BLKFLSBUF) after open, after every flush and before close.

A device that is written is opened with O_EXCL, which fails while a mount, a device-mapper map or another exclusive user has
it; an image file is locked with flock instead. Reading alone excludes nobody.

Numbers of the ioctls: linux/fs.h.
"""

import errno
import fcntl
import os
import stat
import struct
import sys

from relvm import errors
from relvm.engine import descriptor
from relvm.engine import together
from relvm.octets import octets

SECTOR = 512
BLKROGET = 0x125e
BLKFLSBUF = 0x1261
BLKSSZGET = 0x1268
# Neighbouring changes closer than this are written together: one request instead of two, with the bytes between as read
JOIN = 4096
# What two versions of a structure are compared by; most grains are equal, so a block of them is looked at first
GRAIN = 16
BLOCK = 8 * GRAIN
# Parts of one large write
CHUNK = 1 << 20
# Aligned buffers up to this length are kept: making one takes longer than a short read
KEPT = 8192
# What patch() and a comparison hold in memory
AT_ONCE = 8 << 20


class Device(object):
    """One open LUN.

    path   as it was opened
    size   bytes
    direct whether it bypasses the page cache
    reads, writes, flushes, bytes_read, bytes_written   counters
    round_trips   of reads, one after the other; reads that are made at once count as the longest of their rows
    step   what the run is doing, for the sentence of a failed write
    """

    # Whether several may read at once
    SHARED = True

    def __init__(self, path, writable=True):
        """Raises errors.DeviceMissing, DeviceBusy, DeviceReadOnly, BlockSize."""
        self.path = path
        self.writable = writable
        self.step = 'start'
        self.reads = self.writes = self.flushes = self.round_trips = 0
        self.bytes_read = self.bytes_written = 0
        self.failed = False
        self._file = None
        self._buffers = {}
        try:
            mode = os.stat(path)[stat.ST_MODE]
            if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
                raise errors.NotADisk(device=path, kind={True: 'a directory', False: 'a special file'}[stat.S_ISDIR(mode)])
            self.is_block = stat.S_ISBLK(mode)
            self.fd = os.open(path, self._flags())
        except OSError:
            self._refuse_open(sys.exc_info()[1])
        try:
            self._inspect()
        except Exception:
            os.close(self.fd)
            raise

    def _flags(self):
        flags = os.O_RDONLY | descriptor.CLOSE_ON_EXEC
        if self.writable:
            flags = os.O_RDWR | descriptor.CLOSE_ON_EXEC
            if self.is_block:
                flags |= os.O_EXCL
        return flags

    def _refuse_open(self, error):
        if error.errno == errno.EBUSY:
            raise errors.DeviceBusy(device=self.path)
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and self.writable:
            raise errors.DeviceReadOnly(device=self.path)
        raise errors.DeviceMissing(device=self.path, cause=os.strerror(error.errno))

    def _inspect(self):
        if self.is_block:
            size = self._ioctl_int(BLKSSZGET)
            if size != SECTOR:
                raise errors.BlockSize(device=self.path, size=size)
            if self.writable and self._ioctl_int(BLKROGET):
                raise errors.DeviceReadOnly(device=self.path)
        elif self.writable:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except IOError:
                raise errors.DeviceBusy(device=self.path)
        self.size = os.lseek(self.fd, 0, 2) // SECTOR * SECTOR
        self.direct = self.is_block and self._try_direct()
        self._forget_cache()

    def _try_direct(self):
        """Turns O_DIRECT on and reads the first sector. False if this kernel, device or Python cannot."""
        flags = fcntl.fcntl(self.fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            self._file = os.fdopen(fcntl.fcntl(self.fd, descriptor.DUPLICATE, 0), 'rb', 0)
            os.lseek(self.fd, 0, 0)
            return len(self._read_direct(min(SECTOR, self.size))) == min(SECTOR, self.size)
        except (EnvironmentError, AttributeError, TypeError):
            fcntl.fcntl(self.fd, fcntl.F_SETFL, flags)
            return False

    def _ioctl_int(self, request):
        answer = fcntl.ioctl(self.fd, request, struct.pack('i', 0))
        return struct.unpack('i', answer)[0]

    def _forget_cache(self):
        if self.is_block and not self.direct:
            fcntl.ioctl(self.fd, BLKFLSBUF, 0)

    def close(self):
        """Releases the device. Writes nothing."""
        if self.fd >= 0:
            try:
                if not self.failed:
                    self._forget_cache()
            finally:
                if self._file is not None:
                    self._file.close()
                os.close(self.fd)
                self.fd = -1

    def read(self, offset, length):
        """`length` bytes at `offset`, both multiples of 512. Raises errors.ReadFailed, also when the device ends."""
        if offset % SECTOR or length % SECTOR or offset < 0:
            raise ValueError('unaligned read of %d bytes at %d' % (length, offset))
        data = octets('')
        try:
            os.lseek(self.fd, offset, 0)
            while len(data) < length:
                part = self._read(length - len(data))
                if not part:
                    raise EnvironmentError(errno.ENXIO, 'it ends there')
                data += part
        except (EnvironmentError, OverflowError):
            raise errors.ReadFailed(device=self.path, offset=offset, length=length, cause=sys.exc_info()[1].args[-1])
        self.reads += 1
        self.round_trips += 1
        self.bytes_read += length
        return data

    def read_all(self, places):
        """[bytes] of [(offset, length)], as read(); at once where that can be."""
        for offset, length in places:
            if offset % SECTOR or length % SECTOR or offset < 0:
                raise ValueError('unaligned read of %d bytes at %d' % (length, offset))
        at_once = self.SHARED and len(places) > 1 and together.read(self, places)
        if not at_once:
            return [self.read(offset, length) for offset, length in places]
        found, trips = at_once
        self.reads += len(places)
        self.round_trips += trips
        self.bytes_read += sum([length for _, length in places])
        return found

    def _read(self, length):
        if self.direct:
            return self._read_direct(length)
        return os.read(self.fd, length)

    def _read_direct(self, length):
        buffer = self._buffers.get(length)
        if buffer is None:
            buffer = descriptor.aligned(length)
            if length <= KEPT:
                self._buffers[length] = buffer
        return buffer[:self._file.readinto(buffer)]

    def read_any(self, offset, length):
        """`length` bytes at `offset`, whatever the alignment."""
        start, size = whole_sectors(offset, length)
        return self.read(start, size)[offset - start:offset - start + length]

    def write(self, offset, data):
        """Writes bytes; offset and length are multiples of 512. Not on the medium before flush(). Raises errors.WriteFailed."""
        if offset % SECTOR or len(data) % SECTOR or offset < 0 or offset + len(data) > self.size:
            raise ValueError('write of %d bytes at %d of %d' % (len(data), offset, self.size))
        try:
            os.lseek(self.fd, offset, 0)
            position = 0
            while position < len(data):
                count = self._write(data[position:position + CHUNK])
                if count % SECTOR or not count:
                    raise EnvironmentError(errno.EIO, 'short write')
                position += count
        except EnvironmentError:
            self.failed = True
            raise errors.WriteFailed(step=self.step, device=self.path, offset=offset, length=len(data),
                                     cause=sys.exc_info()[1].args[-1])
        self.writes += 1
        self.bytes_written += len(data)

    def _write(self, data):
        if not self.direct:
            return os.write(self.fd, data)
        buffer = descriptor.aligned(len(data))
        try:
            buffer.write(data)
            return os.write(self.fd, buffer)
        finally:
            buffer.close()

    def flush(self):
        """Everything written so far is on the medium when this returns. Raises errors.FlushFailed; after that nothing is
        written any more, since a second fsync would answer success for data that is gone."""
        if self.failed:
            raise errors.FlushFailed(step=self.step, device=self.path, cause='an earlier write failed')
        try:
            os.fsync(self.fd)
            self._forget_cache()
        except EnvironmentError:
            self.failed = True
            raise errors.FlushFailed(step=self.step, device=self.path, cause=sys.exc_info()[1].args[-1])
        self.flushes += 1


def whole_sectors(offset, length):
    """(offset, length) of the sectors in which a place lies."""
    start = offset // SECTOR * SECTOR
    return start, (offset + length + SECTOR - 1) // SECTOR * SECTOR - start


def groups(places):
    """Yields [(offset, length, ...)] in lists of AT_ONCE bytes at most, or of one place."""
    group, size = [], 0
    for place in places:
        if group and size + place[1] > AT_ONCE:
            yield group
            group, size = [], 0
        group.append(place)
        size += place[1]
    if group:
        yield group


def read_places(device, places):
    """{(offset, length): bytes} of [(offset, length)], multiples of 512, on a Device. Places that touch are one read."""
    joined = []
    for place in sorted(places):
        start, end = place[0], place[0] + place[1]
        if joined and start <= joined[-1][1] and end - joined[-1][0] <= CHUNK:
            joined[-1][1] = max(end, joined[-1][1])
            joined[-1][2].append(place)
        else:
            joined.append([start, end, [place]])
    found = {}
    for (start, _, members), data in zip(joined, device.read_all([(start, end - start) for start, end, _ in joined])):
        for offset, length in members:
            found[offset, length] = data[offset - start:offset - start + length]
    return found


def spans(runs):
    """Byte runs [(offset, bytes)] -> [(offset, length, [run])]: whole sectors, neighbours joined, sorted."""
    found = []
    for run in sorted(runs):
        start, size = whole_sectors(run[0], len(run[1]))
        end = start + size
        if found and start <= found[-1][1] + JOIN and end - found[-1][0] <= CHUNK:
            found[-1][1] = max(end, found[-1][1])
            found[-1][2].append(run)
        else:
            found.append([start, end, [run]])
    return [(start, end - start, members) for start, end, members in found]


def patch(device, spans_of_it):
    """Reads spans, puts their runs in and writes them back, one after the other; not more than AT_ONCE bytes are read at a time."""
    for group in groups(spans_of_it):
        for span, data in zip(group, device.read_all([span[:2] for span in group])):
            _patch(device, span, data)


def _patch(device, span, data):
    offset, _, runs = span
    pieces = []
    position = 0
    for start, new in runs:
        start -= offset
        pieces.append(data[position:start])
        pieces.append(new)
        position = start + len(new)
    pieces.append(data[position:])
    device.write(offset, octets('').join(pieces))


def difference(offset, old, new):
    """The byte runs that make `new` of `old`, which have the same length and stand at `offset`: [(offset, bytes)].

    Compared in grains of GRAIN bytes; neighbouring grains that differ are one run.
    """
    if len(old) != len(new):
        raise ValueError('%d bytes for %d' % (len(new), len(old)))
    places = []
    for block in range(0, len(old), BLOCK):
        if old[block:block + BLOCK] == new[block:block + BLOCK]:
            continue
        for start in range(block, min(block + BLOCK, len(old)), GRAIN):
            # the last one may be shorter, and a slice ends where the bytes do
            end = start + GRAIN
            if old[start:end] == new[start:end]:
                continue
            if places and places[-1][1] == start:
                places[-1][1] = end
            else:
                places.append([start, end])
    return [(offset + start, new[start:end]) for start, end in places]
