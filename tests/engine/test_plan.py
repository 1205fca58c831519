# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.plan: what is kept, what is dropped and why, which bytes change, and what is refused."""
from __future__ import absolute_import, division, print_function

import hashlib
import uuid

import pytest

from luns import damage, expect
from lvhd import generate, image, policy, reader, shapes
from lvhd.model import MIB, RAW, Sr, Volume
from relvm import errors, identity
from relvm.engine import blockdev
from relvm.formats import lvmgroup, lvmlabel, redolog
from relvm.engine.lun import Lun, Placement
from relvm.octets import octets
from relvm.engine.plan import Plan, padded

SECTOR = 512
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'
NEW = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
UUID = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'


def planned(path, sr_uuid=NEW, **options):
    device = blockdev.Device(path, False)
    try:
        return Plan(Lun(device, Placement(device)), sr_uuid, **options)
    finally:
        device.close()


def uuids(vdis):
    return [vdi.uuid for vdi in vdis]


def same_choice(plan, model):
    assert uuids(plan.kept) == uuids(policy.kept(model))
    kept = set(uuids(plan.kept))
    assert uuids(vdi for vdi, _ in plan.dropped) == [vdi.uuid for vdi in model.vdis if vdi.stored and vdi.uuid not in kept]
    assert [name for name, _ in plan.removed] == \
        [volume.name for volume in model.volumes if volume not in policy.kept_volumes(model)]
    return True


ROOMY = [name for name in shapes.SHAPES if name != 'mgt_nearly_full']


@pytest.mark.parametrize('name', ROOMY)
def test_what_is_kept(name, shape_called):
    assert same_choice(planned(shape_called(name).path), shape_called(name).model)


@pytest.mark.parametrize('seed', range(8))
def test_what_is_kept_of_a_random_sr(seed, written):
    model = generate.random_sr(seed)
    assert same_choice(planned(written(model)), model)


def test_sample(sample):
    plan = planned(sample)
    assert [why for _, why in plan.dropped] == ['a snapshot'] * len(plan.dropped)


def reasons(plan):
    return dict((vdi.uuid, why) for vdi, why in plan.dropped)


def test_reasons_of_what_is_dropped(shape_called):
    model = shape_called('ha_and_metadata_vdis').model
    assert [reasons(planned(shape_called('ha_and_metadata_vdis').path))[vdi.uuid] for vdi in model.vdis[:3]] == \
        ['its type is ha_statefile', 'its type is redo_log', 'its type is metadata']
    plan = planned(shape_called('hidden_leftovers').path)
    assert set(reasons(plan).values()) == set(['a snapshot', 'a hidden node that nothing refers to'])
    plan = planned(shape_called('cbt_logs').path)
    assert len(plan.removed) == 3
    assert all('changed blocks' in why for _, why in plan.removed)


def test_pool_metadata_by_its_pool(written):
    sr = shapes.one()
    shapes.disk(sr, 'foreign', metadata_of_pool=UUID)
    assert list(reasons(planned(written(sr))).values()) == ['it holds the metadata of a pool']


def test_hidden_nodes_below_a_dropped_one_go_with_it(written):
    """Three nodes that only a snapshot needs, and one that a disk needs as well."""
    sr = Sr(1)
    vdi = shapes.disk(sr, 'vdi0')
    snap = shapes.snapshot(sr, vdi)
    shapes.hidden_chain(sr, snap, 4)
    plan = planned(written(sr))
    assert len(plan.dropped) == 1 + 3
    assert same_choice(plan, sr)


def test_a_note_says_how_many_base_copies_stay(shape_called):
    notes = [note for note in planned(shape_called('two_snapshots').path).report if 'base copies' in note]
    assert len(notes) == 1 and notes[0].startswith('2 base copies')
    assert planned(shape_called('one').path).report == []


def test_a_vdi_without_record_stays(written):
    sr = shapes.one()
    stray = shapes.disk(sr, 'stray', recorded=False, sectors=(8,))
    assert stray.uuid in uuids(planned(written(sr)).kept)


# Refused


