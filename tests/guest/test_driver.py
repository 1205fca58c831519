# SPDX-License-Identifier: LGPL-2.1-only
"""The driver, started as xapi starts it, in a guest whose iSCSI, LVM, device-mapper and udev are real."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402
from scenario import Scenario  # noqa: E402

ATTACHED = Scenario("attached", ship=rig.dom0_ship())


@pytest.fixture(scope="module")
def attached(tmp_path_factory):
    return ATTACHED.run(tmp_path_factory.mktemp("attached"))


@pytest.mark.parametrize("check", ATTACHED.checks())
def test_beside_an_attached_original(attached, check):
    attached.assert_passed(check)


KILLED = Scenario("killed", ship=rig.dom0_ship(), timeout=1800, environment={"GUEST_LONG": os.environ.get("GUEST_LONG", "")})


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    return KILLED.run(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("check", KILLED.checks())
def test_killed(killed, check):
    killed.assert_passed(check)
