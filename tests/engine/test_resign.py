# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.resign, end to end: every shape of SR, LUNs that the real storage manager made, runs that end in the middle."""
from __future__ import absolute_import, division, print_function

import errno
import io
import os
import re
import struct
import subprocess
import sys
import zlib

import pytest

from conftest import copy
from luns import damage, devices, expect
from lvhd import extract, image, lvmdisk, policy, reader, remodel, samples, shapes
from lvhd.judges import libvhdi, qemu
from lvhd.judges import lvm as real_lvm
from lvhd.model import MIB, Sr
from relvm import errors, identity
from relvm.engine import blockdev, resign
from relvm.formats import lvmgroup, redolog
from relvm.show import report
from relvm.engine.lun import Lun, Placement
from relvm.octets import octets, text

SECTOR = 512
UUID = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'
# Its 4,000 deleted slots need more log than it has room for
NO_ROOM = ('mgt_nearly_full',)
NAMES = [name for name in shapes.SHAPES if name not in NO_ROOM] + ['sample ' + name for name in samples.NAMES]
# What LVM is asked about on every Python; the newest one asks about all
FOR_LVM = ('one', 'raw_parent', 'wrapped_text', 'fragmented', 'tags', 'old_lvm_text', 'sample chain5')
NEWEST = sys.version_info >= (3, 9)
needs_lvm = pytest.mark.skipif(real_lvm.missing() is not None, reason=str(real_lvm.missing()))


class Case(object):
    """original: an image that is not written; model; outcome: expect.Outcome of a resign of its copy."""

    def __init__(self, name, directory, unpacked, shape_called):
        self.name = name
        if name.startswith('sample '):
            self.original = unpacked[name[7:]]
            self.model = remodel.sr(self.original)
        else:
            self.original, self.model = shape_called(name).path, shape_called(name).model
        path = copy(self.original, directory.join('clone.img'))
        self.outcome = expect.Outcome(self.original, path, expect.kept_of(self.model), UUID)


@pytest.fixture(scope='module', params=NAMES)
def case(request, tmpdir_factory, unpacked, shape_called):
    """A finished resign of each shape and sample."""
    directory = tmpdir_factory.mktemp('resigned')
    yield Case(request.param, directory, unpacked, shape_called)
    directory.remove()


@pytest.fixture
def clone(shape_called, tmpdir):
    """A function from the name of a shape to (path of its image, path of a copy)."""
    def make(name):
        path = str(tmpdir.join(name + '.img'))
        return shape_called(name).path, copy(shape_called(name).path, path)
    return make


# Every shape


@pytest.mark.shared
def test_identity(case):
    expect.one_new_vg(case.outcome)
    assert reader.vg_names(case.outcome.path) == ['VG_XenStorage-' + UUID]


@pytest.mark.shared
def test_nothing_old_is_left(case):
    expect.nothing_old_is_left(case.outcome)


def test_lvm_metadata(case):
    expect.metadata_is_that_of_before(case.outcome)


def test_mgt(case):
    expect.mgt_is_that_of_before(case.outcome)


@pytest.mark.shared
def test_disks(case):
    expect.disks_are_those_of_before(case.outcome)
    expect.hashes_are_those_of_the_model(case.outcome, case.model)


def test_bytes_written(case):
    expect.only_identities_were_written(case.outcome)
    expect.order_of_writes(case.outcome)


def test_uuids_are_those_of_the_plan(case):
    plan = case.outcome.plan
    unseen = set(plan.uuids) - set(case.outcome.uuids)
    assert dict((uuid, plan.uuids[uuid]) for uuid in case.outcome.uuids) == case.outcome.uuids
    assert unseen == set(vdi.uuid for vdi, _ in plan.dropped if vdi.record is None)
    assert not case.outcome.result.recovered


@needs_lvm
@pytest.mark.newest
def test_real_lvm(case):
    if NEWEST or case.name in FOR_LVM:
        expect.real_lvm_agrees(case.outcome.path)


@pytest.mark.shared
def test_second_resign(case):
    path = copy(case.outcome.path, case.outcome.path + '.again')
    outcome = expect.Outcome(case.outcome.path, path, expect.all_of(case.outcome.path), OTHER)
    expect.everything(outcome)
    os.unlink(path)


# Other readers of VHDs


@pytest.mark.shared
@pytest.mark.skipif(qemu.missing() is not None, reason=str(qemu.missing()))
@pytest.mark.parametrize('name', ['one', 'two_snapshots', 'fragmented'])
def test_layers_are_the_same_for_qemu_img(name, clone, shape_called, tmpdir):
    """qemu-img reads each layer for itself."""
    original, path = clone(name)
    model = shape_called(name).model
    outcome = expect.Outcome(original, path, expect.kept_of(model), UUID)
    for number, vdi in enumerate(vdi for vdi in policy.kept(model) if vdi.vdi_type == 'vhd'):
        old = extract.volume(original, vdi.volume.name, str(tmpdir.join('old%d' % number)))
        new = extract.volume(path, 'VHD-' + outcome.uuids[vdi.uuid], str(tmpdir.join('new%d' % number)))
        assert qemu.info(new)[1:] == qemu.info(old)[1:] != (None, None)
        raw = []
        for layer in (old, new):
            assert qemu.convert(layer, layer + '.raw').status == 0
            with io.open(layer + '.raw', 'rb') as stream:
                raw.append(stream.read())
        assert raw[0] == raw[1]


