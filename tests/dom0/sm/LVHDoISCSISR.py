#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's LVHDoISCSISR: LVHD on an iSCSI LUN (sm-api, section 3)."""

import copy
import glob
import os
import sys
import xml.dom.minidom

import BaseISCSI
import LVHDSR
import SR
import SRCommand
import generation
import iscsilib
import lvutil
import mpath_cli
import scsiutil
import util
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
CAPABILITIES = ["SR_PROBE", "SR_UPDATE", "SR_METADATA", "SR_TRIM", "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH",
                "VDI_GENERATE_CONFIG", "VDI_CLONE", "VDI_SNAPSHOT", "VDI_RESIZE", "ATOMIC_PAUSE", "VDI_RESET_ON_BOOT/2", "VDI_UPDATE",
                "VDI_MIRROR"]
CONFIGURATION = [["SCSIid", "The scsi_id of the destination LUN"], ["target", "IP address or hostname of the iSCSI target"],
                 ["targetIQN", "The IQN of the target LUN group to be attached"],
                 ["chapuser", "The username to be used during CHAP authentication"],
                 ["chappassword", "The password to be used during CHAP authentication"],
                 ["port", "The network port number on which to query the target"]]
DRIVER_INFO = {
    "name": "LVHD over iSCSI", "description": "SR plugin for VHDs in logical volumes on an iSCSI LUN", "vendor": "double",
    "copyright": "double", "driver_version": "1.0", "required_api_version": "1.0", "capabilities": CAPABILITIES,
    "configuration": CONFIGURATION,
}
SROSError = BaseISCSI.SROSError


