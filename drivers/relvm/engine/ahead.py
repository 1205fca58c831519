# SPDX-License-Identifier: LGPL-2.1-only
"""Reads what the formats will want of all images on a LUN, in two goes: the ends of each, then what their headers point to.

Nothing is judged here, but a header that is damaged points nowhere. A format asks for what it wants all the same, and gets from the
device what was not foreseen.
"""

import struct

from relvm.engine import blockdev
from relvm.formats import vhd
from relvm.octets import octets

# Of one place and of all that is read in the second go; a LUN can say that it has block tables of gigabytes
LARGEST = 1 << 16
ALL = 8 << 20


def read(device, vg, images):
    """{(offset, length) on the LUN: bytes} for [(module of its format, lvmgroup.LogicalVolume)]. Raises errors.ReadFailed."""
    places, heads = [], []
    for module, lv in images:
        if module is vhd:
            heads.append((len(places), lv))
        for offset, length in module.ends(vg.lv_size(lv)):
            # an LV often starts where another ends
            places.extend(vg.runs(lv, offset, length))
    found = blockdev.read_places(device, places)
    heads = [(found[places[number]], lv) for number, lv in heads]
    places = []
    for head, lv in heads:
        if len(head) == vhd.HEAD_SIZE:
            for offset, length in _of_child(head, vg.lv_size(lv)):
                places.extend(vg.runs(lv, offset, length))
    if sum([length for _, length in places]) <= ALL:
        found.update(blockdev.read_places(device, places))
    return found


def _of_child(head, size):
    """[(offset, length)] of what vhd.Disk reads besides the ends of a differencing disk: locators, batmap, block table."""
    footer = struct.unpack(vhd.FOOTER, head[:vhd.FOOTER_FIELDS])
    virtual_size, kind = footer[2], footer[3]
    header = head[vhd.HEADER_AT:]
    _, _, bat_at, _, entries, block_size, stored, _ = struct.unpack(vhd.HEADER, header[:vhd.HEADER_FIELDS])
    if kind != vhd.DIFFERENCING or entries > vhd.MAX_BAT or not 0 < block_size <= vhd.MAX_BLOCK or stored != vhd.checksum(header, 36):
        return []
    starts, ends = [], []
    for number in range(vhd.LOCATORS):
        at = vhd.LOCATORS_AT + 24 * number
        code, _, length, _, offset = struct.unpack('>4sIIIQ', header[at:at + 24])
        if code != octets('\0') * 4 and length <= vhd.MAX_LOCATOR:
            starts.append(offset)
            ends.append(offset + _sectors(length))
    places = [(bat_at + _sectors(entries * 4), vhd.SECTOR),
              (bat_at, _sectors(4 * ((virtual_size + block_size - 1) // block_size)))]
    if starts and max(ends) - min(starts) <= vhd.LOCATORS * vhd.MAX_LOCATOR:
        places.append((min(starts), max(ends) - min(starts)))
    return [(offset, length) for offset, length in places
            if offset % vhd.SECTOR == 0 and length % vhd.SECTOR == 0 and 0 < length <= LARGEST and offset + length <= size]


def _sectors(size):
    return (size + vhd.SECTOR - 1) // vhd.SECTOR * vhd.SECTOR
