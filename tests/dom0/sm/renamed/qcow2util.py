# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's qcow2util: reads images; making and changing them is not doubled."""

import os
import struct

import double_vhdutil
import generation
import util
from constants import NS_PREFIX_LVM, VG_LOCATION, VG_PREFIX
from cowutil import CowUtil
from lvmcache import LVMCache

QCOW2_HELPER = os.environ.get("DOM0_ROOT", "") + "/opt/xensource/libexec/qcow2_helper"
HIDDEN = 0x76617465


class QCowUtil(CowUtil):
    """QCOW2 images in LVs."""

    def getInfo(self, path, extractUuidFunction, includeParent=True, resolveParent=True, useBackupFooter=False):
        with open(path, "rb") as image:
            head = image.read(4096)
        magic, _, place, length, _, size = struct.unpack(">4sIQIIQ", head[:32])
        if magic != b"QFI\xfb":
            raise ValueError("Not a valid QCOW2 file")
        info = double_vhdutil.VHDInfo(extractUuidFunction(path))
        info.path, info.sizeVirt, info.hidden = path, size, False
        if place:
            info.parentPath = head[place:place + length].decode("utf-8")
            info.parentUuid = extractUuidFunction(info.parentPath)
        at = struct.unpack(">I", head[100:104])[0]
        while at < len(head) - 16:
            kind, length = struct.unpack(">II", head[at:at + 8])
            if kind == 0:
                break
            if kind == HIDDEN:
                info.hidden = head[at + 8:at + 9] != b"\0"
            at += 8 + (length + 7) // 8 * 8
        util.pread2([QCOW2_HELPER, "allocated"] + (["-f"] if generation.QCOW2_SCANS else []) + [path])
        return info

    def getInfoFromLVM(self, lvName, extractUuidFunction, vgName):
        path = os.path.join(VG_LOCATION, vgName, lvName)
        uuid, namespace, cache = extractUuidFunction(path), NS_PREFIX_LVM + vgName[len(VG_PREFIX):], LVMCache(vgName)
        cache.activate(namespace, uuid, lvName, False)
        try:
            return self.getInfo(path, extractUuidFunction)
        finally:
            cache.deactivate(namespace, uuid, lvName, False)

    def getAllInfoFromVG(self, pattern, extractUuidFunction, vgName=None, parents=False, exitOnError=False):
        if generation.QCOW2_SCANS:
            return self._getAllInfoFromLVM(pattern, extractUuidFunction, vgName, parents, exitOnError)
        cache = LVMCache(vgName)
        cache.refresh()
        found = {}
        for name in list(cache.lvs):
            if name.startswith(pattern.rstrip("*")):
                info = self.getInfoFromLVM(name, extractUuidFunction, vgName)
                found[info.uuid] = info
        return found

    if generation.QCOW2_SCANS:
        def _getAllInfoFromLVM(self, pattern, extractUuidFunction, vgName, parents=False, exitOnError=False):
            found = {}
            for line in util.pread2([QCOW2_HELPER, "scan", "-l", vgName, "-m", pattern]).split("\n"):
                words = dict(word.split("=", 1) for word in line.split())
                if words:
                    info = double_vhdutil.VHDInfo(extractUuidFunction(words["qcow2"]))
                    info.path, info.sizeVirt, info.hidden = words["qcow2"], int(words["capacity"]), words["hidden"] != "0"
                    if words["parent"] != "none":
                        info.parentPath, info.parentUuid = words["parent"], extractUuidFunction(words["parent"])
                    found[info.uuid] = info
            return found
