# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: finishes the resign that the power cut of the last boot interrupted, then starts one that the power is cut in.

    python3 power.py [WHAT K]       where the power goes (see inside/cut.py)

Disks of the job: original, cut (a clone), and interrupted (the `cut` of the last boot) if there was one. Reports: {"finished": problems}.
"""

import os
import sys

from dom0.xapi import Xapi
from inside import clones, cut, pool
from inside.guestworld import GuestWorld
from inside.reporting import report
from inside.target import Target, Volume
from lvhd import reader


class Disk(clones.Clone):
    """A clone on a disk of the job."""

    def __init__(self, original, name):
        self.original = original
        self.path = f"/dev/disk/by-id/virtio-{name}"
        self.volume = Volume(name, self.path)
        self.scsi_id = self.volume.scsi_id
        self.own_iqn = f"iqn.2024-01.test.array:{name}"
        Target(self.own_iqn).show(self.volume)
        self.config = original.world.device_config(self.own_iqn, self.scsi_id)

    def kept_as_on_the_original(self):
        return set(reader.virtual_digests(self.path).values()) <= set(reader.virtual_digests(self.original.path).values())


def main(point):
    world = GuestWorld()
    with Xapi(world) as toolstack:
        original = clones.Original(world, toolstack, "original", path="/dev/disk/by-id/virtio-original")
        if os.path.exists("/dev/disk/by-id/virtio-interrupted"):
            report(finished=clones.finished(Disk(original, "interrupted"), world, toolstack))
        if point:
            toolstack.wrapper = ["/usr/bin/python3", cut.__file__, *point]
            answer = pool.resign(toolstack, Disk(original, "cut").config)
            report(not_cut=str(answer))


main(sys.argv[1:])
