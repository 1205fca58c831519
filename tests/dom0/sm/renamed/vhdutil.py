# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's vhdutil in XCP-ng 8.3 as patched: the functions have become methods."""

import double_vhdutil
from cowutil import CowUtil

VHD_UTIL = double_vhdutil.VHD_UTIL
OPT_LOG_ERR = double_vhdutil.OPT_LOG_ERR


class VhdUtil(CowUtil):
    """VHD images in LVs."""

    def getInfo(self, path, extractUuidFunction, includeParent=True, resolveParent=True, useBackupFooter=False):
        return double_vhdutil.getVHDInfo(path, extractUuidFunction, includeParent)

    def getInfoFromLVM(self, lvName, extractUuidFunction, vgName):
        return double_vhdutil.getVHDInfoLVM(lvName, extractUuidFunction, vgName)

    def getAllInfoFromVG(self, pattern, extractUuidFunction, vgName=None, parents=False, exitOnError=False):
        return double_vhdutil.getAllVHDs(pattern, extractUuidFunction, vgName, parents, exitOnError)

    def getParent(self, path, extractUuidFunction):
        return double_vhdutil.getParent(path, extractUuidFunction)

    def getParentNoCheck(self, path):
        return double_vhdutil._getVHDParentNoCheck(path)

    def hasParent(self, path):
        return double_vhdutil.hasParent(path)

    def setParent(self, path, parentPath, parentRaw):
        double_vhdutil.setParent(path, parentPath, parentRaw)

    def getHidden(self, path):
        return bool(double_vhdutil.getHidden(path))

    def setHidden(self, path, hidden=True):
        double_vhdutil.setHidden(path, hidden)

    def getSizeVirt(self, path):
        return double_vhdutil.getSizeVirt(path)

    def getSizePhys(self, path):
        return double_vhdutil.getSizePhys(path)

    def check(self, path, ignoreMissingFooter=False, fast=False):
        return CowUtil.CheckResult.Success if double_vhdutil.check(path, ignoreMissingFooter, fast) else CowUtil.CheckResult.Fail
