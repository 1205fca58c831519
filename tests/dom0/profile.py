# SPDX-License-Identifier: LGPL-2.1-only
"""Generations of sm, and how a double of each is laid out on disk.

One code base (dom0/sm) holds every module; `install` writes it into a double as the generation has it: the flat
directory of XenServer 6.5 to 8.3, or the package of sm 4 with its compatibility modules. What differs in behaviour is
in ``generation.py``, which is written beside them: the fields of a `Profile` as constants.
"""

import os
import shutil

from dom0 import errors

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sm")
SM_DIRECTORY = "/opt/xensource/sm"


class Profile(object):
    """What a generation of sm is like (sm-api, section 0)."""

    def __init__(self, name, release, like=None, **fields):
        self.name = name
        self.release = release
        self.fields = dict(like.fields) if like else {}
        self.fields.update(fields)

    def __getattr__(self, key):
        try:
            return self.__dict__["fields"][key]
        except KeyError:
            raise AttributeError(key)


X = Profile(
    "X", "XenServer 8.2 CU1, XCP-ng 8.2 (sm 2.30.8)",
    LAYOUT="flat",                  # flat, or package (sm 4)
    ISCSI_CLASS="BaseISCSI",        # BaseISCSI.BaseISCSISR or ISCSISR.ISCSISR
    RENAMED=False,                  # LVMSR, LVMoISCSISR, lvmcowutil instead of LVHDSR, LVHDoISCSISR, lvhdutil
    XENERROR_RAISES=False,          # the constructor raises
    ERRORS_IN="SR",                 # module that defines SROSError
    FOREIGN_EXCEPTIONS="1200",      # uncaught, reraised, or 1200
    ATTACH_LUN_RAISES=False,        # _attach_LUN_bySCSIid raises instead of returning False
    DEVICE_AT_LOAD=None,            # None, reload (whole load again), or path (dconf['device'] only)
    LOAD_SKIPS_VDI=True,            # no iSCSI objects for VDI commands
    SETS_LVM_DEVICE=True,
    SETS_LVM_SYSTEM_DIR=True,
    LVM_LOCK="context",             # none, lock, context, fairlock
    CMD_LVM=True,                   # bare names and cmd_lvm
    LOCK_SINGLETON=True,
    AFTER_MASTER_ATTACH="message",  # none, raise, message
    CHECKS_FOREIGN_PVS=False,
    STRICT_MGT_HEADER=True,
    BUFFERED_MGT=False,
    CHAP_BYTES=False,
    CBT=True,
    REFRESH_ON_ACTIVATE=False,
    SET_PARENT_RESOLVES=False,
    MISSING_BY_SCSID="oserror",     # after login without /dev/disk/by-scsid/<id>: none (not looked at), oserror or 107
    REFRESHES_LUNS=False,           # iscsilib.refresh_luns before that 107
    NO_SESSION=None,                # SR.session without session_ref
    PATHREFRESH_HAS_LOAD=False,     # _pathrefresh(obj, load=True)
    CHECK_VG_READONLY=True,         # vgs --readonly
    VGCHANGE_OPTIONS=[],
    LVCREATE_OPTIONS=["-W", "n"],
    ALWAYS_SETS_PERMISSION=False,
    LOCKS_PERMISSION=True,          # Lock('lvchange-p')
    SCAN_NOFAIL_FIRST=False,        # vhd-util scan with -c at once
    VHD_RETRIES=20,
    OLD_SCSI_ID=False,
    SESSION_LIST_MUST_WORK=False,   # iscsiadm -m session with rc 21 is an error
    LAZY_ISCSI=True,                # paths and session state are looked up when asked for
    COUNTS_SESSIONS=True,           # PBD.get_other_config in attach
    CHECKS_MGT_UPGRADE=True,
    GC_SERVICE=False,
    SCAN_USES_ACTIVATOR=False,
    HAS_CREATE_SESSIONS=False,
    SPLITS_TARGETS=False,           # "a,b" means two targets; before, only a leading comma did
    RERAISES_IN_LOAD=True,
    TOLERATED_AT_ATTACH=(141,),
    SCAN_REFRESHES_PATH=True,
)

PROFILES = {"X": X}


def install(profile, root, python):
    """Write the modules of `profile` below `root`, with scripts that run under `python`."""
    target = root + SM_DIRECTORY
    if os.path.isdir(target):
        shutil.rmtree(target)
    os.makedirs(target)
    for name in sorted(os.listdir(SOURCES)):
        if name.endswith(".py"):
            shutil.copy(os.path.join(SOURCES, name), os.path.join(target, name))
    errors.write(os.path.join(target, "XE_SR_ERRORCODES.xml"))
    with open(os.path.join(target, "generation.py"), "w") as f:
        f.write("# SPDX-License-Identifier: LGPL-2.1-only\n\"\"\"%s\"\"\"\n" % profile.release)
        for key in sorted(profile.fields):
            f.write("%s = %r\n" % (key, profile.fields[key]))
    for name, module in (("LVMoISCSISR", "LVHDoISCSISR.py"),):
        os.symlink(module, os.path.join(target, name))
        os.chmod(os.path.join(target, module), 0o755)
