# SPDX-License-Identifier: LGPL-2.1-only
"""The driver, started as xapi starts it, on a dom0 double: once for every generation of sm that this interpreter can run.

With SM_TREE (a checkout of sm) the same tests run against that instead of the doubles.
"""
from __future__ import absolute_import, division, print_function

import os
import re
import signal
import subprocess
import threading
import xml.dom.minidom

import pytest

from dom0 import pools
from dom0.stopped import is_stopped
from dom0.world import lock_lines
from luns import damage
from lvhd import image, reader, shapes
from lvhd.model import Volume
from relvm import identity
from relvm.formats import excerpt

IQN = "iqn.2020-01.test:array"
OTHER_IQN = "iqn.2020-01.test:second"
ORIGINAL = "360000000000000000e00000000010001"
CLONE = "360000000000000000e00000000010002"
SUCCESS = ("Error reporting error, unknown key The SR has been successfully resigned. "
           "Use the lvmoiscsi type to attach it")
PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dom0")
KILLER = os.path.join(PROGRAMS, "killed.py")
STOPPER = os.path.join(PROGRAMS, "stopped.py")
# Writes of a run on an SR with one VDI: log, stage, switch 1, apply, final, switch 2, clear log
WRITES = 7
MARKER = u"s3cret 'with\" quotes \u00e4"


class Array(object):
    """Two LUNs, an original and its clone, and a pool that sees them."""

    TYPE = "relvmoiscsi"
    ATTACHED = "lvmoiscsi"
    SUCCESS = SUCCESS

    def __init__(self, directory, profile, sr, same_target=True, chap=None,
                 addresses=("127.0.0.1",), **options):
        self.original = os.path.join(directory, "original.img")
        self.clone = os.path.join(directory, "clone.img")
        self.sr = sr
        image.write(self.original, sr)
        subprocess.check_call(["cp", "--sparse=always", self.original, self.clone])
        self.pool = pools.Pool(os.path.join(directory, "dom0"), profile, **options)
        self.world, self.xapi = self.pool.world, self.pool.xapi
        self.present(same_target, addresses, chap)

    def present(self, same_target, addresses, chap):
        self.first, self.iqn = IQN, IQN if same_target else OTHER_IQN
        self.world.add_target(IQN)
        self.world.add_lun(IQN, 0, self.original, ORIGINAL)
        if not same_target:
            self.world.add_target(OTHER_IQN, addresses, chap)
        self.world.add_lun(self.iqn, 1, self.clone, CLONE)

    def show(self):
        """Makes the LUNs visible to this host, as an administrator or a boot would."""
        self.world.login(self.iqn)

    def config(self, scsi_id=CLONE, **more):
        return self.world.device_config(self.iqn, scsi_id, **more)

    def original_config(self, **more):
        return self.world.device_config(self.first, ORIGINAL, **more)

    def attach_original(self):
        self.xapi.sr_introduce(self.ATTACHED, self.sr.uuid)
        self.xapi.pbd_plug(self.xapi.pbd_create(self.sr.uuid, self.original_config()))
        self.xapi.sr_scan(self.sr.uuid)

    def create(self, config=None, **options):
        """xe sr-create type=relvmoiscsi; what xe gets: (code, text, stderr). The uuid of the call is in self.uuid."""
        with pytest.raises(pools.XapiError) as caught:
            self.xapi.sr_create(self.TYPE, config or self.config(), name_label=u"kl\u00f6n & <co>", **options)
        run = self.xapi.runs[-1]
        self.uuid = run.sr_uuid
        assert run.stderr == ""
        error = caught.value
        return error.code, error.params[1] if len(error.params) > 1 else "", run.stderr

    def resign(self, **options):
        assert self.create(**options)[:2] == ("SR_BACKEND_FAILURE_1", self.SUCCESS)
        assert reader.vg_names(self.clone) == ["VG_XenStorage-" + self.uuid]

    def adopt(self):
        """CloudStack's steps after a resign: probe, introduce, plug, scan; the VDIs' records."""
        found = re.findall("<UUID>\\s*([0-9a-f-]{36})\\s*</UUID>", self.xapi.sr_probe(self.ATTACHED, self.config()))
        assert found == [self.uuid]
        self.xapi.sr_introduce(self.ATTACHED, self.uuid)
        self.xapi.pbd_plug(self.xapi.pbd_create(self.uuid, self.config()))
        self.xapi.sr_scan(self.uuid)
        return self.xapi.vdis(self.uuid)

    def resign_while_udev_waits(self, words):
        """Resigns the clone; udev, which is kept busy, goes on once the SM log has `words`."""
        waited = []

        def go_on():
            waited.append(pools.wait_until(lambda: words in self.world.log()))
            self.world.let_udev_go_on()

        udev = threading.Thread(target=go_on)
        udev.start()
        try:
            self.resign()
        finally:
            udev.join()
        assert waited == [True]

    def traces(self):
        """What a run may leave behind on the host."""
        listing = [path for path in self.world.listing() if "/relvmoiscsi/" in path and path.endswith(CLONE)]
        return {"references": self.world.refcounts(), "sessions": self.world.sessions(), "disks": self.world.disks(),
                "mappings": self.world.mappings(), "state files": listing, "LV references": self.world.lv_refcounts()}


