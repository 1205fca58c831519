# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's SR (sm-api, section 2)."""

import copy
import errno
import os
import sys

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import generation
import XenAPI
import util
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
MASTER_LVM_CONF = "/etc/lvm/master"
DEFAULT_TAP = "vhd"
LUNPERVDI = "LUNperVDI"

if ROOT:
    try:
        from relvm.host import devices, locks
    except ImportError:
        pass
    else:
        for module, constant in ((devices, "DEV"), (devices, "SYS"), (locks, "RUN_DIR"), (locks, "LVM_LOCK_DIR"), (locks, "LVM_CONF")):
            path = getattr(module, constant)
            if not path.startswith(ROOT):
                setattr(module, constant, ROOT + path)
        import sgio
        sgio.install(ROOT)

if generation.ERRORS_IN == "SR":
    class SRException(Exception):
        """What a driver raises; becomes an XML-RPC fault."""

        errno = errno.EINVAL

        def __init__(self, reason):
            Exception.__init__(self, reason)

        def toxml(self):
            return xmlrpclib.dumps(xmlrpclib.Fault(int(self.errno), str(self)), "", True)

    class SROSError(SRException):
        """An error with a number."""

        def __init__(self, errno, reason):
            self.errno = errno
            Exception.__init__(self, reason)

if generation.HAS_CHECK_SR:
    def deviceCheck(op):
        """Decorator: the operation needs dconf['device']."""
        def wrapper(self, *args):
            if "device" not in self.dconf:
                raise xs_errors.XenError("ConfigDeviceMissing")
            return op(self, *args)
        return wrapper

backends = []


def registerSR(SRClass):
    backends.append(SRClass)


def driver(type):
    for candidate in backends:
        if candidate.handles(type):
            return candidate
    raise xs_errors.XenError("SRUnknownType")


