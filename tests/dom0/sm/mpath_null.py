# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's mpath_null: no multipathing."""

import os

DEVBYIDPATH = os.environ.get("DOM0_ROOT", "") + "/dev/disk/by-id"


def refresh(sid, npaths):
    pass


def reset(sid, explicit_unmap=False, delete_nodes=False):
    pass


def activate():
    pass


def deactivate():
    pass


def path(SCSIid):
    return DEVBYIDPATH + "/scsi-" + SCSIid


def status(SCSIid):
    pass