def pytest_generate_tests(metafunc):
    """What is tested on which generation. All of it with ALL_GENERATIONS and for the generations that pools.whole() names; of the others
    those tests that are marked with @everywhere. Of a series what pools.part_of() says."""
    if "profile" not in metafunc.fixturenames:
        return
    everywhere = getattr(metafunc.function, "everywhere", False)
    arguments, values = getattr(metafunc.function, "series", (None, [()]))
    cases = []
    for name in pools.chosen(everywhere):
        for value in pools.part_of(name, values):
            cases.append((name,) + (value if isinstance(value, tuple) else (value,)))
    metafunc.parametrize("profile" + (", " + arguments if arguments else ""), pools.cases(cases, everywhere))


def everywhere(function):
    """Marks a test that every generation gets."""
    function.everywhere = True
    return function


def series(names, values):
    """Marks a test that is repeated with `values` of its arguments `names`."""
    def mark(function):
        function.series = names, list(values)
        return function
    return mark


@pytest.fixture
def array(request, profile, tmpdir):
    """array(sr, **options): an Array that is closed after the test; in a module with an ARRAY of its own, that."""
    reason = pools.why_not(profile)
    if reason:
        pytest.skip(reason)
    made = []

    def make(sr=None, **options):
        directory = str(tmpdir.mkdir("array%d" % len(made)))
        made.append(getattr(request.module, "ARRAY", Array)(directory, profile, sr or shapes.one(1), **options))
        return made[-1]

    yield make
    for each in made:
        each.pool.close()


@everywhere
def test_driver_info(array):
    a = array()
    info = a.xapi.driver_info(a.TYPE)
    assert info["name"] == "LVHD over iSCSI with resigning of duplicates"
    assert set(info["capabilities"]) == {"SR_PROBE", "SR_CREATE"}
    assert info["required_api_version"] == "1.0"
    assert a.xapi.runs[-1].stderr == ""


@everywhere
def test_resign_next_to_the_attached_original_behind_one_target(array):
    a = array()
    a.attach_original()
    before, untouched, contents = a.traces(), damage.fingerprint(a.original), reader.virtual_digests(a.clone)
    a.resign()
    after = a.traces()
    # the session stays for the original, and so does the clone's disk, which lvmoiscsi expects to be there
    assert after == dict(before, disks=after["disks"])
    assert damage.fingerprint(a.original) == untouched
    assert not reader.traces(a.clone, reader.identities(a.original))
    vdis = a.adopt()
    assert len(vdis) == 1
    assert sorted(reader.virtual_digests(a.clone).values()) == sorted(contents.values())
    assert list(reader.virtual_digests(a.clone)) == list(vdis)
    if a.world.refcounts():
        assert sorted(a.world.refcounts()[IQN]) == sorted([a.sr.uuid, a.uuid])
    with reader.Lun(a.clone) as lun:
        assert lun.mgt().uuid == a.uuid


def test_name_of_the_call_becomes_the_name_of_the_sr(array):
    a = array()
    a.create(name_description=u"made at \u00e4 m")
    with reader.Lun(a.clone) as lun:
        assert (lun.mgt().name_label, lun.mgt().name_description) == (u"kl\u00f6n & <co>", u"made at \u00e4 m")


