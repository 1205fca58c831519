# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: a real sm makes an SR, the driver resigns a clone of it beside the attached original, and sm goes on with the result.

It attaches it, scans it, takes a snapshot in it, deletes that, collects the garbage and detaches it; sleeps are sm's own. The selftest is
the last step.
"""

import json
import os
import re
import time

import pytest
from dom0.xapi import XapiError
from inside import disk, pool
from inside.command import attempt, run
from inside.reporting import record
from inside.target import Target, Volume
from lvhd import reader
from lvhd.model import pattern

ORIGINAL = "iqn.2024-01.test.array:original"
CLONE = "iqn.2024-01.test.array:clone"
PLACES = (0, 4096, 12288)


def contents(path, uuid):
    """What a VM reads at the PLACES of a disk, from the array's side."""
    return [reader.virtual_read(path, uuid, sector, 8) for sector in PLACES]


class Story:
    """Everything, in order; a step that fails ends it, and `trouble` says how."""

    prefix = "VHD-"
    # of device_config; XCP-ng 8.3 as released in 2026 fails when vdi-create asks for a format
    formats = {}

    def __init__(self, world, toolstack):
        self.world = world
        self.toolstack = toolstack
        self.trouble = ""
        self.done = []
        # 6.5's LVM was patched to take the names of 6.5's journals, which are longer than those that any other LVM takes
        self.snapshots = getattr(world, "generation", "") != "C"
        steps = (self.make, self.resign, self.adopt, self.snapshot, self.collect, self.detach, self.selftest)
        try:
            for step in steps if self.snapshots else (self.make, self.resign, self.adopt, self.detach, self.selftest):
                begun = time.monotonic()
                step()
                self.done.append(step.__name__)
                record("step", [step.__name__, round(time.monotonic() - begun, 1)])
        except (XapiError, AssertionError, reader.BadImage) as error:
            run = toolstack.runs[-1]
            self.trouble = f"{step.__name__}: {error}\n{run.command}: {run.stdout[-600:]}{run.stderr[-1500:]}\n{world.log()[-3000:]}"

    def write(self, lun, sr, vdi, seed):
        """A VM's writes into a disk that is not attached."""
        vg = pool.vg_name(sr)
        with reader.Lun(lun.path) as opened:
            names = [volume.name for volume in opened.chain(vdi)]
        for name in reversed(names):
            assert pool.lvm("lvchange", "-ay", f"{vg}/{name}").returncode == 0
        for sector in PLACES:
            self.write_sectors(f"/dev/{vg}/{names[0]}", pattern(seed, sector), sector)
        for name in names:
            assert pool.lvm("lvchange", "-an", f"{vg}/{name}").returncode == 0

    write_sectors = staticmethod(disk.write)

    def make(self):
        toolstack, world = self.toolstack, self.world
        self.original = Volume("original", "/srv/original", size=192 * pool.MIB)
        target = Target(ORIGINAL)
        target.show(self.original)
        config = world.device_config(ORIGINAL, self.original.scsi_id, **self.formats)
        self.sr = toolstack.sr_create("lvmoiscsi", config, name_label="original")
        self.vdis = [toolstack.vdi_create(self.sr, 8 * pool.MIB, name_label=name) for name in ("one", "two")]
        os.sync()
        self.write(self.original, self.sr, self.vdis[0], "first")
        if self.snapshots:
            toolstack.vdi_snapshot(self.vdis[0])
        os.sync()
        self.write(self.original, self.sr, self.vdis[0], "second")
        self.write(self.original, self.sr, self.vdis[1], "other")
        toolstack.sr_scan(self.sr)
        os.sync()

    def resign(self):
        toolstack, world = self.toolstack, self.world
        self.clone = self.original.clone("clone", "/srv/clone")
        self.before = "/srv/before"
        attempt("cp", "--sparse=always", self.original.path, self.before)
        Target(CLONE).show(self.clone)
        self.config = world.device_config(CLONE, self.clone.scsi_id)
        self.answer = pool.resign(toolstack, self.config, "the clone", "resigned")
        self.left_over = world.left_over(self.clone.scsi_id, CLONE)
        self.original_changed = attempt("cmp", self.before, self.original.path).stdout
        self.driver_stderr = toolstack.runs[-1].stderr
        assert pool.says_resigned(self.answer), self.answer.xe()
        self.new_sr = toolstack.runs[-1].sr_uuid

    def adopt(self):
        toolstack = self.toolstack
        self.probed = re.findall(r"<UUID>\s*(\S+)\s*</UUID>", toolstack.sr_probe("lvmoiscsi", self.config))
        self.pbd = pool.attach(toolstack, self.new_sr, self.config)
        records = toolstack.vdis(self.new_sr)
        self.scanned = sorted((found["name_label"], found["managed"]) for found in records.values())
        self.new = {found["name_label"]: uuid for uuid, found in records.items() if found["managed"]}
        self.read = {name: contents(self.clone.path, uuid) for name, uuid in self.new.items()}

    def snapshot(self):
        toolstack = self.toolstack
        self.taken = toolstack.vdi_snapshot(self.new["one"])
        os.sync()
        self.write(self.clone, self.new_sr, self.new["one"], "third")
        self.in_snapshot = contents(self.clone.path, self.taken)
        toolstack.vdi_delete(self.taken)
        toolstack.sr_scan(self.new_sr)

    def collect(self):
        self.said = pool.collect_garbage(self.world, self.toolstack, self.new_sr)
        self.toolstack.sr_scan(self.new_sr)
        os.sync()
        with reader.Lun(self.clone.path) as lun:
            self.volumes = sorted(lun.volumes)
            self.chain = [volume.name for volume in lun.chain(self.new["one"])]
        self.read_afterwards = contents(self.clone.path, self.new["one"])

    def detach(self):
        # the original is in use meanwhile
        self.write(self.original, self.sr, self.vdis[1], "meanwhile")
        self.toolstack.pbd_unplug(self.pbd)
        self.left_after_detach = self.world.left_over(self.clone.scsi_id, CLONE)
        self.toolstack.sr_scan(self.sr)
        self.originals = sorted(found["name_label"] for found in self.toolstack.vdis(self.sr).values() if found["managed"])
        self.read_original = [contents(self.original.path, uuid) for uuid in self.vdis]

    def selftest(self):
        disk.mount_room("/var/tmp")
        before = state_of_host()
        self.verdict = json.loads(self.world.plugin(self.toolstack, "selftest"))
        record("selftest", self.verdict)
        self.changed = sorted(before ^ state_of_host())


