# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.lvm: label, metadata area, VG, against lvhd's writer and readers and the real storage manager's LUNs."""
from __future__ import absolute_import, division, print_function

import io
import re
import struct

import pytest

from luns import damage
from lvhd import image, lvmdisk, reader, shapes, vgtext
from lvhd.model import MIB, Sr, Volume
from relvm import errors, identity
from relvm.formats import lvm
from relvm.octets import octets, text

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
    assert lvm.crc(data) == reader.lvm_crc(data) == lvmdisk.crc(data)


def test_checksum_of_a_real_label(unpacked):
    """Calculated here from the polynomial, bit by bit, on what LVM wrote."""
    sector = damage.read(unpacked['one'], SECTOR, SECTOR)
    value = 0xf597a6cf
    for byte in bytearray(sector[20:]):
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xedb88320 if value & 1 else 0)
    assert lvm.crc(sector[20:]) == value == struct.unpack('<I', sector[16:20])[0]


# Label


def label_of(sr, **options):
    image.settle(sr)
    return bytearray(b'\0' * SECTOR + lvmdisk.label_sector(sr, **options) + b'\0' * 7 * SECTOR)


@pytest.mark.parametrize('extension', [None, 0, 1, 2])
def test_label(extension):
    sr = shapes.one(extension=extension)
    found = lvm.find_label(bytes(label_of(sr)))
    assert found.sector == 1
    assert found.pv_uuid == sr.pv_id.replace('-', '')
    assert found.device_size == sr.pv_size
    assert found.data_area == (sr.pe_start, 0)
    assert found.area == (sr.area_offset, sr.area_size)


def test_label_of_a_sample(sample):
    head = damage.read(sample, 0, 4096)
    found = lvm.find_label(head)
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
    old = lvm.find_label(bytes(head))
    new_id = OTHER_ID.replace('-', '')
    switched = old.switched(new_id, (1 << 20, 8192))
    assert len(switched) == SECTOR
    changed = set(at for at in range(SECTOR) if switched[at:at + 1] != old.raw[at:at + 1])
    assert changed <= set(range(16, 20)) | set(range(32, 64)) | set(range(104, 120)) | set(range(136, 144))
    device = io.BytesIO(bytes(head[:SECTOR]) + switched + bytes(head[2 * SECTOR:]))
    seen, = reader.read_labels(reader.Device(device))
    assert (seen.pv_id, seen.metadata_areas, seen.data_areas) == (OTHER_ID, [(1 << 20, 8192)], [(sr.pe_start, 0)])
    assert seen.extension == (2, 1)
    again = lvm.find_label(device.getvalue())
    assert again.switched(new_id, again.area) == switched
    if extension == 2:
        assert again.switched(old.pv_uuid, old.area) == old.raw


def test_switched_label_keeps_bootloader_areas_and_a_later_extension():
    for version, expected in ((1, (2, 1)), (2, (2, 1)), (3, (3, 0))):
        head = label_of(shapes.one(extension=2))
        head[SECTOR + 136:SECTOR + 176] = struct.pack('<IIQQQQ', version, 0, 1 << 30, 1 << 20, 0, 0)
        head[SECTOR:2 * SECTOR] = sealed(head[SECTOR:2 * SECTOR])
        switched = lvm.find_label(bytes(head)).switched(OTHER_ID.replace('-', ''), (1 << 20, 8192))
        assert struct.unpack('<IIQQQQ', switched[136:176]) == expected + (1 << 30, 1 << 20, 0, 0)


def test_same_place():
    one = lvm.find_label(bytes(label_of(shapes.one(extension=None))))
    same = lvm.find_label(bytes(label_of(shapes.one(extension=2))))
    assert one.raw != same.raw and one.same_place(same)
    moved = lvm.find_label(bytes(label_of(shapes.one(), area_size=8192)))
    assert not one.same_place(moved)
    assert not one.same_place(lvm.find_label(bytes(label_of(shapes.one(pv_id=OTHER_ID)))))


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
        lvm.find_label(with_label(edit, False))
    assert said in str(caught.value)


