# SPDX-License-Identifier: LGPL-2.1-only
"""Changes one structure of a LUN and makes the checksums over it right again, so that only the change itself can be noticed."""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct

from lvhd import image, mgt
from lvhd.lvmdisk import crc
from lvhd.model import SECTOR

LABEL_AT = 512
FOOTER = 512
HEADER_AT = 512
HEADER = 1024
LOCATORS_AT = 576
LOCATOR = struct.Struct(str(">4sIIIQ"))


def put(data, offset, form, *values):
    """Pack values into a bytearray."""
    struct.pack_into(str(form), data, offset, *values)


def vhd_checksum(data, at):
    return ~(sum(bytearray(data)) - sum(bytearray(data[at:at + 4]))) & 0xffffffff


class Editor(object):
    """Edits a medium (media.File or media.Pages) that holds the LUN of the settled model `sr`."""

    def __init__(self, medium, sr):
        self.medium = medium
        self.sr = sr
        self.volumes = dict((volume.name, volume) for volume in sr.all_volumes())

    # LVM

    def label(self, change, sum_right=True, sector=1):
        """change: function of the label sector (bytearray), in place."""
        raw = bytearray(self.medium.read(sector * SECTOR, SECTOR))
        change(raw)
        if sum_right:
            put(raw, 16, "<I", crc(bytes(raw[20:])))
        self.medium.write(sector * SECTOR, raw)

    def area(self, change, sum_right=True, offset=None):
        """change: function of the metadata area's header (bytearray), in place."""
        offset = self.sr.area_offset if offset is None else offset
        raw = bytearray(self.medium.read(offset, SECTOR))
        change(raw)
        if sum_right:
            put(raw, 0, "<I", crc(bytes(raw[4:])))
        self.medium.write(offset, raw)

    def read_text(self):
        """The live text without its NUL."""
        start, length = struct.unpack(str("<QQ"), self.medium.read(self.sr.area_offset + 40, 16))
        first = min(length, self.sr.area_size - start)
        data = self.medium.read(self.sr.area_offset + start, first)
        return (data + self.medium.read(self.sr.area_offset + SECTOR, length - first))[:-1]

    def write_text(self, data, ending=b"\0", sum_right=True):
        """Another live text, at the place of the one that is there."""
        data += ending
        start, = struct.unpack(str("<Q"), self.medium.read(self.sr.area_offset + 40, 8))
        first = self.sr.area_size - start
        self.medium.write(self.sr.area_offset + start, data[:first])
        self.medium.write(self.sr.area_offset + SECTOR, data[first:])

        def locate(raw):
            put(raw, 48, "<Q", len(data))
            if sum_right:
                put(raw, 56, "<I", crc(data))
        self.area(locate)

    def text(self, old, new, count=1):
        """Replaces the first `count` places of `old` in the live text; there must be one."""
        data = self.read_text()
        assert old.encode("utf-8") in data, old
        self.write_text(data.replace(old.encode("utf-8"), new.encode("utf-8"), count))

    def lv(self, name, old, new):
        """The same, inside the section of one LV."""
        data = self.read_text()
        start = data.index(("\n%s {\n" % name).encode("ascii"))
        old = old.encode("utf-8")
        assert old in data[start:], old
        self.write_text(data[:start] + data[start:].replace(old, new.encode("utf-8"), 1))

    # Volumes

    def read(self, name, offset, length):
        """Bytes of a volume."""
        return b"".join(self.medium.read(place, size) for place, size in self.places(name, offset, length))

    def write(self, name, offset, data):
        """Bytes into a volume."""
        position = 0
        for place, size in self.places(name, offset, len(data)):
            self.medium.write(place, data[position:position + size])
            position += size

    def places(self, name, offset, length):
        """[(offset on the LUN, length)] of a part of a volume."""
        return [(place, len(piece))
                for place, piece in image._volume_chunks(self.sr, self.volumes[name], [(offset, bytearray(length))])]

    def size(self, name):
        return self.volumes[name].extents * self.sr.extent_size

    def mgt(self, old, new):
        """Replaces bytes in the one sector of MGT that has them first; the sector is padded again."""
        used = self.read("MGT", 0, mgt.RECORDS + mgt.RECORD * 64)
        start = used.index(old) // SECTOR * SECTOR
        sector = used[start:start + SECTOR].rstrip(b" ").replace(old, new, 1)
        assert len(sector) <= SECTOR, sector
        self.write("MGT", start, sector.ljust(SECTOR))

    def record(self, vdi, old, new):
        """Replaces bytes in the record of a VDI, in either of its sectors."""
        index = [entry.uuid for entry in self.sr.vdis if entry.recorded].index(vdi.uuid)
        for start in (mgt.RECORDS + index * mgt.RECORD, mgt.RECORDS + index * mgt.RECORD + SECTOR):
            sector = self.read("MGT", start, SECTOR).rstrip(b" ")
            if old in sector:
                sector = sector.replace(old, new, 1)
                assert len(sector) <= SECTOR, sector
                return self.write("MGT", start, sector.ljust(SECTOR))
        raise AssertionError(old)

    # VHDs; `name` is that of the LV

    def footer(self, name, change, copy=True, end=True, sum_right=True):
        """change: function of the footer (bytearray), in place, for the copy at the start, the footer at the end, or both."""
        for wanted, offset in ((copy, 0), (end, self.size(name) - FOOTER)):
            if wanted:
                raw = bytearray(self.read(name, offset, FOOTER))
                change(raw)
                if sum_right:
                    put(raw, 64, ">I", vhd_checksum(raw, 64))
                self.write(name, offset, bytes(raw))

    def header(self, name, change, sum_right=True):
        raw = bytearray(self.read(name, HEADER_AT, HEADER))
        change(raw)
        if sum_right:
            put(raw, 36, ">I", vhd_checksum(raw, 36))
        self.write(name, HEADER_AT, bytes(raw))

    def locator(self, name, number, text=None, code=None, space=None, length=None, offset=None):
        """Changes a locator's entry, and its text when one is given (its length follows the text)."""
        at = LOCATORS_AT + LOCATOR.size * number
        old = self.read_locator(name, number)
        place = old[4] if offset is None else offset
        if text is not None:
            self.write(name, place, text.ljust(SECTOR, b"\0"))
            length = len(text) if length is None else length
        new = (code or old[0], old[1] if space is None else space, old[2] if length is None else length, 0, place)
        self.header(name, lambda raw: LOCATOR.pack_into(raw, at, *new))

    def read_locator(self, name, number):
        """(code, space, length, reserved, offset)"""
        return LOCATOR.unpack(self.read(name, HEADER_AT + LOCATORS_AT + LOCATOR.size * number, LOCATOR.size))

    def names(self, name, old, new):
        """Replaces a string in the parent's name and in every locator of a VHD; both strings have the same length."""
        assert len(old) == len(new)
        raw = self.read(name, HEADER_AT, HEADER)
        places = [LOCATOR.unpack_from(raw, LOCATORS_AT + LOCATOR.size * number) for number in range(8)]
        for code, _, length, _, offset in places:
            if code != b"\0\0\0\0" and offset + length <= self.size(name):
                data = self.read(name, offset, length)
                kind = "utf-8" if code == b"MacX" else "utf-16-le"
                self.write(name, offset, data.replace(old.encode(kind), new.encode(kind)))

        def rename(raw):
            raw[:] = raw.replace(old.encode("utf-16-be"), new.encode("utf-16-be"))
        self.header(name, rename)
