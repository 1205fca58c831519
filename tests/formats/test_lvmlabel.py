# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.lvmlabel: label and metadata area, against lvhd's writer and readers and the real storage manager's LUNs."""
from __future__ import absolute_import, division, print_function

import io
import struct

import pytest

from luns import damage
from lvhd import image, lvmdisk, reader, shapes
from lvhd.model import MIB
from relvm import errors
from relvm.formats import lvmlabel
from relvm.octets import octets

SECTOR = 512
OTHER_ID = 'AAAAAA-bbbb-CCCC-dddd-EEEE-ffff-000000'


class Memory(object):
    """A device whose contents are at hand."""

    def __init__(self, data, size=None):
        self.data = bytes(data)
        self.size = size or len(data)

    def read(self, offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0
        return self.data[offset:offset + length]

    def read_any(self, offset, length):
        return self.data[offset:offset + length]


def metadata_of(path):
    """The first 11 MiB: label, metadata area."""
    return Memory(damage.read(path, 0, 22528 * SECTOR), 1 << 40)


@pytest.mark.parametrize('data', [b'', b'\0', b'LVM', b'x' * 5000])
def test_checksum(data):
    assert lvmlabel.crc(data) == reader.lvm_crc(data) == lvmdisk.crc(data)


def test_checksum_of_a_real_label(unpacked):
    """Calculated here from the polynomial, bit by bit, on what LVM wrote."""
    sector = damage.read(unpacked['one'], SECTOR, SECTOR)
    value = 0xf597a6cf
    for byte in bytearray(sector[20:]):
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xedb88320 if value & 1 else 0)
    assert lvmlabel.crc(sector[20:]) == value == struct.unpack('<I', sector[16:20])[0]


# Label


def label_of(sr, **options):
    image.settle(sr)
    return bytearray(b'\0' * SECTOR + lvmdisk.label_sector(sr, **options) + b'\0' * 7 * SECTOR)


@pytest.mark.parametrize('extension', [None, 0, 1, 2])
def test_label(extension):
    sr = shapes.one(extension=extension)
    found = lvmlabel.find_label(bytes(label_of(sr)))
    assert found.sector == 1
    assert found.pv_uuid == sr.pv_id.replace('-', '')
    assert found.device_size == sr.pv_size
    assert found.data_area == (sr.pe_start, 0)
    assert found.area == (sr.area_offset, sr.area_size)


def test_label_of_a_sample(sample):
    head = damage.read(sample, 0, 4096)
    found = lvmlabel.find_label(head)
    label, = reader.read_labels(reader.Device(sample))
    assert reader.dashed(found.pv_uuid) == label.pv_id
    assert (found.device_size, [found.data_area], [found.area]) == label[2:5]


@pytest.mark.parametrize('extension', [None, 0, 1, 2])
def test_switched_label_differs_in_nothing_else(extension):
    sr = shapes.one(extension=extension)
    head = label_of(sr)
    # what an LVM of the future might keep in its sector, and bootloader areas of today's
    head[SECTOR + 400:SECTOR + 408] = b'tomorrow'
    head[SECTOR:2 * SECTOR] = sealed(head[SECTOR:2 * SECTOR])
    old = lvmlabel.find_label(bytes(head))
    new_id = OTHER_ID.replace('-', '')
    switched = old.switched(new_id, (1 << 20, 8192))
    assert len(switched) == SECTOR
    changed = set(at for at in range(SECTOR) if switched[at:at + 1] != old.raw[at:at + 1])
    assert changed <= set(range(16, 20)) | set(range(32, 64)) | set(range(104, 120)) | set(range(136, 144))
    device = io.BytesIO(bytes(head[:SECTOR]) + switched + bytes(head[2 * SECTOR:]))
    seen, = reader.read_labels(reader.Device(device))
    assert (seen.pv_id, seen.metadata_areas, seen.data_areas) == (OTHER_ID, [(1 << 20, 8192)], [(sr.pe_start, 0)])
    assert seen.extension == (2, 1)
    again = lvmlabel.find_label(device.getvalue())
    assert again.switched(new_id, again.area) == switched
    if extension == 2:
        assert again.switched(old.pv_uuid, old.area) == old.raw