class LVHDoISCSISR(LVHDSR.LVHDSR):
    """SR type lvmoiscsi."""

    @staticmethod
    def handles(type):
        name = sys.argv[0] if __name__ == "__main__" else __name__
        if generation.LAYOUT == "package":
            return type in ("lvmoiscsi", "lvhdoiscsi")
        if name.endswith("LVMoISCSISR"):
            return type == "lvmoiscsi"
        return type == "lvhdoiscsi"

    def load(self, sr_uuid):
        if not sr_uuid:
            sr_uuid = util.gen_uuid()
        if generation.LOAD_SKIPS_VDI and util.isVDICommand(self.original_srcmd.cmd):
            self.SCSIid = self.dconf["SCSIid"]
        elif generation.HAS_CREATE_SESSIONS:
            self.create_iscsi_sessions(sr_uuid)
        else:
            self._make_iscsi_objects(sr_uuid)
        if generation.DEVICE_AT_LOAD == "reload":
            self._pathrefresh(LVHDoISCSISR)
        elif generation.DEVICE_AT_LOAD == "path":
            self._pathrefresh(LVHDoISCSISR, load=False)
        LVHDSR.LVHDSR.load(self, sr_uuid)

    if generation.HAS_CREATE_SESSIONS:
        def create_iscsi_sessions(self, sr_uuid):
            self._make_iscsi_objects(sr_uuid)

    def _make_iscsi_objects(self, sr_uuid):
        config = self.original_srcmd.dconf
        if "target" in config:
            config["targetlist"] = config["target"]
        first = self._iscsi_object(self.original_srcmd, sr_uuid)
        self.iscsiSRs = [first]
        if self._is_multi_session():
            self.iscsiSRs = []
            problem = None
            try:
                self._make_sessions(first, sr_uuid)
            except Exception:
                problem = sys.exc_info()[1]
                util.logException("LVHDoISCSISR.load")
            if not self.iscsiSRs:
                if isinstance(problem, SROSError) or not generation.RERAISES_IN_LOAD:
                    raise problem or IndexError("list index out of range")
                raise xs_errors.XenError("SMGeneral", str(problem))
        self.iscsi = self.iscsiSRs[0]
        if "SCSIid" not in self.dconf:
            self.LUNs = {}
            for iscsi in self.iscsiSRs:
                self.iscsi = iscsi
                self._LUNprint(sr_uuid)
                self.LUNs.update(iscsi.LUNs)
            self.print_LUNs_XML()
            self.iscsi = self.iscsiSRs[0]
            raise xs_errors.XenError("ConfigSCSIid")
        self.SCSIid = self.dconf["SCSIid"]
        if len(self.iscsiSRs) > 1:
            self._choose_session()

    def _iscsi_object(self, srcmd, sr_uuid):
        if generation.ISCSI_CLASS == "ISCSISR":
            return SR.driver("iscsi")(srcmd, sr_uuid)
        return BaseISCSI.BaseISCSISR(srcmd, sr_uuid)

    def _is_multi_session(self):
        target = self.dconf["target"]
        if generation.SPLITS_TARGETS:
            several = len([part for part in target.split(",") if part]) > 1
        else:
            several = target.find(",") == 0
        return several or self.dconf["targetIQN"] == "*"

    def _make_sessions(self, first, sr_uuid):
        """One iSCSI object for each 'ip,port,iqn' of multiSession, or of what discovery finds."""
        wanted = "any" if self.dconf["targetIQN"] == "*" else self.dconf["targetIQN"]
        if "multiSession" in self.dconf:
            keys = [key for key in self.dconf["multiSession"].split("|") if key]
        else:
            keys = []
            for target in [part for part in self.dconf["target"].split(",") if part]:
                iscsilib.ensure_daemon_running_ok(first.localIQN)
                for portal, _, iqn in iscsilib.discovery(util._convertDNS(target), first.port, first.chapuser, first.chappassword, wanted):
                    address, port = iscsilib.parse_IP_port(portal)
                    try:
                        util._testHost(address, int(port), "ISCSITarget")
                    except SROSError:
                        continue
                    key = "%s,%s,%s" % (address, port, iqn)
                    if key not in keys:
                        keys.append(key)
        text = "".join(key + "|" for key in keys)
        for key in keys:
            address, port, iqn = key.split(",")
            srcmd = copy.deepcopy(self.original_srcmd)
            srcmd.dconf.update({"target": address, "targetIQN": iqn, "multiSession": text})
            self.iscsiSRs.append(self._iscsi_object(srcmd, sr_uuid))
        if "multiSession" not in self.dconf:
            self._store_sessions(text)

    def _store_sessions(self, text):
        pbd = util.find_my_pbd(self.session, self.host_ref, self.sr_ref)
        if pbd is not None:
            config = self.session.xenapi.PBD.get_device_config(pbd)
            config["multiSession"] = text
            self.session.xenapi.PBD.set_device_config(pbd, config)

    def _choose_session(self):
        """Put the object that shows the LUN first; logs in and out where there is no session yet."""
        for index, iscsi in enumerate(self.iscsiSRs):
            self.iscsi = iscsi
            iscsilib.ensure_daemon_running_ok(iscsi.localIQN)
            mine = False
            if not iscsilib._checkTGT(iscsi.targetIQN):
                try:
                    iscsilib.discovery(iscsi.target, iscsi.port, iscsi.chapuser, iscsi.chappassword, targetIQN=iscsi.targetIQN)
                    iscsilib.login("%s:%d" % (iscsi.target, iscsi.port), iscsi.targetIQN, iscsi.chapuser, iscsi.chappassword,
                                   iscsi.incoming_chapuser, iscsi.incoming_chappassword, self.mpath == "true")
                except Exception:
                    continue
                mine = True
            found = util.wait_for_path(iscsi.path, BaseISCSI.MAX_TIMEOUT) and self._shows_lun(iscsi)
            if mine:
                try:
                    iscsilib.logout(iscsi.target + ":%d" % iscsi.port, iscsi.targetIQN)
                except Exception:
                    raise xs_errors.XenError("ISCSILogout")
            if found:
                self.iscsiSRs = self.iscsiSRs[index:] + self.iscsiSRs[:index]
                if index:
                    self._store_sessions("".join("%s,%d,%s|" % (i.target, i.port, i.targetIQN) for i in self.iscsiSRs))
                return
        raise xs_errors.XenError("ISCSITarget")

    def _shows_lun(self, iscsi):
        for name in filter(iscsi.match_lun, util.listdir(iscsi.path)):
            try:
                if scsiutil.getSCSIid(os.path.join(iscsi.path, name)) == self.SCSIid:
                    return True
            except util.CommandException:
                continue
        return False

    def _LUNprint(self, sr_uuid):
        if self.iscsi.attached:
            self.iscsi.refresh()
        self.iscsi.attach(sr_uuid)
        if util.wait_for_path("%s/LUN*" % self.iscsi.path, BaseISCSI.MAX_TIMEOUT):
            try:
                first = sorted(glob.glob("%s/LUN*" % self.iscsi.path))[0]
                util.pread2(["/usr/bin/sg_luns", "-q", first])
                scsiutil._dosgscan()
                util.pread2(["/sbin/udevadm", "settle"])
            except util.CommandException:
                util.SMlog("Generic exception caught. Pass")
        self.iscsi.print_LUNs()
        self.iscsi.detach(sr_uuid)

    def print_LUNs_XML(self):
        dom = xml.dom.minidom.Document()
        top = dom.createElement("iscsi-target")
        dom.appendChild(top)
        for uuid in self.LUNs:
            entry = dom.createElement("LUN")
            top.appendChild(entry)
            for attribute in ("vendor", "serial", "LUNid", "size", "SCSIid"):
                value = getattr(self.LUNs[uuid], attribute, None)
                if value:
                    node = dom.createElement(attribute)
                    entry.appendChild(node)
                    node.appendChild(dom.createTextNode(str(value)))
        sys.stderr.write(dom.toprettyxml() + "\n")

    def _find_lun(self, iscsi):
        """Wait for the LUN; InvalidDev where _attach_LUN_bySCSIid only says False."""
        if iscsi._attach_LUN_bySCSIid(self.SCSIid) is False:
            raise xs_errors.XenError("InvalidDev")

    def create(self, sr_uuid, size):
        if util.test_SCSIid(self.session, sr_uuid, self.SCSIid):
            raise xs_errors.XenError("SRInUse")
        self.iscsi.attach(sr_uuid)
        try:
            self._find_lun(self.iscsi)
            self._pathrefresh(LVHDoISCSISR)
            LVHDSR.LVHDSR.create(self, sr_uuid, size)
        except Exception:
            problem = sys.exc_info()[1]
            self.iscsi.detach(sr_uuid)
            raise xs_errors.XenError("SRUnavailable", opterr=problem)
        self.iscsi.detach(sr_uuid)

    def delete(self, sr_uuid):
        if generation.DEVICE_AT_LOAD is None:
            self._pathrefresh(LVHDoISCSISR)
        LVHDSR.LVHDSR.delete(self, sr_uuid)
        for iscsi in self.iscsiSRs:
            iscsi.detach(sr_uuid)

    def attach(self, sr_uuid):
        try:
            connected = False
            stored = None
            for iscsi in self.iscsiSRs:
                try:
                    iscsi.attach(sr_uuid)
                except SROSError:
                    problem = sys.exc_info()[1]
                    if problem.errno not in generation.TOLERATED_AT_ATTACH:
                        raise
                    stored = problem
                    continue
                connected = True
                self._find_lun(iscsi)
            if not connected:
                raise stored
            if "multiSession" in self.dconf:
                for address in self.iscsi.adapter:
                    scsiutil.rescan([self.iscsi.adapter[address]])
            self._pathrefresh(LVHDoISCSISR)
            if generation.CHECKS_FOREIGN_PVS:
                lvutil.checkPVScsiIds(self.vgname, self.SCSIid)
            LVHDSR.LVHDSR.attach(self, sr_uuid)
        except Exception:
            problem = sys.exc_info()[1]
            for iscsi in self.iscsiSRs:
                iscsi.detach(sr_uuid)
            if generation.CHECKS_FOREIGN_PVS and isinstance(problem, SROSError):
                raise problem
            raise xs_errors.XenError("SRUnavailable", opterr=problem)
        self._setMultipathableFlag(SCSIid=self.SCSIid)

    def detach(self, sr_uuid):
        LVHDSR.LVHDSR.detach(self, sr_uuid)
        for iscsi in self.iscsiSRs:
            iscsi.detach(sr_uuid)

    def scan(self, sr_uuid):
        if generation.SCAN_REFRESHES_PATH:
            self._pathrefresh(LVHDoISCSISR)
            if self.mpath == "true":
                for iscsi in self.iscsiSRs:
                    try:
                        iscsi.attach(sr_uuid)
                    except SROSError:
                        util.SMlog("Connection failed for target %s, continuing.." % iscsi.target)
        LVHDSR.LVHDSR.scan(self, sr_uuid)

    def probe(self):
        self.uuid = util.gen_uuid()
        if self.mpath == "true" and "SCSIid" in self.dconf and self.dconf["SCSIid"] in mpath_cli.list_maps():
            raise xs_errors.XenError("SRInUse")
        self.iscsi.attach(self.uuid)
        self._find_lun(self.iscsi)
        self._pathrefresh(LVHDoISCSISR)
        text = LVHDSR.LVHDSR.probe(self)
        self.iscsi.detach(self.uuid)
        return text

    def vdi(self, uuid):
        return LVHDoISCSIVDI(self, uuid)


class LVHDoISCSIVDI(LVHDSR.LVHDVDI):
    """A disk on such an SR."""


if __name__ == "__main__":
    SRCommand.run(LVHDoISCSISR, DRIVER_INFO)
else:
    SR.registerSR(LVHDoISCSISR)
