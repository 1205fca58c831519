# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: clones of one attached original are resigned at once, with sm's sleeps at full length, and LVM at work on the original.

    python3 crowd.py VDIS COUNT...      VDIs of the SR, numbers of clones

Reports {"storm": the fields of storm.figures.Storm} per number. Without multipathing.
"""

import sys
import time

from dom0.xapi import Xapi
from inside import clones, devices, pool
from inside.calls import Call
from inside.guestworld import GuestWorld, lvm_lock
from inside.reporting import report
from lvhd import shapes
from storm import figures, watch


def lvs(vg):
    done = pool.lvm("lvs", "--noheadings", "-o", "lv_name", vg)
    return done.returncode, done.stderr


def storm(world, toolstack, vdis, count):
    result = figures.Storm(count)
    original = clones.Original(world, toolstack, f"original{count}", shapes.sized(vdis, seed=count))
    luns = [clones.Clone(original, f"clone{count}-{number}") for number in range(count)]
    watchers = (watch.Visible({lun.scsi_id: lun.path for lun in luns}, devices.by_id), watch.Waiting(lvm_lock(original.vg)),
                watch.Commands(lambda: lvs(original.vg)))
    for watcher in watchers:
        watcher.start()
    begin = time.time()
    calls = [Call(pool.resign, toolstack, lun.config, lun.volume.name) for lun in luns]
    answers = [call.answer() for call in calls]
    result.total = time.time() - begin
    for watcher in reversed(watchers):
        watcher.finish()
    result.succeeded = sum(map(pool.says_resigned, answers))
    result.errors = [str(answer)[-500:] for answer in answers if not pool.says_resigned(answer)]
    result.read_log(world.log(), [lun.scsi_id for lun in luns])
    result.watched(*watchers)
    for lun in luns:
        result.left += world.left_over(lun.scsi_id, lun.own_iqn)
    result.left += clones.original_problems(original, world)
    return result


def main(vdis, counts):
    world = GuestWorld(sleep=1.0)
    with Xapi(world) as toolstack:
        toolstack.timeout = 1800
        for count in counts:
            report(storm=vars(storm(world, toolstack, vdis, count)))


main(int(sys.argv[1]), [int(word) for word in sys.argv[2:]])