@pytest.mark.skipif(libvhdi.missing() is not None, reason=str(libvhdi.missing()))
@pytest.mark.parametrize('name', ['chain5', 'fragmented'])
def test_chains_are_the_same_for_libvhdi(name, clone, shape_called, tmpdir):
    original, path = clone(name)
    model = shape_called(name).model
    outcome = expect.Outcome(original, path, expect.kept_of(model), UUID)
    leaves = [vdi for vdi in policy.kept_leaves(model) if vdi.vdi_type == 'vhd']
    chains = []
    with reader.Lun(path) as lun:
        for leaf in leaves:
            names = [volume.name for volume in lun.chain(outcome.uuids[leaf.uuid])]
            chains.append([extract.volume(path, each, str(tmpdir.join(each))) for each in names])
    disks = libvhdi.read([(paths, []) for paths in chains])
    assert len(disks) == len(leaves) > 0
    for disk, leaf, paths in zip(disks, leaves, chains):
        assert disk.error is None
        assert disk.sha256 == leaf.virtual_sha256()
        if len(paths) > 1:
            parent = os.path.basename(paths[1])
            assert disk.parent_name == ('VG_XenStorage-%s' % UUID).replace('-', '--') + '-' + parent.replace('-', '--')


# What the caller asks for


@pytest.mark.parametrize('label, description', [
    (u'new', None), (None, u'new'), (u'', u''), (u'caf\xe9 \u4e2d \U0001f4be', u'<&>"\'' + u' x' * 300), (u'n' * 1000, u'\xfc' * 1000)],
    ids=['label', 'description', 'empty', 'odd', 'long'])
def test_names(label, description, clone, shape_called):
    original, path = clone('two_snapshots')
    options = {}
    if label is not None:
        options['name_label'] = text(label.encode('utf-8'))
    if description is not None:
        options['name_description'] = text(description.encode('utf-8'))
    outcome = expect.Outcome(original, path, expect.kept_of(shape_called('two_snapshots').model), UUID, **options)
    expect.everything(outcome)
    with reader.Lun(original) as old, reader.Lun(path) as new:
        found, before = new.mgt(), old.mgt()
    for given, stored, kept in ((label, found.name_label, before.name_label),
                                (description, found.name_description, before.name_description)):
        if given is None:
            assert stored == kept
        else:
            assert given.startswith(stored) and len(stored) >= min(len(given), 230)


def test_taken_uuids_are_passed_on(clone, monkeypatch):
    asked = []

    class Taken(list):
        def __iter__(self):
            asked.append(True)
            return list.__iter__(self)
    _, path = clone('one')
    devices.run(path, UUID, taken=Taken([OTHER]))
    assert asked


def test_writes_and_flushes_of_one_vdi(clone):
    """Six flushes, the first of them for what a killed run may have left; a further write for each child."""
    for name, writes in (('one', 7), ('raw', 7), ('two_snapshots', 9), ('chain30', 36)):
        _, device = devices.run(clone(name)[1], UUID)
        assert (device.writes, device.flushes) == (writes, 6)


def test_steps(clone):
    _, path = clone('one')
    progress = devices.At('', None)
    devices.run(path, UUID, progress=progress)
    assert progress.steps == ['plan', 'log', 'switch 1', 'switched', 'apply', 'final', 'switch 2', 'clear log']


def test_nobody_has_to_listen(clone):
    progress = resign.Progress()
    _, path = clone('one')
    devices.run(path, UUID, progress=progress)
    assert reader.vg_names(path) == ['VG_XenStorage-' + UUID]


def test_a_disk_that_grew_while_it_was_cloned(clone, shape_called):
    """The footer at its end is damaged, the copy at its start is good: it is resigned, and stays as it is."""
    original, path = clone('two_snapshots')
    leaf = shape_called('two_snapshots').model.vdis[0].volume.name
    for each in (path, copy(original, path + '.original')):
        damage.volume(each, leaf, damage.size_of(each, leaf) - SECTOR, b'\0' * SECTOR)
    outcome = expect.Outcome(path + '.original', path, expect.kept_of(shape_called('two_snapshots').model), UUID)
    expect.everything(outcome)
    assert [sentence for sentence in outcome.plan.report if 'damaged' in sentence]
    with reader.Lun(path) as lun:
        assert lun.vhd('VHD-' + outcome.uuids[leaf[4:]]).damaged


def test_a_node_that_an_early_tapdisk_hid(clone, shape_called):
    """Its footers have the checksum of before: they are taken, and not touched."""
    _, path = clone('two_snapshots')
    base = shape_called('two_snapshots').model.vdis[0].parent.volume.name

    def age(data):
        data[32:36] = struct.pack('>I', 0x00010001)
        data[85] = 0
        damage.seal_footer(data)
        data[85] = 1
    damage.footer(path, base, age, damage.nothing)
    before = damage.read_volume(path, base, 0, SECTOR)
    result, _ = devices.run(path, UUID)
    name = 'VHD-' + result.plan.uuids[str(base[4:])]
    assert damage.read_volume(path, name, 0, SECTOR) == before
    assert damage.read_volume(path, name, damage.size_of(path, name) - SECTOR, SECTOR) == before
    devices.run(path, OTHER)