def test_snapshot_with_a_child(written):
    sr = shapes.two_snapshots()
    snap = [vdi for vdi in sr.vdis if vdi.is_a_snapshot][0]
    child = sr.add('child', parent=snap)
    expect.refused(written(sr), errors.DroppedHasChildren, snap.uuid, 'a snapshot', child.volume.name)


def test_nothing_left(written):
    sr = Sr(1)
    vdi = shapes.disk(sr, 'template')
    snap = shapes.snapshot(sr, vdi)
    sr.vdis.remove(vdi)
    expect.refused(written(sr), errors.NothingLeft, snap.uuid, 'a snapshot', 'hidden')


def test_snapshots_are_kept_on_request(written):
    """Also the way out for an SR of nothing else; what is never kept goes all the same."""
    sr = Sr(1)
    vdi = shapes.disk(sr, 'vdi')
    snap = shapes.snapshot(sr, vdi)
    sr.vdis.remove(vdi)
    sr.add('statefile', type='ha_statefile')
    path = written(sr)
    with pytest.raises(errors.NothingLeft) as caught:
        planned(path)
    assert 'snapshots=keep' in str(caught.value)
    plan = planned(path, keep_snapshots=True)
    assert snap.uuid in uuids(plan.kept) and [vdi.uuid for vdi, _ in plan.dropped] == [sr.vdis[-1].uuid]
    assert [line for line in plan.report if line == '1 snapshots stay snapshots']


def test_empty_sr(written):
    expect.refused(written(Sr(1)), errors.EmptySR, 'has no VDIs')


def test_only_hidden_nodes(written):
    sr = Sr(1)
    shapes.disk(sr, 'deleted', hidden=True)
    expect.refused(written(sr), errors.NothingLeft, 'hidden')


def test_only_system_vdis(written):
    sr = Sr(1)
    shapes.disk(sr, 'state', type='ha_statefile')
    expect.refused(written(sr), errors.NothingLeft, 'ha_statefile')


def test_exported(written):
    path = written(shapes.one(status=['EXPORTED', 'RESIZEABLE', 'READ', 'WRITE']))
    expect.refused(path, errors.Exported, 'vgimport')


def test_same_uuid(shape_called):
    shape = shape_called('one')
    with pytest.raises(errors.SameUuid) as caught:
        planned(shape.path, str(shape.model.uuid))
    assert shape.model.uuid in str(caught.value)
    plan = planned(shape.path, str(shape.model.uuid), again=True)
    assert plan.uuids[shape.model.uuid] == shape.model.uuid
    assert shape.model.uuid not in plan.old_uuids() and shape.model.vdis[0].uuid in plan.old_uuids()


@pytest.mark.parametrize('of', ['a VDI', 'a deleted record', 'a CBT log'])
def test_an_sr_uuid_that_is_another_uuid_of_this_lun(of, written):
    """It would be an old identity that is left over."""
    sr = shapes.deleted_slots()
    sr.volumes.append(shapes.cbt_log(UUID))
    uuid = {'a VDI': sr.vdis[1].uuid, 'a deleted record': sr.vdis[0].uuid, 'a CBT log': UUID}[of]
    path = written(sr)
    with pytest.raises(errors.SameUuid) as caught:
        planned(path, str(uuid))
    assert uuid in str(caught.value)


def test_mgt_of_two_segments(written):
    sr = shapes.one(mgt_extents=2)
    sr.mgt_volume.fragments = 2
    expect.refused(written(sr), errors.BadExtents, 'MGT', '2 segments')


def test_log_without_room(shape_called, tmpdir):
    path = shape_called('mgt_nearly_full').copy(tmpdir.join('lun.img'))
    sentence = expect.refused(path, errors.NoRoomForLog, 'MGT')
    assert str(60 * 1024) in sentence


def log_size(sr, written):
    return len(planned(written(sr)).log_bytes)


