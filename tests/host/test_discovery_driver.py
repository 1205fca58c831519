# SPDX-License-Identifier: LGPL-2.1-only
"""discover=true on a dom0 double: a target with an original, two clones, a foreign SR and a blank LUN; what is told of each, to whom it
reads like sm's own list, and that the host is afterwards as it was. Every generation with ALL_GENERATIONS, or the one of SM_TREE."""
from __future__ import absolute_import, division, print_function

import os
import re
import signal
import threading

import pytest

from dom0 import pools
from dom0.world import lock_lines
from luns import damage
from lvhd import image, shapes
from relvm.pool import answers
from test_driver import CLONE, IQN, MARKER, ORIGINAL, OTHER_IQN, Array, array, pytest_generate_tests  # noqa: F401 (fixtures)

SECOND = "360000000000000000e00000000010003"
FOREIGN = "360000000000000000e00000000010004"
BLANK = "360000000000000000e00000000010005"
ALL = [ORIGINAL, CLONE, SECOND, FOREIGN, BLANK]
CORE = "test_a_target_with_which_there_was_no_session"
ALIEN = "ffffffff-ffff-4fff-8fff-ffffffffff00"


@pytest.fixture(autouse=True)
def one_of_them(request):
    """It rides on sm's login, which has tests of its own: by default one test, of one generation for each interpreter."""
    profile = request.node.callspec.params["profile"]
    if not pools.all_of_them() and (profile != pools.profiles()[-1] or request.node.originalname != CORE):
        pytest.skip("with ALL_GENERATIONS")


def everywhere(function):
    function.everywhere = True
    return function


class Full(Array):
    """The target shows five LUNs. The foreign SR says of itself that it was last used where it is."""

    def present(self, same_target, addresses, chap):
        Array.present(self, same_target, addresses, chap)
        if not same_target:
            self.world.add_lun(self.iqn, 0, self.original, ORIGINAL)
        directory = os.path.dirname(self.original)
        self.images = {ORIGINAL: self.original, CLONE: self.clone}
        foreign = shapes.one(2)
        foreign.device = "/dev/disk/by-scsid/%s/sda" % FOREIGN
        for number, (scsi_id, model) in enumerate([(SECOND, self.sr), (FOREIGN, foreign), (BLANK, None)]):
            path = self.images[scsi_id] = os.path.join(directory, "%d.img" % number)
            if model is None:
                with open(path, "wb") as stream:
                    stream.truncate(64 << 20)
            else:
                image.write(path, model)
            self.world.add_lun(self.iqn, number + 2, path, scsi_id)
        self.foreign = foreign

    def discover(self, kind=None, **config):
        """{SCSI id: what is told}, and the XML in self.xml."""
        self.xml = self.xapi.sr_probe(kind or self.TYPE, dict(config, discover="true"))
        assert self.xapi.runs[-1].stderr == ""
        return dict((lun["SCSIid"], lun) for lun in answers.discovered(self.xml))

    def look_at_target(self, **more):
        config = self.world.device_config(self.iqn, **more)
        return self.discover(login="true", **config)

    def start_look(self, iqn, on_start):
        """A look at a target; on_start(process) is called when it has begun."""
        config = dict(self.world.device_config(iqn), discover="true", login="true", SRmaster="true")
        self.xapi.exec_driver("relvmoiscsi", "sr_probe", {"device_config": config, "sr_sm_config": {}}, on_start=on_start)

    def sums(self):
        return dict((scsi_id, damage.fingerprint(path)) for scsi_id, path in self.images.items())


ARRAY = Full


def codes(lun):
    return [reason["code"] for reason in lun["reasons"]]


def assert_told(a, found):
    """What every look at all five has to say while the original is attached."""
    assert sorted(found) == ALL
    for scsi_id, lun in found.items():
        assert lun["possible"] is (scsi_id in (CLONE, SECOND)), lun
        assert lun["LUNid"] == str(ALL.index(scsi_id)) and lun["vendor"] == "DOUBLE" and lun["serial"]
        assert lun["size"] == os.path.getsize(a.images[scsi_id]) and lun["locked"] is False
    uuid = a.sr.uuid
    assert [(found[scsi_id]["sr_uuid"], found[scsi_id]["copy_of"], found[scsi_id]["used_by"]) for scsi_id in ALL] == [
        (uuid, "", uuid), (uuid, uuid, ""), (uuid, uuid, ""), (a.foreign.uuid, "", ""), ("", "", "")]
    assert [codes(found[scsi_id]) for scsi_id in ALL] == [["InUse"], [], [], ["Original"], ["NoLabel"]]
    assert found[CLONE]["sr_name"] == a.sr.name_label


