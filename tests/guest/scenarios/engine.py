# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: the engine by itself on a clone that comes over real iSCSI, beside its original with an LV in use."""

import json
import os
import sys

import pytest
from inside import devices, initiator, lvmconf, target
from inside.command import attempt, run
from inside.reporting import record
from inside.target import Target, Volume

PRODUCT = "/opt/relvmoiscsi"
sys.path.insert(0, PRODUCT + "/tests")

from lvhd import samples  # noqa: E402  (shipped with the job)

ORIGINAL = "iqn.2024-01.test.array:original"
CLONE = "iqn.2024-01.test.array:clone"
NEW_SR = "6f3a1f0e-6a52-4a0c-9b0c-3f1f3c2b7d11"
SAMPLE = "snaps"


def relvm(*arguments):
    return attempt("python3", "-m", "relvm", *arguments, env=dict(os.environ, PYTHONPATH=PRODUCT + "/drivers"))


def lvm(*arguments):
    return run(*arguments, env=dict(os.environ, **lvmconf.MASTER))


def digest(path):
    return run("sha256sum", path).split()[0]


def names(command, column, device):
    """The values of one column that LVM reports for the VG on a device."""
    return sorted(lvm(command, "--noheadings", "-o", column, "--select", f"pv_name={os.path.realpath(device)}").split())


@pytest.fixture(scope="module")
def original():
    """A LUN with an SR that sm made, attached; one of its LVs is active, as when a VM runs."""
    lvmconf.write()
    target.start()
    initiator.start()
    lun = Volume("original", samples.unpack(SAMPLE, "/srv"))
    Target(ORIGINAL).show(lun)
    initiator.discover()
    initiator.login(ORIGINAL)
    lun.device = devices.wait_for(devices.by_id(lun.scsi_id))
    lun.vg = "VG_XenStorage-" + samples.about(SAMPLE)["uuid"]
    lun.lvs = sorted(lvm("lvs", "--noheadings", "-o", "lv_name", lun.vg).split())
    lun.active = next(name for name in lun.lvs if name.startswith("VHD-"))
    lvm("lvchange", "-ay", f"{lun.vg}/{lun.active}")
    return lun


@pytest.fixture(scope="module")
def clone(original):
    lun = original.clone("clone", "/srv/clone")
    Target(CLONE).show(lun)
    initiator.discover()
    initiator.login(CLONE)
    lun.device = devices.wait_for(devices.by_id(lun.scsi_id))
    return lun


@pytest.fixture(scope="module")
def resigned(original, clone):
    """The clone after the resign; `.before` is the original's digest before, `.answer` what the engine said."""
    clone.before = digest(original.path)
    clone.preview = relvm("preview", clone.device, "--json", "--sr-uuid", NEW_SR)
    clone.untouched = digest(clone.path) == clone.before
    clone.answer = relvm("resign", clone.device, "--json", "--sr-uuid", NEW_SR)
    initiator.settle()
    return clone


def test_preview_writes_nothing(resigned):
    assert resigned.preview.returncode == 0, resigned.preview.stderr
    assert json.loads(resigned.preview.stdout)
    assert resigned.untouched


def test_resign_succeeds(resigned):
    record("resign", {"stdout": resigned.answer.stdout, "stderr": resigned.answer.stderr})
    assert resigned.answer.returncode == 0, resigned.answer.stderr


def test_lvm_sees_two_volume_groups(original, resigned):
    assert names("pvs", "vg_name", original.device) == [original.vg]
    assert names("pvs", "vg_name", resigned.device) == ["VG_XenStorage-" + NEW_SR]
    assert "duplicate" not in attempt("pvs").stderr.lower()


def test_lvm_finds_nothing_wrong(resigned):
    lvm("vgck", "VG_XenStorage-" + NEW_SR)


def test_no_lv_name_is_shared_but_mgt(original, resigned):
    assert set(names("pvs", "lv_name", resigned.device)) & set(original.lvs) == {"MGT"}


def test_verify_against_the_original(original, resigned):
    done = relvm("verify", resigned.device, "--original", original.path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_original_was_not_touched(original, resigned):
    assert digest(original.path) == resigned.before
    assert devices.lv_luns(original.vg) == {devices.dm_name(original.vg, original.active): {original.scsi_id}}


def test_lvm_works_on_both_afterwards(original, resigned):
    for vg, lun in ((original.vg, original), ("VG_XenStorage-" + NEW_SR, resigned)):
        lvm("lvcreate", "-q", "-ay", "-Wn", "-Zn", "-L", "4M", "-n", "fresh", vg)
        mapped = devices.lv_luns(vg)
        assert mapped[devices.dm_name(vg, "fresh")] == {lun.scsi_id}
        lvm("lvremove", "-q", "-f", f"{vg}/fresh")


def test_a_clone_in_use_is_refused(original):
    done = relvm("resign", original.device)
    assert done.returncode == 1
    assert "use" in done.stderr
