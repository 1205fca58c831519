# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's LVHDSR: an SR on a VG, disks as VHDs in LVs (sm-api, section 4)."""

import glob
import os
import re
import sys

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import SR
import VDI
import XenAPI
import cleanup
import generation
import lvhdutil
import lvmcache
import lvutil
import metadata
import scsiutil
import srmetadata
import util
import vhdutil
import xs_errors
from ipc import IPCFlag
from journaler import Journaler
from lock import Lock
from lvmanager import LVActivator
from refcounter import RefCounter
from srmetadata import LVMMetadataHandler

ROOT = os.environ.get("DOM0_ROOT", "")
DEV_MAPPER_ROOT = ROOT + "/dev/mapper/VG_XenStorage-"
CBTLOG_TAG = "cbtlog"
PARAM_VHD = "vhd"
PARAM_RAW = "raw"
OPS_EXCLUSIVE = ["sr_create", "sr_delete", "sr_attach", "sr_detach", "sr_scan", "sr_update", "vdi_create", "vdi_delete", "vdi_resize",
                 "vdi_snapshot", "vdi_clone"]
VDI_ATTACHMENT = ("vdi_attach", "vdi_detach", "vdi_activate", "vdi_deactivate")
CAPABILITIES = ["SR_PROBE", "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_CLONE", "VDI_SNAPSHOT",
                "VDI_RESIZE", "ATOMIC_PAUSE"]
CONFIGURATION = [["device", "local device path (required) (e.g. /dev/sda3)"]]
DRIVER_INFO = {
    "name": "Local VHD on LVM", "description": "SR plugin for VHDs in logical volumes", "vendor": "double", "copyright": "double",
    "driver_version": "1.0", "required_api_version": "1.0", "capabilities": CAPABILITIES, "configuration": CONFIGURATION,
}


