# SPDX-License-Identifier: LGPL-2.1-only
"""The rig itself: a guest boots, has what a dom0 and its array have, and its results come back."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import image  # noqa: E402
import rig  # noqa: E402
from scenario import SCENARIOS, Scenario  # noqa: E402

BOOT = Scenario("boot")


def test_the_place_of_images_may_be_a_link_that_leads_nowhere_yet(tmp_path):
    link = tmp_path / "guest"
    link.symlink_to(tmp_path / "elsewhere" / "cache")
    assert image.directory(link) == tmp_path / "elsewhere" / "cache"
    assert link.is_dir()


@pytest.fixture(scope="module")
def boot(tmp_path_factory):
    return BOOT.run(tmp_path_factory.mktemp("boot"))


@pytest.mark.parametrize("check", BOOT.checks())
def test_in_guest(boot, check):
    boot.assert_passed(check)


def test_the_jobs_status_and_files_come_back(boot):
    assert boot.outcome.ending == "finished"
    assert boot.outcome.status == 0, str(boot.outcome)
    facts = json.loads((boot.results / "facts.json").read_text())
    assert set(facts) == {"kernel", "lvm"}


def test_lvm_does_not_let_the_original_be_changed_beside_its_clone(boot):
    """Why the product exists: what LVM says and does as soon as a clone is visible."""
    seen = boot.record("duplicate")
    print(json.dumps(seen, indent=1))
    commands = seen["commands"]
    assert "duplicate" in commands["lvcreate"]["stderr"].lower()


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A guest that loses its power: the disk it wrote to, and how it ended."""
    scratch = tmp_path_factory.mktemp("cut")
    disk = scratch / "lun"
    with open(disk, "wb") as image:
        image.truncate(16 << 20)
    job = rig.Job("python3 /rig/scenarios/unflushed.py", {"/rig/scenarios": SCENARIOS}, {"lun": disk}, timeout=120)
    try:
        outcome = rig.run(job, scratch / "results", on_report=lambda report: rig.CUT if report.get("ready") else None)
    except rig.Unavailable as reason:
        pytest.skip(f"no guest: {reason}")
    return disk, outcome


def test_power_cut_loses_what_was_not_flushed(cut):
    disk, outcome = cut
    assert (outcome.ending, outcome.status) == ("power cut", None), str(outcome)
    data = disk.read_bytes()
    assert data[: 1 << 20] == b"F" * (1 << 20)
    assert data[1 << 20 : 2 << 20] == bytes(1 << 20)
