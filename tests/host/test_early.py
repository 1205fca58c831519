# SPDX-License-Identifier: LGPL-2.1-only
"""The work that is done while sm's attach still waits: when it is, when it is not, and what becomes of an attach that fails then."""
from __future__ import absolute_import, division, print_function

import fcntl
import os
import re
import shutil
import threading

import pytest

from dom0 import pools
from luns import damage
from lvhd import reader, shapes
from test_driver import (CLONE, IQN, ORIGINAL, PROGRAMS, SUCCESS, array, everywhere, pytest_generate_tests, series,  # noqa: F401
                         skip_without_open_iscsi)

UNMAPPED = os.path.join(PROGRAMS, "unmapped.py")
EARLY = ["device there", "lock taken", "switch 1", "lock released", "attach returned"]


def order(a, scsi_id=CLONE):
    """What the last run says has happened, in its order."""
    seen = [line for line in a.world.log().splitlines() if "relvmoiscsi: %s: " % scsi_id in line and "attach returned" in line]
    return [re.sub(" after .*", "", part) for part in seen[-1].split("%s: " % scsi_id)[1].split(", ")]


def waited(a, scsi_id=CLONE):
    """Whether nothing was done to the LUN before attach returned, in the last run."""
    seen = order(a, scsi_id)
    return "switch 1" not in seen[:seen.index("attach returned")]


def need_devices(a):
    if a.world.mode != "loop":
        pytest.skip("an image file does not answer INQUIRY: %s" % a.world.why_not_loop)


@everywhere
@series("same_target", [True, False])
def test_the_work_is_done_before_attach_returns(array, same_target):  # noqa: F811
    a = array(same_target=same_target)
    need_devices(a)
    a.attach_original()
    if same_target:
        # the array presents the clone when the session is there already
        a.pool.remove_disk(CLONE)
    before, untouched = a.traces(), damage.fingerprint(a.original)
    a.resign()
    assert order(a) == EARLY
    assert a.traces() == dict(before, disks=a.traces()["disks"])
    assert damage.fingerprint(a.original) == untouched


def test_lvm_is_asked_while_somebody_else_has_the_lock(array, tmpdir):  # noqa: F811
    a = array(same_target=False)
    need_devices(a)
    pvs, double, asked = a.world.path("/usr/sbin/pvs"), str(tmpdir.join("pvs")), str(tmpdir.join("asked"))
    shutil.move(pvs, double)
    with open(pvs, "w") as stream:
        stream.write('#!/bin/sh\n[ "$1" = --readonly ] && echo >> %s\nexec %s "$@"\n' % (asked, double))
    os.chmod(pvs, 0o755)
    with open(a.world.path("/var/lock/lvm/V_VG_XenStorage-" + a.sr.uuid), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answers = []
        resigning = threading.Thread(target=lambda: answers.append(a.create()[1]))
        resigning.start()
        assert pools.wait_until(lambda: os.path.exists(asked))
        assert reader.vg_names(a.clone) == ["VG_XenStorage-" + a.sr.uuid]
    resigning.join()
    assert answers == [SUCCESS]
    assert order(a) == EARLY
    with open(asked) as stream:
        assert len(stream.readlines()) == 1


def test_a_host_whose_sm_knows_no_qcow2_refuses_before_the_work_begins(array):  # noqa: F811
    a = array(shapes.SHAPES["qcow2_snapshots"](1), same_target=False)
    if os.path.exists(a.world.path("/opt/xensource/sm/qcow2util.py")):
        pytest.skip("this sm knows QCOW2")
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert (code, "QCOW2" in text) == ("SR_BACKEND_FAILURE_47", True)
    assert damage.fingerprint(a.clone) == untouched


def test_not_with_multipathing(array):  # noqa: F811
    a = array(same_target=False, multipath=True)
    skip_without_open_iscsi(a)
    a.world.start_multipathd()
    a.resign()
    assert waited(a)


def test_not_beside_somebody_elses_map(array):  # noqa: F811
    a = array(same_target=False)
    os.makedirs(a.world.path("/sys/block/dm-9/dm"))
    with open(a.world.path("/sys/block/dm-9/dm/uuid"), "w") as stream:
        stream.write("mpath-360000000000000000e00000000099999\n")
    a.resign()
    assert waited(a)


def test_not_on_an_original(array):  # noqa: F811
    a = array()
    config = a.world.device_config(IQN, ORIGINAL)
    assert "it is an original" in a.create(config)[1]
    assert waited(a, ORIGINAL)
    assert a.create(dict(config, force="true"))[1] == SUCCESS
    assert waited(a, ORIGINAL)


def test_not_where_the_metadata_name_no_lun(array):  # noqa: F811
    sr = shapes.one(1)
    sr.device = "/dev/sdb"
    a = array(sr)
    a.resign()
    assert waited(a)


def test_not_on_a_lun_that_was_visible_before(array):  # noqa: F811
    a = array(same_target=False)
    a.world.login(a.iqn)
    a.resign()
    assert waited(a)


def test_not_when_a_disk_does_not_answer(array):  # noqa: F811
    """It might be another path to the LUN, or another LUN of its id."""
    a = array(same_target=False)
    a.attach_original()
    disk = [name for name, scsi_id in a.world.disks().items() if scsi_id == ORIGINAL][0]
    with open(a.world.path("/sys/block/%s/device/state" % disk), "w") as stream:
        stream.write("blocked\n")
    a.resign()
    assert waited(a)


def test_not_when_two_disks_say_that_they_are_this_lun(array, tmpdir):  # noqa: F811
    a = array(same_target=False)
    need_devices(a)
    a.world.add_lun(a.iqn, 7, a.original, ORIGINAL, wwid=CLONE)
    untouched = damage.fingerprint(a.original)
    a.resign()
    assert waited(a)
    assert damage.fingerprint(a.original) == untouched


def test_an_attach_that_fails_after_the_work_is_no_refusal(array):  # noqa: F811
    a = array(same_target=False)
    need_devices(a)
    a.attach_original()
    before = a.traces()
    with a.pool.wrapped(UNMAPPED, CLONE):
        code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert "the LUN now carries SR %s, not judged" % a.uuid in text and "Repeat the command" in text
    assert reader.vg_names(a.clone) == ["VG_XenStorage-" + a.uuid]
    assert a.traces()["references"] == before["references"] and a.traces()["sessions"] == before["sessions"]
    a.resign()


def test_a_refusal_on_the_way(array):  # noqa: F811
    """SRUnavailable with the reason, and the LUN and the host are as before: as if the work had waited for attach."""
    a = array(same_target=False)
    need_devices(a)
    before, untouched = a.traces(), damage.fingerprint(a.clone)
    with a.pool.wrapped(os.path.join(PROGRAMS, "killed.py"), "eio-read", 9):
        code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "reading" in text and "failed" in text
    assert damage.fingerprint(a.clone) == untouched
    assert a.traces() == before
    a.resign()


@pytest.mark.parametrize("number", [1, 2])
def test_a_work_that_was_killed_leaves_no_lock(array, number):  # noqa: F811
    """The next run does not wait for the dead one's place in the line."""
    a = array(same_target=False)
    a.attach_original()
    with a.pool.wrapped(os.path.join(PROGRAMS, "killed.py"), "write", number):
        assert a.create()[0] == "SR_BACKEND_FAILURE"
    a.resign()
    assert pools.wait_until(lambda: not [name for name in os.listdir(a.world.path("/var/run/relvmoiscsi/line")) if name != ".lock"])
