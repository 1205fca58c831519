# SPDX-License-Identifier: LGPL-2.1-only
"""The file of `relvm pack`: those bytes of a LUN that a resign reads, so that what it did or refused can be seen elsewhere.

Integers are little-endian.

    0    8  "RELVMPAK"
    8    4  version (1)
    12   4  flags: 1 names were replaced
    16   8  size of the LUN in bytes
    24   4  number of pieces
    28   8  length of the pieces before they were compressed
    36   4  CRC-32 of the pieces before they were compressed
    40  20  version of the program that wrote it, padded with NULs
    60   4  CRC-32 of bytes 0..59
    64      the pieces as one zlib stream, to the end of the file

Piece: u64 offset on the LUN, u32 length, then so many bytes. Pieces are sorted and do not overlap. What no piece covers reads as
zeros.
"""

import bisect
import struct
import zlib

from relvm import errors
from relvm.octets import octets
from relvm.octets import text

MAGIC = octets('RELVMPAK')
VERSION = 1
HEAD = '<8sIIQIQI20s'
HEAD_SIZE = 64
PIECE = '<QI'
PIECE_HEAD = struct.calcsize(PIECE)
NAMES_REPLACED = 1
# Block tables of the largest SR; more was not written here, and a file from elsewhere must not eat the memory
MAX_LENGTH = 1 << 30
READ = 1 << 16


def write(stream, size, pieces, replaced, program):
    """Writes the file to `stream`, which is open for writing and seekable.

    size: of the LUN in bytes. pieces: iterable of (offset, bytes), sorted, disjoint; taken one at a time. replaced: names were
    replaced. program: version of the writer, native str.
    """
    stream.write(octets('\0') * HEAD_SIZE)
    packer = zlib.compressobj(9)
    count = length = crc = 0
    for offset, data in pieces:
        for part in (struct.pack(PIECE, offset, len(data)), data):
            crc = zlib.crc32(part, crc) & 0xffffffff
            length += len(part)
            stream.write(packer.compress(part))
        count += 1
    stream.write(packer.flush())
    flags = 0
    if replaced:
        flags = NAMES_REPLACED
    head = struct.pack(HEAD, MAGIC, VERSION, flags, size, count, length, crc, octets(program))
    stream.seek(0)
    stream.write(head + struct.pack('<I', zlib.crc32(head) & 0xffffffff))


class Excerpt(object):
    """What a file holds. Reads like a blockdev.Device that nobody writes.

    size      of the LUN in bytes
    replaced  names were replaced
    program   version of the program that wrote it
    pieces    [(offset, bytes)], sorted
    """

    def __init__(self, path):
        """Raises errors.BadExcerpt, also when the file cannot be read."""
        self.path = path
        try:
            stream = open(path, 'rb')
        except EnvironmentError:
            self._bad(errors.current().args[-1])
        try:
            head = stream.read(HEAD_SIZE)
            if len(head) != HEAD_SIZE or head[:8] != MAGIC:
                self._bad('it does not begin like one')
            if struct.unpack('<I', head[-4:])[0] != zlib.crc32(head[:-4]) & 0xffffffff:
                self._bad('its head is damaged')
            _, version, flags, self.size, count, length, crc, program = struct.unpack(HEAD, head[:-4])
            if version != VERSION:
                self._bad('its version is %d, not %d' % (version, VERSION))
            if length > MAX_LENGTH:
                self._bad('it would unpack to %d bytes' % length)
            body = self._body(stream, length)
        finally:
            stream.close()
        if len(body) != length or zlib.crc32(body) & 0xffffffff != crc:
            self._bad('its contents are damaged')
        self.replaced = bool(flags & NAMES_REPLACED)
        self.program = text(program).rstrip('\0')
        self.pieces = self._pieces(body, count)
        self._starts = [offset for offset, _ in self.pieces]

    def _bad(self, what):
        raise errors.BadExcerpt(path=self.path, what=what)

    def _body(self, stream, length):
        """Never more than one byte beyond what the head says, whatever the stream would unpack to."""
        packer = zlib.decompressobj()
        parts = []
        missing = length + 1
        try:
            data = stream.read(READ)
            while data and missing:
                parts.append(packer.decompress(data, missing))
                missing -= len(parts[-1])
                data = packer.unconsumed_tail or stream.read(READ)
        except zlib.error:
            self._bad('its contents are damaged')
        return octets('').join(parts)

    def _pieces(self, body, count):
        found = []
        position = 0
        end = 0
        while len(found) < count:
            if position + PIECE_HEAD > len(body):
                self._bad('a piece is missing')
            offset, length = struct.unpack(PIECE, body[position:position + PIECE_HEAD])
            position += PIECE_HEAD
            data = body[position:position + length]
            position += length
            if len(data) != length or offset < end or offset + length > self.size:
                self._bad('a piece at offset %d is out of place' % offset)
            end = offset + length
            found.append((offset, data))
        if position != len(body):
            self._bad('there is more than its pieces')
        return found

    def read(self, offset, length):
        """As Device.read."""
        if offset < 0 or offset + length > self.size:
            raise errors.ReadFailed(device=self.path, offset=offset, length=length, cause='it ends there')
        return covered(self.pieces, self._starts, offset, length)

    read_any = read

    def close(self):
        """Nothing is open."""


def covered(pieces, starts, offset, length):
    """`length` bytes at `offset` of [(offset, bytes)], zeros where there are none. starts: the offsets of the pieces."""
    parts = []
    position = offset
    end = offset + length
    for number in range(max(0, bisect.bisect_right(starts, offset) - 1), bisect.bisect_left(starts, end)):
        start, data = pieces[number]
        low = max(start, position)
        high = min(start + len(data), end)
        if low < high:
            parts.append(octets('\0') * (low - position))
            parts.append(data[low - start:high - start])
            position = high
    parts.append(octets('\0') * (end - position))
    return octets('').join(parts)
