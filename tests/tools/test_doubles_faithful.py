# SPDX-License-Identifier: LGPL-2.1-only
"""The doubles of sm behave as sm does: one set of expectations, for the doubles of every generation, and for a real sm checkout
when SM_TREE names one.

Where generations differ, the expectation is taken from the generation's profile; a real tree is held to the profile that it is
recognised as. LUNs are those that XenServer's own sm made (tests/data).
"""
from __future__ import absolute_import, division, print_function

import os
import re

import pytest

from conftest import copy
from dom0 import pools
from lvhd import reader, samples

IQN = "iqn.2020-01.test:array"
LUN = "360000000000000000e00000000010001"
BLANK = "360000000000000000e00000000010002"
MIB = 1 << 20
# a disk and its snapshots
SAMPLE = "snaps"


def pytest_generate_tests(metafunc):
    """Every generation gets the tests in which generations differ (those that ask for `generation`), and one LUN attached and scanned;
    all the others are for those that pools.whole() names, or the first; the other LUNs for those of pools.thorough()."""
    if "pool" not in metafunc.fixturenames:
        return
    everywhere = "generation" in metafunc.fixturenames
    names = pools.chosen(everywhere)
    if "kind" not in metafunc.fixturenames:
        metafunc.parametrize("pool", pools.cases([(name,) for name in names], everywhere), indirect=True)
        return
    metafunc.parametrize("pool, kind", [(name, kind) for name in names for kind in samples.NAMES
                                        if pools.thorough(name) or kind == SAMPLE], indirect=["pool"])


@pytest.fixture
def pool(request, tmpdir):
    """A pool with one host, no LUN yet; closed after the test."""
    reason = pools.why_not(request.param)
    if reason:
        pytest.skip(reason)
    made = pools.Pool(str(tmpdir.join("dom0")), request.param)
    yield made
    made.close()


@pytest.fixture
def generation(pool):
    return pool.world.behaves_like


def present(pool, sample, unpacked, tmpdir, scsi_id=LUN, chap=None):
    """A target with a copy of the sample as LUN 0; its device_config and its image."""
    image = str(tmpdir.join("lun.img"))
    copy(unpacked[sample], image)
    pool.world.add_target(IQN, chap=chap)
    pool.world.add_lun(IQN, 0, image, scsi_id)
    return pool.world.device_config(IQN, scsi_id), image


def plug(pool, uuid, config):
    """Introduce the SR, plug and scan it; its PBD."""
    pool.xapi.sr_introduce("lvmoiscsi", uuid, name_label="adopted", name_description="by a test")
    pbd = pool.xapi.pbd_create(uuid, config)
    pool.xapi.pbd_plug(pbd)
    pool.xapi.sr_scan(uuid)
    return pbd


def fails(pool, call, *arguments, **options):
    """(code, text, stderr) of a call that must fail."""
    with pytest.raises(pools.XapiError) as caught:
        call(*arguments, **options)
    error = caught.value
    return error.code, error.params[1] if len(error.params) > 1 else "", pool.xapi.runs[-1].stderr


def complaints(run):
    """stderr of a run, without what locks of sm 1.37.0 say when Python 2 ends and has taken their util away."""
    return re.sub("(?m)^Exception \\w+Error: .* in <bound method Lock._close .*> ignored\n", "", run.stderr)