@pytest.mark.parametrize('edit, said', [
    (damage.put(8, struct.pack('<Q', 2)), 'another sector'),
    (damage.put(24, b'LVM1 001'), 'LVM1 001'),
    (damage.put(24, b'\xff\0\r\n    '), 'type'),
    (damage.put(20, struct.pack('<I', 40)), 'offset 40'),
    (damage.put(104, AREAS), '2 metadata areas'),
    (damage.put(104, b'\0' * 32), '0 metadata areas'),
    (damage.put(72, struct.pack('<QQ', 1 << 20, 0) + AREAS), '3 data areas'),
    (damage.put(72, b'\0' * 16 + AREAS), '0 data areas'),
    (fill(72, struct.pack('<QQ', 1, 1)), 'no end'),
    (fill(104, struct.pack('<QQ', 1, 1)), 'no end'),
], ids=['sector', 'type', 'odd type', 'header', 'two', 'none', 'data areas', 'no data area', 'endless data', 'endless'])
def test_label_that_is_not_understood(edit, said):
    with pytest.raises(errors.BadLabel) as caught:
        lvm.find_label(with_label(edit))
    assert said in str(caught.value)


@pytest.mark.parametrize('sectors', [[], [0], [2], [3], [0, 1], [1, 3], [0, 1, 2, 3]])
def test_labels_elsewhere_than_in_sector_1(sectors):
    sr = image.settle(shapes.one())
    head = bytearray(8 * SECTOR)
    for number in sectors:
        head[number * SECTOR:(number + 1) * SECTOR] = lvmdisk.label_sector(sr, sector=number)
    with pytest.raises(errors.ManyLabels if sectors else errors.NoLabel) as caught:
        lvm.find_label(bytes(head))
    for number in sectors:
        assert str(number) in str(caught.value)


def test_a_label_beyond_the_first_four_sectors_is_none():
    head = bytearray(8 * SECTOR)
    head[4 * SECTOR:5 * SECTOR] = lvmdisk.label_sector(image.settle(shapes.one()), sector=4)
    with pytest.raises(errors.NoLabel):
        lvm.find_label(bytes(head))


# Metadata area


def test_area_and_text_wherever_they_are(shape):
    with reader.Lun(shape.path) as lun:
        area = lvm.Area(metadata_of(shape.path), lun.area.offset, lun.area.size)
        assert octets(area.text) == lun.text
        assert [(lun.area.offset + start, length) for start, length in area.live_pieces()] == lun.text_pieces
        assert (area.text_offset, area.text_crc) == (lun.area.locations[0][0], lun.area.locations[0][2])
    assert not area.empty


def test_area_of_a_sample(sample):
    with reader.Lun(sample) as lun:
        assert octets(lvm.Area(metadata_of(sample), lun.area.offset, lun.area.size).text) == lun.text


@pytest.mark.parametrize('offset, length, size, expected', [
    (512, 100, 4096, [(512, 100)]),
    (512, 3584, 4096, [(512, 3584)]),
    (1024, 3584, 4096, [(1024, 3072), (512, 512)]),
    (3584, 512, 4096, [(3584, 512)]),
    (3584, 513, 4096, [(3584, 512), (512, 1)]),
    (4095, 3584, 4096, [(4095, 1), (512, 3583)]),
])
def test_ring(offset, length, size, expected):
    assert lvm.ring_pieces(offset, length, size) == expected
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
    return lvm.Area(Memory(device), offset, size)


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


def test_pre_committed_text():
    with pytest.raises(errors.InterruptedCommand):
        read_area(small_area(((b'abc\0', 1024), (b'def\0', 2048))))


@pytest.mark.parametrize('string', ['a\0', 'x' * 511 + '\0', 'x' * 512, 'x' * 6000 + '\xff\0'])
def test_rendered_area_reads_back(string):
    data = lvm.render_area(4096, 8192, string)
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
        self._live = lvm.ring_pieces(start, length, size)

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
    found = lvm.find_gap(ring, needed, reserved)
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
        lvm.find_gap(Ring(start, length), needed, reserved)
    assert caught.value.fields['needed'] == lvm.round_up(needed, SECTOR)
    assert caught.value.fields['free'] == free