def test_nothing_is_left_on_the_host_with_a_target_of_its_own(array):
    a = array(same_target=False)
    a.attach_original()
    before = a.traces()
    a.resign()
    assert a.traces() == before
    assert len(a.adopt()) == 1


def test_a_disk_with_a_snapshot_keeps_leaf_and_base_copy(array):
    a = array(shapes.two_snapshots(1))
    report = a.xapi.sr_probe(a.TYPE, a.config())
    assert "2 base copies stay" in report
    a.resign()
    assert sorted(vdi["name_label"] for vdi in a.adopt().values()) == ["base copy", "base copy", "vdi0"]


@everywhere
def test_a_broken_vdi_is_left_behind(array):
    """Refused without drop=, with a sentence that names it; with it the rest is attached, and log and preview say what went."""
    sr = shapes.two_snapshots(1)
    broken, good = shapes.disk(sr, "broken"), shapes.disk(sr, "good")
    a = array(sr)
    damage.header(a.clone, broken.volume.name, damage.put(0, b"no cookie"))
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and broken.uuid in text and "device-config:drop=" in text
    config = a.config(drop=broken.uuid)
    document = xml.dom.minidom.parseString(a.xapi.sr_probe(a.TYPE, config))
    vdis = [dict((part.tagName, part.firstChild.data.strip() if part.firstChild else "") for part in vdi.childNodes if part.nodeType == 1)
            for vdi in document.getElementsByTagName("vdi")]
    said, = [vdi for vdi in vdis if vdi["uuid"] == broken.uuid]
    assert said["action"] == "drop" and said["reason"].startswith("left behind, as drop= says: the VHD in LV")
    a.resign(config=config)
    assert "VDI %s dropped: left behind, as drop= says" % broken.uuid in a.world.log()
    names = [vdi["name_label"] for vdi in a.adopt().values()]
    assert "good" in names and "broken" not in names and good.name_label == "good"


@pytest.mark.parametrize("value, code, words", [("x", "BadDrop", "drop=x"),
                                                ("12345678-1234-4123-8123-123456789abc", "NothingToDrop", "12345678")])
def test_what_cannot_be_left_behind_is_refused(array, value, code, words):
    a = array()
    before, untouched = a.traces(), damage.fingerprint(a.clone)
    number, text, _ = a.create(a.config(drop=value))
    assert number == "SR_BACKEND_FAILURE_47" and words in text
    assert '<reason code="%s">' % code in a.xapi.sr_probe(a.TYPE, a.config(drop=value))
    assert (a.traces(), damage.fingerprint(a.clone)) == (before, untouched)


def test_a_preview_packs_the_lun_on_request(array):
    a = array(shapes.two_snapshots(1, name_label="Secret"))
    document = xml.dom.minidom.parseString(a.xapi.sr_probe("relvmoiscsi", dict(a.config(), pack="true")))
    path = document.getElementsByTagName("pack")[0].firstChild.data.strip()
    packed = excerpt.Excerpt(a.world.root + path[path.index("/var/run"):])
    assert packed.replaced
    head = packed.read(0, 4096)
    with open(a.clone, "rb") as stream:
        assert stream.read(4096) == head
    assert not [piece for _, piece in packed.pieces if b"Secret" in piece]


def test_preview_writes_nothing_and_says_what_will_happen(array):
    a = array(shapes.two_snapshots(1))
    a.attach_original()
    before, untouched = a.traces(), damage.fingerprint(a.clone)
    document = xml.dom.minidom.parseString(a.xapi.sr_probe(a.TYPE, a.config()))

    def texts(name):
        return ["".join(node.data for node in element.childNodes) for element in document.getElementsByTagName(name)]
    assert texts("UUID") == [a.sr.uuid]
    assert texts("possible") == ["true"]
    assert texts("copy_of") == [a.sr.uuid]
    assert texts("copied_from") == [ORIGINAL]
    assert sorted(texts("action")) == ["drop", "drop", "keep", "keep", "keep"]
    assert damage.fingerprint(a.clone) == untouched
    assert a.traces() == dict(before, disks=a.traces()["disks"])
    assert a.xapi.runs[-1].stderr == ""


