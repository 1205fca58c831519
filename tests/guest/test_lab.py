# SPDX-License-Identifier: LGPL-2.1-only
"""The lab kit against the guest; GUEST_DRIVER=1, as `make guest-test` sets it, asks for it. With SM_TREE (and VHD_UTIL), sm is real."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import rig  # noqa: E402
from recovery import interpreters  # noqa: E402
from scenario import Scenario  # noqa: E402

TREE = os.environ.get("SM_TREE", "")
LAB = Scenario("lab")


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    if not (os.environ.get("GUEST_DRIVER") or TREE):
        pytest.skip("make guest-test runs it")
    ship, environment = dict(rig.dom0_ship(), **{"/opt/relvmoiscsi/tests/lab": HERE.parent / "lab"}), {}
    if TREE:
        python = interpreters.for_sm(TREE)
        ship.update(rig.real_sm_ship(TREE, python, os.environ.get("VHD_UTIL")))
        environment = {"GUEST_SM": "/opt/relvmoiscsi/sm", "GUEST_SM_PYTHON": python, "GUEST_SLEEP": os.environ.get("GUEST_SLEEP", "0.4")}
    # one act alone: LAB_ACTS=killed, say
    environment["LAB_ACTS"] = os.environ.get("LAB_ACTS", "")
    place = pathlib.Path(os.environ["GUEST_RESULTS"]) if os.environ.get("GUEST_RESULTS") else tmp_path_factory.mktemp("lab")
    return Scenario("lab", ship, environment=environment, timeout=7200, memory=3072).run(
        place, on_report=lambda report: print(report.get("value", report), flush=True))


@pytest.mark.parametrize("check", LAB.checks())
def test_in_guest(verdict, check):
    verdict.assert_passed(check)
