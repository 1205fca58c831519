# SPDX-License-Identifier: LGPL-2.1-only
"""SCSI devices and device-mapper tables, and which LUN a table leads to.

A LUN is named by its SCSI id throughout: kernel names change with every login.
"""

import os
from collections import namedtuple

from inside.command import run, wait_until

DmLine = namedtuple("DmLine", "name start length target arguments")
"""One line of ``dmsetup table``: start and length in sectors of 512 bytes, arguments a list of words."""


def by_id(scsi_id):
    """The link under which sm looks for a LUN."""
    return "/dev/disk/by-id/scsi-" + scsi_id


def wait_for(path):
    """`path`, when udev has made it."""
    wait_until(lambda: os.path.exists(path), path)
    return path


def scsi_id_of(device):
    """The SCSI id that a disk itself reports, asked the way sm asks."""
    return run("/lib/udev/scsi_id", "-g", "-u", "--device", device).strip()


def paths_of(scsi_id):
    """Kernel names of the SCSI disks of this host that are paths to the LUN, sorted."""
    return sorted(name for name in os.listdir("/sys/block") if name.startswith("sd") and scsi_id_of("/dev/" + name) == scsi_id)


def dm_tables():
    """Every DmLine of the host."""
    lines = []
    for text in run("dmsetup", "table").splitlines():
        name, _, rest = text.partition(": ")
        words = rest.split()
        if len(words) >= 3:
            lines.append(DmLine(name, int(words[0]), int(words[1]), words[2], words[3:]))
    return lines


def lun_of(number):
    """The SCSI id of the LUN behind a block device given as "major:minor"; through multipath maps and other maps below.

    None when it is no SCSI disk. Raises ValueError when a map leads to more than one LUN.
    """
    node = os.path.realpath("/sys/dev/block/" + number)
    slaves = os.path.join(node, "slaves")
    below = os.listdir(slaves) if os.path.isdir(slaves) else []
    if not below:
        name = os.path.basename(node)
        return scsi_id_of("/dev/" + name) if name.startswith("sd") else None
    found = set()
    for name in below:
        with open(os.path.join(slaves, name, "dev")) as text:
            found.add(lun_of(text.read().strip()))
    if len(found) != 1:
        raise ValueError(f"{os.path.basename(node)} leads to {sorted(map(str, found))}")
    return found.pop()


def dm_name(vg, lv):
    """The device-mapper name of an LV: LVM doubles every dash within a name and joins the two with one."""
    return vg.replace("-", "--") + "-" + lv.replace("-", "--")


def lv_luns(vg=None):
    """{device-mapper name of an LV: set of the SCSI ids its linear table lines lead to}, of one VG or all."""
    prefix = dm_name(vg, "") if vg else ""
    luns = {}
    for line in dm_tables():
        if line.target == "linear" and line.name.startswith(prefix):
            luns.setdefault(line.name, set()).add(lun_of(line.arguments[0]))
    return luns