@pytest.mark.parametrize("command", ["create", "probe"])
@pytest.mark.parametrize("missing, code, element", [("targetIQN", 96, "<iscsi-target-iqns>"), ("SCSIid", 107, "<iscsi-target>")])
def test_incomplete_device_config_gets_the_list_of_lvmoiscsi(array, command, missing, code, element):
    a = array()
    config = a.config()
    del config[missing]
    with pytest.raises(pools.XapiError) as caught:
        if command == "create":
            a.xapi.sr_create(a.TYPE, config)
        else:
            a.xapi.sr_probe(a.TYPE, config)
    assert caught.value.code == "SR_BACKEND_FAILURE_%d" % code
    assert element in a.xapi.runs[-1].stderr.replace(" ", "")
    assert a.traces()["references"] == {}


def used_by_attached(a):
    a.attach_original()


def used_by_detached(a):
    a.xapi.sr_introduce(a.ATTACHED, a.sr.uuid)
    a.xapi.pbd_create(a.sr.uuid, a.original_config())


def used_by_sm_config(a):
    a.xapi.sr_introduce("lvmohba", a.sr.uuid)
    a.xapi.srs()[a.sr.uuid]["sm_config"]["scsi-" + ORIGINAL] = "x"


def used_by_introduced(a):
    a.xapi.sr_introduce(a.ATTACHED, a.sr.uuid)
    a.xapi.srs()[a.sr.uuid]["sm_config"]["relvmoiscsi"] = ORIGINAL


@pytest.mark.parametrize("use", [used_by_attached, used_by_detached, used_by_sm_config, used_by_introduced])
def test_a_lun_of_the_pool_is_refused(array, use):
    a = array()
    use(a)
    before, untouched = a.traces(), damage.fingerprint(a.original)
    code, text, _ = a.create(a.original_config(force="true"))
    assert code == "SR_BACKEND_FAILURE_47"
    assert "the LUN %s belongs to SR %s of this pool" % (ORIGINAL, a.sr.uuid) in text
    assert damage.fingerprint(a.original) == untouched
    assert a.traces() == before
    possible = a.xapi.sr_probe(a.TYPE, a.original_config())
    assert "<possible>false</possible>" in possible and 'code="InUse"' in possible
    assert a.traces() == before


def test_left_over_records_of_this_type_are_no_reason_to_refuse(array):
    a = array()
    a.xapi.crash_next = True
    with pytest.raises(pools.XapiCrashed):
        a.xapi.sr_create(a.TYPE, a.config())
    assert [sr["type"] for sr in a.xapi.srs().values()] == [a.TYPE]
    a.resign()


def test_an_original_of_another_pool_is_refused_and_can_be_forced(array):
    a = array()
    config = a.original_config()
    untouched = damage.fingerprint(a.original)
    code, text, _ = a.create(config)
    assert code == "SR_BACKEND_FAILURE_47" and "it is an original" in text and "force=true" in text
    assert damage.fingerprint(a.original) == untouched
    assert 'code="Original"' in a.xapi.sr_probe(a.TYPE, config)
    assert a.traces()["references"] == {}
    assert a.create(dict(config, force="true"))[1] == a.SUCCESS


def test_resign_true_is_accepted(array):
    a = array()
    a.resign(config=a.config(resign="true"))


@everywhere
def test_refused_on_a_slave(array):
    a = array()
    untouched = damage.fingerprint(a.clone)
    code, text = a.pool.create_on_slave(a.config(), a.TYPE)
    assert code == "SR_BACKEND_FAILURE_58" and "master" in text
    assert damage.fingerprint(a.clone) == untouched


@everywhere
def test_a_refusal_leaves_lun_and_host_as_they_were(array):
    sr = shapes.one(1)
    sr.volumes.append(Volume("VHD-none"))
    a = array(sr)
    a.show()
    a.pool.remove_disk(CLONE)
    before, untouched = a.traces(), damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert "the LV VHD-none is named or tagged like a volume of sm" in text
    assert damage.fingerprint(a.clone) == untouched
    # the clone's disk, which was not there before, is gone again
    assert a.traces() == before
    assert 'code="UnknownVolume"' in a.xapi.sr_probe(a.TYPE, a.config())


