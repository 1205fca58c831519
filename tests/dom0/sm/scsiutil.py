# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's scsiutil: SCSI ids, sizes, rescans, through commands and sysfs."""

import glob
import os
import re

import generation
import util

ROOT = os.environ.get("DOM0_ROOT", "")
SCSI_ID_BIN = "/usr/lib/udev/scsi_id"
if not ROOT and not os.path.exists(SCSI_ID_BIN):
    SCSI_ID_BIN = "/lib/udev/scsi_id"


def getdev(path):
    real = os.path.realpath(path)
    if ROOT and os.path.islink(path):
        # a disk of a file-mode double is itself a link, to an image
        while os.path.islink(path) and os.path.dirname(path) != ROOT + "/dev":
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        return os.path.basename(path)
    return os.path.basename(real)


def getsize(path):
    size = "%s/sys/block/%s/size" % (ROOT, getdev(path))
    if not os.path.exists(size):
        return 0
    return int(util.get_single_entry(size)) * 512


def getSCSIid(path):
    if generation.OLD_SCSI_ID:
        text = util.pread2(["/sbin/scsi_id", "-g", "-s", "/block/" + getdev(path)])
    else:
        text = util.pread2([SCSI_ID_BIN, "-g", "--device", path])
    return re.sub(r"\s+", "_", text.strip())


def getserial(path):
    text = util.pread2(["/usr/bin/sginfo", "-s", os.path.join(ROOT + "/dev", getdev(path))])
    return re.sub(r"\s+", "", text).split("'")[1]


def getmanufacturer(path):
    for line in util.pread2(["/usr/bin/sginfo", "-M", path]).split("\n"):
        if line.startswith("Vendor:"):
            return line.replace(" ", "").split(":")[-1]
    return ""


def gen_uuid_from_string(text):
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def cacheSCSIidentifiers():
    found = {}
    for node in glob.glob(ROOT + "/dev/disk/by-scsibus/*"):
        match = re.search(r"-(\d+):(\d+):(\d+):(\d+)$", node)
        if match:
            device = os.path.realpath(node)
            found[device] = ["NONE"] + list(match.groups()) + ["0", device]
    return found


def get_devices_by_SCSIid(SCSIid):
    return [name for name in os.listdir(os.path.join(ROOT + "/dev/disk/by-scsid", SCSIid)) if name != "mapper"]


def _genHostList(procname):
    found = []
    for path in glob.glob(ROOT + "/sys/class/scsi_host/host*/proc_name"):
        if procname in util.get_single_entry(path):
            found.append(os.path.basename(os.path.dirname(path)).replace("host", ""))
    return found


def _genReverseSCSIidmap(SCSIid, pathname="scsibus"):
    return sorted(os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
                  for link in glob.glob("%s/dev/disk/by-%s/%s-*" % (ROOT, pathname, SCSIid)))


def rescan(ids, fullrescan=True):
    for number in ids:
        path = "%s/sys/class/scsi_host/host%s/scan" % (ROOT, number)
        if os.path.exists(path):
            util.SMlog("Full rescan of HostID %s" % number)
            with open(path, "w") as f:
                f.write("- - -\n")
            util.sleep(2)
        util.wait_for_path("%s/sys/class/scsi_disk/%s*" % (ROOT, number), 5)


def _dosgscan():
    found = []
    for line in util.pread2(["/usr/bin/sg_scan"]).split("\n"):
        match = re.match(r"([^:]*):\s+scsi([0-9]+)\s+channel=([0-9]+)\s+id=([0-9]+)\s+lun=([0-9]+)", line)
        if match:
            found.append(list(match.groups()))
    return found


def refreshdev(pathlist):
    for path in pathlist:
        trigger = "%s/sys/block/%s/device/rescan" % (ROOT, getdev(path))
        if os.path.exists(trigger):
            with open(trigger, "w") as f:
                f.write("1")


def refresh_lun_size_by_SCSIid(SCSIid):
    try:
        refreshdev([os.path.join(ROOT + "/dev/disk/by-scsid", SCSIid, name) for name in get_devices_by_SCSIid(SCSIid)])
    except (OSError, IOError):
        return False
    return True


def refresh_lun_size_by_SCSIid_on_slaves(session, SCSIid):
    for slave in util.get_all_slaves(session):
        session.xenapi.host.call_plugin(slave, "on-slave", "refresh_lun_size_by_SCSIid", {"SCSIid": SCSIid})


def add_serial_record(session, sr_ref, devstring):
    config = session.xenapi.SR.get_sm_config(sr_ref)
    config["devserial"] = devstring
    session.xenapi.SR.set_sm_config(sr_ref, config)


def devlist_to_serialstring(devlist):
    found = []
    for device in devlist:
        try:
            found.append("scsi-" + getSCSIid(device))
        except util.CommandException:
            pass
    return ",".join(found)
