# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's iSCSI object: BaseISCSI.BaseISCSISR, or ISCSISR.ISCSISR before 7.1 (sm-api, section 3.4)."""

import os
import sys
import xml.dom.minidom

import SR
import generation
import iscsilib
import scsiutil
import util
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
DEFAULT_PORT = 3260
MAXPORT = 65535
MAX_TIMEOUT = 15
MAX_LUNID_TIMEOUT = 60
ISCSI_PROCNAME = "iscsi_tcp"

if generation.ERRORS_IN == "SR":
    SROSError = SR.SROSError
else:
    SROSError = xs_errors.SROSError


class Lun(object):
    """One LUN as _LUNprint lists it."""

    def __init__(self, path, lun):
        self.LUNid = lun
        self.vendor = scsiutil.getmanufacturer(path)
        self.serial = scsiutil.getserial(path)
        self.size = scsiutil.getsize(path)
        self.SCSIid = scsiutil.getSCSIid(path)
        self.uuid = self.SCSIid


class BaseISCSISR(SR.SR):
    """The sessions to one target."""

    @staticmethod
    def handles(type):
        return generation.ISCSI_CLASS == "ISCSISR" and type == "iscsi"

    def load(self, sr_uuid):
        self.sr_vditype = "phy"
        self.default_vdi_visibility = False
        dconf = self.dconf
        if not dconf.get("target"):
            raise xs_errors.XenError("ConfigTargetMissing")
        try:
            self.localIQN = dconf.get("localIQN") or self.session.xenapi.host.get_other_config(self.host_ref)["iscsi_iqn"]
        except Exception:
            self.localIQN = None
        if not self.localIQN:
            raise xs_errors.XenError("ConfigISCSIIQNMissing")
        try:
            self.target = util._convertDNS(dconf["target"].split(",")[0])
        except Exception:
            raise xs_errors.XenError("DNSError")
        self.targetlist = dconf.get("targetlist", self.target)
        self.chapuser, self.chappassword = self._chap("chapuser", "chappassword")
        self.incoming_chapuser, self.incoming_chappassword = self._chap("incoming_chapuser", "incoming_chappassword")
        self.port = DEFAULT_PORT
        if dconf.get("port"):
            try:
                self.port = int(dconf["port"])
            except ValueError:
                raise xs_errors.XenError("ISCSIPort")
        if not 1 <= self.port <= MAXPORT:
            raise xs_errors.XenError("ISCSIPort")
        self.multihomed = dconf.get("multihomed", self.mpath) == "true"
        if not dconf.get("targetIQN"):
            self._scan_IQNs()
            raise xs_errors.XenError("ConfigTargetIQNMissing")
        self.targetIQN = str(dconf["targetIQN"])
        self._attached = None
        self._pathdict = None
        self._adapter = None
        self._devs = None
        self._path = None
        self._address = None
        if not generation.LAZY_ISCSI:
            self._attached = iscsilib._checkTGT(self.targetIQN)
            self._initPaths()

    def _chap(self, user, password):
        """(user, password), from the configuration or the secret it names; empty without."""
        empty = b"" if generation.CHAP_BYTES else ""
        if user not in self.dconf or not (password in self.dconf or password + "_secret" in self.dconf):
            return empty, empty
        if password + "_secret" in self.dconf:
            secret = util.get_secret(self.session, self.dconf[password + "_secret"])
        else:
            secret = self.dconf[password]
        if generation.CHAP_BYTES:
            return self.dconf[user].encode("utf-8"), secret.encode("utf-8")
        return util.to_plain_string(self.dconf[user]), util.to_plain_string(secret)

    # lazily computed, as sm does since 7.6

    @property
    def attached(self):
        if not self._attached:
            self._attached = iscsilib._checkTGT(self.targetIQN)
        return self._attached

    @attached.setter
    def attached(self, value):
        self._attached = value

    def _lazy(self, name):
        if not getattr(self, name):
            self._initPaths()
        return getattr(self, name)

    @property
    def pathdict(self):
        return self._lazy("_pathdict")

    @property
    def adapter(self):
        return self._lazy("_adapter")

    @adapter.setter
    def adapter(self, value):
        self._adapter = value

    @property
    def devs(self):
        return self._lazy("_devs")

    @property
    def path(self):
        return self._lazy("_path")

    @property
    def address(self):
        return self._lazy("_address")

    tgtidx = address

    def _initPaths(self):
        self._init_adapters()
        self._pathdict = {}
        self._address = "%s:%d" % (self.target, self.port)
        self._add_path(self.target, self.port)
        self._path = self._pathdict[self._address]["path"]
        if not self.attached:
            return
        if self.multihomed:
            for portal, _, _ in iscsilib.get_node_records(targetIQN=self.targetIQN):
                address, port = iscsilib.parse_IP_port(portal)
                if address != self.target:
                    self._add_path(address, int(port))
        if not os.path.exists(self._path):
            for key in self._pathdict:
                if key in self._adapter:
                    self._address, self._path = key, self._pathdict[key]["path"]
                    if os.path.exists(self._path):
                        break
        self._synchroniseAddrList(sorted(self._pathdict))

    def _add_path(self, address, port):
        key = "%s:%d" % (address, port)
        self._pathdict[key] = {"ipaddr": address, "port": port, "path": os.path.join(ROOT + "/dev/iscsi", self.targetIQN, key)}

    def _synchroniseAddrList(self, addresses):
        if not self.multihomed:
            return
        known = [entry for entry in self.dconf.get("multihomelist", "").split(",") if entry]
        added = [entry for entry in addresses if entry not in known]
        if added:
            pbd = util.find_my_pbd(self.session, self.host_ref, self.sr_ref)
            if pbd is not None:
                config = self.session.xenapi.PBD.get_device_config(pbd)
                config["multihomelist"] = ",".join(known + added)
                self.session.xenapi.PBD.set_device_config(pbd, config)

    def _init_adapters(self):
        self._adapter = {}
        for host in scsiutil._genHostList(ISCSI_PROCNAME):
            try:
                if iscsilib.get_targetIQN(host) == self.targetIQN:
                    self._adapter["%s:%s" % iscsilib.get_targetIP_and_port(host)] = host
            except (IndexError, IOError):
                pass
        self._devs = scsiutil.cacheSCSIidentifiers()

    # sessions

    def attach(self, sr_uuid):
        self._mpathHandle()
        several = False
        pbd = util.find_my_pbd(self.session, self.host_ref, self.sr_ref)
        if pbd and generation.COUNTS_SESSIONS:
            several = util.sessions_less_than_targets(self.session.xenapi.PBD.get_other_config(pbd), self.dconf)
        if not self.attached or several:
            self._choose_portal()
            iscsilib.ensure_daemon_running_ok(self.localIQN)
            if not iscsilib._checkTGT(self.targetIQN) or several:
                try:
                    self._login()
                except util.CommandException:
                    raise xs_errors.XenError("ISCSILogin", opterr="code is %d" % sys.exc_info()[1].code)
            self.attached = True
        self._initPaths()
        util._incr_iscsiSR_refcount(self.targetIQN, sr_uuid)
        sessions = 0
        for path in iscsilib.get_IQN_paths():
            if util.get_single_entry(os.path.join(path, "targetname")) == self.targetIQN:
                sessions += 1
        if pbd:
            self.session.xenapi.PBD.remove_from_other_config(pbd, "iscsi_sessions")
            self.session.xenapi.PBD.add_to_other_config(pbd, "iscsi_sessions", str(sessions))
        if "SCSIid" in self.dconf:
            self._after_login(self.dconf["SCSIid"])

    def _choose_portal(self):
        """The first portal that answers becomes target and port; XenError ISCSITarget."""
        if "multihomelist" in self.dconf and "multiSession" not in self.dconf:
            portals = self.dconf["multihomelist"].split(",")
        else:
            portals = ["%s:%d" % (self.target, self.port)]
        for portal in portals:
            target, port = iscsilib.parse_IP_port(portal)
            try:
                util._testHost(target, int(port), "ISCSITarget")
            except Exception:
                continue
            self.target, self.port = target, int(port)
            return
        raise xs_errors.XenError("ISCSITarget")

    def _login(self):
        found = []
        try:
            found = iscsilib.get_node_records(self.targetIQN)
        except SROSError:
            pass    # no record of any node
        if not found:
            found = iscsilib.discovery(self.target, self.port, self.chapuser, self.chappassword, self.targetIQN,
                                       iscsilib.get_iscsi_interfaces())
        if not found:
            self._scan_IQNs()
            raise xs_errors.XenError("ISCSIDiscovery", opterr="check target settings")
        for portal, _, iqn in found:
            address, port = iscsilib.parse_IP_port(portal)
            if not self.multihomed and address != self.target:
                continue
            try:
                util._testHost(address, int(port), "ISCSITarget")
                util.SMlog("Logging in to [%s:%s]" % (address, port))
                iscsilib.login(portal, iqn, self.chapuser, self.chappassword, self.incoming_chapuser, self.incoming_chappassword,
                               self.mpath == "true")
            except Exception:
                if str(sys.exc_info()[1]).startswith("ISCSI login"):
                    raise
        if not iscsilib._checkTGT(self.targetIQN):
            raise xs_errors.XenError("ISCSIDevice", opterr="during login")
        util.sleep(5)

    def _after_login(self, scsi_id):
        if self.mpath == "true":
            self.mpathmodule.refresh(scsi_id, 0)
        directory = os.path.join(ROOT + "/dev/disk/by-scsid", scsi_id)
        if generation.MISSING_BY_SCSID == "none":
            return
        if generation.MISSING_BY_SCSID == "107":
            if generation.REFRESHES_LUNS and not os.path.isdir(directory):
                iscsilib.refresh_luns(self.targetIQN, "%s:%d" % (self.target, self.port))
            if not os.path.isdir(directory):
                raise xs_errors.XenError("ConfigSCSIid")
        for name in os.listdir(directory):
            util.set_scheduler(scsiutil.getdev(os.path.join(directory, name)), "noop")

    def detach(self, sr_uuid, delete=False):
        keys = []
        pbd = util.find_my_pbd(self.session, self.host_ref, self.sr_ref)
        if "SCSIid" in self.dconf:
            self.mpathmodule.reset(self.dconf["SCSIid"], True)
            keys.append("mpath-" + self.dconf["SCSIid"])
        if pbd is not None:
            if self.cmd == "sr_detach":
                keys += ["multipathed", "iscsi_sessions", "MPPEnabled"]
            for key in keys:
                self.session.xenapi.PBD.remove_from_other_config(pbd, key)
        if util._decr_iscsiSR_refcount(self.targetIQN, sr_uuid) != 0:
            return
        if self.direct and util._containsVDIinuse(self):
            return
        if iscsilib._checkTGT(self.targetIQN):
            try:
                iscsilib.logout(self.target, self.targetIQN, all=True)
                if delete:
                    iscsilib.delete(self.targetIQN)
            except util.CommandException:
                raise xs_errors.XenError("ISCSIQueryDaemon", opterr="error is %d" % sys.exc_info()[1].code)
            if iscsilib._checkTGT(self.targetIQN):
                raise xs_errors.XenError("ISCSIQueryDaemon", opterr="Failed to logout from target")
        self.attached = False

    def refresh(self):
        for address in self.adapter:
            util.SMlog("Rescanning host adapter %s" % self.adapter[address])
            scsiutil.rescan([self.adapter[address]])

    def _attach_LUN_bySCSIid(self, SCSIid):
        if not self.attached:
            raise xs_errors.XenError("SRUnavailable")
        path = self.mpathmodule.path(SCSIid)
        if not util.pathexists(path):
            self.refresh()
            if not util.wait_for_path(path, MAX_TIMEOUT):
                util.SMlog("Unable to detect LUN attached to host [%s]" % path)
                if generation.ATTACH_LUN_RAISES:
                    raise xs_errors.XenError("ISCSIDevice")
                return False
        return True

    def match_lun(self, s):
        return "LUN" in s and "_" not in s

    # what a probe with less than everything tells, on stderr

    def print_LUNs(self):
        self.LUNs = {}
        if os.path.exists(self.path):
            for name in util.listdir(self.path):
                if self.match_lun(name):
                    lun = Lun(os.path.join(self.path, name), name.replace("LUN", ""))
                    self.LUNs[lun.uuid] = lun

    def _scan_IQNs(self):
        util._testHost(self.target, self.port, "ISCSITarget")
        iscsilib.ensure_daemon_running_ok(self.localIQN)
        found = iscsilib.discovery(self.target, self.port, self.chapuser, self.chappassword, "any", iscsilib.get_iscsi_interfaces())
        self.print_entries(found + [("%s:%d" % (self.targetlist, self.port), "0", "*")])

    def print_entries(self, entries):
        dom = xml.dom.minidom.Document()
        top = dom.createElement("iscsi-target-iqns")
        dom.appendChild(top)
        for index, (address, _, iqn) in enumerate(entries):
            entry = dom.createElement("TGT")
            top.appendChild(entry)
            ip, port = address.rsplit(":", 1)
            values = [("Index", str(index)), ("IPAddress", ip)]
            if int(port) != DEFAULT_PORT:
                values.append(("Port", port))
            for tag, text in values + [("TargetIQN", iqn)]:
                node = dom.createElement(tag)
                entry.appendChild(node)
                node.appendChild(dom.createTextNode(text))
        sys.stderr.write(dom.toprettyxml() + "\n")


if generation.ISCSI_CLASS == "ISCSISR":
    ISCSISR = BaseISCSISR
    SR.registerSR(ISCSISR)
