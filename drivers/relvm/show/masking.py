# SPDX-License-Identifier: LGPL-2.1-only
"""Takes what is private out of the structures of a LUN and leaves everything by which they are judged.

A letter or digit becomes `x`, another character a fixed one of as many bytes of UTF-8; blanks, punctuation, controls, entities and bytes
that are no UTF-8 stay what they are. So every length stays, and every name is as blank, as foreign or as wrong as it was.
"""

import re
import struct

from relvm import errors
from relvm import identity
from relvm.engine import origins
from relvm.engine import rehearsal
from relvm.engine import resign
from relvm.engine.lun import Placement
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import qcow2
from relvm.formats import redolog
from relvm.formats import vhd
from relvm.octets import octets
from relvm.octets import text

# Fields of MGT that hold no name; sm writes them
PLAIN_FIELDS = ('uuid', 'allocation', 'is_a_snapshot', 'snapshot_of', 'snapshot_time', 'type', 'vdi_type', 'read_only', 'managed',
                'metadata_of_pool', 'deleted', 'offset') + mgt.THIN_FIELDS
# Tags by which sm's LVs are told apart
PLAIN_TAGS = ('hidden', 'journaler', 'jvhd', 'cbtlog')
SLOTS = 4
SECTOR = lvmlabel.SECTOR
MAGICS = ('conectix', 'cxsparse', 'tdbatmap', 'QFI\xfb', 'v_poison')

_UNIT = re.compile('&(?:amp|lt|gt|quot|apos);|[\\x00-\\x7f]|[\xc2-\xdf][\x80-\xbf]|(?:\xe0[\xa0-\xbf]|\xed[\x80-\x9f]|'
                   '[\xe1-\xec\xee\xef][\x80-\xbf])[\x80-\xbf]|(?:\xf0[\x90-\xbf]|[\xf1-\xf3][\x80-\xbf]|\xf4[\x80-\x8f])[\x80-\xbf]{2}|'
                   '[\x80-\xff]')
_FOREIGN = {2: '\xc3\xa9', 3: '\xe4\xb8\xad', 4: '\xf0\x9f\x92\xbe'}
_NONCHARACTERS = ('\xef\xbf\xbe', '\xef\xbf\xbf')
_LETTER = re.compile('[0-9A-Za-z]')
_TAG = re.compile('<(/?)([a-z_]+)>')
_STRING = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"')
_PRIVATE = re.compile(r'(?<![A-Za-z0-9_.+-])(?:(?P<host>creation_host|description)\s*=\s*"[^"\\]*(?:\\.[^"\\]*)*"|'
                      r'(?P<tags>tags)\s*=\s*\[[^\]]*\])|'
                      r'"[^"\\]*(?:\\.[^"\\]*)*"|(?P<comment>#[^\n\0]*)')
_HEADER = re.compile('XSSM:[0-9: ]*\\0*\\Z')
_JOURNAL_TEXT = re.compile('[\\x20-\\x7e]*\\0*\\Z')


def name(value):
    """A stored name (native str of UTF-8, escaped) with nothing of it left but its length and kind."""
    return _UNIT.sub(_unit, value)


def _unit(match):
    unit = match.group()
    if len(unit) == 1:
        if unit >= '\x80':
            return '\xff'
        return _LETTER.sub('x', unit)
    if unit[0] == '&' or unit in _NONCHARACTERS or octets(unit).decode('utf-8').isspace():
        return unit
    return _FOREIGN[len(unit)]


def metadata_sector(sector, first):
    """One sector of MGT. first: it is the header."""
    if first:
        if _HEADER.match(sector):
            return sector
        # a refusal shows so much of it
        return sector[:32] + _LETTER.sub('x', sector[32:])
    parts = []
    done = 0
    if sector.startswith(mgt.XML_HEADER):
        done = len(mgt.XML_HEADER)
        parts.append(mgt.XML_HEADER)
    field = ''
    for match in _TAG.finditer(sector, done):
        parts.append(_value(field, sector[done:match.start()]))
        parts.append(match.group())
        done = match.end()
        field = match.group(2)
        if match.group(1):
            field = ''
    parts.append(_value(field, sector[done:]))
    return ''.join(parts)


def _value(field, value):
    if field in PLAIN_FIELDS:
        return value
    return name(value)


def group_text(string):
    """A metadata text of LVM without host names, description, comments and other people's tags; of the same length."""
    return _PRIVATE.sub(_private, string)


def _private(match):
    whole = match.group()
    if match.lastgroup == 'comment':
        return _LETTER.sub('x', whole)
    if match.lastgroup is None:
        return whole
    return _STRING.sub(_string, whole)