def test_probe_attach_scan_detach(pool, generation, kind, unpacked, tmpdir):
    config, image = present(pool, kind, unpacked, tmpdir)
    about = samples.about(kind)
    uuid = str(about["uuid"])
    probed = pool.xapi.sr_probe("lvmoiscsi", config)
    assert re.findall("<UUID>\\s*(\\S+)\\s*</UUID>", probed) == [uuid]
    assert not pool.world.sessions() and not pool.world.refcounts() and not pool.world.mappings()
    pbd = plug(pool, uuid, config)
    assert pool.world.refcounts() == {IQN: [uuid]}
    assert set(pool.world.disks().values()) == {LUN}
    found = dict((key, record) for key, record in pool.xapi.vdis(uuid).items() if record["managed"])
    assert dict((key, (vdi["name_label"], int(vdi["virtual_size"]), vdi["is_a_snapshot"])) for key, vdi in found.items()) \
        == dict((key, (vdi["name"], vdi["mb"] * MIB, vdi["snap"])) for key, vdi in about["vdis"].items())
    with reader.Lun(image) as lun:
        for key, record in pool.xapi.vdis(uuid).items():
            chain = lun.chain(key)
            parent = chain[1].name.split("-", 1)[1] if len(chain) > 1 else None
            assert record["sm_config"].get("vhd-parent") == parent
            assert record["sm_config"]["vdi_type"] == "vhd"
            assert record["managed"] == (record["name_label"] != "base copy")
    record = pool.xapi.srs()[uuid]
    assert record["sm_config"]["allocation"] == "thick" and record["sm_config"]["use_vhd"] == "true"
    assert record["sm_config"]["devserial"] == "scsi-" + LUN
    assert int(record["physical_size"]) > int(record["physical_utilisation"]) > 0
    # the MGT volume stays active until the SR is detached
    assert [name for name in pool.world.mappings() if name.endswith("-MGT")]
    pool.xapi.pbd_unplug(pbd)
    assert not pool.world.sessions() and not pool.world.refcounts() and not pool.world.mappings() and not pool.world.lv_refcounts()
    assert not os.path.exists(pool.world.path("/dev/VG_XenStorage-" + uuid))
    assert [(run.command, run.status, complaints(run)) for run in pool.xapi.runs if complaints(run) or run.status] == []
    assert "Exception in _checkMetadataVolume" not in pool.world.log()
    assert not pool.xapi.messages()


def test_names_of_xapi_go_to_mgt_at_the_second_attach(pool, unpacked, tmpdir):
    """At the first one the SR's sm_config does not say use_vhd yet, and LVHDSR.update leaves MGT alone."""
    config, image = present(pool, "one", unpacked, tmpdir)
    pbd = plug(pool, str(samples.about("one")["uuid"]), config)
    pool.xapi.pbd_unplug(pbd)
    with reader.Lun(image) as lun:
        assert (lun.mgt().name_label, lun.mgt().name_description) == ("sr-one", "")
    pool.xapi.pbd_plug(pbd)
    pool.xapi.pbd_unplug(pbd)
    with reader.Lun(image) as lun:
        assert (lun.mgt().name_label, lun.mgt().name_description) == ("adopted", "by a test")


def test_snapshots_point_to_their_disk(pool, unpacked, tmpdir):
    config, _ = present(pool, "snaps", unpacked, tmpdir)
    uuid = str(samples.about("snaps")["uuid"])
    plug(pool, uuid, config)
    vdis = pool.xapi.vdis(uuid)
    disk = [key for key, vdi in vdis.items() if vdi["managed"] and not vdi["is_a_snapshot"]]
    assert len(disk) == 1
    origin = pool.xapi.db.find("VDI", disk[0])
    assert [vdi["snapshot_of"] for vdi in vdis.values() if vdi["is_a_snapshot"]] == [origin, origin]


def test_incomplete_configurations_are_answered_with_lists(pool, generation, unpacked, tmpdir):
    config, _ = present(pool, "one", unpacked, tmpdir)
    probe = pool.xapi.sr_probe
    code, text, stderr = fails(pool, probe, "lvmoiscsi", {})
    assert (code, stderr) == ("SR_BACKEND_FAILURE_95", "")
    code, text, stderr = fails(pool, probe, "lvmoiscsi", {"target": config["target"], "port": config["port"]})
    assert code == "SR_BACKEND_FAILURE_96"
    assert re.findall("<TargetIQN>\\s*(\\S+)\\s*</TargetIQN>", stderr) == [IQN, "*"]
    del config["SCSIid"]
    code, text, stderr = fails(pool, probe, "lvmoiscsi", config)
    assert code == "SR_BACKEND_FAILURE_107"
    assert re.findall("<SCSIid>\\s*(\\S+)\\s*</SCSIid>", stderr) == [LUN]
    assert re.findall("<size>\\s*(\\S+)\\s*</size>", stderr) == [str(os.path.getsize(unpacked["one"]))]
    assert not pool.world.sessions() and not pool.world.refcounts()


