# SPDX-License-Identifier: LGPL-2.1-only
"""Generations of sm, and how a double of each is laid out on disk.

One code base (dom0/sm) holds every module; `install` writes it into a double as the generation has it: the flat
directory of XenServer 6.5 to 8.3, the same with the names of XCP-ng 8.3 of 2026, or the package of sm 4 with its
compatibility modules. What differs in behaviour is in ``generation.py``, which is written beside them: the fields of a
`Profile` as constants.
"""

import os
import re
import shutil

from dom0 import errors

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "sm")
SUPPORT = os.path.join(HERE, "support")
SM_DIRECTORY = "/opt/xensource/sm"
LIBRARY = "/usr/lib/dom0-python"


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


# The fields, and their values in XenServer 6.5
C = Profile(
    "C", "XenServer 6.5 (sm creedence-alpha-4)",
    # flat; renamed (LVMSR, LVMoISCSISR, lvmcowutil in place of LVHDSR, LVHDoISCSISR, lvhdutil); package (sm 4)
    LAYOUT="flat",
    ISCSI_CLASS="ISCSISR",          # ISCSISR.ISCSISR or BaseISCSI.BaseISCSISR
    RUN_DIRECTORY="/var/run",
    # SR, SRCommand, xs_errors
    XENERROR_RAISES=True,           # the constructor raises
    ERRORS_IN="SR",                 # module that defines SROSError
    FOREIGN_EXCEPTIONS="uncaught",  # uncaught, reraised, or 1200
    NO_SESSION="",                  # SR.session without session_ref
    SETS_LVM_DEVICE=True,
    SETS_LVM_SYSTEM_DIR=False,
    PATHREFRESH_HAS_LOAD=False,     # _pathrefresh(obj, load=True)
    AFTER_MASTER_ATTACH="none",     # none, raise, message
    HAS_CHECK_SR=False,             # SR.check_sr and SR.deviceCheck
    # LVHDoISCSISR, and as far as they do the same LVHDoHBASR
    NO_USB_DISKS=False,             # devscan takes usb-storage for no HBA
    DEVICE_AT_LOAD="reload",        # None, reload (whole load again), or path (dconf['device'] only)
    LOAD_SKIPS_VDI=False,           # no iSCSI objects for VDI commands
    HAS_CREATE_SESSIONS=False,
    SPLITS_TARGETS=False,           # "a,b" means two targets; before, only a leading comma did
    RERAISES_IN_LOAD=False,
    TOLERATED_AT_ATTACH=(141,),
    CHECKS_FOREIGN_PVS=False,
    SCAN_REFRESHES_PATH=False,
    # the iSCSI object
    ATTACH_LUN_RAISES=False,        # _attach_LUN_bySCSIid raises instead of returning False
    MISSING_BY_SCSID="none",        # after login without /dev/disk/by-scsid/<id>: none (not looked at), oserror or 107
    REFRESHES_LUNS=False,           # iscsilib.refresh_luns before that 107
    CHAP_BYTES=False,
    SESSION_LIST_MUST_WORK=True,    # iscsiadm -m session with rc 21 is an error
    MAP_IS_OPTIONAL=False,          # with multipathing on, a LUN that multipath leaves out is taken without a map
    LAZY_ISCSI=False,               # paths and session state are looked up when asked for
    COUNTS_SESSIONS=False,          # PBD.get_other_config in attach
    OLD_SCSI_ID=True,
    # LVM
    REFUSES_DUPLICATES=False,       # LVM activates and changes nothing while a PV is seen twice; before, it took one of the two
    CMD_LVM=False,                  # bare names and cmd_lvm
    LVM_LOCK="none",                # none, lock, context, queue, fairlock
    LOCK_SINGLETON=False,
    CHECK_VG_READONLY=False,        # vgs --readonly
    VGCHANGE_OPTIONS=["--master"],
    LVCREATE_OPTIONS=[],
    ALWAYS_SETS_PERMISSION=True,
    LOCKS_PERMISSION=False,         # Lock('lvchange-p')
    REFRESH_ON_ACTIVATE=False,
    WIPES_SIGNATURES=False,         # a new SR's LUN is cleared with wipefs; before, its first 10 MiB were filled with zeros
    # VHD and MGT
    SCAN_NOFAIL_FIRST=True,         # vhd-util scan with -c at once
    SET_PARENT_RESOLVES=True,
    VHD_RETRIES=20,
    STRICT_MGT_HEADER=False,
    BUFFERED_MGT=False,
    CHECKS_MGT_UPGRADE=True,
    CBT=False,
    GC_SERVICE=False,
    SCAN_USES_ACTIVATOR=False,
    # QCOW2
    QCOW2=False,                    # knows these disks; whoever does not deletes their records
    QCOW2_SCANS=False,              # qcow2_helper reads their headers from the PV; before, sm activates each LV
)
D = Profile(
    "D", "XenServer 7.0 (sm 1.13.0)", C, FOREIGN_EXCEPTIONS="reraised", NO_SESSION=None, SETS_LVM_DEVICE=False, SETS_LVM_SYSTEM_DIR=True,
    PATHREFRESH_HAS_LOAD=True, DEVICE_AT_LOAD="path", MISSING_BY_SCSID="oserror", SESSION_LIST_MUST_WORK=False, OLD_SCSI_ID=False,
    CMD_LVM=True, VGCHANGE_OPTIONS=[], ALWAYS_SETS_PERMISSION=False, SET_PARENT_RESOLVES=False)
