# SPDX-License-Identifier: LGPL-2.1-only
"""relvmohba on a dom0 double with HBAs: the tests that both drivers share, and what is different without a session.

With SM_TREE (a checkout of sm) the same tests run against that instead of the doubles.
"""
from __future__ import absolute_import, division, print_function

import json
import re

import pytest

from dom0 import pools
from dom0.state import State
from luns import damage
from lvhd import image, reader, shapes
from test_driver import (  # noqa: F401 (fixtures and tests)
    CLONE, KILLER, ORIGINAL, Array, array, drivers, everywhere, skip_without_open_iscsi,
    test_a_disk_with_a_snapshot_keeps_leaf_and_base_copy, test_a_host_that_cannot_keep_state_is_refused_before_anything,
    test_a_judge_that_disagrees_is_no_success, test_a_lun_of_the_pool_is_refused, test_a_refusal_leaves_lun_and_host_as_they_were,
    test_a_scsi_id_that_the_target_does_not_have, test_a_volume_that_sits_on_the_clone_is_refused_by_name,
    test_a_write_error_is_reported_as_safe_and_repeatable, test_an_original_of_another_pool_is_refused_and_can_be_forced,
    test_everything_else_is_unimplemented_and_touches_no_iscsi, test_killed_at_a_write_and_repeated,
    test_left_over_records_of_this_type_are_no_reason_to_refuse, test_name_of_the_call_becomes_the_name_of_the_sr,
    test_preview_writes_nothing_and_says_what_will_happen, test_refused_on_a_slave,
    test_resign_next_to_the_attached_original_behind_one_target, test_resign_true_is_accepted,
    test_the_attached_original_waits_until_switch_1, test_two_calls_at_once_give_one_identity)

# What the first generation of an interpreter gets; the others get the first of them, and those of ALL_GENERATIONS and SM_TREE everything
FEW = ("test_resign_next_to_the_attached_original_behind_one_target", "test_a_map_that_was_there_is_used_and_left",
       "test_the_scan_only_adds_and_takes_another_duplicate_away_again", "test_killed_at_a_write_and_repeated",
       "test_a_disk_that_udev_has_listed_by_half_is_waited_for")

FABRIC = "array"
OTHER_CLONE = "360000000000000000e00000000010003"
FOREIGN = "360000000000000000e00000000010004"
VISIBLE = "the LUN was visible to this host before this call"


