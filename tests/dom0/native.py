# SPDX-License-Identifier: LGPL-2.1-only
"""A real sm checkout in a double, unmodified: it sees the double's tree at the real absolute paths.

`Native` builds a second root once, of links: to the machine's own files under /.host, and to the double's files where it has
some. Each program runs in a mount namespace of its own (unshare), in which /.host is the machine's root and the parts that change
are bound from the double; then chroot. Nothing outside the namespace changes. Needs root.
"""

import os
import shutil
import subprocess

from dom0.bin import tapctl
from dom0.state import State, make_directory, make_link, write_file

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "support")
LIBRARY = "/usr/lib/dom0-python"
SM_DIRECTORY = "/opt/xensource/sm"

# Directories of the double that are bound as they are, since programs inside change them: path inside -> path in the double
LIVE = [("/dev", "/dev"), ("/sys", "/sys"), ("/opt/xensource", "/opt/xensource"), ("/etc/lvm", "/etc/lvm"), ("/etc/iscsi", "/etc/iscsi"),
        ("/var/run", "/var/run"), ("/run", "/var/run"), ("/var/lock", "/var/lock"), ("/var/lib/xcp", "/var/lib/xcp"),
        ("/var/lib/iscsi", "/var/lib/iscsi"), ("/var/log", "/var/log")]
# Character devices that programs expect below /dev
DEVICES = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0), ("loop-control", 10, 237)]
LOOPS = 256

ENTER = """#!/bin/sh
set -e
new=$1
shift
mount --rbind / "$new/.host"
mount --rbind /proc "$new/proc"
mount --bind "{devices}" "$new/proc/devices"
{binds}
cd /
exec chroot "$new" "$@"
"""


class Native(object):
    """The second root of a world."""

    def __init__(self, world):
        self.world = world
        self.new = world.path("/var/lib/dom0/native")
        self.enter = world.path("/var/lib/dom0/enter")

    def build(self):
        """Make (again) the second root, the devices below /dev and the script that enters."""
        self._make_devices()
        shutil.rmtree(self.new, ignore_errors=True)
        make_directory(self.new + "/.host")
        make_directory(self.new + "/proc")
        for name in sorted(os.listdir("/")):
            if os.path.islink("/" + name):
                os.symlink(os.readlink("/" + name), os.path.join(self.new, name))
        live = [inside for inside, _ in LIVE]
        for directory, directories, files in os.walk(self.world.root):
            inside = directory[len(self.world.root):] or "/"
            if inside in live or inside.startswith(("/var/lib/dom0", "/proc")):
                directories[:] = []
                continue
            for name in files + [name for name in directories if os.path.islink(os.path.join(directory, name))]:
                self._add(os.path.join(inside, name), self.world.path(os.path.join(inside, name)))
        for inside in live:
            self._open_up(os.path.dirname(inside))
            path = self.new + inside
            if os.path.islink(path):
                os.unlink(path)
            make_directory(path)
        self._open_up("/")
        binds = "\n".join('mount --bind "%s" "$new%s"' % (self.world.path(source), inside) for inside, source in LIVE)
        with open("/proc/devices") as f:
            write_file(self.world.path("/proc/devices"), f.read() + "%d tapdev\n" % tapctl.MAJOR)
        write_file(self.enter, ENTER.format(binds=binds, devices=self.world.path("/proc/devices")))
        os.chmod(self.enter, 0o755)
        with State(self.world.root) as state:
            state["native"] = True

    def _add(self, inside, target):
        """Link the path `inside` the second root to `target`."""
        top = "/" + inside.split("/")[1]
        if os.path.islink(top):
            inside = "/" + os.readlink(top).lstrip("/") + inside[len(top):]
        self._open_up(os.path.dirname(inside))
        make_link(target, self.new + inside)

    def _open_up(self, inside):
        """Make `inside` a directory of its own in the second root, of links to what the machine has there."""
        path = self.new if inside == "/" else self.new + inside
        if inside != "/":
            self._open_up(os.path.dirname(inside))
        if os.path.isdir(path) and not os.path.islink(path) and os.path.lexists(os.path.join(path, ".opened")):
            return
        if os.path.islink(path):
            os.unlink(path)
        make_directory(path)
        for name in os.listdir(inside) if os.path.isdir(inside) else []:
            entry = os.path.join(path, name)
            if not os.path.lexists(entry):
                os.symlink("/.host" + os.path.join(inside, name), entry)
        make_link("/.host", os.path.join(path, ".opened"))

    def _make_devices(self):
        dev = self.world.path("/dev")
        for name, major, minor in DEVICES:
            if not os.path.exists(os.path.join(dev, name)):
                os.mknod(os.path.join(dev, name), 0o020666, os.makedev(major, minor))
        for number in range(LOOPS):
            if not os.path.exists("%s/loop%d" % (dev, number)):
                os.mknod("%s/loop%d" % (dev, number), 0o060660, os.makedev(7, number))
        for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
            make_link("/proc/self/fd" + target, os.path.join(dev, name))

    def wrapper(self):
        """What comes before a command line to run it inside."""
        return ["unshare", "--mount", "--propagation", "private", self.enter, self.new]