E = Profile("E", "XenServer 7.1 (sm 1.17.1)", D, ISCSI_CLASS="BaseISCSI", SETS_LVM_DEVICE=True, LOCKS_PERMISSION=True)
N = Profile(
    "N", "XenServer 7.6, Citrix Hypervisor 8.0 (sm 1.37.0)", E, XENERROR_RAISES=False, FOREIGN_EXCEPTIONS="1200", LOAD_SKIPS_VDI=True,
    RERAISES_IN_LOAD=True, SCAN_REFRESHES_PATH=True, MAP_IS_OPTIONAL=True, LAZY_ISCSI=True, COUNTS_SESSIONS=True, CHECK_VG_READONLY=True,
    REFUSES_DUPLICATES=True, LVCREATE_OPTIONS=["-W", "n"], STRICT_MGT_HEADER=True, CBT=True)
Q = Profile("Q", "Citrix Hypervisor, XCP-ng 8.1 (sm 2.16.1)", N, LOCK_SINGLETON=True, SCAN_NOFAIL_FIRST=False)
S = Profile("S", "Citrix Hypervisor, XCP-ng 8.2 (sm 2.29.1)", Q, NO_USB_DISKS=True, LVM_LOCK="lock", AFTER_MASTER_ATTACH="raise")
X = Profile(
    "X", "Citrix Hypervisor 8.2 CU1, XCP-ng 8.2 (sm 2.30.8)", S, LVM_LOCK="context", AFTER_MASTER_ATTACH="message", DEVICE_AT_LOAD=None,
    PATHREFRESH_HAS_LOAD=False)
K = Profile(
    "K", "XenServer 8 (sm 3.0.13)", X, LVM_LOCK="queue", HAS_CHECK_SR=True, HAS_CREATE_SESSIONS=True, ATTACH_LUN_RAISES=True,
    MISSING_BY_SCSID="107", CHAP_BYTES=True, BUFFERED_MGT=True, CHECKS_MGT_UPGRADE=False)
J = Profile(
    "J", "XCP-ng 8.3 as released (sm 3.2.12)", K, ERRORS_IN="xs_errors", SPLITS_TARGETS=True, REFRESHES_LUNS=True, LVM_LOCK="fairlock",
    GC_SERVICE=True, SCAN_USES_ACTIVATOR=True)
W = Profile(
    "W", "XCP-ng 8.3 of April 2026 and later (sm 3.2.12-17.2 to 21.1)", J, LAYOUT="renamed", WIPES_SIGNATURES=True,
    REFRESH_ON_ACTIVATE=True, QCOW2=True)