def test_login_needs_the_right_secret(pool, unpacked, tmpdir):
    config, _ = present(pool, "one", unpacked, tmpdir, chap=("user", "secret of the test"))
    code, text, stderr = fails(pool, pool.xapi.sr_probe, "lvmoiscsi", dict(config, chapuser="user", chappassword="another"))
    assert code in ("SR_BACKEND_FAILURE_67", "SR_BACKEND_FAILURE_68") and stderr == ""
    assert pool.xapi.sr_probe("lvmoiscsi", dict(config, chapuser="user", chappassword="secret of the test"))
    assert "secret of the test" not in "".join(run.argument for run in pool.xapi.runs)
    assert not pool.world.sessions()


def test_unreachable_target(pool, unpacked, tmpdir):
    config, _ = present(pool, "one", unpacked, tmpdir)
    pool.world.take_portal_down("%s:%s" % (config["target"], config["port"]))
    assert fails(pool, pool.xapi.sr_probe, "lvmoiscsi", config)[0] == "SR_BACKEND_FAILURE_141"


def needs_writing_lvm(pool):
    if pool.world.mode != "loop":
        pytest.skip("LVM that writes needs loop mode: %s" % pool.world.why_not_loop)


def test_create_makes_an_sr_on_a_blank_lun(pool, tmpdir):
    needs_writing_lvm(pool)
    image = str(tmpdir.join("blank.img"))
    with open(image, "wb") as f:
        f.write(b"x" * (12 * MIB))
        f.truncate(300 * MIB)
    pool.world.add_target(IQN)
    pool.world.add_lun(IQN, 0, image, BLANK)
    config = pool.world.device_config(IQN, BLANK)
    uuid = pool.xapi.sr_create("lvmoiscsi", config, name_label="fresh")
    with open(image, "rb") as f:
        head = f.read(12 * MIB)
    # LVM's metadata is at the start of 10 MiB, of zeros up to 2025; MGT lies behind 11 MiB
    assert head[10 * MIB:11 * MIB] == b"x" * MIB
    assert (b"x" * 512 in head[MIB:10 * MIB]) is pool.world.behaves_like.WIPES_SIGNATURES
    assert reader.vg_names(image) == ["VG_XenStorage-" + uuid]
    disk = pool.xapi.vdi_create(uuid, 8 * MIB, "disk")
    if pool.world.sm_tree and pool.world.behaves_like.name == "C":
        pytest.skip("LVM of today takes no LV name as long as that of 6.5's clone journal: no snapshot with the real 6.5")
    if pool.world.sm_tree and pool.world.behaves_like.name == "V":
        pytest.skip("the double has no tapdisk that the real sm 4 could pause for a snapshot")
    snapshot = pool.xapi.vdi_snapshot(disk)
    pool.xapi.sr_scan(uuid)
    vdis = pool.xapi.vdis(uuid)
    assert set(key for key, vdi in vdis.items() if vdi["managed"]) == {disk, snapshot}
    base = [key for key, vdi in vdis.items() if not vdi["managed"]]
    assert len(base) == 1
    assert [vdis[key]["sm_config"]["vhd-parent"] for key in (disk, snapshot)] == base * 2
    pool.xapi.vdi_attach(disk)
    mapped = [name for name in pool.world.mappings() if disk.replace("-", "--") in name or base[0].replace("-", "--") in name]
    assert len(mapped) == 2
    pool.xapi.vdi_detach(disk)
    assert not [name for name in pool.world.mappings() if name in mapped]
    for pbd in pool.xapi.pbds(uuid):
        pool.xapi.pbd_unplug(pbd)
    with reader.Lun(image) as lun:
        assert sorted(lun.vdi_uuids()) == sorted(vdis)
        records = lun.mgt().live()
        assert len(records) == 3


def test_create_refuses_a_lun_of_another_pbd(pool, unpacked, tmpdir):
    config, image = present(pool, "one", unpacked, tmpdir)
    with open(image, "rb") as f:
        before = f.read(16 * MIB)
    pool.xapi.sr_introduce("lvmoiscsi", "0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111")
    for _ in range(40):
        pool.xapi.pbd_create("0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111", config)
    # sm stops looking at a PBD of the new SR itself. Where in the order of the records that stands is chance: one time in 41 it is
    # the first, and sm makes its SR.
    for _ in range(5):
        try:
            made = pool.xapi.sr_create("lvmoiscsi", config)
        except pools.XapiError as error:
            assert error.code == "SR_DEVICE_IN_USE"
            break
        for pbd in pool.xapi.pbds(made):
            pool.xapi.pbd_unplug(pbd)
        pool.xapi.sr_forget(made)
        copy(unpacked["one"], image)
    else:
        pytest.fail("sm made an SR five times")
    with open(image, "rb") as f:
        assert f.read(16 * MIB) == before
    assert list(pool.xapi.srs()) == ["0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111"]


