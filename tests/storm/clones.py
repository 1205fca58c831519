# SPDX-License-Identifier: LGPL-2.1-only
"""An array with an original and its clones, each behind a target of its own, a host that uses the original, and one storm on them."""
from __future__ import absolute_import, division, print_function

import os
import subprocess
import threading
import time

from dom0 import pools
from lvhd import image, reader, shapes
from storm import figures, watch

SUCCESS = ("Error reporting error, unknown key The SR has been successfully resigned. "
           "Use the lvmoiscsi type to attach it")
ORIGINAL = "360000000000000000e00000000010001"
IQN = "iqn.2020-01.test:original"


def scsi_id_of(number):
    return "360000000000000000e000000%08x" % (0x20000 + number)


def storm(directory, count, profile, multipath=False, sleep=1.0, vdis=1):
    """The figures.Storm of `count` clones of an SR of `vdis` VDIs. sleep: what sm's sleeps are multiplied with."""
    result = figures.Storm(count)
    original = os.path.join(directory, "original.img")
    sr = shapes.sized(vdis)
    sr.device = "/dev/disk/by-scsid/%s/sda" % ORIGINAL
    image.write(original, sr)
    pool = pools.Pool(os.path.join(directory, "dom0"), profile, multipath=multipath)
    try:
        world, xapi = pool.world, pool.xapi
        world.sleep = sleep
        world.add_target(IQN)
        world.add_lun(IQN, 0, original, ORIGINAL)
        images = {}
        for number in range(count):
            path = os.path.join(directory, "clone%d.img" % number)
            subprocess.check_call(["cp", "--sparse=always", original, path])
            images[scsi_id_of(number)] = path
            world.add_target("%s%d" % (IQN, number))
            world.add_lun("%s%d" % (IQN, number), 1, path, scsi_id_of(number))
        if multipath:
            world.start_multipathd()
        xapi.sr_introduce("lvmoiscsi", sr.uuid)
        xapi.pbd_plug(xapi.pbd_create(sr.uuid, world.device_config(IQN, ORIGINAL)))
        before = world.sessions(), world.refcounts(), world.mappings()
        visible = watch.Visible(images, lambda scsi_id: world.path("/dev/disk/by-scsid/" + scsi_id))
        waiting = watch.Waiting(world.path("/var/lock/lvm/V_VG_XenStorage-" + sr.uuid))
        commands = watch.Commands(lambda: world.run("lvs", "--noheadings", "-o", "lv_name", "VG_XenStorage-" + sr.uuid)[::2])
        for watcher in (visible, waiting, commands):
            watcher.start()
        _resign_all(result, world, xapi, count)
        for watcher in (commands, waiting, visible):
            watcher.finish()
        _collect(result, world, visible, waiting, commands)
        after = world.sessions(), world.refcounts(), world.mappings()
        result.left.extend("%s: %s and not %s" % (what, now, then)
                           for what, now, then in zip(("sessions", "references", "maps"), after, before) if now != then)
        for number in range(count):
            if reader.vg_names(images[scsi_id_of(number)]) == ["VG_XenStorage-" + sr.uuid]:
                result.errors.append("clone %d has its old identity" % number)
    finally:
        pool.close()
    return result


def _resign_all(result, world, xapi, count):
    def call(number):
        try:
            xapi.sr_create("relvmoiscsi", world.device_config("%s%d" % (IQN, number), scsi_id_of(number)))
        except pools.XapiError as error:
            if error.params[1:2] == [SUCCESS]:
                result.succeeded += 1
            else:
                result.errors.append(str(error))
    begin = time.time()
    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.total = time.time() - begin


def _collect(result, world, visible, waiting, commands):
    result.read_log(world.log(), map(scsi_id_of, range(result.clones)))
    result.watched(visible, waiting, commands)