def test_log_that_just_fits(written):
    """MGT of 256 KiB; deleted slots are added until the log does not fit any more."""
    outcomes = []
    for slots in (110, 170, 220, 228, 229, 230, 231, 232, 240):
        sr = shapes.two_snapshots(extent_size=256 * 1024)
        for number in range(slots):
            sr.add('gone', deleted=True)
        path = written(sr)
        try:
            plan = planned(path)
        except errors.NoRoomForLog as error:
            assert error.fields['needed'] > error.fields['free']
            outcomes.append(False)
            continue
        used = plan.lun.mgt.used
        assert len(plan.log_bytes) <= redolog.room(256 * 1024, used)
        place, = plan.lun.vg.runs(plan.lun.mgt_lv, 256 * 1024 - len(plan.log_bytes), len(plan.log_bytes))
        assert (plan.log_at, len(plan.log_bytes)) == place
        assert place[0] >= plan.lun.vg.runs(plan.lun.mgt_lv, 0, used)[0][0] + used + 4096
        outcomes.append(True)
    assert outcomes[0] and not outcomes[-1]
    assert outcomes == sorted(outcomes, reverse=True)


def test_ring_without_room(written):
    """An area that has room for the old text and the final one, but not for a second one beside each."""
    sr = shapes.one(older_texts=0, text_offset=512)
    needed = 512 + -(-shapes.text_size(sr) // SECTOR) * SECTOR
    sr = shapes.one(older_texts=0, text_offset=512, area_size=4096 + needed - 1024)
    assert sr.area_size > needed + 1024
    expect.refused(written(sr), errors.NoRoomInRing, 'no free run')
    # the final text takes the first page, so that much more is enough
    sr = shapes.one(older_texts=0, text_offset=512, area_size=4096 + needed + 512)
    assert planned(written(sr)).staged[0] == 8192


def test_ring_that_is_smaller_than_the_new_text(written):
    """The old text fills it to the last byte, and the new one has a longer description."""
    sr = shapes.one(older_texts=0, text_offset=512, description='', host='')
    sr.host = 'h' * (-shapes.text_size(sr) % SECTOR)
    size = shapes.text_size(sr)
    assert size % SECTOR == 0
    sr.area_size = 512 + size
    expect.refused(written(sr), errors.NoRoomInRing, 'the largest has %d' % (512 + size))


# Uuids


def test_every_uuid_is_new_and_used_once(shape_called):
    for name in ('tree_with_clones', 'deleted_slots', 'cbt_logs', 'strays'):
        shape = shape_called(name)
        plan = planned(shape.path)
        old = set(reader.UUID.findall(' '.join(reader.identities(shape.path))))
        assert set(plan.uuids) == old
        assert plan.uuids[shape.model.uuid] == NEW
        new = list(plan.uuids.values())
        assert len(set(new)) == len(new)
        assert not set(new) & old
        assert all(identity.is_uuid(uuid) for uuid in new)
        assert plan.old_uuids() == plan.uuids


def test_the_same_sr_uuid_gives_the_same_uuids_and_nothing_else_in_common(shape_called):
    one, other = planned(shape_called('one').path), planned(shape_called('one').path)
    assert one.uuids == other.uuids
    assert one.pv_uuid != other.pv_uuid
    other = planned(shape_called('one').path, OTHER)
    assert not set(one.uuids.values()) & set(other.uuids.values())


def test_a_new_uuid_follows_from_the_sr_uuid_and_the_old_one(shape_called):
    """As Python's own uuid module has it."""
    for name in ('tree_with_clones', 'raw', 'cbt_logs'):
        plan = planned(shape_called(name).path)
        for old, new in plan.uuids.items():
            if old != plan.lun.vg.sr_uuid:
                assert new == str(uuid.uuid5(uuid.UUID(NEW), str(old)))
        assert (plan.map.sr_from, plan.map.sr_uuid) == (shape_called(name).model.uuid, NEW)
        assert plan.map.vdis == [(vdi.uuid, plan.uuids[vdi.uuid]) for vdi in plan.kept]


def test_a_uuid_that_is_taken_is_refused_by_name(shape_called):
    vdi, = shape_called('one').model.vdis
    new = identity.uuid5(NEW, vdi.uuid)
    with pytest.raises(errors.UuidTaken) as caught:
        planned(shape_called('one').path, taken={new: 'VDI'})
    assert caught.value.fields == {'vdi': vdi.uuid, 'uuid': new, 'what': 'VDI'}
    with pytest.raises(errors.UuidTaken):
        planned(shape_called('one').path, taken=[new])


def test_what_is_dropped_gets_another_uuid_when_its_own_is_taken(shape_called):
    model = shape_called('two_snapshots').model
    snap = [vdi for vdi in model.vdis if vdi.is_a_snapshot][0]
    new = identity.uuid5(NEW, snap.uuid)
    plan = planned(shape_called('two_snapshots').path, taken=[new])
    assert identity.is_uuid(plan.uuids[snap.uuid]) and plan.uuids[snap.uuid] != new


def test_a_record_without_volume_becomes_a_free_slot(shape_called):
    plan = planned(shape_called('strays').path)
    lost, = plan.lun.lost
    written = b''.join(data for _, data in plan.runs)
    assert plan.uuids[lost.uuid].encode('ascii') in written and lost.uuid in plan.uuids
    new = octets(plan.lun.mgt.rewritten(plan.uuids, {lost.uuid: ''}, {}))
    start = plan.lun.vg.runs(plan.lun.mgt_lv, lost.offset, 1024)[0][0]
    runs = [(offset, data) for offset, data in plan.runs if start <= offset < start + 1024]
    data = bytearray(octets(lost.raw))
    for offset, piece in runs:
        data[offset - start:offset - start + len(piece)] = piece
    assert b'<deleted>1</deleted>' in data and bytes(data) == new[lost.offset:lost.offset + 1024]


# Bytes


class Memory(object):
    size = 1 << 40

    def __init__(self, data):
        self.data = data

    def read_any(self, offset, length):
        return self.data[offset:offset + length]

    read = read_any


def test_staged_area_and_log_lie_in_spare_room(shape_called):
    for name in ROOMY:
        shape = shape_called(name)
        plan = planned(shape.path)
        with reader.Lun(shape.path) as lun:
            used = lun.volumes['MGT'].pieces(0, lun.mgt().length)
            text = lun.text_pieces
            area = lun.area
        start, size = plan.staged
        assert start % 4096 == 0 and size % SECTOR == 0 and area.offset + 512 <= start and start + size <= area.offset + area.size
        assert size == len(padded(plan.staged_bytes))
        final = [(area.offset, 512 + len(plan.final_text))]
        for offset, length in text + final:
            assert start + size <= offset or offset + length <= start
        for offset, length in used:
            assert plan.log_at >= offset + length or plan.log_at + len(plan.log_bytes) <= offset
        assert plan.log_bytes[-512:-504] == b'RELVMLOG'


def test_staged_bytes_are_an_area_of_their_own(shape_called):
    for name in ('one', 'wrapped_text', 'old_lvm_text'):
        plan = planned(shape_called(name).path)
        area = lvmlabel.Area(Memory(b'\0' * plan.staged[0] + plan.staged_bytes), *plan.staged)
        assert area.text == plan.staged_text
        assert area.text_crc == plan.log.text_crc == reader.lvm_crc(octets(plan.staged_text))
        assert lvmgroup.VolumeGroup(area.text).exported
        assert not lvmgroup.VolumeGroup(plan.final_text).exported


def test_runs_make_the_new_structures_and_nothing_else(shape_called, tmpdir):
    """The runs alone, put over the old image, give the new MGT and parent names; all of them differ from what was there."""
    for name in ('tree_with_clones', 'fragmented', 'raw_parent'):
        shape = shape_called(name)
        plan = planned(shape.path)
        path = shape.copy(tmpdir.join(name))
        end = 0
        for offset, data in sorted(plan.runs):
            assert offset >= end
            end = offset + len(data)
            assert damage.read(path, offset, len(data)) != data
            damage.write(path, offset, data)
        kept = dict((plan.uuids[vdi.uuid], vdi) for vdi in plan.kept)
        with reader.Lun(path) as lun:
            assert set(lun.mgt().live()) == set(kept)
            assert lun.mgt().uuid == NEW
            for uuid, vdi in kept.items():
                if vdi.disk is not None:
                    parent = lun.vhd(vdi.lv.name).parent_volume()
                    assert parent == (vdi.parent and '%s-%s' % (vdi.parent.lv.name.split('-')[0], plan.uuids[vdi.parent.uuid]))


def test_dropped_vhds_are_not_rewritten(shape_called):
    shape = shape_called('two_snapshots')
    plan = planned(shape.path)
    with reader.Lun(shape.path) as lun:
        places = [piece for vdi, _ in plan.dropped for piece in lun.volumes[vdi.lv.name].pieces(0, lun.volumes[vdi.lv.name].size)]
    assert places
    for offset, data in plan.runs:
        for start, length in places:
            assert offset + len(data) <= start or start + length <= offset


def test_runs_are_split_at_the_borders_of_segments(written):
    """Extents of 1 KiB, each in another place: a header has a border in its middle."""
    sr = Sr(3, extent_size=1024, mgt_extents=512)
    vdi = sr.add('vdi0', size=SECTOR, inflated=False)
    shapes.snapshot(sr, vdi, inflated=False)
    for each in sr.vdis:
        each.volume.fragments = 10000
    path = written(sr)
    outcome = expect.Outcome(path, damage_copy(path), expect.kept_of(sr), identity.new_uuid())
    expect.everything(outcome)
    with reader.Lun(path) as lun:
        leaf = lun.volumes[sr.vdis[0].volume.name]
        assert len(leaf.pieces(SECTOR, 1024)) == 2


def damage_copy(path):
    from conftest import copy
    return copy(path, path + '.copy')


def test_the_limit_of_children(tmpdir):
    """1,071 children, more than the 1,000 that the design promises, fit into the log of an MGT of one extent."""
    path = str(tmpdir.join('lun.img'))
    model = image.write(path, shapes.sized(1100, chain=30, diff_share=0.97))
    children = [vdi for vdi in model.vdis if vdi.parent is not None]
    assert len(children) > 1000 and model.mgt_volume.extents == 1
    plan = planned(path)
    assert len(plan.kept) == 1100
    assert len(plan.log_bytes) < 2 * MIB


def test_plan_is_pure(shape_called):
    """Nothing is read once the LUN is: the device is closed before."""
    device = blockdev.Device(shape_called('tree_with_clones').path, False)
    lun = Lun(device, Placement(device))
    device.close()
    before = device.reads
    Plan(lun, NEW)
    assert device.reads == before


@pytest.mark.parametrize('length', [0, 1, 511, 512, 513])
def test_padded(length):
    data = padded(b'x' * length)
    assert len(data) % SECTOR == 0 and len(data) - length < SECTOR
    assert data == b'x' * length + b'\0' * (len(data) - length)


def test_names_of_the_sr(shape_called):
    plan = planned(shape_called('one').path, name_label='n&w', name_description='')
    new = b''.join(data for _, data in plan.runs)
    assert b'n&amp;w' in new


def test_other_volumes_keep_their_names(shape_called):
    plan = planned(shape_called('admin_lv').path)
    assert plan.removed == []
    for name in ('scratch', 'backup.2020-01-28', 'pinned'):
        assert '%s {' % name in plan.final_text


def test_a_raw_disk_and_a_volume_named_after_it(written):
    sr = Sr(1)
    vdi = shapes.disk(sr, 'raw', vdi_type=RAW)
    sr.volumes.append(Volume('backup-of-' + vdi.uuid))
    plan = planned(written(sr))
    assert 'backup-of-%s {' % plan.uuids[vdi.uuid] in plan.final_text


def test_writes_are_listed_in_order(shape_called):
    plan = planned(shape_called('two_snapshots').path)
    found = plan.writes()
    assert [step for step, _, _ in found if step != 'apply'] == ['log', 'stage', 'switch 1', 'final', 'switch 2', 'clear log']
    assert len(found) == 9
    assert hashlib.sha256(b''.join(data for _, data in plan.runs)).hexdigest() == \
        hashlib.sha256(b''.join(data for _, data in plan.log.runs)).hexdigest()