def test_texts_of_2_4_mib_have_a_gap_wherever_they_are():
    """The limit that the design states, for the area that sm makes."""
    size = 22528 * SECTOR - 4096
    length = 2516582
    for start in list(range(512, size, 512 * 97)) + [size - 512, size - 1024]:
        offset, staged = lvm.find_gap(Ring(start, length, size), SECTOR + length, SECTOR + length)
        assert offset % 4096 == 0
        assert offset + staged <= 4096 + size
        for low, count in lvm.ring_pieces(start, length, size) + [(0, SECTOR + length)]:
            assert offset + staged <= 4096 + low or 4096 + low + count <= offset


# The VG


def group(path):
    with reader.Lun(path) as lun:
        return lvm.VolumeGroup(text(lun.text)), lun


def test_volume_group_is_what_the_reader_sees(shape):
    vg, lun = group(shape.path)
    assert same_group(vg, lun)


def test_volume_group_of_a_sample(sample):
    vg, lun = group(sample)
    assert same_group(vg, lun)


def same_group(vg, lun):
    assert (vg.name, vg.id, vg.seqno, vg.exported) == (lun.vg_name, lun.vg['id'], lun.vg['seqno'], False)
    assert vg.sr_uuid == lun.vg_name[len('VG_XenStorage-'):]
    assert (vg.extent_size, vg.pe_start, vg.pe_count) == (lun.extent_size, lun.pe_start, lun.pv['pe_count'])
    assert (vg.pv_id, vg.pv_device) == (lun.label.pv_id, lun.pv['device'])
    assert vg.dev_size == max(lun.pv['dev_size'] * SECTOR, lun.pe_start + lun.pv['pe_count'] * lun.extent_size)
    assert [lv.name for lv in vg.order] == list(lun.volumes)
    for name, volume in lun.volumes.items():
        lv = vg.lvs[name]
        assert (lv.id, lv.tags, lv.extents) == (volume.id, volume.tags, volume.extents)
        assert [(count, place) for _, count, place in lv.segments] == [(count, place) for place, count in volume.segments]
        assert lv.writable == ('WRITE' in volume.status)
        assert vg.lv_size(lv) == volume.size
    return True


def test_runs_are_those_of_the_reader(shape_called):
    vg, lun = group(shape_called('fragmented').path)
    for name, volume in lun.volumes.items():
        border = volume.segments[0][1] * lun.extent_size
        places = [(0, 512), (0, volume.size), (volume.size - 512, 512), (512, volume.size - 1024), (100, 7)]
        if len(volume.segments) > 1:
            places.extend([(border - 512, 1024), (border - 1, 2), (border, 512), (border - 1, volume.size - border)])
        for offset, length in places:
            assert vg.runs(vg.lvs[name], offset, length) == volume.pieces(offset, length)
        assert vg.runs(vg.lvs[name], 0, 0) == []
    assert [name for name, volume in lun.volumes.items() if len(volume.segments) > 1]


def test_runs_end_with_the_volume(shape_called):
    vg, _ = group(shape_called('one').path)
    lv = vg.lvs['MGT']
    for offset, length in ((0, 4 * MIB + 1), (4 * MIB, 1), (-1, 1), (0, -1), (1 << 60, 1)):
        with pytest.raises(errors.BadExtents) as caught:
            vg.runs(lv, offset, length)
        assert 'MGT' in str(caught.value)


GOOD = '''VG_XenStorage-0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01 {
id = "dvg000-0000-0000-0000-0000-0000-000001"
seqno = 7
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8192
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {

pv0 {
id = "dpv000-0000-0000-0000-0000-0000-000002"
device = "/dev/disk/by-scsid/3600/sda"

status = ["ALLOCATABLE"]
flags = []
dev_size = 819200
pe_start = 22528
pe_count = 90
}
}

logical_volumes {

MGT {
id = "dmgt00-0000-0000-0000-0000-0000-000003"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1580212800
creation_host = "guest"
segment_count = 1

segment1 {
start_extent = 0
extent_count = 1

type = "striped"
stripe_count = 1

stripes = [
"pv0", 0
]
}
}

LV-1b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a02 {
id = "dlv000-0000-0000-0000-0000-0000-000004"
status = ["READ", "VISIBLE"]
flags = []
tags = ["hidden"]
segment_count = 2

segment1 {
start_extent = 0
extent_count = 2
type = "striped"
stripe_count = 1
stripes = ["pv0", 5]
}
segment2 {
start_extent = 2
extent_count = 1
type = "striped"
stripe_count = 1
stripes = ["pv0", 1]
}
}
}

}
# Generated by LVM2 version 2.02.130(2)-RHEL7 (2015-10-14): Tue Jan 28 12:00:00 2020

contents = "Text Format Volume Group"
version = 1

description = ""

creation_host = "guest"\t# Linux guest
creation_time = 1580212800\t# Tue Jan 28 12:00:00 2020

\0'''
VG = 'VG_XenStorage-0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
LV = 'LV-1b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a02'


