# SPDX-License-Identifier: LGPL-2.1-only
"""Label and metadata area of LVM2 on disk, for the one shape that sm makes: one PV with one metadata area; and the switch.

All integers are little-endian, offsets and sizes in bytes unless said otherwise. Sources: LVM2's lib/label/label.c,
lib/format_text/layout.h and format-text.c. What a text in the area says is the matter of lvmgroup.

Label: one sector among the first four; LVM writes it to sector 1.

    0    8   "LABELONE"
    8    8   number of the sector it is in
    16   4   CRC of bytes 20..511
    20   4   offset of the PV header in this sector (32)
    24   8   "LVM2 001"
    32  32   PV UUID, without dashes
    64   8   size of the device
    72  16*  data areas: offset, size; ended by a zero pair
        16*  metadata areas: offset, size; ended by a zero pair
         4   version of the extension: 0 (none; before 2.02.99), 1, or 2 (2.02.143 on)
         4   its flags: 1 the PV belongs to a VG
        16*  bootloader areas: offset, size; ended by a zero pair; kept

Metadata area: a header of 512 bytes, then a ring for texts.

    0    4   CRC of bytes 4..511
    4   16   " LVM2 x[5A%r0N*>"
    20   4   version (1)
    24   8   offset of this area on the device
    32   8   size of this area
    40  24*  raw locations: u64 offset in the area, u64 size, u32 CRC of the text, u32 flags; ended by a zero one.
             The first is the live text. A second one is there while an LVM command is at work: the text that it is about to
             make the live one (a pre-commit). A location whose offset or size is 0 is none.

A reader looks at the first location alone, and the next command starts behind the text that it names, so what a command that was
cut off has left in the second one means nothing (_vg_commit_raw_rlocn, _vg_revert_raw). One case is different: the first write
of LVM 2.02.143 or later to a label of an older one clears both locations, changes the label, writes its text and names it in the
second location, then in the first (_text_pv_write, _vg_write_raw). In between no LVM sees a VG. With the second location alone,
that text is whole and the only one that anything refers to: it is the live one. With neither there is no telling.

A text is at most as long as the ring; one that reaches the end of the area goes on at offset 512. Its size counts a final
NUL. The CRC is CRC-32 with the initial value 0xf597a6cf and no final inversion.

The switch. The label says where the metadata area is. So a complete second area can be staged in a gap of the ring, and one
write of the label's sector gives the PV its new UUID and points to the staged area: PV, VG and all LVs change their
identity in one 512-byte sector.

The same write brings the extension to version 2. LVM 2.03 does so itself before it writes metadata, and clears the header of the
area meanwhile (_text_pv_needs_rewrite, _write_single_mda): on a staged area, which has no room for more, it would stop there
with the VG gone, whatever locks it. Older LVMs read no more of the extension than the bootloader areas.
"""

import struct
import zlib

from relvm import errors
from relvm import identity
from relvm.octets import octets
from relvm.octets import text

SECTOR = 512
LABEL_SECTOR = 1
LABEL_SCAN_SECTORS = 4
LABEL_ID = octets('LABELONE')
LABEL_TYPE = octets('LVM2 001')
LABEL = '<8sQII8s32sQ'
LABEL_HEAD = struct.calcsize('<8sQII8s')
AREAS_AT = struct.calcsize(LABEL)
PV_UUID_LENGTH = 32
AREA_OFFSET = 4096
AREA_HEADER = 512
AREA_MAGIC = octets(' LVM2 x[5A%r0N*>')
AREA_VERSION = 1
AREA = '<I16sIQQ'
LOCATIONS_AT = struct.calcsize(AREA)
LOCATION = '<QQII'
RAW_LOCATION = struct.calcsize(LOCATION)
EXTENSION_VERSION = 2
EXTENSION_USED = 1
INITIAL_CRC = 0xf597a6cf
ALIGNMENT = 4096
MAX_AREA = 1 << 30
MAX_AREAS = 2
IGNORED = 1
# An SR's text of 12,000 LVs. Three texts have to fit the 10 MiB that sm gives the area, and reading costs memory
MAX_TEXT = 1 << 22


def crc(data):
    """LVM's CRC of bytes, an unsigned 32-bit int."""
    return (zlib.crc32(data, INITIAL_CRC ^ 0xffffffff) ^ 0xffffffff) & 0xffffffff


