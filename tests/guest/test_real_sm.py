# SPDX-License-Identifier: LGPL-2.1-only
"""A real sm in the guest: SM_TREE is a checkout of it, VHD_UTIL a real vhd-util (otherwise the double of it); `make guest-sm`."""

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
NAME = "realsm"


def job():
    python = interpreters.for_sm(TREE)
    environment = {"GUEST_SM": "/opt/relvmoiscsi/sm", "GUEST_SM_PYTHON": python}
    ship = {**rig.dom0_ship(), **rig.real_sm_ship(TREE, python, os.environ.get("VHD_UTIL"))}
    return {"ship": ship, "environment": environment, "timeout": 3000}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    if not TREE:
        pytest.skip("SM_TREE=<a checkout of sm> is missing")
    print(f"{TREE}: {native.generation_of(TREE)}")
    return Scenario(NAME, **job()).run(tmp_path_factory.mktemp(NAME))


@pytest.mark.parametrize("check", Scenario(NAME).checks())
def test_in_guest(answers, check):
    answers.assert_passed(check)
