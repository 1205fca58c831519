# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lvhdutil (sm-api, section 6.1)."""

import os

import generation
import util
import vhdutil

MSIZE_MB = 2 * 1024 * 1024
MSIZE = MSIZE_MB * 1024 * 1024
VG_LOCATION = os.environ.get("DOM0_ROOT", "") + "/dev"
VG_PREFIX = "VG_XenStorage-"
LVM_SIZE_INCREMENT = 4 * 1024 * 1024
LV_PREFIX = {vhdutil.VDI_TYPE_VHD: "VHD-", vhdutil.VDI_TYPE_RAW: "LV-"}
VDI_TYPES = [vhdutil.VDI_TYPE_VHD, vhdutil.VDI_TYPE_RAW]
if generation.QCOW2:
    LV_PREFIX["qcow2"] = "QCOW2-"
    VDI_TYPES.append("qcow2")
JRN_INFLATE = "inflate"
JVHD_TAG = "jvhd"
LOCK_RETRY_ATTEMPTS = 20
NS_PREFIX_LVM = "lvm-"


class VDIInfo(object):
    """What is known of a VDI from its LV and its VHD header."""

    def __init__(self, uuid):
        self.uuid = uuid
        self.scanError = False
        self.vdiType = None
        self.lvName = ""
        self.sizeLV = -1
        self.sizeVirt = -1
        self.lvActive = False
        self.lvOpen = False
        self.lvReadonly = False
        self.hidden = False
        self.parentUuid = ""


def matchLV(lvName):
    for kind in VDI_TYPES:
        if lvName.startswith(LV_PREFIX[kind]):
            return kind, lvName[len(LV_PREFIX[kind]):]
    return None, None


def extractUuid(path):
    name = os.path.basename(path)
    if name.startswith(VG_PREFIX.replace("-", "--")[:-2]):
        name = name.replace("--", "-")
    for kind in VDI_TYPES:
        if LV_PREFIX[kind] in name:
            return name.split(LV_PREFIX[kind])[-1].strip()
    return None


def calcSizeLV(sizeVHD):
    return util.roundup(LVM_SIZE_INCREMENT, sizeVHD)


def calcSizeVHDLV(sizeVirt):
    return calcSizeLV(sizeVirt + vhdutil.calcOverheadEmpty(MSIZE) + vhdutil.calcOverheadBitmap(sizeVirt))


def getLVInfo(lvmCache, lvName=None):
    found = {}
    for name, info in lvmCache.getLVInfo(lvName).items():
        kind, uuid = matchLV(name)
        if kind:
            info.vdiType = kind
            found[uuid] = info
    return found


def getVDIInfo(lvmCache):
    vdis = {}
    for uuid, lv in getLVInfo(lvmCache).items():
        vdi = vdis[uuid] = VDIInfo(uuid)
        vdi.vdiType, vdi.lvName, vdi.hidden = lv.vdiType, lv.name, lv.hidden
        vdi.sizeLV = vdi.sizeVirt = lv.size
        vdi.lvActive, vdi.lvOpen, vdi.lvReadonly = lv.active, lv.open, lv.readonly
    for kind in VDI_TYPES:
        if kind == vhdutil.VDI_TYPE_RAW or not [vdi for vdi in vdis.values() if vdi.vdiType == kind]:
            continue
        vhds = _images(kind, lvmCache.vgName)
        for uuid in list(vdis):
            vdi = vdis[uuid]
            if vdi.vdiType != kind:
                continue
            if uuid not in vhds:
                lvmCache.refresh()
                if lvmCache.checkLV(vdi.lvName):
                    vdi.scanError = True
                else:
                    del vdis[uuid]
            elif vhds[uuid].error:
                util.SMlog("*** vhd-scan error: %s" % uuid)
                vdi.scanError = True
            else:
                vdi.sizeVirt, vdi.parentUuid, vdi.hidden = vhds[uuid].sizeVirt, vhds[uuid].parentUuid, vhds[uuid].hidden
    return vdis


def _images(kind, vgName):
    if kind == vhdutil.VDI_TYPE_VHD:
        return vhdutil.getAllVHDs(LV_PREFIX[kind] + "*", extractUuid, vgName)
    import qcow2util
    return qcow2util.QCowUtil().getAllInfoFromVG(LV_PREFIX[kind] + "*", extractUuid, vgName)


def inflate(journaler, srUuid, vdiUuid, size):
    name = LV_PREFIX[vhdutil.VDI_TYPE_VHD] + vdiUuid
    path = os.path.join(VG_LOCATION, VG_PREFIX + srUuid, name)
    cache = journaler.lvmCache
    current, wanted = cache.getSize(name), calcSizeLV(size)
    if wanted <= current:
        return
    journaler.create(JRN_INFLATE, vdiUuid, str(current))
    cache.setSize(name, wanted)
    if not util.zeroOut(path, wanted - vhdutil.VHD_FOOTER_SIZE, vhdutil.VHD_FOOTER_SIZE):
        raise Exception("failed to zero out VHD footer")
    vhdutil.setSizePhys(path, wanted, False)
    journaler.remove(JRN_INFLATE, vdiUuid)


def deflate(lvmCache, lvName, size):
    wanted = calcSizeLV(size)
    if wanted >= lvmCache.getSize(lvName):
        return
    vhdutil.setSizePhys(os.path.join(VG_LOCATION, lvmCache.vgName, lvName), wanted)
    lvmCache.setSize(lvName, wanted)


def getAllVHDJournals(lvmCache):
    return [(name[len(JVHD_TAG) + 1:], name) for name in lvmCache.getTagged(JVHD_TAG)]


def deleteVHDJournalLV(lvmCache, jName):
    lvmCache.remove("%s_%s" % (JVHD_TAG, jName))


def lvRefreshOnAllSlaves(session, srUuid, vgName, lvName, vdiUuid):
    for slave in util.get_all_slaves(session):
        session.xenapi.host.call_plugin(slave, "on-slave", "multi", {"vgName": vgName, "lvName1": lvName, "uuid1": vdiUuid})
