# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.redolog: a log is read back whole, or not at all."""
from __future__ import absolute_import, division, print_function

import struct
import zlib

import pytest

from relvm import errors
from relvm.engine import blockdev
from relvm.engine import lun as luns
from relvm.formats import lvmgroup, lvmlabel, redolog

SECTOR = 512
SR = '11111111-2222-4333-8444-555555555555'
SOURCES = ['%08d-2222-4333-8444-555555555555' % number for number in range(40)]
SIZE = 64 * 1024
DEVICE = 1 << 40
PV = 'abcdefghijklmnopqrstuvwxyzABCDEF'
RUNS = [(4096, b'x' * 16), (1 << 39, b''), (DEVICE - 5, b'y' * 5), (0, bytes(bytearray(range(256))) * 3)]


def history(**changes):
    fields = dict({'sr': SR, 'sources': SOURCES, 'before': (1, 0xffffffff), 'after': (0xfffffffe, 4), 'scsi_id': '36001405'}, **changes)
    return redolog.History(**fields)


def log(**changes):
    fields = dict({'pv_uuid': PV, 'staged': (12288, 8192), 'text_crc': 0xdeadbeef, 'area_size': 1 << 20, 'runs': RUNS,
                   'history': history()}, **changes)
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


def same_history(one, other):
    names = ('sr', 'sources', 'before', 'after', 'scsi_id', 'done')
    return [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


def same(one, other):
    if not same_history(one.history, other.history):
        return False
    names = ('pv_uuid', 'staged', 'text_crc', 'area_size', 'runs')
    return [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


@pytest.mark.parametrize('runs', [RUNS, [], [(0, b'a')], [(512 * number, b'z' * 48) for number in range(500)]],
                         ids=['some', 'none', 'one', 'many'])
def test_a_log_reads_back(runs):
    data = log(runs=runs).render()
    assert len(data) % SECTOR == 0
    found = load(volume(data))
    assert found.made_on('36001405') and not found.made_on('')
    assert same(found, log(runs=runs))
    assert isinstance(found.pv_uuid, str)


def test_a_log_that_fills_the_volume():
    whole = log(runs=[(0, b'x' * (SIZE - 512 - 1024 - 12))])
    data = whole.render()
    assert len(data) == SIZE
    assert same(load(volume(data)), whole)


@pytest.mark.parametrize('changes', [{}, {'sources': []}, {'sources': SOURCES[:32]}, {'scsi_id': ''}, {'scsi_id': 'x' * 256}],
                         ids=['some', 'none', 'one sector', 'unknown LUN', 'long id'])
def test_a_history_reads_back_with_its_log_and_after_it(changes):
    whole = log(history=history(**changes))
    data = whole.render()
    assert same(load(volume(data)), whole)
    found = redolog.load_history(lambda offset, length: bytes(volume(data)[offset:offset + length]), SIZE)
    assert same_history(found, whole.history) and not found.done
    data = data[:-512] + whole.over('another', (5, 6))
    assert load(volume(data)) is None
    found = redolog.load_history(lambda offset, length: bytes(volume(data)[offset:offset + length]), SIZE)
    assert same_history(found, whole.history.finished('another', (5, 6))) and found.done
    assert isinstance(found.scsi_id, str) and isinstance(found.sources and found.sources[0] or '', str)


def test_a_scsi_id_for_which_there_is_no_room_is_left_out():
    assert load(volume(log(history=history(scsi_id='x' * 257)).render())).history.scsi_id == ''


def of_version_1(data, sources):
    """The same log as release 1.0.0 wrote it."""
    body, head = data[:-512 - sources], bytearray(data[-512:])
    head[92:] = b'\0' * 420
    struct.pack_into('<I', head, 8, 1)
    struct.pack_into('<I', head, 12, zlib.crc32(bytes(head[16:])) & 0xffffffff)
    return body + bytes(head)


def test_a_log_of_version_1_is_read_and_leaves_no_history():
    data = of_version_1(log().render(), 1024)
    found = load(volume(data))
    assert found.history is None and (found.runs, found.staged) == (RUNS, (12288, 8192))
    assert redolog.load_history(lambda offset, length: bytes(volume(data)[offset:offset + length]), SIZE) is None
    assert found.over('x', (5, 6)) == b'\0' * 512
    assert not found.made_on('')


def test_sources_stand_between_runs_and_head():
    data = log(runs=[]).render()
    assert data[:16] == b'\0\0\0\0\x22\x22\x43\x33\x84\x44\x55\x55\x55\x55\x55\x55'
    assert len(data) == 1024 + 512
    # a run that carries a history on leaves it where it is, whatever its runs are
    assert log(runs=RUNS).render()[-1536:-512] == data[:1024]


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
    put(8, '<I', 3), put(8, '<I', 0), put(16, '<Q', 513), put(16, '<Q', SIZE), put(16, '<Q', 1 << 63), put(16, '<Q', 512), put(24, '<I', 0),
    put(28, '<I', 100), put(28, '<I', 0xffffffff), put(16, '<Q', 0)],
    ids=['version 3', 'version 0', 'odd length', 'longer than the volume', 'huge', 'shorter', 'checksum', 'count', 'huge count', 'nothing'])
