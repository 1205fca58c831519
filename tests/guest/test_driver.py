# SPDX-License-Identifier: LGPL-2.1-only
"""The driver, started as xapi starts it, in a guest whose iSCSI, LVM, device-mapper and udev are real.

The main job (scenarios/attached.py) is always there. GUEST_DRIVER=1 asks for all the others, as `make guest-test` does. GUEST_LONG=1: the
driver is killed at every write, the power goes at ten points, eight clones are resigned twenty times in a row.
"""

import concurrent.futures
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import power_cuts  # noqa: E402
import rig  # noqa: E402
from scenario import Scenario  # noqa: E402

JOB = {"ship": rig.dom0_ship(), "timeout": 7200, "environment": {"GUEST_LONG": os.environ.get("GUEST_LONG", "")}}
# The longest first.
SCENARIOS = {name: Scenario(name, **JOB) for name in ("attached", "killed", "parallel", "fabric", "multipath", "waiting", "dr")}
POWER = "power"
# A guest does one thing at a time most of the time.
AT_ONCE = 2
LONGER = pytest.mark.skipif(not os.environ.get("GUEST_DRIVER"), reason="make guest-test runs it")


def marks(name):
    return () if name == "attached" else (LONGER,)


@pytest.fixture(scope="module")
def answers(request, tmp_path_factory):
    """Name of a scenario -> future of its Verdict, or of the power cuts; those that the selected tests need, two at a time."""
    names = {item.callspec.params["name"] for item in request.session.items if item.module is request.module}
    if not os.environ.get("GUEST_DRIVER"):
        names &= {"attached"}
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as guests:
        futures = {}
        for name in [*SCENARIOS, POWER]:
            if name in names:
                work = power_cuts.run if name == POWER else SCENARIOS[name].run
                futures[name] = guests.submit(work, tmp_path_factory.mktemp(name))
        yield futures


@pytest.mark.parametrize(("name", "check"), [pytest.param(name, check, marks=marks(name))
                                             for name in SCENARIOS for check in SCENARIOS[name].checks()])
def test_in_guest(answers, name, check):
    answers[name].result().assert_passed(check)


@pytest.mark.parametrize(("name", "point"), [pytest.param(POWER, point, id="%s-%d" % point, marks=marks(POWER))
                                             for point in power_cuts.POINTS])
def test_power_cut(answers, name, point):
    answers[name].result()[point].assert_finished()
