# SPDX-License-Identifier: LGPL-2.1-only
"""LUNs that an interrupted resign left locked, and forged logs on them.

The log's format is that of the docstring of relvm.formats.redolog, packed here independently.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct
import zlib

from fuzz import media
from fuzz.edit import Editor
from lvhd import image
from lvhd.lvmdisk import crc
from relvm import errors
from relvm.engine import resign

NEW_SR = str("1f0e0d0c-1111-4222-8333-444455556666")
HEAD = 512
BODY = struct.Struct(str("<QII32sQQIQ"))


class Pulled(Exception):
    """The plug was pulled."""


class Interrupted(media.Device):
    """Takes so many writes, and no more."""

    def __init__(self, pages, writes):
        media.Device.__init__(self, pages)
        self._left = writes

    def write(self, offset, data):
        if not self._left:
            raise Pulled()
        self._left -= 1
        media.Device.write(self, offset, data)


class Locked(Editor):
    """The LUN of a model behind switch 1: log, staged area and label are written, and nothing else. staged: where that area is.

    fields: [length, CRC, number of runs, PV UUID, staged offset, staged size, CRC of the text, area size] of the log; history: what
    follows them in its head; sources: the bytes in front of it; runs: [(offset, bytes)]. `seal` writes them.
    """

    def __init__(self, sr):
        pages = media.Pages.of_chunks(image.size(image.settle(sr)), image.chunks(sr))
        try:
            resign.resign(Interrupted(pages, 3), NEW_SR)
        except Pulled:
            pass
        Editor.__init__(self, pages, sr)
        self.end = self.size("MGT")
        raw = self.read("MGT", self.end - HEAD, HEAD)
        assert raw[:8] == b"RELVMLOG"
        self.fields = list(BODY.unpack_from(raw, 16))
        self.staged = self.fields[4]
        self.history = bytearray(raw[16 + BODY.size:])
        length = -(-16 * struct.unpack_from(str("<I"), self.history, 4)[0] // HEAD) * HEAD
        self.sources = self.read("MGT", self.end - HEAD - length, length)
        self.runs = []
        body = self.read("MGT", self.end - HEAD - length - self.fields[0], self.fields[0])
        position = 0
        for _ in range(self.fields[2]):
            offset, length = struct.unpack_from(str("<QI"), body, position)
            self.runs.append((offset, body[position + 12:position + 12 + length]))
            position += 12 + length

    def seal(self, body=None, count=None, sums_right=True, length=None, magic=b"RELVMLOG", version=2):
        """Writes `fields` and `runs` as a log with right checksums; what is given is written instead."""
        if body is None:
            body = b"".join(struct.pack(str("<QI"), offset, len(data)) + data for offset, data in self.runs)
            body += b"\0" * (-len(body) % HEAD)
        fields = list(self.fields)
        fields[0] = len(body) if length is None else length
        fields[1] = zlib.crc32(body) & 0xffffffff if sums_right else 0
        fields[2] = len(self.runs) if count is None else count
        sources, history = self.sources, bytes(self.history)
        if version == 1:
            sources, history = b"", b""
        rest = (BODY.pack(*fields) + history).ljust(HEAD - 16, b"\0")
        head = struct.pack(str("<8sII"), magic, version, zlib.crc32(rest) & 0xffffffff) + rest
        self.write("MGT", self.end - HEAD - len(sources) - len(body), body + sources + head)

    def seal_history(self, kind, offset, value):
        """Another value in the history, counted from its start in the head, under right checksums."""
        struct.pack_into(str(kind), self.history, offset, value)
        self.seal()

    def staged_text(self):
        """The live text of the staged area, without its NUL."""
        start = self.staged
        offset, length = struct.unpack(str("<QQ"), self.medium.read(start + 40, 16))
        return self.medium.read(start + offset, length)[:-1]

    def write_staged_text(self, data):
        """Another staged text; label and log follow it."""
        data += b"\0"
        start = self.staged
        size = -(-(HEAD + len(data)) // HEAD) * HEAD
        self.medium.write(start + HEAD, data)
        header = bytearray(self.medium.read(start, HEAD))
        struct.pack_into(str("<QQQII"), header, 32, size, HEAD, len(data), crc(data), 0)
        struct.pack_into(str("<I"), header, 0, crc(bytes(header[4:])))
        self.medium.write(start, bytes(header))
        self.label(lambda raw: struct.pack_into(str("<QQ"), raw, 104, start, size))
        self.fields[4], self.fields[5], self.fields[6] = start, size, crc(data)
        self.seal()


def recovered(pages):
    """What a run on the LUN says, and the device: (exception or None, media.Device)."""
    device = media.Device(pages)
    try:
        resign.resign(device, str("2f0e0d0c-1111-4222-8333-444455556666"))
    except errors.ResignError as error:
        return error, device
    return None, device
