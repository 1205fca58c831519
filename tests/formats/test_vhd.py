# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.vhd, against lvhd's writer and reader, and VHDs that the real vhd-util made."""
from __future__ import absolute_import, division, print_function

import struct
import uuid

import pytest

from luns import damage
from lvhd import image, reader, shapes
from lvhd import vhd as writer
from lvhd.model import MIB, RAW, Sr
from relvm import errors
from relvm.formats import locators as locator_formats
from relvm.formats import vhd
from relvm.octets import octets

SECTOR = 512
SIZE = 12 * MIB
OLD_SR = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
NEW_SR = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
PARENT = '1b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a02'
NEW_PARENT = 'ffffffff-ffff-4fff-8fff-ffffffffff01'
UUIDS = {OLD_SR: NEW_SR, PARENT: NEW_PARENT}
LV = 'VHD-2b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a03'
NAME_AT, LOCATORS_AT = 64, 576


def child(parent_type='vhd', **fields):
    """The bytes of a VHD with a parent, as a bytearray of SIZE."""
    sr = Sr(1, uuid=OLD_SR)
    parent = sr.add(u'parent', uuid=PARENT, hidden=True, vdi_type=parent_type)
    shapes.write(parent, 0, 'parent')
    leaf = sr.add(u'leaf', uuid=LV[4:], parent=parent, **fields)
    shapes.write(leaf, 0, 'leaf')
    return content(sr, leaf)


def single(**fields):
    sr = Sr(1, uuid=OLD_SR)
    leaf = sr.add(u'leaf', uuid=LV[4:], **fields)
    shapes.write(leaf, 0, 'leaf')
    return content(sr, leaf)


def content(sr, vdi):
    image.settle(sr)
    data = bytearray(SIZE)
    for offset, piece in writer.chunks(vdi, sr.vg_name, SIZE):
        data[offset:offset + len(piece)] = piece
    return data


class Volume(object):
    """As much of lvhd.reader's LogicalVolume as its Vhd uses."""

    def __init__(self, data):
        self.name = LV
        self.data = bytes(data)
        self.size = len(data)

    def read(self, offset, length):
        return self.data[offset:offset + length]


