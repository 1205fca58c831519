# SPDX-License-Identifier: LGPL-2.1-only
"""A test from fn=attach to fn=discard on two hosts: each a dom0 double of its own, with sm, sessions, disks and maps, over the LUNs of one
array, and one toolstack. Every generation with ALL_GENERATIONS, or the one of SM_TREE."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from dom0 import pools
from dom0.session import Calls, Failure, Session
from dom0.state import State
from dom0.world import World
from dom0.xapi import Xapi
from luns import damage
from relvm import errors
from relvm.pool import attach, discard
from test_driver import CLONE, array  # noqa: F401 (a fixture)

CORE = "test_behind_one_target_the_session_stays_and_the_disk_goes"
RELEASE = """
module("SR")
from relvm import errors
from relvm.host import release
try:
    result = ["devices", " ".join(getattr(release, function)(SCSIid, sr)["devices"])]
except errors.Refused:
    result = [errors.current().code(), str(errors.current())]
"""


def pytest_generate_tests(metafunc):
    if "profile" not in metafunc.fixturenames:
        return
    names = pools.profiles() if pools.all_of_them() else pools.profiles()[-1:]
    marks = [] if pools.all_of_them() or metafunc.function.__name__ == CORE else [pytest.mark.skip(reason="with ALL_GENERATIONS")]
    metafunc.parametrize("profile", [pytest.param(name, marks=marks) for name in names])


class Second(object):
    """A slave: it has a kernel and an sm of its own."""

    def __init__(self, a, directory, multipath):
        self.world = World(directory, mode=a.world.mode, profile=a.world.profile and a.world.profile.name, python=a.world.python)
        if a.world.sm_tree:
            self.world.install_sm(a.world.sm_tree)
        with State(a.world.root, readonly=True) as state:
            luns = state["targets"]
        for name in luns:
            if not luns[name]["portals"]:
                self.world.add_fabric(name, 2)
        self._present(dict((name, _without_clone(luns[name])) for name in luns))
        self.world.scan_fabrics()
        self._luns = luns
        if multipath:
            self.world.start_multipathd()
        self.xapi = Xapi(self.world, multipath=multipath).start()

    def _present(self, luns):
        """Through the same portals, to the same images."""
        with State(self.world.root) as state:
            state["targets"].update(luns)

    def present_clone(self):
        """On a fabric the array shows it to this host last, as the documents ask for: LVM of 7.0 would take it for the original."""
        self._present(self._luns)

    def plug(self, record, sr):
        """sr_attach there; what xapi has of it on the master's side is the caller's."""
        self.xapi.sr_introduce(sr["type"], sr["uuid"])
        self.xapi.pbd_plug(self.xapi.pbd_create(sr["uuid"], record["device_config"]))

    def unplug(self, sr):
        for ref in self.xapi.pbds(sr["uuid"]):
            self.xapi.pbd_unplug(ref)
        self.xapi.sr_forget(sr["uuid"])

    def close(self):
        self.xapi.stop()
        self.world.close()


def _without_clone(target):
    """A target of a double's state as a host sees it that the array does not show the clone to, if it is a fabric."""
    if target["portals"]:
        return target
    return dict(target, luns=dict((number, lun) for number, lun in target["luns"].items() if lun["scsi_id"] != CLONE))


class TwoHosts(Calls):
    """xapi's calls, with the second host behind those for its PBDs and plugin."""

    second = None

    def _record_of(self, pbd):
        record = self._xapi.db.get("PBD", pbd)
        return record, self._xapi.db.get("SR", record["SR"])

    def _PBD_plug(self, pbd):
        record, sr = self._record_of(pbd)
        if record["host"] != self._xapi.host:
            self.second.plug(record, sr)
        self._xapi.pbd_plug(pbd)

    def _PBD_unplug(self, pbd):
        record, sr = self._record_of(pbd)
        if record["host"] == self._xapi.host:
            self._xapi.pbd_unplug(pbd)
        else:
            self.second.unplug(sr)
            record["currently_attached"] = False

    def _host_call_plugin(self, host, plugin, function, arguments):
        world = self._xapi.world if host == self._xapi.host else self.second.world
        if function != "release":
            return "{}"
        code, words = world.run_python(RELEASE, SCSIid=arguments["SCSIid"], sr=arguments["sr"],
                                       function="look" if arguments.get("check") else "release")
        if code != "devices":
            raise Failure(pools.XapiError(discard.REFUSED, code, words))
        if world is self.second.world and not arguments.get("check") and self.second.__dict__.pop("lost", False):
            raise RuntimeError("the connection is lost")
        return words


