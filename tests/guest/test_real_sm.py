# SPDX-License-Identifier: LGPL-2.1-only
"""A real sm in the guest: SM_TREE is a checkout of it, VHD_UTIL a real vhd-util (otherwise the double of it), QCOW2_HELPER a real
qcow2_helper, which a sm that makes QCOW2 images needs; `make guest-sm`. GUEST_SLEEP: what sm's sleeps are multiplied with (up to 7.x its
garbage collector sleeps for five minutes, twice here)."""

import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import rig  # noqa: E402
from dom0 import native  # noqa: E402
from recovery import interpreters  # noqa: E402
from scenario import Scenario  # noqa: E402

TREE = os.environ.get("SM_TREE", "")
STORY, QCOW2, BUSY = "realsm", "realqcow2", "busy"
TESTS = HERE.parent
# GUEST_CLONES=50, say: clones at random moments of a busy SR as well
CLONES = os.environ.get("GUEST_CLONES", "")
HELPER = os.environ.get("QCOW2_HELPER", "")


def job(name):
    python = interpreters.for_sm(TREE)
    # sm sleeps for five seconds at each login of that many clones
    sleep = os.environ.get("GUEST_SLEEP", "0.4" if name == BUSY else "1")
    environment = {"GUEST_SM": "/opt/relvmoiscsi/sm", "GUEST_SM_PYTHON": python, "GUEST_SLEEP": sleep}
    if name == BUSY:
        environment.update(GUEST_CLONES=CLONES, GUEST_SEED=os.environ.get("GUEST_SEED", "1"))
    ship = {**rig.dom0_ship(), **rig.real_sm_ship(TREE, python, os.environ.get("VHD_UTIL"), HELPER),
            "/opt/relvmoiscsi/tests/recovery": TESTS / "recovery"}
    return {"ship": ship, "environment": environment, "timeout": 7200, "memory": 3072}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """A function: name of a scenario -> its Verdict."""
    if not TREE:
        pytest.skip("SM_TREE=<a checkout of sm> is missing")
    print(f"{TREE}: {native.generation_of(TREE)}")
    known = {}

    def get(name):
        if name not in known:
            kept = os.environ.get("GUEST_RESULTS")
            place = pathlib.Path(kept, name) if kept else tmp_path_factory.mktemp(name)
            known[name] = Scenario(name, **job(name)).run(place, on_report=lambda report: print(report, flush=True))
        return known[name]

    return get


@pytest.mark.parametrize("check", Scenario(STORY).checks())
def test_in_guest(answers, check):
    answers(STORY).assert_passed(check)


@pytest.mark.skipif(not HELPER, reason="QCOW2_HELPER=<a real qcow2_helper> is missing")
@pytest.mark.parametrize("check", Scenario(QCOW2).checks())
def test_qcow2(answers, check):
    if native.generation_of(TREE)[0] not in "WY":
        pytest.skip("this sm makes no QCOW2 images")
    answers(QCOW2).assert_passed(check)


@pytest.mark.skipif(not CLONES, reason="GUEST_CLONES says how many clones of a busy SR")
@pytest.mark.parametrize("check", Scenario(BUSY).checks())
def test_busy(answers, check):
    answers(BUSY).assert_passed(check)