def test_same_uuid_is_refused(clone):
    original, path = clone('one')
    before = damage.fingerprint(path)
    with reader.Lun(path) as lun:
        own = str(lun.vg_name[-36:])
    with pytest.raises(errors.SameUuid):
        devices.run(path, own)
    assert damage.fingerprint(path) == before


def test_no_room_for_the_log(clone):
    expect.refused(clone('mgt_nearly_full')[1], errors.NoRoomForLog)


def read_all(place, prefix):
    """The text of all modules below a directory whose names begin so."""
    found = ''
    for directory, _, names in os.walk(place):
        for name in names:
            if name.startswith(prefix) and name.endswith('.py'):
                with io.open(os.path.join(directory, name), encoding='utf-8') as stream:
                    found += stream.read()
    return found


def test_reasons_are_tested():
    """Every reason that the engine gives is asked for by name somewhere in these tests."""
    tests = read_all(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'test_')
    package = os.path.dirname(os.path.dirname(os.path.abspath(resign.__file__)))
    given = set()
    for wing in ('formats', 'engine'):
        given.update(re.findall(r'errors\.([A-Z][A-Za-z0-9]+)\(', read_all(os.path.join(package, wing), '')))
    assert len(given) > 40
    assert [name for name in sorted(given) if 'errors.%s' % name not in tests] == []


@pytest.mark.parametrize('name', ['two_snapshots', 'tree_with_clones', 'opaque_refs'])
def test_snapshots_that_are_kept_stay_snapshots_of_their_disks(name, clone, shape_called):
    original, path = clone(name)
    outcome = expect.Outcome(original, path, expect.all_of(original), UUID, keep_snapshots=True)
    expect.everything(outcome)
    with reader.Lun(original) as old, reader.Lun(path) as new:
        before, after = old.mgt().live(), new.mgt().live()
    snapshots = dict((uuid, record.fields) for uuid, record in before.items() if record.fields['is_a_snapshot'] == '1')
    assert snapshots
    for uuid, fields in snapshots.items():
        found = after[outcome.uuids[uuid]].fields
        assert found['is_a_snapshot'] == '1' and found['snapshot_time'] == fields['snapshot_time']
        assert found.get('snapshot_of') == outcome.uuids.get(fields.get('snapshot_of'), fields.get('snapshot_of') and '')


# On a block device


@pytest.fixture
def looped(clone, loop):
    """(path of the original, path of the copy, loop device of the copy) of a shape with children."""
    original, path = clone('two_snapshots')
    return original, path, loop(path)


def test_block_device(looped, shape_called):
    original, path, device = looped
    outcome = expect.Outcome(original, device, expect.kept_of(shape_called('two_snapshots').model), UUID)
    assert outcome.device.is_block and outcome.device.flushes == 6
    subprocess.check_call(['sync', path])
    outcome.path = path
    expect.everything(outcome)


class Numbers(object):
    """A random source that is none."""

    def __init__(self):
        self.last = 0

    def __call__(self, count):
        self.last += count
        return bytes(bytearray((self.last + number) * 7 % 248 for number in range(count)))


def test_the_same_bytes_on_a_file_and_on_a_block_device(looped, tmpdir, monkeypatch):
    original, path, device = looped
    other = copy(original, tmpdir.join('file.img'))
    for target in (device, other):
        monkeypatch.setattr(identity.os, 'urandom', Numbers())
        devices.run(target, UUID)
    subprocess.check_call(['sync', path])
    assert subprocess.call(['cmp', path, other]) == 0


@needs_lvm
@pytest.mark.parametrize('name', ['two_snapshots', 'wrapped_text', 'old_lvm_text', 'full_ring'])
def test_real_lvm_goes_on_with_it(name, clone, tmpdir):
    """LVM writes its next texts behind ours, round by round, and what it leaves can be resigned again."""
    _, path = clone(name)
    devices.run(path, UUID)
    group = 'VG_XenStorage-' + UUID
    with real_lvm.Loop(path, read_only=False) as device:
        before = real_lvm.listing(device, 'vgs', 'vg_seqno vg_free_count').rows[0]
        for number in range(3):
            made = real_lvm.run(device, 'lvcreate', '-Zn', '-l1', '-n', 'later%d' % number, group)
            assert made.status == 0, made.err
        assert real_lvm.run(device, 'lvchange', '--addtag', 'new', group + '/MGT').status == 0
        assert real_lvm.run(device, 'lvremove', '-f', group + '/later1').status == 0
        after = real_lvm.listing(device, 'vgs', 'vg_seqno vg_free_count').rows[0]
        assert int(after['vg_seqno']) >= int(before['vg_seqno']) + 5
        assert int(after['vg_free_count']) == int(before['vg_free_count']) - 2
    with reader.Lun(path) as lun:
        assert 'later0' in lun.volumes and 'later1' not in lun.volumes and lun.volumes['MGT'].tags == ['new']
    second = copy(path, tmpdir.join('second.img'))
    outcome = expect.Outcome(path, second, expect.all_of(path), OTHER)
    expect.everything(outcome)
    expect.real_lvm_agrees(second)