@pytest.mark.parametrize('extension', [None, 1, 2])
def test_switched_label_of_two_areas_has_one(extension):
    """pvcreate --pvmetadatacopies 2"""
    sr = shapes.one(extension=extension)
    head = label_of(sr)
    tail = bytes(head[SECTOR + 120:2 * SECTOR - 16])
    head[SECTOR + 120:2 * SECTOR] = struct.pack('<QQ', 1 << 30, 1 << 20) + tail
    head[SECTOR:2 * SECTOR] = sealed(head[SECTOR:2 * SECTOR])
    old = lvmlabel.find_label(bytes(head))
    assert (old.area, old.spare) == ((sr.area_offset, sr.area_size), [(1 << 30, 1 << 20)])
    switched = old.switched(old.pv_uuid, (1 << 20, 8192))
    one = lvmlabel.find_label(bytes(label_of(sr))).switched(old.pv_uuid, (1 << 20, 8192))
    assert switched == one and len(switched) == SECTOR


def test_a_second_area_that_says_something_else(unpacked):
    whole = metadata_of(unpacked['one'])
    live = lvmlabel.Area(whole, *lvmlabel.find_label(whole.data[:4096]).area)
    for text, differs in ((live.text, False), (live.text.replace('seqno', 'seqNo'), True)):
        data = damage.read(unpacked['one'], 0, MIB) + lvmlabel.render_area(MIB, 1 << 16, text).ljust(1 << 16, b'\0')
        if differs:
            with pytest.raises(errors.AreasDiffer):
                lvmlabel.check_spare(Memory(data), (MIB, 1 << 16), live)
        else:
            lvmlabel.check_spare(Memory(data), (MIB, 1 << 16), live)


def test_switched_label_keeps_bootloader_areas_and_a_later_extension():
    for version, expected in ((1, (2, 1)), (2, (2, 1)), (3, (3, 0))):
        head = label_of(shapes.one(extension=2))
        head[SECTOR + 136:SECTOR + 176] = struct.pack('<IIQQQQ', version, 0, 1 << 30, 1 << 20, 0, 0)
        head[SECTOR:2 * SECTOR] = sealed(head[SECTOR:2 * SECTOR])
        switched = lvmlabel.find_label(bytes(head)).switched(OTHER_ID.replace('-', ''), (1 << 20, 8192))
        assert struct.unpack('<IIQQQQ', switched[136:176]) == expected + (1 << 30, 1 << 20, 0, 0)


def test_same_place():
    one = lvmlabel.find_label(bytes(label_of(shapes.one(extension=None))))
    same = lvmlabel.find_label(bytes(label_of(shapes.one(extension=2))))
    assert one.raw != same.raw and one.same_place(same)
    moved = lvmlabel.find_label(bytes(label_of(shapes.one(), area_size=8192)))
    assert not one.same_place(moved)
    assert not one.same_place(lvmlabel.find_label(bytes(label_of(shapes.one(pv_id=OTHER_ID)))))


def sealed(sector):
    damage.seal_label(sector)
    return sector


def with_label(edit, seal=True):
    head = label_of(shapes.one())
    sector = head[SECTOR:2 * SECTOR]
    edit(sector)
    head[SECTOR:2 * SECTOR] = sealed(sector) if seal else sector
    return bytes(head)


