# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: original and clone behind two paths each, with device-mapper multipath; an array of two controllers."""

import os
import signal

import pytest
from dom0 import stopped
from dom0.xapi import Xapi
from inside import clones, devices, multipath, pool
from inside.calls import Call, wait_until_stopped
from inside.command import run, wait_until
from inside.target import Target
from lvhd import reader, shapes

PORTALS = ("127.0.0.1:3260", "127.0.0.2:3260")
LEFT = "iqn.2024-01.test.array:left"
RIGHT = "iqn.2024-01.test.array:right"


@pytest.fixture(scope="module")
def toolstack(world):
    """xapi on a host with multipathing."""
    daemon = multipath.start()
    with Xapi(world, multipath=True) as xapi:
        yield xapi
    multipath.stop(daemon)


@pytest.fixture(scope="module")
def original(world, toolstack):
    """Attached over two paths, with a VM on its disk."""
    original = clones.Original(world, toolstack, "original", shapes.one(9), portals=PORTALS)
    multipath.wait_for_map(original.scsi_id, paths=2)
    toolstack.vdi_attach(pool.disks(toolstack, original.sr)[0])
    return original


def map_of(scsi_id):
    """The kernel name of a LUN's multipath map, or None."""
    path = "/dev/mapper/" + scsi_id
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else None


def opened_for_writing(pid):
    """Kernel names of the block devices that a process has open for writing."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = os.readlink(f"/proc/{pid}/fd/{name}")
        with open(f"/proc/{pid}/fdinfo/{name}") as info:
            flags = int(next(line.split()[1] for line in info if line.startswith("flags:")), 8)
        if os.path.exists("/sys/class/block/" + os.path.basename(path)) and path.startswith("/dev/") and flags & os.O_ACCMODE:
            found.add(os.path.basename(path))
    return found


class Observed:
    """What was seen in the middle of a resign and afterwards."""


def observe(world, toolstack, original, config, scsi_id, iqn):
    seen = Observed()
    started = []
    toolstack.wrapper = ["/usr/bin/python3", stopped.__file__, "3"]
    resigning = Call(pool.resign, toolstack, config, on_start=started.append)
    wait_until(lambda: started, "driver")
    toolstack.wrapper = []
    wait_until_stopped(started[0], resigning)
    seen.map = map_of(scsi_id)
    seen.paths = devices.paths_of(scsi_id)
    seen.written = opened_for_writing(started[0].pid)
    started[0].send_signal(signal.SIGCONT)
    seen.answer = resigning.answer()
    seen.left_over = world.left_over(scsi_id, iqn)
    seen.map_afterwards = map_of(scsi_id)
    seen.mapped = devices.lv_luns(original.vg)
    return seen


@pytest.fixture(scope="module")
def clone(original):
    return clones.Clone(original, "clone", portals=PORTALS)


@pytest.fixture(scope="module")
def resigned(world, toolstack, original, clone):
    return observe(world, toolstack, original, clone.config, clone.scsi_id, clone.own_iqn)


def test_clone_is_resigned_through_its_map(resigned, clone):
    assert pool.says_resigned(resigned.answer), resigned.answer
    assert len(resigned.paths) == 2
    assert resigned.map
    assert resigned.written == {resigned.map}
    assert clone.kept_as_on_the_original()


def test_map_is_flushed_afterwards(resigned):
    assert resigned.map_afterwards is None
    assert resigned.left_over == []


def test_original_stays_on_its_own_map(resigned, original):
    assert resigned.mapped
    assert set().union(*resigned.mapped.values()) == {original.scsi_id}
    assert run("multipath", "-ll", original.scsi_id).count("active ready running") == 2
    assert original.unchanged()


@pytest.fixture(scope="module")
def both(world, toolstack, resigned, clone):
    """The resigned clone attached next to the original, over its own map."""
    sr = pool.probe(toolstack, clone.config)[0]
    pbd = pool.attach(toolstack, sr, clone.config)
    vdi = pool.disks(toolstack, sr)[0]
    toolstack.vdi_attach(vdi)
    mapped = devices.lv_luns(pool.vg_name(sr))
    toolstack.vdi_detach(vdi)
    pool.detach(toolstack, sr, pbd)
    return mapped, world.left_over(clone.scsi_id, clone.own_iqn)


def test_it_is_attached_over_its_own_map(both, clone):
    mapped, left_over = both
    assert mapped
    assert set().union(*mapped.values()) == {clone.scsi_id}
    assert left_over == []


@pytest.fixture(scope="module")
def dual(world, toolstack, original):
    """A clone that two controllers show, each under its own IQN and address; the device config names neither."""
    lun = original.volume.clone("dual", "/srv/dual")
    for iqn, portal in ((LEFT, PORTALS[0]), (RIGHT, PORTALS[1])):
        Target(iqn, [portal]).show(lun)
    config = world.device_config("*", lun.scsi_id)
    return lun, observe(world, toolstack, original, config, lun.scsi_id, None)


def test_lun_of_two_controllers_is_found_by_its_scsi_id(world, dual, original):
    lun, seen = dual
    assert pool.says_resigned(seen.answer), seen.answer
    assert seen.written == {seen.map}
    assert reader.vg_names(lun.path) != [original.vg]
    assert seen.map_afterwards is None
    assert devices.paths_of(lun.scsi_id) == []
    assert seen.left_over == []
    assert set(world.refcounts()) == {original.iqn}
