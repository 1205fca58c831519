# SPDX-License-Identifier: LGPL-2.1-only
"""scsi_id, sg_luns, sg_scan, sg_readcap, sginfo, sg_inq: what sm asks a SCSI device."""

import os
import sys

from dom0.devices import Devices
from dom0.state import State


def main(root, argv):
    """Run the command that argv[0] names."""
    command = os.path.basename(argv[0])
    with State(root) as state:
        devices = Devices(state)
        devices.settle()
        if command == "sg_scan":
            return sg_scan(state)
        path = argv[-1]
        if path.startswith("/block/"):
            path = "/dev" + path[len("/block"):]    # up to 6.5
        name = devices.disk_of_path(path)
        if name is not None and name.startswith("dm-"):
            name = disk_under(state, name)
        if name is None:
            sys.stderr.write("%s: %s: no such device\n" % (command, path))
            return 1
        disk = state["disks"][name]
        if command == "scsi_id":
            sys.stdout.write(disk["scsi_id"] + "\n")
        elif command == "sg_luns":
            target = state["targets"][disk["iqn"]]
            for lun in sorted(target["luns"], key=int):
                sys.stdout.write("%04x000000000000\n" % int(lun))
        elif command == "sg_readcap":
            sys.stdout.write("0x%x 0x200\n" % (disk["size"] // 512))
        elif command == "sginfo":
            if "-s" in argv:
                sys.stdout.write("Serial Number '%s'\n" % disk["serial"])
            else:
                sys.stdout.write("Vendor:                    %s\n" % disk["vendor"])
        else:
            return 1
    return 0


def disk_under(state, name):
    """The first disk under the device-mapper device of kernel name `name` (dm-N); None if it has none."""
    for mapping in state["dm"].values():
        if "dm-%d" % mapping["minor"] == name:
            for slave in mapping["slaves"]:
                if not slave.startswith("dm-"):
                    return slave
                return disk_under(state, slave)
    return None


def sg_scan(state):
    """One line for each disk, as sg_scan -... of sg3_utils."""
    for number, name in enumerate(sorted(state["disks"])):
        disk = state["disks"][name]
        sys.stdout.write("/dev/sg%d: scsi%d channel=0 id=0 lun=%s\n" % (number, disk["host"], disk["lun"]))
    return 0
