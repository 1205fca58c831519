# SPDX-License-Identifier: LGPL-2.1-only
"""The label and metadata area of an LVM2 physical volume.

Little-endian; LVM2 lib/label/label.h, lib/format_text/layout.h:

    512     label header: 'LABELONE', u64 sector, u32 CRC of bytes 20 to 511, u32 32, 'LVM2 001'
    544     PV header: id without dashes (32), u64 device size, data areas and metadata areas as (u64 offset, u64 size), each
            list ended by (0, 0); from 2.02.98 on an extension: u32 version, u32 flags, bootloader areas ended by (0, 0)
    4096    metadata area: u32 CRC of bytes 4 to 511, magic, u32 version, u64 start, u64 size, raw locations (u64 offset in the
            area, u64 size, u32 CRC of the text, u32 flags); from offset 512 on a ring of texts, each on a 512-byte boundary

The CRC is CRC-32 without the final inversion, starting from 0xf597a6cf.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct
import zlib

SECTOR = 512
AREA_MAGIC = b" LVM2 x[5A%r0N*>"
CRC_START = 0xf597a6cf
PV_IN_USE = 1


def crc(data):
    return zlib.crc32(data, CRC_START ^ 0xffffffff) & 0xffffffff ^ 0xffffffff


def label_sector(sr, area_offset=None, area_size=None, sector=1):
    """The 512 bytes of the label, pointing to the metadata area of `sr` or to the one given."""
    offset = sr.area_offset if area_offset is None else area_offset
    size = sr.area_size if area_size is None else area_size
    body = b"LVM2 001" + sr.pv_id.replace("-", "").encode("ascii")
    body += struct.pack(str("<9Q"), sr.pv_size, sr.pe_start, 0, 0, 0, offset, size, 0, 0)
    if sr.extension is not None:
        flags = PV_IN_USE if sr.extension >= 2 else 0
        body += struct.pack(str("<II"), sr.extension, flags)
    checked = (struct.pack(str("<I"), 32) + body).ljust(SECTOR - 20, b"\0")
    return struct.pack(str("<8sQI"), b"LABELONE", sector, crc(checked)) + checked


def area_header(offset, size, locations):
    """The 512 bytes at the start of a metadata area; locations: (offset in the area, size, CRC of the text)."""
    body = struct.pack(str("<16sIQQ"), AREA_MAGIC, 1, offset, size)
    body += b"".join(struct.pack(str("<QQII"), start, length, check, 0) for start, length, check in locations)
    body = body.ljust(SECTOR - 4, b"\0")
    return struct.pack(str("<I"), crc(body)) + body


def ring_pieces(area_size, start, data):
    """(offset in the area, bytes) of a text that starts at `start` and wraps round to 512 when it reaches the end."""
    first = data[:area_size - start]
    pieces = [(start, first)]
    if len(first) < len(data):
        pieces.append((SECTOR, data[len(first):]))
    return pieces


def after(area_size, start, length):
    """Where LVM starts the text that follows one of `length` bytes at `start`."""
    end = start + length
    if end > area_size:
        end = end - area_size + SECTOR
    following = -(-end // SECTOR) * SECTOR
    return following if following <= area_size - SECTOR else SECTOR


def before(area_size, following, length):
    """Where a text of `length` bytes has to start so that the one after it starts at `following`."""
    padded = -(-length // SECTOR) * SECTOR
    start = following - padded
    if start < SECTOR:
        start += area_size - SECTOR
    return start
