# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lvutil: LVM through its commands (sm-api, sections 6.2 and 12)."""

import os
import re
import sys
import xml.dom.minidom

import generation
import lock
import lvmcache
import srmetadata
import util
import xs_errors
from lvhdutil import VG_LOCATION, VG_PREFIX

ROOT = os.environ.get("DOM0_ROOT", "")
MDVOLUME_NAME = "MGT"
VDI_UUID_TAG_PREFIX = "vdi_"
LVM_BIN = ROOT + "/usr/sbin"
if not ROOT and os.path.isfile("/sbin/lvdisplay"):
    LVM_BIN = "/sbin"
_NAMES = ("vgs", "vgcreate", "vgremove", "vgchange", "vgextend", "pvs", "pvcreate", "pvremove", "pvresize", "lvs", "lvdisplay",
          "lvcreate", "lvremove", "lvchange", "lvrename", "lvresize", "lvextend")
for _name in _NAMES:
    globals()["CMD_" + _name.upper()] = _name if generation.CMD_LVM else os.path.join(LVM_BIN, _name)
CMD_DMSETUP = "/sbin/dmsetup"
LVM_COMMANDS = frozenset(_NAMES + (CMD_DMSETUP,))
LVM_SIZE_INCREMENT = 4 * 1024 * 1024
LV_TAG_HIDDEN = "hidden"
LVM_FAIL_RETRIES = 10
MASTER_LVM_CONF = "/etc/lvm/master"
DEF_LVM_CONF = "/etc/lvm"
LVM_LOCK = "lvm"


def _command(name):
    """The CMD_ constant of an LVM command."""
    return globals()["CMD_" + name.upper()]


class _NoLock(object):
    """Generations that do not lock LVM commands."""

    def __init__(self, cmd=None):
        pass

    def __enter__(self):
        pass

    def __exit__(self, kind, value, trace):
        pass


class _SmLock(object):
    """Lock('lvm') around a command, or the lock at the head of its queue."""

    def __init__(self, cmd=None):
        self.lock = lock.Lock(LVM_LOCK, "al-" + LVM_LOCK) if generation.LVM_LOCK == "queue" else lock.Lock(LVM_LOCK)
        self.skip = generation.LVM_LOCK != "lock" and cmd is not None and "--readonly" in cmd

    def __enter__(self):
        if not self.skip:
            self.lock.acquire()

    def __exit__(self, kind, value, trace):
        if not self.skip:
            self.lock.release()


if generation.LVM_LOCK == "lock":
    def get_lvm_lock():
        taken = lock.Lock(LVM_LOCK)
        taken.acquire()
        return taken

if generation.LVM_LOCK in ("context", "queue"):
    LvmLockContext = _SmLock
if generation.LVM_LOCK == "fairlock":
    from fairlock import Fairlock


def _locked(cmd):
    """The lock that this generation holds around the command `cmd`."""
    if generation.LVM_LOCK == "fairlock":
        return Fairlock("devicemapper")
    if generation.LVM_LOCK in ("lock", "context", "queue"):
        return _SmLock(cmd)
    return _NoLock(cmd)


def _run(cmd, pread_func=util.pread2, *args):
    """An LVM command as this generation runs its own ones."""
    if generation.CMD_LVM:
        return cmd_lvm(cmd, pread_func, *args)
    return pread_func(cmd, *args)


if generation.CMD_LVM:
    def cmd_lvm(cmd, pread_func=util.pread2, *args):
        """Output of an LVM command; None, with a log line only, for anything that is not in LVM_COMMANDS."""
        if not isinstance(cmd, list) or not cmd or cmd[0] not in LVM_COMMANDS:
            util.SMlog("CMD_LVM: %s is not a valid lvm command" % (cmd,))
            return None
        for arg in cmd[1:]:
            if not util.is_string(arg):
                util.SMlog("CMD_LVM: Not all lvm arguments are of type 'str'")
                return None
        with _locked(cmd):
            return pread_func([os.path.join(LVM_BIN, cmd[0])] + cmd[1:], *args)


class LVInfo(object):
    """What getLVInfo says of an LV."""

    def __init__(self, name):
        self.name = name
        self.size = 0
        self.active = False
        self.open = False
        self.hidden = False
        self.readonly = False


def _checkVG(vgname):
    options = ["--readonly"] if generation.CHECK_VG_READONLY else []
    try:
        _run([_command("vgs")] + options + [vgname])
    except util.CommandException:
        return False
    return True


def _checkPV(pvname):
    try:
        _run([_command("pvs"), pvname])
    except util.CommandException:
        return False
    return True


def _checkLV(path):
    try:
        _run([_command("lvdisplay"), path])
    except util.CommandException:
        return False
    return True


