# SPDX-License-Identifier: LGPL-2.1-only
"""A short crash exploration, and whether the exploration would notice.  `make crash` is the long one."""
from __future__ import absolute_import, division, print_function, unicode_literals

import filecmp
import io
import random
import shutil
import struct

import pytest

import crash  # noqa: F401
from crash import explorer, hostlvm, medium, recorder, scenes, states, trial, witness
from lvhd import image, reader, shapes
from lvhd.judges import lvm
from relvm import errors, identity
from relvm.engine import blockdev, resign

NO_LVM = pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))
QUICK = states.Effort(exhaustive=3, subsets=4, companions=0, tears=False, scattered=0)


@pytest.fixture(scope='module')
def directory(tmpdir_factory):
    place = tmpdir_factory.mktemp('crash')
    yield place
    shutil.rmtree(str(place))


@pytest.fixture(scope='module')
def two(directory):
    """One VDI with two snapshots."""
    return explorer.Explorer(scenes.build('two_snapshots', directory))


def check(count):
    assert count.troubles == []
    assert count.states == count.visible == count.finished > 0
    return count


def test_every_crash_state_of_the_simplest_sr(directory):
    one = explorer.Explorer(scenes.build('one', directory))
    count = check(one.first_run(states.FULL))
    assert min(count.phases.values()) > 0
    check(one.second_runs(QUICK, states.BRIEF))


def test_crash_states_of_an_sr_with_snapshots(two):
    count = check(two.first_run(states.BRIEF))
    assert min(count.phases.values()) > 0


def test_crash_states_of_a_run_that_leaves_vdis_behind(directory):
    count = check(explorer.Explorer(scenes.build('left_behind', directory)).first_run(QUICK))
    assert min(count.phases.values()) > 0


def test_crash_states_of_an_sr_with_qcow2_disks(directory):
    count = check(explorer.Explorer(scenes.build('qcow2_snapshots', directory)).first_run(QUICK))
    assert min(count.phases.values()) > 0


@pytest.mark.parametrize('name', ['resigned_before', 'resigned_then_used', 'resigned_then_used_in_place', 'killed_then_used',
                                  'sample_snaps'])
def test_crash_states_of_a_lun_with_a_history(name, directory):
    """A dead log is on the LUN: nothing of it is applied."""
    check(explorer.Explorer(scenes.build(name, directory)).first_run(QUICK))


@pytest.mark.parametrize('name', ['inflate_and_snapshot', 'relink_to_a_raw_parent'])
def test_crash_states_of_a_clone_of_a_busy_sr(name, directory):
    """What is settled goes through the log, which has to be one that recovery takes."""
    busy_sr = explorer.Explorer(scenes.build(name, directory))
    assert busy_sr.recording.events
    check(busy_sr.first_run(QUICK))


def test_crash_states_of_an_sr_that_keeps_its_snapshots(directory):
    """The run that finishes another one is asked for the same."""
    keeping = explorer.Explorer(scenes.build('keep_two_snapshots', directory))
    assert len([entry for entry in keeping.scene.expected.values() if entry]) > len(keeping.scene.model.vdis)
    check(keeping.first_run(QUICK))


def test_io_error_at_every_operation(directory):
    answers = explorer.Explorer(scenes.build('one', directory, 5)).faults()
    assert answers.troubles == []
    assert answers.number > 100


def test_copies_of_a_locked_lun_get_different_identities(two):
    answers = two.clones()
    assert answers.troubles == []
    assert answers.number > 3


def test_the_command_line_finishes_what_a_kill_left(two, directory):
    answers = two.processes(directory)
    assert answers.troubles == []
    assert answers.number > 10


@NO_LVM
def test_real_lvm_sees_what_our_reader_sees(two, directory):
    answers = two.real_lvm(directory, random.Random(1).sample(list(two.states(states.FULL)), 20))
    assert answers.troubles == []
    assert answers.number == 20


