# SPDX-License-Identifier: LGPL-2.1-only
"""LVM2 on disk, for the one shape that sm makes: one PV, one metadata area, linear LVs.

All integers are little-endian, offsets and sizes in bytes unless said otherwise. Sources: LVM2's lib/label/label.c,
lib/format_text/layout.h, format-text.c, import_vsn1.c and flags.c.

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
             The first is the live text, a second one a pre-commit.

A text is at most as long as the ring; one that reaches the end of the area goes on at offset 512. Its size counts a final
NUL. The CRC is CRC-32 with the initial value 0xf597a6cf and no final inversion.

The switch. The label says where the metadata area is. So a complete second area can be staged in a gap of the ring, and one
write of the label's sector gives the PV its new UUID and points to the staged area: PV, VG and all LVs change their
identity in one 512-byte sector.

The same write brings the extension to version 2. LVM 2.03 does so itself before it writes metadata, and clears the header of the
area meanwhile (_text_pv_needs_rewrite, _write_single_mda): on a staged area, which has no room for more, it would stop there
with the VG gone, whatever locks it. Older LVMs read no more of the extension than the bootloader areas.
"""

import re
import struct
import zlib

from relvm import errors
from relvm import identity
from relvm.formats import lvmtext
from relvm.octets import octets
from relvm.octets import text

SECTOR = 512
LABEL_SECTOR = 1
LABEL_SCAN_SECTORS = 4
LABEL_ID = octets('LABELONE')
LABEL_TYPE = octets('LVM2 001')
LABEL_HEAD = struct.calcsize('<8sQII8s')
PV_UUID_LENGTH = 32
AREA_OFFSET = 4096
AREA_HEADER = 512
AREA_MAGIC = octets(' LVM2 x[5A%r0N*>')
AREA_VERSION = 1
RAW_LOCATION = 24
EXTENSION_VERSION = 2
EXTENSION_USED = 1
INITIAL_CRC = 0xf597a6cf
ALIGNMENT = 4096
MAX_AREA = 1 << 30
# An SR's text of 12,000 LVs. Three texts have to fit the 10 MiB that sm gives the area, and reading costs memory
MAX_TEXT = 1 << 22
# LVM counts in 32 bits, a resign adds 2, and the smaller number is the older text
MAX_SEQNO = (1 << 32) - 3
VG_PREFIX = 'VG_XenStorage-'
EXPORTED = 'EXPORTED'

_VG_NAME = re.compile(VG_PREFIX + identity.UUID.pattern + r'\Z')
_LV_NAME = re.compile(r'[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,126}\Z')
# As udev's links have them
_SCSI_ID = '([A-Za-z0-9_:-][A-Za-z0-9_.:-]*)'

# What an SR's metadata may hold. Anything else is somebody else's, or of an LVM that came after us.
_ROOT_KEYS = frozenset(('contents', 'version', 'description', 'creation_host', 'creation_time'))
_VG_KEYS = frozenset(('id', 'seqno', 'format', 'status', 'flags', 'tags', 'extent_size', 'max_lv', 'max_pv', 'metadata_copies',
                      'allocation_policy', 'physical_volumes', 'logical_volumes'))
_PV_KEYS = frozenset(('id', 'device', 'device_id', 'device_id_type', 'status', 'flags', 'tags', 'dev_size', 'pe_start', 'pe_count',
                      'ba_start', 'ba_size'))
_LV_KEYS = frozenset(('id', 'status', 'flags', 'tags', 'creation_time', 'creation_host', 'allocation_policy', 'read_ahead',
                      'segment_count'))