@everywhere
def test_what_the_host_sees_already(array):  # noqa: F811
    a = array()
    a.attach_original()
    sums, traces = a.sums(), a.traces()
    found = a.discover()
    assert_told(a, found)
    assert [lun["visible"] for lun in found.values()] == [True] * len(ALL)
    # what XenCenter and Xen Orchestra take out of error 107
    assert re.match(r"<\?xml version=\"1.0\" \?>\s*<iscsi-target>\s*<LUN>", a.xml)
    assert (a.sums(), a.traces()) == (sums, traces)
    assert a.discover("relvmohba") == {}


@everywhere
def test_a_target_with_which_there_was_no_session(array):  # noqa: F811
    a = array(same_target=False, chap=("user", MARKER))
    a.attach_original()
    sums, traces, listing = a.sums(), a.traces(), a.world.listing()
    assert sorted(a.discover()) == [ORIGINAL]
    found = a.look_at_target(chapuser="user", chappassword=MARKER)
    assert_told(a, found)
    assert sorted(scsi_id for scsi_id in found if found[scsi_id]["visible"]) == [ORIGINAL]
    assert (a.sums(), a.traces()) == (sums, traces)
    left = [path for path in a.world.listing() - listing if "/var/run/relvmoiscsi" not in path and "/var/lock" not in path]
    assert [path for path in left if path.startswith(("/dev", "/sys"))] == []
    assert MARKER not in a.xml + a.world.log()


@everywhere
def test_a_session_that_others_use_stays_and_what_came_up_goes(array):  # noqa: F811
    a = array()
    a.attach_original()
    for scsi_id in (CLONE, SECOND):
        a.pool.remove_disk(scsi_id)
    before = a.traces()
    assert sorted(a.discover()) == [ORIGINAL, FOREIGN, BLANK]
    found = a.look_at_target()
    assert_told(a, found)
    assert sorted(scsi_id for scsi_id in found if not found[scsi_id]["visible"]) == [CLONE, SECOND]
    assert a.traces() == before


def test_a_lun_that_an_sr_begins_to_use_meanwhile_stays(array):  # noqa: F811
    a = array()
    a.attach_original()
    a.pool.remove_disk(CLONE)

    def introduce(process):
        a.xapi.sr_introduce("lvmoiscsi", ALIEN)
        a.xapi.pbd_create(ALIEN, a.config(CLONE))
    a.start_look(IQN, introduce)
    assert CLONE in a.world.disks().values()
    assert "came up with a look at %s, is in use and stays" % IQN in a.world.log()


def test_lvm_waits_while_two_luns_carry_one_name(array):  # noqa: F811
    a = array(same_target=False)
    a.attach_original()
    path = a.world.path("/var/lock/lvm/V_VG_XenStorage-" + a.sr.uuid)
    seen = []

    def watch(process):
        def look():
            while process.poll() is None:
                # in this order: at the end the LUNs go before the lock does
                locked = bool(lock_lines(path))
                if {SECOND, CLONE} <= set(a.world.disks().values()):
                    seen.append(locked)
        thread = threading.Thread(target=look)
        thread.start()
        a.watching = thread
    a.start_look(OTHER_IQN, watch)
    a.watching.join()
    # once it is taken, it is held as long as both are there
    assert True in seen and seen == sorted(seen)
    assert lock_lines(path) == []


def test_a_look_that_was_killed_is_taken_back_by_the_next_one(array):  # noqa: F811
    a = array(same_target=False)
    a.attach_original()
    before = a.traces()

    def kill(process):
        assert pools.wait_until(lambda: CLONE in a.world.disks().values())
        process.send_signal(signal.SIGKILL)
    a.start_look(OTHER_IQN, kill)
    assert a.world.disks() != before["disks"]
    assert_told(a, a.look_at_target())
    assert a.traces() == before


def test_lists_of_targets_and_what_is_refused(array):  # noqa: F811
    a = array()
    config = a.world.device_config(IQN)
    del config["targetIQN"]
    with pytest.raises(pools.XapiError) as caught:
        a.discover(login="true", **config)
    assert caught.value.code == "SR_BACKEND_FAILURE_96"
    for target in ("*", IQN + "," + OTHER_IQN):
        with pytest.raises(pools.XapiError) as caught:
            a.discover(login="true", **dict(config, targetIQN=target))
        assert "one target at a time" in caught.value.params[1]
    assert a.world.sessions() == []


def test_a_clone_that_was_resigned_and_one_that_was_interrupted(array):  # noqa: F811
    from test_driver import KILLER
    a = array()
    a.attach_original()
    a.resign()
    found = a.discover()[CLONE]
    assert (found["sr_uuid"], found["copy_of"], found["possible"]) == (a.uuid, "", True)
    with a.pool.wrapped(KILLER, "write", 4), pytest.raises(pools.XapiError):
        a.xapi.sr_create("relvmoiscsi", a.config(SECOND))
    assert a.look_at_target()[SECOND]["locked"] is True