def test_a_scsi_id_that_the_target_does_not_have(array):
    a = array()
    code, text, _ = a.create(a.config(CLONE[:-1] + "9"))
    assert code == "SR_BACKEND_FAILURE_107"
    assert a.traces()["references"] == {}
    assert a.traces()["sessions"] == []


@everywhere
@series("command", ["sr_attach", "sr_delete", "sr_detach", "sr_scan", "sr_update", "sr_content_type", "vdi_create"])
def test_everything_else_is_unimplemented_and_touches_no_iscsi(array, command):
    a = array()
    a.xapi.sr_introduce(a.TYPE, a.sr.uuid)
    a.xapi.pbd_create(a.sr.uuid, a.config())
    with pytest.raises(pools.XapiError) as caught:
        a.pool.sr_command(a.sr.uuid, command)
    assert caught.value.code == "SR_OPERATION_NOT_SUPPORTED"
    assert a.world.sessions() == []


@everywhere
@series("write", range(1, WRITES + 1))
def test_killed_at_a_write_and_repeated(array, write):
    a = array()
    a.attach_original()
    before, contents, untouched = a.traces(), reader.virtual_digests(a.clone), damage.fingerprint(a.original)
    with a.pool.wrapped(KILLER, "write", write):
        code, _, _ = a.create()
    assert code == "SR_BACKEND_FAILURE"
    assert len(reader.vg_names(a.clone)) == 1
    first = a.uuid
    a.resign()
    assert a.uuid != first
    assert a.traces() == dict(before, disks=a.traces()["disks"])
    assert not reader.traces(a.clone, [first] + sorted(reader.identities(a.original)))
    assert sorted(reader.virtual_digests(a.clone).values()) == sorted(contents.values())
    assert damage.fingerprint(a.original) == untouched


@everywhere
@series("what, number", [("eio-write", 1), ("eio-flush", 1), ("eio-write", 3), ("eio-flush", 2), ("eio-write", 4),
                         ("eio-flush", 3), ("eio-write", 6), ("eio-flush", 5), ("eio-write", 7)])
def test_a_write_error_is_reported_as_safe_and_repeatable(array, what, number):
    a = array(same_target=False)
    before = a.traces()
    with a.pool.wrapped(KILLER, what, number):
        code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert "The LUN is safe" in text and "Repeat the command" in text
    assert a.traces() == before
    a.resign()


@everywhere
def test_chap_secret_is_nowhere(array):
    a = array(same_target=False, chap=["user", MARKER])
    incoming = {"incoming_chapuser": "array", "incoming_chappassword": MARKER + "incoming"}
    a.resign(config=a.config(chapuser="user", chappassword=MARKER, **incoming))
    code, text, _ = a.create(a.config(chapuser="user", chappassword=MARKER + "wrong", **incoming))
    assert code == "SR_BACKEND_FAILURE_68"
    written = a.world.log() + text + "".join(run.stdout + run.stderr + run.argument for run in a.xapi.runs)
    assert "s3cret" not in written
    assert a.traces()["references"] == {}


def test_two_calls_at_once_give_one_identity(array):
    a = array(same_target=False)
    answers = []

    def call():
        try:
            a.xapi.sr_create(a.TYPE, a.config())
        except pools.XapiError as error:
            answers.append(error)
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [error for error in answers if error.params[1:2] == [a.SUCCESS]]
    assert won, [str(error) for error in answers]
    assert len(answers) == 2
    uuids = [run.sr_uuid for run in a.xapi.runs if run.command == "sr_create"]
    found = reader.vg_names(a.clone)
    assert len(found) == 1 and found[0][len("VG_XenStorage-"):] in uuids
    assert a.traces()["references"] == {} and a.traces()["sessions"] == []


def test_two_hosts_of_a_pool_at_once_give_one_identity(array):
    """The pool's master and a slave, each with its own initiator, devices and locks, and one LUN."""
    master, slave = array(same_target=False), array(same_target=False)
    os.unlink(slave.clone)
    os.link(master.clone, slave.clone)
    answers = {}

    def call():
        answers["slave"] = slave.pool.create_on_slave(slave.config(), slave.TYPE)
    thread = threading.Thread(target=call)
    thread.start()
    master.resign()
    thread.join()
    code, text = answers["slave"]
    assert code == "SR_BACKEND_FAILURE_58" and "master" in text
    assert reader.vg_names(slave.clone) == ["VG_XenStorage-" + master.uuid]
    for host in (master, slave):
        assert host.traces()["references"] == {} and host.traces()["sessions"] == [] and host.traces()["mappings"] == {}


