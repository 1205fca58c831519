# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: a clone is resigned by sr-create and attached while its original is attached on the same host and in use.

Two cases: "two-targets": the clone has a target of its own, with CHAP; the original's disk is activated and deactivated all the time.
"one-target": original and clone behind one target; the original's disk has a snapshot, and a VM writes to it.
"""

import functools
import os
import pathlib
import re
import threading

import pytest
from inside import devices, disk, initiator, pool
from inside.command import attempt, run
from inside.reporting import record
from inside.target import Target, Volume, allow_discovery, demand_discovery_chap
from lvhd import image, reader, shapes
from lvhd.model import pattern

MIB = pool.MIB
ORIGINAL = "iqn.2024-01.test.array:original"
CLONE = "iqn.2024-01.test.array:clone"
GUARDED = "iqn.2024-01.test.array:guarded"
SECRET = "m4rker \"of\" the 'secret' ünï"
PLACES = (0, 4096, 12288)
WRITTEN_MEANWHILE = 8192
TRACE = "/tmp/trace"
BAIT = "/tmp/bait"
STRACE = ["strace", "-f", "--seccomp-bpf", "-s", "8192", "-o", TRACE, "-e", "trace=execve,open,openat,openat2,creat,connect,unlink,rename"]


@pytest.fixture(scope="module")
def original(world, toolstack):
    """An SR made through sm on a LUN, attached, with one disk that holds a pattern."""
    lun = Volume("original", "/srv/original", size=128 * MIB)
    lun.target = Target(ORIGINAL)
    lun.target.show(lun)
    lun.config = world.device_config(ORIGINAL, lun.scsi_id)
    lun.sr = toolstack.sr_create("lvmoiscsi", lun.config, name_label="original")
    lun.vg = pool.vg_name(lun.sr)
    lun.vdi = toolstack.vdi_create(lun.sr, 8 * MIB, name_label="disk")
    toolstack.vdi_attach(lun.vdi)
    for sector in PLACES:
        disk.write(f"/dev/{lun.vg}/VHD-{lun.vdi}", pattern("original", sector), sector)
    toolstack.vdi_detach(lun.vdi)
    assert devices.lv_luns(lun.vg).keys() <= {devices.dm_name(lun.vg, "MGT")}
    return lun


class Activating(threading.Thread):
    """Activates and deactivates an inactive LV of the original all the time, and looks where the original's LVs are mapped.

    mapped: the SCSI ids seen; refused: what LVM said when it would not; rounds: how often it did.
    """

    def __init__(self, vg, name):
        super().__init__()
        self.vg = vg
        self.name = name
        self.mapped = set()
        self.refused = []
        self.rounds = 0
        self._end = threading.Event()

    def run(self):
        # a pause, since LVM's commands alone would keep an emulated processor busy
        while not self._end.wait(0.5):
            for change in ("-ay", "-an"):
                done = pool.lvm("lvchange", change, f"{self.vg}/{self.name}")
                if done.returncode:
                    self.refused.append(done.stderr)
                else:
                    self.rounds += change == "-ay"
                for luns in devices.lv_luns(self.vg).values():
                    self.mapped |= luns

    def stop(self):
        self._end.set()
        self.join()
        pool.lvm("lvchange", "-an", f"{self.vg}/{self.name}")


class Running:
    """A VM runs on the original's disk, and writes to it when the clone has been made."""

    def __init__(self, toolstack, original):
        self.toolstack = toolstack
        self.original = original
        self.mapped = set()
        self.refused = []
        self.rounds = 0

    def start(self):
        self.toolstack.vdi_attach(self.original.vdi)
        self.path = f"/dev/{self.original.vg}/VHD-{self.original.vdi}"
        disk.write(self.path, pattern("meanwhile", WRITTEN_MEANWHILE), WRITTEN_MEANWHILE)

    def stop(self):
        self.mapped = disk.lun_of_lv(self.original.vg, "VHD-" + self.original.vdi)
        data = disk.read(self.original.vg, "VHD-" + self.original.vdi, WRITTEN_MEANWHILE, 8)
        self.rounds = int(data == pattern("meanwhile", WRITTEN_MEANWHILE))
        self.toolstack.vdi_detach(self.original.vdi)


