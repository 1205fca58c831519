# SPDX-License-Identifier: LGPL-2.1-only
"""A dom0 double with a real sm on it, to which one LUN after the other is shown as an SR of type lvm.

sm, and what it calls, are unmodified; LVM is the machine's. vhd-util is the double's own, or the real one that is named.
"""
from __future__ import absolute_import, division, print_function

import glob
import os

from dom0.world import World, wait_until
from dom0.xapi import Xapi, XapiError, new_vdi

IQN = "iqn.2020-01.test:array"
SCSI_ID = "360000000000000000e00000000010001"
DEVICE = "/dev/disk/by-id/scsi-" + SCSI_ID
CLEANUP = "/opt/xensource/sm/cleanup.py"


class Attached(object):
    """What came of attaching a LUN.

    errors     [text] of the attempts that failed
    attached   whether the last one did not
    scanned    '' or why the scan failed
    vdis       {uuid: xapi's record} after the scan
    collected  '' or what the garbage collector said as it failed; None when it was not run
    """

    def __init__(self):
        self.errors = []
        self.attached = False
        self.scanned = ""
        self.vdis = {}
        self.collected = None


class Host(object):
    """Close it."""

    def __init__(self, directory, tree, python, vhd_util=None):
        self.world = World(directory, mode="loop", profile=None)
        self.world.install_sm(tree, python=python)
        if vhd_util:
            for name in ("/usr/bin/vhd-util", "/usr/sbin/vhd-util"):
                self.world._write_script(name, '#!/bin/sh\nexec "%s" "$@"\n' % vhd_util)
        self.world.add_target(IQN)

    def close(self):
        self.world.close()

    def attach(self, image, sr, known=(), attempts=1, collect=False):
        """Attach, scan and detach the SR `sr` on the file `image`, on a host that was just started; an Attached.

        known: xapi's VDI records, as dicts of the fields that matter. attempts: how often at most. collect: run the garbage
        collector of sm before the SR is detached.
        """
        self.world.reboot()
        self.world.add_lun(IQN, 0, image, SCSI_ID)
        self.world.login(IQN)
        found = Attached()
        xapi = Xapi(self.world)
        xapi.timeout = 180
        with xapi:
            xapi.sr_introduce("lvm", sr, shared=False)
            reference = xapi.db.find("SR", sr)
            for fields in known:
                xapi.db.insert("VDI", new_vdi(SR=reference, **fields))
            pbd = xapi.pbd_create(sr, {"device": DEVICE})
            while not found.attached and len(found.errors) < attempts:
                try:
                    xapi.pbd_plug(pbd)
                    found.attached = True
                except XapiError as error:
                    found.errors.append("%s %s" % (error, xapi.runs[-1].stderr[-400:]))
            if found.attached:
                self._use(xapi, sr, pbd, found, collect)
        # whatever a failed attach left active
        self.world.reboot()
        return found

    def _use(self, xapi, sr, pbd, found, collect):
        try:
            xapi.sr_scan(sr)
            if collect:
                found.collected = self._collect(xapi, sr)
                xapi.sr_scan(sr)
        except XapiError as error:
            found.scanned = "%s %s" % (error, xapi.runs[-1].stderr[-400:])
        found.vdis = xapi.vdis(sr)
        try:
            xapi.pbd_unplug(pbd)
        except XapiError as error:
            found.scanned = found.scanned or "detach: %s" % error

    def _collect(self, xapi, sr):
        # off before and after, since a scan starts one in the background; that one, which is told that it may not, must have ended
        if not wait_until(self._is_idle):
            return "a process of sm's does not end"
        settings = xapi.db.get("SR", xapi.db.find("SR", sr))["other_config"]
        settings.pop("gc", None)
        command, environment = self.world.driver_command(self.world.path(CLEANUP))
        status, out, err = self.world.run(command[-2], CLEANUP, "-g", "-u", sr, env=dict(environment, LVM_SYSTEM_DIR="/etc/lvm/master"))
        settings["gc"] = "false"
        return "" if status == 0 else (out + err)[-600:]

    def _is_idle(self):
        """Whether no program runs in the double."""
        for root in glob.glob("/proc/[0-9]*/root"):
            try:
                if os.readlink(root) == self.world.native.new:
                    return False
            except OSError:
                continue
        return True