def test_two_srs_share_one_session(pool, unpacked, tmpdir):
    config, _ = present(pool, "one", unpacked, tmpdir)
    second = str(tmpdir.join("second.img"))
    copy(unpacked["snaps"], second)
    pool.world.add_lun(IQN, 1, second, BLANK)
    first_uuid, second_uuid = [str(samples.about(name)["uuid"]) for name in ("one", "snaps")]
    first = plug(pool, first_uuid, config)
    other = plug(pool, second_uuid, pool.world.device_config(IQN, BLANK))
    assert len(pool.world.sessions()) == 1
    assert sorted(pool.world.refcounts()[IQN]) == sorted([first_uuid, second_uuid])
    pool.xapi.pbd_unplug(first)
    assert pool.world.refcounts() == {IQN: [second_uuid]} and len(pool.world.sessions()) == 1
    pool.xapi.pbd_unplug(other)
    assert not pool.world.sessions()


def test_references_to_a_session_are_a_set(pool):
    found = pool.world.run_python("""
util = module("util")
result = [util._incr_iscsiSR_refcount("iqn.a", uuid) for _ in range(2)] + [util._decr_iscsiSR_refcount("iqn.a", uuid) for _ in range(2)]
""", uuid="0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111")
    assert found == [1, 1, 0, 0]


def test_errors_are_raised_or_returned(pool, generation):
    found = pool.world.run_python("""
SR = module("SR")
xs_errors = module("xs_errors")
SROSError = getattr(xs_errors, "SROSError", None) or SR.SROSError
result = []
for key in ("SRUnavailable", "No such key"):
    try:
        error = xs_errors.XenError(key, opterr="why")
        result.append([False, isinstance(error, SROSError), error.errno, str(error)])
    except Exception:
        error = sys.exc_info()[1]
        result.append([True, isinstance(error, SROSError), error.errno, str(error)])
result.append([hasattr(SR, "SROSError"), hasattr(xs_errors, "SROSError")])
""")
    raises = generation.XENERROR_RAISES
    assert found[0] == [raises, True, 47, "The SR is not available [opterr=why]"]
    assert found[1] == [raises, True, 1, "Error reporting error, unknown key No such key"]
    assert found[2] == [generation.ERRORS_IN == "SR", generation.ERRORS_IN == "xs_errors"]


def test_lvm_commands_that_are_not_sms(pool, generation):
    found = pool.world.run_python("""
lvutil = module("lvutil")
result = [hasattr(lvutil, "cmd_lvm"), lvutil.CMD_VGS]
if result[0]:
    result.append(lvutil.cmd_lvm(["vgrename", "a", "b"]))
""")
    if generation.CMD_LVM:
        assert found == [True, "vgs", None]
    else:
        assert found[0] is False and found[1].endswith("/usr/sbin/vgs")


def test_lock_taken_twice(pool, generation):
    found = pool.world.run_python("""
Lock = module("lock").Lock
one, other = Lock("x", "y"), Lock("x", "y")
one.acquire()
result = [one is other]
try:
    one.acquire()
    result.append("again")
except AssertionError:
    result.append("assertion")
one.release()
one.release()
""")
    assert found == ([True, "again"] if generation.LOCK_SINGLETON else [False, "assertion"])


def test_a_second_lock_object_drops_the_lock_of_the_first(pool, generation):
    found = pool.world.run_python("""
import fcntl, gc, subprocess
Lock = module("lock").Lock
one = Lock("x", "y")
one.acquire()
other = Lock("x", "y")
del other
gc.collect()
# another process tries
code = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
import os
path = os.environ.get("DOM0_ROOT", "") + "/var/lock/sm/y/x"
process = subprocess.Popen([sys.executable, "-c", code, path], stderr=subprocess.PIPE)
process.communicate()
result = process.returncode == 0
""")
    assert found is (not generation.LOCK_SINGLETON)