def changed(old, new, count=1):
    assert old in GOOD
    return GOOD.replace(old, new, count)


def test_good_text():
    vg = lvm.VolumeGroup(GOOD)
    assert vg.lvs[LV].segments == [(0, 2, 5), (2, 1, 1)]
    assert not vg.lvs[LV].writable and vg.lvs['MGT'].writable
    assert vg.dev_size == 819200 * SECTOR
    assert lvm.VolumeGroup(changed('dev_size = 819200\n', '')).dev_size == 22528 * SECTOR + 90 * 4 * MIB


@pytest.mark.parametrize('old, new', [
    ('format = "lvm2"\n', ''),
    ('flags = []\n', ''),
    ('status = ["RESIZEABLE", "READ", "WRITE"]', 'status = ["WRITE", "READ", "RESIZEABLE"]\nsystem_id = ""\nlock_type = "none"'),
    ('device = "/dev/disk/by-scsid/3600/sda"\n', ''),
    ('dev_size = 819200\n', ''),
    ('dev_size = 819200\n', 'dev_size = 819200\ndevice_id = "x"\ndevice_id_type = "sys_wwid"\n'),
    ('pe_count = 90\n', 'pe_count = 90\nba_start = 2048\nba_size = 2048\n'),
    ('type = "striped"', 'type = "linear"'),
    ('stripe_count = 1', 'stripe_count = 1\nstripe_size = 128'),
    ('extent_size = 8192', 'extent_size = 8192\ntags = ["a", "b"]\nallocation_policy = "normal"'),
    ('description = ""\n', ''),
    ('status = ["ALLOCATABLE"]', 'status = "ALLOCATABLE"'),
    ('extent_count = 1', 'extent_count = 1\ntags = ["x"]'),
    ('creation_host = "guest"', 'creation_host = "guest"\nread_ahead = 256\nallocation_policy = "inherit"'),
])
def test_variations_of_a_good_text(old, new):
    vg = lvm.VolumeGroup(changed(old, new))
    assert sorted(vg.lvs) == [LV, 'MGT']


def test_segments_in_another_order():
    """The order of sections does not matter to LVM either."""
    string = changed('segment1 {\nstart_extent = 0\nextent_count = 2', 'segmentX {\nstart_extent = 0\nextent_count = 2')
    string = string.replace('segment2', 'segment1').replace('segmentX', 'segment2')
    assert lvm.VolumeGroup(string).lvs[LV].segments == [(0, 2, 5), (2, 1, 1)]


def test_volume_group_without_volumes():
    start = GOOD.index('logical_volumes {')
    end = GOOD.index('}\n# Generated')
    assert lvm.VolumeGroup(GOOD[:start] + GOOD[end:]).order == []


def test_exported_and_pv_hint():
    vg = lvm.VolumeGroup(changed('"WRITE"]', '"WRITE", "EXPORTED"]'))
    assert vg.exported
    assert vg.pv_device == '/dev/disk/by-scsid/3600/sda'
    assert lvm.VolumeGroup(changed('device = "/dev/disk/by-scsid/3600/sda"\n', '')).pv_device == ''