@pytest.fixture
def drivers():
    """A list for Popen objects; what is in it ends with the test, stopped or not."""
    started = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()


@pytest.mark.parametrize("operation", ["vdi_create", "vdi_attach"])
def test_the_attached_original_waits_until_switch_1(array, drivers, operation):
    """The driver is stopped before switch 1, its third write, and before the fourth. LVM's lock keeps what uses the original waiting
    until the first of them is done; the driver that then still runs is nothing to it."""
    a = array(shapes.one(1, free_extents=20), same_target=False)
    if a.world.mode != "loop":
        pytest.skip("LVM's locks need loop mode: %s" % a.world.why_not_loop)
    a.attach_original()
    disk = [uuid for uuid, record in a.xapi.vdis(a.sr.uuid).items() if record["managed"]][0]
    calls = {"vdi_create": lambda: a.xapi.vdi_create(a.sr.uuid, 8 << 20), "vdi_attach": lambda: a.pool.attach_only(disk)}
    lock = a.world.path("/var/lock/lvm/V_VG_XenStorage-" + a.sr.uuid)
    outcome = []

    def resign():
        try:
            a.xapi.sr_create(a.TYPE, a.config(), on_start=drivers.append)
        except pools.XapiError as error:
            outcome.append(error.params[1:2])

    def use():
        calls[operation]()
        outcome.append("used")
    with a.pool.wrapped(STOPPER, "3,4"):
        resigning = threading.Thread(target=resign)
        resigning.start()
        assert pools.wait_until(lambda: drivers and is_stopped(drivers[0]))
    before = damage.fingerprint(a.original)
    using = threading.Thread(target=use)
    using.start()
    assert pools.wait_until(lambda: [line for line in lock_lines(lock) if line[1] == "->"])
    assert outcome == [] and damage.fingerprint(a.original) == before
    assert reader.vg_names(a.clone) == ["VG_XenStorage-" + a.sr.uuid]
    drivers[0].send_signal(signal.SIGCONT)
    using.join()
    assert outcome == ["used"]
    assert reader.vg_names(a.clone) != ["VG_XenStorage-" + a.sr.uuid]
    assert pools.wait_until(lambda: is_stopped(drivers[0]))
    drivers[0].send_signal(signal.SIGCONT)
    resigning.join()
    assert outcome == ["used", [a.SUCCESS]]
    if operation == "vdi_create":
        assert damage.fingerprint(a.original) != before
        with reader.Lun(a.original) as lun:
            names = set(lun.volumes)
        with reader.Lun(a.clone) as lun:
            assert len(names) == len(lun.volumes) + 1


def test_a_judge_that_disagrees_is_no_success(array):
    a = array(shapes.two_snapshots(1))
    a.pool.lie("/usr/bin/vhd-util", "scan", b"parent=VHD-", b"parent=VHD-0")
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert "resigned as %s, but vhd-util scan reads it differently" % a.uuid in text
    assert "successfully resigned" not in text


def test_a_host_that_cannot_keep_state_is_refused_before_anything(array):
    a = array()
    untouched = damage.fingerprint(a.clone)
    blocked = a.world.path("/var/run/relvmoiscsi")
    with open(blocked, "w"):
        pass
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "cannot use" in text and "Make room" in text
    assert damage.fingerprint(a.clone) == untouched
    assert a.traces()["sessions"] == []
    os.unlink(blocked)
    a.resign()


@pytest.mark.parametrize("shared", [True, False])
def test_other_hosts_are_asked_where_they_may_see_the_lun(array, shared):
    """Behind a target that the original uses as well, every host of the pool has a session; behind one of its own, none has."""
    a = array(same_target=shared, slaves=1)
    a.attach_original()
    a.pool.remove_disk(CLONE) if shared else None
    a.xapi.plugin_answers["relvmoiscsi", "holders"] = "no answer"
    untouched, before = damage.fingerprint(a.clone), a.traces()
    if shared:
        code, text, _ = a.create()
        assert code == "SR_BACKEND_FAILURE_47" and "the host slave0 of this pool is live and does not say" in text
        assert damage.fingerprint(a.clone) == untouched and a.traces() == before
        assert a.create(a.config(force="true"))[1] == a.SUCCESS
    else:
        a.resign()
    assert bool([call for call in a.xapi.plugin_calls if call[1:3] == ("relvmoiscsi", "holders")]) == shared


