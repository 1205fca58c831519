# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: the same as realsm.py with disks that are QCOW2 images, by a sm that makes such; qemu-img judges each image."""

import json

import pytest
from inside import disk, pool
from inside.command import attempt, run
from inside.reporting import record
from lvhd import reader
from realsm import Story
from realsm import (  # noqa: F401 (tests)
    test_a_real_sm_makes_the_original, test_sm_attaches_and_scans_it, test_sm_collects_its_garbage, test_sm_detaches_it,
    test_sm_takes_and_deletes_a_snapshot_in_it, test_the_clone_is_resigned_beside_the_original, test_the_disks_read_as_the_originals,
    test_the_original_goes_on)


class Qcow2Story(Story):
    prefix = "QCOW2-"
    formats = {"preferred-image-formats": "qcow2"}
    write_sectors = staticmethod(disk.write_qcow2)

    def adopt(self):
        Story.adopt(self)
        self.judged_after_attach = self.judged()

    def collect(self):
        Story.collect(self)
        self.judged_at_the_end = self.judged()

    def judged(self):
        """How many QCOW2 volumes the attached clone has, and {name: what is wrong with it}."""
        vg = pool.vg_name(self.new_sr)
        with reader.Lun(self.clone.path) as lun:
            names = [name for name in sorted(lun.volumes) if name.startswith(self.prefix)]
            parents = {name: lun.qcow2(name).parent_volume() for name in names}
        wrong = {}
        for name in names:
            pool.lvm("lvchange", "-ay", f"{vg}/{name}")
        for name in names:
            path = f"/dev/{vg}/{name}"
            checked = attempt("qemu-img", "check", "-f", "qcow2", path)
            chain = json.loads(run("qemu-img", "info", "--backing-chain", "--output=json", path))
            if checked.returncode:
                wrong[name] = checked.stdout + checked.stderr
            elif parents[name] and chain[1]["filename"] != f"/dev/{vg}/{parents[name]}":
                wrong[name] = str(chain)
        for name in names:
            pool.lvm("lvchange", "-an", f"{vg}/{name}")
        return len(names), wrong


@pytest.fixture(scope="module")
def story(world, toolstack):
    told = Qcow2Story(world, toolstack)
    record("sm", {"generation": getattr(world, "generation", ""), "recognised": getattr(world, "recognised", ""), "done": told.done,
                  "trouble": told.trouble})
    return told


def test_qemu_img_finds_nothing_wrong(story):
    assert story.judged_after_attach == (3, {})
    assert story.judged_at_the_end == (2, {})
