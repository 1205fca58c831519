# SPDX-License-Identifier: LGPL-2.1-only
"""What a VM does with its disk: writes to and reads from the VHD in an activated LV, writes to a QCOW2 image.

The writer is independent of the engine and of the test suite's reader; it does what tapdisk does for one write: a block at the end of
the data, its bitmap, the entry in the block table.
"""

import os
import struct
import tempfile

from dom0.bin.vhd_util import BLOCK, SECTOR, UNUSED, Vhd
from inside import devices
from inside.command import run
from lvhd import reader

BITMAP_SECTORS = 1


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
            vhd.write(entry * SECTOR, bytes(SECTOR))
        bitmap = bytearray(vhd.read(entry * SECTOR, SECTOR))
        for bit in range(first, first + count):
            bitmap[bit // 8] |= 0x80 >> bit % 8
        vhd.write((entry + BITMAP_SECTORS + first) * SECTOR, data)
        vhd.write(entry * SECTOR, bytes(bitmap))
        vhd.write(vhd.header.table_offset + 4 * block, struct.pack(">I", entry))
    finally:
        vhd.close()


def write_qcow2(path, data, sector):
    """As write() for a QCOW2 image, by qemu-io; the images behind it must be active as well."""
    with tempfile.NamedTemporaryFile() as source:
        source.write(data)
        source.flush()
        run("qemu-io", "-f", "qcow2", "-c", f"write -s {source.name} {sector * SECTOR} {len(data)}", path)


class LogicalVolume:
    """An active LV as lvhd.reader.Vhd reads volumes."""

    def __init__(self, path):
        self.name = os.path.basename(path)
        self._stream = open(path, "rb")
        self.size = self._stream.seek(0, os.SEEK_END)

    def read(self, offset, length):
        self._stream.seek(offset)
        return self._stream.read(length)

    def close(self):
        self._stream.close()


def read(vg, name, sector, count):
    """Sectors of a disk as a VM reads them: the top VHD is LV `name` of `vg`; its whole chain must be active."""
    sectors = {}
    layers = []
    while name:
        volume = LogicalVolume(f"/dev/{vg}/{name}")
        layers.append(volume)
        vhd = reader.Vhd(volume)
        sectors = {**vhd.sectors(), **sectors}
        name = vhd.parent_volume()
    for volume in layers:
        volume.close()
    return b"".join(sectors.get(number, bytes(SECTOR)) for number in range(sector, sector + count))


def lun_of_lv(vg, name):
    """SCSI ids that an active LV's table leads to."""
    return devices.lv_luns(vg)[devices.dm_name(vg, name)]