class LVHDSR(SR.SR):
    """SR type lvhd."""

    DRIVER_TYPE = "lvhd"
    PROVISIONING_TYPES = ["thin", "thick"]
    PROVISIONING_DEFAULT = "thick"
    FLAG_USE_VHD = "use_vhd"
    MDVOLUME_NAME = "MGT"
    legacyMode = True

    @staticmethod
    def handles(type):
        return type == LVHDSR.DRIVER_TYPE

    def load(self, sr_uuid):
        self.ops_exclusive = OPS_EXCLUSIVE
        if generation.DEVICE_AT_LOAD is not None:
            if not self.dconf.get("device"):
                raise xs_errors.XenError("ConfigDeviceMissing")
            self.root = self.dconf["device"]
            for device in self.root.split(","):
                if not re.match("(?:/[^/]+)+$", device):
                    raise xs_errors.XenError("ConfigDeviceInvalid", opterr="path is %s" % device)
        self.isMaster = self.dconf.get("SRmaster") == "true"
        self.lock = Lock(vhdutil.LOCK_TYPE_SR, self.uuid)
        self.sr_vditype = SR.DEFAULT_TAP
        self.uuid = sr_uuid
        self.vgname = lvhdutil.VG_PREFIX + self.uuid
        self.path = os.path.join(lvhdutil.VG_LOCATION, self.vgname)
        self.mdpath = os.path.join(self.path, self.MDVOLUME_NAME)
        self.provision = self.PROVISIONING_DEFAULT
        self.lvmCache = lvmcache.LVMCache(self.vgname)
        self.lvActivator = LVActivator(self.uuid, self.lvmCache)
        self.journaler = Journaler(self.lvmCache)
        if not self.srcmd.params.get("sr_ref"):
            return
        if "allocation" in self.dconf:
            if self.dconf["allocation"] not in self.PROVISIONING_TYPES:
                raise xs_errors.XenError("InvalidArg", opterr="Allocation parameter must be one of %s" % self.PROVISIONING_TYPES)
            self.provision = self.dconf["allocation"]
        self.other_conf = self.session.xenapi.SR.get_other_config(self.sr_ref)
        self.sm_config = self.session.xenapi.SR.get_sm_config(self.sr_ref)
        if self.sm_config.get("allocation") in self.PROVISIONING_TYPES:
            self.provision = self.sm_config["allocation"]
        if self.sm_config.get(self.FLAG_USE_VHD) == "true":
            self.legacyMode = False
        if lvutil._checkVG(self.vgname):
            if self.isMaster and self.cmd not in VDI_ATTACHMENT:
                self._undoAllJournals()
            if self.cmd not in ("sr_attach", "sr_probe"):
                self._checkMetadataVolume()
        self.mdexists = False
        self.storageVDIs = {}
        for name in self.lvmCache.lvs:
            kind, uuid = lvhdutil.matchLV(name)
            if kind and util.findall_uuid(name):
                self.storageVDIs[uuid] = kind
        try:
            self.mdexists = self.lvmCache.checkLV(self.MDVOLUME_NAME)
        except util.CommandException:
            pass

    def cleanup(self):
        if not self.lvActivator.deactivateAll():
            raise util.SMException("failed to deactivate LVs")

    # MGT

    def _checkMetadataVolume(self):
        self.mdexists = self.lvmCache.checkLV(self.MDVOLUME_NAME)
        if self.isMaster:
            if self.mdexists and self.cmd == "sr_attach":
                try:
                    self.lvmCache.activateNoRefcount(self.MDVOLUME_NAME)
                    self._synchSmConfigWithMetaData()
                    if generation.CHECKS_MGT_UPGRADE and srmetadata.requiresUpgrade(self.mdpath):
                        self.updateSRMetadata(self.session.xenapi.SR.get_sm_config(self.sr_ref)["allocation"])
                    else:
                        self.syncMetadataAndStorage()
                        self.syncMetadataAndXapi()
                except Exception:
                    util.SMlog("Exception in _checkMetadataVolume, Error: %s." % sys.exc_info()[1])
            elif not self.mdexists and not self.legacyMode:
                self._introduceMetaDataVolume()
        if self.mdexists:
            self.legacyMode = False

    def _synchSmConfigWithMetaData(self):
        try:
            metadata._parseXML(metadata.retrieveXMLfromFile(self.mdpath))
        except Exception:
            sr_info = LVMMetadataHandler(self.mdpath, False).getMetadata()[0]
        if not sr_info or "allocation" not in sr_info:
            raise xs_errors.XenError("MetadataError", opterr="Error reading SR params from metadata Volume")
        self.provision = sr_info["allocation"]
        self.session.xenapi.SR.set_sm_config(self.sr_ref, {"allocation": sr_info["allocation"], self.FLAG_USE_VHD: "true"})

    def syncMetadataAndStorage(self):
        records = LVMMetadataHandler(self.mdpath, False).getMetadata()[1]
        for record in records.values():
            uuid = record["uuid"]
            if uuid not in self.storageVDIs:
                LVMMetadataHandler(self.mdpath).deleteVdiFromMetadata(uuid)
            elif record["vdi_type"] != self.storageVDIs[uuid]:
                LVMMetadataHandler(self.mdpath).updateMetadata({"objtype": "vdi", "uuid": uuid, "vdi_type": self.storageVDIs[uuid]})

    def syncMetadataAndXapi(self):
        records = LVMMetadataHandler(self.mdpath, False).getMetadata()[1]
        self.update(self.uuid)
        for record in records.values():
            try:
                ref = self.session.xenapi.VDI.get_by_uuid(record["uuid"])
            except XenAPI.Failure:
                continue
            names = {"name_label": util.to_plain_string(self.session.xenapi.VDI.get_name_label(ref)),
                     "name_description": util.to_plain_string(self.session.xenapi.VDI.get_name_description(ref))}
            if dict((key, record[key]) for key in names) != names:
                LVMMetadataHandler(self.mdpath).updateMetadata(dict(names, objtype="vdi", uuid=record["uuid"]))

    def updateSRMetadata(self, allocation):
        api = self.session.xenapi
        sr_info = {"allocation": allocation, "uuid": self.uuid,
                   "name_label": util.to_plain_string(api.SR.get_name_label(self.sr_ref)),
                   "name_description": util.to_plain_string(api.SR.get_name_description(self.sr_ref))}
        records = {}
        for ref in api.SR.get_VDIs(self.sr_ref):
            vdi = api.VDI.get_record(ref)
            records[vdi["uuid"]] = {
                "uuid": vdi["uuid"], "name_label": util.to_plain_string(vdi["name_label"]),
                "name_description": util.to_plain_string(vdi["name_description"]), "is_a_snapshot": int(vdi["is_a_snapshot"]),
                "snapshot_of": vdi["snapshot_of"], "snapshot_time": vdi["snapshot_time"], "type": vdi["type"],
                "vdi_type": vdi["sm_config"]["vdi_type"], "read_only": int(vdi["read_only"]),
                "metadata_of_pool": vdi["metadata_of_pool"], "managed": int(vdi["managed"])}
        LVMMetadataHandler(self.mdpath).writeMetadata(sr_info, records)

    def _introduceMetaDataVolume(self):
        self.lvmCache.create(self.MDVOLUME_NAME, 4 * 1024 * 1024)
        self.lvmCache.activateNoRefcount(self.MDVOLUME_NAME)
        self.session.xenapi.SR.set_sm_config(self.sr_ref, {self.FLAG_USE_VHD: "true", "allocation": self.provision})
        self.updateSRMetadata(self.provision)

    # journals

    def _undoAllJournals(self):
        self.lock.acquire()
        try:
            known = lvhdutil.getLVInfo(self.lvmCache)
            for uuid in self.journaler.getAll(lvhdutil.JRN_INFLATE):
                if uuid in known:
                    raise util.SMException("double: inflate journal of an existing VDI")
                self.journaler.remove(lvhdutil.JRN_INFLATE, uuid)
            for uuid, name in lvhdutil.getAllVHDJournals(self.lvmCache):
                known[uuid]     # KeyError for a VDI that is not there, as in sm
                lvhdutil.deleteVHDJournalLV(self.lvmCache, uuid)
            for uuid, value in self.journaler.getAll("clone").items():
                base = value.split("_")[0]
                if base not in known and uuid not in known:
                    raise util.SMException("base copy %s not present, but no original %s found" % (base, uuid))
                self.journaler.remove("clone", uuid)
            if self.journaler.getAll(cleanup.JRN_LEAF):
                cleanup.gc_force(self.session, self.uuid)
        finally:
            self.lock.release()
            self.cleanup()

    # commands

    def create(self, uuid, size):
        if not self.isMaster:
            raise xs_errors.XenError("LVMMaster")
        if lvutil._checkVG(self.vgname):
            raise xs_errors.XenError("SRExists")
        if util.test_hostPBD_devs(self.session, uuid, self.dconf["device"]):
            raise xs_errors.XenError("SRInUse")
        for device in self.dconf["device"].split(","):
            if util.test_scsiserial(self.session, device):
                raise xs_errors.XenError("SRInUse")
        lvutil.createVG(self.dconf["device"], self.vgname)
        scsiutil.add_serial_record(self.session, self.sr_ref, scsiutil.devlist_to_serialstring(self.dconf["device"].split(",")))
        self.session.xenapi.SR.add_to_sm_config(self.sr_ref, self.FLAG_USE_VHD, "true")

    def attach(self, uuid):
        self._forget_local_state(True)
        if not util.match_uuid(self.uuid) or not lvutil._checkVG(self.vgname):
            raise xs_errors.XenError("SRUnavailable", opterr="no such volume group: %s" % self.vgname)
        self._checkMetadataVolume()
        sizes_agree = self._refresh_size()
        if self.isMaster:
            if sizes_agree:
                self._expand_size()
            scsiutil.add_serial_record(self.session, self.sr_ref, scsiutil.devlist_to_serialstring(self.dconf["device"].split(",")))
            if self.legacyMode:
                for info in lvhdutil.getVDIInfo(self.lvmCache).values():
                    if info.vdiType == vhdutil.VDI_TYPE_VHD:
                        self.legacyMode = False
                        self._introduceMetaDataVolume()
                        break
        for device in self.dconf["device"].split(","):
            self.block_setscheduler(device)

    def detach(self, uuid):
        cleanup.abort(self.uuid)
        success = True
        for path in glob.glob(DEV_MAPPER_ROOT + "*"):
            if util.extractSRFromDevMapper(path) != self.uuid:
                continue
            if util.doesFileHaveOpenHandles(path):
                util.SMlog("LVHDSR.detach: The dev mapper entry %s has open handles" % path)
                success = False
            elif not lvutil.removeDevMapperEntry(path, False):
                success = False
            else:
                name = os.path.basename(path).replace("-", "/").replace("//", "-")
                util.force_unlink(os.path.join(self.path, os.path.basename(name)))
        if success and util.pathexists(self.path):
            os.rmdir(self.path)
        if not success:
            raise Exception("SR detach failed, please refer to the log for details.")
        self._forget_local_state(self.isMaster)

    def delete(self, uuid):
        if not self.isMaster:
            raise xs_errors.XenError("LVMMaster")
        cleanup.gc_force(self.session, self.uuid)
        if self.mdexists:
            self.lvmCache.remove(self.MDVOLUME_NAME)
        self.lvmCache.refresh()
        if lvhdutil.getLVInfo(self.lvmCache):
            raise xs_errors.XenError("SRNotEmpty")
        lvutil.removeVG(self.dconf["device"], self.vgname)
        self._forget_local_state(False)

    def update(self, uuid):
        if not lvutil._checkVG(self.vgname):
            return
        self._updateStats(uuid, 0)
        if self.legacyMode:
            return
        LVMMetadataHandler(self.mdpath).updateMetadata({
            "objtype": "sr", "name_label": util.to_plain_string(self.session.xenapi.SR.get_name_label(self.sr_ref)),
            "name_description": util.to_plain_string(self.session.xenapi.SR.get_name_description(self.sr_ref))})

    def probe(self):
        wants_metadata = self.srcmd.params.get("sr_sm_config", {}).get("metadata") == "true"
        return lvutil.srlist_toxml(lvutil.scan_srlist(lvhdutil.VG_PREFIX, self.dconf["device"]), lvhdutil.VG_PREFIX, wants_metadata)

    def vdi(self, uuid):
        return LVHDVDI(self, uuid)

    def forget_vdi(self, uuid):
        if not self.legacyMode:
            LVMMetadataHandler(self.mdpath).deleteVdiFromMetadata(uuid)
        super(LVHDSR, self).forget_vdi(uuid)

    def scan(self, uuid):
        last = [None]
        try:
            if not self.isMaster:
                raise xs_errors.XenError("LVMMaster")
            if self._refresh_size():
                self._expand_size()
            self.lvmCache.refresh()
            logs = list(self.lvmCache.getTagged(CBTLOG_TAG)) if generation.CBT else []
            self._loadvdis()
            stats = lvutil._getVGstats(self.vgname)
            self.physical_size, self.physical_utilisation = stats["physical_size"], stats["physical_utilisation"]
            if self.mdexists:
                self._introduce_recorded(logs, last)
            for name in logs:
                vdi = self.vdi(name.split(".")[0])
                vdi.ty, vdi.cbt_enabled = "cbt_metadata", True
                self.vdis[vdi.uuid] = vdi
            answer = super(LVHDSR, self).scan(uuid)
            if generation.GC_SERVICE:
                cleanup.start_gc_service(self.uuid)
            else:
                cleanup.gc(self.session, self.uuid, True)
            return answer
        finally:
            if last[0] is not None and not generation.SCAN_USES_ACTIVATOR:
                self.lvmCache.deactivateNoRefcount(last[0])

    def _introduce_recorded(self, logs, last):
        """Make xapi know every VDI of MGT. sm deactivates the last one that it activated, no other."""
        api = self.session.xenapi.VDI
        known = [api.get_uuid(ref) for ref in self.session.xenapi.SR.get_VDIs(self.sr_ref)]
        snapshots = {}
        records = LVMMetadataHandler(self.mdpath, False).getMetadata()[1]
        for offset in records:
            record = records[offset]
            uuid = record["uuid"]
            is_snapshot = bool(int(record["is_a_snapshot"]))
            if is_snapshot:
                snapshots.setdefault(record["snapshot_of"], []).append(uuid)
            if uuid not in known:
                self._introduce(uuid, record, is_snapshot, last)
            if uuid + "." + CBTLOG_TAG in logs:
                api.set_cbt_enabled(api.get_by_uuid(uuid), True)
                if uuid in self.vdis:
                    self.vdis[uuid].cbt_enabled = True
                logs.remove(uuid + "." + CBTLOG_TAG)
        for origin in snapshots:
            try:
                ref = api.get_by_uuid(origin)
            except XenAPI.Failure:
                continue
            for uuid in snapshots[origin]:
                api.set_snapshot_of(api.get_by_uuid(uuid), ref)

    def _introduce(self, uuid, record, is_snapshot, last):
        api = self.session.xenapi.VDI
        util.SMlog("Introduce VDI %s as it is present in metadata and not in XAPI." % uuid)
        kind = record["vdi_type"]
        name = lvhdutil.LV_PREFIX[kind] + uuid
        path = os.path.join(self.path, name)
        sm_config = {"vdi_type": kind}
        if generation.SCAN_USES_ACTIVATOR:
            self.lvActivator.activate(uuid, name, LVActivator.NORMAL)
        else:
            self.lvmCache.activateNoRefcount(name)
            last[0] = name
        if kind == vhdutil.VDI_TYPE_RAW:
            size = self.lvmCache.getSize(name)
            used = util.roundup(lvutil.LVM_SIZE_INCREMENT, size)
        elif kind == "qcow2":
            import qcow2util
            info = qcow2util.QCowUtil().getInfo(path, lvhdutil.extractUuid)
            if info.parentUuid:
                sm_config["vhd-parent"] = info.parentUuid
            size, used = info.sizeVirt, self.lvmCache.getSize(name)
        else:
            parent = vhdutil._getVHDParentNoCheck(path)
            if parent is not None:
                sm_config["vhd-parent"] = parent[len("VHD-"):]
            size = vhdutil.getSizeVirt(path)
            used = lvhdutil.calcSizeVHDLV(size)
            if self.provision == "thin":
                used = util.roundup(lvutil.LVM_SIZE_INCREMENT, vhdutil.calcOverheadEmpty(lvhdutil.MSIZE))
        ref = api.db_introduce(uuid, record["name_label"], record["name_description"], self.sr_ref, record["type"], False,
                               bool(int(record["read_only"])), {}, uuid, {}, sm_config)
        api.set_managed(ref, bool(int(record["managed"])))
        api.set_virtual_size(ref, str(size))
        api.set_physical_utilisation(ref, str(used))
        api.set_is_a_snapshot(ref, is_snapshot)
        if is_snapshot:
            api.set_snapshot_time(ref, xmlrpclib.DateTime(record["snapshot_time"]))
        if record["type"] == "metadata":
            api.set_metadata_of_pool(ref, record["metadata_of_pool"])

    def _loadvdis(self):
        self.virtual_allocation = 0
        self.vdiInfo = lvhdutil.getVDIInfo(self.lvmCache)
        self.allVDIs = {}
        for uuid, info in self.vdiInfo.items():
            if uuid.startswith(cleanup.SR.TMP_RENAME_PREFIX):
                continue
            if info.scanError:
                raise xs_errors.XenError("VDIUnavailable", opterr="Error scanning VDI %s" % uuid)
            self.vdis[uuid] = self.allVDIs[uuid] = self.vdi(uuid)
            if not self.vdis[uuid].hidden:
                self.virtual_allocation += self.vdis[uuid].utilisation
        parents = set()
        for vdi in self.vdis.values():
            if vdi.parent:
                parents.add(vdi.parent)
                if vdi.parent in self.vdis:
                    self.vdis[vdi.parent].read_only = True
        for uuid in list(self.vdis):
            if uuid not in parents and self.vdis[uuid].hidden:
                util.SMlog("Scan found hidden leaf (%s), ignoring" % uuid)
                del self.vdis[uuid]

    # helpers

    def _refresh_size(self):
        if hasattr(self, "SCSIid"):
            return scsiutil.refresh_lun_size_by_SCSIid(self.SCSIid)
        scsiutil.refreshdev(self.dconf["device"].split(","))
        return True

    def _expand_size(self):
        total = sum(scsiutil.getsize(device) for device in self.dconf["device"].split(","))
        if total >= lvutil._getVGstats(self.vgname)["physical_size"] + 100 * 1024 * 1024:
            for pv in lvutil.get_pv_for_vg(self.vgname):
                lvutil.resizePV(pv)

    def _updateStats(self, uuid, delta):
        self.virtual_allocation = int(self.session.xenapi.SR.get_virtual_allocation(self.sr_ref)) + delta
        stats = lvutil._getVGstats(self.vgname)
        self.physical_size, self.physical_utilisation = stats["physical_size"], stats["physical_utilisation"]
        self._db_update()

    def _ensureSpaceAvailable(self, amount):
        if lvutil._getVGstats(self.vgname)["freespace"] < amount:
            raise xs_errors.XenError("SRNoSpace")

    def _forget_local_state(self, keep_locks):
        RefCounter.resetAll(lvhdutil.NS_PREFIX_LVM + self.uuid)
        IPCFlag(self.uuid).clearAll()
        if not keep_locks:
            Lock.cleanupAll(self.uuid)
            Lock.cleanupAll(lvhdutil.NS_PREFIX_LVM + self.uuid)