def skip_without_open_iscsi(a):
    if a.world.sm_tree and a.world.behaves_like.name == "C":
        pytest.skip("the double has no /etc/init.d/open-iscsi, which the real 6.5 restarts for multipathing")


@everywhere
def test_multipath(array):
    a = array(same_target=False, multipath=True, addresses=("127.0.0.1", "127.0.0.2"))
    skip_without_open_iscsi(a)
    a.world.start_multipathd()
    a.resign()
    assert a.world.mappings() == {}
    assert a.traces()["sessions"] == []
    a.world.login(OTHER_IQN)
    a.world.run("multipath", CLONE)
    assert a.pool.multipath_map(CLONE)
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "already has a multipath map" in text
    assert damage.fingerprint(a.clone) == untouched
    assert a.world.mappings()


@everywhere
def test_multipath_that_leaves_the_lun_out(array):
    """sm from 7.6 on goes without a map, and would stop in the middle of detaching at the map that is not there; earlier ones do not
    take the LUN."""
    a = array(same_target=False, multipath=True)
    skip_without_open_iscsi(a)
    with open(a.world.path("/etc/multipath.conf"), "w") as stream:
        stream.write("blacklist { wwid %s }\n" % CLONE)
    a.world.start_multipathd()
    code, text, _ = a.create()
    if a.world.behaves_like.MAP_IS_OPTIONAL:
        assert (code, text) == ("SR_BACKEND_FAILURE_1", SUCCESS)
    else:
        assert "DMP failed to activate mapper path" in text
    assert a.world.mappings() == {}
    assert a.traces()["sessions"] == [] and a.traces()["references"] == {}
    assert "while detaching" not in a.world.log()


def test_two_paths_without_multipath_are_one_lun(array):
    a = array(same_target=False, addresses=("127.0.0.1", "127.0.0.2"))
    a.world.login(OTHER_IQN)
    assert sorted(a.world.disks().values()) == [CLONE, CLONE]
    before = a.traces()
    a.resign()
    assert a.traces() == before


def test_two_luns_of_one_scsi_id_are_refused(array, tmpdir):
    a = array(same_target=False)
    other = str(tmpdir.join("other.img"))
    image.write(other, shapes.one(2))
    a.world.add_lun(OTHER_IQN, 2, other, CLONE)
    a.world.login(OTHER_IQN)
    untouched = damage.fingerprint(a.clone), damage.fingerprint(other)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert re.search("the SCSI id %s belongs to sd[a-z], sd[a-z], which are not paths of one multipath map" % CLONE, text)
    assert (damage.fingerprint(a.clone), damage.fingerprint(other)) == untouched


def test_a_device_of_another_scsi_id_is_refused(array):
    """udev's links are out of date: they lead to a device that says it is another LUN."""
    a = array(same_target=False)
    if a.world.mode != "loop":
        pytest.skip("an image file has no SCSI id: %s" % a.world.why_not_loop)
    command, option = ("/sbin/scsi_id", "-s") if a.world.behaves_like.OLD_SCSI_ID else ("/usr/lib/udev/scsi_id", "--device")
    a.pool.lie(command, option, CLONE.encode("ascii"), ORIGINAL.encode("ascii"))
    a.world.add_lun(a.iqn, 1, a.clone, CLONE, wwid=ORIGINAL)
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "reports the SCSI id %s, not %s" % (ORIGINAL, CLONE) in text
    assert damage.fingerprint(a.clone) == untouched
    assert a.traces()["sessions"] == []


def test_a_volume_that_sits_on_the_clone_is_refused_by_name(array):
    a = array()
    if a.world.mode != "loop":
        pytest.skip("an image file has no holders: %s" % a.world.why_not_loop)
    a.show()
    a.pool.sit_on(CLONE, "VG_XenStorage--x-VHD--y")
    untouched = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47"
    assert re.search("device-mapper devices on this host use .*: VG_XenStorage--x-VHD--y", text)
    assert damage.fingerprint(a.clone) == untouched