SECOND_PV = 'pv1 {\nid = "dpv111-0000-0000-0000-0000-0000-000009"\ndevice = "/dev/x"\n}\n'
REFUSED = [
    (errors.BadText, '', 'VGs', [(GOOD, '\0')]),
    (errors.BadText, '2 VGs', 'VGs', [('contents =', 'other { }\ncontents =')]),
    (errors.BadText, 'version', 'version', [('version = 1', 'version = 2')]),
    (errors.BadText, 'version', 'no version', [('version = 1\n', '')]),
    (errors.BadText, 'contents', 'contents', [('Text Format Volume Group', 'Something else')]),
    (errors.BadText, 'contents', 'no contents', [('contents = "Text Format Volume Group"\n', '')]),
    (errors.ForeignField, 'surprise', 'unknown at the top', [('version = 1', 'version = 1\nsurprise = 1')]),
    (errors.NotAnSR, 'XSLocalEXT', 'name', [('VG_XenStorage', 'XSLocalEXT')]),
    (errors.NotAnSR, VG.upper(), 'upper case', [(VG, VG.upper())]),
    (errors.NotAnSR, VG + '0', 'longer name', [(VG, VG + '0')]),
    (errors.ForeignField, 'host7', 'system_id', [('format =', 'system_id = "host7"\nformat =')]),
    (errors.ForeignField, 'sanlock', 'lock_type', [('format =', 'lock_type = "sanlock"\nformat =')]),
    (errors.ForeignField, 'lock_args', 'lock_args', [('format =', 'lock_args = "1.0.0:x"\nformat =')]),
    (errors.ForeignField, 'lvm1', 'format', [('"lvm2"', '"lvm1"')]),
    (errors.ForeignField, 'CLUSTERED', 'clustered', [('"RESIZEABLE"', '"RESIZEABLE", "CLUSTERED"')]),
    (errors.ForeignField, 'PARTIAL', 'partial', [('"RESIZEABLE"', '"RESIZEABLE", "PARTIAL"')]),
    (errors.ForeignField, 'SHARED', 'VG flag', [('flags = []', 'flags = ["SHARED"]')]),
    (errors.ForeignField, 'historical_logical_volumes', 'unknown section',
     [('extent_size', 'historical_logical_volumes { }\nextent_size')]),
    (errors.BadText, 'id', 'no VG id', [('id = "dvg000-0000-0000-0000-0000-0000-000001"\n', '')]),
    (errors.BadText, 'id', 'short VG id', [('dvg000-0000-0000-0000-0000-0000-000001', 'dvg000-0000')]),
    (errors.BadText, 'id', 'odd VG id', [('dvg000-0000-0000-0000-0000-0000-000001', 'dvg000-0000-0000-0000-0000-0000-00000_')]),
    (errors.BadText, 'seqno', 'no seqno', [('seqno = 7\n', '')]),
    (errors.BadText, 'seqno', 'seqno', [('seqno = 7', 'seqno = -7')]),
    (errors.BadText, 'seqno 4294967294', 'seqno at its end', [('seqno = 7', 'seqno = 4294967294')]),
    (errors.ForeignField, 'not VISIBLE', 'invisible LV', [('"READ", "WRITE", "VISIBLE"', '"READ", "WRITE"')]),
    (errors.BadExtents, 'no segment', 'LV without segments',
     [('segment_count = 1\n\nsegment1 {\nstart_extent = 0\nextent_count = 1\n\ntype = "striped"\nstripe_count = 1\n\n'
       'stripes = [\n"pv0", 0\n]\n}', 'segment_count = 0')]),
    (errors.BadText, 'extent_size', 'extents of 0', [('extent_size = 8192', 'extent_size = 0')]),
    (errors.BadText, 'extent_size', 'huge extents', [('extent_size = 8192', 'extent_size = 9223372036854775807')]),
    (errors.BadText, 'physical_volumes', 'no PVs',
     [('physical_volumes {', 'logical_volumes {'), ('logical_volumes {\n\nMGT', 'physical_volumes = 1 tags {\n\nMGT')]),
    (errors.ManyPVs, 'dpv111', 'two PVs', [('physical_volumes {\n', 'physical_volumes {\n' + SECOND_PV)]),
    (errors.MissingPV, 'dpv000', 'PV missing',
     [('status = ["ALLOCATABLE"]\nflags = []', 'status = ["ALLOCATABLE"]\nflags = ["MISSING"]')]),
    (errors.ForeignField, 'EXPORTED', 'PV exported', [('["ALLOCATABLE"]', '["ALLOCATABLE", "EXPORTED"]')]),
    (errors.ForeignField, 'surprise', 'unknown in PV', [('pe_count = 90', 'pe_count = 90\nsurprise { }')]),
    (errors.BadText, 'id', 'PV id', [('dpv000-0000-0000-0000-0000-0000-000002', 'x')]),
    (errors.BadText, 'pe_start', 'no pe_start', [('pe_start = 22528\n', '')]),
    (errors.BadText, 'pe_count', 'pe_count', [('pe_count = 90', 'pe_count = "90"')]),
    (errors.BadText, 'device', 'device', [('device = "/dev/disk/by-scsid/3600/sda"', 'device = 1')]),
    (errors.BadText, 'logical_volumes', 'volumes', [('logical_volumes {', 'logical_volumes = 1 tags {')]),
    (errors.BadText, 'name -x', 'LV name', [('MGT {', '-x {')]),
    (errors.BadText, 'name ' + 'x' * 128, 'long LV name', [('MGT {', 'x' * 128 + ' {')]),
    (errors.BadText, 'same id', 'twin ids', [('dlv000-0000-0000-0000-0000-0000-000004', 'dmgt00-0000-0000-0000-0000-0000-000003')]),
    (errors.BadText, 'LV MGT', 'LV id', [('dmgt00-0000-0000-0000-0000-0000-000003', 'x' * 38)]),
    (errors.ForeignField, 'LOCKED', 'LV status', [('"READ", "WRITE", "VISIBLE"', '"READ", "WRITE", "VISIBLE", "LOCKED"')]),
    (errors.ForeignField, 'NOAUTOACTIVATE', 'LV flag', [('flags = []\ncreation_time', 'flags = ["NOAUTOACTIVATE"]\ncreation_time')]),
    (errors.ForeignField, 'profile', 'LV field', [('creation_time = 1580212800\ncreation_host', 'profile = "x"\ncreation_host')]),
    (errors.ForeignField, 'lock_args', 'LV lock', [('creation_time = 1580212800\ncreation_host', 'lock_args = "dlm"\ncreation_host')]),
    (errors.UnknownSegment, 'thin-pool', 'thin pool', [('type = "striped"', 'type = "thin-pool"')]),
    (errors.UnknownSegment, 'mirror', 'mirror', [('type = "striped"', 'type = "mirror"')]),
    (errors.UnknownSegment, 'MGT', 'snapshot', [('type = "striped"', 'type = "snapshot"\nchunk_size = 8')]),
    (errors.UnknownSegment, 'MGT', 'striped', [('stripe_count = 1', 'stripe_count = 2')]),
    (errors.UnknownSegment, 'MGT', 'stripes', [('stripes = [\n"pv0", 0\n]', 'stripes = ["pv0", 0, "pv0", 50]')]),
    (errors.UnknownSegment, 'MGT', 'no stripes', [('stripes = [\n"pv0", 0\n]', '')]),
    (errors.UnknownSegment, 'MGT', 'stripe', [('stripes = [\n"pv0", 0\n]', 'stripes = 5')]),
    (errors.BadText, 'type', 'no type', [('type = "striped"\n', '')]),
    (errors.ForeignField, 'device_count', 'segment field', [('stripe_count = 1', 'device_count = 1\nstripe_count = 1')]),
    (errors.BadExtents, 'MGT', 'another PV', [('"pv0", 0', '"pv1", 0')]),
    (errors.BadExtents, 'MGT', 'negative extent', [('"pv0", 0', '"pv0", -1')]),
    (errors.BadExtents, 'MGT', 'extent as text', [('"pv0", 0', '"pv0", "0"')]),
    (errors.BadExtents, LV, 'too few segments', [('segment_count = 2', 'segment_count = 3')]),
    (errors.BadExtents, LV, 'too many segments', [('segment_count = 2', 'segment_count = 1')]),
    (errors.BadText, 'segment2', 'segment name', [('segment2 {', 'segmentX {')]),
    (errors.ForeignField, 'cache', 'section in LV', [('segment2 {', 'cache {')]),
    (errors.BadExtents, LV, 'gap', [('start_extent = 2', 'start_extent = 3')]),
    (errors.BadExtents, LV, 'overlap', [('start_extent = 2', 'start_extent = 1')]),
    (errors.BadExtents, LV, 'empty segment', [('start_extent = 2\nextent_count = 1', 'start_extent = 2\nextent_count = 0')]),
    (errors.BadExtents, LV, 'shared extent', [('"pv0", 5', '"pv0", 0')]),
    (errors.BadExtents, LV, 'overlap in the LV', [('"pv0", 5', '"pv0", 1')]),
    (errors.BadExtents, LV, 'beyond the PV', [('"pv0", 5', '"pv0", 89')]),
    (errors.BadExtents, 'MGT', 'far beyond the PV', [('"pv0", 0', '"pv0", 9223372036854775807')]),
    (errors.BadText, 'segment_count', 'no segment_count', [('segment_count = 1\n', '')]),
    (errors.BadText, 'twice', 'twice', [('seqno = 7', 'seqno = 7\nseqno = 8')]),
]