@pytest.fixture
def pair(array, tmpdir):  # noqa: F811
    """A function (options of array()) -> (the array, its pool's session, the second host); the original is attached on both hosts."""
    made = []

    def make(**options):
        a = array(slaves=1, **options)
        second = Second(a, str(tmpdir.join("second")), options.get("multipath", False))
        made.append(second)
        a.attach_original()
        second.plug({"device_config": a.original_config()}, {"type": a.ATTACHED, "uuid": a.sr.uuid})
        second.present_clone()
        calls = type(str("Calls"), (TwoHosts,), {"second": second})
        return a, Session(a.xapi, calls), second

    yield make
    for second in made:
        second.close()


def seen(*worlds):
    """What hosts know of LUNs."""
    return [(world.sessions(), sorted(world.disks().values()), sorted(world.mappings()), world.refcounts()) for world in worlds]


def without(disks, scsi_id):
    """The same without a LUN."""
    return [(sessions, [disk for disk in found if disk != scsi_id], [name for name in maps if name != scsi_id], references)
            for sessions, found, maps, references in disks]


def attached(a, session):
    """The uuid of the SR that fn=attach makes of the clone."""
    answer = attach.attach(session, a.config())
    assert [pbd["attached"] for pbd in answer["pbds"]] == [True, True]
    return answer["sr"]


def assert_ended(a, session, second, before, sr):
    """Nothing of the SR and its LUN is anywhere, and the original is in use as it was."""
    assert seen(a.world, second.world) == before
    assert sorted(a.xapi.srs()) == [a.sr.uuid] and len(a.xapi.pbds()) == 1 and sr not in second.xapi.srs()
    assert not [record for record in a.xapi.db.all("VDI").values() if record["uuid"] not in a.xapi.vdis(a.sr.uuid)]
    for host in (a, second):
        host.xapi.sr_scan(a.sr.uuid)
    assert len(a.xapi.vdis(a.sr.uuid)) == 1


def test_behind_one_target_the_session_stays_and_the_disk_goes(pair):
    a, session, second = pair()
    before = without(seen(a.world, second.world), CLONE)
    sr = attached(a, session)
    assert CLONE in second.world.disks().values()
    original = damage.fingerprint(a.original)
    answer = discard.discard(session, sr, a.xapi.host)
    assert_ended(a, session, second, before, sr)
    assert damage.fingerprint(a.original) == original
    assert [host["unplugged"] for host in answer["hosts"]] == [True, True]
    assert [len(host["devices"]) for host in answer["hosts"]] == [1, 1]
    assert discard.discard(session, sr, a.xapi.host)["known"] is False


def test_a_session_of_its_own_ends(pair):
    a, session, second = pair(same_target=False)
    before = seen(a.world, second.world)
    sr = attached(a, session)
    assert seen(a.world, second.world) != before
    discard.discard(session, sr, a.xapi.host)
    assert_ended(a, session, second, before, sr)


def test_interrupted_when_one_host_was_done(pair):
    a, session, second = pair()
    before = without(seen(a.world, second.world), CLONE)
    sr = attached(a, session)
    second.lost = True
    with pytest.raises(RuntimeError):
        discard.discard(session, sr, a.xapi.host)
    assert CLONE in a.world.disks().values() and CLONE not in second.world.disks().values()
    discard.discard(session, sr, a.xapi.host)
    assert_ended(a, session, second, before, sr)


def test_what_sits_on_the_lun_of_one_host_keeps_it(pair):
    a, session, second = pair()
    sr = attached(a, session)
    for name, found in second.world.disks().items():
        if found == CLONE:
            holder = second.world.path("/sys/block/%s/holders/dm-77" % name)
    os.makedirs(holder)
    with pytest.raises(errors.LUNStays) as caught:
        discard.discard(session, sr, a.xapi.host)
    assert "dm-77" in str(caught.value) and "slave0" in str(caught.value)
    assert sr in a.xapi.srs() and CLONE in second.world.disks().values()
    os.rmdir(holder)
    discard.discard(session, sr, a.xapi.host)
    assert sr not in a.xapi.srs() and CLONE not in second.world.disks().values()


def test_a_lun_on_which_the_array_has_put_something_else_is_left_alone(pair):
    a, session, second = pair()
    sr = attached(a, session)
    plugged = seen(a.world, second.world)
    with open(a.original, "rb") as source, open(a.clone, "r+b") as target:
        target.write(source.read(2 << 20))
    with pytest.raises(errors.LUNStays) as caught:
        discard.discard(session, sr, a.xapi.host)
    assert "carries VG_XenStorage-" + a.sr.uuid in str(caught.value)
    assert seen(a.world, second.world) == plugged
    assert all(pbd["currently_attached"] for pbd in a.xapi.pbds(sr).values())
