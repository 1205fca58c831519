# SPDX-License-Identifier: LGPL-2.1-only
"""VHD structures in a logical volume, as vhd-util writes them.

Numbers are big-endian.  In the order of the volume (blktap include/libvhd.h; VHD Image Format Specification 1.0):

    0        copy of the footer, 512 bytes
    512      header, 1024 bytes
    1536     block allocation table (BAT): u32 sector of each block's bitmap, 0xffffffff when absent; padded to 512
    then     batmap header, 512 bytes, and the batmap, one bit per wholly present block
    then     differencing disks: three parent locators of one sector each
    then     blocks: one sector of bitmap, bit set = sector present, then 2 MiB; the data starts on a 4 KiB boundary
    end      footer, in the last 512 bytes of the volume

Footer: cookie 'conectix', u32 features, u32 version, u64 header offset, u32 seconds since 2000, creator 'tap\\0',
u32 creator version, u32 creator os, u64 original and u64 current size, u16 cylinders, u8 heads, u8 sectors, u32 type
(3 dynamic, 4 differencing), u32 checksum, uuid, u8 saved, u8 hidden.
Header: cookie 'cxsparse', u64 -1, u64 BAT offset, u32 version, u32 BAT entries, u32 block size, u32 checksum, parent's
footer uuid, u32 parent's time, u32 0, parent name (512 bytes of UTF-16BE), eight locators of u32 platform code, u32 space,
u32 length (both in bytes), u32 0, u64 offset.  A checksum is the complement of the sum of the other bytes.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct
import uuid

from lvhd.model import RAW, SECTOR

BLOCK = 2 * 1024 * 1024
BLOCK_SECTORS = BLOCK // SECTOR
FOOTER = struct.Struct(str(">8sIIQI4sIIQQHBBII16sBB"))
HEADER = struct.Struct(str(">8sQQIIII16sII512s"))
LOCATOR = struct.Struct(str(">4sIIIQ"))
BATMAP_HEADER = struct.Struct(str(">8sQIIIB"))
DYNAMIC = 3
DIFFERENCING = 4
FEATURES = 2
VERSION = 0x00010000
CREATOR_VERSION = 0x00010003
BATMAP_VERSION = 0x00010002
UNUSED = 0xffffffff
EPOCH = 946684800
TABLE_OFFSET = 1536
PAGE = 4096


def checksum(data):
    return ~sum(bytearray(data)) & 0xffffffff


def geometry(sectors):
    """Cylinders, heads, sectors per track for a disk size (VHD specification, appendix)."""
    sectors = min(sectors, 65535 * 16 * 255)
    if sectors >= 65535 * 16 * 63:
        per_track, heads = 255, 16
        cylinders_heads = sectors // per_track
    else:
        per_track = 17
        cylinders_heads = sectors // per_track
        heads = max((cylinders_heads + 1023) // 1024, 4)
        if cylinders_heads >= heads * 1024 or heads > 16:
            per_track, heads = 31, 16
            cylinders_heads = sectors // per_track
        if cylinders_heads >= heads * 1024:
            per_track, heads = 63, 16
            cylinders_heads = sectors // per_track
    return cylinders_heads // heads, heads, per_track


def mapper_name(vg_name, lv_name):
    """The device-mapper name of an LV: dashes doubled, one dash between."""
    return vg_name.replace("-", "--") + "-" + lv_name.replace("-", "--")


def footer(vdi):
    kind = DYNAMIC if vdi.parent is None else DIFFERENCING
    cylinders, heads, per_track = geometry(vdi.size // SECTOR)

    def packed(check):
        return FOOTER.pack(b"conectix", FEATURES, VERSION, SECTOR, vdi.footer_time - EPOCH, b"tap\0", CREATOR_VERSION, 0,
                           vdi.size, vdi.size, cylinders, heads, per_track, kind, check, uuid.UUID(vdi.footer_uuid).bytes,
                           0, 1 if vdi.hidden else 0).ljust(SECTOR, b"\0")
    return packed(checksum(packed(0)))


def parent_names(vg_name, parent):
    """Header name and the three locators (code, bytes) that vhd-util records for a parent in the same VG."""
    name = mapper_name(vg_name, parent.volume.name)
    windows = (".\\" + name).encode("utf-16-le")
    return name, ((b"MacX", ("file://./" + name).encode("utf-8")), (b"W2ku", windows), (b"W2ru", windows))


class Layout(object):
    """Where the parts of one VHD lie, in bytes from the start of its volume."""

    def __init__(self, vdi):
        disk = max(vdi.reserved, vdi.size)
        self.entries = -(-disk // BLOCK)
        self.table_bytes = _padded(4 * self.entries)
        self.batmap_header = TABLE_OFFSET + self.table_bytes
        self.batmap = self.batmap_header + SECTOR
        self.batmap_sectors = max(-(-(-(-self.entries // 8)) // SECTOR), 1)
        self.locators = self.batmap + self.batmap_sectors * SECTOR
        self.end_of_metadata = self.locators + (3 * SECTOR if vdi.parent is not None else 0)
        self.blocks = self._place_blocks(vdi)
        last = self.end_of_metadata
        if self.blocks:
            last = max(self.blocks.values()) + SECTOR + BLOCK
        self.end_of_data = last
        blocks = -(-vdi.size // BLOCK)
        inflated = vdi.size + 3 * 1024 + _padded(4 * self.entries) + -(-self.entries // 8) + 4096 * blocks
        # sm lvhdutil.calcSizeVHDLV for an inflated volume; the file's physical size for a deflated one.
        self.minimum = max(inflated, last + SECTOR) if vdi.inflated else last + SECTOR

    def _place_blocks(self, vdi):
        """Offset of the bitmap of each present block, in the order they are first written."""
        present = set(vdi.full_blocks)
        order = list(vdi.block_order or ())
        for sector in vdi.contents:
            present.add(sector // BLOCK_SECTORS)
            present.add((sector + 7) // BLOCK_SECTORS)
        order.extend(block for block in sorted(present) if block not in order)
        offsets = {}
        end = self.end_of_metadata
        for block in order:
            data = -(-(end + SECTOR) // PAGE) * PAGE
            offsets[block] = data - SECTOR
            end = data + BLOCK
        return offsets


def _padded(length):
    return -(-length // SECTOR) * SECTOR


def header(vdi, layout, vg_name):
    parent_uuid, name, time, locators = b"\0" * 16, b"", 0, b""
    if vdi.parent is not None:
        text, places = parent_names(vg_name, vdi.parent)
        name = text.encode("utf-16-be")
        time = vdi.parent_time - EPOCH
        if vdi.parent.vdi_type != RAW:
            parent_uuid = uuid.UUID(vdi.parent.footer_uuid).bytes
        for index, (code, data) in enumerate(places):
            locators += LOCATOR.pack(code, SECTOR, len(data), 0, layout.locators + index * SECTOR)

    def packed(check):
        fixed = HEADER.pack(b"cxsparse", 0xffffffffffffffff, TABLE_OFFSET, VERSION, layout.entries, BLOCK, check,
                            parent_uuid, time, 0, name)
        return (fixed + locators).ljust(2 * SECTOR, b"\0")
    return packed(checksum(packed(0)))


def chunks(vdi, vg_name, volume_bytes):
    """(offset, bytes) of everything that is not zero in the volume of a VHD VDI."""
    layout = Layout(vdi)
    foot = footer(vdi)
    table = bytearray(b"\xff" * (4 * layout.entries)).ljust(layout.table_bytes, b"\0")
    batmap = bytearray(layout.batmap_sectors * SECTOR)
    bitmaps = {}
    for block, offset in layout.blocks.items():
        struct.pack_into(str(">I"), table, 4 * block, offset // SECTOR)
        bitmaps[block] = bytearray(SECTOR)
    for block in vdi.full_blocks:
        bitmaps[block] = bytearray(b"\xff" * SECTOR)
        batmap[block // 8] |= 0x80 >> block % 8
    data = []
    for sector, content in sorted(vdi.layer_sectors().items()):
        block, index = divmod(sector, BLOCK_SECTORS)
        bitmaps[block][index // 8] |= 0x80 >> index % 8
        if content != b"\0" * SECTOR:
            data.append((layout.blocks[block] + SECTOR + index * SECTOR, content))
    yield 0, foot
    yield SECTOR, header(vdi, layout, vg_name)
    yield TABLE_OFFSET, bytes(table)
    yield layout.batmap_header, BATMAP_HEADER.pack(b"tdbatmap", layout.batmap, layout.batmap_sectors, BATMAP_VERSION,
                                                   checksum(batmap), 0).ljust(SECTOR, b"\0")
    if any(batmap):
        yield layout.batmap, bytes(batmap)
    if vdi.parent is not None:
        for index, (_, name) in enumerate(parent_names(vg_name, vdi.parent)[1]):
            yield layout.locators + index * SECTOR, name.ljust(SECTOR, b"\0")
    for block, offset in layout.blocks.items():
        yield offset, bytes(bitmaps[block])
    for offset, content in data:
        yield offset, content
    yield volume_bytes - SECTOR, foot