_SEGMENT_KEYS = frozenset(('start_extent', 'extent_count', 'type', 'stripe_count', 'stripe_size', 'stripes', 'tags'))
_VG_STATUS = ('RESIZEABLE', 'READ', 'WRITE', EXPORTED)
_PV_STATUS = ('ALLOCATABLE',)
_PV_MISSING = 'MISSING'
_LV_STATUS = ('READ', 'WRITE', 'VISIBLE')
_LV_NEEDS = ('READ', 'VISIBLE')


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
    area         (offset, size) of the only metadata area
    """

    def __init__(self, sector, raw):
        self.sector = sector
        self.raw = raw
        stored, header = struct.unpack('<II', raw[16:24])
        if stored != crc(raw[20:]):
            raise errors.BadLabel(what='wrong checksum')
        if struct.unpack('<Q', raw[8:16])[0] != sector:
            raise errors.BadLabel(what='it says that it is in another sector')
        if raw[24:32] != LABEL_TYPE:
            raise errors.BadLabel(what='type %r' % text(raw[24:32]))
        if header != LABEL_HEAD:
            raise errors.BadLabel(what='PV header at offset %d' % header)
        self.pv_uuid = text(raw[32:64])
        if not identity.PV_UUID.match(self.pv_uuid):
            raise errors.BadLabel(what='its PV UUID has characters that LVM does not write')
        self.device_size = struct.unpack('<Q', raw[64:72])[0]
        data_areas, position = self._areas(72)
        self._area_at = position
        areas, self._extension_at = self._areas(position)
        if len(data_areas) != 1:
            raise errors.BadLabel(what='%d data areas' % len(data_areas))
        if len(areas) != 1:
            raise errors.BadLabel(what='%d metadata areas; one is expected' % len(areas))
        self.data_area = data_areas[0]
        self.area = areas[0]

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
        """The sector with another PV UUID and metadata area, and the extension as this version has it; all else as it is."""
        raw = self.raw[:32] + octets(pv_uuid) + self.raw[64:self._area_at] + struct.pack('<QQ', *area) + \
            self.raw[self._area_at + 16:self._extension_at] + self._extension()
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
        return self.pv_uuid == other.pv_uuid and self.area == other.area and self.sector == other.sector


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
    """

    def __init__(self, device, offset, size):
        self.offset = offset
        self.size = size
        if offset % SECTOR or size % SECTOR or size <= AREA_HEADER or size > MAX_AREA or offset + size > device.size:
            self._bad('size %d on a device of %d' % (size, device.size))
        header = device.read(offset, AREA_HEADER)
        if struct.unpack('<I', header[:4])[0] != crc(header[4:]):
            self._bad('wrong header checksum')
        magic, version, start, stored_size = struct.unpack('<16sIQQ', header[4:40])
        if magic != AREA_MAGIC or version != AREA_VERSION:
            self._bad('magic or version')
        if start != offset or stored_size != size:
            self._bad('it says that it is at %d with size %d' % (start, stored_size))
        self.text_offset, length, self.text_crc, flags = struct.unpack('<QQII', header[40:64])
        self.empty = self.text_offset == 0 or length == 0
        if self.empty:
            return
        if flags:
            self._bad('its text is marked as ignored')
        if struct.unpack('<Q', header[64:72])[0]:
            raise errors.InterruptedCommand()
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

    def _bad(self, what):
        raise errors.BadArea(offset=self.offset, what=what)

    def live_pieces(self):
        """[(offset in the area, length)] of the live text."""
        return ring_pieces(self.text_offset, len(self.text), self.size)


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
    raise errors.NoRoomInRing(needed=size, free=max(largest, 0))


class LogicalVolume(object):
    """name, id, tags (list), writable, segments [(first extent of the LV, count, first extent of the PV)], `section`."""

    def __init__(self, section, pv_name):
        self.section = section
        self.name = section.name
        place = 'the LV %s' % self.name
        if not _LV_NAME.match(self.name) or self.name in ('.', '..'):
            raise errors.BadText(what='the LV name %s' % self.name)
        self.id = _lvm_id(section, place)
        _check_keys(section, place, _LV_KEYS, 'segment')
        status = _check_status(section, place, _LV_STATUS, _LV_NEEDS)
        self.writable = 'WRITE' in status
        if ('creation_time' in section.entries) != ('creation_host' in section.entries):
            raise errors.BadText(what='%s has one of creation_time and creation_host' % place)
        self.tags = section.strings('tags')
        self.segments = []
        count = section.number('segment_count')
        subs = section.sections()
        if count != len(subs):
            raise errors.BadExtents(lv=self.name, what='%d segments, %d said' % (len(subs), count))
        if not subs:
            raise errors.BadExtents(lv=self.name, what='it has no segment')
        for number in range(count):
            self.segments.append(self._segment(section.section('segment%d' % (number + 1)), pv_name))
        self.segments.sort()
        self.extents = 0
        for start, count, _ in self.segments:
            if start != self.extents or count < 1:
                raise errors.BadExtents(lv=self.name, what='a gap or overlap at its extent %d' % start)
            self.extents += count

    def _segment(self, segment, pv_name):
        kind = segment.string('type')
        if kind not in ('striped', 'linear'):
            raise errors.UnknownSegment(lv=self.name, type=kind)
        _check_keys(segment, 'the LV %s' % self.name, _SEGMENT_KEYS)
        stripes = segment.value('stripes')
        if segment.number('stripe_count') != 1 or stripes is None or not isinstance(stripes.data, list) or \
                len(stripes.data) != 2:
            raise errors.UnknownSegment(lv=self.name, type='striped over several PVs')
        if stripes.data[0] != pv_name or isinstance(stripes.data[1], (str, float)) or stripes.data[1] < 0:
            raise errors.BadExtents(lv=self.name, what='a segment outside the PV')
        return segment.number('start_extent'), segment.number('extent_count'), stripes.data[1]


