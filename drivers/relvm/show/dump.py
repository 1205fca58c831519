# SPDX-License-Identifier: LGPL-2.1-only
"""`relvm dump`: every structure of a LUN that a resign reads, field by field, with the offset on the LUN at which it stands.

A line is `offset (hexadecimal)  field  value`. What is not understood is said so, shown as bytes, and the rest goes on.
"""

import struct

from relvm import errors
from relvm.engine import rehearsal
from relvm.engine.lun import Placement
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import redolog
from relvm.formats import vhd
from relvm.octets import octets
from relvm.octets import text
from relvm.show import masking

# (offset in the structure, how struct takes it, name): the docstrings of the formats say more
LABEL = ((0, '8s', 'id'), (8, '<Q', 'sector'), (16, '<I', 'checksum'), (20, '<I', 'PV header at'), (24, '8s', 'type'),
         (32, '32s', 'PV UUID'), (64, '<Q', 'size of the device'))
AREA = ((0, '<I', 'checksum'), (4, '16s', 'magic'), (20, '<I', 'version'), (24, '<Q', 'offset of this area'),
        (32, '<Q', 'size of this area'))
LOCATION = ((0, '<Q', 'text at'), (8, '<Q', 'its length'), (16, '<I', 'its checksum'), (20, '<I', 'flags'))
FOOTER = ((0, '8s', 'cookie'), (16, '>Q', 'header at'), (28, '4s', 'created by'), (32, '>I', 'version of that'),
          (48, '>Q', 'virtual size'), (60, '>I', 'type'), (64, '>I', 'checksum'), (68, '16s', 'unique id'), (85, 'B', 'hidden'))
HEADER = ((0, '8s', 'cookie'), (16, '>Q', 'BAT at'), (24, '>I', 'version'), (28, '>I', 'entries'), (32, '>I', 'block size'),
          (36, '>I', 'checksum'), (40, '16s', 'parent id'), (56, '>I', "parent's time"))
LOCATOR = ((0, '4s', 'code'), (4, '>I', 'space'), (8, '>I', 'length'), (16, '>Q', 'text at'))
LOG = ((0, '8s', 'magic'), (8, '<I', 'version'), (12, '<I', 'checksum'), (16, '<Q', 'length of the runs'), (24, '<I', 'their checksum'),
       (28, '<I', 'number of runs'))
SHOWN = 64
MAX_LOCATIONS = 4


def lines(device, names=False):
    """An iterable of lines, native str of printable ASCII. device: a blockdev.Device or an excerpt.Excerpt. names: as they are."""
    if not names:
        device = rehearsal.Rehearsal(device, masking.Masks(device).pieces)
    for offset, what, value in _everything(device):
        line = '%-28s %s' % (what, errors.printable(value))
        yield '%012x  %s' % (offset, line.rstrip())


def _everything(device):
    yield 0, 'LUN', '%d bytes' % device.size
    label = None
    try:
        head = device.read(0, min(lvmlabel.AREA_OFFSET, device.size))
        for row in _label(head):
            yield row
        label = lvmlabel.find_label(head)
    except errors.Refused:
        yield 0, 'not understood', errors.current().sentence()
    if label is None:
        return
    try:
        header = device.read(label.area[0], lvmlabel.AREA_HEADER)
        for row in _area(label.area[0], header):
            yield row
    except errors.Refused:
        yield label.area[0], 'not understood', errors.current().sentence()
    try:
        placement = Placement(device)
        rows = _text(placement.area)
        vg = placement.group()
    except errors.Refused:
        yield label.area[0], 'not understood', errors.current().sentence()
        return
    for row in rows:
        yield row
    for lv in vg.order:
        for row in _volume(device, vg, lv):
            yield row


def _label(head):
    for number in range(lvmlabel.LABEL_SCAN_SECTORS):
        sector = head[number * lvmlabel.SECTOR:(number + 1) * lvmlabel.SECTOR]
        if sector[:8] == lvmlabel.LABEL_ID:
            at = number * lvmlabel.SECTOR
            for row in _fields('label', at, sector, LABEL):
                yield row
            position = 72
            for what in ('data area', 'metadata area'):
                while position + 16 <= lvmlabel.SECTOR:
                    offset, size = struct.unpack('<QQ', sector[position:position + 16])
                    if offset:
                        yield at + position, what, 'offset %d, size %d' % (offset, size)
                    position += 16
                    if not offset:
                        break
            if position + 8 <= lvmlabel.SECTOR:
                yield at + position, 'extension', 'version %d, flags %d' % struct.unpack('<II', sector[position:position + 8])
        elif sector.strip(octets('\0')):
            yield number * lvmlabel.SECTOR, 'sector %d' % number, _bytes(sector)


def _area(at, header):
    for row in _fields('area', at, header, AREA):
        yield row
    for number in range(MAX_LOCATIONS):
        start = 40 + number * lvmlabel.RAW_LOCATION
        part = header[start:start + lvmlabel.RAW_LOCATION]
        if number and not part.strip(octets('\0')):
            break
        for row in _fields('slot %d' % number, at + start, part, LOCATION):
            yield row


