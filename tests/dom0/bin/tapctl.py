# SPDX-License-Identifier: LGPL-2.1-only
"""tap-ctl: tapdisks that exist in the state only. They keep the volume under them open, and do no I/O."""

import os
import stat
import sys

from dom0.state import STATE_DIR, State, make_directory, remove_file, write_file

# No process has such a pid: sm kills a tapdisk that it cannot use.
FIRST_PID = 1 << 22
MAJOR = 254


def main(root, argv):
    """Run one tap-ctl call."""
    if not os.path.exists(root + STATE_DIR):
        return 0
    command, options = argv[1] if len(argv) > 1 else "list", {}
    for key, value in zip(argv[2:], argv[3:]):
        if key.startswith("-") and not value.startswith("-"):
            options[key] = value
    with State(root) as state:
        return run(state, command, options)


def run(state, command, options):
    """One command; tapdisks are {'pid', 'minor', 'args', 'state'}."""
    tapdisks = state.data.setdefault("tapdisks", [])
    chosen = [disk for disk in tapdisks if options.get("-m", str(disk["minor"])) == str(disk["minor"])]
    if command == "list":
        for disk in tapdisks:
            if "-f" in options and disk["args"].split(":", 1)[-1] != options["-f"] or disk not in chosen:
                continue
            if "-p" in options and str(disk["pid"]) != options["-p"]:
                continue
            sys.stdout.write("pid=%s minor=%d state=0 args=%s\n" % (disk["pid"], disk["minor"], disk["args"]))
    elif command == "allocate":
        minor = 0
        while minor in [disk["minor"] for disk in tapdisks]:
            minor += 1
        tapdisks.append({"pid": FIRST_PID + minor, "minor": minor, "args": ":"})
        node = "/dev/xen/blktap-2/tapdev%d" % minor
        make_directory(state.path("/dev/xen/blktap-2"))
        remove_file(state.path(node))
        if state["mode"] == "loop":
            os.mknod(state.path(node), stat.S_IFBLK | 0o660, os.makedev(MAJOR, minor))
        write_file(state.path("/sys/class/blktap2/blktap!blktap%d/pool" % minor), "")
        write_file(state.path("/sys/class/blktap2/blktap!blktap%d/task" % minor), "%d\n" % (FIRST_PID + minor))
        make_directory(state.path("/sys/dev/block/%d:%d/queue" % (MAJOR, minor)))
        sys.stdout.write(node + "\n")
    elif command == "spawn":
        sys.stdout.write("%d\n" % tapdisks[-1]["pid"])
    elif command == "open":
        for disk in chosen:
            disk["args"] = options["-a"]
    elif command == "close":
        for disk in chosen:
            disk["args"] = ":"
    elif command == "free":
        for disk in chosen:
            tapdisks.remove(disk)
            remove_file(state.path("/dev/xen/blktap-2/tapdev%d" % disk["minor"]))
    elif command == "major":
        sys.stdout.write("%d\n" % MAJOR)
    return 0


def volumes_in_use(state):
    """Resolved paths that tapdisks have open."""
    found = set()
    for disk in state.data.get("tapdisks", []):
        path = disk["args"].split(":", 1)[-1]
        if path:
            found.add(resolve(state.root, path))
    return found


def resolve(root, path):
    """`path` with its links followed, below `root` also where a link's target is written without it."""
    for _ in range(20):
        if not path.startswith(root):
            path = root + path
        if not os.path.islink(path) or os.path.dirname(path) == root + "/dev":
            return path
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return path