class VolumeGroup(object):
    """The VG of a metadata text, with everything checked that the engine relies on.

    name, sr_uuid, id, seqno, exported, extent_size (bytes), pe_start (bytes), pv_id (with dashes), pv_device (the hint),
    lvs {name: LogicalVolume}, order [LogicalVolume]
    """

    def __init__(self, string):
        self.text = string
        self.root = lvmtext.parse(string)
        sections = self.root.sections()
        if len(sections) != 1:
            raise errors.BadText(what='%d VGs in one text' % len(sections))
        self.section = section = sections[0]
        self.name = section.name
        if section.start:
            # LVM takes the name from the first bytes (vgname_from_mda)
            raise errors.BadText(what='it does not begin with the name of its VG')
        _check_keys(self.root, 'the text', _ROOT_KEYS.union((self.name,)))
        if self.root.number('version') != 1 or self.root.string('contents') != 'Text Format Volume Group':
            raise errors.BadText(what='contents or version')
        if not _VG_NAME.match(self.name):
            raise errors.NotAnSR(vg=self.name)
        self.sr_uuid = self.name[len(VG_PREFIX):]
        place = 'the VG'
        for name in ('system_id', 'lock_type', 'lock_args'):
            entry = section.value(name)
            if entry is not None and entry.data not in ('', 'none'):
                raise errors.ForeignField(place=place, field=name, value=entry.data)
        _check_keys(section, place, _VG_KEYS.union(('system_id', 'lock_type', 'lock_args')))
        self.id = _lvm_id(section, place)
        self.seqno = section.number('seqno')
        for name in ('max_lv', 'max_pv'):
            section.number(name)
        if self.seqno > MAX_SEQNO:
            raise errors.BadText(what='seqno %d' % self.seqno)
        entry = section.value('format')
        if entry is not None and entry.data != 'lvm2':
            raise errors.ForeignField(place=place, field='format', value=entry.data)
        self.exported = EXPORTED in _check_status(section, place, _VG_STATUS, ())
        self.extent_size = section.number('extent_size') * SECTOR
        if not SECTOR <= self.extent_size <= 1 << 40:
            raise errors.BadText(what='extent_size %d' % self.extent_size)
        self._read_pv()
        self.order = []
        self.lvs = {}
        if 'logical_volumes' in section.entries:
            for sub in _sections(section, 'logical_volumes'):
                lv = LogicalVolume(sub, self.pv.name)
                self.order.append(lv)
                self.lvs[lv.name] = lv
        self._check_extents()

    def _read_pv(self):
        pvs = _sections(self.section, 'physical_volumes')
        missing = [pv.string('id') for pv in pvs if _PV_MISSING in pv.strings('flags') + pv.strings('status')]
        if missing:
            raise errors.MissingPV(vg=self.name, pvs=', '.join(missing))
        if len(pvs) != 1:
            ids = [pv.string('id') for pv in pvs]
            raise errors.ManyPVs(vg=self.name, count=len(pvs), pvs=', '.join(ids))
        self.pv = pv = pvs[0]
        place = 'the PV'
        _check_keys(pv, place, _PV_KEYS)
        _check_status(pv, place, _PV_STATUS, ())
        if pv.value('status') is None:
            raise errors.BadText(what='the PV has no status')
        self.pv_id = _lvm_id(pv, place)
        self.pv_device = ''
        if pv.value('device') is not None:
            self.pv_device = pv.string('device')
        self.pe_start = pv.number('pe_start') * SECTOR
        self.pe_count = pv.number('pe_count')
        self.dev_size = self.pe_start + self.pe_count * self.extent_size
        if pv.value('dev_size') is not None:
            self.dev_size = max(self.dev_size, pv.number('dev_size') * SECTOR)

    def _check_extents(self):
        runs = []
        ids = {}
        for lv in self.order:
            if lv.id in ids:
                raise errors.BadText(what='the LVs %s and %s have the same id' % (ids[lv.id], lv.name))
            ids[lv.id] = lv.name
            for _, count, place in lv.segments:
                runs.append((place, count, lv.name))
        runs.sort()
        position = 0
        for place, count, name in runs:
            if place < position:
                raise errors.BadExtents(lv=name, what='PV extent %d belongs to two LVs' % place)
            position = place + count
            if position > self.pe_count:
                raise errors.BadExtents(lv=name, what='PV extent %d of %d' % (position - 1, self.pe_count))

    def lv_size(self, lv):
        """Bytes."""
        return lv.extents * self.extent_size

    def runs(self, lv, offset, length):
        """[(offset on the device, length)] of `length` bytes at `offset` of the LV, split at segment borders."""
        if offset < 0 or length < 0 or offset + length > self.lv_size(lv):
            raise errors.BadExtents(lv=lv.name, what='%d bytes at offset %d of %d' % (length, offset, self.lv_size(lv)))
        found = []
        for start, count, place in lv.segments:
            first = start * self.extent_size
            last = first + count * self.extent_size
            if offset < last and length:
                part = min(length, last - offset)
                found.append((self.pe_start + place * self.extent_size + offset - first, part))
                offset += part
                length -= part
        return found