Y = Profile("Y", "XCP-ng 8.3 as it comes next (sm 3.2.12-21.2)", W, QCOW2_SCANS=True)
V = Profile(
    "V", "XenServer 9 (sm 4.1.9)", J, LAYOUT="package", RUN_DIRECTORY="/run", TOLERATED_AT_ATTACH=(141, 83), CHECKS_FOREIGN_PVS=True,
    LVCREATE_OPTIONS=["-W", "y", "--yes"], REFRESH_ON_ACTIVATE=True)

PROFILES = dict((profile.name, profile) for profile in (C, D, E, N, Q, S, X, K, J, W, Y, V))
NAMES = ("C", "D", "E", "N", "Q", "S", "X", "K", "J", "W", "Y", "V")
# One of each group that behaves alike towards the driver
REPRESENTATIVES = ("C", "D", "X", "J", "W", "V")

# sm 4: modules of the package's core; what has another name there
CORE = ("util", "scsiutil", "xs_errors", "lock", "mpath_null", "mpath_dmp", "mpath_cli", "iscsilib")
CORE_NAMES = {"iscsilib": "iscsi"}
# sm 4: what /opt/xensource/sm keeps as one-line modules
COMPATIBLE = ("BaseISCSI", "SR", "SRCommand", "VDI", "ipc", "iscsilib", "journaler", "lock", "lvmanager", "lvmcache", "lvutil", "metadata",
              "mpath_cli", "mpath_dmp", "mpath_null", "refcounter", "scsiutil", "srmetadata", "util", "vhdutil", "xs_errors", "devscan")
DRIVERS = ("LVHDSR", "LVHDoISCSISR", "LVHDoHBASR", "HBASR")
# XCP-ng 8.3 of 2026: what the doubles use under names that this generation does not have
RENAMED = {"LVHDSR": "LVMSR", "LVHDoISCSISR": "LVMoISCSISR", "LVHDoHBASR": "LVMoHBASR"}
# What xapi starts: link -> module
ENTRIES = {"LVMoISCSISR": "LVHDoISCSISR", "LVMoHBASR": "LVHDoHBASR"}
PRIVATE = {"lvhdutil": "double_lvhdutil", "vhdutil": "double_vhdutil"}
CLOBBERED = ("lvhdutil", "cleanup")
ENTRY = """#!/usr/bin/python3
from sm import SRCommand
from sm.drivers.%s import %s, DRIVER_INFO

if __name__ == "__main__":
    SRCommand.run(%s, DRIVER_INFO)
"""
CLI = """# SPDX-License-Identifier: LGPL-2.1-only
\"\"\"A command line tool under the name of a module, as sm 4 installs it.\"\"\"

if __name__ == "__main__":
    print("usage")
"""


def install(profile, root, python):
    """Write the modules of `profile` below `root`."""
    target = root + SM_DIRECTORY
    for path in (target, root + LIBRARY, root + "/usr/libexec/sm"):
        if os.path.isdir(path):
            shutil.rmtree(path)
    os.makedirs(target)
    os.makedirs(root + LIBRARY)
    modules = sorted(name[:-3] for name in os.listdir(SOURCES) if name.endswith(".py"))
    if profile.LAYOUT == "package":
        install_package(profile, root, modules)
    else:
        install_flat(profile, root, modules)
    shutil.copy(os.path.join(SUPPORT, "sgio.py"), root + LIBRARY)
    if profile.LVM_LOCK == "fairlock":
        shutil.copy(os.path.join(SUPPORT, "fairlock.py"), root + LIBRARY)