# Ends in the middle. The shape has nine writes: log, stage, switch 1, three changes, final, switch 2, the log's head.

OLD, LOCKED, NEW = 'old', 'locked', 'new'
STATES = [OLD, OLD, OLD, LOCKED, LOCKED, LOCKED, LOCKED, LOCKED, NEW]


def state(path, original):
    seen, = reader.observe(path)
    before, = reader.observe(original)
    if seen == before:
        return OLD
    return {True: LOCKED, False: NEW}[seen.exported]


@pytest.mark.shared
@pytest.mark.parametrize('writes, expected', list(enumerate(STATES)))
@pytest.mark.parametrize('sr_uuid', [UUID, OTHER], ids=['same', 'other'])
def test_killed_after(writes, expected, sr_uuid, clone, shape_called):
    original, path = clone('two_snapshots')
    devices.killed(path, UUID, writes)
    assert state(path, original) == expected
    assert reader.vg_names(path) == [{OLD: reader.vg_names(original)[0]}.get(expected, 'VG_XenStorage-' + UUID)]
    result, device = devices.run(path, sr_uuid)
    assert result.recovered == (expected == LOCKED)
    seen, = reader.observe(path)
    assert (seen.vg_name, seen.exported) == ('VG_XenStorage-' + sr_uuid, False)
    outcome = finished(original, path, sr_uuid, shape_called('two_snapshots').model)
    expect.nothing_old_is_left(outcome)
    expect.mgt_is_that_of_before(outcome)
    expect.disks_are_those_of_before(outcome)
    finish, again = (3 if expected == LOCKED else 0), (5 if sr_uuid == OTHER or expected == OLD else 0)
    assert device.flushes == 1 + finish + again


def finished(original, path, sr_uuid, model):
    """An Outcome of a resign that was made before."""
    outcome = expect.Outcome.__new__(expect.Outcome)
    outcome.original, outcome.path, outcome.sr_uuid = original, path, sr_uuid
    outcome.kept = expect.kept_of(model)
    outcome.names_given = False
    outcome.uuids = expect.mapping(original, path)
    return outcome


@pytest.fixture
def locked(clone):
    """(path of the original, path of its clone) whose resign as UUID was killed right behind switch 1."""
    original, path = clone('two_snapshots')
    devices.killed(path, UUID, 3)
    return original, path


@needs_lvm
def test_real_lvm_sees_a_locked_lun_and_uses_it_not(locked):
    with real_lvm.Loop(locked[1]) as device:
        rows = real_lvm.listing(device, 'vgs', 'vg_name vg_attr')
        assert [(row['vg_name'], row['vg_attr'][2]) for row in rows.rows] == [('VG_XenStorage-' + UUID, 'x')]
        assert real_lvm.listing(device, 'lvs', 'lv_name').rows == []
        assert real_lvm.run(device, 'lvremove', '-f', 'VG_XenStorage-%s/MGT' % UUID).status != 0


def test_killed_again_and_again(locked, shape_called):
    """Each run that finishes the first is killed one write later."""
    original, path = locked
    for writes in range(5):
        devices.killed(path, OTHER, writes)
        assert state(path, original) == LOCKED
    result, _ = devices.run(path, OTHER)
    assert result.recovered
    expect.nothing_old_is_left(finished(original, path, OTHER, shape_called('two_snapshots').model))


def test_killed_between_the_two_resigns(locked, shape_called):
    """The first is finished, the second has not begun: the LUN is an ordinary SR with the first one's uuid."""
    original, path = locked
    # three changes, final, switch 2, the log's head
    devices.killed(path, OTHER, 6)
    assert state(path, original) == NEW
    assert reader.vg_names(path) == ['VG_XenStorage-' + UUID]
    result, _ = devices.run(path, OTHER)
    assert not result.recovered
    expect.disks_are_those_of_before(finished(original, path, OTHER, shape_called('two_snapshots').model))


def test_recovery_alone(locked, shape_called):
    original, path = locked
    device = blockdev.Device(path)
    progress = devices.At('', None)
    try:
        assert resign.recover(device, progress) == UUID
        assert resign.recover(device, progress) == ''
        assert device.flushes == 3
    finally:
        device.close()
    assert progress.steps == ['switched', 'apply', 'final', 'switch 2', 'clear log']
    outcome = finished(original, path, UUID, shape_called('two_snapshots').model)
    expect.one_new_vg(outcome)
    expect.nothing_old_is_left(outcome)
    expect.disks_are_those_of_before(outcome)


def test_two_clones_of_a_locked_lun_do_not_become_twins(locked, tmpdir):
    _, path = locked
    twin = copy(path, tmpdir.join('twin.img'))
    for each, uuid in ((path, UUID), (twin, OTHER)):
        devices.run(each, uuid)
    assert reader.identities(path) & reader.identities(twin) == set()


def test_preview_of_a_locked_lun(locked):
    _, path = locked
    before = damage.fingerprint(path)
    device = blockdev.Device(path, False)
    try:
        plan, interrupted = resign.preview(device, OTHER)
        assert interrupted and plan.sr_uuid == OTHER
        data = report.preview(device, OTHER)
    finally:
        device.close()
    assert (data['locked'], data['possible'], data['reasons'], data['sr_uuid']) == (True, True, [], UUID)
    assert damage.fingerprint(path) == before