def _sections(section, name):
    """The sub-sections of the section called `name`, which has nothing else."""
    inner = section.section(name)
    found = inner.sections()
    if len(found) != len(inner.order):
        raise errors.BadText(what='%s has more than sections' % name)
    return found


def _lvm_id(section, place):
    value = section.string('id')
    if len(value) != 38 or not identity.LVM_ID.match(value):
        raise errors.BadText(what='%s has the id %s' % (place, value))
    return value


def _check_keys(section, place, allowed, numbered=None):
    for name in section.order:
        if name in allowed:
            continue
        if numbered and name.startswith(numbered) and isinstance(section.entries[name], lvmtext.Section):
            continue
        value = 'a section'
        if isinstance(section.entries[name], lvmtext.Value):
            value = section.entries[name].data
        raise errors.ForeignField(place=place, field=name, value=value)


def _check_status(section, place, allowed, needed):
    status = section.strings('status')
    for name in status:
        if name not in allowed:
            raise errors.ForeignField(place=place, field='status', value=name)
    for name in needed:
        if name not in status:
            raise errors.ForeignField(place=place, field='status', value='%s, but not %s' % (', '.join(status), name))
    flags = section.strings('flags')
    if flags:
        raise errors.ForeignField(place=place, field='flags', value=', '.join(flags))
    return status


def rewrite(vg, new_pv_id, uuids, dropped, description):
    """The metadata text with a new identity: (staged text, final text), native str with the final NUL.

    vg           VolumeGroup to start from
    new_pv_id    LVM id with dashes
    uuids        {old uuid: new uuid} of the SR and every VDI; replaced wherever they stand (names, tags)
    dropped      {LV name: anything} of LVs to leave out
    description  what the text says of its origin; the old one names old LVs

    The staged text is EXPORTED, so that no LVM activates or changes it; the final one is not and is one seqno ahead.
    """
    ids = [(vg.section, identity.new_lvm_id()), (vg.pv, new_pv_id)]
    ids.extend([(lv.section, identity.new_lvm_id()) for lv in vg.order if lv.name not in dropped])
    # uuids are replaced by others of the same length: every place in the text remains what it was
    base = identity.substitute(vg.text, uuids)
    texts = []
    for seqno, exported in ((vg.seqno + 1, True), (vg.seqno + 2, False)):
        edits = lvmtext.Edits()
        for section, new in ids:
            _set_string(edits, section, 'id', new)
        for lv in vg.order:
            if lv.name in dropped:
                edits.remove(lv.section)
        if vg.root.value('description') is not None:
            _set_string(edits, vg.root, 'description', description)
        _set_seqno_and_status(edits, vg, seqno, exported)
        texts.append(edits.apply(base))
    return tuple(texts)


def unlocked(vg):
    """The final text that belongs to a staged one: one seqno ahead, not EXPORTED."""
    edits = lvmtext.Edits()
    _set_seqno_and_status(edits, vg, vg.seqno + 1, False)
    return edits.apply(vg.text)


def _set_string(edits, section, name, new):
    entry = section.value(name)
    edits.replace(entry.start, entry.end, lvmtext.quote(new))


def _set_seqno_and_status(edits, vg, seqno, exported):
    entry = vg.section.value('seqno')
    edits.replace(entry.start, entry.end, str(seqno))
    status = [name for name in vg.section.strings('status') if name != EXPORTED]
    if exported:
        status.append(EXPORTED)
    entry = vg.section.value('status')
    if entry is None:
        raise errors.BadText(what='the VG has no status')
    edits.replace(entry.start, entry.end, '[%s]' % ', '.join([lvmtext.quote(name) for name in status]))


def copied_from(device_hint):
    """The SCSI id in the path under which the PV was last written, or '' when the path names none.

    XenServer writes /dev/disk/by-scsid/<id>/sda or .../mapper, /dev/mapper/<id>, /dev/disk/mpInuse/<id> and
    /dev/disk/by-id/scsi-<id>.
    """
    for pattern in (r'/dev/disk/by-scsid/%s(?:/[^/]+)?\Z', r'/dev/disk/mpInuse/%s\Z',
                    r'/dev/disk/by-id/(?:scsi|dm-uuid-mpath)-%s\Z', r'/dev/mapper/(?=[0-9a-fA-F]{16,}\Z)%s\Z'):
        match = re.match(pattern % _SCSI_ID, device_hint)
        if match:
            return match.group(1)
    return ''
