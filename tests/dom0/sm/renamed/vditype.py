# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's vditype."""


class VdiType(object):
    """Values of sm_config vdi_type."""

    RAW = "aio"
    VHD = "vhd"
    QCOW2 = "qcow2"
    CBTLOG = "cbtlog"

    @classmethod
    def isCowImage(cls, vdi_type):
        return vdi_type in VDI_COW_TYPES


VDI_COW_TYPES = (VdiType.VHD, VdiType.QCOW2)