@pytest.mark.parametrize('error, said, changes', [row[:2] + row[3:] for row in REFUSED], ids=[row[2] for row in REFUSED])
def test_text_that_is_not_an_sr(error, said, changes):
    string = GOOD
    for old, new in changes:
        assert old in string
        string = string.replace(old, new, 1)
    with pytest.raises(errors.Refused) as caught:
        lvm.VolumeGroup(string)
    assert type(caught.value) is error
    assert said in str(caught.value)


def test_every_refused_text_is_otherwise_one_that_lvhd_reads():
    """The crafted texts are wrong in what they say, not in how they say it."""
    for error, _, name, changes in REFUSED:
        string = GOOD
        for old, new in changes:
            string = string.replace(old, new, 1)
        if name != 'twice':
            vgtext.parse(u'' + string.rstrip('\0'))


# The new identity

OLD, NEW = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01', 'ffffffff-ffff-4fff-8fff-ffffffffff01'
OLD_VDI, NEW_VDI = '1b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a02', 'ffffffff-ffff-4fff-8fff-ffffffffff02'
UUIDS = {OLD: NEW, OLD_VDI: NEW_VDI}


def test_rewrite_changes_exactly_the_identity():
    staged, final = lvm.rewrite(lvm.VolumeGroup(GOOD), OTHER_ID, UUIDS, {}, 'why')
    ids = re.findall('id = "(.*?)"', final)
    assert ids[1] == OTHER_ID
    assert len(set(ids)) == 4
    for new in ids:
        assert identity.LVM_ID.match(new) and new not in GOOD
    expected = GOOD
    for old, new in zip(re.findall('id = "(.*?)"', GOOD), ids):
        expected = expected.replace(old, new)
    for old, new in UUIDS.items():
        expected = expected.replace(old, new)
    expected = expected.replace('description = ""', 'description = "why"')
    assert final == expected.replace('seqno = 7', 'seqno = 9')
    assert staged == expected.replace('seqno = 7', 'seqno = 8').replace(
        '"WRITE"]\nflags = []\nextent', '"WRITE", "EXPORTED"]\nflags = []\nextent')