def test_preview_of_an_ordinary_lun(clone):
    _, path = clone('two_snapshots')
    before = damage.fingerprint(path)
    device = blockdev.Device(path, False)
    try:
        plan, interrupted = resign.preview(device, UUID, 'label', 'description', [OTHER])
    finally:
        device.close()
    assert not interrupted and plan.sr_uuid == UUID
    assert damage.fingerprint(path) == before


# A log that is dead


def test_log_of_a_run_that_never_switched_is_not_applied(clone, shape_called):
    """Killed before switch 1, then used under the old identity: the log's bytes would destroy what is there now."""
    original, path = clone('two_snapshots')
    plans = []
    devices.killed(path, UUID, 2, progress=devices.At('log', lambda: None))
    with reader.Lun(path) as lun:
        tail = lun.volumes['MGT'].size - 512
        assert lun.volumes['MGT'].read(tail, 8) == b'RELVMLOG'
    leaf = shape_called('two_snapshots').model.vdis[0].volume.name
    with reader.Lun(path) as lun:
        locator = lun.vhd(leaf).locators[0]
    damage.mgt(path, b'<name_label>vdi0</name_label>', b'<name_label>used</name_label>')
    used = copy(path, path + '.used')
    result, device = devices.run(path, UUID)
    plans.append(result.plan)
    assert not result.recovered and locator
    outcome = finished(used, path, UUID, shape_called('two_snapshots').model)
    expect.mgt_is_that_of_before(outcome)
    expect.disks_are_those_of_before(outcome)
    with reader.Lun(path) as lun:
        assert [record.label for record in lun.mgt().live().values()][0] == 'used'


def test_head_that_was_not_cleared_is_dead_as_well(clone, shape_called):
    original, path = clone('two_snapshots')
    devices.killed(path, UUID, 8)
    first = reader.identities(path)
    damage.mgt(path, b'<name_label>vdi0</name_label>', b'<name_label>used</name_label>')
    result, _ = devices.run(path, OTHER)
    assert not result.recovered
    assert reader.identities(path) & first == set()


def test_head_says_that_it_is_over(clone):
    _, path = clone('one')
    devices.run(path, UUID)
    with reader.Lun(path) as lun:
        head = lun.volumes['MGT'].read(lun.volumes['MGT'].size - 512, 512)
    assert head[:8] == b'RELVMLOG' and head[92:96] == b'\1\0\0\0'


# A label on another area


def tail_of_mgt(path, offset, data):
    """Write into the last bytes of a locked LUN's MGT; offset counts from its end."""
    damage.volume(path, 'MGT', damage.size_of(path, 'MGT') - offset, data)


def another_log(path, other):
    """The log of another interrupted resign."""
    size = damage.size_of(other, 'MGT')
    damage.volume(path, 'MGT', size - 65536, damage.read_volume(other, 'MGT', size - 65536, 65536))


def staged_area(path):
    with reader.Lun(path) as lun:
        return lun.area


def refused_as_it_is(path, *said):
    expect.refused(path, errors.UnknownTool, str(staged_area(path).offset), *said)


@pytest.mark.parametrize('offset, data', [(512, b'RELVMLOH'), (512, b'\0' * 512), (500, None), (480, b'x' * 16), (600, b'xyzzy')])
def test_locked_with_a_damaged_log(offset, data, locked):
    path = locked[1]
    there = damage.read_volume(path, 'MGT', damage.size_of(path, 'MGT') - offset, len(data or b'.'))
    # None: one bit of what is there
    tail_of_mgt(path, offset, data or bytes(bytearray([bytearray(there)[0] ^ 1])))
    assert damage.read_volume(path, 'MGT', damage.size_of(path, 'MGT') - offset, len(there)) != there
    refused_as_it_is(path, 'missing or damaged')


def test_locked_with_the_log_of_another_run(locked, clone, tmpdir):
    original, path = locked
    other = copy(original, tmpdir.join('other.img'))
    devices.killed(other, OTHER, 3)
    another_log(path, other)
    refused_as_it_is(path, 'another resign')


def test_locked_with_another_text(locked):
    """A log is for one text alone, as its checksum says."""
    _, path = locked
    damage.replace(path, b'creation_time', b'creation_tame')
    expect.refused(path, errors.ForeignField)


def test_locked_with_the_text_of_somebody_else(locked):
    _, path = locked
    damage.replace(path, b'max_lv = 0', b'max_lv = 1')
    refused_as_it_is(path, 'another resign')


def test_locked_and_imported_by_somebody(locked):
    """vgimport takes the lock away."""
    _, path = locked
    damage.replace(path, b', "EXPORTED"', b'')
    refused_as_it_is(path, 'not locked')


def test_locked_without_mgt(locked):
    _, path = locked
    damage.replace(path, b'MGT {', b'MGU {')
    refused_as_it_is(path, 'no metadata volume')


