# SPDX-License-Identifier: LGPL-2.1-only
"""dmsetup: ls, table, status, info, deps, remove, over the double's device-mapper tables."""

import sys

from dom0.devices import Devices
from dom0.state import State


def main(root, argv):
    """Run one dmsetup call."""
    args = [arg for arg in argv[1:] if arg not in ("--force", "-f", "--noheadings", "--showkeys", "--retry", "-c", "-C")]
    columns = "-c" in argv or "-C" in argv
    wanted = None
    if "-o" in args:
        index = args.index("-o")
        wanted = args[index + 1].split(",")
        del args[index:index + 2]
    for option in ("--target", "--separator"):
        if option in args:
            index = args.index(option)
            del args[index:index + 2]
    if not args:
        sys.stderr.write("Usage: dmsetup <command>\n")
        return 1
    command, names = args[0], args[1:]
    with State(root) as state:
        Devices(state).settle()
        return run(root, state, command, names, columns, wanted)


def run(root, state, command, names, columns, wanted):
    """`command` for the mapped devices `names` (all, where none is given)."""
    mappings = state["dm"]
    if command == "message":
        names = names[:1]
    if names:
        chosen = [strip(root, name) for name in names]
        for name in chosen:
            if name not in mappings:
                sys.stderr.write("Device %s not found\nCommand failed.\n" % name)
                return 1
    else:
        chosen = sorted(mappings)
    if command == "message":
        return 0
    if command == "remove":
        for name in chosen:
            if not Devices(state).remove_mapping(name):
                sys.stderr.write("device-mapper: remove ioctl on %s failed: Device or resource busy\nCommand failed.\n" % name)
                return 1
        return 0
    if command not in ("ls", "table", "status", "info", "deps"):
        sys.stderr.write("Unknown command %s\n" % command)
        return 1
    if not chosen and command != "info":
        sys.stdout.write("No devices found\n")
        return 0
    for name in chosen:
        sys.stdout.write(line(state, name, mappings[name], command, columns, wanted, bool(names)))
    return 0


def strip(root, name):
    """The mapped device's name in `name`, which may be a path."""
    if root and name.startswith(root + "/"):
        name = name[len(root):]
    return name.rsplit("/", 1)[-1] if name.startswith("/dev/") else name


def line(state, name, mapping, command, columns, wanted, alone):
    """The output of `command` for one mapped device."""
    number = tuple(mapping["dev"])
    prefix = "" if alone else name + ": "
    if command == "ls":
        return "%s\t(%d:%d)\n" % ((name,) + number)
    if command == "deps":
        below = ["(%d, %d)" % (row[2], row[3]) for row in mapping["table"]]
        return "%s%d dependencies\t: %s\n" % (prefix, len(set(below)), " ".join(sorted(set(below))))
    if command == "info":
        count = 1 if Devices(state).is_open(name) else 0
        if columns:
            fields = {"name": name, "uuid": mapping["uuid"], "major": str(number[0]), "minor": str(number[1]),
                      "open": str(count), "segments": str(len(mapping["table"])), "blkdevname": "dm-%d" % mapping["minor"]}
            return ":".join(fields.get(key, "") for key in wanted or ["name", "major", "minor", "open", "segments", "uuid"]) + "\n"
        return ("Name:              %s\nState:             ACTIVE\nOpen count:        %d\n"
                "Major, minor:      %d, %d\nNumber of targets: %d\nUUID: %s\n\n"
                % (name, count, number[0], number[1], len(mapping["table"]), mapping["uuid"]))
    text = ""
    for start, length, major, minor, offset in mapping["table"]:
        if mapping["kind"] == "mpath":
            target = "multipath"
            paths = " ".join("%s 1" % slave for slave in mapping["slaves"])
            arguments = "0 0 1 1 round-robin 0 %d 1 %s" % (len(mapping["slaves"]), paths)
        else:
            target = "linear"
            arguments = "%d:%d %d" % (major, minor, offset)
        if command == "status" and target == "linear":
            arguments = ""
        text += ("%s%d %d %s %s" % (prefix, start, length, target, arguments)).rstrip() + "\n"
    return text
