# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: the lab kit (tests/lab), which reaches this dom0 as it reaches any other, through a shell and xe."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from dom0.toolstack import Toolstack
from inside import disk, pool
from inside.reporting import record
from inside.target import Target, Volume

IQN = "iqn.2024-01.test.array:lab"
KIT = "/opt/relvmoiscsi/tests/lab/run"
# It asks for what an installation does, which nobody has done here
TOLD = {"ok": True, "failures": [], "points": []}


@pytest.fixture(scope="module")
def lab(world, toolstack):
    """(status, report) of a run."""
    disk.mount_room("/var/tmp")
    stack = Toolstack(toolstack)
    toolstack.plugin_answers["relvmoiscsi", "check"] = json.dumps(TOLD)
    volume = Volume("lab", "/srv/lab", size=int(os.environ.get("LAB_MIB", "384")) * pool.MIB)
    Target(IQN).show(volume)
    config = world.device_config(IQN, volume.scsi_id)
    given = {"ERASE": config.pop("SCSIid"), "CONFIG": " ".join("%s=%s" % item for item in config.items()), "DISK": "8",
             "HOOK": f"{sys.executable} -m inside.labarray {IQN}", "TRANSPORT": "sh -c", "OUT": "/results/lab", "ARRAY": "LIO over a file",
             "VDI": "sm-config:type=vhd", "ACTS": os.environ.get("LAB_ACTS", "")}
    with subprocess.Popen([sys.executable, KIT], env=dict(os.environ, **given), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as kit:
        for line in kit.stdout:
            record("lab", line.rstrip())
    report = pathlib.Path("/results/lab/report.md").read_text()
    record("report", report)
    assert stack.disks == {}
    return kit.returncode, report


def test_all_is_well(lab):
    status, report = lab
    assert status == 0, report


def test_the_driver_was_killed_on_its_way(lab):
    """At its first steps at least; the last ones may be over before the news of them is."""
    found = re.findall(r"\| killed: driver killed after ([a-z0-9 ]+) \| ok ", lab[1])
    record("killed after", found)
    assert "log" in found or "switch 1" in found


def test_nothing_stays(lab, world, toolstack):
    assert toolstack.srs() == {} and toolstack.db.all("VBD") == {}
    assert world.refcounts() == {}
    assert list(pathlib.Path("/var/tmp").glob("relvmoiscsi-lab.*")) == []


def test_nothing_private_is_in_the_report(lab, world):
    for secret in (IQN, "127.0.0.1", world.host_uuid, "36001405"):
        assert secret not in lab[1]