def _getLVsize(path):
    try:
        return int(_run([_command("lvdisplay"), "-c", path]).split(":")[6]) * 512
    except (util.CommandException, IndexError, ValueError):
        raise xs_errors.XenError("VDIUnavailable", opterr="no such VDI %s" % path)


def _getVGstats(vgname):
    try:
        words = _run([_command("vgs"), "--noheadings", "--nosuffix", "--units", "b", vgname], util.pread).split()
        size, free = int(words[5]), int(words[6])
    except util.CommandException:
        raise xs_errors.XenError("VDILoad", opterr="rvgstats failed error is %d" % sys.exc_info()[1].code)
    except ValueError:
        raise xs_errors.XenError("VDILoad", opterr="rvgstats failed")
    return {"physical_size": size, "physical_utilisation": size - free, "freespace": free}


def _getPVstats(dev):
    words = _run([_command("pvs"), "--noheadings", "--nosuffix", "--units", "b", dev], util.pread).split()
    size, free = int(words[4]), int(words[5])
    return {"physical_size": size, "physical_utilisation": size - free, "freespace": free}


def match_VG(s, prefix_list):
    for prefix in prefix_list:
        if re.search(prefix, s):
            return s.split(prefix)[1]
    return ""


def _get_sr_uuid(pvname, prefix_list):
    try:
        return match_VG(_run([_command("pvs"), "--noheadings", "-o", "vg_name", pvname]), prefix_list)
    except util.CommandException:
        return ""


def get_pv_for_vg(vgname):
    try:
        text = _run([_command("pvs"), "--noheadings", "-S", "vg_name=%s" % vgname, "-o", "name"])
    except util.CommandException:
        return []
    return [line.strip() for line in text.splitlines()]


def scan_srlist(prefix, root):
    found = {}
    for device in root.split(","):
        sr_uuid = _get_sr_uuid(device, [prefix]).strip(" \n")
        if sr_uuid:
            found[sr_uuid] = found[sr_uuid] + "," + device if sr_uuid in found else device
    return found


def srlist_toxml(VGs, prefix, includeMetadata=False):
    dom = xml.dom.minidom.Document()
    top = dom.createElement("SRlist")
    dom.appendChild(top)

    def add(parent, tag, text):
        node = dom.createElement(tag)
        parent.appendChild(node)
        node.appendChild(dom.createTextNode(text))

    for sr_uuid in VGs:
        entry = dom.createElement("SR")
        top.appendChild(entry)
        add(entry, "UUID", sr_uuid)
        add(entry, "Devlist", VGs[sr_uuid])
        add(entry, "size", str(_getVGstats(prefix + sr_uuid)["physical_size"]))
        if includeMetadata:
            path = os.path.join(VG_LOCATION, VG_PREFIX + sr_uuid, MDVOLUME_NAME)
            cache = None
            try:
                if not os.path.exists(path):
                    cache = lvmcache.LVMCache(VG_PREFIX + sr_uuid)
                    cache.activateNoRefcount(MDVOLUME_NAME)
                info = srmetadata.LVMMetadataHandler(path, False).getMetadata()[0]
                add(entry, "name_label", info[srmetadata.NAME_LABEL_TAG])
                add(entry, "name_description", info[srmetadata.NAME_DESCRIPTION_TAG])
                found = srmetadata.LVMMetadataHandler(path, False).findMetadataVDI()
                add(entry, "pool_metadata_detected", "true" if found else "false")
            finally:
                if cache is not None:
                    cache.deactivateNoRefcount(MDVOLUME_NAME)
    return dom.toprettyxml()


def createVG(root, vgname):
    """Clears the devices, then makes PV and VG."""
    devices = root.split(",")
    for device in devices:
        if not os.path.exists(device):
            raise xs_errors.XenError("InvalidDev", opterr="Device %s does not exist" % device)
        try:
            os.close(os.open(device, os.O_RDWR | os.O_EXCL))
        except OSError:
            raise xs_errors.XenError("SRInUse", opterr="Device %s in use" % device)
        if generation.WIPES_SIGNATURES:
            util.pread2(["wipefs", "-a", device])
            continue
        try:
            util.pread2([util.CMD_DD, "if=/dev/zero", "of=%s" % device, "bs=1M", "count=10", "oflag=direct", "conv=notrunc"])
        except util.CommandException:
            raise xs_errors.XenError("LVMWrite", opterr="device %s" % device)
    try:
        _run([_command("vgcreate"), "--metadatasize", "10M", vgname, devices[0]])
    except util.CommandException:
        raise xs_errors.XenError("LVMGroupCreate")
    try:
        _run([_command("vgchange"), "-an", vgname])
    except util.CommandException:
        raise xs_errors.XenError("LVMUnMount", opterr="errno is %d" % sys.exc_info()[1].code)


