# SPDX-License-Identifier: LGPL-2.1-only
"""The power goes in the middle of a resign, and the same command, given after the boot, finishes it.

GUEST_LONG=1 tries ten points of a run instead of two.
"""

import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

import rig  # noqa: E402
from lvhd import image, reader, shapes  # noqa: E402
from scenario import SCENARIOS  # noqa: E402

SOME = (("flush", 2), ("judge", 3))
ALL = tuple(("write", k) for k in (1, 3, 4)) + tuple(("flush", k) for k in (1, 2, 3, 4, 5)) + (("judge", 1), ("judge", 5))
POINTS = ALL if os.environ.get("GUEST_LONG") == "1" else SOME


def boot(arguments, disks, results):
    """One guest; it ends at the cut, or when it has nothing left to do."""
    ship = {"/rig/scenarios": SCENARIOS, **rig.dom0_ship()}
    job = rig.Job(f"python3 /rig/scenarios/power.py {arguments}", ship, disks, timeout=600)
    try:
        return rig.run(job, results, console_to=sys.stdout)
    except rig.Unavailable as reason:
        pytest.skip(f"no guest: {reason}")


@pytest.fixture(scope="module")
def boots(tmp_path_factory):
    """[(point, outcome of the boot in which the power went, outcome of the next, VGs seen on the LUN in between)]."""
    place = tmp_path_factory.mktemp("power")
    original = place / "original"
    image.write(str(original), shapes.one(11))
    found = []
    interrupted = None
    for number, point in enumerate([*POINTS, None]):
        disks = {"original": original}
        if interrupted:
            disks["interrupted"] = interrupted
        if point:
            disks["cut"] = place / f"cut{number}"
            shutil.copyfile(original, disks["cut"])
        outcome = boot(" ".join(map(str, point or ())), disks, place / f"results{number}")
        if interrupted:
            found[-1][2] = outcome
        if point:
            found.append([point, outcome, None, reader.vg_names(str(disks["cut"]))])
            interrupted = disks["cut"]
    return found


@pytest.mark.parametrize("index", range(len(POINTS)), ids=[f"{what}-{number}" for what, number in POINTS])
def test_power_cut(boots, index):
    (what, number), cut, repeated, names = boots[index]
    assert {"cut": f"{what} {number}"} in cut.reports, str(cut)
    assert cut.ending == "power cut", str(cut)
    assert len(names) == 1
    assert [report["finished"] for report in repeated.reports if "finished" in report] == [[]], str(repeated)
