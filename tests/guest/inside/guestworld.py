# SPDX-License-Identifier: LGPL-2.1-only
"""The guest as a dom0: sm, the driver and xapi on the real root, beside the real iSCSI, LVM, device-mapper and udev.

Stand-ins are what no distribution has: sm's modules (tests/dom0, one profile) and vhd-util, unless real ones came with the job; the daemon
that keeps SMlog, `service`, tap-ctl. xapi itself is `dom0.xapi.Xapi`, which takes a GuestWorld for the World of a dom0 double.
"""

import compileall
import os
import pathlib
import shutil
import socket
import threading
import time
import xmlrpc.client

from dom0 import native
from dom0 import profile as profiles
from dom0.world import DRIVER_DIRECTORY, INVENTORY, SCRIPT, World, lock_lines
from dom0.xapi import XapiError
from inside import devices, initiator, lvmconf, target
from inside.command import attempt
from inside.target import DEFAULT_PORTAL

PRODUCT = "/opt/relvmoiscsi"
PLUGIN = "/etc/xapi.d/plugins/relvmoiscsi"
RUN_DIRECTORY = pathlib.Path("/var/run/relvmoiscsi")
LOCK_DIRECTORIES = ("/run/lock/lvm", "/run/lock/sm", "/run/relvmoiscsi")

# Where sm looks for commands that a distribution may keep elsewhere.
DOM0_PLACES = ("/sbin/pidof", "/sbin/udevadm", "/sbin/dmsetup", "/sbin/iscsid", "/sbin/multipathd", "/usr/sbin/iscsiadm")

SERVICE = """#!/bin/sh
# What sm asks of init: service iscsid|multipathd start|stop
case "$1 $2" in
"iscsid stop") iscsiadm -k 0 ;;
"iscsid start") iscsid ;;
"multipathd stop") multipathd shutdown ;;
"multipathd start") multipathd ;;
esac
"""

REAL_VHD_UTIL = "/opt/relvmoiscsi/vhd-util"
QCOW2_HELPER = "/opt/xensource/libexec/qcow2_helper"
# XCP-ng's qemu-img says how much it committed, as its progress meter does
COMMIT = """#!/bin/sh
{real} "$@" || exit $?
[ "$1" != commit ] || echo "(65536/65536)"
"""
LVM_COMMANDS = ("lvcreate", "lvchange", "lvremove", "lvrename", "lvresize", "lvs", "vgs", "vgchange", "vgcreate", "vgremove")
# Options that 6.5's LVM was patched to have
OLD_LVM = """#!/bin/sh
for word; do
    shift
    case "$word" in
    --master) ;;
    --inactive) set -- "$@" -an -Wn ;;
    --zero=n) set -- "$@" -Zn ;;
    *) set -- "$@" "$word" ;;
    esac
done
exec /usr/sbin/lvm {command} "$@"
"""
# To 6.5's iscsiadm a list of nothing was no error
OLD_ISCSIADM = """#!/bin/sh
{real} "$@"
status=$?
[ $status = 21 ] || exit $status
"""
# and its scsi_id, which was on the path, was asked for /block/<name>
OLD_SCSI_ID = """#!/bin/sh
for word; do :; done
exec /lib/udev/scsi_id --whitelisted --replace-whitespace --device="/dev/${word##*/}"
"""