def state_of_host():
    """What a selftest must leave as it is: LVM's and device-mapper's view, loop devices, files that are kept: a set of lines."""
    commands = (["vgs", "--noheadings", "-o", "vg_name,vg_uuid,vg_seqno"], ["dmsetup", "table"], ["losetup", "-a"],
                ["find", "/etc", "/var", "/run/lock/lvm", "-type", "f", "-not", "-path", "/var/log/*", "-printf", "%p %s %m %T@\\n"],
                ["find", "/etc", "/var", "-type", "d"])
    return {line.strip() for command in commands for line in run(*command).splitlines()}


@pytest.fixture(scope="module")
def story(world, toolstack):
    told = Story(world, toolstack)
    record("sm", {"generation": getattr(world, "generation", ""), "recognised": getattr(world, "recognised", ""), "done": told.done,
                  "trouble": told.trouble})
    return told


def reached(story, step):
    assert step in story.done, story.trouble


def taken(story):
    if not story.snapshots:
        pytest.skip("no LVM but 6.5's own takes the names of 6.5's journals: no snapshots")


def expected(seed):
    return [pattern(seed, sector) for sector in PLACES]


def test_a_real_sm_makes_the_original(story):
    reached(story, "make")


def test_the_clone_is_resigned_beside_the_original(story):
    reached(story, "resign")
    assert story.left_over == []
    assert story.original_changed == ""
    assert story.driver_stderr == ""


def test_sm_attaches_and_scans_it(story):
    reached(story, "adopt")
    assert story.probed == [story.new_sr]
    assert story.scanned == [("base copy", False)] * story.snapshots + [("one", True), ("two", True)]
    assert not set(story.new.values()) & set(story.vdis)


def test_the_disks_read_as_the_originals(story):
    reached(story, "adopt")
    assert story.read == {"one": expected("second"), "two": expected("other")}


def test_sm_takes_and_deletes_a_snapshot_in_it(story):
    taken(story)
    reached(story, "snapshot")
    assert story.in_snapshot == expected("second")


def test_sm_collects_its_garbage(story):
    taken(story)
    reached(story, "collect")
    assert story.chain == [story.prefix + story.new["one"]], story.said
    assert story.volumes == sorted(["MGT"] + [story.prefix + uuid for uuid in story.new.values()])
    assert story.read_afterwards == expected("third")


def test_sm_detaches_it(story):
    reached(story, "detach")
    assert story.left_after_detach == []


def test_the_original_goes_on(story):
    reached(story, "detach")
    assert story.originals == ["one"] * story.snapshots + ["one", "two"]
    assert story.read_original == [expected("second"), expected("meanwhile")]


def test_the_selftest_passes_and_leaves_nothing(story):
    reached(story, "selftest")
    assert story.verdict["failures"] == []
    assert story.verdict["ok"]
    assert story.changed == []