def removeVG(root, vgname):
    for device in root.split(","):
        if vgname not in (_run([_command("pvs"), device]) or ""):
            raise xs_errors.XenError("LVMNoVolume", opterr="volume is %s" % vgname)
    try:
        _run([_command("vgremove"), vgname])
        for device in root.split(","):
            _run([_command("pvremove"), device])
    except util.CommandException:
        raise xs_errors.XenError("LVMDelete", opterr="errno is %d" % sys.exc_info()[1].code)


def resizePV(dev):
    try:
        _run([_command("pvresize"), dev])
    except util.CommandException:
        util.SMlog("Failed to grow the PV, non-fatal")


def setActiveVG(path, active):
    _run([_command("vgchange"), "-ay" if active else "-an"] + generation.VGCHANGE_OPTIONS + [path])


def create(name, size, vgname, tag=None, size_in_percentage=None):
    amount = ["-l", size_in_percentage] if size_in_percentage else ["-L", str(size // 1024 // 1024)]
    cmd = [_command("lvcreate"), "-n", name] + amount + [vgname]
    if tag:
        cmd += ["--addtag", tag]
    _run(cmd + generation.LVCREATE_OPTIONS)


def remove(path, config_param=None):
    cmd = [_command("lvremove"), "-f", path]
    if config_param:
        cmd += ["--config", "devices{" + config_param + "}"]
    for attempt in range(LVM_FAIL_RETRIES):
        try:
            _run(cmd)
            break
        except util.CommandException:
            if attempt == LVM_FAIL_RETRIES - 1:
                raise
    _lvmBugCleanup(path)


def rename(path, newName):
    _run([_command("lvrename"), path, newName], util.pread)


def setReadonly(path, readonly):
    _run([_command("lvchange"), path, "-p", "r" if readonly else "rw"], util.pread)


def exists(path):
    return _run([_command("lvs"), "--noheadings", path], util.doexec)[0] == 0


def setSize(path, size, confirm):
    cmd = [_command("lvresize"), "-L", str(size // (1024 * 1024)), path]
    if confirm:
        _run(cmd, util.pread3, "y\n")
    else:
        _run(cmd, util.pread)


def setHidden(path, hidden=True):
    _run([_command("lvchange"), "--addtag" if hidden else "--deltag", LV_TAG_HIDDEN, path])


def _mapper(path):
    """The device-mapper name of /dev/VG/LV."""
    return path[len(ROOT) + 5:].replace("-", "--").replace("/", "-")


def activateNoRefcount(path, refresh):
    cmd = [_command("lvchange"), "-ay", path]
    _run(cmd)
    if not _checkActive(path):
        raise util.CommandException(-1, str(cmd), "LV not activated")
    if refresh:
        if generation.SETS_LVM_SYSTEM_DIR:
            os.environ["LVM_SYSTEM_DIR"] = MASTER_LVM_CONF
        _run([_command("lvchange"), "--refresh", path])
        util.pread([CMD_DMSETUP, "table", _mapper(path)])
        if generation.SETS_LVM_SYSTEM_DIR:
            os.environ["LVM_SYSTEM_DIR"] = DEF_LVM_CONF


def deactivateNoRefcount(path):
    for attempt in range(LVM_FAIL_RETRIES):
        try:
            _run([_command("lvchange"), "-an", path])
            break
        except util.CommandException:
            if attempt == LVM_FAIL_RETRIES - 1:
                raise
    _lvmBugCleanup(path)


def _checkActive(path):
    return util.pathexists(path)


def _lvmBugCleanup(path):
    """Remove the device that LVM left behind."""
    mapper = _mapper(path)
    if util.doexec([CMD_DMSETUP, "status", mapper])[0] != 0:
        return
    util.pread2([CMD_DMSETUP, "remove", mapper])
    util.force_unlink(path)


def ensurePathExists(mdpath):
    if not os.path.exists(mdpath):
        vgname = mdpath[len(ROOT):].split("/")[2]
        lvmcache.LVMCache(vgname).activateNoRefcount(MDVOLUME_NAME)


def getPVsInVG(vgname):
    return get_pv_for_vg(vgname)


def checkPVScsiIds(vgname, SCSIid):
    """Every PV that shows this VG is on this LUN; PVMultiIDs."""
    import scsiutil
    text = _run([_command("pvs"), "-a", "--select", "vgname=%s" % vgname, "--no-headings"])
    for line in text.splitlines():
        if line.split() and scsiutil.getSCSIid(line.split()[0]) != SCSIid:
            raise xs_errors.XenError("PVMultiIDs", opterr="Found PVs with several SCSI ids for %s" % vgname)


def removeDevMapperEntry(path, strict=True):
    try:
        _run([CMD_DMSETUP, "remove", path])
        return True
    except util.CommandException:
        util.SMlog("removeDevMapperEntry: dmsetup remove failed for file %s" % path)
        return not strict and util.doexec([CMD_DMSETUP, "status", path])[0] != 0