def pytest_generate_tests(metafunc):
    if "profile" not in metafunc.fixturenames:
        return
    names = pools.profiles()
    left_out = ()
    if not pools.all_of_them():
        left_out = names[(metafunc.function.__name__ in FEW) + len(names) * (metafunc.function.__name__ == FEW[0]):]
    arguments, values = getattr(metafunc.function, "series", (None, [()]))
    cases = []
    for name in names:
        for value in values if pools.all_of_them() else values[len(values) // 2:][:1]:
            case = (name,) + (value if isinstance(value, tuple) else (value,))
            marks = [pytest.mark.skip(reason="with ALL_GENERATIONS")] if name in left_out else []
            cases.append(pytest.param(*case, marks=marks))
    metafunc.parametrize("profile" + (", " + arguments if arguments else ""), cases)


class FabricArray(Array):
    """An original and its clone behind HBAs. The host has seen the original since it booted; nobody has looked for the clone yet."""

    TYPE = "relvmohba"
    ATTACHED = "lvmohba"
    SUCCESS = ("Error reporting error, unknown key The SR has been successfully resigned. "
               "Use the lvmohba type to attach it")

    def present(self, same_target, addresses, chap):
        self.first = self.iqn = FABRIC
        self.world.add_fabric(FABRIC, len(addresses))
        self.world.add_lun(FABRIC, 0, self.original, ORIGINAL)
        self.show()
        self.world.add_lun(FABRIC, 1, self.clone, CLONE)

    def show(self):
        self.world.scan_fabrics()


ARRAY = FabricArray


@everywhere
def test_driver_info(array):  # noqa: F811
    a = array()
    info = a.xapi.driver_info("relvmohba")
    # CloudStack looks for this text, and knows iSCSI alone
    assert "resigning of duplicates" not in info["name"] + info["description"]
    assert set(info["capabilities"]) == {"SR_PROBE", "SR_CREATE"}
    assert a.xapi.runs[-1].stderr == ""


@everywhere
def test_without_a_scsi_id_the_list_of_lvmohba(array):  # noqa: F811
    a = array()
    for call in (lambda: a.xapi.sr_create(a.TYPE, {}), lambda: a.xapi.sr_probe(a.TYPE, {})):
        with pytest.raises(pools.XapiError) as caught:
            call()
        assert caught.value.code == "SR_BACKEND_FAILURE_107"
        listed = re.findall("<SCSIid>\\s*(\\S+)\\s*</SCSIid>", a.xapi.runs[-1].stderr)
        assert "<Devlist>" in a.xapi.runs[-1].stderr and sorted(listed) == [ORIGINAL, CLONE]


@everywhere
def test_the_scan_only_adds_and_takes_another_duplicate_away_again(array, tmpdir):  # noqa: F811
    a = array()
    a.attach_original()
    duplicate, foreign = str(tmpdir.join("duplicate.img")), str(tmpdir.join("foreign.img"))
    image.write(duplicate, a.sr)
    image.write(foreign, shapes.one(2))
    a.world.add_lun(FABRIC, 2, duplicate, OTHER_CLONE)
    a.world.add_lun(FABRIC, 3, foreign, FOREIGN)
    untouched = damage.fingerprint(duplicate), damage.fingerprint(foreign), damage.fingerprint(a.original)
    a.resign()
    # the deletion of a disk is carried out by the double's kernel
    assert pools.wait_until(lambda: OTHER_CLONE not in a.world.disks().values())
    assert sorted(a.world.disks().values()) == [ORIGINAL, CLONE, FOREIGN]
    assert (damage.fingerprint(duplicate), damage.fingerprint(foreign), damage.fingerprint(a.original)) == untouched
    assert "%s came up with the LUN %s" % (OTHER_CLONE, CLONE) in a.world.log()
    assert len(a.adopt()) == 1


@everywhere
def test_a_lun_that_was_visible_is_said_to_be_and_stays(array):  # noqa: F811
    a = array()
    a.attach_original()
    assert VISIBLE not in a.xapi.sr_probe(a.TYPE, a.config())
    assert pools.wait_until(lambda: CLONE not in a.world.disks().values())
    a.show()
    before = a.traces()
    assert VISIBLE in a.xapi.sr_probe(a.TYPE, a.config())
    assert a.traces() == before
    a.resign()
    assert a.traces() == before
    assert VISIBLE in a.world.log()
    assert len(a.adopt()) == 1


def test_a_disk_that_udev_has_listed_by_half_is_waited_for(array):  # noqa: F811
    a = array()
    a.world.keep_udev_busy(halts=True)
    a.resign_while_udev_waits("/disk/by-id/scsi-%s yet" % CLONE)


@everywhere
def test_udev_is_triggered_after_a_resign(array):  # noqa: F811
    a = array()
    a.resign()
    for disk, scsi_id in a.world.disks().items():
        with open(a.world.path("/sys/block/%s/uevent" % disk)) as stream:
            assert stream.read() == {CLONE: "change", ORIGINAL: ""}[scsi_id]


@everywhere
def test_a_map_that_was_there_is_used_and_left(array):  # noqa: F811
    a = array(multipath=True, addresses=("one", "two"))
    skip_without_open_iscsi(a)
    a.world.start_multipathd()
    a.show()
    a.world.run("multipath", CLONE)
    assert a.pool.multipath_map(CLONE)
    before = a.traces()
    assert len([disk for disk, scsi_id in a.world.disks().items() if scsi_id == CLONE]) == 2
    a.xapi.sr_probe(a.TYPE, a.config())
    assert a.traces() == before
    a.resign()
    assert a.traces() == before
    a.resign()


@everywhere
def test_a_map_that_was_not_there_goes_again(array):  # noqa: F811
    a = array(multipath=True, addresses=("one", "two"))
    skip_without_open_iscsi(a)
    a.world.start_multipathd()
    before = a.traces()
    a.xapi.sr_probe(a.TYPE, a.config())
    assert pools.wait_until(lambda: a.traces() == before)
    a.resign()
    assert a.traces() == dict(before, disks=a.traces()["disks"])
    assert len([disk for disk, scsi_id in a.world.disks().items() if scsi_id == CLONE]) == 2
    assert len(a.adopt()) == 1


def test_two_paths_and_no_map_are_refused(array):  # noqa: F811
    a = array(addresses=("one", "two"))
    a.show()
    untouched, before = damage.fingerprint(a.clone), a.traces()
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "which are not paths of one multipath map" in text
    assert damage.fingerprint(a.clone) == untouched
    assert pools.wait_until(lambda: a.traces() == before)


def test_a_map_with_a_path_of_another_lun_is_refused(array):  # noqa: F811
    a = array(multipath=True)
    a.world.start_multipathd()
    a.show()
    a.world.run("multipath", CLONE)
    assert a.pool.multipath_map(CLONE)
    with State(a.world.root) as state:
        mapped = "dm-%d" % state["dm"][CLONE]["minor"]
    other = [disk for disk, scsi_id in a.world.disks().items() if scsi_id == ORIGINAL][0]
    with open(a.world.path("/sys/devices/virtual/block/%s/slaves/%s" % (mapped, other)), "w"):
        pass
    untouched = damage.fingerprint(a.clone), damage.fingerprint(a.original)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "reports the SCSI id %s, not %s" % (ORIGINAL, CLONE) in text
    assert (damage.fingerprint(a.clone), damage.fingerprint(a.original)) == untouched
    assert a.world.mappings()


def test_a_lun_over_iscsi_is_refused(array):  # noqa: F811
    a = array()
    a.world.add_target("iqn.2020-01.test:array")
    a.world.add_lun("iqn.2020-01.test:array", 0, a.clone, CLONE)
    a.world.login("iqn.2020-01.test:array")
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "comes over iSCSI" in text and "relvmoiscsi" in text


@everywhere
def test_a_clone_that_lvm_wrote_to_in_the_originals_place_is_refused(array):  # noqa: F811
    a = array()
    a.attach_original()
    image.write(a.clone, shapes.one(1, seqno=5000))
    untouched, before = damage.fingerprint(a.clone), a.traces()
    code, text, _ = a.create(a.config(force="true"))
    assert code == "SR_BACKEND_FAILURE_47"
    assert "is newer than that of its original %s" % ORIGINAL in text
    assert damage.fingerprint(a.clone) == untouched
    assert pools.wait_until(lambda: a.traces() == before)
    assert 'code="AheadOfOriginal"' in a.xapi.sr_probe(a.TYPE, a.config())


@pytest.fixture
def two_hosts(array):  # noqa: F811
    """An Array whose pool has a second host, and a way to say what its plugin answers."""
    a = array(slaves=1)
    slave = a.xapi.hosts[1]

    def says(answer):
        def call(host, args):
            assert (host, args) == (slave, {"SCSIid": CLONE})
            if isinstance(answer, Exception):
                raise answer
            return answer
        a.xapi.plugin_answers["relvmoiscsi", "holders"] = call
    return a, says


def test_a_volume_on_another_host_is_refused_naming_the_host(two_hosts):
    a, says = two_hosts
    says(json.dumps({"SCSIid": CLONE, "holders": ["VG-LV"], "visible": True}, sort_keys=True, indent=1))
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create(a.config(force="true"))
    assert code == "SR_BACKEND_FAILURE_47" and "device-mapper devices on host slave0 use" in text and "VG-LV" in text
    assert damage.fingerprint(a.clone) == untouched
    assert 'code="HolderPresent"' in a.xapi.sr_probe(a.TYPE, a.config())


@pytest.mark.parametrize("answer", [pools.XapiError("XENAPI_MISSING_PLUGIN", "relvmoiscsi"), "True",
                                    '{"SCSIid": "%s", "holders": [], "visible": true}' % ORIGINAL])
def test_a_live_host_that_does_not_answer_is_refused_unless_forced(two_hosts, answer):
    a, says = two_hosts
    says(answer)
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "the host slave0 of this pool is live and does not say" in text
    assert damage.fingerprint(a.clone) == untouched
    assert a.create(a.config(force="true"))[1] == a.SUCCESS
    assert "forced: the host slave0" in a.world.log()


def test_what_a_killed_run_brought_up_goes_with_the_next_refusal(two_hosts):
    a, says = two_hosts
    before = a.traces()
    with a.pool.wrapped(KILLER, "write", 1):
        a.create()
    assert CLONE in a.world.disks().values()
    says("no answer")
    assert a.create()[0] == "SR_BACKEND_FAILURE_47"
    assert pools.wait_until(lambda: a.traces() == before)


def test_a_dead_host_is_not_asked(two_hosts):
    a, says = two_hosts
    says(pools.XapiError("HOST_OFFLINE", "slave0"))
    for metrics in a.xapi.db.all("host_metrics").values():
        metrics["live"] = False
    a.resign()


def test_other_hosts_answer_that_nothing_is_on_it(two_hosts):
    a, says = two_hosts
    says('{"SCSIid": "%s", "holders": [], "visible": true}' % CLONE)
    a.resign()
    assert reader.vg_names(a.clone) == ["VG_XenStorage-" + a.uuid]
