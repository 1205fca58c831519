# SPDX-License-Identifier: LGPL-2.1-only
"""multipath and multipathd -k: one map for each SCSI id, named by it, over all its disks."""

import os
import sys

from dom0.devices import SECTOR, Devices
from dom0.state import State, make_link, remove_file


def main(root, argv):
    """Run one multipath or multipathd call."""
    with State(root) as state:
        Devices(state).settle()
        if os.path.basename(argv[0]) == "multipathd":
            command = " ".join(argv[argv.index("-k") + 1:]) if "-k" in argv else " ".join(argv[1:])
            return multipathd(state, command or sys.stdin.read())
        return multipath(state, argv[1:])


def multipath(state, args):
    """The options that sm uses: -f, -F, -W, -w, -a, -c, -r, -l, -ll."""
    option = args[0] if args else "-r"
    name = args[1] if len(args) > 1 else None
    if option in ("-W", "-w", "-a"):
        return 0
    if option == "-F":
        names = [name for name in state["dm"] if state["dm"][name]["kind"] == "mpath"]
        return max([remove_map(state, name) for name in names] or [0])
    if option == "-f":
        return remove_map(state, name)
    if option == "-c":
        disk = Devices(state).disk_of_path(name)
        good = disk in state["disks"] and not left_out(state, state["disks"][disk]["scsi_id"])
        sys.stdout.write("%s %s a valid multipath device path\n" % (name, "is" if good else "is not"))
        return 0 if good else 1
    if option in ("-l", "-ll"):
        sys.stdout.write(topology(state, name))
        return 0
    for scsi_id in [name] if name else sorted({disk["scsi_id"] for disk in state["disks"].values()}):
        add_map(state, scsi_id)
    return 0


def left_out(state, scsi_id):
    """True when multipath.conf has the SCSI id in a blacklist, in the one form that is known here: blacklist { wwid ID }."""
    try:
        with open(state.path("/etc/multipath.conf")) as stream:
            return "blacklist { wwid %s }" % scsi_id in stream.read()
    except IOError:
        return False


def paths_of(state, scsi_id):
    """Names of the disks with SCSI id `scsi_id`."""
    return sorted(name for name in state["disks"] if state["disks"][name]["scsi_id"] == scsi_id)


def add_map(state, scsi_id):
    """Make or renew the map of `scsi_id`, with udev's links to it; False without a path."""
    paths = paths_of(state, scsi_id)
    if not paths or left_out(state, scsi_id):
        return False
    table = []
    for path in paths[:1]:
        disk = state["disks"][path]
        table.append([0, disk["size"] // SECTOR, disk["dev"][0], disk["dev"][1], 0])
    devices = Devices(state)
    if scsi_id in state["dm"]:
        if state["dm"][scsi_id]["slaves"] == paths:
            return True
        if not devices.remove_mapping(scsi_id):
            return True
    mapping = devices.add_mapping(scsi_id, "mpath-" + scsi_id, "mpath", table)
    for path in paths:
        if path not in mapping["slaves"]:
            mapping["slaves"].append(path)
            below = state.path("/sys/block/" + path)
            block = state.path("/sys/devices/virtual/block/dm-%d" % mapping["minor"])
            make_link(below, os.path.join(block, "slaves", path))
            make_link(block, os.path.join(below, "holders", "dm-%d" % mapping["minor"]))
    node = "../../../dm-%d" % mapping["minor"]
    make_link(node, state.path("/dev/disk/by-scsid/%s/mapper" % scsi_id))
    make_link(node[3:], state.path("/dev/disk/by-id/scsi-" + scsi_id))
    return True


def remove_map(state, name):
    """Remove the map `name`; exit status."""
    if name not in state["dm"]:
        return 1
    if not Devices(state).remove_mapping(name):
        sys.stderr.write("%s: map in use\n" % name)
        return 1
    remove_file(state.path("/dev/disk/by-scsid/%s/mapper" % name))
    by_id = state.path("/dev/disk/by-id/scsi-" + name)
    remove_file(by_id)
    for path in paths_of(state, name)[:1]:
        make_link("../../" + path, by_id)
    return 0


def topology(state, name):
    """What multipath -ll prints for the map `name` (all: None)."""
    text = ""
    for scsi_id in sorted(state["dm"]):
        mapping = state["dm"][scsi_id]
        if mapping["kind"] != "mpath" or name not in (None, scsi_id):
            continue
        text += "%s dm-%d DOUBLE,LUN\nsize=%dM features='0' hwhandler='0' wp=rw\n`-+- policy='service-time 0' prio=1 status=active\n" % (
            scsi_id, mapping["minor"], mapping["table"][0][1] // 2048)
        for path in mapping["slaves"]:
            disk = state["disks"].get(path)
            if disk:
                text += "  `- %d:0:0:%s %s %d:%d active ready running\n" % ((disk["host"], disk["lun"], path) + tuple(disk["dev"]))
    return text


def multipathd(state, command):
    """One command at multipathd's prompt, with the prompt as it prints it."""
    words = command.split()
    answer = "ok\n"
    if command.startswith("help"):
        answer = "multipath-tools\nCLI commands reference:\n list|show maps|multipaths\n switchgroup map|multipath $map group $group\n"
    elif words[:2] in (["list", "maps"], ["show", "maps"]):
        answer = "name sysfs uuid\n"
        for name in sorted(state["dm"]):
            if state["dm"][name]["kind"] == "mpath":
                answer += "%s dm-%d %s\n" % (name, state["dm"][name]["minor"], name)
    elif words[:2] == ["show", "map"] and words[3:4] == ["topology"]:
        answer = topology(state, words[2])
    elif words[:2] == ["show", "topology"]:
        answer = topology(state, None)
    elif words[:2] == ["add", "path"]:
        disk = state["disks"].get(words[2])
        if disk is None or not add_map(state, disk["scsi_id"]):
            answer = "fail\n"
    elif words[:2] == ["remove", "map"]:
        answer = "fail\n" if remove_map(state, words[2]) else "ok\n"
    sys.stdout.write("multipathd> %smultipathd> " % answer)
    return 0
