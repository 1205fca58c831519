# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's lvmcowutil."""

import os

import double_lvhdutil
from constants import VG_PREFIX
from vditype import VdiType

LV_PREFIX = {VdiType.RAW: "LV-", VdiType.VHD: "VHD-", VdiType.QCOW2: "QCOW2-"}


class LvmCowUtil(object):
    """Images in LVs."""

    JOURNAL_INFLATE = "inflate"
    JOURNAL_RESIZE_TAG = "jvhd"

    def __init__(self, cowutil):
        self.cowutil = cowutil

    @staticmethod
    def extractUuid(path):
        name = os.path.basename(path)
        if name.startswith(VG_PREFIX):
            name = name.replace("--", "-")
        for prefix in LV_PREFIX.values():
            if prefix in name:
                return name.split(prefix)[-1].strip()
        return ""

    @staticmethod
    def matchVolume(lvName):
        for kind, prefix in LV_PREFIX.items():
            if lvName.startswith(prefix):
                return kind, lvName[len(prefix):]
        return None, None

    @classmethod
    def getVolumeInfo(cls, lvmCache, lvName=None):
        return double_lvhdutil.getLVInfo(lvmCache, lvName)

    @classmethod
    def getVDIInfo(cls, lvmCache):
        return double_lvhdutil.getVDIInfo(lvmCache)
