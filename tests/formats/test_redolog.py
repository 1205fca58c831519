# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.redolog: a log is read back whole, or not at all."""
from __future__ import absolute_import, division, print_function

import struct
import zlib

import pytest

from relvm import errors
from relvm.formats import lvmlabel, redolog

SECTOR = 512
SIZE = 64 * 1024
DEVICE = 1 << 40
PV = 'abcdefghijklmnopqrstuvwxyzABCDEF'
RUNS = [(4096, b'x' * 16), (1 << 39, b''), (DEVICE - 5, b'y' * 5), (0, bytes(bytearray(range(256))) * 3)]


def log(**changes):
    fields = dict({'pv_uuid': PV, 'staged': (12288, 8192), 'text_crc': 0xdeadbeef, 'area_size': 1 << 20, 'runs': RUNS}, **changes)
    return redolog.Log(**fields)


def volume(data, size=SIZE):
    """A volume whose tail these bytes are."""
    return bytearray(b'\xee' * (size - len(data)) + data)


def load(data, device_size=DEVICE, size=None):
    def read(offset, length):
        assert offset >= 0 and offset % SECTOR == 0 and length % SECTOR == 0 and length > 0
        assert offset + length <= len(data)
        return bytes(data[offset:offset + length])
    return redolog.load(read, size or len(data), device_size)


def same(one, other):
    names = ('pv_uuid', 'staged', 'text_crc', 'area_size', 'runs')
    return [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


@pytest.mark.parametrize('runs', [RUNS, [], [(0, b'a')], [(512 * number, b'z' * 48) for number in range(500)]],
                         ids=['some', 'none', 'one', 'many'])
def test_a_log_reads_back(runs):
    data = log(runs=runs).render()
    assert len(data) % SECTOR == 0
    found = load(volume(data))
    assert same(found, log(runs=runs))
    assert isinstance(found.pv_uuid, str)


def test_a_log_that_fills_the_volume():
    data = log(runs=[(0, b'x' * (SIZE - 512 - 12))]).render()
    assert len(data) == SIZE
    assert same(load(volume(data)), log(runs=[(0, b'x' * (SIZE - 512 - 12))]))


def test_runs_stand_in_front_of_the_head():
    data = log().render()
    assert data[-512:-504] == b'RELVMLOG'
    assert struct.unpack('<QI', data[:12]) == (4096, 16)
    assert data[12:28] == b'x' * 16


@pytest.mark.parametrize('data', [b'', b'\0' * 512, b'RELVMLOG' + b'\0' * 504], ids=['rubbish', 'zeros', 'magic'])
def test_no_log(data):
    assert load(volume(data)) is None


def test_every_byte_matters():
    """One bit of any byte that means something: no log. Padding of the head counts as well."""
    data = log().render()
    for position in range(len(data)):
        damaged = volume(data)
        damaged[SIZE - len(data) + position] ^= 0x10
        assert load(damaged) is None, 'byte %d' % (position - len(data))


def resealed(edit, runs=RUNS):
    """A log whose head was changed and got a right checksum."""
    data = bytearray(log(runs=runs).render())
    head = data[-512:]
    edit(head)
    head[12:16] = struct.pack('<I', zlib.crc32(bytes(head[16:])) & 0xffffffff)
    data[-512:] = head
    return volume(bytes(data))


def put(offset, kind, value):
    def edit(head):
        struct.pack_into(kind, head, offset, value)
    return edit


@pytest.mark.parametrize('edit', [
    put(8, '<I', 2), put(8, '<I', 0), put(16, '<Q', 513), put(16, '<Q', SIZE), put(16, '<Q', 1 << 63), put(16, '<Q', 512), put(24, '<I', 0),
    put(28, '<I', 100), put(28, '<I', 0xffffffff), put(16, '<Q', 0)],
    ids=['version 2', 'version 0', 'odd length', 'longer than the volume', 'huge', 'shorter', 'checksum', 'count', 'huge count', 'nothing'])
def test_heads_that_do_not_fit(edit):
    assert load(resealed(edit)) is None


def test_fewer_runs_than_there_are_is_what_the_head_says():
    """The count is checked with the head; runs behind the last one are padding."""
    assert load(resealed(put(28, '<I', 2))).runs == RUNS[:2]


@pytest.mark.parametrize('runs', [[(DEVICE, b'x')], [(DEVICE - 1, b'xy')], [(1 << 63, b'x')]])
def test_runs_beyond_the_device(runs):
    assert load(volume(log(runs=runs).render())) is None


def test_a_run_that_is_cut():
    data = bytearray(log(runs=[(0, b'x' * 400)]).render())
    struct.pack_into('<I', data, 8, 600)
    body = bytes(data[:-512])
    head = data[-512:]
    struct.pack_into('<I', head, 24, zlib.crc32(body) & 0xffffffff)
    head[12:16] = struct.pack('<I', zlib.crc32(bytes(head[16:])) & 0xffffffff)
    assert load(volume(body + bytes(head))) is None


def test_a_volume_of_one_sector():
    assert load(bytearray(512)) is None


class Placement(object):
    """As much of a lun.Placement as counts."""

    def __init__(self, pv_uuid=PV, area=(12288, 8192), text_crc=0xdeadbeef, staged=True):
        class Label(object):
            pass

        class Area(object):
            pass
        self.staged = staged
        self.label, self.area = Label(), Area()
        self.label.pv_uuid, self.label.area = pv_uuid, area
        self.area.text_crc = text_crc


def test_in_force():
    assert redolog.in_force(log(), Placement())


@pytest.mark.parametrize('placement', [
    Placement(staged=False), Placement(pv_uuid='x' + PV[1:]), Placement(area=(12288, 4096)), Placement(area=(16384, 8192)),
    Placement(text_crc=0)], ids=['standard', 'PV', 'size', 'offset', 'text'])
def test_dead(placement):
    assert not redolog.in_force(log(), placement)


@pytest.mark.parametrize('staged, area_size', [
    ((4096, 8192), 1 << 20), ((4096 + 511, 8192), 1 << 20), ((12288, 8192), 512), ((12288, 8192), 0), ((12288, 8192), 16383),
    ((1 << 30, 8192), 1 << 20)])
def test_a_staged_area_outside_the_ring_is_not_ours(staged, area_size):
    assert not redolog.in_force(log(staged=staged, area_size=area_size), Placement(area=staged))


def test_a_staged_area_that_just_fits():
    assert redolog.in_force(log(staged=(4608, 512), area_size=1024), Placement(area=(4608, 512)))


@pytest.mark.parametrize('used, free', [(2048, SIZE - 8192), (4096, SIZE - 8192), (4097, SIZE - 12288), (SIZE, 0), (SIZE - 4096, 0),
                                        (SIZE - 4097, 0), (SIZE - 8192, 4096), (SIZE - 8193, 4096)])
def test_room(used, free):
    assert redolog.room(SIZE, used) == free
    redolog.check_room(SIZE, used, free)
    with pytest.raises(errors.NoRoomForLog) as caught:
        redolog.check_room(SIZE, used, free + 1)
    assert (caught.value.fields['free'], caught.value.fields['needed']) == (free, free + 1)
    assert lvmlabel.ALIGNMENT == 4096
