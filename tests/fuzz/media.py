# SPDX-License-Identifier: LGPL-2.1-only
"""LUNs that can be edited: an image file, or pages in memory that the engine takes for a device."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io

from relvm import errors

SECTOR = 512
PAGE = 4096
ZEROS = b"\0" * PAGE


class File(object):
    """An image file; `read` and `write` at any place."""

    def __init__(self, path):
        self.path = path
        with io.open(path, "rb") as stream:
            self.size = stream.seek(0, 2)

    def read(self, offset, length):
        with io.open(self.path, "rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def write(self, offset, data):
        with io.open(self.path, "r+b") as stream:
            stream.seek(offset)
            stream.write(bytes(data))


class Pages(object):
    """A LUN in memory: pages that are not zero, above those of an optional base that is never changed."""

    def __init__(self, size, base=None):
        self.size = size
        self.base = base or {}
        self.pages = {}

    @classmethod
    def of_chunks(cls, size, chunks):
        """chunks: (offset, bytes), as lvhd.image.chunks gives them."""
        pages = cls(size)
        for offset, data in chunks:
            pages.write(offset, data)
        return cls(size, pages.pages)

    def copy(self):
        """The same content, to be changed."""
        other = Pages(self.size, self.base)
        other.pages = dict(self.pages)
        return other

    def page(self, number):
        found = self.pages.get(number)
        if found is None:
            found = self.base.get(number, ZEROS)
        return found

    def read(self, offset, length):
        """Bytes; short at the end of the LUN."""
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        first, last = offset // PAGE, (end - 1) // PAGE
        if first == last:
            return self.page(first)[offset - first * PAGE:end - first * PAGE]
        data = b"".join([self.page(number) for number in range(first, last + 1)])
        return data[offset - first * PAGE:end - first * PAGE]

    def write(self, offset, data):
        position = 0
        while position < len(data):
            number, start = divmod(offset + position, PAGE)
            part = bytes(data[position:position + PAGE - start])
            page = self.page(number)
            self.pages[number] = page[:start] + part + page[start + len(part):]
            position += len(part)

    def snapshot(self):
        """What tells this content from another of the same base."""
        return dict((number, page) for number, page in self.pages.items() if page != self.base.get(number, ZEROS))


class Device(object):
    """What the engine wants of relvm.engine.blockdev.Device, on `Pages`.

    strict: an unaligned or outlying access is an AssertionError, not an answer, since the engine must never ask for one.
    """

    def __init__(self, pages, writable=True):
        self.pages = pages
        self.size = pages.size // SECTOR * SECTOR
        self.path = "memory"
        self.step = "start"
        self.writable = writable
        self.reads = self.writes = self.flushes = 0
        self.bytes_read = self.bytes_written = 0
        self.written = []

    def read(self, offset, length):
        assert offset >= 0 and length >= 0 and offset % SECTOR == 0 and length % SECTOR == 0, (offset, length)
        self.reads += 1
        self.bytes_read += length
        if offset + length > self.size:
            raise errors.ReadFailed(device=self.path, offset=offset, length=length, cause="it ends there")
        return self.pages.read(offset, length)

    def read_all(self, places):
        return [self.read(offset, length) for offset, length in places]

    def read_any(self, offset, length):
        start = offset // SECTOR * SECTOR
        end = -(-(offset + length) // SECTOR) * SECTOR
        return self.read(start, end - start)[offset - start:offset - start + length]

    def write(self, offset, data):
        assert self.writable, "a write to a LUN that was opened to be read"
        assert 0 <= offset <= offset + len(data) <= self.size and offset % SECTOR == 0 and len(data) % SECTOR == 0, (offset, len(data))
        self.writes += 1
        self.bytes_written += len(data)
        self.written.append((offset, len(data)))
        self.pages.write(offset, data)

    def flush(self):
        self.flushes += 1

    def close(self):
        pass
