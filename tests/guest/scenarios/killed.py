# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: the driver is killed at its writes to a clone while the original is attached; the same command finishes the job."""

import os
import signal

import pytest
from inside import clones, devices, pool
from inside.reporting import record
from lvhd import shapes

# Every write; otherwise every second one of the smaller SR, and every third of the other.
ALL = os.environ.get("GUEST_LONG") == "1"
SHAPES = {"one": shapes.one, "chain5": shapes.chain5}
# Other seeds, other identities.
SEEDS = {"one": 7, "chain5": 17}
STEP = {"one": 1 if ALL else 2, "chain5": 1 if ALL else 3}


def killed_at(number, clone, toolstack):
    """sr-create whose driver is killed instead of doing its write `number`; whether it was (False: it makes fewer writes)."""
    toolstack.wrapper = ["/usr/bin/python3", clones.KILLED, "write", str(number)]
    try:
        pool.resign(toolstack, clone.config)
    finally:
        toolstack.wrapper = []
    return toolstack.runs[-1].status == -signal.SIGKILL


@pytest.fixture(scope="module", params=sorted(SHAPES, reverse=True))
def killed(request, world, toolstack):
    """(original, {write number: problems after the repetition}) for every write of a run."""
    name = request.param
    original = clones.Original(world, toolstack, name, SHAPES[name](SEEDS[name]))
    lv = next(found for found in original_lvs(original) if found.startswith("VHD-"))
    toolstack.vdi_attach(lv[len("VHD-") :])
    clone = clones.Clone(original, name + "-clone", number=3)
    found = {}
    number = 1
    while killed_at(number, clone, toolstack):
        found[number] = clones.finished(clone, world, toolstack)
        clone.renew()
        number += STEP[name]
    original.mapped = devices.lv_luns(original.vg)
    record("killed, " + name, {"writes tried": sorted(found)})
    return original, found


def original_lvs(original):
    return pool.lvm("lvs", "--noheadings", "-o", "lv_name", original.vg).stdout.split()


def test_repetition_finishes_after_every_write(killed):
    _, found = killed
    assert len(found) >= 3
    assert {number: problems for number, problems in found.items() if problems} == {}


def test_original_in_use_was_not_touched(killed):
    original, _ = killed
    assert original.unchanged()
    assert original.mapped
    assert set().union(*original.mapped.values()) == {original.scsi_id}


@pytest.fixture(scope="module")
def alone(world, toolstack):
    """As `killed`, for a clone behind a target of its own, whose session the killed run leaves behind."""
    original = clones.Original(world, toolstack, "alone", shapes.one(8))
    clone = clones.Clone(original, "alone-clone")
    found = {}
    for number in (1, 4):
        assert killed_at(number, clone, toolstack)
        left = world.refcounts().get(clone.own_iqn)
        found[number] = left, toolstack.runs[-1].sr_uuid, clones.finished(clone, world, toolstack)
        clone.renew()
    return found


def test_reference_of_a_killed_run_is_dropped(alone):
    """The killed run's line keeps sm from logging out; the repetition takes it away, so that the session ends."""
    for left, uuid, problems in alone.values():
        assert left == [uuid]
        assert problems == []