@NO_LVM
def test_lvm_uses_and_changes_nothing_on_a_locked_lun(two, directory):
    """Each command does something on the old SR, or on an exported one, so its failure says something."""
    answers = two.untouchable(directory)
    assert answers.troubles == []
    assert answers.number == len(hostlvm.COMMANDS)
    with hostlvm.Host(two.scene.base, str(directory.join('free.img'))) as host:
        free = dict((attempt.name, attempt) for attempt in host.attempts(two.scene.medium()))
    harmless = set(name for name, attempt in free.items() if not hostlvm.harm(attempt))
    # These two are for exported VGs, those two refuse a PV in any VG
    assert harmless == set(['vgimport', 'vgimport --force', 'pvcreate', 'pvremove'])


@NO_LVM
@pytest.mark.parametrize('name', ['old_lvm_text', 'lvm_2_02_130_text'])
def test_lvm_does_not_touch_the_label_of_a_locked_lun_either(name, directory):
    """A PV header of an old LVM is one that LVM 2.03 brings up to date before it writes metadata: it clears the header of the area then,
    and finds too late that the metadata has no room. The VG would be gone."""
    assert explorer.Explorer(scenes.build(name, directory)).untouchable(directory).troubles == []


def test_the_recorder_writes_what_a_device_writes(two, tmpdir):
    path = str(tmpdir.join('real.img'))
    shutil.copy(two.scene.base.path, path)
    device = blockdev.Device(path)
    try:
        scenes.determined(two.seed + 1, lambda: resign.resign(device, identity.new_uuid(), scsi_id=scenes.SCSI_ID))
    finally:
        device.close()
    simulated = str(tmpdir.join('simulated.img'))
    shutil.copy(two.scene.base.path, simulated)
    two.recording.end.write_to(simulated)
    assert filecmp.cmp(path, simulated, shallow=False)


@pytest.mark.parametrize('flush', ['after the log', 'after switch 1', 'before switch 2', 'after switch 2'])
def test_a_missing_flush_is_noticed(two, flush):
    """Each flush that a crash state depends on; the one behind `apply` is only there for reading back."""
    place = {'after the log': 1, 'after switch 1': 2, 'before switch 2': 4, 'after switch 2': 5}[flush]
    events = list(two.recording.events)
    flushes = [number for number, event in enumerate(events) if event == recorder.FLUSH]
    del events[flushes[place]]
    exploration = states.Exploration(two.scene.medium(), events, states.BRIEF, random.Random(1))
    verdicts = [two.rules.judge(state.medium) for state in exploration]
    assert [verdict for verdict in verdicts if not verdict.finished]


def test_a_power_loss_after_a_kill_takes_nothing_a_later_run_relies_on(two):
    """A killed run has written the label and not flushed it; the next run must do so before it acts on it."""
    start = [each for each in two.kills() if 'switch 1' in [write.step for write in each[2]]][0]
    check(two.second_run(states.BRIEF, start))
    assert two.recording.events[0] == recorder.FLUSH
    # The same without that flush
    _, flushed, pending = start
    visible = flushed.copy()
    for write in pending:
        visible.write(write.offset, write.data)
    hasty = scenes.Recording(visible, 99)
    rules = trial.Trial(two.scene, dict(two.rules.stale))
    rules.stale[hasty.sr_uuid] = hasty.identities
    exploration = states.Exploration(flushed, pending + hasty.events[1:], QUICK, random.Random(1))
    assert [state for state in exploration if not rules.judge(state.medium).visible]


def test_one_flipped_bit_of_a_guests_data_is_noticed(two):
    end = two.recording.end
    assert two.rules.judge(end.copy()).trouble == ''
    place = end.base.map.find(b'[vdi0-') // 512 * 512
    data = bytearray(end.read(place, 512))
    data[1] ^= 1
    end = end.copy()
    end.write(place, bytes(data))
    assert 'extents' in two.rules.judge(end).trouble