def test_staged_and_final_text_are_understood():
    staged, final = lvm.rewrite(lvm.VolumeGroup(GOOD), OTHER_ID, UUIDS, {}, '')
    locked, done = lvm.VolumeGroup(staged), lvm.VolumeGroup(final)
    assert (locked.exported, locked.seqno, done.exported, done.seqno) == (True, 8, False, 9)
    assert locked.sr_uuid == done.sr_uuid == NEW
    assert sorted(done.lvs) == ['LV-' + NEW_VDI, 'MGT']
    assert done.lvs['LV-' + NEW_VDI].segments == [(0, 2, 5), (2, 1, 1)]
    assert lvm.unlocked(locked) == final


def test_dropped_volumes_are_left_out_and_tags_are_substituted():
    string = changed('["hidden"]', '["hidden", "of-%s", "plain", "other-%s"]' % (OLD_VDI, NEW))
    string = string.replace('seqno = 7', 'seqno = 7\ntags = ["pool-%s"]' % OLD)
    staged, _ = lvm.rewrite(lvm.VolumeGroup(string), OTHER_ID, UUIDS, {}, '')
    vg = lvm.VolumeGroup(staged)
    assert vg.lvs['LV-' + NEW_VDI].tags == ['hidden', 'of-' + NEW_VDI, 'plain', 'other-' + NEW]
    assert vg.section.strings('tags') == ['pool-' + NEW]
    staged, final = lvm.rewrite(lvm.VolumeGroup(string), OTHER_ID, UUIDS, {LV: 'why'}, '')
    assert sorted(lvm.VolumeGroup(final).lvs) == ['MGT']
    assert OLD_VDI not in final and NEW_VDI not in final


