#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's LVHDoHBASR: LVHD on a LUN behind an HBA."""

import glob
import os
import sys

import HBASR
import LVHDSR
import SR
import SRCommand
import generation
import mpath_cli
import util
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
DRIVER_INFO = {
    "name": "LVHD over FC", "description": "SR plugin for VHDs in logical volumes on an HBA LUN", "vendor": "double",
    "copyright": "double", "driver_version": "1.0", "required_api_version": "1.0", "capabilities": LVHDSR.CAPABILITIES,
    "configuration": [["SCSIid", "The scsi_id of the destination LUN"]],
}


class LVHDoHBASR(LVHDSR.LVHDSR):
    """SR type lvmohba. HBASR is registered by being imported."""

    HBA_DRIVER = HBASR.HBASR

    @staticmethod
    def handles(type):
        name = sys.argv[0] if __name__ == "__main__" else __name__
        if generation.LAYOUT == "package":
            return type in ("lvmohba", "lvhdohba")
        if name.endswith("LVMoHBASR"):
            return type == "lvmohba"
        return type == "lvhdohba"

    def load(self, sr_uuid):
        self.hbasr = SR.driver("hba")(self.original_srcmd, sr_uuid)
        if not (generation.LOAD_SKIPS_VDI and util.isVDICommand(self.original_srcmd.cmd)):
            if not self.dconf.get("SCSIid"):
                sys.stderr.write(self.hbasr.print_devs() + "\n")
                raise xs_errors.XenError("ConfigSCSIid")
        self.SCSIid = self.dconf["SCSIid"]
        if generation.DEVICE_AT_LOAD == "reload":
            self._pathrefresh(LVHDoHBASR)
        elif generation.DEVICE_AT_LOAD == "path":
            self._pathrefresh(LVHDoHBASR, load=False)
        LVHDSR.LVHDSR.load(self, sr_uuid)

    def _refresh(self):
        if self.mpath == "true":
            self.mpathmodule.refresh(self.SCSIid, 0)

    def _reset(self):
        if self.mpath == "true":
            self.mpathmodule.reset(self.SCSIid, True)

    def create(self, sr_uuid, size):
        self.hbasr.attach(sr_uuid)
        self._refresh()
        self._pathrefresh(LVHDoHBASR)
        try:
            LVHDSR.LVHDSR.create(self, sr_uuid, size)
        finally:
            self._reset()

    def attach(self, sr_uuid):
        self.hbasr.attach(sr_uuid)
        self._refresh()
        self._pathrefresh(LVHDoHBASR)
        if not os.path.exists(self.dconf["device"]):
            self.hbasr._init_hbadict()
            self._refresh()
        LVHDSR.LVHDSR.attach(self, sr_uuid)
        self._setMultipathableFlag(SCSIid=self.SCSIid)

    def scan(self, sr_uuid):
        if self.mpath == "true" and not os.path.exists(self.dconf.get("device", "")):
            self._refresh()
            self._pathrefresh(LVHDoHBASR)
        elif generation.DEVICE_AT_LOAD is None:
            self._pathrefresh(LVHDoHBASR)
        LVHDSR.LVHDSR.scan(self, sr_uuid)

    def probe(self):
        if self.mpath == "true":
            if self.SCSIid in mpath_cli.list_maps():
                raise xs_errors.XenError("SRInUse")
            self._refresh()
        try:
            self._pathrefresh(LVHDoHBASR)
            return LVHDSR.LVHDSR.probe(self)
        finally:
            self._reset()

    def detach(self, sr_uuid):
        LVHDSR.LVHDSR.detach(self, sr_uuid)
        self.mpathmodule.reset(self.SCSIid, True)

    def delete(self, sr_uuid):
        if generation.DEVICE_AT_LOAD is None:
            self._pathrefresh(LVHDoHBASR)
        try:
            LVHDSR.LVHDSR.delete(self, sr_uuid)
        finally:
            self._reset()
            if generation.DEVICE_AT_LOAD is None:
                for node in glob.glob("%s/dev/disk/by-scsid/%s/sd*" % (ROOT, self.SCSIid)):
                    with open("%s/sys/block/%s/device/delete" % (ROOT, os.path.basename(node)), "w") as f:
                        f.write("1\n")

    def vdi(self, uuid):
        return LVHDoHBAVDI(self, uuid)


class LVHDoHBAVDI(LVHDSR.LVHDVDI):
    """A disk on such an SR."""


if __name__ == "__main__":
    SRCommand.run(LVHDoHBASR, DRIVER_INFO)
else:
    SR.registerSR(LVHDoHBASR)
