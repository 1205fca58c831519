# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's cowutil: which module handles an image format."""

from vditype import VdiType


class CowUtil(object):
    """Base of VhdUtil and QCowUtil."""

    class CheckResult(object):
        """What check() answers."""

        Success = 0
        Fail = 1
        Unavailable = 2


def getCowUtil(vdi_type):
    """The helper for a vdi_type; that of VHD also serves raw."""
    import qcow2util
    import vhdutil
    if vdi_type == VdiType.QCOW2:
        return qcow2util.QCowUtil()
    if vdi_type in (VdiType.VHD, VdiType.RAW):
        return vhdutil.VhdUtil()
    raise AssertionError("Unsupported vdi type: %s" % vdi_type)
