# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: while a clone still has the old identity, what uses the attached original waits; from switch 1 on it goes on.

The driver is stopped before its third write, which is switch 1 (behind the log and the staged metadata), and before its fourth.
"""

import signal

import pytest
from dom0 import stopped
from dom0.world import lock_lines
from dom0.xapi import XapiError
from inside import clones, devices, pool
from inside.calls import Call, wait_until_stopped
from inside.command import wait_until
from inside.guestworld import lvm_lock
from lvhd import reader, shapes

MIB = pool.MIB


SM_LVM_LOCK = "/run/lock/sm/.nil/lvm"


def waiting(*paths):
    """How many processes wait for a lock on one of the files."""
    return sum(line[1] == "->" for path in paths for line in lock_lines(path))


class Observed:
    """What was seen before switch 1, after it, and at the end."""


@pytest.fixture(scope="module")
def observed(world, toolstack):
    seen = Observed()
    original = clones.Original(world, toolstack, "original", shapes.one(3, free_extents=20))
    clone = clones.Clone(original, "clone")
    seen.original = original
    vdi = pool.disks(toolstack, original.sr)[0]
    started = []
    toolstack.wrapper = ["/usr/bin/python3", stopped.__file__, "3,4"]
    resigning = Call(pool.resign, toolstack, clone.config, on_start=started.append)
    wait_until(lambda: started, "driver")
    toolstack.wrapper = []
    driver = started[0]
    wait_until_stopped(driver, resigning)

    creating = Call(toolstack.vdi_create, original.sr, 8 * MIB)
    attaching = Call(toolstack.vdi_attach, vdi)
    # The LVM command of one of them waits for LVM's lock; that of the other waits for sm's lock around the first.
    wait_until(lambda: waiting(lvm_lock(original.vg)) and waiting(lvm_lock(original.vg), SM_LVM_LOCK) >= 2, "two that wait", 300)
    seen.finished_before = [call for call in (creating, attaching) if not call.is_alive()]
    seen.names_before = reader.vg_names(clone.path)
    seen.mapped_before = devices.lv_luns(original.vg)

    driver.send_signal(signal.SIGCONT)
    wait_until_stopped(driver, resigning)
    seen.created = creating.answer()
    try:
        attaching.answer()
    except XapiError as error:
        # sm's own: an attach that scans while a create is half done meets a volume without a VHD in it
        if "scan-error" not in str(error):
            raise
        toolstack.vdi_attach(vdi)
    seen.names_between = reader.vg_names(clone.path)
    seen.mapped_between = devices.lv_luns(original.vg)
    seen.driver_alive = resigning.is_alive()

    driver.send_signal(signal.SIGCONT)
    seen.answer = resigning.answer()
    seen.vdi = vdi
    seen.left_over = world.left_over(clone.scsi_id, clone.own_iqn)
    seen.clone = clone
    return seen


def test_both_wait_before_switch_1(observed):
    assert observed.finished_before == []
    assert observed.names_before == [observed.original.vg]
    assert devices.dm_name(observed.original.vg, "VHD-" + observed.vdi) not in observed.mapped_before


def test_both_go_on_after_switch_1(observed):
    assert observed.driver_alive
    assert observed.names_between != [observed.original.vg]
    assert observed.mapped_between[devices.dm_name(observed.original.vg, "VHD-" + observed.vdi)] == {observed.original.scsi_id}
    assert set().union(*observed.mapped_between.values()) == {observed.original.scsi_id}


def test_new_disk_is_on_the_original_alone(observed):
    with reader.Lun(observed.original.path) as lun:
        assert "VHD-" + observed.created in lun.volumes
    with reader.Lun(observed.clone.path) as lun:
        assert "VHD-" + observed.created not in lun.volumes


def test_resign_succeeds(observed):
    assert pool.says_resigned(observed.answer)
    assert observed.left_over == []
    assert observed.clone.kept_as_on_the_original()


@pytest.fixture(scope="module")
def twice(world, toolstack):
    """Two sr-creates for one LUN at once: (answers, SR uuid of each, clone, what is wrong)."""
    original = clones.Original(world, toolstack, "twice", shapes.one(4))
    clone = clones.Clone(original, "twice-clone")
    calls = [Call(pool.resign, toolstack, clone.config, label) for label in ("first", "second")]
    answers = [call.answer() for call in calls]
    runs = [run for run in toolstack.runs if run.command == "sr_create"][-2:]
    problems = world.left_over(clone.scsi_id, clone.own_iqn) + clones.original_problems(original, world)
    return answers, [run.sr_uuid for run in runs], clone, problems


def test_two_calls_for_one_lun_are_never_both_refused(twice):
    answers, uuids, clone, problems = twice
    resigned = [pool.says_resigned(answer) for answer in answers]
    assert any(resigned)
    assert all(done or answer.code == "SR_BACKEND_FAILURE_47" for done, answer in zip(resigned, answers)), answers
    assert reader.vg_names(clone.path)[0] in [pool.vg_name(uuid) for uuid in uuids]
    assert len(reader.vg_names(clone.path)) == 1
    assert problems == []
    assert clone.kept_as_on_the_original()