class SR(object):
    """A storage repository; subclasses do their work in load() and the methods named after the commands."""

    @staticmethod
    def handles(type):
        return False

    def __init__(self, srcmd, sr_uuid):
        self.srcmd = srcmd
        self.dconf = srcmd.dconf
        params = srcmd.params
        if "session_ref" in params:
            self.session_ref = params["session_ref"]
            self.session = XenAPI.xapi_local()
            self.session._session = self.session_ref
            if "subtask_of" in params:
                self.session.transport.add_extra_header("Subtask-of", params["subtask_of"])
        else:
            self.session = generation.NO_SESSION
        self.host_ref = params.get("host_ref", "")
        self.sr_ref = params.get("sr_ref")
        if "device_config" in params:
            if generation.SETS_LVM_SYSTEM_DIR and self.dconf.get("SRmaster") == "true":
                os.environ["LVM_SYSTEM_DIR"] = MASTER_LVM_CONF
            if generation.SETS_LVM_DEVICE and "SCSIid" in params["device_config"]:
                os.environ["LVM_DEVICE"] = "/dev/disk/by-scsid/" + params["device_config"]["SCSIid"]
                util.SMlog("Setting LVM_DEVICE to %s" % os.environ["LVM_DEVICE"])
        self.uuid = sr_uuid
        self.label = ""
        self.description = ""
        self.cmd = params["command"]
        self.vdis = {}
        self.physical_utilisation = 0
        self.virtual_allocation = 0
        self.physical_size = 0
        self.sr_vditype = ""
        self.passthrough = False
        self.original_srcmd = copy.deepcopy(srcmd)
        self.default_vdi_visibility = True
        self.sched = "noop"
        self._mpathinit()
        self.direct = False
        self.ops_exclusive = []
        self.driver_config = {}
        self.load(sr_uuid)

    # what a driver may provide

    def load(self, sr_uuid):
        pass

    def create(self, uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def delete(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def update(self, uuid):
        pass

    def attach(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def detach(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def probe(self):
        raise xs_errors.XenError("Unimplemented")

    def replay(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def vdi(self, uuid):
        raise xs_errors.XenError("Unimplemented")

    def cleanup(self):
        pass

    if generation.HAS_CHECK_SR:
        def check_sr(self, sr_uuid):
            pass

    def scan(self, uuid):
        self._db_update()
        ScanRecord(self).synchronise()

    def content_type(self, uuid):
        return xmlrpclib.dumps((str(self.sr_vditype),), "", True)

    def forget_vdi(self, uuid):
        self.session.xenapi.VDI.db_forget(self.session.xenapi.VDI.get_by_uuid(uuid))

    if generation.AFTER_MASTER_ATTACH == "raise":
        def after_master_attach(self, uuid):
            self.scan(uuid)

    if generation.AFTER_MASTER_ATTACH == "message":
        def after_master_attach(self, uuid):
            try:
                self.scan(uuid)
            except Exception:
                problem = sys.exc_info()[1]
                util.SMlog("Error in SR.after_master_attach %s" % problem)
                self.session.xenapi.message.create("POST_ATTACH_SCAN_FAILED", 2, "SR", uuid,
                                                   "Failed to scan SR %s after attaching, error %s" % (uuid, problem))

    # helpers of the drivers

    def _db_update(self):
        ref = self.session.xenapi.SR.get_by_uuid(self.uuid)
        self.session.xenapi.SR.set_virtual_allocation(ref, str(self.virtual_allocation))
        self.session.xenapi.SR.set_physical_size(ref, str(self.physical_size))
        self.session.xenapi.SR.set_physical_utilisation(ref, str(self.physical_utilisation))

    def _mpathinit(self):
        self.mpath = "false"
        try:
            if "multipathing" in self.dconf and "multipathhandle" in self.dconf:
                self.mpath = self.dconf["multipathing"]
                self.mpathhandle = self.dconf["multipathhandle"]
            else:
                config = self.session.xenapi.host.get_other_config(self.host_ref)
                self.mpath = config["multipathing"]
                self.mpathhandle = config.get("multipathhandle", "dmp")
            if self.mpath != "true":
                self.mpath = "false"
                self.mpathhandle = "null"
            if not os.path.exists(ROOT + "/opt/xensource/sm/mpath_%s.py" % self.mpathhandle):
                raise IOError("no module for %s" % self.mpathhandle)
        except Exception:
            self.mpath = "false"
            self.mpathhandle = "null"
        name = ("sm.core." if generation.LAYOUT == "package" else "") + "mpath_" + self.mpathhandle
        __import__(name)
        self.mpathmodule = sys.modules[name]

    def _mpathHandle(self):
        if self.mpath == "true":
            self.mpathmodule.activate()
        else:
            self.mpathmodule.deactivate()

    if generation.PATHREFRESH_HAS_LOAD:
        def _pathrefresh(self, obj, load=True):
            self.dconf["device"] = self.mpathmodule.path(self.SCSIid)
            if load:
                super(obj, self).load(self.uuid)
    else:
        def _pathrefresh(self, obj):
            self.dconf["device"] = self.mpathmodule.path(self.SCSIid)
            super(obj, self).load(self.uuid)

    def _setMultipathableFlag(self, SCSIid=""):
        try:
            config = self.session.xenapi.SR.get_sm_config(self.sr_ref)
            config["multipathable"] = "true"
            self.session.xenapi.SR.set_sm_config(self.sr_ref, config)
        except XenAPI.Failure:
            pass

    def block_setscheduler(self, dev):
        util.set_scheduler(os.path.basename(os.path.realpath(dev)), self.sched)

    def check_dconf(self, key_list, raise_flag=True):
        missing = set(key for key in key_list if key not in self.dconf)
        if missing and raise_flag:
            raise xs_errors.XenError("ConfigParamsMissing", opterr=", ".join(sorted(missing)))
        return missing


class ScanRecord(object):
    """Compares what scan found (sr.vdis) with xapi's records and brings xapi up to date."""

    def __init__(self, sr):
        self.sr = sr
        self.records = {}
        for record in util.list_VDI_records_in_sr(sr).values():
            self.records[record["location"]] = record
        self.found = {}
        for vdi in sr.vdis.values():
            if not hasattr(vdi, "sm_config"):
                vdi.sm_config = dict(self.records.get(vdi.location, {}).get("sm_config", {}))
            vdi._override_sm_config(vdi.sm_config)
            self.found[vdi.location] = vdi
        known, found = set(self.records), set(self.found)
        self.new = found - known
        self.gone = known - found
        self.existing = [location for location in known & found
                         if not self.found[location].in_sync_with_xenapi_record(self.records[location])]

    def synchronise(self):
        for location in self.new:
            util.SMlog("Introducing VDI with location=%s" % location)
            self.found[location]._db_introduce()
        for location in self.gone:
            util.SMlog("Forgetting VDI with location=%s" % location)
            self.sr.forget_vdi(self.records[location]["uuid"])
        for location in self.existing:
            util.SMlog("Updating VDI with location=%s" % location)
            self.found[location]._db_update()
