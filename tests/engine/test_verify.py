# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.verify: everything that is wrong with an SR is said, and nothing of one that is right."""
from __future__ import absolute_import, division, print_function

import pytest

from conftest import copy
from luns import damage, devices
from lvhd import reader, shapes
from lvhd.model import RAW, Sr
from relvm import identity
from relvm.engine import blockdev, verify
from relvm.engine.lun import Lun, Placement

UUID = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
LVM_ID = 'AAAAAA-bbbb-CCCC-dddd-EEEE-ffff-000000'
EXPORT = (b'"WRITE"]\nflags = []\nextent', b'"WRITE", "EXPORTED"]\nflags = []\nextent')


def understood(path):
    device = blockdev.Device(path, False)
    try:
        return Lun(device, Placement(device))
    finally:
        device.close()


# Is it sound


def test_shapes_are_sound(shape):
    found = verify.problems(understood(shape.path))
    # A record without a volume and one of another type; the record of a VDI of which only the CBT log is left
    assert len(found) == {'strays': 2, 'cbt_logs': 1}.get(shape.name, 0)


def test_samples_are_sound(sample):
    assert verify.problems(understood(sample)) == []


def only(found, *words):
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_exported(written):
    path = written(shapes.one())
    only(verify.problems(understood(path), True), 'not locked')
    damage.replace(path, *EXPORT)
    only(verify.problems(understood(path)), 'exported')
    assert verify.problems(understood(path), True) == []


def test_record_without_volume(written):
    sr = shapes.one()
    lost = sr.add('lost', stored=False)
    only(verify.problems(understood(written(sr))), lost.uuid, 'no LV')


@pytest.mark.parametrize('kind, said', [(RAW, 'vhd'), ('vhd', RAW)])
def test_record_of_another_type(kind, said, written):
    sr = shapes.one()
    vdi = shapes.disk(sr, 'x', vdi_type=kind, record_vdi_type=said)
    only(verify.problems(understood(written(sr))), vdi.volume.name, 'vdi_type')


def test_parent_that_is_not_hidden(written):
    sr = Sr(1)
    vdi = shapes.disk(sr, 'vdi0')
    sr.vdis.append(shapes.base_copy(sr, vdi))
    vdi.parent.hidden = False
    """sm attaches such an SR; a preview says so."""
    assert verify.problems(understood(written(sr))) == []


def test_mgt_of_another_sr(written):
    """Of a locked LUN this can be read: MGT comes after the label."""
    sr = shapes.one()
    lun = understood(written(sr))
    lun.mgt.sr_uuid = UUID
    only(verify.problems(lun), UUID)


def test_names_of_volumes_that_are_not_there(written):
    lun = understood(written(shapes.two_snapshots()))
    leaf = lun.order[0]
    offset, stored, encoding = leaf.disk.names[1]
    leaf.disk.names[1] = (offset, stored.replace(leaf.parent.uuid.replace('-', '--'), UUID.replace('-', '--')), encoding)
    only(verify.problems(lun), UUID, 'not on this LUN')


# Is anything left


@pytest.mark.parametrize('content, names', [
    ('', []), ('x', []), (UUID, [UUID]), ('a%sb' % UUID, [UUID]), ('%s%s' % (UUID, UUID), [UUID, UUID]),
    ('-%s-%s-' % (UUID, UUID), [UUID, UUID]), (UUID.upper(), []), (UUID[1:], []), (UUID[:-1], []),
    (UUID.replace('-', '--'), [UUID]), ('VG_XenStorage--%s-VHD--x' % UUID.replace('-', '--'), [UUID]),
    ('\0'.join(UUID), [UUID]), ('\0' + '\0'.join(UUID.replace('-', '--')), [UUID]),
    (LVM_ID, [LVM_ID]), ('id = "%s"' % LVM_ID, [LVM_ID]), ('%s-%s' % (LVM_ID, LVM_ID), [LVM_ID, LVM_ID]), (LVM_ID[1:], []),
    ('%s-%s' % (LVM_ID, UUID), [LVM_ID, UUID]), ('%s-%s' % (UUID, LVM_ID), [UUID, LVM_ID]), (LVM_ID + UUID, [LVM_ID, UUID]),
    ('abcdef-%s' % UUID, [UUID]), ('\n%s\n%s' % (UUID, LVM_ID), [UUID, LVM_ID]),
])
def test_names_in(content, names):
    assert sorted(set(verify.names_in(content))) == sorted(set(names))


def test_every_identity_of_a_lun(shape_called):
    for name in ('tree_with_clones', 'raw_parent', 'admin_lv'):
        path = shape_called(name).path
        found = verify.identities(understood(path))
        with reader.Lun(path) as lun:
            expected = set(lun.vdi_uuids()) | set(volume.id for volume in lun.volumes.values())
            expected |= set([lun.vg_name[-36:], lun.vg['id'], lun.label.pv_id, lun.label.pv_id.replace('-', '')])
        assert set(found) == expected