class Fake(object):
    """Writes of `lengths` sectors each, one behind the other, all in one stretch."""

    def __init__(self, directory, lengths):
        path = str(directory.join('fake-%d.img' % len(lengths)))
        with io.open(path, 'wb') as stream:
            stream.truncate(1 << 20)
        self.start = medium.Medium(medium.Base(path))
        self.events = []
        place = 0
        for length in lengths:
            data = b''.join(bytes(bytearray([place + index + 1])) * 512 for index in range(length))
            self.events.append(recorder.Write(place * 512, data, 'fake'))
            place += length

    def explore(self, effort):
        return list(states.Exploration(self.start, self.events, effort, random.Random(1)))


def test_subsets_of_what_was_not_flushed(directory):
    effort = states.Effort(exhaustive=10, subsets=7, companions=0, tears=False, scattered=0)
    assert len(Fake(directory, [1] * 10).explore(effort)) == 1 << 10
    sampled = Fake(directory, [1] * 11).explore(effort)
    assert 12 < len(sampled) <= 12 + 7
    assert sum(state.prefix for state in sampled) == 12


def test_flushed_writes_stay(directory):
    fake = Fake(directory, [1, 1, 1])
    fake.events.insert(1, recorder.FLUSH)
    assert len(fake.explore(states.BRIEF)) == 2 + 4 - 1
    assert all(0 in state.medium.sectors for state in fake.explore(states.BRIEF) if state.stretch == 1)


def test_a_write_is_torn_at_every_sector_in_both_orders(directory):
    effort = states.Effort(exhaustive=10, subsets=0, companions=4, tears=True, scattered=0)
    found = set(tuple(sorted(state.medium.sectors)) for state in Fake(directory, [4]).explore(effort))
    assert found == set([(), (0, 1, 2, 3), (0,), (0, 1), (0, 1, 2), (1, 2, 3), (2, 3), (3,)])
    found = [tuple(sorted(state.medium.sectors)) for state in Fake(directory, [2, 1]).explore(effort)]
    assert sorted(found) == sorted([(), (0,), (1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2)])


def test_what_the_check_would_find_is_refused_while_the_lun_is_whole(tmpdir):
    """An old uuid where nobody looks for one, behind the zero that ends a parent's name: the LUN must not be locked for it."""
    path = str(tmpdir.join('odd.img'))
    model = image.write(path, shapes.raw_parent(1))
    with reader.Lun(path) as whole:
        child = [name for name in whole.volumes if name.startswith('VHD-') and whole.vhd(name).differencing][0]
        place = whole.volumes[child].pieces(512, 1024)[0][0]
        header = bytearray(whole.vhd(child).header_bytes)
    header[64 + 512 - 100:64 + 512 - 28] = model.uuid.encode('utf-16-be')
    struct.pack_into(str('>I'), header, 36, reader.vhd_checksum(bytes(header), 36))
    with io.open(path, 'r+b') as stream:
        stream.seek(place)
        stream.write(bytes(header))
    before = str(tmpdir.join('before.img'))
    shutil.copy(path, before)
    device = blockdev.Device(path)
    try:
        for attempt in (resign.resign, resign.preview):
            with pytest.raises(errors.Unsound) as caught:
                attempt(device, identity.new_uuid())
            assert model.uuid in str(caught.value)
        assert device.writes == 0
    finally:
        device.close()
    assert filecmp.cmp(path, before, shallow=False)


def test_what_a_refusal_and_an_interruption_say(two):
    """A read error behind switch 1 is no refusal."""
    locked = two.left(witness.LOCKED)[0][1]
    whole = scenes.Recording(locked, 7)
    codes = set()
    for number in range(1, whole.counts['read'] + 1):
        device = recorder.Recorder(locked.copy(), recorder.Fault('read', number, ''))
        try:
            with pytest.raises(errors.ResignError) as caught:
                resign.resign(device, identity.new_uuid())
        finally:
            device.close()
        codes.add(caught.value.code())
    assert codes == set(['ReadFailed', 'ReadBackFailed', 'RecoveredOnly'])