def test_a_text_without_description_gets_none():
    vg = lvm.VolumeGroup(changed('description = ""\n', ''))
    assert 'description' not in lvm.rewrite(vg, OTHER_ID, UUIDS, {}, 'why')[1]


def test_a_status_that_is_no_list_and_a_flag_of_old_texts():
    vg = lvm.VolumeGroup(changed('status = ["RESIZEABLE", "READ", "WRITE"]', 'status = "RESIZEABLE"'))
    staged, final = lvm.rewrite(vg, OTHER_ID, UUIDS, {}, '')
    assert 'status = ["RESIZEABLE", "EXPORTED"]' in staged
    assert 'status = ["RESIZEABLE"]' in final


def test_a_group_without_status_is_refused():
    vg = lvm.VolumeGroup(changed('status = ["RESIZEABLE", "READ", "WRITE"]\n', ''))
    with pytest.raises(errors.BadText):
        lvm.rewrite(vg, OTHER_ID, UUIDS, {}, '')


def test_rewritten_texts_of_every_lvm_keep_their_form(shape):
    """Line by line: what is not an identity stays as the LVM that wrote it has it, comments and indentation included."""
    vg, _ = group(shape.path)
    _, final = lvm.rewrite(vg, OTHER_ID, {vg.sr_uuid: NEW}, {}, 'why')
    before, after = vg.text.split('\n'), final.split('\n')
    assert len(before) == len(after)
    for one, other in zip(before, after):
        key = one.split('=')[0].strip()
        if key in ('id', 'seqno', 'description'):
            assert other.split('=')[0] == one.split('=')[0]
        elif key == 'status' and 'RESIZEABLE' in one:
            assert sorted(re.findall('[A-Z]+', one)) == sorted(re.findall('[A-Z]+', other))
        else:
            assert other == one.replace(vg.sr_uuid, NEW)
    for comment in re.findall(r'#.*', vg.text):
        assert comment in final


@pytest.mark.parametrize('hint, expected', [
    ('/dev/disk/by-scsid/360a98000/sda', '360a98000'),
    ('/dev/disk/by-scsid/360a98000/mapper', '360a98000'),
    ('/dev/disk/by-scsid/360a98000', '360a98000'),
    ('/dev/disk/mpInuse/360a98000', '360a98000'),
    ('/dev/disk/by-id/scsi-360a98000', '360a98000'),
    ('/dev/disk/by-id/dm-uuid-mpath-360a98000', '360a98000'),
    ('/dev/mapper/3600140500000000a1', '3600140500000000a1'),
    ('/dev/mapper/mpatha', ''),
    ('/dev/sda', ''),
    ('/dev/disk/by-scsid/', ''),
    ('/dev/disk/by-scsid/a/b/c', ''),
    ('/dev/disk/by-path/ip-1.2.3.4', ''),
    ('x/dev/sda', ''),
    ('', ''),
    ('[unknown]', ''),
])
def test_copied_from(hint, expected):
    assert lvm.copied_from(hint) == expected


def test_device_of_a_sample_names_its_lun(sample):
    vg, _ = group(sample)
    assert lvm.copied_from(vg.pv_device)


def test_longest_name_of_a_volume():
    sr = Sr(5, volumes=[Volume('L' * 127)])
    image.settle(sr)
    assert 'L' * 127 in lvm.VolumeGroup(changed('MGT {', 'L' * 127 + ' {')).lvs