def test_every_identity_is_found_where_it_is(shape_called):
    """Each identity by itself, as the other reader finds it: in the same number of structures."""
    path = shape_called('tree_with_clones').path
    lun = understood(path)
    for name in reader.identities(path):
        found = verify.leftovers(lun, {str(name): None, str(name).replace('-', ''): None})
        seen = [place for place, _ in reader.traces(path, [name])]
        assert bool(found) == bool(seen)
        assert any('LVM label' in each for each in found) == ('label' in seen)
        assert any('LVM metadata' in each for each in found) == ('metadata text' in seen)
        assert any('record' in each for each in found) == ('MGT' in seen)
        assert any('header of' in each for each in found) == any(place.endswith(' header') and 'area' not in place for place in seen)
        assert any('locator' in each for each in found) == any('locator' in place for place in seen)
    assert verify.leftovers(lun, {UUID: None, LVM_ID: None}) == []


def test_names_of_users_are_no_leftovers(written):
    sr = Sr(1, name_label=UUID, name_description=UUID)
    shapes.disk(sr, UUID, name_description=UUID)
    assert verify.leftovers(understood(written(sr)), {UUID: None}) == []


@pytest.mark.parametrize('field', ['snapshot_of', 'metadata_of_pool'])
def test_fields_of_a_record_are_live(field, written):
    sr = shapes.one()
    sr.add('x', **{field: UUID})
    only(verify.leftovers(understood(written(sr)), {UUID: None}), 'record', UUID)


# Is it what the plan said


@pytest.fixture
def resigned(shape_called, tmpdir):
    """(path, plan, new uuid of the first VDI, its volume) of a resigned LUN."""
    path = shape_called('tags').copy(tmpdir.join('lun.img'))
    result, _ = devices.run(path, identity.new_uuid())
    vdi = result.plan.kept[0]
    uuid = result.plan.uuids[vdi.uuid]
    return path, result.plan, uuid, 'VHD-' + uuid


def test_no_deviation(resigned):
    path, plan, _, _ = resigned
    assert verify.deviations(understood(path), plan) == []


def test_a_resign_of_something_else(resigned, shape_called, tmpdir):
    _, plan, _, _ = resigned
    other = understood(shape_called('two_snapshots').path)
    found = verify.deviations(other, plan)
    assert 'the SR uuid is %s, not %s' % (other.vg.sr_uuid, plan.sr_uuid) in found
    assert 'there are 5 VDIs, %d were kept' % len(plan.kept) in found


def test_what_is_left_of_the_old(resigned, shape_called):
    _, plan, _, _ = resigned
    found = verify.deviations(understood(shape_called('tags').path), plan)
    for part in ('the LVM label still', 'the LVM metadata still', 'the VDI record at offset 2048 still', 'the SR record still',
                 'parent locator', 'the header of'):
        assert any(part in each for each in found), part


def retagged(path, uuid, volume, plan):
    damage.replace(path, b'owner_me', b'owner_us')


def locked(path, uuid, volume, plan):
    def change(text):
        start = text.index(volume.encode('ascii') + b' {')
        return text[:start] + text[start:].replace(b'["READ", "WRITE", "VISIBLE"]', b'["READ", "VISIBLE"]', 1)
    damage.text(path, change)


def moved(path, uuid, volume, plan):
    """Two LVs of one extent each change places."""
    with reader.Lun(path) as lun:
        count = lun.pv['pe_count']
        first = lun.volumes[volume].segments[0][0]
        size = lun.volumes[volume].size
        data = lun.volumes[volume].read(0, size)
        length = lun.volumes[volume].extents
    last = count - length
    damage.replace(path, b'"pv0", %d\n' % first, b'"pv0", %d\n' % last)
    damage.volume(path, volume, 0, data)


def hidden(path, uuid, volume, plan):
    damage.footer(path, volume, damage.put(85, b'\1'))


def resized(path, uuid, volume, plan):
    damage.footer(path, volume, damage.put(48, b'\0\0\0\0\0\x40\0\0'))


def renamed(path, uuid, volume, plan):
    damage.mgt(path, b'<name_label>vdi0</name_label>', b'<name_label>vdi9</name_label>')


@pytest.mark.parametrize('change, what', [(retagged, 'tags'), (locked, 'permission'), (moved, 'extents'), (hidden, 'hidden'),
                                          (resized, 'size'), (renamed, 'name')], ids=lambda value: getattr(value, '__name__', value))
def test_a_change_of_one_vdi(change, what, resigned):
    path, plan, uuid, volume = resigned
    change(path, uuid, volume, plan)
    only(verify.deviations(understood(path), plan), 'the %s of %s was' % (what, volume))


def test_a_change_of_the_parent(resigned):
    path, plan, uuid, volume = resigned
    lun = understood(path)
    lun.vdis[uuid].parent = None
    only(verify.deviations(lun, plan), 'the parent of %s was' % volume)


def test_another_resign_deviates_in_every_uuid(resigned, shape_called, tmpdir):
    """The same SR resigned again: with the same SR uuid it is what the plan said; with another one nothing fits."""
    _, plan, _, _ = resigned
    path = copy(shape_called('tags').path, tmpdir.join('second.img'))
    devices.run(path, plan.sr_uuid)
    assert verify.deviations(understood(path), plan) == []
    path = copy(shape_called('tags').path, tmpdir.join('third.img'))
    devices.run(path, UUID)
    found = verify.deviations(understood(path), plan)
    assert len(found) == 2 and 'SR uuid' in found[0] and 'VDIs' in found[1]