def fill(start, value):
    """Area lists without an end."""
    def edit(sector):
        sector[start:SECTOR - 8] = value * ((SECTOR - 8 - start) // 16)
    return edit


AREAS = struct.pack('<QQ', 4096, 8192) * 2 + struct.pack('<QQ', 0, 0)


@pytest.mark.parametrize('edit, said', [
    (damage.put(200, b'x'), 'checksum'),
    (damage.put(32, b'x'), 'checksum'),
], ids=['padding', 'id'])
def test_label_with_a_wrong_checksum(edit, said):
    with pytest.raises(errors.BadLabel) as caught:
        lvmlabel.find_label(with_label(edit, False))
    assert said in str(caught.value)


@pytest.mark.parametrize('edit, said', [
    (damage.put(8, struct.pack('<Q', 2)), 'another sector'),
    (damage.put(24, b'LVM1 001'), 'LVM1 001'),
    (damage.put(24, b'\xff\0\r\n    '), 'type'),
    (damage.put(20, struct.pack('<I', 40)), 'offset 40'),
    (damage.put(104, AREAS[:16] + AREAS), '3 metadata areas'),
    (damage.put(104, b'\0' * 32), '0 metadata areas'),
    (damage.put(72, struct.pack('<QQ', 1 << 20, 0) + AREAS), '3 data areas'),
    (damage.put(72, b'\0' * 16 + AREAS), '0 data areas'),
    (fill(72, struct.pack('<QQ', 1, 1)), 'no end'),
    (fill(104, struct.pack('<QQ', 1, 1)), 'no end'),
], ids=['sector', 'type', 'odd type', 'header', 'two', 'none', 'data areas', 'no data area', 'endless data', 'endless'])
def test_label_that_is_not_understood(edit, said):
    with pytest.raises(errors.BadLabel) as caught:
        lvmlabel.find_label(with_label(edit))
    assert said in str(caught.value)


@pytest.mark.parametrize('sectors', [[], [0], [2], [3], [0, 1], [1, 3], [0, 1, 2, 3]])
def test_labels_elsewhere_than_in_sector_1(sectors):
    sr = image.settle(shapes.one())
    head = bytearray(8 * SECTOR)
    for number in sectors:
        head[number * SECTOR:(number + 1) * SECTOR] = lvmdisk.label_sector(sr, sector=number)
    with pytest.raises(errors.ManyLabels if sectors else errors.NoLabel) as caught:
        lvmlabel.find_label(bytes(head))
    for number in sectors:
        assert str(number) in str(caught.value)


def test_a_label_beyond_the_first_four_sectors_is_none():
    head = bytearray(8 * SECTOR)
    head[4 * SECTOR:5 * SECTOR] = lvmdisk.label_sector(image.settle(shapes.one()), sector=4)
    with pytest.raises(errors.NoLabel):
        lvmlabel.find_label(bytes(head))


# Metadata area


def test_area_and_text_wherever_they_are(shape):
    with reader.Lun(shape.path) as lun:
        area = lvmlabel.Area(metadata_of(shape.path), lun.area.offset, lun.area.size)
        assert octets(area.text) == lun.text
        assert [(lun.area.offset + start, length) for start, length in area.live_pieces()] == lun.text_pieces
        assert (area.text_offset, area.text_crc) == (lun.area.locations[0][0], lun.area.locations[0][2])
    assert not area.empty


def test_area_of_a_sample(sample):
    with reader.Lun(sample) as lun:
        assert octets(lvmlabel.Area(metadata_of(sample), lun.area.offset, lun.area.size).text) == lun.text


@pytest.mark.parametrize('offset, length, size, expected', [
    (512, 100, 4096, [(512, 100)]),
    (512, 3584, 4096, [(512, 3584)]),
    (1024, 3584, 4096, [(1024, 3072), (512, 512)]),
    (3584, 512, 4096, [(3584, 512)]),
    (3584, 513, 4096, [(3584, 512), (512, 1)]),
    (4095, 3584, 4096, [(4095, 1), (512, 3583)]),
])
def test_ring(offset, length, size, expected):
    assert lvmlabel.ring_pieces(offset, length, size) == expected
    start = (offset - 512) // 512 * 512
    if offset % 512 == 0 and start >= 0:
        pieces = lvmdisk.ring_pieces(size, offset, b'x' * length)
        assert [(place, len(data)) for place, data in pieces] == expected


def small_area(texts=((b'abc\0', 1024),), size=8192, offset=4096):
    """A device with a small area that holds texts at offsets; the first is the live one."""
    device = bytearray(offset + size)
    locations = []
    for data, place in texts:
        locations.append((place, len(data), reader.lvm_crc(data)))
        for start, piece in lvmdisk.ring_pieces(size, place, data):
            device[offset + start:offset + start + len(piece)] = piece
    device[offset:offset + SECTOR] = lvmdisk.area_header(offset, size, locations)
    return device


def read_area(device, offset=4096, size=8192):
    return lvmlabel.Area(Memory(device), offset, size)


@pytest.mark.parametrize('length', [1, 511, 512, 513, 7000, 7680])
@pytest.mark.parametrize('place', [512, 1024, 4096, 7680])
def test_text_of_any_length_at_any_place(place, length):
    data = bytes(bytearray((7 * at) % 251 for at in range(length)))
    area = read_area(small_area(((data, place),)))
    assert octets(area.text) == data


def test_area_without_text():
    for texts in ((), ((b'', 1024),)):
        assert read_area(small_area(texts)).empty


@pytest.mark.parametrize('offset, size', [(4097, 8192), (4096, 8191), (4096, 512), (4096, 0), (4096, 8704), (1 << 40, 8192),
                                          (4096, (1 << 30) + 512), (4096, 1 << 62)])
def test_area_that_cannot_be_there(offset, size):
    with pytest.raises(errors.BadArea) as caught:
        read_area(small_area(), offset, size)
    assert str(offset) in str(caught.value) and str(size) in str(caught.value)


def with_header(edit, seal=damage.seal_area):
    device = small_area()
    header = device[4096:4096 + SECTOR]
    edit(header)
    seal(header)
    device[4096:4096 + SECTOR] = header
    return device


@pytest.mark.parametrize('edit, said', [
    (damage.put(4, b'x'), 'magic'),
    (damage.put(20, struct.pack('<I', 2)), 'version'),
    (damage.put(24, struct.pack('<Q', 8192)), 'at 8192'),
    (damage.put(32, struct.pack('<Q', 4096)), 'size 4096'),
    (damage.put(40, struct.pack('<Q', 511)), 'text at 511'),
    (damage.put(40, struct.pack('<Q', 8192)), 'text at 8192'),
    (damage.put(48, struct.pack('<Q', 8192 - 511)), 'with size 7681'),
    (damage.put(48, struct.pack('<Q', 3)), 'checksum of the text'),
    (damage.put(56, b'\xff'), 'checksum of the text'),
    (damage.put(60, struct.pack('<I', 1)), 'ignored'),
], ids=['magic', 'version', 'start', 'size', 'before the ring', 'behind it', 'too long', 'short', 'crc', 'ignored'])
def test_area_header_that_is_not_understood(edit, said):
    with pytest.raises(errors.BadArea) as caught:
        read_area(with_header(edit))
    assert said in str(caught.value)


def test_area_header_with_a_wrong_checksum():
    with pytest.raises(errors.BadArea) as caught:
        read_area(with_header(damage.put(300, b'x'), damage.nothing))
    assert 'header checksum' in str(caught.value)


def test_text_of_more_than_4_mib():
    """No SR needs that, and it would have to be held in memory."""
    size = 6 * MIB
    with pytest.raises(errors.BadArea) as caught:
        read_area(small_area(((b'x' * (4 * MIB + 1), 1024),), size), 4096, size)
    assert '%d bytes' % (4 * MIB + 1) in str(caught.value)
    assert len(read_area(small_area(((b'x' * 4 * MIB, 1024),), size), 4096, size).text) == 4 * MIB


def test_pre_committed_text_is_ignored():
    area = read_area(small_area(((b'abc\0', 1024), (b'def\0', 2048))))
    assert (area.text, area.text_offset) == ('abc\0', 1024)
    (line,) = area.report
    assert 'middle of an LVM command' in line


def with_locations(first, second):
    """A small area whose two raw locations are (offset, size) of one of the texts abc at 1024 and def at 2048."""
    device = small_area(((b'abc\0', 1024), (b'def\0', 2048)))
    raw = device[4096:4096 + SECTOR]
    for at, (place, size) in ((40, first), (64, second)):
        data = bytes(device[4096 + place:4096 + place + size])
        raw[at:at + 24] = struct.pack(str('<QQII'), place, size, reader.lvm_crc(data), 0)
    raw[:4] = struct.pack(str('<I'), reader.lvm_crc(bytes(raw[4:])))
    device[4096:4096 + SECTOR] = raw
    return device


@pytest.mark.parametrize('first, second, live', [
    ((1024, 4), (0, 0), 'abc\0'), ((1024, 4), (9000, 4), 'abc\0'), ((1024, 4), (0, 4), 'abc\0'), ((0, 0), (2048, 4), 'def\0'),
    ((1024, 0), (2048, 4), 'def\0'), ((0, 4), (2048, 4), 'def\0'), ((0, 0), (0, 0), None), ((0, 0), (0, 4), None),
    ((0, 0), (2048, 0), None)])
def test_which_text_is_live(first, second, live):
    area = read_area(with_locations(first, second))
    assert area.empty == (live is None)
    if live is not None:
        assert area.text == live
        assert len(area.report) == (second[0] and second[1] and 1)


def test_a_second_text_alone_must_be_whole():
    device = with_locations((0, 0), (2048, 4))
    device[4096 + 2048] ^= 1
    with pytest.raises(errors.BadArea) as caught:
        read_area(device)
    assert 'checksum of the text' in str(caught.value)


@pytest.mark.parametrize('string', ['a\0', 'x' * 511 + '\0', 'x' * 512, 'x' * 6000 + '\xff\0'])
def test_rendered_area_reads_back(string):
    data = lvmlabel.render_area(4096, 8192, string)
    device = data + b'\0' * (8192 - len(data))
    seen = reader.read_area(reader.Device(io.BytesIO(b'\0' * 4096 + device)), 4096)
    assert (seen.size, seen.locations) == (8192, [(512, len(string), reader.lvm_crc(octets(string)), 0)])
    assert read_area(b'\0' * 4096 + device).text == string


# The gap for the staged area


class Ring(object):
    """As much of an Area as find_gap uses."""

    def __init__(self, start, length, size=65536, offset=4096):
        self.offset = offset
        self.size = size
        self._live = lvmlabel.ring_pieces(start, length, size)

    def live_pieces(self):
        return self._live


@pytest.mark.parametrize('start, length, needed, reserved, expected', [
    # the front is the final text's, the staged area comes on the next page behind it
    (512, 100, 1000, 1512, (8192, 1024)),
    (512, 100, 1000, 4096, (8192, 1024)),
    (512, 100, 1000, 4097, (12288, 1024)),
    # live text in the way
    (4096, 100, 4096, 1000, (12288, 4096)),
    (8191, 100, 4096, 1000, (16384, 4096)),
    # fits exactly between the reserved front and the live text
    (12288, 100, 8192, 4096, (8192, 8192)),
    (12288 - 512, 100, 8192, 4096, (16384, 8192)),
    (12288, 100, 8193, 4096, (20480, 8704)),
    # fits exactly between the live text and the end of the area, which is at 69632
    (1024, 3072, 61440, 1000, (8192, 61440)),
    # the live text goes round the end, so its head is at the front of the ring
    (61440, 8192, 4096, 1000, (12288, 4096)),
    (61440, 8192, 53248, 1000, (12288, 53248)),
])
def test_gap(start, length, needed, reserved, expected):
    ring = Ring(start, length)
    found = lvmlabel.find_gap(ring, needed, reserved)
    assert found == expected


@pytest.mark.parametrize('start, length, needed, reserved, free', [
    (1024, 3072, 61441, 1000, 61440),
    (1024, 3073, 57345, 1000, 57344),
    (1024, 3072, 57345, 4097, 57344),
    (61440, 8192, 53249, 1000, 53248),
    (32768, 28672, 28673, 4096, 28672),
    (4096, 61440, 512, 1000, 0),
    (512, 100, 512, 65536, 0),
])
def test_no_gap(start, length, needed, reserved, free):
    with pytest.raises(errors.NoRoomInRing) as caught:
        lvmlabel.find_gap(Ring(start, length), needed, reserved)
    assert caught.value.fields['needed'] == lvmlabel.round_up(needed, SECTOR)
    assert caught.value.fields['free'] == free


def test_texts_of_2_4_mib_have_a_gap_wherever_they_are():
    """The limit that the design states, for the area that sm makes."""
    size = 22528 * SECTOR - 4096
    length = 2516582
    for start in list(range(512, size, 512 * 97)) + [size - 512, size - 1024]:
        offset, staged = lvmlabel.find_gap(Ring(start, length, size), SECTOR + length, SECTOR + length)
        assert offset % 4096 == 0
        assert offset + staged <= 4096 + size
        for low, count in lvmlabel.ring_pieces(start, length, size) + [(0, SECTOR + length)]:
            assert offset + staged <= 4096 + low or 4096 + low + count <= offset