class GuestWorld(World):
    """A World that is the root directory, with real commands. One per boot.

    sleep: what sm's own sleeps are multiplied with. log_lines: [(seconds since the epoch, line of SMlog)].
    """

    def __init__(self, profile="X", sleep=0.1, sm=None, sm_python=None):
        """sm: a checkout of sm, in place of the doubles of `profile`; sm_python: the interpreter for it."""
        self.root = "/"
        self.python = "/usr/bin/python3"
        self.sleep = sleep
        self.native = None
        self.sm_tree = sm
        self.sm_python = sm_python or self.python
        self.host_uuid = "a1b2c3d4-0000-4000-8000-000000000001"
        self.domain_uuid = "a1b2c3d4-0000-4000-8000-000000000002"
        self.initiator = initiator.INITIATOR_NAME
        lvmconf.write()
        for directory in ("/var/lib/xcp", "/run/lock/sm", "/run/lock/lvm"):
            os.makedirs(directory, exist_ok=True)
        pathlib.Path("/etc/xensource-inventory").write_text(INVENTORY.format(host=self.host_uuid, domain=self.domain_uuid))
        for module, name in (("vhd_util", "/usr/bin/vhd-util"), ("system", "/usr/bin/uuidgen")):
            tests = PRODUCT + "/tests"
            _script(name, SCRIPT.format(python=self.python, tests=tests, module=module, root=""))
        _script("/usr/sbin/service", SERVICE)
        for name in DOM0_PLACES:
            if not os.path.exists(name):
                os.symlink(shutil.which(os.path.basename(name)), name)
        self.log_lines = []
        self._log_socket = self._listen("/dev/log")
        if sm:
            self._install_sm(sm)
        else:
            profiles.install(profiles.PROFILES[profile], "", self.python)
        self.install_driver()
        # Every program of dom0 would compile all of it again: they are told to leave no files.
        if sm:
            attempt(self.sm_python, "-m", "compileall", "-q", DRIVER_DIRECTORY, native.LIBRARY)
        else:
            compileall.compile_dir(DRIVER_DIRECTORY, quiet=1)
        compileall.compile_dir(PRODUCT + "/tests/dom0", quiet=1)
        target.start()
        self.iscsid = initiator.start()

    def _install_sm(self, tree):
        """A real sm, what it imports from elsewhere, and what else it calls."""
        self.generation, self.recognised = native.generation_of(tree)
        native.copy_tree(tree, "")
        native.add_libraries("", self.sm_python)
        tests = PRODUCT + "/tests"
        for module, name in (("tapctl", "/usr/sbin/tap-ctl"), ("system", "/usr/sbin/lsof"), ("system", "/usr/bin/cgclassify")):
            _script(name, SCRIPT.format(python=self.python, tests=tests, module=module, root=""))
        if os.path.exists(REAL_VHD_UTIL):
            for name in ("/usr/bin/vhd-util", "/usr/sbin/vhd-util"):
                _script(name, f'#!/bin/sh\nexec {REAL_VHD_UTIL} "$@"\n')
        if os.path.exists(QCOW2_HELPER):
            os.rename("/usr/bin/qemu-img", "/usr/bin/qemu-img.real")
            _script("/usr/bin/qemu-img", COMMIT.format(real="/usr/bin/qemu-img.real"))
        if not shutil.which("systemctl"):
            _script("/usr/bin/systemctl", "#!/bin/sh\n")
        if self.generation == "C":
            for command in LVM_COMMANDS:
                os.unlink("/usr/sbin/" + command)
                _script("/usr/sbin/" + command, OLD_LVM.format(command=command))
            real = os.path.realpath(shutil.which("iscsiadm"))
            os.rename(real, real + ".new")
            _script(real, OLD_ISCSIADM.format(real=real + ".new"))
            _script("/usr/sbin/scsi_id", OLD_SCSI_ID)

    def install_driver(self):
        """The drivers, their package and the plugin as real files, as the pack installs them."""
        place = pathlib.Path(DRIVER_DIRECTORY)
        shutil.copytree(PRODUCT + "/drivers/relvm", place / "relvm", dirs_exist_ok=True)
        for name in ("RELVMoISCSISR", "RELVMoHBASR"):
            shutil.copy(f"{PRODUCT}/drivers/{name}.py", place)
            (place / (name + ".py")).chmod(0o755)
            (place / name).symlink_to(name + ".py")
        os.makedirs(os.path.dirname(PLUGIN), exist_ok=True)
        shutil.copy(PRODUCT + "/plugins/relvmoiscsi", PLUGIN)
        shutil.copy(os.path.join(profiles.SUPPORT, "XenAPIPlugin.py"), native.LIBRARY)

    def _listen(self, path):
        """Receives what is sent to syslog: SMlog, in the order in which it comes."""
        if os.path.lexists(path):
            os.unlink(path)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind(path)
        os.chmod(path, 0o666)

        def receive():
            while True:
                # Longer than any message of sm: a cut one could hide what must not be in it.
                text = receiver.recv(1 << 20).decode("utf-8", "surrogateescape")
                line = text.split(">", 1)[-1].rstrip("\0\n")
                self.log_lines.append((time.time(), line))
                with open("/var/log/SMlog", "a", errors="surrogateescape") as log:
                    log.write(line + "\n")

        threading.Thread(target=receive, daemon=True).start()
        return receiver

    # what xapi.Xapi asks for

    def driver_command(self, script):
        if self.sm_tree is None:
            return super().driver_command(script)
        environment = dict(self.environment(), PYTHONPATH=native.LIBRARY)
        del environment["DOM0_ROOT"]
        if self.generation in ("C", "D", "E"):
            environment["DOM0_KERNEL"] = "3.10.0+10"
        return [self.sm_python, self.follow(script)], environment

    def plugin(self, toolstack, function, **arguments):
        """xe host-call-plugin plugin=relvmoiscsi on this host; its answer. Raises XapiError."""
        command, environment = self.driver_command(PLUGIN)
        call = xmlrpc.client.dumps((toolstack.new_session(None), arguments), function)
        done = attempt(*command, call, env=environment)
        assert done.returncode == 0, done.stderr
        answer = xmlrpc.client.loads(done.stdout)[0][0]
        if answer["Status"] == "Failure":
            raise XapiError(*answer["ErrorDescription"])
        return answer["Value"]

    def path(self, name):
        return name

    def follow(self, path):
        return path

    def environment(self):
        """The environment in which xapi runs dom0's programs."""
        return {
            "DOM0_ROOT": "",
            "DOM0_SLEEP": str(self.sleep),
            # sm sleeps where udev has work to do; an emulated udev is slow, and one on a busy host slower still.
            "DOM0_SETTLE": "1",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    # what tests ask for

    def device_config(self, iqn, scsi_id, portal=DEFAULT_PORTAL, **more):
        """A device_config for one LUN of a target."""
        address, port = portal.rsplit(":", 1)
        return {"target": address, "port": port, "targetIQN": iqn, "SCSIid": scsi_id, **more}

    def log(self):
        """All that was written to SMlog."""
        return "\n".join(line for _, line in self.log_lines)

    def refcounts(self):
        """IQN -> SR uuids that sm counts as users of its session."""
        directory = pathlib.Path("/var/run/sr-ref")
        return {path.name: path.read_text().split() for path in directory.iterdir()} if directory.is_dir() else {}

    def left_over(self, scsi_id, iqn=None):
        """What a run on a LUN has left on this host, as sentences. `iqn`: of a target that nobody else uses."""
        found = []
        disks = devices.paths_of(scsi_id)
        if iqn:
            found += [f"{path} says {users}" for path, users in self.refcounts().items() if path == iqn]
            found += [f"session with {iqn}" for _, name in initiator.sessions().values() if name == iqn]
            found += [f"disk {disk}" for disk in disks]
        found += [f"{name} is mapped on the LUN" for name, luns in devices.lv_luns().items() if scsi_id in luns]
        found += [f"{name} is held" for name in held_locks()]
        files = RUN_DIRECTORY.iterdir() if RUN_DIRECTORY.is_dir() else ()
        found += [f"file {path}" for path in files if path.name == scsi_id or path.suffix == ".mgt"]
        return found


def _script(path, text):
    pathlib.Path(path).write_text(text)
    os.chmod(path, 0o755)


def held_locks():
    """Lock files of LVM, sm and this product that some process holds."""
    found = []
    for directory in LOCK_DIRECTORIES:
        for place, _, names in os.walk(directory):
            found += [os.path.join(place, name) for name in names if lock_lines(os.path.join(place, name))]
    return found


def lvm_lock(vg):
    """The file of LVM's lock on a VG name."""
    return "/run/lock/lvm/V_" + vg