def test_locked_with_a_mgt_of_two_segments(locked):
    _, path = locked
    with reader.Lun(path) as lun:
        last = lun.pv['pe_count'] - 1

    def split(data):
        start = data.index(b'MGT {')
        old = b'segment_count = 1'
        new = (b'segment_count = 2\nsegment2 { start_extent = 1 extent_count = 1 type = "striped" stripe_count = 1 '
               b'stripes = ["pv0", %d] }' % last)
        # the staged area has no room for a longer text
        data = data[:start] + data[start:].replace(old, new, 1)
        return re.sub(b'creation_(host = "guest"|time = [0-9]+)\n', b'', data)
    damage.text(path, split)
    refused_as_it_is(path, 'no metadata volume')


def move_area(path, target):
    """Copy header and text of the metadata area to another place and let the label point there."""
    with reader.Lun(path) as lun:
        data, size = lun.text, lun.area.size
    size = 512 + -(-len(data) // 512) * 512
    damage.write(path, target, lvmdisk.area_header(target, size, [(512, len(data), reader.lvm_crc(data))]) + data)
    damage.label(path, damage.put(104, struct.pack('<QQ', target, size)))


def test_label_on_an_unknown_place(clone):
    _, path = clone('one')
    move_area(path, 2 * MIB)
    refused_as_it_is(path, 'not locked')


def test_label_on_an_unknown_place_with_an_exported_group(clone):
    _, path = clone('one')
    damage.replace(path, b'"WRITE"]\nflags = []\nextent', b'"WRITE", "EXPORTED"]\nflags = []\nextent')
    move_area(path, 2 * MIB)
    refused_as_it_is(path, 'missing or damaged')


def test_locked_lun_whose_area_was_moved(locked):
    """Everything is there, but not where the log says."""
    _, path = locked
    move_area(path, 2 * MIB)
    refused_as_it_is(path, 'another resign')


def test_locked_lun_with_another_pv_uuid(locked):
    """As after pvchange --uuid."""
    _, path = locked
    with reader.Lun(path) as lun:
        old = lun.label.pv_id
    new = 'zzzzzz' + old[6:]
    damage.replace(path, old.encode('ascii'), new.encode('ascii'))
    damage.label(path, damage.put(32, new.replace('-', '').encode('ascii')))
    refused_as_it_is(path, 'another resign')


def forge(path, runs, area_size=None):
    """Replace the log of a locked LUN by one that is in force and holds these runs."""
    device = blockdev.Device(path)
    try:
        log = resign.find_log(device, Placement(device))
    finally:
        device.close()
    log.runs = runs
    log.area_size = area_size or log.area_size
    data = log.render()
    tail_of_mgt(path, len(data), data)


IN_MGT = 22528 * SECTOR


@pytest.mark.parametrize('runs', [[(IN_MGT, b'x' * 600), (IN_MGT, b'y' * 600)], [(IN_MGT, b'x' * 600), (IN_MGT + 599, b'y')],
                                  [(IN_MGT + 100, b'y' * 5), (IN_MGT, b'x' * 600)], [(1 << 20, b'x')], [(IN_MGT - 1, b'xy')],
                                  [(IN_MGT + 4 * MIB - 512, b'x')]],
                         ids=['same', 'end', 'inside', 'metadata area', 'in front of a volume', 'own head'])
def test_forged_log(runs, locked):
    """It is in force, but this engine writes no such log."""
    forge(locked[1], runs)
    refused_as_it_is(locked[1], 'would change more than volumes')


@pytest.mark.parametrize('size', [22528 * SECTOR - 4096 + 512, 22528 * SECTOR - 4096 - 1, 1 << 40])
def test_forged_log_with_another_area(size, locked):
    forge(locked[1], [], size)
    refused_as_it_is(locked[1], 'would change more than volumes')


def test_forged_log_whose_staged_area_is_where_the_final_one_goes(clone):
    """The staged area follows its own final one too closely: as if another engine had put it there."""
    _, path = clone('one')
    devices.killed(path, UUID, 3)
    with reader.Lun(path) as lun:
        data = lun.text
    target = 4096 + 512
    damage.write(path, target, lvmdisk.area_header(target, 8192, [(512, len(data), reader.lvm_crc(data))]) + data)
    damage.label(path, damage.put(104, struct.pack('<QQ', target, 8192)))
    with reader.Lun(path) as lun:
        size = lun.volumes['MGT'].size
        head = bytearray(lun.volumes['MGT'].read(size - 512, 512))
    struct.pack_into('<QQ', head, 64, target, 8192)
    struct.pack_into('<I', head, 12, zlib.crc32(bytes(head[16:])) & 0xffffffff)
    tail_of_mgt(path, 512, bytes(head))
    refused_as_it_is(path, 'would change more than volumes')


@pytest.mark.parametrize('name, said', [('one', 'MGT says SR'), ('two_snapshots', 'it names SR')])
def test_forged_log_that_leaves_an_unsound_sr(name, said, clone):
    """A log that is in force is applied; what does not pass the check stays locked."""
    _, path = clone(name)
    devices.killed(path, UUID, 3)
    forge(path, [])
    with pytest.raises(errors.CheckFailed) as caught:
        devices.run(path, OTHER)
    assert said in str(caught.value)
    seen, = reader.observe(path)
    assert seen.exported


# Somebody else at work


def interfered(path, step, function, **options):
    device = devices.Recording(path)
    try:
        return resign.resign(device, UUID, progress=devices.At(step, function), **options)
    finally:
        device.close()


def extension(version, flags):
    return damage.put(136, struct.pack('<II', version, flags))


@pytest.mark.parametrize('step', ['switch 1', 'apply', 'switch 2', 'clear log'])
def test_lvm_that_rewrites_the_label(step, clone, shape_called):
    """A newer LVM sets a flag of its own in the label; it is kept, and nothing else depends on it."""
    original, path = clone('old_lvm_text')
    interfered(path, step, lambda: damage.label(path, extension(2, 3)))
    outcome = finished(original, path, UUID, shape_called('old_lvm_text').model)
    with reader.Lun(path) as lun:
        assert lun.label.extension == (2, 3)
    expect.nothing_old_is_left(outcome)
    expect.disks_are_those_of_before(outcome)


@pytest.mark.parametrize('sector', [0, 2, 3, 7])
def test_other_sectors_of_the_first_page_are_kept(sector, clone):
    _, path = clone('one')
    damage.write(path, sector * 512, b'of somebody else')
    devices.run(path, UUID)
    assert damage.read(path, sector * 512, 16) == b'of somebody else'


def new_text(path):
    damage.replace(path, b'max_lv = 0', b'max_lv = 1')


def new_uuid_of_pv(path):
    damage.label(path, damage.put(32, b'zzzzzz'))


def log_of_another(path):
    tail_of_mgt(path, 512, b'y')


def body_of_another(path):
    tail_of_mgt(path, 600, b'y')


def staged_by_another(path):
    plan_area = 8192
    damage.write(path, staged_offset(path, plan_area), b'y' * 16)


def staged_offset(path, page):
    """The staged area is the first page with a header that is not the live area's."""
    with reader.Lun(path) as lun:
        live = lun.area.offset
    while True:
        try:
            if page != live and reader.read_area(reader.Device(path), page):
                return page
        except reader.BadImage:
            pass
        page += 4096


def pre_commit(path):
    """An LVM command is at work: it has named its text in the second raw location."""
    damage.area(path, damage.put(64, damage.read(path, 4096 + 40, 24)), damage.seal_area)


@pytest.mark.parametrize('function', [new_text, pre_commit, new_uuid_of_pv, log_of_another, body_of_another, staged_by_another])
def test_changed_before_switch_1(function, clone):
    _, path = clone('two_snapshots')
    names = reader.vg_names(path)
    with pytest.raises(errors.Changing) as caught:
        interfered(path, 'switch 1', lambda: function(path))
    assert 'Detach' in str(caught.value)
    assert [seen.exported for seen in reader.observe(path)] == [False]
    assert reader.vg_names(path) == names or function is new_uuid_of_pv


def test_label_gone_before_switch_1(clone):
    _, path = clone('one')
    with pytest.raises(errors.NoLabel):
        interfered(path, 'switch 1', lambda: damage.write(path, 512, b'\0' * 512))


def unlock(path):
    damage.replace(path, b', "EXPORTED"', b'')


@pytest.mark.parametrize('step', ['apply', 'final', 'switch 2'])
@pytest.mark.parametrize('function, said', [(unlock, ''), (new_uuid_of_pv, ''), (new_text, '')])
def test_changed_while_locked(step, function, said, clone):
    """It is said to be an interruption: the LUN is not what it was before."""
    _, path = clone('two_snapshots')
    with pytest.raises(errors.Interrupted) as caught:
        interfered(path, step, lambda: function(path))
    if step == 'switch 2':
        assert type(caught.value) is errors.ChangedWhileLocked
    assert said in str(caught.value)


def test_contents_changed_while_locked(clone, shape_called):
    """The check of everything finds a disk that did not take a write, or whoever else did this."""
    _, path = clone('two_snapshots')

    def undo():
        with reader.Lun(path) as lun:
            name = [name for name in lun.volumes if name.startswith('VHD-') and lun.vhd(name).differencing][0]
        damage.header(path, name, damage.put(0, b'CXSPARSE'))
    device = Quiet(path)
    device.hook = undo
    try:
        with pytest.raises(errors.CheckFailed) as caught:
            resign.resign(device, UUID)
    finally:
        device.close()
    assert 'header is damaged' in str(caught.value)
    assert [seen.exported for seen in reader.observe(path)] == [True]


class Quiet(devices.Recording):
    """Calls `hook` behind the flush of a step, before what was written is read back."""

    when = 'applying the log'

    def flush(self):
        devices.Recording.flush(self)
        if self.step == self.when:
            self.hook()


@pytest.mark.parametrize('step', ['switch 1', 'switch 2'])
def test_label_that_reads_back_as_rubbish(step, clone):
    """It was written, so this is no refusal."""
    _, path = clone('one')
    device = Quiet(path)
    device.when = step
    device.hook = lambda: damage.write(path, 512 + 100, b'\xff' * 8)
    try:
        with pytest.raises(errors.ChangedWhileLocked) as caught:
            resign.resign(device, UUID)
    finally:
        device.close()
    assert step in str(caught.value) and 'checksum' in str(caught.value)


def test_final_area_that_does_not_read_back(clone):
    _, path = clone('one')
    with pytest.raises(errors.ChangedWhileLocked) as caught:
        interfered(path, 'switch 2', lambda: damage.write(path, 4096, b'\0' * 16))
    assert 'offset 4096' in str(caught.value)
    assert [seen.exported for seen in reader.observe(path)] == [True]
    result, _ = devices.run(path, OTHER)
    assert result.recovered


class Deaf(devices.Recording):
    """A device that says yes and does not write the label: a lying cache."""

    lies = 0

    def write(self, offset, data):
        if offset == 0:
            self.lies += 1
            if self.lies == self.stop_after:
                self.writes += 1
                return
        blockdev.Device.write(self, offset, data)


@pytest.mark.parametrize('which', [1, 2])
def test_label_that_does_not_read_back(which, clone):
    original, path = clone('one')
    with pytest.raises(errors.ChangedWhileLocked) as caught:
        devices.run(path, UUID, stop_after=which, device_class=Deaf)
    assert 'switch %d' % which in str(caught.value) and 'does not read back' in str(caught.value)
    assert state(path, original) == [OLD, LOCKED][which - 1]
    devices.run(path, OTHER)


# Errors of the device


class Failing(devices.Recording):
    """The nth read, write or flush fails; `labels` counts the writes of a label so far."""

    operation, number = '', 0
    count = labels = 0

    def fail(self, operation):
        if operation == self.operation:
            self.count += 1
            if self.count == self.number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _read(self, length):
        self.fail('read')
        return devices.Recording._read(self, length)

    def _write(self, data):
        if os.lseek(self.fd, 0, 1) == 0:
            self.labels += 1
        self.fail('write')
        return devices.Recording._write(self, data)

    def _forget_cache(self):
        self.fail('flush')


def failing(path, operation, number):
    """The error of a run in which one operation fails, and the device; None when there are fewer operations."""
    device = Failing(path)
    device.operation, device.number = operation, number
    try:
        resign.resign(device, UUID)
    except errors.ResignError as error:
        return error, device
    finally:
        device.operation = ''
        device.close()
    return None, device


@pytest.mark.shared
@pytest.mark.parametrize('operation', ['read', 'write', 'flush'])
def test_every_single_operation_fails_once(operation, clone, tmpdir):
    """Before the label is written a failing read is a refusal, afterwards everything is an interruption. A second run goes through."""
    original, _ = clone('raw_parent')
    number = 0
    while True:
        number += 1
        path = copy(original, tmpdir.join('failing.img'))
        error, device = failing(path, operation, number)
        if error is None:
            break
        assert 'Input/output error' in str(error)
        if device.labels:
            assert isinstance(error, errors.Interrupted)
        elif operation == 'read':
            assert isinstance(error, errors.Refused)
            assert type(error) is errors.ReadFailed
        else:
            assert isinstance(error, errors.Interrupted)
        if operation == 'read' and device.labels:
            assert type(error) is errors.ReadBackFailed
        if operation == 'write':
            assert type(error) is errors.WriteFailed
        if operation == 'flush':
            assert type(error) is errors.FlushFailed
        if not device.labels:
            assert state(path, original) == OLD
        devices.run(path, OTHER)
        assert reader.vg_names(path) == ['VG_XenStorage-' + OTHER]
    assert number > {'read': 20, 'write': 7, 'flush': 6}[operation]


def test_failure_of_a_recovery_and_of_what_follows(locked, monkeypatch):
    """The interrupted run is finished, the second resign is refused: not a refusal, as the LUN did change."""
    original, path = locked

    def refuse(*_):
        raise errors.NoRoomForLog(free=0, needed=1)
    monkeypatch.setattr(redolog, 'check_room', refuse)
    with pytest.raises(errors.RecoveredOnly) as caught:
        devices.run(path, OTHER)
    assert UUID in str(caught.value) and 'unused bytes' in str(caught.value)
    assert state(path, original) == NEW
    monkeypatch.undo()
    result, _ = devices.run(path, OTHER)
    assert not result.recovered


def test_an_sr_of_small_extents(written, tmpdir):
    """256 KiB instead of sm's 4 MiB."""
    sr = Sr(2, extent_size=256 * 1024)
    vdi = shapes.disk(sr, 'vdi0')
    shapes.snapshot(sr, vdi)
    original = written(sr)
    outcome = expect.Outcome(original, copy(original, tmpdir.join('clone.img')), expect.kept_of(sr), UUID)
    expect.everything(outcome)


@pytest.mark.newest
@pytest.mark.shared
def test_more_than_a_thousand_children(tmpdir):
    original = str(tmpdir.join('large.img'))
    model = image.write(original, shapes.sized(1100, chain=30, diff_share=0.97))
    outcome = expect.Outcome(original, copy(original, tmpdir.join('clone.img')), expect.kept_of(model), UUID)
    expect.one_new_vg(outcome)
    expect.order_of_writes(outcome)
    expect.disks_are_those_of_before(outcome)


def test_result_is_the_plan(clone):
    """The final text on the LUN is the one that the plan, and so the preview, had."""
    _, path = clone('two_snapshots')
    result, _ = devices.run(path, UUID)
    with reader.Lun(path) as lun:
        assert lun.text == octets(result.plan.final_text)
        assert lun.label.pv_id.replace('-', '') == result.plan.pv_uuid
    device = blockdev.Device(path, False)
    try:
        assert Lun(device, Placement(device)).vg.text == result.plan.final_text
    finally:
        device.close()
    assert lvmgroup.VolumeGroup(result.plan.staged_text).exported