def _string(match):
    value = match.group(1)
    if value in PLAIN_TAGS:
        return match.group()
    # uuids are no names, and a resign gives those in tags new ones
    parts = []
    done = 0
    for found in identity.UUID.finditer(value):
        parts.append(_LETTER.sub('x', value[done:found.start()]))
        parts.append(found.group())
        done = found.end()
    parts.append(_LETTER.sub('x', value[done:]))
    return '"%s"' % ''.join(parts)


def blot(sector):
    """A sector (native str) that holds no structure although one belongs there, so perhaps somebody's data."""
    if sector == sector[:1] * len(sector) or [magic for magic in MAGICS if sector.startswith(magic)]:
        return sector
    return re.sub('[^\\0]', 'x', sector)


class Masks(object):
    """What is to stand over a LUN: `pieces` [(offset, bytes)], disjoint; `dead` [(start, end)] that is not to be shown at all."""

    def __init__(self, device):
        """Never raises errors.Refused: what is not understood was not read by a resign either."""
        self._device = device
        self._sectors = {}
        self._bytes = []
        self.dead = []
        try:
            self._mask_area()
            self._mask_volumes()
        except errors.Refused:
            pass
        self.pieces = sorted(self._bytes + list(self._sectors.items()))

    def _mask_area(self):
        label = lvmlabel.find_label(self._device.read(0, lvmlabel.AREA_OFFSET))
        offset, size = label.area
        if offset % SECTOR or size % SECTOR or not lvmlabel.AREA_HEADER < size <= lvmlabel.MAX_AREA or offset + size > self._device.size:
            return
        header = self._device.read(offset, lvmlabel.AREA_HEADER)
        good = struct.unpack('<I', header[:4])[0] == lvmlabel.crc(header[4:])
        living = [(offset, offset + lvmlabel.AREA_HEADER)]
        seen = {}
        for number in range(SLOTS):
            at = 40 + number * lvmlabel.RAW_LOCATION
            start, length, crc, flags = struct.unpack('<QQII', header[at:at + lvmlabel.RAW_LOCATION])
            if not lvmlabel.AREA_HEADER <= start < size or not 0 < length <= min(size - lvmlabel.AREA_HEADER, lvmlabel.MAX_TEXT):
                continue
            new = self._mask_text(offset, size, (start, length), seen)
            living.extend([(offset + place, offset + place + count) for place, count in lvmlabel.ring_pieces(start, length, size)])
            if crc == seen[start, length]:
                header = header[:at + 16] + struct.pack('<I', lvmlabel.crc(new)) + header[at + 20:]
        if good:
            header = struct.pack('<I', lvmlabel.crc(header[4:])) + header[4:]
            self._bytes.append((offset, header))
        self._between(living, min(offset, lvmlabel.AREA_OFFSET), max(offset + size, label.data_area[0]))

    def _mask_text(self, offset, size, slot, seen):
        """The new text (bytes). seen: {slot: CRC of the text as it was}"""
        data = octets('')
        pieces = lvmlabel.ring_pieces(slot[0], slot[1], size)
        for place, count in pieces:
            data += self._device.read_any(offset + place, count)
        new = octets(group_text(text(data)))
        if slot not in seen:
            position = 0
            for place, count in pieces:
                self._bytes.append((offset + place, new[position:position + count]))
                position += count
        seen[slot] = lvmlabel.crc(data)
        return new

    def _between(self, living, start, end):
        """What lies in the areas and is no live text: older texts."""
        for first, last in sorted(living):
            if first > start:
                self.dead.append((start, first))
            start = max(start, last)
        if end > start:
            self.dead.append((start, end))

    def _mask_volumes(self):
        placement = Placement(self._device)
        vg = placement.group()
        for lv in vg.order:
            if lv.name == mgt.LV_NAME:
                self._mask_metadata(vg, lv)
            elif lv.name.startswith('VHD-') or lv.name.startswith('QCOW2-'):
                self._mask_image(vg, lv)
            elif not lv.name.startswith('LV-'):
                self._replace(vg, lv, 0, 1, _journal)
        if placement.staged:
            self._mask_log(placement, vg)
        elif mgt.LV_NAME in vg.lvs and len(vg.lvs[mgt.LV_NAME].segments) == 1:
            self._mask_history(placement, vg, vg.lvs[mgt.LV_NAME])

    def _mask_metadata(self, vg, lv):
        self._replace(vg, lv, 0, 1, lambda sector: metadata_sector(sector, True))
        self._replace(vg, lv, 1, self._used(vg, lv) // SECTOR, lambda sector: metadata_sector(sector, False))

    def _mask_image(self, vg, lv):
        count = vg.lv_size(lv) // SECTOR
        head = self._read(vg, lv, 0, min(qcow2.HEAD_SIZE, count * SECTOR))
        if head[:4] == qcow2.MAGIC:
            return
        header = head[vhd.HEADER_AT:vhd.HEAD_SIZE]
        is_vhd = text(header[:8]) == MAGICS[1]
        self._replace(vg, lv, 0, 1, blot)
        self._replace(vg, lv, count - 1, count, blot)
        if not is_vhd:
            self._replace(vg, lv, 1, len(head) // SECTOR, blot)
            return
        behind = struct.unpack('>Q', header[16:24])[0] + struct.unpack('>I', header[28:32])[0] * 4
        behind = (behind + SECTOR - 1) // SECTOR
        if 2 < behind < count - 1:
            self._replace(vg, lv, behind, behind + 1, blot)

    def _mask_history(self, placement, vg, lv):
        """The history of a resign that is over is left out: without the LUN's SCSI id, which a pack does not tell, it counts for nothing.
        One whose last write is missing counts while it has the checksums of the LUN, so it gets those of what stands there masked."""
        size = vg.lv_size(lv)
        used = self._used(vg, lv)
        start = vg.runs(lv, 0, size)[0][0]
        head = start + size - redolog.HEAD_SIZE

        def read(offset, length):
            return self._read(vg, lv, offset, length)
        history = redolog.load_history(read, size)
        sources = octets('')
        if history is not None:
            sources = history.render_sources()
        if head - len(sources) < start + used:
            return
        if history is None or history.done:
            self.dead.append((head - len(sources), head + redolog.HEAD_SIZE))
            return
        now = origins.marks(placement.area.text_crc, text(read(0, used)))
        masked = text(octets('').join([self._sectors[place] for place in range(start, start + used, SECTOR)]))
        new = origins.marks(lvmlabel.crc(octets(group_text(placement.area.text))), masked)
        history.before = {True: new, False: history.before}[history.before == now]
        history.after = {True: new, False: history.after}[history.after == now]
        self._sectors[head] = redolog.with_history(read(size - redolog.HEAD_SIZE, redolog.HEAD_SIZE), history)

    def _mask_log(self, placement, vg):
        """The log of a locked LUN names the checksum of the staged text and may hold the new name of the SR."""
        log = resign.find_log(self._device, placement)
        lv = vg.lvs[mgt.LV_NAME]
        size = vg.lv_size(lv)
        start = vg.runs(lv, 0, size)[0][0]
        old = log.render()
        log.text_crc = lvmlabel.crc(octets(group_text(placement.area.text)))
        end = start + self._used(vg, lv)
        after = rehearsal.Rehearsal(self._device, log.runs)
        log.runs = [(offset, self._masked_run(after, start, end, offset, data)) for offset, data in log.runs]
        new = log.render()
        if len(new) == len(old):
            at = start + size - len(new)
            for position in range(0, len(new), SECTOR):
                self._sectors[at + position] = new[position:position + SECTOR]

    def _masked_run(self, after, start, end, offset, data):
        """A run of the log, as it would be if the names in MGT, from `start` to `end`, were the masked ones. after: how the LUN will be."""
        if not start + SECTOR <= offset or offset + len(data) > end:
            return data
        first = offset // SECTOR * SECTOR
        last = (offset + len(data) + SECTOR - 1) // SECTOR * SECTOR
        new = ''
        for place in range(first, last, SECTOR):
            new += metadata_sector(text(after.read(place, SECTOR)), False)
        return octets(new[offset - first:offset - first + len(data)])

    def _used(self, vg, lv):
        """How many bytes MGT says that it uses, whole sectors; one at least."""
        found = re.match('XSSM:([0-9]{1,10}) *:', text(self._read(vg, lv, 0, SECTOR)))
        if found is None:
            return SECTOR
        return max(SECTOR, min(int(found.group(1)), mgt.MAX_USED, vg.lv_size(lv)) // SECTOR * SECTOR)

    def _read(self, vg, lv, offset, length):
        return octets('').join([self._device.read(*place) for place in vg.runs(lv, offset, length)])

    def _replace(self, vg, lv, first, last, change):
        """Sectors `first` to `last` - 1 of an LV, each as `change` (native str -> native str) makes it."""
        for offset, length in vg.runs(lv, first * SECTOR, max(0, last - first) * SECTOR):
            data = text(self._device.read(offset, length))
            for position in range(0, length, SECTOR):
                self._sectors[offset + position] = octets(change(data[position:position + SECTOR]))


def _journal(sector):
    """The first sector of a journal's LV: uuids of VDIs, padded with zeros."""
    if _JOURNAL_TEXT.match(sector):
        return sector
    return blot(sector)