def test_lvm_calls_wait_for_sms_lvm_lock(pool, generation):
    """8.2 to XenServer 8: while another process has Lock('lvm'), or in 8 the lock of its queue, LVM commands wait.

    --readonly ones do not from 8.2 CU1 on.
    """
    found = pool.world.run_python("""
import signal
util, lvutil = module("util"), module("lvutil")
Lock = module("lock").Lock
ready, hold = os.pipe()
child = os.fork()
if child == 0:
    Lock(*names).acquire()
    os.write(hold, b"x")
    time = __import__("time")
    signal.alarm(60)
    while True:
        signal.pause()
os.read(ready, 1)


# sm 3.0.13 goes on after every Exception
class Waited(BaseException):
    pass


def waited(*args):
    raise Waited()


signal.signal(signal.SIGALRM, waited)
result = []
for arguments in (["vgs"], ["vgs", "--readonly"]):
    signal.alarm(6)
    try:
        if hasattr(lvutil, "cmd_lvm"):
            lvutil.cmd_lvm(arguments)
        else:
            lvutil._checkVG("any")
        signal.alarm(0)
        result.append("ran")
    except Waited:
        result.append("waited")
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
""", names=["lvm", "al-lvm"] if generation.LVM_LOCK == "queue" else ["lvm"])
    assert found == {"lock": ["waited", "waited"], "context": ["waited", "ran"],
                     "queue": ["waited", "ran"]}.get(generation.LVM_LOCK, ["ran", "ran"])


def test_fairlock_is_not_to_be_nested(pool, generation):
    found = pool.world.run_python("""
lvutil = module("lvutil")
result = "no Fairlock"
if hasattr(lvutil, "Fairlock"):
    import fairlock
    try:
        with fairlock.Fairlock("devicemapper"):
            lvutil.cmd_lvm(["vgs"])
        result = "ran"
    except fairlock.FairlockDeadlock:
        result = "deadlock"
""")
    assert found == ("deadlock" if generation.LVM_LOCK == "fairlock" else "no Fairlock")


def test_metadata_that_cannot_be_read_is_no_metadata(pool, tmpdir):
    good, bad = str(tmpdir.join("good")), str(tmpdir.join("bad"))
    with open(good, "wb") as f:
        f.write(b"XSSM:2048      :1:2".ljust(512))
        f.write(b'<?xml version="1.0" ?><uuid>u</uuid><allocation>thick</allocation>'.ljust(512))
        f.write(b"<name_label>a &amp; b</name_label>".ljust(512) + b"<name_description></name_description>".ljust(512))
    with open(bad, "wb") as f:
        f.write(b"no metadata at all".ljust(4096))
    found = pool.world.run_python("""
module("lvutil")        # in 7.0 the two import each other, and srmetadata cannot be the first
srmetadata = module("srmetadata")
result = []
for path in (good, bad):
    handler = srmetadata.LVMMetadataHandler(path, False)
    result.append(list(handler.getMetadata()))
    del handler
""", good=good, bad=bad)
    assert found[0][0] == {"uuid": "u", "allocation": "thick", "name_label": "a & b", "name_description": ""} and found[0][1] == {}
    assert found[1] == [{}, {}]


