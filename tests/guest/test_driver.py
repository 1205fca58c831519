# SPDX-License-Identifier: LGPL-2.1-only
"""The driver, started as xapi starts it, in a guest whose iSCSI, LVM, device-mapper and udev are real."""

import functools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402
from scenario import Scenario  # noqa: E402

# environment: GUEST_LONG=1 has every write killed at, and eight clones resigned twenty times in a row.
JOB = {"ship": rig.dom0_ship(), "timeout": 3600, "environment": {"GUEST_LONG": os.environ.get("GUEST_LONG", "")}}
SCENARIOS = {name: Scenario(name, **JOB) for name in ("attached", "killed", "waiting", "multipath", "parallel")}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """A function from a scenario's name to its Verdict; each is booted once."""

    @functools.lru_cache(maxsize=None)
    def verdict(name):
        return SCENARIOS[name].run(tmp_path_factory.mktemp(name))

    return verdict


@pytest.mark.parametrize(("name", "check"), [(name, check) for name in SCENARIOS for check in SCENARIOS[name].checks()])
def test_in_guest(verdicts, name, check):
    verdicts(name).assert_passed(check)