class Case:
    """One clone, from the array's copy to both SRs side by side."""

    def __init__(self, name, world, toolstack, original):
        self.name = name
        self.world = world
        self.toolstack = toolstack
        self.original = original
        self.iqn = ORIGINAL if name == "one-target" else CLONE + "-" + name
        self.own_iqn = None if name == "one-target" else self.iqn
        self.in_use = Running(toolstack, original) if self.own_iqn is None else Activating(original.vg, "VHD-" + original.vdi)
        self.preview = None

    def execute(self):
        original, toolstack = self.original, self.toolstack
        if self.name == "one-target":
            toolstack.vdi_snapshot(original.vdi)
        self.before = "/srv/before-" + self.name
        run("cp", "--sparse=always", original.path, self.before)
        self.clone = original.clone(self.name, "/srv/clone-" + self.name)
        if self.own_iqn:
            target = Target(self.iqn)
            target.show(self.clone)
        else:
            original.target.show(self.clone, number=5)
        self.config = self.world.device_config(self.iqn, self.clone.scsi_id)
        if self.name == "two-targets":
            target.chap("initiator", SECRET)
            demand_discovery_chap("initiator", SECRET)
            self.config.update(chapuser="initiator", chappassword=SECRET)
        self.sessions_before = initiator.sessions()
        if self.name == "one-target":
            self.preview = toolstack.sr_probe("relvmoiscsi", self.config)
            self.untouched = changed_bytes(self.before, self.clone.path) is None
            self.left_by_preview = self.world.left_over(self.clone.scsi_id, self.own_iqn)
        self.in_use.start()
        toolstack.wrapper = STRACE if self.name == "two-targets" else []
        self.answer = pool.resign(toolstack, self.config, "the clone", "resigned")
        self.run = toolstack.runs[-1]
        toolstack.wrapper = []
        self.trace = trace_lines() if self.name == "two-targets" else []
        allow_discovery()
        self.in_use.stop()
        with reader.Lun(original.path) as lun:
            volume = lun.volumes["VHD-" + original.vdi]
            self.disk_on_lun = volume.pieces(0, volume.size)
        self.sessions_after = initiator.sessions()
        self.left_over = self.world.left_over(self.clone.scsi_id, self.own_iqn)
        self.changed = changed_bytes(self.before, original.path)
        if not pool.says_resigned(self.answer):
            return
        self.probed = pool.probe(toolstack, self.config)
        self.sr = self.probed[0]
        self.pbd = pool.attach(toolstack, self.sr, self.config)
        self.vg = pool.vg_name(self.sr)
        self.scanned = toolstack.vdis(self.sr)
        self.both = sorted(run("vgs", "--noheadings", "-o", "vg_name").split())
        self.duplicates = "duplicate" in attempt("pvs").stderr.lower()
        self.vdi = next(uuid for uuid in pool.disks(toolstack, self.sr))
        self.read = {}
        disks = ((original.vg, original.vdi), (self.vg, self.vdi))
        for vg, vdi in disks:
            toolstack.vdi_attach(vdi)
        for vg, vdi in disks:
            self.read[vg] = [disk.read(vg, "VHD-" + vdi, sector, 8) for sector in PLACES]
        self.side_by_side = [disk.lun_of_lv(vg, "VHD-" + vdi) for vg, vdi in disks]
        for _, vdi in disks:
            toolstack.vdi_detach(vdi)
        pool.detach(toolstack, self.sr, self.pbd)
        self.left_after_unplug = self.world.left_over(self.clone.scsi_id, self.own_iqn)


def trace_lines():
    return pathlib.Path(TRACE).read_text(errors="surrogateescape").splitlines()


def run_digest(path):
    return run("sha256sum", path).split()[0]


def changed_bytes(before, after):
    """(first, last) offset of the bytes that differ, or None."""
    done = attempt("cmp", "-l", before, after)
    offsets = [int(line.split()[0]) - 1 for line in done.stdout.splitlines()]
    return (min(offsets), max(offsets)) if offsets else None


@pytest.fixture(scope="module")
def cases(world, toolstack, original):
    """A function from a case's name to the case, which is executed once; the one with the snapshot has to be the last."""

    @functools.lru_cache(maxsize=None)
    def case_of(name):
        case = Case(name, world, toolstack, original)
        try:
            case.execute()
        finally:
            pathlib.Path(f"/results/SMlog-{name}").write_text(world.log(), errors="surrogateescape")
        return case

    return case_of