def _text(area):
    """[row] of the live text, a row for each line."""
    found = []
    position = 0
    for line in area.text.split('\n'):
        place = area.text_offset + position
        if place >= area.size:
            place = lvmlabel.AREA_HEADER + place - area.size
        found.append((area.offset + place, 'text', line.replace('\t', ' ').rstrip('\0')))
        position += len(line) + 1
    return found


def _volume(device, vg, lv):
    size = vg.lv_size(lv)
    yield vg.runs(lv, 0, size)[0][0], 'LV %s' % lv.name, '%d bytes, %s' % (
        size, ', '.join(['%d at %d' % (length, start) for start, length in vg.runs(lv, 0, size)]))
    rows = []
    if lv.name == mgt.LV_NAME:
        rows = _metadata(vg, lv, _reader(device, vg, lv))
    elif lv.name.startswith('VHD-'):
        rows = _image(vg, lv, _reader(device, vg, lv))
    elif lv.name.startswith('QCOW2-') or not lv.name.startswith('LV-') and lv.tags:
        rows = _start(vg, lv, _reader(device, vg, lv))
    try:
        for row in rows:
            yield row
    except errors.Refused:
        yield vg.runs(lv, 0, size)[0][0], 'not understood', errors.current().sentence()


def _reader(device, vg, lv):
    def read(offset, length):
        return octets('').join([device.read(*place) for place in vg.runs(lv, offset, length)])
    return read


def _place(vg, lv, offset):
    """Where a byte of an LV stands on the LUN."""
    return vg.runs(lv, offset, 1)[0][0]


def _metadata(vg, lv, read):
    yield _place(vg, lv, 0), 'MGT header', text(read(0, mgt.SECTOR)).rstrip(' \0')
    found = mgt.Metadata(read, vg.lv_size(lv))
    for number, what in enumerate(('SR record', 'SR name', 'SR description')):
        at = (number + 1) * mgt.SECTOR
        yield _place(vg, lv, at), what, found.raw[at:at + mgt.SECTOR].rstrip(' \0')
    for record in found.records:
        what = 'VDI record'
        if record.deleted:
            what = 'deleted record'
        for at in (0, mgt.SECTOR):
            yield _place(vg, lv, record.offset + at), what, record.raw[at:at + mgt.SECTOR].rstrip(' \0')
    at = vg.lv_size(lv) - redolog.HEAD_SIZE
    head = read(at, redolog.HEAD_SIZE)
    if head[:8] == redolog.MAGIC:
        for row in _fields('log', _place(vg, lv, at), head, LOG):
            yield row


def _image(vg, lv, read):
    head = read(0, vhd.HEAD_SIZE)
    for row in _structure(vg, lv, 'footer copy', 0, head[:vhd.FOOTER_SIZE], FOOTER):
        yield row
    for row in _structure(vg, lv, 'header', vhd.HEADER_AT, head[vhd.HEADER_AT:], HEADER):
        yield row
    name = head[vhd.HEADER_AT + vhd.NAME_AT:vhd.HEADER_AT + vhd.NAME_AT + vhd.NAME_SIZE]
    if name.strip(octets('\0')):
        yield _place(vg, lv, vhd.HEADER_AT + vhd.NAME_AT), 'parent', text(name).replace('\0', '')
    for number in range(vhd.LOCATORS):
        at = vhd.HEADER_AT + vhd.LOCATORS_AT + 24 * number
        part = head[at:at + 24]
        if not part.strip(octets('\0')):
            continue
        for row in _structure(vg, lv, 'locator %d' % number, at, part, LOCATOR):
            yield row
        length, offset = struct.unpack('>I4xQ', part[8:])
        if 0 < length <= vhd.MAX_LOCATOR and offset % vhd.SECTOR == 0 and offset + vhd.MAX_LOCATOR <= vg.lv_size(lv):
            stored = read(offset, (length + vhd.SECTOR - 1) // vhd.SECTOR * vhd.SECTOR)[:length]
            yield _place(vg, lv, offset), 'locator %d: says' % number, text(stored).replace('\0', '')
    at = vg.lv_size(lv) - vhd.FOOTER_SIZE
    for row in _structure(vg, lv, 'footer', at, read(at, vhd.FOOTER_SIZE), FOOTER):
        yield row


def _start(vg, lv, read):
    yield _place(vg, lv, 0), 'begins with', _bytes(read(0, lvmlabel.SECTOR))


def _structure(vg, lv, name, at, data, fields):
    if data[:8] != octets('conectix') and fields is FOOTER or data[:8] != octets('cxsparse') and fields is HEADER:
        return [(_place(vg, lv, at), name, 'none: %s' % _bytes(data))]
    return _fields(name, _place(vg, lv, at), data, fields)


def _fields(name, at, data, fields):
    """[(offset, what, value)] of one structure at `at`."""
    found = []
    for offset, form, what in fields:
        value = struct.unpack(form, data[offset:offset + struct.calcsize(form)])[0]
        if form == '16s' and what != 'magic':
            value = _hex(value)
        elif form[-1] == 's':
            value = text(value)
        elif what.endswith('checksum'):
            value = '0x%08x' % value
        found.append((at + offset, '%s: %s' % (name, what), value))
    return found


def _hex(data):
    return ''.join(['%02x' % ord(char) for char in text(data)])


def _bytes(data):
    """The beginning, as bytes."""
    if not data.strip(octets('\0')):
        return 'zeros'
    return _hex(data[:SHOWN])