class Label(object):
    """The label and PV header.

    sector       int, the sector it is in
    raw          the 512 bytes
    pv_uuid      str of 32 characters
    device_size  bytes
    data_area    (offset, size)
    area         (offset, size) of the metadata area; spare  those of further ones, which pvcreate --pvmetadatacopies 2 makes
    used         the extension says that the PV belongs to a VG
    """

    def __init__(self, sector, raw):
        self.sector = sector
        self.raw = raw
        _, own_sector, stored, header, kind, pv_uuid, self.device_size = struct.unpack(LABEL, raw[:AREAS_AT])
        if stored != crc(raw[20:]):
            raise errors.BadLabel(what='wrong checksum')
        if own_sector != sector:
            raise errors.BadLabel(what='it says that it is in another sector')
        if kind != LABEL_TYPE:
            raise errors.BadLabel(what='type %r' % text(kind))
        if header != LABEL_HEAD:
            raise errors.BadLabel(what='PV header at offset %d' % header)
        self.pv_uuid = text(pv_uuid)
        if not identity.PV_UUID.match(self.pv_uuid):
            raise errors.BadLabel(what='its PV UUID has characters that LVM does not write')
        data_areas, position = self._areas(AREAS_AT)
        self._area_at = position
        areas, self._extension_at = self._areas(position)
        if len(data_areas) != 1:
            raise errors.BadLabel(what='%d data areas' % len(data_areas))
        if not 1 <= len(areas) <= MAX_AREAS:
            raise errors.BadLabel(what='%d metadata areas; one or two are expected' % len(areas))
        self.data_area = data_areas[0]
        self.area = areas[0]
        version, flags = struct.unpack('<II', (raw[self._extension_at:] + octets('\0') * 8)[:8])
        self.used = version >= EXTENSION_VERSION and flags & EXTENSION_USED != 0
        self.spare = areas[1:]

    def _areas(self, position):
        found = []
        while position + 16 <= SECTOR:
            area = struct.unpack('<QQ', self.raw[position:position + 16])
            position += 16
            if area[0] == 0:
                return found, position
            found.append(area)
        raise errors.BadLabel(what='a list of areas has no end')

    def switched(self, pv_uuid, area):
        """The sector with another PV UUID and one metadata area, and the extension as this version has it; all else as it is."""
        end = self._extension_at - 16
        raw = self.raw[:32] + octets(pv_uuid) + self.raw[64:self._area_at] + struct.pack('<QQ', *area) + \
            self.raw[end:self._extension_at] + self._extension() + octets('\0') * (end - self._area_at - 16)
        return raw[:16] + struct.pack('<I', crc(raw[20:])) + raw[20:]

    def _extension(self):
        """The rest of the sector from the extension on."""
        raw = self.raw[self._extension_at:]
        version, flags = struct.unpack('<II', raw[:8])
        if version == 0:
            return struct.pack('<IIQQ', EXTENSION_VERSION, EXTENSION_USED, 0, 0) + raw[24:]
        if version <= EXTENSION_VERSION:
            return struct.pack('<II', EXTENSION_VERSION, flags | EXTENSION_USED) + raw[8:]
        return raw

    def same_place(self, other):
        """True if the other label gives the same PV the same area. Newer LVMs rewrite the rest when they like."""
        return (self.pv_uuid, self.area, self.spare, self.sector) == (other.pv_uuid, other.area, other.spare, other.sector)


def find_label(head):
    """The Label in the first four sectors (bytes, at least 2048). Refused: none, several, not in sector 1."""
    sectors = []
    for sector in range(LABEL_SCAN_SECTORS):
        if head[sector * SECTOR:sector * SECTOR + 8] == LABEL_ID:
            sectors.append(sector)
    if not sectors:
        raise errors.NoLabel()
    if sectors != [LABEL_SECTOR]:
        raise errors.ManyLabels(sectors=', '.join([str(sector) for sector in sectors]))
    return Label(LABEL_SECTOR, head[LABEL_SECTOR * SECTOR:(LABEL_SECTOR + 1) * SECTOR])