@pytest.fixture(params=["two-targets", "one-target"])
def case(request, cases):
    return cases(request.param)


@pytest.fixture
def guarded_case(cases):
    return cases("two-targets")


@pytest.fixture
def snapshot_case(cases):
    return cases("one-target")


def test_sr_create_says_that_the_lun_is_resigned(case):
    assert pool.says_resigned(case.answer), f"{case.answer.xe()}\n{case.world.log()[-6000:]}"


def test_nothing_is_left_on_the_host(case):
    assert case.left_over == []


def test_sessions_of_others_stay(case):
    assert case.sessions_after == case.sessions_before


def test_original_is_never_mapped_to_the_clone(case, original):
    record("in use, " + case.name, {"rounds": case.in_use.rounds, "refused": len(case.in_use.refused)})
    assert case.in_use.rounds
    assert case.in_use.mapped == {original.scsi_id}


def test_original_is_byte_identical_where_nobody_wrote(case, original):
    if isinstance(case.in_use, Activating):
        assert case.changed is None
    else:
        assert len(case.disk_on_lun) == 1
        start, length = case.disk_on_lun[0]
        assert start <= case.changed[0] <= case.changed[1] < start + length


def test_probe_shows_one_new_sr(case, original):
    assert len(case.probed) == 1
    assert case.probed[0] != original.sr
    assert case.probed[0] == case.run.sr_uuid


def test_scan_shows_one_disk_of_another_uuid(case, original):
    shown = pool_disks(case.scanned)
    assert len(shown) == 1
    assert original.vdi not in case.scanned
    assert case.scanned[shown[0]]["name_label"] == "disk"


def pool_disks(records):
    return [uuid for uuid, found in records.items() if found["managed"]]


def test_scan_shows_leaf_and_base_copy_where_there_was_a_snapshot(snapshot_case):
    assert len(snapshot_case.scanned) == 2
    base = next(found for found in snapshot_case.scanned.values() if not found["managed"])
    leaf = next(found for found in snapshot_case.scanned.values() if found["managed"])
    assert base["name_label"] == "base copy"
    assert leaf["sm_config"]["vhd-parent"] == base["uuid"]
    assert not leaf["is_a_snapshot"]


def test_preview_had_said_so(snapshot_case, original):
    assert snapshot_case.untouched
    assert snapshot_case.left_by_preview == []
    actions = re.findall(r"<(?:action|Action)>\s*(\S+)\s*</", snapshot_case.preview)
    assert sorted(actions) == ["drop", "keep", "keep"], snapshot_case.preview
    assert original.sr in snapshot_case.preview


def test_only_the_disk_is_there_where_there_was_no_snapshot(cases):
    assert len(cases("two-targets").scanned) == 1


def test_both_are_there_side_by_side(case, original):
    assert case.both.count(original.vg) == case.both.count(case.vg) == 1
    assert not case.duplicates
    assert case.side_by_side == [{original.scsi_id}, {case.clone.scsi_id}]


def test_pattern_reads_back_on_both(case, original):
    expected = [pattern("original", sector) for sector in PLACES]
    assert case.read == {original.vg: expected, case.vg: expected}


def test_unplug_leaves_nothing(case):
    assert case.left_after_unplug == []


@pytest.fixture
def trace(guarded_case):
    """strace's lines of the driver's run in the case with CHAP."""
    return guarded_case.trace


def test_secret_is_in_no_argument_but_iscsiadms(trace):
    """sm itself hands it to iscsiadm; nothing that the driver, the engine or the judges start has it."""
    marker = re.compile(r"m4rker")
    started = [line for line in trace if "execve(" in line]
    assert started
    programs = {re.search(r'execve\("([^"]+)"', line).group(1) for line in started if marker.search(line)}
    assert {os.path.basename(program) for program in programs} <= {"iscsiadm"}
    assert any("iscsiadm" in line and marker.search(line) for line in started), "the trace would not show it"


