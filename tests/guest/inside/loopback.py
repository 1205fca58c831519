# SPDX-License-Identifier: LGPL-2.1-only
"""LUNs behind HBAs: the kernel's target (target.py) with its loopback fabric, which is a SCSI host of its own per adapter.

Such a host has two targets (ids 0 and 1) with one LUN (0) each, since it scans no other (linux, drivers/target/loopback/tcm_loop.c:
max_id 2, max_lun 0). So every path of every LUN gets an adapter to itself here. The kernel lists a LUN as soon as it is shown; an
array whose new LUN nobody has looked for yet is what `hidden` makes.
"""

import itertools
import os
import pathlib

from inside import devices
from inside.command import attempt, run, wait_until
from inside.target import CONFIG, write

FABRIC = CONFIG / "target/loopback"
_numbers = itertools.count(1)


def start():
    """Loads the fabric; target.start() comes first."""
    run("modprobe", "tcm_loop")
    FABRIC.mkdir(exist_ok=True)


def show(volume, paths=1, hidden=False):
    """Presents a Volume to this host over that many HBAs. hidden: the host has not looked yet, so it has no device."""
    for _ in range(paths):
        number = next(_numbers)
        group = FABRIC / f"naa.5001405{number:09x}" / "tpgt_1"
        group.mkdir(parents=True)
        write(group / "nexus", f"naa.5001406{number:09x}")
        lun = group / "lun/lun_0"
        lun.mkdir()
        os.symlink(volume.place, lun / volume.name)
    devices.wait_for(devices.by_id(volume.scsi_id))
    wait_until(lambda: len(devices.paths_of(volume.scsi_id)) >= paths, f"{paths} paths of {volume.name}")
    if hidden:
        forget(volume.scsi_id)


def withdraw(volume):
    """The array does not present the Volume to this host any more."""
    for link in FABRIC.glob(f"naa.*/tpgt_1/lun/lun_0/{volume.name}"):
        link.unlink()
        for place in (link.parents[0], link.parents[2], link.parents[3]):
            place.rmdir()


def forget(scsi_id):
    """Takes the devices of a LUN off this host, its map first; the array shows it still."""
    attempt("multipath", "-f", scsi_id)
    for name in devices.paths_of(scsi_id):
        pathlib.Path(f"/sys/block/{name}/device/delete").write_text("1")
    run("udevadm", "settle")
    wait_until(lambda: not os.path.lexists(devices.by_id(scsi_id)), "end of the links of " + scsi_id)
