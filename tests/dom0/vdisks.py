# SPDX-License-Identifier: LGPL-2.1-only
"""What a VM sees of an attached VDI, as a file: read from the whole chain at the start, and what was changed written to the top at the end.

A double of a tapdisk that writes when it closes. The writer does what a tapdisk does for one write into a VHD: a block behind the data,
its bitmap, the entry in the block table.
"""
from __future__ import absolute_import, division, print_function

import os
import struct

from dom0.bin.vhd_util import BLOCK, SECTOR, UNUSED, Vhd
from lvhd import reader

NOTHING = b"\0" * SECTOR


def write(path, data, sector):
    """Writes whole sectors (bytes) at a sector of the disk whose top VHD is in the LV at `path`; within one block of 2 MiB."""
    vhd = Vhd("", path, "w")
    try:
        block, first = divmod(sector, BLOCK // SECTOR)
        count = len(data) // SECTOR
        entry = vhd.bat()[block]
        if entry == UNUSED:
            # The data of a block starts on a page, its bitmap in the sector before.
            end = vhd.end_of_data() // SECTOR
            entry = end + (7 - end) % 8
            vhd.write(entry * SECTOR, NOTHING)
        bitmap = bytearray(vhd.read(entry * SECTOR, SECTOR))
        for bit in range(first, first + count):
            bitmap[bit // 8] |= 0x80 >> bit % 8
        vhd.write((entry + 1 + first) * SECTOR, data)
        vhd.write(entry * SECTOR, bytes(bitmap))
        vhd.write(vhd.header.table_offset + 4 * block, struct.pack(str(">I"), entry))
    finally:
        vhd.close()


class LogicalVolume(object):
    """An active LV as lvhd.reader's disks read volumes."""

    def __init__(self, path):
        self.name = os.path.basename(path)
        self._stream = open(path, "rb")
        self._stream.seek(0, os.SEEK_END)
        self.size = self._stream.tell()

    def read(self, offset, length):
        self._stream.seek(offset)
        return self._stream.read(length)

    def close(self):
        self._stream.close()


def sectors(directory, name):
    """(size in bytes, {sector: 512 bytes}) of the disk whose top is LV `name` of the VG whose LVs are in `directory`; the whole chain is
    active."""
    found, size = {}, None
    while name:
        volume = LogicalVolume(os.path.join(directory, name))
        try:
            if not name.startswith("VHD-"):
                # a raw disk; sectors of zeros are nothing
                layer = dict((number, data) for number, data in enumerate(_cut(volume.read(0, volume.size))) if data != NOTHING)
                size, name = size or volume.size, None
            else:
                vhd = reader.Vhd(volume)
                layer = vhd.sectors()
                size, name = size or vhd.size, vhd.parent_volume()
        finally:
            volume.close()
        layer.update(found)
        found = layer
    return size, found


def _cut(data):
    return (data[at:at + SECTOR] for at in range(0, len(data), SECTOR))


class Disk(object):
    """The file `path` with the contents of a disk, until it is closed."""

    def __init__(self, path, directory, name):
        self.path = path
        self.top = os.path.join(directory, name)
        self.size, self.before = sectors(directory, name)
        with open(path, "wb") as stream:
            stream.truncate(self.size)
            for number in sorted(self.before):
                stream.seek(number * SECTOR)
                stream.write(self.before[number])

    def close(self, writable=True):
        """The changed sectors go to the disk's own layer."""
        with open(self.path, "rb") as stream:
            changed = [(number, data) for number, data in enumerate(_cut(stream.read())) if data != self.before.get(number, NOTHING)]
        os.unlink(self.path)
        if changed and not writable:
            raise AssertionError("a disk that was attached for reading was written to")
        run = []
        for number, data in changed:
            if run and (number != run[0] + len(run[1]) or number % (BLOCK // SECTOR) == 0):
                self._write(run)
                run = []
            run = run or [number, []]
            run[1].append(data)
        if run:
            self._write(run)

    def _write(self, run):
        number, data = run[0], b"".join(run[1])
        if os.path.basename(self.top).startswith("VHD-"):
            return write(self.top, data, number)
        with open(self.top, "r+b") as stream:
            stream.seek(number * SECTOR)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        return None
