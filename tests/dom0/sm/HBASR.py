#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's HBASR, as far as LVHDoHBASR uses it."""

import SR
import SRCommand
import devscan

DRIVER_INFO = {
    "name": "HBA LUN-per-VDI driver", "description": "SR plugin for LUNs as VDIs", "vendor": "double", "copyright": "double",
    "driver_version": "1.0", "required_api_version": "1.0", "capabilities": ["SR_PROBE"],
    "configuration": [["type", "HBA type (optional) (e.g. FC, iSCSI, SAS etc..)"]],
}


class HBASR(SR.SR):
    """SR type hba."""

    @staticmethod
    def handles(type):
        return type == "hba"

    def load(self, sr_uuid):
        self.sr_vditype = "phy"
        self.type = self.dconf.get("type") or "any"

    def _init_hbadict(self):
        if not hasattr(self, "hbas"):
            found = devscan.adapters(filterstr=self.type)
            self.hbadict, self.hbas = found["devs"], found["adt"]

    def attach(self, sr_uuid):
        self._mpathHandle()

    def print_devs(self):
        self.attach("")
        self._init_hbadict()
        return devscan.scan(self)


if __name__ == "__main__":
    SRCommand.run(HBASR, DRIVER_INFO)
else:
    SR.registerSR(HBASR)
