# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: how long a resign takes, step by step, and how long what an administrator does by hand takes.

    python3 timing.py COUNT...      numbers of VDIs

Reports {"timing": {"vdis", "seconds": {step: s}, "duplicate": s, "total": s, "by hand": {...}}} per number. "duplicate" is the time during
which the host sees two LUNs of the same identity: from the device's appearance to switch 1.
"""

import os
import re
import sys
import threading
import time

from dom0.xapi import Xapi
from inside import clones, devices, initiator, pool
from inside.command import run
from inside.guestworld import GuestWorld
from inside.reporting import report
from lvhd import shapes

STEP = re.compile(r"relvmoiscsi: (\S+): (.*) took ([0-9.]+) s")
GUEST_SLEEP = 1.0


class Watch(threading.Thread):
    """When a device appeared, and when a condition on it came true: seconds since the epoch."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.appeared = None
        self.start()

    def run(self):
        while not os.path.exists(self.path):
            time.sleep(0.005)
        self.appeared = time.time()


def with_driver(world, toolstack, clone):
    """One sr-create: seconds of the steps, of the time with duplicates, and in all."""
    seen = len(world.log_lines)
    watch = Watch(devices.by_id(clone.scsi_id))
    started = time.time()
    answer = pool.resign(toolstack, clone.config)
    total = time.time() - started
    assert pool.says_resigned(answer), answer
    steps, switched = {}, None
    for stamp, line in world.log_lines[seen:]:
        found = STEP.search(line)
        if found and found.group(1) == clone.scsi_id:
            steps[found.group(2)] = float(found.group(3))
            if found.group(2) == "switch 1":
                switched = stamp
    return {"seconds": steps, "duplicate": switched - watch.appeared, "total": total}


def by_hand(world, original, clone, children):
    """pvchange, vgchange, vgrename with a filter, lvrename per LV, and each child's parent set anew: seconds of each.

    The metadata volume (MGT) is not rewritten, which sm would then do wrong: nobody does that by hand.
    """
    seconds = {}
    watch = Watch(devices.by_id(clone.scsi_id))
    started = time.time()
    initiator.discover()
    initiator.login(clone.own_iqn)
    device = os.path.realpath(devices.wait_for(devices.by_id(clone.scsi_id)))
    seconds["iSCSI"] = time.time() - started
    only = ["--config", 'devices{filter=["a|^%s$|","r|.*|"]} global{metadata_read_only=0}' % device]
    new = pool.vg_name("0f0e0d0c-0000-4000-8000-%012d" % children)

    def timed(name, function):
        begun = time.time()
        function()
        seconds[name] = seconds.get(name, 0) + time.time() - begun

    timed("pvchange, vgchange, vgrename", lambda: [
        run("vgchange", "-q", "-an", *only, original.vg),
        run("pvchange", "-q", "--uuid", *only, device),
        run("vgchange", "-q", "--uuid", *only, original.vg),
        run("vgrename", "-q", *only, original.vg, new),
    ])  # fmt: skip
    duplicate = time.time() - watch.appeared
    names = run("lvs", "--noheadings", "-o", "lv_name", *only, new).split()
    disks = [name for name in names if name != "MGT"]
    renamed = {name: "VHD-" + clones_uuid(number) for number, name in enumerate(disks)}
    timed("lvrename per LV", lambda: [run("lvrename", "-q", *only, new, name, renamed[name]) for name in disks])

    def headers():
        run("vgchange", "-q", "-ay", *only, new)
        for name in disks:
            path = f"/dev/{new}/{renamed[name]}"
            parent = parent_of(path)
            if parent:
                read_only = run("lvs", "--noheadings", "-o", "lv_attr", *only, f"{new}/{renamed[name]}").strip()[1] == "r"
                if read_only:
                    run("lvchange", "-q", "-prw", *only, f"{new}/{renamed[name]}")
                run("vhd-util", "modify", "-n", path, "-p", f"/dev/{new}/{renamed[parent]}")
                if read_only:
                    run("lvchange", "-q", "-pr", *only, f"{new}/{renamed[name]}")
        run("vgchange", "-q", "-an", *only, new)

    timed("VHD headers", headers)
    total = time.time() - started
    initiator.logout(clone.own_iqn)
    return {"seconds": seconds, "duplicate": duplicate, "total": total}


def clones_uuid(number):
    return "0f0e0d0c-0000-4000-9000-%012d" % number


def parent_of(path):
    from inside.disk import LogicalVolume
    from lvhd.reader import Vhd

    volume = LogicalVolume(path)
    try:
        return Vhd(volume).parent_volume()
    finally:
        volume.close()


def main(counts):
    world = GuestWorld(sleep=GUEST_SLEEP)
    with Xapi(world) as toolstack:
        for count in counts:
            original = clones.Original(world, toolstack, f"original{count}", shapes.sized(count, seed=count))
            answers = {"vdis": count, "driver": with_driver(world, toolstack, clones.Clone(original, f"clone{count}"))}
            hand = clones.Clone(original, f"hand{count}")
            pool.lvm("vgchange", "-an", original.vg)
            answers["by hand"] = by_hand(world, original, hand, count)
            report(timing=answers)


main([int(word) for word in sys.argv[1:]])
