# SPDX-License-Identifier: LGPL-2.1-only
"""An attached original and clones of it that can be made fresh again, for tests that resign many times."""

import os
import pathlib

from dom0 import killed
from inside import devices, pool
from inside.command import attempt, run
from inside.target import DEFAULT_PORTAL, Target, Volume
from lvhd import image, reader

KILLED = killed.__file__


class Original:
    """An SR that the image writer made (lvhd.model.Sr), attached; the LUN behind `iqn` as LUN 0."""

    def __init__(self, world, toolstack, name, sr=None, path=None, iqn=None, portals=(DEFAULT_PORTAL,)):
        self.name = name
        self.iqn = iqn or f"iqn.2024-01.test.array:{name}"
        self.path = path or f"/srv/{name}"
        if sr is not None:
            image.write(self.path, sr)
        self.volume = Volume(name, self.path)
        self.scsi_id = self.volume.scsi_id
        self.target = Target(self.iqn, portals)
        self.target.show(self.volume)
        self.world = world
        with reader.Lun(self.path) as lun:
            self.vg = lun.vg_name
        self.sr = self.vg[len("VG_XenStorage-") :]
        self.config = world.device_config(self.iqn, self.scsi_id)
        toolstack.sr_introduce("lvmoiscsi", self.sr, name_label=name)
        toolstack.pbd_plug(toolstack.pbd_create(self.sr, self.config))
        toolstack.sr_scan(self.sr)
        # What the SR is like now that sm has attached it: what a clone is made of, and what must stay.
        self.pristine = self.path + ".pristine"
        if not os.path.exists(self.path) or not pathlib.Path(self.path).is_block_device():
            run("cp", "--sparse=always", self.path, self.pristine)

    def unchanged(self):
        """True while the LUN has the bytes it had when it was attached."""
        return same(self.pristine, self.path)

    def digests(self):
        """Digests of what a VM reads from each VDI."""
        return sorted(reader.virtual_digests(self.pristine).values())


def same(first, second):
    """True when two files have the same bytes."""
    return attempt("cmp", "-s", first, second).returncode == 0


class Clone:
    """A clone of an Original, shown by the original's target (as LUN `number`) or by one of its own."""

    def __init__(self, original, name, number=None, portals=(DEFAULT_PORTAL,)):
        self.original = original
        self.volume = original.volume.clone(name, f"/srv/{name}")
        self.path = self.volume.path
        self.scsi_id = self.volume.scsi_id
        self.own_iqn = None if number else f"iqn.2024-01.test.array:{name}"
        if number:
            original.target.show(self.volume, number)
        else:
            Target(self.own_iqn, portals).show(self.volume)
        self.config = original.world.device_config(self.own_iqn or original.iqn, self.scsi_id)

    def renew(self):
        """The array copies the original once more. The host forgets its device: it must not have seen the old bytes."""
        for name in devices.paths_of(self.scsi_id):
            pathlib.Path(f"/sys/block/{name}/device/delete").write_text("1")
        run("cp", "--sparse=always", self.original.pristine, self.path)

    def kept_as_on_the_original(self):
        """True when every VDI of the LUN reads as one of the original's."""
        found = reader.virtual_digests(self.path).values()
        return bool(found) and set(found) <= set(self.original.digests())


def finished(clone, world, toolstack):
    """Repeats sr-create on an interrupted LUN; what is wrong afterwards, as sentences."""
    problems = []
    names = reader.vg_names(clone.path)
    if len(names) != 1:
        problems.append(f"a host sees the VGs {names}")
    answer = pool.resign(toolstack, clone.config)
    if not pool.says_resigned(answer):
        return [*problems, f"the repetition says {answer}"]
    if reader.vg_names(clone.path) != [pool.vg_name(toolstack.runs[-1].sr_uuid)]:
        problems.append("the LUN has not the SR uuid of the repetition")
    if not clone.kept_as_on_the_original():
        problems.append("a VDI reads otherwise than before")
    return problems + world.left_over(clone.scsi_id, clone.own_iqn) + original_problems(clone.original, world)


def original_problems(original, world):
    """What the runs did to the original, as sentences."""
    problems = []
    if world.refcounts().get(original.iqn) != [original.sr]:
        problems.append(f"users of the original's session: {world.refcounts().get(original.iqn)}")
    luns = set().union(*devices.lv_luns(original.vg).values(), set())
    if luns - {original.scsi_id}:
        problems.append(f"the original's LVs are mapped to {luns}")
    return problems
