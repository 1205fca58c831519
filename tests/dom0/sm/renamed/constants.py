# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's constants in XCP-ng 8.3 as patched."""

import os

CBTLOG_TAG = "cbtlog"
VG_LOCATION = os.environ.get("DOM0_ROOT", "") + "/dev"
VG_PREFIX = "VG_XenStorage-"
NS_PREFIX_LVM = "lvm-"