def install_flat(profile, root, modules):
    """One directory for all; 6.5 and 7.0 call the iSCSI object's module ISCSISR."""
    target = root + SM_DIRECTORY
    renames = {}
    if profile.ISCSI_CLASS == "ISCSISR":
        renames["BaseISCSI"] = "ISCSISR"
    if profile.LAYOUT == "renamed":
        renames.update(RENAMED)
        renames.update(PRIVATE)
        for name in os.listdir(os.path.join(SOURCES, "renamed")):
            if name.endswith(".py"):
                shutil.copy(os.path.join(SOURCES, "renamed", name), target)
    for module in modules:
        text = read(os.path.join(SOURCES, module + ".py"))
        if profile.LAYOUT == "renamed":
            text = re.sub(r"\bLVHDo(ISCSI|HBA)(SR|VDI)\b", r"LVMo\1\2", re.sub(r"\bLVHDSR\b", "LVMSR", text))
        for old, new in renames.items():
            if old in RENAMED and profile.LAYOUT == "renamed":
                continue
            text = re.sub(r"(?m)^import %s$" % old, "import %s as %s" % (new, old), text)
            text = re.sub(r"(?m)^from %s import" % old, "from %s import" % new, text)
        write(os.path.join(target, renames.get(module, module) + ".py"), text)
    write(os.path.join(target, "generation.py"), constants(profile))
    errors.write(os.path.join(target, "XE_SR_ERRORCODES.xml"))
    for link, module in ENTRIES.items():
        driver = renames.get(module, module) + ".py"
        os.chmod(os.path.join(target, driver), 0o755)
        os.symlink(driver, os.path.join(target, link))


def install_package(profile, root, modules):
    """The package sm in the library, one-line modules and links to scripts in the old directory."""
    library, target = root + LIBRARY, root + SM_DIRECTORY
    for package in ("sm", "sm/core", "sm/drivers"):
        os.makedirs(os.path.join(library, package))
        write(os.path.join(library, package, "__init__.py"), "# SPDX-License-Identifier: LGPL-2.1-only\n")
    places = dict((module, place(module)) for module in modules if module != "XenAPI")
    for module in modules:
        text = read(os.path.join(SOURCES, module + ".py"))
        for other, dotted in places.items():
            # not "from sm import x": modules that import each other are not attributes of the package yet (up to Python 3.6)
            both = r'\1import %s\n\1%s = __import__("sys").modules["%s"]' % (dotted, other, dotted)
            text = re.sub(r"(?m)^( *)import %s$" % other, both, text)
            text = re.sub(r"(?m)^( *)from %s import" % other, r"\1from %s import" % dotted, text)
        path = places.get(module, module).replace(".", "/")
        if module in DRIVERS:
            text = re.sub(r'(?ms)^if __name__ == "__main__":.*', "SR.registerSR(%s)\n" % module, text)
        write(os.path.join(library, path + ".py"), text)
    write(os.path.join(library, "generation.py"), constants(profile))
    os.makedirs(root + "/usr/share/sm")
    errors.write(root + "/usr/share/sm/XE_SR_ERRORCODES.xml")
    for module in COMPATIBLE:
        write(os.path.join(target, module + ".py"), "from %s import *\n" % places[module])
    for module in CLOBBERED:
        write(os.path.join(target, module + ".py"), CLI)
    scripts = root + "/usr/libexec/sm/drivers"
    os.makedirs(scripts)
    for link, module in ENTRIES.items():
        write(os.path.join(scripts, link), ENTRY % (module, module, module))
        os.chmod(os.path.join(scripts, link), 0o755)
        os.symlink("/usr/libexec/sm/drivers/" + link, os.path.join(target, link))


def place(module):
    """The dotted name of a module in sm 4."""
    if module in CORE:
        return "sm.core." + CORE_NAMES.get(module, module)
    return "sm.%s%s" % ("drivers." if module in DRIVERS else "", module)


def constants(profile):
    """The text of generation.py."""
    lines = ["# SPDX-License-Identifier: LGPL-2.1-only", '"""%s"""' % profile.release]
    lines += ["%s = %r" % (key, profile.fields[key]) for key in sorted(profile.fields)]
    return "\n".join(lines) + "\n"


def read(path):
    """The text of the file `path`."""
    with open(path) as f:
        return f.read()


def write(path, text):
    """Write `text` into the file `path`."""
    with open(path, "w") as f:
        f.write(text)