class LVHDVDI(VDI.VDI):
    """A VHD (or raw) disk in an LV."""

    def load(self, vdi_uuid):
        self.lock = self.sr.lock
        self.lvActivator = self.sr.lvActivator
        self.uuid = self.location = vdi_uuid
        self.exists = True
        self.vdi_type = vhdutil.VDI_TYPE_RAW if self.sr.legacyMode else vhdutil.VDI_TYPE_VHD
        info = getattr(self.sr, "vdiInfo", {}).get(vdi_uuid)
        if info is None:
            info = self._find()
        if info is not None:
            self.vdi_type, self.lvname = info.vdiType, info.lvName
            self.size, self.hidden, self.parent, self.utilisation = info.sizeVirt, info.hidden, info.parentUuid, info.sizeLV
            self.active, self.readonly = info.lvActive, info.lvReadonly
            self.sm_config_override = {"vdi_type": self.vdi_type, "vhd-parent": self.parent or None}
            self.managed = not self.hidden
            self.read_only = self.hidden
        else:
            self.exists = False
            kind = self.sr.srcmd.params.get("vdi_sm_config", {}).get("type")
            if kind == PARAM_RAW:
                self.vdi_type = vhdutil.VDI_TYPE_RAW
            self.lvname = lvhdutil.LV_PREFIX[self.vdi_type] + vdi_uuid
        self.path = os.path.join(self.sr.path, self.lvname)

    def _find(self):
        for kind in (vhdutil.VDI_TYPE_VHD, vhdutil.VDI_TYPE_RAW):
            name = lvhdutil.LV_PREFIX[kind] + self.uuid
            if self.sr.lvmCache.checkLV(name):
                return lvhdutil.getVDIInfo(self.sr.lvmCache).get(self.uuid)
        return None

    def _record(self, **fields):
        """A MGT record of this VDI."""
        record = {"uuid": self.uuid, "name_label": util.to_plain_string(self.label),
                  "name_description": util.to_plain_string(self.description), "is_a_snapshot": 0, "snapshot_of": "", "snapshot_time": "",
                  "type": self.ty, "vdi_type": self.vdi_type,
                  "read_only": int(self.read_only), "managed": int(self.managed), "metadata_of_pool": ""}
        record.update(fields)
        return record

    def create(self, sr_uuid, vdi_uuid, size):
        if not self.sr.isMaster:
            raise xs_errors.XenError("LVMMaster")
        if self.exists:
            raise xs_errors.XenError("VDIExists")
        size = vhdutil.validate_and_round_vhd_size(size)
        self.sm_config = self.sr.srcmd.params["vdi_sm_config"]
        if self.vdi_type == vhdutil.VDI_TYPE_RAW:
            lv_size = util.roundup(lvutil.LVM_SIZE_INCREMENT, size)
        elif self.sr.provision == "thin":
            lv_size = util.roundup(lvutil.LVM_SIZE_INCREMENT, vhdutil.calcOverheadEmpty(lvhdutil.MSIZE))
        else:
            lv_size = lvhdutil.calcSizeVHDLV(size)
        self.sr._ensureSpaceAvailable(lv_size)
        try:
            self.sr.lvmCache.create(self.lvname, lv_size)
            if self.vdi_type == vhdutil.VDI_TYPE_RAW:
                self.size = self.sr.lvmCache.getSize(self.lvname)
            else:
                vhdutil.create(self.path, size, False, lvhdutil.MSIZE_MB)
                self.size = vhdutil.getSizeVirt(self.path)
            self.sr.lvmCache.deactivateNoRefcount(self.lvname)
        except util.CommandException:
            problem = sys.exc_info()[1]
            self.sr.lvmCache.remove(self.lvname)
            raise xs_errors.XenError("VDICreate", opterr="error %d" % problem.code)
        self.utilisation = lv_size
        self.sm_config["vdi_type"] = self.vdi_type
        if not self.sr.legacyMode:
            LVMMetadataHandler(self.sr.mdpath).ensureSpaceIsAvailableForVdis(1)
        self.ref = self._db_introduce()
        self.sr._updateStats(self.sr.uuid, self.size)
        if not self.sr.legacyMode:
            LVMMetadataHandler(self.sr.mdpath).addVdi(self._record())
        return self.get_params()

    def delete(self, sr_uuid, vdi_uuid, data_only=False):
        if not self.exists:
            raise xs_errors.XenError("VDIUnavailable", opterr="no such VDI %s" % vdi_uuid)
        self._db_forget()
        self.sr.lvmCache.remove(self.lvname)
        self.sr._updateStats(self.sr.uuid, -self.size)

    def update(self, sr_uuid, vdi_uuid):
        if self.sr.legacyMode:
            return
        ref = self.session.xenapi.VDI.get_by_uuid(self.uuid)
        LVMMetadataHandler(self.sr.mdpath).updateMetadata({
            "objtype": "vdi", "uuid": self.uuid, "name_label": util.to_plain_string(self.session.xenapi.VDI.get_name_label(ref)),
            "name_description": util.to_plain_string(self.session.xenapi.VDI.get_name_description(ref))})

    def _chain(self):
        """uuid -> LV name of this VDI and all its ancestors."""
        if self.vdi_type == vhdutil.VDI_TYPE_RAW:
            return {self.uuid: self.lvname}
        return vhdutil.getParentChain(self.lvname, lvhdutil.extractUuid, self.sr.vgname)

    def attach(self, sr_uuid, vdi_uuid):
        if not self.exists:
            raise xs_errors.XenError("VDIUnavailable", opterr="no such VDI %s" % vdi_uuid)
        for uuid, name in self._chain().items():
            self.lvActivator.activate(uuid, name, uuid == self.uuid, persistent=True)
        self.lvActivator.persist()
        return super(LVHDVDI, self).attach(sr_uuid, vdi_uuid)

    def detach(self, sr_uuid, vdi_uuid):
        for uuid, name in self._chain().items():
            self.lvActivator.add(uuid, name, uuid == self.uuid)
        self.sr.cleanup()

    def snapshot(self, sr_uuid, vdi_uuid):
        """The LV becomes the read-only base copy under a new uuid; two empty children take the VDI's and the snapshot's uuids."""
        if not self.sr.isMaster:
            raise xs_errors.XenError("LVMMaster")
        cache, raw = self.sr.lvmCache, self.vdi_type == vhdutil.VDI_TYPE_RAW
        base_uuid, snap_uuid = util.gen_uuid(), util.gen_uuid()
        base_name = lvhdutil.LV_PREFIX[self.vdi_type] + base_uuid
        small = util.roundup(lvutil.LVM_SIZE_INCREMENT, vhdutil.calcOverheadEmpty(lvhdutil.MSIZE))
        leaf_size = small if self.sr.provision == "thin" else lvhdutil.calcSizeVHDLV(self.size)
        self.sr._ensureSpaceAvailable(leaf_size + small)
        self.sr.journaler.create("clone", self.uuid, base_uuid + "_" + snap_uuid)
        cache.rename(self.lvname, base_name)
        cache.activateNoRefcount(base_name)
        chain = [] if raw or not self.parent else [lvhdutil.LV_PREFIX["vhd"] + self.parent]
        for name in chain:
            cache.activateNoRefcount(name)
        base_path = os.path.join(self.sr.path, base_name)
        for uuid, size in ((self.uuid, leaf_size), (snap_uuid, small)):
            name = lvhdutil.LV_PREFIX[vhdutil.VDI_TYPE_VHD] + uuid
            cache.create(name, size)
            vhdutil.snapshot(os.path.join(self.sr.path, name), base_path, raw, lvhdutil.MSIZE_MB, False)
            cache.deactivateNoRefcount(name)
        if raw:
            cache.setHidden(base_name)
        else:
            vhdutil.setHidden(base_path)
        cache.setReadonly(base_name, True)
        for name in chain + [base_name]:
            cache.deactivateNoRefcount(name)
        base_parent = self.parent
        now = self.session.xenapi.VDI.get_snapshot_time(self.session.xenapi.VDI.get_by_uuid(self.uuid))
        self._introduce_node(snap_uuid, "vhd", base_uuid, small, True, now)
        self._introduce_node(base_uuid, self.vdi_type, base_parent, cache.getSize(base_name), False, now)
        ref = self.session.xenapi.VDI.get_by_uuid(self.uuid)
        self.session.xenapi.VDI.set_sm_config(ref, {"vdi_type": "vhd", "vhd-parent": base_uuid})
        label = util.to_plain_string(self.session.xenapi.VDI.get_name_label(ref))
        description = util.to_plain_string(self.session.xenapi.VDI.get_name_description(ref))
        LVMMetadataHandler(self.sr.mdpath).updateMetadata({"objtype": "vdi", "uuid": self.uuid, "vdi_type": "vhd"})
        self.label, self.description = label, description
        LVMMetadataHandler(self.sr.mdpath).addVdi(self._record(uuid=snap_uuid, vdi_type="vhd", is_a_snapshot=1, snapshot_of=self.uuid,
                                                               snapshot_time="20200101T00:00:00Z", read_only=0))
        LVMMetadataHandler(self.sr.mdpath).addVdi(self._record(uuid=base_uuid, name_label="base copy", name_description="", read_only=1,
                                                               managed=0))
        self.sr.journaler.remove("clone", self.uuid)
        answer = {"location": snap_uuid, "uuid": snap_uuid, "sm_config": {"vdi_type": "vhd", "vhd-parent": base_uuid}}
        return xmlrpclib.dumps((answer,), "", True)

    def _introduce_node(self, uuid, kind, parent, lv_size, visible, when):
        sm_config = {"vdi_type": kind}
        if parent:
            sm_config["vhd-parent"] = parent
        self.session.xenapi.VDI.db_introduce(
            uuid, "" if visible else "base copy", "", self.sr.sr_ref, self.ty, False, not visible, {}, uuid, {}, sm_config, visible,
            str(self.size), str(lv_size), "", False, when, "OpaqueRef:NULL", False)