def test_metadata_is_written_as_the_format_says(pool, tmpdir):
    path = str(tmpdir.join("mgt"))
    with open(path, "wb") as f:
        f.truncate(4 * MIB)
    pool.world.run_python("""
module("lvutil")        # in 7.0 the two import each other, and srmetadata cannot be the first
srmetadata = module("srmetadata")
handler = srmetadata.LVMMetadataHandler(path)
vdi = {"uuid": "u1", "name_label": "a < b", "name_description": "d", "is_a_snapshot": 0, "snapshot_of": "", "snapshot_time": "",
       "type": "user", "vdi_type": "vhd", "read_only": 0, "managed": 1, "metadata_of_pool": ""}
# the last two keys are wanted by 7.0 alone, whose thin SRs had them
handler.writeMetadata({"uuid": "u0", "allocation": "thick", "name_label": "S & R", "name_description": "", "initial_allocation": "",
                       "allocation_quantum": ""}, {"u1": vdi})
del handler
result = [vdi["name_label"], vdi["deleted"]]
""", path=path)
    with open(path, "rb") as f:
        data = f.read(3072)
    assert data[:512] == b"XSSM:3072      :1:2".ljust(512)
    assert data[512:1024].startswith(b'<?xml version="1.0" ?><uuid>u0</uuid><allocation>thick</allocation>') and data[1023:1024] == b" "
    assert data[1024:1536] == b"<name_label>S &amp; R</name_label>".ljust(512)
    assert data[1536:2048] == b"<name_description></name_description>".ljust(512)
    assert data[2048:2560] == b"<vdi><name_label>a &lt; b</name_label><name_description>d</name_description>".ljust(512)
    tags = dict(re.findall("<([a-z_]+)>([^<]*)</", data[2560:].decode("ascii")))
    assert tags == {"uuid": "u1", "is_a_snapshot": "0", "snapshot_of": "", "snapshot_time": "", "type": "user", "vdi_type": "vhd",
                    "read_only": "0", "managed": "1", "metadata_of_pool": "", "deleted": "0"}
    assert data[2560:].rstrip().endswith(b"</vdi>")


def test_an_scsi_id_of_another_pbd_may_be_overlooked(pool):
    """test_SCSIid stops at the first PBD of its own SR."""
    found = pool.world.run_python("""
util = module("util")


class Records(object):
    def __init__(self, pbds):
        self.pbds = pbds

    def get_by_uuid(self, uuid):
        return uuid

    def get_sm_config(self, sr):
        return {}

    def get_all_records(self):
        return self.pbds


class Session(object):
    pass


def ask(order):
    session = Session()
    session.xenapi = Session()
    pbds = __import__("collections").OrderedDict()
    for sr in order:
        pbds["pbd of " + sr] = {"SR": sr, "device_config": {"SCSIid": "id"}}
    session.xenapi.SR = session.xenapi.PBD = Records(pbds)
    return util.test_SCSIid(session, "own", "id")


result = [ask(["other", "own"]), ask(["own", "other"])]
""")
    assert found == [True, False]


def test_tags_of_a_renamed_lv_are_stale(pool, unpacked, tmpdir):
    needs_writing_lvm(pool)
    config, _ = present(pool, "one", unpacked, tmpdir)
    pool.world.login(IQN)
    found = pool.world.run_python("""
lvmcache = module("lvmcache")
os.environ["LVM_SYSTEM_DIR"] = "/etc/lvm/master"
cache = lvmcache.LVMCache("VG_XenStorage-" + uuid)
cache.create("first", 4 << 20, "atag")
cache.deactivateNoRefcount("first")
cache.rename("first", "second")
result = [list(cache.getTagged("atag"))]
cache.refresh()
result.append(list(cache.getTagged("atag")))
try:
    cache.getSize(lvName="second")
    result.append("keyword")
except TypeError:
    result.append("positional only")
cache.remove("second")
""", uuid=str(samples.about("one")["uuid"]))
    assert found == [["first"], ["second"], "positional only"]


def test_a_slaves_lvm_refuses_to_write(pool, generation, unpacked, tmpdir):
    needs_writing_lvm(pool)
    present(pool, "one", unpacked, tmpdir)
    pool.world.login(IQN)
    name = "VG_XenStorage-%s/MGT" % samples.about("one")["uuid"]
    anywhere = not generation.SETS_LVM_SYSTEM_DIR or generation.REFRESH_ON_ACTIVATE
    for directory, expected in (("/etc/lvm", anywhere), ("/etc/lvm/master", True)):
        code = pool.world.run("lvchange", "--addtag", "x", name, env={"LVM_SYSTEM_DIR": directory})[0]
        assert (code == 0) is expected