class Area(object):
    """A metadata area and its live text, read from `device` at `offset`.

    offset, size        of the area on the device
    text_offset         of the live text in the area
    text                the live text, native str with its final NUL
    text_crc            its checksum as the header has it
    header              the 512 bytes
    empty               there is no live text
    report              [sentence] about what is odd but harmless
    """

    def __init__(self, device, offset, size):
        self.offset = offset
        self.size = size
        if offset % SECTOR or size % SECTOR or size <= AREA_HEADER or size > MAX_AREA or offset + size > device.size:
            self._bad('size %d on a device of %d' % (size, device.size))
        header = device.read(offset, AREA_HEADER)
        checksum, magic, version, start, stored_size = struct.unpack(AREA, header[:LOCATIONS_AT])
        if checksum != crc(header[4:]):
            self._bad('wrong header checksum')
        if magic != AREA_MAGIC or version != AREA_VERSION:
            self._bad('magic or version')
        if start != offset or stored_size != size:
            self._bad('it says that it is at %d with size %d' % (start, stored_size))
        self.header = header
        self.report = []
        live = self._location(0)
        pending = self._location(1)
        if live is None:
            live = pending
            if pending is not None:
                self.report.append('the LUN was cloned while an LVM command made its first change of a PV of an older LVM; the metadata '
                                   'that it was about to commit, which is whole, is taken')
        elif pending is not None:
            self.report.append('the LUN was cloned in the middle of an LVM command; what it was about to change is not part of the copy')
        self.empty = live is None
        if self.empty:
            return
        self.text_offset, length, self.text_crc, flags = live
        if flags:
            self._bad('its text is marked as ignored')
        if not AREA_HEADER <= self.text_offset < size or length > size - AREA_HEADER:
            self._bad('text at %d with size %d' % (self.text_offset, length))
        if length > MAX_TEXT:
            self._bad('a text of %d bytes; %d are read at most' % (length, MAX_TEXT))
        data = octets('')
        for place, count in ring_pieces(self.text_offset, length, size):
            data += device.read_any(offset + place, count)
        if crc(data) != self.text_crc:
            self._bad('wrong checksum of the text')
        self.text = text(data)

    def _location(self, number):
        """(offset in the area, size, CRC, flags) of a raw location, or None."""
        at = LOCATIONS_AT + number * RAW_LOCATION
        location = struct.unpack(LOCATION, self.header[at:at + RAW_LOCATION])
        if location[0] == 0 or location[1] == 0:
            return None
        return location

    def _bad(self, what):
        raise errors.BadArea(offset=self.offset, what=what)

    def live_pieces(self):
        """[(offset in the area, length)] of the live text."""
        return ring_pieces(self.text_offset, len(self.text), self.size)


def check_spare(device, place, live):
    """A further metadata area at `place` (offset, size) says what the Area `live` says, or nothing. Raises AreasDiffer, BadArea.

    It is left where it is, and the resigned label does not mention it.
    """
    offset, size = place
    header = device.read(offset, AREA_HEADER)
    if struct.unpack('<I', header[60:64])[0] & IGNORED:
        return
    spare = Area(device, offset, size)
    if spare.empty or spare.text_crc != live.text_crc or spare.text != live.text:
        raise errors.AreasDiffer(offset=offset)


def ring_pieces(offset, length, size):
    """[(offset, length)] of a text in a ring of an area of `size` bytes: one piece, or two when it wraps."""
    first = min(length, size - offset)
    if first == length:
        return [(offset, length)]
    return [(offset, first), (AREA_HEADER, length - first)]


def render_area(offset, size, string):
    """The first bytes of a metadata area at `offset`: its header, and `string` as live text directly behind it."""
    data = octets(string)
    body = AREA_MAGIC + struct.pack('<IQQQQII', AREA_VERSION, offset, size, AREA_HEADER, len(data), crc(data), 0)
    body += octets('\0') * (AREA_HEADER - 4 - len(body))
    return struct.pack('<I', crc(body)) + body + data


def round_up(number, unit):
    return (number + unit - 1) // unit * unit


def find_gap(area, needed, reserved):
    """The place of a staged area: (offset on the device, size).

    area      the standard Area with the live text
    needed    bytes of the staged header and text
    reserved  bytes at the front of the standard area that the final header and text will take

    It is 4096-aligned, disjoint from the live text and from the final one, and as small as possible: an LVM that is asked
    to write there finds no room for a second text.
    """
    size = round_up(needed, SECTOR)
    taken = [(0, max(reserved, AREA_HEADER))]
    for start, length in area.live_pieces():
        taken.append((start, start + length))
    taken.append((area.size, area.size))
    taken.sort()
    largest = 0
    position = 0
    for start, end in taken:
        first = round_up(area.offset + position, ALIGNMENT)
        if first + size <= area.offset + start:
            return first, size
        largest = max(largest, area.offset + start - first)
        position = max(position, end)
    raise errors.NoRoomInRing(needed=size, free=largest)