def disk(data):
    def read(offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0 and 0 <= offset <= offset + length <= len(data)
        return bytes(data[offset:offset + length])
    return vhd.Disk(LV, len(data), read)


def header(data, *edits):
    part = data[SECTOR:3 * SECTOR]
    for edit in edits:
        edit(part)
    damage.seal_header(part)
    data[SECTOR:3 * SECTOR] = part
    return data


def footers(data, *edits):
    for start in (0, len(data) - SECTOR):
        footer(data, start, *edits)
    return data


def footer(data, start, *edits, **options):
    part = data[start:start + SECTOR]
    for edit in edits:
        edit(part)
    options.get('seal', damage.seal_footer)(part)
    data[start:start + SECTOR] = part
    return data


# Against the other reader


def same_as_reader(lun, name):
    volume, seen = lun.volumes[name], lun.vhd(name)
    found = vhd.Disk(name, volume.size, volume.read)
    assert found.footer.virtual_size == seen.footer.size
    assert found.footer.hidden == seen.footer.hidden
    assert found.footer.type == seen.footer.kind
    assert str(uuid.UUID(bytes=found.footer.unique_id)) == seen.footer.uuid
    assert (found.bat_at, found.entries, found.block_size) == (seen.table_offset, seen.entries, seen.block_size)
    assert found.report == []
    if not seen.differencing:
        assert (found.parent, found.parent_id, found.names) == (None, vhd.NO_PARENT, [])
        return True
    assert '%s-%s' % found.parent == seen.parent_volume()
    assert str(uuid.UUID(bytes=found.parent_id)) == seen.parent_uuid
    assert 'VG_XenStorage-' + found.sr_uuid == lun.vg_name
    assert [(offset, octets(stored)) for offset, stored, _ in found.names] == \
        [(SECTOR + NAME_AT, seen.parent_name.encode('utf-16-be'))] + [(each.offset, each.data) for each in seen.locators]
    return True


def test_shape_is_read_as_by_the_other_reader(shape):
    with reader.Lun(shape.path) as lun:
        for name in lun.volumes:
            if name.startswith('VHD-'):
                assert same_as_reader(lun, name)


def test_sample_is_read_as_by_the_other_reader(sample):
    with reader.Lun(sample) as lun:
        found = [same_as_reader(lun, name) for name in lun.volumes if name.startswith('VHD-')]
    assert found


def test_checksum():
    data = bytes(single()[:SECTOR])
    assert vhd.checksum(data, 64) == reader.vhd_checksum(data, 64) == struct.unpack('>I', data[64:68])[0]
    assert vhd.checksum(b'\xff' * 2048, 0) == ~(255 * 2044) & 0xffffffff


# Footers


def test_footer():
    found = vhd.parse_footer(bytes(single(hidden=True)[:SECTOR]))
    assert (found.type, found.virtual_size, found.header_at, found.hidden) == (vhd.DYNAMIC, 8 * MIB, 512, True)


@pytest.mark.parametrize('offset', [0, 8, 40, 48, 60, 64, 68, 84, 86, 511])
def test_damaged_footer_is_none(offset):
    data = single()
    data[offset] ^= 1
    assert vhd.parse_footer(bytes(data[:SECTOR])) is None


def early(version, creator=b'tap\0'):
    """A footer in which `hidden` was set without a new checksum."""
    data = single()
    footer(data, 0, damage.put(28, creator), damage.put(32, struct.pack('>I', version)))
    data[85] = 1
    return bytes(data[:SECTOR])


@pytest.mark.parametrize('version', [0x00000001, 0x00010001])
def test_early_tapdisk_hid_without_a_checksum(version):
    """vhd_validate_footer of libvhd takes those of versions 0.1 and 1.1."""
    found = vhd.parse_footer(early(version))
    assert found.hidden


@pytest.mark.parametrize('raw', [early(0x00010003), early(0x00010001, b'vpc '), early(2), early(0x00010001)[:86] + b'x' * 426,
                                 early(0x00010001)[:40] + b'x' + early(0x00010001)[41:]],
                         ids=['newer', 'other creator', 'other version', 'rest', 'one more byte'])
def test_others_did_not(raw):
    assert vhd.parse_footer(raw) is None


def test_damaged_footer_at_the_end_is_reported():
    """A VHD that grew while the array took its clone."""
    data = single()
    data[-SECTOR:] = b'\0' * SECTOR
    found = disk(data)
    assert len(found.report) == 1 and LV in found.report[0]
    assert found.footer.virtual_size == 8 * MIB


@pytest.mark.parametrize('edit', [damage.put(85, b'\1'), damage.put(48, struct.pack('>Q', 4 * MIB)),
                                  damage.put(60, struct.pack('>I', 4)), damage.put(68, b'\xaa' * 16),
                                  damage.put(16, struct.pack('>Q', 1024))], ids=['hidden', 'size', 'type', 'id', 'header'])
def test_footers_that_differ(edit):
    """The copy at the start is what sm reads (vhd-util scan)."""
    data = single()
    footer(data, SIZE - SECTOR, edit)
    found = disk(data)
    assert found.differs and found.report == []
    (change,) = found.rewritten({})
    assert change == (SIZE - SECTOR, bytes(data[-SECTOR:]), bytes(data[:SECTOR]))


def spaced(data, space):
    header(data, with_locator(MACX, space=space))
    return data


@pytest.mark.parametrize('space', [1, 2, 8])
def test_space_of_a_locator_in_sectors(space):
    """As the specification has it, and old tools of Microsoft."""
    data = child()
    plain = disk(data)
    found = disk(spaced(data, space))
    assert (found.parent, found.names) == (plain.parent, plain.names)


@pytest.mark.parametrize('behind', [0, 512, 1 << 20, (1 << 22) - 512, 1 << 22])
def test_a_fixed_vhd_of_hyper_v(behind):
    """Its only footer ends the file, and the file ends somewhere in the last extent of the LV."""
    data = b'\xeb\x63\x90' + b'\0' * (1 << 22) + b'\0' * (SIZE % 512)
    data = data[:len(data) // 512 * 512] + fixed_footer() + b'\0' * behind
    with pytest.raises(errors.FixedVHD):
        vhd.Disk('VHD-x', len(data), lambda offset, length: data[offset:offset + length])


def test_a_disk_that_is_no_vhd_at_all():
    data = b'\xeb\x63\x90'.ljust(1 << 20, b'\0')
    with pytest.raises(errors.BadVHD) as caught:
        vhd.Disk('VHD-x', len(data), lambda offset, length: data[offset:offset + length])
    assert not isinstance(caught.value, errors.FixedVHD)


def fixed_footer():
    raw = bytearray(child()[:512])
    raw[16:24] = b'\xff' * 8
    raw[60:64] = b'\0\0\0\2'
    raw[64:68] = b'\0' * 4
    raw[64:68] = struct.pack('>I', ~sum(bytearray(raw)) & 0xffffffff)
    return bytes(raw)


def test_damaged_copy_of_the_footer():
    data = single()
    data[100] ^= 1
    found = disk(data)
    assert len(found.report) == 1 and 'at the start' in found.report[0] and LV in found.report[0]
    assert found.rewritten({}) == [(0, bytes(data[:SECTOR]), bytes(data[-SECTOR:]))]


def test_both_footers_damaged():
    data = single()
    data[100] ^= 1
    data[-100] ^= 1
    with pytest.raises(errors.BadVHD) as caught:
        disk(data)
    assert 'both' in str(caught.value)


@pytest.mark.parametrize('places', [(0,), (SIZE - SECTOR,), (0, SIZE - SECTOR)])
def test_poison(places):
    data = single()
    for place in places:
        footer(data, place, damage.put(0, b'v_poison'))
    with pytest.raises(errors.Poisoned) as caught:
        disk(data)
    assert LV in str(caught.value)


def test_a_damaged_end_stays_unless_it_is_to_be_mended():
    """A tapdisk that has the disk open overwrites it with 0xc7."""
    data = single()
    data[-SECTOR:] = b'\xc7' * SECTOR
    found = disk(data)
    assert found.rewritten({}) == []
    assert found.rewritten({}, mend_end=True) == [(SIZE - SECTOR, b'\xc7' * SECTOR, bytes(data[:SECTOR]))]
    (change,) = found.rewritten({}, hidden=True)
    assert change[0] == 0


def test_hidden_is_written_to_both_ends():
    data = single()
    changes = disk(data).rewritten({}, hidden=True)
    assert [offset for offset, _, _ in changes] == [0, SIZE - SECTOR]
    for offset, old, new in changes:
        assert bytes(data[offset:offset + SECTOR]) == old
        data[offset:offset + SECTOR] = new
    found = disk(data)
    assert found.hidden and not found.differs
    assert reader.Footer(bytes(data[:SECTOR])).hidden
    for offset, old, new in found.rewritten({}, hidden=False):
        data[offset:offset + SECTOR] = new
    assert data == single()


def test_empty_volume():
    with pytest.raises(errors.BadVHD):
        disk(bytearray(SIZE))


@pytest.mark.parametrize('edit, said', [
    (damage.put(60, struct.pack('>I', 2)), 'a fixed one'), (damage.put(60, struct.pack('>I', 0)), 'type 0'),
    (damage.put(60, struct.pack('>I', 5)), 'type 5'), (damage.put(16, struct.pack('>Q', 1024)), 'offset 1024'),
    (damage.put(16, b'\xff' * 8), 'header is at')])
def test_footer_that_is_not_understood(edit, said):
    with pytest.raises(errors.BadVHD) as caught:
        disk(footers(single(), edit))
    assert said in str(caught.value)


# Headers

U32, U64 = '>I', '>Q'
BAD_HEADERS = [
    ('cookie', (0, b'cxsparsf'), 'damaged'),
    ('version', (24, struct.pack(U32, 0x00020000)), 'version 0x00020000'),
    ('offset', (8, struct.pack(U64, 512)), 'version'),
    ('blocks of 0', (32, struct.pack(U32, 0)), 'blocks of 0'),
    ('blocks of 256', (32, struct.pack(U32, 256)), 'blocks of 256'),
    ('blocks of 3 MiB', (32, struct.pack(U32, 3 * MIB)), 'blocks of 3145728'),
    ('blocks of 4 MiB', (32, struct.pack(U32, 4 * MIB)), 'blocks of 4194304'),
    ('blocks of 128 MiB', (32, struct.pack(U32, 128 * MIB)), 'blocks of 134217728'),
    ('unaligned BAT', (16, struct.pack(U64, 1537)), 'offset 1537'),
    ('BAT in the header', (16, struct.pack(U64, 1024)), 'offset 1024'),
    ('BAT beyond the end', (16, struct.pack(U64, SIZE - 512)), 'offset %d' % (SIZE - 512)),
    ('BAT far beyond the end', (16, struct.pack(U64, (1 << 64) - 512)), 'BAT'),
    ('BAT over the footer', (28, struct.pack(U32, (SIZE - 1536 - 512) // 4 + 1)), 'BAT of'),
    ('large BAT', (28, b'\xff' * 4), 'BAT of'),
    ('BAT too small', (28, struct.pack(U32, 3)), 'more than its BAT'),
    ('no BAT', (28, struct.pack(U32, 0)), 'more than its BAT'),
    ('parent id', (40, b'\1' * 16), 'names a parent'),
    ('parent name', (NAME_AT, b'\0a'), 'names a parent'),
    ('locator', (LOCATORS_AT, b'MacX'), 'names a parent'),
    ('last locator', (LOCATORS_AT + 191, b'\1'), 'names a parent'),
]


@pytest.mark.parametrize('place, said', [row[1:] for row in BAD_HEADERS], ids=[row[0] for row in BAD_HEADERS])
def test_header_that_is_not_understood(place, said):
    with pytest.raises(errors.BadVHD) as caught:
        disk(header(single(), damage.put(*place)))
    assert said in str(caught.value) and LV in str(caught.value)


def test_header_with_a_wrong_checksum():
    data = single()
    data[SECTOR + 1000] ^= 1
    with pytest.raises(errors.BadVHD) as caught:
        disk(data)
    assert 'header is damaged' in str(caught.value)


@pytest.mark.parametrize('entries', [4, 128, 129, 1 << 20])
def test_bat_up_to_the_footer(entries):
    data = header(single(), damage.put(28, struct.pack(U32, entries)))
    assert disk(data).entries == entries


@pytest.mark.parametrize('size', [512, 4096, 2 * MIB])
def test_other_block_sizes(size):
    data = header(single(), damage.put(32, struct.pack(U32, size)), damage.put(28, struct.pack(U32, 8 * MIB // size or 1)))
    assert disk(data).block_size == size


# Parents


def test_parent():
    found = disk(child())
    assert (found.parent, found.sr_uuid) == (('VHD', PARENT), OLD_SR)
    assert found.parent_id != vhd.NO_PARENT
    assert len(found.names) == 4


def test_raw_parent():
    found = disk(child(RAW))
    assert (found.parent, found.parent_id) == (('LV', PARENT), vhd.NO_PARENT)


def mapper(kind='VHD', sr=OLD_SR, parent=PARENT):
    return ('VG_XenStorage-%s' % sr).replace('-', '--') + '-' + ('%s-%s' % (kind, parent)).replace('-', '--')


def named(name, data=None):
    """A VHD whose header carries this parent name, and whose locators are gone."""
    raw = name.encode('utf-16-be') if not isinstance(name, bytes) or str is bytes and '\0' not in name else name
    edits = [damage.put(NAME_AT, b'\0' * 512), damage.put(NAME_AT, raw), damage.put(LOCATORS_AT, b'\0' * 192)]
    return header(child() if data is None else data, *edits)


@pytest.mark.parametrize('name', [mapper(), 'VHD-' + PARENT, './VHD-' + PARENT, '.\\VHD-' + PARENT, './' + mapper(), '.\\' + mapper()])
def test_parent_names_that_are_taken(name):
    found = disk(named(name))
    assert found.parent == ('VHD', PARENT)
    assert found.sr_uuid in (OLD_SR, None)


@pytest.mark.parametrize('name', [
    '', 'x', '/' + mapper(), '/dev/mapper/' + mapper(), '../' + mapper(), './../' + mapper(), './/' + mapper(), 'C:' + mapper(),
    'file://./' + mapper(), '.' + mapper(), mapper() + '/', mapper() + 'x', mapper() + ' ', ' ' + mapper(), './', '.\\',
    '/dev/VG_XenStorage-%s/VHD-%s' % (OLD_SR, PARENT), 'VG_XenStorage-%s-VHD-%s' % (OLD_SR, PARENT),
    'VG_XenStorage-%s/VHD-%s' % (OLD_SR, PARENT), mapper().replace('--', '-'), mapper('QCOW2'), mapper('VDI'), mapper().upper(),
    'VHD--' + PARENT, 'VHD--' + PARENT.replace('-', '--'), 'VHD-' + PARENT.replace('-', '--'), mapper(parent=PARENT.upper()),
    mapper(parent='OLD_' + PARENT), 'VHD-' + PARENT[:-1], mapper(sr=OLD_SR[:-1]), mapper().replace('XenStorage', 'XenSt0rage'),
    mapper() + '\n', 'VHD-' + PARENT + '\n', mapper()[:-20] + '\\' + mapper()[-20:],
    mapper().replace(PARENT[9:13] + '--', PARENT[9:13] + '-'), mapper().replace('-VHD', '--VHD'), 'V%s' % mapper()])
def test_parent_names_that_are_not(name):
    with pytest.raises(errors.BadLocator) as caught:
        disk(named(name))
    assert LV in str(caught.value)


def wide(name):
    return name.encode('utf-16-be')


@pytest.mark.parametrize('raw', [
    b'\xfe\xff' + wide(mapper()), b'\xff\xfe' + mapper().encode('utf-16-le'), mapper().encode('utf-16-le'), mapper().encode('ascii'),
    wide(mapper()) + b'\xd8\x3d', wide(mapper()) + b'\xd8\x3d\xdc\xbe', wide(mapper()) + wide(u'\u0301'), wide(u'\u200e' + mapper()),
    wide(mapper().replace(u'VHD', u'V\uff28D')), wide(mapper() + u'\x7f'), wide(mapper() + u'\x01'), wide(mapper()) + b'\1\0',
    wide(mapper() + u'\u0130'), wide(mapper().replace(u'0', u'\u0660'))],
    ids=['BOM', 'LE BOM', 'LE', 'ASCII', 'half a pair', 'pair', 'combining', 'mark', 'fullwidth', 'DEL', 'control', 'high byte',
         'dotted I', 'other digits'])
def test_utf16_that_is_not_plain_ascii(raw):
    data = child()
    header(data, damage.put(NAME_AT, b'\0' * 512), damage.put(NAME_AT, raw), damage.put(LOCATORS_AT, b'\0' * 192))
    with pytest.raises(errors.BadLocator):
        disk(data)


def test_name_ends_at_the_first_zero_character():
    data = child()
    header(data, damage.put(NAME_AT, wide(mapper() + u'\0' + u'junk')))
    assert disk(data).parent == ('VHD', PARENT)


def test_name_that_fills_its_place_has_no_zero():
    """256 characters without an end: too long for a name, and read no further than the field."""
    data = child()
    header(data, damage.put(NAME_AT, wide(u'V' * 256)))
    with pytest.raises(errors.BadLocator):
        disk(data)


def locators(data):
    """[(code, space, length, offset)] of the header."""
    found = []
    for number in range(8):
        start = SECTOR + LOCATORS_AT + 24 * number
        code, space, length, _, offset = struct.unpack('>4sIIIQ', bytes(data[start:start + 24]))
        if code != b'\0\0\0\0':
            found.append((code, space, length, offset))
    return found


def with_locator(number, code=None, space=None, length=None, offset=None):
    """An edit of the header that changes one locator's fields."""
    def edit(part):
        start = LOCATORS_AT + 24 * number
        now = list(struct.unpack('>4sIIIQ', bytes(part[start:start + 24])))
        for place, value in ((0, code), (1, space), (2, length), (4, offset)):
            if value is not None:
                now[place] = value
        part[start:start + 24] = struct.pack('>4sIIIQ', *now)
    return edit


MACX, W2KU, W2RU = range(3)
BAD_LOCATORS = [
    ('code', with_locator(MACX, code=b'Wi2r'), 'Wi2r'),
    ('binary code', with_locator(MACX, code=b'\xff\0\1\2'), 'code'),
    ('no length', with_locator(MACX, length=0), '0 bytes'),
    ('longer than its space', with_locator(MACX, length=513), '513 bytes in a space of 512'),
    ('longer than its space in sectors', with_locator(MACX, length=513, space=1), '513 bytes in a space of 512'),
    ('too long', with_locator(MACX, length=4097, space=8192), '4097 bytes'),
    ('unaligned', with_locator(MACX, offset=5121), 'offset 5121'),
    ('in the header', with_locator(MACX, offset=1024), 'offset 1024'),
    ('in the first footer', with_locator(MACX, offset=0), 'offset 0'),
    ('in the last footer', with_locator(MACX, offset=SIZE - 512), 'offset %d' % (SIZE - 512)),
    ('over the last footer', with_locator(MACX, offset=SIZE - 512, space=4096, length=600), 'offset'),
    ('beyond the end', with_locator(MACX, offset=1 << 63), 'offset'),
    ('far beyond the end', with_locator(MACX, offset=(1 << 64) - 512), 'offset'),
    ('in the BAT', with_locator(MACX, offset=1536), ''),
    ('elsewhere', with_locator(MACX, offset=4 * MIB), ''),
    ('shorter', with_locator(MACX, length=50), 'file://'),
    ('odd length', with_locator(W2KU, length=5), 'UTF-16'),
    ('other text', with_locator(MACX, code=b'W2ku'), 'UTF-16'),
    ('other encoding', with_locator(W2KU, code=b'MacX'), ''),
]


@pytest.mark.parametrize('edit, said', [row[1:] for row in BAD_LOCATORS], ids=[row[0] for row in BAD_LOCATORS])
def test_locator_that_is_not_understood(edit, said):
    with pytest.raises(errors.BadLocator) as caught:
        disk(header(child(), edit))
    assert said in str(caught.value)


def retold(number, name, code=None):
    """A VHD with another text in one locator."""
    data = child()
    _, space, _, offset = locators(data)[number]
    raw = name.encode('ascii' if number == MACX else 'utf-16-le')
    data[offset:offset + space] = raw + b'\0' * (space - len(raw))
    return header(data, with_locator(number, length=len(raw), code=code))


@pytest.mark.parametrize('number, name', [
    (MACX, 'file://./' + mapper()), (MACX, 'file://' + mapper()), (MACX, 'file://./VHD-' + PARENT),
    (W2KU, '.\\' + mapper()), (W2KU, mapper()), (W2RU, './' + mapper()), (W2RU, '.\\VHD-' + PARENT)])
def test_locators_that_are_taken(number, name):
    assert disk(retold(number, name)).parent == ('VHD', PARENT)


@pytest.mark.parametrize('number, name', [
    (MACX, './' + mapper()), (MACX, mapper()), (MACX, 'FILE://./' + mapper()), (MACX, 'file:///dev/mapper/' + mapper()),
    (MACX, 'file://../' + mapper()), (MACX, 'file://././' + mapper()), (MACX, 'file://localhost/' + mapper()),
    (MACX, 'file://./' + mapper() + '?x'), (MACX, 'file://./%2e' + mapper()), (MACX, 'http://x/' + mapper()), (MACX, 'file://'),
    (W2KU, 'C:\\' + mapper()), (W2KU, '\\\\server\\' + mapper()), (W2KU, '..\\' + mapper()), (W2KU, '\\dev\\mapper\\' + mapper()),
    (W2RU, '.\\..\\' + mapper()), (W2RU, '.\\a\\' + mapper())])
def test_locators_that_point_elsewhere(number, name):
    with pytest.raises(errors.BadLocator):
        disk(retold(number, name))


@pytest.mark.parametrize('number, name', [
    (MACX, 'file://./' + mapper(parent=LV[4:])), (W2KU, '.\\' + mapper(parent=NEW_PARENT)), (W2RU, '.\\' + mapper('LV')),
    (MACX, 'file://./LV-' + PARENT)])
def test_locators_that_name_another_parent(number, name):
    found = disk(retold(number, name))
    assert found.parent == ('VHD', PARENT) and len(found.parents) == 2
    with pytest.raises(errors.BadLocator) as caught:
        found.check_names(OLD_SR)
    assert 'others name VHD-' + PARENT in str(caught.value)
    found.check_names(OLD_SR, True)


def hung(data, kind, uuid, unique_id):
    """The disk with another parent, the changes laid over it."""
    data = bytearray(data)
    for offset, old, new in disk(data).rewritten({}, parent=(kind, uuid, unique_id)):
        assert bytes(data[offset:offset + len(old)]) == old and len(old) == len(new)
        data[offset:offset + len(new)] = new
    return data


@pytest.mark.parametrize('kind, unique_id', [('VHD', b'\x55' * 16), ('LV', b'\0' * 16)])
@pytest.mark.parametrize('mixed', [False, True])
def test_another_parent(kind, unique_id, mixed):
    """vhd_change_parent, finished: a raw parent has a shorter name, and lengths stand in the header."""
    data = child()
    if mixed:
        data = retold(MACX, 'file://./' + mapper(kind, parent=NEW_PARENT))
        if kind == 'LV':
            assert len(disk(data).parents) == 2
    after = disk(hung(data, kind, NEW_PARENT, unique_id))
    assert (after.parents, after.parent_id) == ([(kind, NEW_PARENT)], unique_id)
    volume = reader.Vhd(Volume(hung(data, kind, NEW_PARENT, unique_id)))
    assert volume.parent_volume() == '%s-%s' % (kind, NEW_PARENT)
    for locator in volume.locators:
        encoding = 'ascii' if locator.code == 'MacX' else 'utf-16-le'
        assert locator.data.decode(encoding)[-len(mapper(kind, parent=NEW_PARENT)):] == mapper(kind, parent=NEW_PARENT)


def test_zeros_behind_a_locator_are_none_of_it():
    """What a name that became shorter leaves under its old length."""
    data = retold(MACX, 'file://./' + mapper('LV', parent=NEW_PARENT) + '\0')
    found = disk(data)
    assert found.parents == [('VHD', PARENT), ('LV', NEW_PARENT)]
    assert [stored for _, stored, _ in found.names][1] == 'file://./' + mapper('LV', parent=NEW_PARENT)


@pytest.mark.parametrize('edit, expected', [
    (lambda data: None, False), (lambda data: data.__setitem__(slice(0, 1536), bytearray(1536)), True),
    (lambda data: data.__setitem__(slice(0, 1536), bytearray(b'x' * 1536)), True),
    (lambda data: data.__setitem__(slice(512, 1536), bytearray(1024)), True),
    (lambda data: data.__setitem__(slice(512, 1536), bytearray(b'x' * 1024)), False),
    (lambda data: data.__setitem__(slice(0, 512), bytearray(512)), False),
    (lambda data: data.__setitem__(100, 1), False)])
def test_what_was_never_made(edit, expected):
    """The disk has blocks, so a header without a footer is not one of a new disk."""
    data = single()
    edit(data)
    assert vhd.unmade(len(data), Volume(data).read) == expected


def test_an_empty_disk():
    data = single()
    assert not disk(data).empty()
    at, entries = disk(data).bat_at, disk(data).entries
    data[at:at + 4 * entries] = b'\xff' * 4 * entries
    assert disk(data).empty()
    data[:SECTOR] = bytearray(SECTOR)
    assert vhd.unmade(len(data), Volume(data).read)


def test_locator_that_names_another_sr():
    with pytest.raises(errors.BadLocator) as caught:
        disk(retold(W2KU, '.\\' + mapper(sr=NEW_SR)))
    assert 'two SRs' in str(caught.value)


def test_a_child_without_locators():
    assert disk(named(mapper())).parent == ('VHD', PARENT)


def test_a_child_without_a_name():
    data = header(child(), damage.put(NAME_AT, b'\0' * 512))
    with pytest.raises(errors.BadLocator):
        disk(data)


def test_eight_locators():
    """As many as there is room for, each with a text of its own."""
    data = child()
    places = locators(data)
    edits = []
    for number in range(3, 8):
        code, space, length, offset = places[number % 3]
        start = 8 * MIB + number * SECTOR
        data[start:start + length] = data[offset:offset + length]
        edits.append(with_locator(number, code, space, length, start))
    found = disk(header(data, *edits))
    assert len(found.names) == 9
    assert len(found.rewritten(UUIDS)) == 9


def test_locators_on_each_other():
    data = child()
    offset = locators(data)[W2KU][3]
    with pytest.raises(errors.BadLocator) as caught:
        disk(header(data, with_locator(W2RU, offset=offset)))
    assert 'overlap' in str(caught.value)


def test_texts_side_by_side_are_one_read_of_whole_sectors():
    raw = bytes(bytearray(range(256))) * 16
    asked = []

    def read(offset, length):
        asked.append((offset, length))
        return raw[offset:offset + length]

    texts = [(1536, 300, 'W2ku', 1), (1024, 512, 'MacX', 0), (2048, 512, 'W2ru', 2)]
    found = locator_formats.read_texts(read, texts)
    assert [(offset, octets(stored), code) for offset, stored, code in found] == \
        [(offset, raw[offset:offset + length], code) for offset, length, code, _ in texts]
    assert asked == [(1024, 1536)]


def test_long_locators_on_each_other():
    """The text of one goes on in the sector of the other."""
    data = child()
    code, _, _, offset = locators(data)[W2KU]
    raw = u'.\\{0}'.format(mapper()).encode('utf-16-le')
    data[offset + SECTOR:offset + SECTOR + len(raw)] = raw
    with pytest.raises(errors.BadLocator):
        disk(header(data, with_locator(W2KU, space=2048, length=1000)))


def test_locator_in_the_bat():
    """The BAT is made larger until the first locator lies in it."""
    data = child()
    offset = min(place[3] for place in locators(data))
    entries = (offset - 1536) // 4 + 1
    with pytest.raises(errors.BadLocator) as caught:
        disk(header(data, damage.put(28, struct.pack(U32, entries))))
    assert 'BAT' in str(caught.value)
    found = disk(header(data, damage.put(28, struct.pack(U32, (offset - 1536) // 4))))
    assert found.bat_at + found.bat_size == offset


def moved(place, block):
    """A child whose first locator is at `place` and whose BAT has a block at sector `block`."""
    data = child()
    _, _, length, offset = locators(data)[MACX]
    data[place:place + length] = data[offset:offset + length]
    header(data, with_locator(MACX, offset=place))
    data[1536:1540] = struct.pack(U32, block)
    return data


BLOCK = 2 * MIB + SECTOR


@pytest.mark.parametrize('place, block', [
    (4 * MIB, 4 * MIB // 512), (4 * MIB, 4 * MIB // 512 - 1), (4 * MIB + 2 * MIB, 4 * MIB // 512), (4 * MIB, (4 * MIB - BLOCK) // 512 + 1)])
def test_locator_in_a_data_block(place, block):
    with pytest.raises(errors.BadLocator) as caught:
        disk(moved(place, block))
    assert 'data block' in str(caught.value)


@pytest.mark.parametrize('place, block', [
    (4 * MIB, (4 * MIB - BLOCK) // 512), (4 * MIB, 4 * MIB // 512 + 1), (4 * MIB + BLOCK, 4 * MIB // 512), (4 * MIB, 0xffffffff),
    (4 * MIB, 0x7fffffff), (4 * MIB, 0xfffffffe)])
def test_locator_beside_a_data_block(place, block):
    assert disk(moved(place, block)).parent == ('VHD', PARENT)


def test_every_entry_of_the_bat_is_looked_at():
    """The last block of a disk with many."""
    data = child(size=2048 * MIB)
    last = 1536 + 4 * 1023
    data[last:last + 4] = struct.pack(U32, locators(data)[MACX][3] // 512)
    with pytest.raises(errors.BadLocator):
        disk(data)


def test_entries_behind_the_last_block_are_nobodys():
    data = child(reserved=16 * MIB)
    data[1536 + 4 * 4:1536 + 4 * 5] = struct.pack(U32, locators(data)[MACX][3] // 512)
    assert disk(data).parent == ('VHD', PARENT)


def test_bat_of_2_tib_is_read_in_parts(shape_called):
    """The 4 MiB that sm reserves lie across the extents of a fragmented volume."""
    with reader.Lun(shape_called('fragmented').path) as lun:
        name, = [name for name, volume in lun.volumes.items()
                 if name.startswith('VHD-') and lun.vhd(name).differencing and lun.vhd(name).footer.hidden is False][:1]
        asked = []

        def read(offset, length):
            asked.append(length)
            return lun.volumes[name].read(offset, length)
        assert len(lun.volumes[name].segments) > 1
        assert vhd.Disk(name, lun.volumes[name].size, read).entries == 1024 * 1024
    assert max(asked) <= MIB


@pytest.mark.parametrize('number', [0, 1, 262143, 262144, 307199])
def test_every_part_of_a_large_bat_is_looked_at(number):
    """600 GiB: a BAT of more than 1 MiB, with blocks behind the locators, and holes."""
    data = child(size=600 * 1024 * MIB)
    count = 307200
    struct.pack_into('>%dI' % count, data, 1536, *[0xffffffff if each % 7 == 0 else 10 * MIB // 512 + each for each in range(count)])
    assert disk(data).entries == count
    struct.pack_into('>I', data, 1536 + 4 * number, locators(data)[W2RU][3] // 512)
    with pytest.raises(errors.BadLocator) as caught:
        disk(data)
    assert 'data block' in str(caught.value)


# Rewriting


@pytest.mark.parametrize('parent_type', ['vhd', RAW])
def test_new_names(parent_type):
    data = child(parent_type)
    found = disk(data)
    new = bytearray(data)
    for offset, old, changed in found.rewritten(UUIDS):
        assert bytes(data[offset:offset + len(old)]) == old
        assert len(old) == len(changed)
        new[offset:offset + len(changed)] = changed
    other = disk(new)
    assert (other.parent, other.sr_uuid, other.parent_id) == ((found.parent[0], NEW_PARENT), NEW_SR, found.parent_id)
    expected = child_named(data, NEW_SR, NEW_PARENT, found.parent[0])
    assert new == expected


def child_named(data, sr, parent, kind):
    """The same VHD with the names that lvhd's writer gives it for another SR."""
    class Parent(object):
        class volume(object):
            name = u'%s-%s' % (kind, parent)
    name, places = writer.parent_names(u'VG_XenStorage-' + sr, Parent)
    data = bytearray(data)
    raw = name.encode('utf-16-be')
    header(data, damage.put(NAME_AT, raw + b'\0' * (512 - len(raw))))
    for (_, text_), (_, space, _, offset) in zip(places, locators(data)):
        data[offset:offset + space] = text_ + b'\0' * (space - len(text_))
    return data


def test_only_what_has_a_new_uuid_changes():
    data = child()
    assert disk(data).rewritten({}) == [] or all(old == new for _, old, new in disk(data).rewritten({}))
    changed = disk(data).rewritten({OLD_SR: NEW_SR})
    for _, _, new in changed:
        assert octets(PARENT.replace('-', '--')) in new.replace(b'\0', b'')
        assert octets(NEW_SR.replace('-', '--')) in new.replace(b'\0', b'')


def test_plain_names_are_rewritten_as_well():
    data = named('VHD-' + PARENT)
    (offset, old, new), = disk(data).rewritten(UUIDS)
    assert offset == SECTOR
    data[offset:offset + len(new)] = new
    assert disk(data).parent == ('VHD', NEW_PARENT)


def test_a_disk_without_parent_has_nothing_to_rewrite():
    assert disk(single()).rewritten(UUIDS) == []
