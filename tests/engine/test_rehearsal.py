# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.rehearsal: what would fail behind switch 1 is refused before anything is written."""
from __future__ import absolute_import, division, print_function

import collections

import pytest

from luns import damage, devices, expect
from lvhd import reader, shapes
from lvhd.model import Sr, Volume
from relvm import errors
from relvm.engine import blockdev, rehearsal, resign
from relvm.engine.lun import Lun, Placement
from relvm.engine.plan import Plan, padded

UUID = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
SECTOR = 512


class Memory(object):
    def __init__(self, data):
        self.data = data
        self.size = len(data)

    def read(self, offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0
        return self.data[offset:offset + length]

    def read_any(self, offset, length):
        return self.data[offset:offset + length]


PIECES = [(3000, b'c' * 100), (0, b'a'), (511, b'bb'), (1024, b'd' * 512), (4095, b'e'), (2000, b'')]


@pytest.mark.parametrize('offset, length', [(0, 4096), (0, 512), (512, 512), (1024, 512), (2560, 1024), (3584, 512), (1536, 512), (0, 0)])
def test_pieces_stand_over_what_is_there(offset, length):
    data = bytearray(bytearray(range(256)) * 16)
    view = rehearsal.Rehearsal(Memory(bytes(data)), PIECES)
    for start, new in PIECES:
        data[start:start + len(new)] = new
    assert view.read(offset, length) == bytes(data[offset:offset + length])
    assert view.size == 4096
    for start in (1, 510, 511, 512, 513, 1023, 2999, 3000, 3001, 3099, 3100):
        for count in (0, 1, 2, 100, 600):
            assert view.read_any(start, count) == bytes(data[start:start + count])


class Counting(blockdev.Device):
    """places: how often each was read."""

    SHARED = False

    def __init__(self, path):
        blockdev.Device.__init__(self, path, False)
        self.places = collections.Counter()

    def read(self, offset, length):
        self.places[offset, length] += 1
        return blockdev.Device.read(self, offset, length)


def test_a_plan_is_rehearsed_on_what_it_was_made_from(shape_called):
    """What is read a second time may be something else by then."""
    device = Counting(shape_called('tree_with_clones').path)
    try:
        resign.preview(device, UUID)
        found = collections.Counter(device.places)
        Placement(device)
    finally:
        device.close()
    # preview() itself looks at the label and the areas before a plan is made
    found -= device.places - found
    assert set(found.values()) == set([1])


def applied(device):
    """The Rehearsed of a plan for what is on a device, and whether all of it was there before and after its runs, label and text were."""
    once = rehearsal.Once(device)
    plan = Plan(Lun(once, Placement(once)), UUID)
    found = rehearsal.rehearse(once, plan)
    before = found.is_on(device)
    label = plan.lun.label
    blockdev.patch(device, blockdev.spans(plan.runs + [(label.sector * SECTOR, label.switched(plan.pv_uuid, plan.staged))]))
    device.write(plan.staged[0], padded(plan.staged_bytes))
    return found, before, found.is_on(device)


@pytest.mark.parametrize('name', ['tree_with_clones', 'mixed', 'wrapped_text'])
def test_every_byte_that_the_check_looks_at_is_compared(name, written):
    device = blockdev.Device(written(shapes.SHAPES[name](1)))
    try:
        found, before, after = applied(device)
        assert (before, after) == (False, True)
        for offset, length in found.places:
            for place in (offset, offset + length - 1):
                sector = place // SECTOR * SECTOR
                whole = device.read(sector, SECTOR)
                other = bytearray(whole)
                other[place - sector] ^= 1
                device.write(sector, bytes(other))
                assert not found.is_on(device), (offset, length, place)
                device.write(sector, whole)
        assert found.is_on(device)
    finally:
        device.close()


def test_the_check_looks_at_nothing_that_is_not_compared(written):
    path = written(shapes.tree_with_clones())
    device = blockdev.Device(path)
    try:
        found, _, _ = applied(device)
    finally:
        device.close()
    compared = set()
    for offset, length in found.places:
        compared.update(range(offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR))
    device = Counting(path)
    try:
        Lun(device, Placement(device))
    finally:
        device.close()
    for offset, length in device.places:
        assert compared.issuperset(range(offset // SECTOR, (offset + length) // SECTOR))


def test_nothing_is_written(shape_called):
    path = shape_called('tree_with_clones').path
    before = damage.fingerprint(path)
    device = blockdev.Device(path, False)
    try:
        plan, locked = resign.preview(device, UUID)
        rehearsal.rehearse(device, plan)
    finally:
        device.close()
    assert not locked and damage.fingerprint(path) == before


def test_parent_that_is_not_hidden(written):
    sr = Sr(1)
    vdi = shapes.disk(sr, 'vdi0')
    sr.vdis.append(shapes.base_copy(sr, vdi))
    vdi.parent.hidden = False
    path = written(sr)
    result, _ = devices.run(path, UUID)
    (line,) = [line for line in result.plan.report if 'not hidden' in line]
    assert vdi.volume.name in line and vdi.parent.volume.name in line


def test_record_of_another_type_is_put_right(written):
    """sm believes the volume; no reason to refuse."""
    sr = shapes.one()
    shapes.disk(sr, 'x', record_vdi_type='aio')
    path = written(sr)
    from conftest import copy
    outcome = expect.Outcome(path, copy(path, path + '.copy'), expect.kept_of(sr), UUID)
    expect.everything(outcome)


@pytest.mark.parametrize('field', ['type', 'snapshot_time'])
def test_old_uuid_in_another_field_of_a_record(field, written):
    sr = shapes.one()
    sr.add('x', **{field: sr.vdis[0].uuid})
    expect.refused(written(sr), errors.BadRecord, '(record at offset 3072) has %s %s' % (field, sr.vdis[0].uuid))


@pytest.mark.parametrize('which', ['VG', 'PV', 'LV'])
def test_lvm_id_in_a_tag(which, written):
    sr = shapes.one()
    sr.vdis[0].volume.id = 'AAAAAA-bbbb-CCCC-dddd-EEEE-ffff-000000'
    name = {'VG': sr.vg_id, 'PV': sr.pv_id, 'LV': sr.vdis[0].volume.id}[which]
    sr.tags.append('of-' + name)
    sr.vdis[0].volume.tags.append(name)
    taken(sr, written)


def test_doubled_uuid_in_a_tag(written):
    sr = shapes.one()
    sr.volumes.append(Volume('x', tags=['dm-' + sr.uuid.replace('-', '--')]))
    taken(sr, written)


def taken(sr, written):
    path = written(sr)
    from conftest import copy
    expect.everything(expect.Outcome(path, copy(path, path + '.copy'), expect.kept_of(sr), UUID))


def test_old_name_behind_the_name_of_a_parent(written):
    """vhd-util clears the field before it writes a name; whoever did not is not understood."""
    sr = shapes.two_snapshots()
    path = written(sr)
    leaf = sr.vdis[0]
    with reader.Lun(path) as lun:
        name = lun.vhd(leaf.volume.name).parent_name
    stale = u'\0%s' % leaf.parent.uuid
    damage.header(path, leaf.volume.name, damage.put(64 + 2 * len(name), stale.encode('utf-16-be')))
    expect.refused(path, errors.Unsound, 'the header of VHD-', leaf.parent.uuid)
