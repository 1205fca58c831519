# SPDX-License-Identifier: LGPL-2.1-only
"""A LUN in memory: the sectors that differ from a base image, so that one more state costs only what differs."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import io
import mmap
import struct

SECTOR = 512


class Base(object):
    """The image file that media share.  It is never written."""

    def __init__(self, path):
        self.path = str(path)
        with io.open(self.path, 'rb') as stream:
            self.map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.size = len(self.map)


class Medium(object):
    """base: Base; sectors: {number: 512 bytes}, only those that differ from the base."""

    def __init__(self, base, sectors=()):
        self.base = base
        self.sectors = dict(sectors)

    def copy(self):
        return Medium(self.base, self.sectors)

    def read(self, offset, length):
        """Bytes; short at the end of the LUN."""
        data = self.base.map[offset:offset + length]
        first, last = offset // SECTOR, (offset + len(data) - 1) // SECTOR
        if last - first < len(self.sectors):
            changed = [number for number in range(first, last + 1) if number in self.sectors]
        else:
            changed = [number for number in self.sectors if first <= number <= last]
        if not changed:
            return data
        data = bytearray(data)
        for number in changed:
            start = number * SECTOR - offset
            low, high = max(start, 0), min(start + SECTOR, len(data))
            data[low:high] = self.sectors[number][low - start:high - start]
        return bytes(data)

    def write(self, offset, data):
        """Whole sectors."""
        assert offset % SECTOR == 0 and len(data) % SECTOR == 0 and offset + len(data) <= self.base.size
        for start in range(0, len(data), SECTOR):
            number = (offset + start) // SECTOR
            sector = bytes(data[start:start + SECTOR])
            if sector == self.base.map[offset + start:offset + start + SECTOR]:
                self.sectors.pop(number, None)
            else:
                self.sectors[number] = sector

    def key(self):
        """Equal for media with equal contents."""
        digest = hashlib.sha1()
        for number in sorted(self.sectors):
            digest.update(struct.pack(str('<Q'), number))
            digest.update(self.sectors[number])
        return digest.digest()

    def file(self):
        """A seekable binary file object for the readers of lvhd."""
        return _File(self)

    def write_to(self, path):
        """Put the differing sectors into a copy of the base image at `path`."""
        with io.open(path, 'r+b') as stream:
            for number in sorted(self.sectors):
                stream.seek(number * SECTOR)
                stream.write(self.sectors[number])


class _File(object):
    def __init__(self, medium):
        self._medium = medium
        self._position = 0

    def seek(self, offset, whence=0):
        self._position = offset + (0, self._position, self._medium.base.size)[whence]
        return self._position

    def tell(self):
        return self._position

    def read(self, length):
        data = self._medium.read(self._position, length)
        self._position += len(data)
        return data