def generation_of(tree):
    """The profile name of the sm checkout `tree`, by what it has; and one line that says so."""
    def has(*names):
        for name in names:
            if os.path.exists(os.path.join(tree, name)):
                return True
        return False

    def says(name, text):
        path = os.path.join(tree, name)
        if not os.path.exists(path):
            return False
        with open(path, "rb") as f:
            return text.encode("ascii") in f.read()

    if has("libs/sm/drivers/LVHDoISCSISR.py"):
        return "V", "sm 4: package sm"
    if has("drivers/LVMoISCSISR.py"):
        if says("drivers/qcow2util.py", "_getAllInfoFromLVM"):
            return "Y", "XCP-ng 8.3 from 3.2.12-21.2 on: LVMoISCSISR, cowutil, qcow2_helper scan"
        return "W", "XCP-ng 8.3 of April 2026 and later: LVMoISCSISR, cowutil"
    if says("drivers/lvutil.py", "Fairlock"):
        return "J", "XCP-ng 8.3 as released: Fairlock, SROSError in xs_errors"
    if has("drivers/lock_queue.py"):
        return "K", "XenServer 8: Python 3, LvmLockContext on a lock queue"
    if says("drivers/lvutil.py", "class LvmLockContext"):
        return "X", "XenServer 8.2 CU1, XCP-ng 8.2: LvmLockContext"
    if says("drivers/lvutil.py", "def get_lvm_lock"):
        return "S", "XenServer 8.2: Lock('lvm')"
    if says("drivers/lock.py", "class LockImplementation"):
        return "Q", "XenServer 8.1: locks can be taken twice"
    if says("drivers/util.py", "isVDICommand") or says("drivers/xs_errors.py", "__new__"):
        return "N", "XenServer 7.6 and 8.0: XenError is returned"
    if has("drivers/BaseISCSI.py"):
        return "E", "XenServer 7.1: BaseISCSI"
    if says("drivers/lvutil.py", "def cmd_lvm"):
        return "D", "XenServer 7.0: cmd_lvm"
    if has("drivers/mpp_luncheck.py", "drivers/ISCSISR.py"):
        return "C", "XenServer 6.5: absolute LVM commands"
    raise ValueError("%s is no sm checkout that is known here" % tree)


def is_python3(tree):
    """Whether the checkout's drivers are for Python 3."""
    for name in ("libs/sm/SR.py", "drivers/SR.py"):
        path = os.path.join(tree, name)
        if os.path.exists(path):
            with open(path, "rb") as f:
                return b"xmlrpc.client" in f.read()
    return False


def copy_tree(tree, root):
    """Put the checkout's files below `root` as its Makefile installs them, with what they import from elsewhere."""
    target = root + SM_DIRECTORY
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    shutil.rmtree(root + LIBRARY, ignore_errors=True)
    make_directory(root + LIBRARY)
    for name in ("sitecustomize.py", "sgio.py"):
        shutil.copy(os.path.join(SUPPORT, name), root + LIBRARY)
    if os.path.isdir(os.path.join(tree, "libs", "sm")):
        _copy_package(tree, root, target)
    else:
        _copy_flat(tree, target)


def _copy_flat(tree, target):
    """Every module of drivers/ (and of an earlier sm.core) into one directory; <X>SR links as the Makefile makes them."""
    drivers = os.path.join(tree, "drivers")
    for name in os.listdir(drivers):
        if name.endswith((".py", ".xml")):
            shutil.copy(os.path.join(drivers, name), target)
    if os.path.isdir(os.path.join(tree, "sm_typing")):
        shutil.copytree(os.path.join(tree, "sm_typing"), os.path.join(target, "sm_typing"))
    for name in os.listdir(target):
        if name.endswith("SR.py"):
            os.chmod(os.path.join(target, name), 0o755)
            link = {"LVHDSR.py": "LVMSR", "LVHDoISCSISR.py": "LVMoISCSISR", "LVHDoHBASR.py": "LVMoHBASR"}.get(name, name[:-3])
            os.symlink(name, os.path.join(target, link))


def _copy_package(tree, root, target):
    """The package sm, its compatibility modules and the driver scripts (Makefile of sm 4)."""
    shutil.copytree(os.path.join(tree, "libs", "sm"), root + LIBRARY + "/sm")
    make_directory(root + "/usr/share/sm")
    shutil.copy(os.path.join(tree, "libs", "sm", "core", "XE_SR_ERRORCODES.xml"), root + "/usr/share/sm/XE_SR_ERRORCODES.xml")
    for name in os.listdir(os.path.join(tree, "compat-libs")):
        if name.endswith(".py"):
            shutil.copy(os.path.join(tree, "compat-libs", name), target)
    scripts = root + "/usr/libexec/sm/drivers"
    make_directory(scripts)
    for name in os.listdir(os.path.join(tree, "drivers")):
        if name.endswith("SR"):
            shutil.copy(os.path.join(tree, "drivers", name), scripts)
            os.chmod(os.path.join(scripts, name), 0o755)
            os.symlink("/usr/libexec/sm/drivers/" + name, os.path.join(target, name))
    for name in ("lvhdutil", "cleanup"):
        # a command under the name of a module, which it replaces
        source = os.path.join(tree, "utils", name)
        if os.path.exists(source):
            if os.path.exists(os.path.join(target, name + ".py")):
                os.unlink(os.path.join(target, name + ".py"))
            shutil.copy(source, os.path.join(target, name + ".py"))


def add_libraries(root, python):
    """Modules that `python` lacks, into the double's library: XenAPI, bitarray, fairlock."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name, source in (("XenAPI", os.path.join(here, "sm", "XenAPI.py")), ("bitarray", os.path.join(SUPPORT, "fallback_bitarray.py")),
                         ("fairlock", os.path.join(SUPPORT, "fairlock.py"))):
        with open(os.devnull, "w") as null:
            missing = subprocess.call([python, "-c", "import " + name], stdout=null, stderr=null, cwd="/")
        if missing:
            shutil.copy(source, "%s%s/%s.py" % (root, LIBRARY, name))
