# SPDX-License-Identifier: LGPL-2.1-only
"""The lab kit: its parts; and, with LAB_KIT=1, all of it against a double of a dom0, which it reaches through a shell in place of ssh and
through xe."""
from __future__ import absolute_import, division, print_function

import glob
import json
import os
import signal
import subprocess
import sys

import pytest

from dom0 import pools, vdisks
from dom0.bin import vhd_util
from dom0.toolstack import Toolstack
from lab import array, disks, dom0, report, story

HERE = os.path.dirname(os.path.abspath(__file__))
ORIGINAL = "360000000000000000e00000000010000"
IQN = "iqn.2020-01.test:array"
MIB = 1 << 20
TOLD = {"ok": True, "failures": [], "points": [], "versions": {"sm": "double"}, "seconds": 0.0}
WHOLE = pytest.mark.skipif(not os.environ.get("LAB_KIT"), reason="make lab-double runs it")
SHELL = ["sh", "-c"]


class Host(object):
    """A pool with one empty LUN, and the kit's words for it."""

    def __init__(self, directory, transport):
        self.directory = directory
        self.pool = pools.Pool(os.path.join(directory, "dom0"), "J")
        self.world, self.xapi = self.pool.world, self.pool.xapi
        # a busy machine starves whoever waits for a driver
        self.xapi.timeout = 1800
        self.toolstack = Toolstack(self.xapi)
        # what they look at, a double has not
        for function in ("check", "selftest"):
            self.xapi.plugin_answers["relvmoiscsi", function] = json.dumps(TOLD)
        self.lun = os.path.join(directory, "original")
        with open(self.lun, "wb") as stream:
            stream.truncate(160 * MIB)
        if transport == "iSCSI":
            self.world.add_target(IQN)
        else:
            self.world.add_fabric(IQN)
        self.world.add_lun(IQN, 0, self.lun, ORIGINAL)
        config = self.world.device_config(IQN)
        shell = ["env"] + ["%s=%s" % item for item in sorted(self.world.environment().items())] + SHELL
        self.environment = {
            "ERASE": ORIGINAL, "CONFIG": " ".join("%s=%s" % item for item in config.items()), "DISK": "4", "TRANSPORT": " ".join(shell),
            "HOOK": " ".join([sys.executable, os.path.join(HERE, "doubled_array.py"), self.world.root, directory]),
            "SMLOG": self.world.path("/var/log/SMlog"), "OUT": os.path.join(directory, "out"), "ARRAY": "a file"}

    def run(self, **more):
        """(status, report, log)."""
        done = subprocess.run([sys.executable, os.path.join(HERE, "run")], env=dict(os.environ, **dict(self.environment, **more)),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        texts = []
        for name in ("report.md", "log.txt"):
            with open(os.path.join(self.directory, "out", name)) as stream:
                texts.append(stream.read())
        print(done.stdout)
        return done.returncode, texts[0], texts[1]

    def left(self):
        """What a run has left here."""
        return {"SRs": self.xapi.srs(), "VBDs": self.xapi.db.all("VBD"), "sessions": self.world.sessions(),
                "clones": glob.glob(os.path.join(self.directory, "clone-*")), "files": glob.glob("/var/tmp/relvmoiscsi-lab.*")}


@pytest.fixture
def host(tmpdir):
    made = []

    def make(transport="iSCSI"):
        made.append(Host(str(tmpdir), transport))
        if made[0].world.why_not_loop:
            pytest.skip(made[0].world.why_not_loop)
        return made[0]
    yield make
    for one in made:
        one.pool.close()


def rows(text):
    """{point: (verdict, remark)}"""
    found = {}
    for line in text.split("\n## Points\n")[1].split("\n## ")[0].split("\n"):
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if len(cells) >= 3:
            found[cells[0]] = (cells[1], cells[-1])
    return found


@WHOLE
@pytest.mark.parametrize("transport", ["iSCSI", "HBA"])
def test_everything(host, transport):
    lab = host(transport)
    before = lab.left()["files"]
    status, text, log = lab.run()
    print(text)
    assert status == 0, text + log
    points = rows(text)
    for act in ("create", "killed", "attach"):
        for disk in ("chain", "plain", "raw", "empty", "a snapshot of the copy", "gone again"):
            assert points["%s: %s" % (act, disk)][0] == "ok"
    assert points["killed: gone again"][1] == "fn=discard"
    assert "ok" in [points["killed: driver killed after " + step][0] for step in ("log", "switch 1")]
    for secret in (ORIGINAL, IQN, "127.0.0.1", lab.world.host_uuid):
        assert secret not in text
    assert lab.left() == {"SRs": {}, "VBDs": {}, "sessions": [], "clones": [], "files": before}


@WHOLE
def test_a_failure_is_told_and_everything_is_removed(host):
    """The array gives a clone of another LUN the second time."""
    lab = host()
    before = lab.left()["files"]
    wrong = os.path.join(lab.directory, "wrong")
    with open(wrong, "wb") as stream:
        stream.truncate(160 * MIB)
    lab.world.add_lun(IQN, 7, wrong, ORIGINAL[:-1] + "7")
    hook = os.path.join(lab.directory, "hook")
    with open(hook, "w") as stream:
        stream.write("#!/bin/sh\n[ $1 = clone ] && echo SCSIid=%s7\n" % ORIGINAL[:-1])
    os.chmod(hook, 0o755)
    status, text, _ = lab.run(HOOK=hook, ACTS="attach")
    points = rows(text)
    assert status == 1
    assert points["attach: preview"][0] == "failed" and points["attach: gone again"][0] == "not done"
    assert points["original: chain"][0] == points["clean up"][0] == "ok"
    assert lab.left() == {"SRs": {}, "VBDs": {}, "sessions": [], "clones": [], "files": before}


@WHOLE
def test_a_lun_that_is_not_empty_is_left_alone(host):
    lab = host()
    from lvhd import image, shapes
    image.write(lab.lun, shapes.one(1))
    with open(lab.lun, "rb") as stream:
        content = stream.read()
    status, text, _ = lab.run()
    assert status == 1 and rows(text)["LUN is empty"][0] == "failed" and "make the original" not in rows(text)
    with open(lab.lun, "rb") as stream:
        assert stream.read() == content


@WHOLE
def test_an_sr_goes_with_what_its_deleted_snapshots_have_left(host):
    lab = host()
    sr = lab.xapi.sr_create("lvmoiscsi", lab.world.device_config(IQN, ORIGINAL))
    disk = lab.xapi.vdi_create(sr, 4 * MIB)
    for vdi in (lab.xapi.vdi_snapshot(disk), disk):
        lab.xapi.vdi_delete(vdi)
    lab.xapi.pbd_unplug(list(lab.xapi.pbds(sr))[0])
    assert lab.toolstack.command(None, ["sr-destroy", "uuid=" + sr])["err"] == ""
    assert lab.xapi.srs() == {}


def test_the_report_tells_nothing_private():
    mask = report.Mask({"xen-one": "host", "secret": "chapuser"})
    text = mask("SR 0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111 (VG_XenStorage-0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111) and "
                "1c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111 of xen-one at 192.0.2.7:3260, iqn.2020-01.com.example:a/b, 36001405aabbccddeeff0011, "
                "by secret, fe80:0:0:1::2, PV AbCdEf-1234-1234-1234-1234-1234-abcdef, mail admin@example.org; sm 3.2.12-21.1 secretly "
                "took 0:00:01")
    assert text == ("SR <uuid 1> (VG_XenStorage-<uuid 1>) and <uuid 2> of <host 1> at <address 1>, <target 1>, <LUN 1>, by <chapuser 1>, "
                    "<address 2>, PV <LVM id 1>, mail <mail 1>; sm 3.2.12-21.1 secretly took 0:00:01")


class Points(object):
    """A Lab that has run."""

    facts = {"relvmoiscsi": "1.2.3", "hosts": 2}
    selftest = dict(TOLD, points=[{"name": "LVM", "ok": False, "sentence": "a | b", "seconds": 0.2}])

    def __init__(self, *verdicts):
        self.points = [{"name": "point %d" % number, "verdict": verdict, "sentence": "", "seconds": 1.25}
                       for number, verdict in enumerate(verdicts)]


def test_the_report_counts():
    text = report.markdown(Points("ok", "failed", "not done", "ok"), report.Mask(), "2026-01-02")
    assert "# Lab report of relvmoiscsi 1.2.3: 1 of 4 points failed\n" in text
    assert "2026-01-02; 2 points ok, 1 failed, 1 not done." in text
    assert "| point 1 | failed | 1.2 |  |" in text and "| LVM | failed | 0.2 | a / b |" in text
    assert "all is well" in report.markdown(Points("ok", "not done"), report.Mask(), "2026-01-02")


def test_the_array_by_hook(tmpdir):
    hook = tmpdir.join("hook")
    hook.write("#!/bin/sh\necho $* >> %s\necho SCSIid=$3-$2 target=192.0.2.9\n" % tmpdir.join("calls"))
    hook.chmod(0o755)
    made = array.Array(str(hook), {"SCSIid": "3600", "target": "192.0.2.1", "port": "3260"})
    assert made.clone(2) == {"SCSIid": "3600-2", "target": "192.0.2.9", "port": "3260"}
    made.remove()
    assert tmpdir.join("calls").read() == "clone 2 3600\nremove 2 3600-2\n"
    for text in ("exit 1", "echo", "echo SCSIid=3600"):
        hook.write("#!/bin/sh\n%s\n" % text)
        with pytest.raises(array.NoClone):
            made.clone(3)


def test_a_driver_that_says_the_words_is_killed_and_no_other(tmpdir):
    log = tmpdir.join("SMlog")
    log.write("SM: [1] relvmoiscsi: 3600: log took 1 s\n")
    host = dom0.Dom0(SHELL, lambda text: None)
    other = subprocess.Popen(["sleep", "300"])
    driver = subprocess.Popen(["sh", "-c", "sleep 300 & wait", "/opt/xensource/sm/RELVMoISCSISR"], start_new_session=True)
    try:
        with dom0.Killer(host, str(log), "relvmoiscsi: 3600: log took") as killer:
            with open(str(log), "a") as stream:
                for pid, lun in ((driver.pid, "3601"), (other.pid, "3600"), (driver.pid, "3600")):
                    stream.write("SM: [%d] relvmoiscsi: %s: log took 1 s\n" % (pid, lun))
                    stream.flush()
            assert driver.wait() == -signal.SIGKILL
            killer._reader.join(300)
        assert killer.killed and other.poll() is None
        with dom0.Killer(host, str(log), "nobody says this") as killer:
            pass
        assert not killer.killed
    finally:
        other.kill()
        other.wait()
        os.killpg(driver.pid, signal.SIGKILL)


class Alone(object):
    """As much of a Lab as disks need; every VDI is a file."""

    master = "host"

    def __init__(self, directory):
        self.scratch = directory
        self.vbds = []
        self.dom0 = self
        self.host = dom0.Dom0(SHELL, lambda text: None)
        self.run = self.host.run

    def control_domain(self, host):
        return host

    def xe(self, *words):
        if words[0] == "vbd-create":
            return [word for word in words if word.startswith("vdi-uuid=")][0].split("=")[1]
        return os.path.relpath(os.path.join(self.scratch, words[1].split("=")[1]), "/dev")


def test_a_disk_is_compared_to_its_last_byte(tmpdir):
    lab = Alone(str(tmpdir))
    disk = disks.Disk("disk", "vdi", MIB)
    path = tmpdir.join("vdi")
    path.write_binary(b"\0" * MIB)
    disks.write(lab, disk, (0, 2, "it's one"), (3, 1, "two"))
    copy = disk.frozen("copy", "other")
    assert path.read_binary()[:18] == b"it's one\nit's one\n" and path.read_binary()[-3 * (MIB // 4):][:4] != b"two\n"
    assert disks.compare(lab, disk, "vdi") == ""
    disks.write(lab, disk, (1, 1, "three"))
    assert disks.compare(lab, disk, "vdi") == "" and "differ" in disks.compare(lab, copy, "vdi")
    for at in (0, MIB // 2 + 5, MIB - 1):
        data = bytearray(path.read_binary())
        data[at] ^= 1
        tmpdir.join("spoilt").write_binary(bytes(data))
        assert "differ" in disks.compare(lab, disk, "spoilt")
    assert lab.vbds == []


def test_what_the_kit_calls_a_success():
    """The words of the driver, as the kit looks for them."""
    from relvm.pool import attach
    assert story.RESIGNED == attach.RESIGNED and set(story.TYPES.values()) == set(attach.TYPES.items())


def test_a_doubled_disk_writes_what_was_changed(tmpdir):
    """Into a block that is there and one that is not, and nothing where nothing was changed."""
    directory, name, path = str(tmpdir), "VHD-disk", str(tmpdir.join("disk"))
    with open(os.path.join(directory, name), "wb") as stream:
        stream.truncate(12 * MIB)
    vhd_util.format_vhd("", os.path.join(directory, name), 8 * MIB, vhd_util.DYNAMIC, 0)
    disk = vdisks.Disk(path, directory, name)
    assert disk.size == 8 * MIB and not disk.before
    with open(path, "r+b") as stream:
        stream.seek(2 * MIB - 512)
        stream.write(b"a" * 1024)
    disk.close()
    before = tmpdir.join(name).read_binary()
    disk = vdisks.Disk(path, directory, name)
    assert sorted(disk.before) == [4095, 4096] and set(disk.before.values()) == {b"a" * 512}
    disk.close(False)
    assert tmpdir.join(name).read_binary() == before and not os.path.exists(path)
