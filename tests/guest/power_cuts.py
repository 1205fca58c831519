# SPDX-License-Identifier: LGPL-2.1-only
"""The power goes in the middle of a resign, and the same command, given after the boot, finishes it."""

import os
import shutil
import sys
from dataclasses import dataclass

import pytest
import rig
from scenario import SCENARIOS

sys.path.insert(0, str(rig.REPOSITORY / "tests"))

from lvhd import image, reader, shapes  # noqa: E402

SOME = (("flush", 2), ("judge", 3))
ALL = tuple(("write", k) for k in (1, 3, 4)) + tuple(("flush", k) for k in (1, 2, 3, 4, 5)) + (("judge", 1), ("judge", 5))
POINTS = ALL if os.environ.get("GUEST_LONG") == "1" else SOME


def boot(arguments, disks, results):
    """One guest; it ends at the cut, or when it has nothing left to do."""
    ship = {"/rig/scenarios": SCENARIOS, **rig.dom0_ship()}
    job = rig.Job(f"python3 /rig/scenarios/power.py {arguments}", ship, disks, timeout=600)
    try:
        return rig.run(job, results)
    except rig.Unavailable as reason:
        pytest.skip(f"no guest: {reason}")


@dataclass
class Cut:
    """Where the power went (see inside/cut.py), the boot in which it did, the next one, and the VGs on the LUN in between."""

    point: tuple
    outcome: rig.Outcome
    names: list
    repeated: "rig.Outcome | None" = None

    def assert_finished(self):
        """Fails unless the power went there, and the repetition succeeded and left nothing."""
        assert {"cut": "%s %d" % self.point} in self.outcome.reports, str(self.outcome)
        assert self.outcome.ending == "power cut", str(self.outcome)
        assert len(self.names) == 1
        finished = [report["finished"] for report in self.repeated.reports if "finished" in report]
        assert finished == [[]], f"{finished}; {self.repeated}"


def run(place):
    """{point: Cut} for all POINTS, one boot after the other; each finishes what the last one interrupted."""
    original = place / "original"
    image.write(str(original), shapes.one(11))
    cuts = []
    for number, point in enumerate([*POINTS, None]):
        disks = {"original": original}
        if cuts:
            disks["interrupted"] = place / f"cut{number - 1}"
        if point:
            disks["cut"] = place / f"cut{number}"
            shutil.copyfile(original, disks["cut"])
        outcome = boot(" ".join(map(str, point or ())), disks, place / f"results{number}")
        if cuts:
            cuts[-1].repeated = outcome
        if point:
            cuts.append(Cut(point, outcome, reader.vg_names(str(disks["cut"]))))
    return {cut.point: cut for cut in cuts}