def test_secret_is_in_no_output_log_or_file(guarded_case, world):
    for said in (guarded_case.run.argument, guarded_case.run.stdout, guarded_case.run.stderr, world.log()):
        assert "m4rker" not in said
    done = attempt("grep", "-rlsa", "m4rker", "/run", "/tmp", "/var", "/opt/xensource", "/root", "/dev/shm", "--exclude=trace")
    assert done.stdout == ""


def test_a_refused_secret_is_told_without_it(world, toolstack, original):
    lun = original.clone("guarded", "/srv/guarded")
    target = Target(GUARDED)
    target.chap("initiator", "quite another one")
    target.show(lun)
    config = world.device_config(GUARDED, lun.scsi_id, chapuser="initiator", chappassword=SECRET)
    demand_discovery_chap("initiator", SECRET)
    error = pool.resign(toolstack, config)
    allow_discovery()
    assert not pool.says_resigned(error)
    assert error.code.startswith("SR_BACKEND_FAILURE_")
    run_of_it = toolstack.runs[-1]
    for said in (error.xe(), run_of_it.argument, run_of_it.stdout, run_of_it.stderr, world.log()):
        assert "m4rker" not in said
    assert world.left_over(lun.scsi_id, GUARDED) == []
    assert run_digest(lun.path) == run_digest(original.path)


@pytest.fixture(scope="module")
def baited(world, toolstack):
    """A LUN whose LVM hint, locators and names lead to files of the host: (answer, strace's lines)."""
    sr = shapes.two_snapshots(6, device=BAIT + "/hint", tags=["tag"])
    sr.vdis[0].name_label = BAIT + "/name"
    path = "/srv/baited"
    image.write(path, sr)
    with reader.Lun(path) as lun:
        names = {lun.vhd(name).parent_name for name in lun.volumes if name.startswith("VHD-")} - {""}
    content = pathlib.Path(path).read_bytes()
    for name in names:
        for old, new in (("file://./" + name, "file://" + BAIT + "/locator"), (".\\" + name, BAIT + "/locator")):
            for code in ("ascii", "utf-16-le"):
                content = content.replace(old.encode(code), new.encode(code).ljust(len(old.encode(code)), b"\0"))
    pathlib.Path(path).write_bytes(content)
    os.makedirs(BAIT, exist_ok=True)
    for name in ("hint", "locator", "name"):
        pathlib.Path(BAIT, name).touch()
    lun = Volume("baited", path)
    Target(CLONE + "-baited").show(lun)
    config = world.device_config(CLONE + "-baited", lun.scsi_id)
    toolstack.wrapper = STRACE
    try:
        shown = toolstack.sr_probe("relvmoiscsi", config)
        lines = trace_lines()
        answer = pool.resign(toolstack, config)
    finally:
        toolstack.wrapper = []
    return shown, answer, lines + trace_lines()


def opened_paths(lines):
    """The paths that programs opened, or tried to."""
    found = (re.search(r'(?:open|openat|openat2|creat)\((?:[^,"]*, )?"([^"]*)"', line) for line in lines)
    return {match.group(1) for match in found if match}


def test_no_file_is_opened_that_the_lun_names(baited):
    shown, answer, lines = baited
    record("baited", {"answer": answer.xe(), "shown": shown})
    paths = opened_paths(lines)
    assert any(path.startswith("/dev/") for path in paths)
    assert [path for path in paths if BAIT in path] == []


def test_names_on_the_lun_open_nothing_but_lvms_locks_and_nodes(trace, guarded_case, original):
    """Of the identities that only the LUN knows, the old VG's name appears in the path of LVM's lock and of our ticket for it alone.

    LVM also lists every directory of /dev, that of the attached original among them.
    """
    with reader.Lun(guarded_case.before) as lun:
        known = re.compile("|".join(sorted({original.sr, *lun.vdi_uuids()})))
    lines = [line for line in trace if known.search(line.replace("--", "-"))]
    listed = [line for line in lines if "O_DIRECTORY" in line]
    assert opened_paths(listed) <= {"/dev/" + original.vg}
    named = {path for path in opened_paths(line for line in lines if line not in listed) if known.search(path.replace("--", "-"))}
    # the ticket in the line for that lock is called like it
    named = {path for path in named if not path.startswith("/var/run/relvmoiscsi/line/V_%s." % original.vg)}
    assert named == {"/var/lock/lvm/V_" + original.vg}