def test_activity_is_needed_to_ask_for_a_parent_but_not_to_scan(pool, unpacked, tmpdir):
    present(pool, "snaps", unpacked, tmpdir)
    pool.world.login(IQN)
    vg = "VG_XenStorage-%s" % samples.about("snaps")["uuid"]
    code, out, _ = pool.world.run("vhd-util", "scan", "-f", "-m", "VHD-*", "-l", vg)
    assert code == 0
    parents = dict(re.findall("vhd=(\\S+) .*parent=(\\S+)", out))
    child = [name for name in sorted(parents) if parents[name] != "none"][0]
    run = pool.world.run
    path, parent = [pool.world.seen("/dev/%s/%s" % (vg, name)) for name in (child, parents[child])]
    assert run("lvchange", "-ay", path)[0] == 0
    code, out, _ = run("vhd-util", "query", "-p", "-n", path)
    assert code != 0 and "query failed" in out
    code, out, _ = run("vhd-util", "read", "-p", "-n", path)
    assert code == 0 and parents[child].replace("-", "--") in out
    assert run("lvchange", "-ay", parent)[0] == 0
    code, out, _ = run("vhd-util", "query", "-p", "-n", path)
    assert code == 0 and out.strip().endswith(parents[child].replace("-", "--"))
    assert run("vhd-util", "check", "-B", "-n", path)[0] == 0
    assert run("vgchange", "-an", vg)[0] == 0
    assert not pool.world.mappings()


def test_an_exported_vg_is_shown_and_refused(pool, unpacked, tmpdir):
    """What the design calls locked: every LVM shows the VG, none lets anybody use it."""
    needs_writing_lvm(pool)
    present(pool, "one", unpacked, tmpdir)
    pool.world.login(IQN)
    vg = "VG_XenStorage-%s" % samples.about("one")["uuid"]
    env = {"LVM_SYSTEM_DIR": "/etc/lvm/master"}
    assert pool.world.run("vgexport", vg, env=env)[0] == 0
    assert vg in pool.world.run("vgs", "--noheadings")[1] and vg in pool.world.run("pvs", "--noheadings")[1]
    for command in (["lvs", vg], ["lvchange", "-ay", vg + "/MGT"], ["vgchange", "-ay", vg]):
        assert pool.world.run(*command, env=env)[0] == 5
    assert not pool.world.mappings()


def test_a_duplicate_pv_is_hidden(pool, unpacked, tmpdir):
    """LVM up to 2.02.130 takes one of the two and goes on; a newer one does not."""
    present(pool, "one", unpacked, tmpdir)
    clone = str(tmpdir.join("clone.img"))
    copy(unpacked["one"], clone)
    pool.world.add_lun(IQN, 1, clone, BLANK)
    pool.world.login(IQN)
    code, out, err = pool.world.run("pvs", "--noheadings", "-o", "pv_name")
    assert code == 0 and len(out.split()) == 1 and "Not using device" in err
    for scsi_id in (LUN, BLANK):
        code, out, err = pool.world.run("pvs", "--noheadings", "-o", "pv_name", env={"LVM_DEVICE": "/dev/disk/by-scsid/" + scsi_id})
        assert code == 0 and err == ""
        assert pool.world.disks()[out.strip().rsplit("/", 1)[-1]] == scsi_id
    code, out, err = pool.world.run("lvchange", "-ay", "VG_XenStorage-%s/MGT" % samples.about("one")["uuid"])
    if pool.world.behaves_like.REFUSES_DUPLICATES:
        assert code == 5 and "while PVs appear on duplicate devices" in err and not pool.world.mappings()
    else:
        assert code == 0 and len(pool.world.mappings()) == 1


def test_without_root_an_sr_can_be_probed_attached_and_scanned(unpacked, tmpdir):
    """The file mode of a double, in which LVM is a reader and an active LV a copy."""
    made = pools.Pool(str(tmpdir.join("dom0")), "X", mode="file")
    try:
        config, image = present(made, "snaps", unpacked, tmpdir)
        uuid = str(samples.about("snaps")["uuid"])
        assert uuid in made.xapi.sr_probe("lvmoiscsi", config)
        pbd = plug(made, uuid, config)
        assert sorted(vdi["name_label"] for vdi in made.xapi.vdis(uuid).values()) == ["base copy", "base copy", "snap1", "snap2", "vdi0"]
        made.xapi.pbd_unplug(pbd)
        made.xapi.pbd_plug(pbd)
        made.xapi.pbd_unplug(pbd)
        with reader.Lun(image) as lun:
            assert lun.mgt().name_label == "adopted"        # written back from the copy
        assert not made.world.mappings() and not made.world.sessions()
    finally:
        made.close()