def test_heads_that_do_not_fit(edit):
    assert load(resealed(edit)) is None


def test_fewer_runs_than_there_are_is_what_the_head_says():
    """The count is checked with the head; runs behind the last one are padding."""
    assert load(resealed(put(28, '<I', 2))).runs == RUNS[:2]


@pytest.mark.parametrize('runs', [[(DEVICE, b'x')], [(DEVICE - 1, b'xy')], [(1 << 63, b'x')]])
def test_runs_beyond_the_device(runs):
    assert load(volume(log(runs=runs).render())) is None


def test_a_run_that_is_cut():
    data = bytearray(of_version_1(log(runs=[(0, b'x' * 400)]).render(), 1024))
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


# What a log may change: the contents of volumes, to their last byte, and nothing else


@pytest.fixture(scope='module')
def sr(shape_called):
    """(VolumeGroup, its MGT, [(start, end)] on the LUN of every segment, offset of the log's head)"""
    device = blockdev.Device(shape_called('fragmented').path, False)
    vg = lvmgroup.VolumeGroup(luns.Placement(device).area.text)
    device.close()
    lv = vg.lvs['MGT']
    places = [(start, start + length) for each in vg.order for start, length in vg.runs(each, 0, vg.lv_size(each))]
    return vg, lv, sorted(places), vg.runs(lv, vg.lv_size(lv) - SECTOR, SECTOR)[0][0]


def stray(sr, *places, **changes):
    """Whether runs at these [(start, end)] stray."""
    vg, lv = sr[:2]
    fields = dict({'area_size': 1 << 20, 'staged': (1 << 19, 8192)}, **changes)
    return redolog.strays(log(runs=[(start, b'x' * (end - start)) for start, end in places], **fields), vg, lv)


def test_a_run_may_reach_the_borders_of_a_segment_and_not_a_byte_more(sr):
    for start, end in sr[2]:
        if end == sr[3] + SECTOR:
            continue
        assert not stray(sr, (end - 16, end))
        assert not stray(sr, (start, start + 16))
        assert stray(sr, (end - 16, end + 1))
        assert stray(sr, (start - 1, start + 16))
    assert stray(sr, (sr[2][-1][1], sr[2][-1][1] + 16))
    assert not stray(sr, (sr[2][0][0], sr[2][0][0] + 16), (sr[2][-1][0], sr[2][-1][0] + 16), (sr[2][1][0], sr[2][1][0] + 1))


def test_a_run_may_touch_another_run_and_the_logs_head(sr):
    first, head = sr[2][0][0], sr[3]
    assert not stray(sr, (first, first + 16), (first + 16, first + 32))
    assert stray(sr, (first, first + 17), (first + 16, first + 32))
    assert not stray(sr, (head - 16, head))
    assert stray(sr, (head - 16, head + 1))
    assert stray(sr, (head + SECTOR - 1, head + SECTOR))
    after = [start for start, _ in sr[2] if start >= head + SECTOR][0]
    assert not stray(sr, (after, after + 1))


def test_the_final_area_ends_where_the_extents_begin_and_in_front_of_the_staged_one(sr):
    vg = sr[0]
    room = vg.pe_start - lvmlabel.AREA_OFFSET
    assert not stray(sr, area_size=room)
    assert stray(sr, area_size=room + SECTOR)
    assert stray(sr, area_size=room - 1)
    final = lvmlabel.AREA_OFFSET + lvmlabel.round_up(lvmlabel.AREA_HEADER + len(lvmgroup.unlocked(vg)), SECTOR)
    assert not stray(sr, staged=(final, 8192))
    assert stray(sr, staged=(final - SECTOR, 8192))