# Which disk is which


def whole_map(xml_text):
    """{uuid before: uuid after} of a preview, SR included."""
    top = xml.dom.minidom.parseString(xml_text).documentElement

    def words(node, name):
        found = node.getElementsByTagName(name)
        return found[0].firstChild.data.strip() if found and found[0].firstChild else ""
    answer = top.getElementsByTagName("resign")[0]
    mapped = dict((words(vdi, "from"), words(vdi, "new_uuid")) for vdi in answer.getElementsByTagName("vdi") if words(vdi, "new_uuid"))
    mapped[words(answer, "from")] = words(answer, "new_sr")
    return mapped


def test_a_preview_with_the_sr_uuid_shows_what_the_resign_gives(array):
    lun = array(shapes.two_snapshots())
    config = lun.config(**{"resign-as": "12345678-0000-4000-8000-000000000001"})
    promised = whole_map(lun.xapi.sr_probe("relvmoiscsi", config))
    assert promised[lun.sr.uuid] == "12345678-0000-4000-8000-000000000001"
    kept = [vdi for vdi in lun.sr.vdis if not vdi.is_a_snapshot]
    assert lun.create(config=config)[:2] == ("SR_BACKEND_FAILURE_1", SUCCESS)
    with reader.Lun(lun.clone) as found:
        new = dict((tuple(volume.segments), volume.name[-36:]) for volume in found.volumes.values())
        assert found.vg_name[-36:] == promised[lun.sr.uuid]
    assert dict((vdi.uuid, new[tuple(vdi.volume.segments)]) for vdi in kept) == dict((vdi.uuid, promised[vdi.uuid]) for vdi in kept)
    for vdi in kept:
        assert "VDI %s was %s" % (promised[vdi.uuid], vdi.uuid) in lun.world.log()
    # Once more, before anybody has used it: nothing is written
    before = damage.fingerprint(lun.clone)
    assert whole_map(lun.xapi.sr_probe("relvmoiscsi", config)) == promised
    assert lun.create(config=config)[:2] == ("SR_BACKEND_FAILURE_1", SUCCESS)
    assert damage.fingerprint(lun.clone) == before
    # With another one, what comes from what is still the same
    again = whole_map(lun.xapi.sr_probe("relvmoiscsi", lun.config()))
    assert sorted(again) == sorted(promised) and not set(again.values()) & set(promised.values())


def test_an_sr_uuid_that_cannot_be_taken(array):
    lun = array(shapes.one())
    lun.attach_original()
    before = damage.fingerprint(lun.clone)
    for uuid, words in ((lun.sr.uuid, "an SR of this pool has it"), (lun.sr.vdis[0].uuid, "a VDI of this pool has it"),
                        ("12345678-0000-4000-8000-00000000000A", "no UUID in lower case")):
        config = lun.config(**{"resign-as": uuid})
        code, text, _ = lun.create(config=config)
        assert code == "SR_BACKEND_FAILURE_47" and words in text and uuid in text
        assert words in lun.xapi.sr_probe("relvmoiscsi", config)
    assert damage.fingerprint(lun.clone) == before


def test_snapshots_that_are_kept_are_snapshots_to_sm(array):
    lun = array(shapes.two_snapshots())
    assert "neither keep nor drop" in lun.create(config=lun.config(snapshots="yes"))[1]
    assert lun.create(config=lun.config(snapshots="keep"))[:2] == ("SR_BACKEND_FAILURE_1", SUCCESS)
    found = dict((vdi["uuid"], vdi) for vdi in lun.adopt().values() if vdi["managed"])
    mapped = dict((vdi.uuid, identity.uuid5(lun.uuid, vdi.uuid)) for vdi in lun.sr.vdis)
    snapshots = [vdi for vdi in lun.sr.vdis if vdi.is_a_snapshot]
    assert len(snapshots) == 2
    for vdi in snapshots:
        assert found[mapped[vdi.uuid]]["is_a_snapshot"] is True
    assert found[mapped[lun.sr.vdis[0].uuid]]["is_a_snapshot"] is False
