# SPDX-License-Identifier: LGPL-2.1-only
"""A dom0 double on disk: a directory tree, stand-in commands, iSCSI targets over image files.

    world = World(directory, profile="X")
    world.add_target("iqn.2020-01.test:array", chap=("user", "secret"))
    world.add_lun("iqn.2020-01.test:array", 0, "clone.img", "3600000000000000000000000000000002")
    ... start an `xapi.Xapi` on it, run SR commands, look at world.disks(), world.sessions() ...
    world.close()

Two modes. 'loop' (root, loop devices and LVM 2 needed): disks are block devices and LVM is the machine's own.
'file' (no root): disks are links to the images, LVM is a reader. Device-mapper is never needed. `mode="auto"` takes
the better one that works; `world.why_not_loop` says what was missing.

Targets listen on 127.0.0.N; they only accept connections (sm tests reachability so), the protocol is iscsiadm's affair.
"""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

from dom0 import native
from dom0 import profile as profiles
from dom0 import served
from dom0.devices import Devices, has_triggers, losetup, release_loop
from dom0.state import State, make_directory, make_link, new_state, write_file

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
REPOSITORY = os.path.dirname(TESTS)
DRIVER_DIRECTORY = "/opt/xensource/sm"
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# A real qcow2_helper, to be used with a real sm
REAL_HELPER = "QCOW2_HELPER"

COMMANDS = {
    "iscsiadm": ["/usr/sbin/iscsiadm"],
    "scsi": ["/usr/lib/udev/scsi_id", "/sbin/scsi_id", "/usr/bin/sg_luns", "/usr/bin/sg_scan", "/usr/bin/sg_readcap",
             "/usr/bin/sginfo", "/usr/bin/sg_inq"],
    "dmsetup": ["/sbin/dmsetup"],
    "multipath": ["/usr/sbin/multipath", "/usr/sbin/multipathd", "/sbin/multipath"],
    "system": ["/sbin/pidof", "/usr/sbin/service", "/usr/bin/systemctl", "/usr/sbin/udevadm", "/sbin/udevadm", "/usr/bin/uuidgen",
               "/usr/sbin/lsof", "/usr/bin/cgclassify"],
    "tapctl": ["/usr/sbin/tap-ctl"],
    "qcow2_helper": ["/opt/xensource/libexec/qcow2_helper"],
    "vhd_util": ["/usr/bin/vhd-util", "/usr/sbin/vhd-util"],
    "lvm": ["/usr/sbin/" + name for name in (
        "vgs", "vgcreate", "vgremove", "vgchange", "vgextend", "vgrename", "vgck", "vgscan", "vgcfgbackup", "vgcfgrestore", "pvs",
        "pvcreate", "pvremove", "pvresize", "pvchange", "pvck", "pvscan", "vgexport", "vgimport", "lvs", "lvdisplay",
        "lvcreate", "lvremove", "lvchange", "lvrename", "lvresize", "lvextend")],
}

SCRIPT = """#!{python} -SE
import sys
sys.path.insert(0, {tests!r})
from dom0.bin import {module}
try:
    sys.exit({module}.main({root!r}, sys.argv))
except KeyboardInterrupt:
    sys.exit(130)
"""

SNIPPET = """import json, os, sys
globals().update(json.loads(%(variables)r))


def module(name):
    for dotted in ("sm.core." + name, "sm." + name, "sm.drivers." + name, name):
        try:
            __import__(dotted)
        except ImportError:
            continue
        return sys.modules[dotted]
    raise ImportError(name)


%(code)s
print(json.dumps(result))
"""

INVENTORY = """PRIMARY_DISK='/dev/disk/by-id/none'
PRODUCT_VERSION='8.2.1'
PRODUCT_BRAND='XenServer'
INSTALLATION_UUID='{host}'
CONTROL_DOMAIN_UUID='{domain}'
"""

LVM_CONF = """devices {{ scan = [ "/dev" ] }}
global {{ metadata_read_only = {read_only} }}
"""


class World(object):
    """One dom0 double. Close it: it may hold loop devices, sockets and a thread."""

    def __init__(self, directory, mode="auto", profile="X", python=None, driver=True, sleep=0.04):
        """directory: where the tree goes (must not exist or be empty); profile: a name of `profile.PROFILES`, or None for
        no sm at all; python: the interpreter for dom0's programs (default: this one); sleep: what sm's sleeps are
        multiplied with."""
        self.root = os.path.realpath(str(directory))
        self.python = python or sys.executable
        self.sleep = sleep
        self.host_uuid = "a1b2c3d4-0000-4000-8000-000000000001"
        self.domain_uuid = "a1b2c3d4-0000-4000-8000-000000000002"
        self.initiator = "iqn.2020-01.test:dom0"
        self.profile = None
        self.sm_tree = None
        self.sm_python = None
        self.native = None
        self._syslog = None
        self.why_not_loop = None
        self._listeners = {}
        self._closed = False
        make_directory(self.root)
        if mode != "file":
            self.why_not_loop = why_not_loop(self.root)
            if mode == "loop" and self.why_not_loop:
                raise RuntimeError("no loop mode: " + self.why_not_loop)
        self.mode = "file" if mode == "file" or self.why_not_loop else "loop"
        new_state(self.root, self.mode)
        self._make_tree()
        self.install_commands()
        if profile is not None:
            self.install_doubles(profile)
        if driver:
            self.install_driver()
        self._stop = threading.Event()
        self._kernel = threading.Thread(target=self._watch_sysfs)
        self._kernel.daemon = True
        self._kernel.start()
        atexit.register(self.close)

    # building

    def path(self, name):
        """dom0's absolute path `name` on this machine."""
        return self.root + name

    def follow(self, path):
        """`path` with links to absolute paths of dom0 followed below the root."""
        while os.path.islink(path):
            target = os.readlink(path)
            if target.startswith("/") and not target.startswith(self.root) and os.path.lexists(self.path(target)):
                path = self.path(target)
            else:
                path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        return path

    def _make_tree(self):
        for directory in ("/dev/disk/by-id", "/dev/disk/by-scsid", "/dev/disk/by-scsibus", "/dev/mapper", "/dev/iscsi", "/var/run",
                          "/var/lock/sm", "/var/lock/lvm", "/var/lib/xcp", "/var/lib/iscsi", "/var/log", "/tmp",
                          "/sys/block", "/sys/class/block",
                          "/sys/class/scsi_host", "/sys/class/iscsi_host", "/sys/class/scsi_disk", "/sys/class/iscsi_session",
                          "/sys/dev/block", "/proc/scsi", "/etc/iscsi", "/etc/lvm/master", DRIVER_DIRECTORY):
            make_directory(self.path(directory))
        make_link("var/run", self.path("/run"))
        write_file(self.path("/etc/xensource-inventory"), INVENTORY.format(host=self.host_uuid, domain=self.domain_uuid))
        write_file(self.path("/etc/lvm/lvm.conf"), LVM_CONF.format(read_only=1))
        write_file(self.path("/etc/lvm/master/lvm.conf"), LVM_CONF.format(read_only=0))
        write_file(self.path("/etc/iscsi/initiatorname.iscsi"), "InitiatorName=%s\n" % self.initiator)
        write_file(self.path("/proc/scsi/scsi"), "")

    def install_commands(self, modules=None):
        """Write the stand-in commands (of `modules` only, where given: names of dom0.bin's modules)."""
        text = SCRIPT.format(python=self.python, tests=TESTS, module="{module}", root=self.root)
        # a real sm has a mount namespace of its own, which a server does not see
        if self.sm_tree is None and os.path.exists(served.SHELL):
            text = served.CLIENT.format(port=served.port(self.python), module="{module}", root=self.root)
        for module in sorted(modules or COMMANDS):
            for name in COMMANDS[module]:
                self._write_script(name, text.replace("{module}", module))

    def _write_script(self, name, text):
        path = self.path(name)
        write_file(path, text)
        os.chmod(path, 0o755)

    def install_doubles(self, name):
        """Write the sm doubles of profile `name`; they replace those of another profile."""
        self.profile = profiles.PROFILES[name]
        self._adapt_commands(self.profile)
        self.sm_tree = None
        profiles.install(self.profile, self.root, self.python)

    def install_sm(self, tree, python=None):
        """Put the sm checkout `tree` in place of the doubles; its programs see the double's tree as the real root. Loop mode
        only. python: an interpreter that suits it (see `native.is_python3`), default the world's own. `generation` and
        `recognised` then say which release it is."""
        if self.mode != "loop":
            raise RuntimeError("a real sm needs loop mode: %s" % self.why_not_loop)
        self.profile = None
        self.sm_tree = tree
        self.sm_python = python or self.python
        self.generation, self.recognised = native.generation_of(tree)
        self._adapt_commands(self.behaves_like)
        self.install_commands()
        native.copy_tree(tree, self.root)
        if os.environ.get(REAL_HELPER):
            shutil.copy(os.environ[REAL_HELPER], self.path(COMMANDS["qcow2_helper"][0]))
        native.add_libraries(self.root, self.sm_python)
        self.install_driver()
        self.native = native.Native(self)
        self.native.build()
        self._syslog = SyslogSocket(self.path("/dev/log"), self.path("/var/log/SMlog"))

    def _adapt_commands(self, profile):
        """What of the commands differs with the generation: up to 6.5, iscsiadm's lists of nothing were no error; LVM up to 2.02.130
        goes on when it sees a PV twice; from 7.0 on, it may write on the master only; sm 4 and that of XCP-ng 8.3 of 2026 go back to the
        other lvm.conf in the middle, so there it writes with that as well."""
        with State(self.root) as state:
            state["old_iscsiadm"] = profile.SESSION_LIST_MUST_WORK
            state["refuses_duplicates"] = profile.REFUSES_DUPLICATES
            state["qcow2_scan"] = profile.QCOW2_SCANS
        read_only = profile.SETS_LVM_SYSTEM_DIR and not profile.REFRESH_ON_ACTIVATE
        write_file(self.path("/etc/lvm/lvm.conf"), LVM_CONF.format(read_only=int(read_only)))

    def driver_command(self, script):
        """The command line, without its argument, that runs the driver `script` (a path in the double), and the environment."""
        if self.native is None:
            environment = self.environment()
            environment["PYTHONPATH"] = self.path(profiles.LIBRARY)
            return [self.python, script if os.path.exists(script) else self.follow(script)], environment
        environment = self.environment()
        del environment["DOM0_ROOT"]
        environment["PATH"] = SYSTEM_PATH
        environment["PYTHONPATH"] = native.LIBRARY
        if self.generation in ("C", "D", "E"):
            environment["DOM0_KERNEL"] = "3.10.0+10"
        return self.native.wrapper() + [self.sm_python, script[len(self.root):]], environment

    def install_driver(self, repository=REPOSITORY):
        """Link the driver and its package into sm's directory, as the pack installs them."""
        drivers = os.path.join(repository, "drivers")
        target = self.path(DRIVER_DIRECTORY)
        make_link(os.path.join(drivers, "relvm"), os.path.join(target, "relvm"))
        for name in ("RELVMoISCSISR", "RELVMoHBASR"):
            source = os.path.join(drivers, name + ".py")
            if os.path.exists(source):
                copy = os.path.join(target, name + ".py")
                shutil.copy(source, copy)
                os.chmod(copy, 0o755)
                make_link(name + ".py", os.path.join(target, name))

    # the array

    def add_target(self, iqn, addresses=("127.0.0.1",), chap=None, tpgt=1):
        """A target that listens on a port of each of `addresses`; its portals, as 'ip:port'."""
        portals = []
        port = 0
        for address in addresses:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(64)
            port = listener.getsockname()[1]
            portal = "%s:%d" % (address, port)
            self._listeners[portal] = listener
            portals.append(portal)
        with State(self.root) as state:
            state["targets"][iqn] = {"portals": portals, "tpgt": tpgt, "chap": list(chap) if chap else None, "luns": {}}
        return portals

    def add_portal(self, iqn, portal):
        """Let target `iqn` answer at `portal` too, which another target of this world has opened (one array, several IQNs)."""
        with State(self.root) as state:
            state["targets"][iqn]["portals"].append(portal)

    def keep_udev_busy(self, halts=False):
        """From now on udev lists no new disk, or halts before the last of its links, until let_udev_go_on()."""
        with State(self.root) as state:
            state["udev_waits"] = []
            state["udev_halts"] = halts

    def let_udev_go_on(self):
        """udev lists what has come meanwhile."""
        with State(self.root) as state:
            names, state["udev_waits"] = state["udev_waits"], None
            Devices(state).list_in_udev([name for name in names if name in state["disks"]])

    def add_fabric(self, name, hbas=1, driver="qla2xxx"):
        """An array that this host's HBAs reach, each over a path of its own; add_lun(name, ...) presents a LUN through all of them."""
        with State(self.root) as state:
            state["targets"][name] = {"portals": [], "tpgt": 1, "chap": None, "luns": {}}
            for number in range(hbas):
                hba = {"sid": "hba%d" % len(state["hbas"]), "iqn": name, "portal": "", "host": state.next_number("host"), "driver": driver}
                state["hbas"].append(hba)
                Devices(state).add_hba(hba)

    def scan_fabrics(self):
        """Let the kernel find what is presented to the HBAs, as at boot or when an administrator scans."""
        with State(self.root) as state:
            devices = Devices(state)
            for hba in state["hbas"]:
                devices.rescan(hba)

    def add_lun(self, iqn, lun, image, scsi_id, vendor="DOUBLE", serial=None, wwid=None):
        """Export the file `image` as LUN number `lun` of `iqn`; a logged-in host sees it after a rescan. wwid: the SCSI id that the disk
        itself reports, where that is not what udev says."""
        with State(self.root) as state:
            state["targets"][iqn]["luns"][str(lun)] = {
                "image": os.path.realpath(str(image)), "scsi_id": scsi_id, "vendor": vendor, "serial": serial or scsi_id[1:],
                "wwid": wwid or scsi_id}

    def remove_lun(self, iqn, lun):
        """Stop exporting a LUN."""
        with State(self.root) as state:
            del state["targets"][iqn]["luns"][str(lun)]

    def take_portal_down(self, portal):
        """Nothing listens at `portal` from now on; sessions stay as they are."""
        self._listeners.pop(portal).close()

    def device_config(self, iqn, scsi_id=None, **more):
        """A device_config for this target: target, port, targetIQN (nothing of these for a fabric), SCSIid, and what else is given."""
        with State(self.root, readonly=True) as state:
            portals = state["targets"][iqn]["portals"]
        config = {}
        if portals:
            address, port = portals[0].rsplit(":", 1)
            config = {"target": str(address), "port": str(port), "targetIQN": iqn}
        if scsi_id:
            config["SCSIid"] = scsi_id
        config.update(more)
        return config

    # looking at it

    def disks(self):
        """Name (sda) -> SCSI id, of the disks that are up."""
        self._answer_sysfs()
        with State(self.root, readonly=True) as state:
            return dict((name, disk["scsi_id"]) for name, disk in state["disks"].items())

    def sessions(self):
        """Sorted (IQN, portal) of the iSCSI sessions."""
        with State(self.root, readonly=True) as state:
            return sorted((session["iqn"], session["portal"]) for session in state["sessions"])

    def mappings(self):
        """device-mapper name -> {'uuid', 'disks': names of the disks it lies on, 'scsi_ids'}."""
        found = {}
        with State(self.root, readonly=True) as state:
            for name, mapping in state["dm"].items():
                ids = sorted({state["disks"][disk]["scsi_id"] for disk in mapping["slaves"] if disk in state["disks"]})
                found[name] = {"uuid": mapping["uuid"], "disks": mapping["slaves"], "scsi_ids": ids}
        return found

    def refcounts(self):
        """IQN -> SR uuids in sm's session reference files."""
        found = {}
        directory = self.path("/var/run/sr-ref")
        for iqn in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            with open(os.path.join(directory, iqn)) as f:
                found[iqn] = f.read().split()
        return found

    def lv_refcounts(self):
        """Files of sm's LV reference counts: 'namespace/object' -> content."""
        found = {}
        for directory, _, files in os.walk(self.path("/var/run/sm/refcount")):
            for name in files:
                path = os.path.join(directory, name)
                with open(path) as f:
                    found[os.path.relpath(path, self.path("/var/run/sm/refcount"))] = f.read().strip()
        return found

    def log(self):
        """All that was written to SMlog."""
        try:
            with open(self.path("/var/log/SMlog"), "rb") as f:
                return f.read().decode("utf-8", "replace")
        except IOError:
            return ""

    def listing(self):
        """Every path in the tree but the state's own, to compare before and after."""
        found = set()
        for directory, directories, files in os.walk(self.root):
            if directory == self.root:
                directories.remove("proc")
            for name in directories + files:
                path = os.path.join(directory, name)[len(self.root):]
                if not path.startswith(("/var/lib/dom0", "/var/log", "/tmp")) and not path.endswith((".pyc", "__pycache__")):
                    found.add(path)
        return found

    # doing things in it

    def environment(self):
        """The environment in which xapi runs dom0's programs."""
        environment = {"DOM0_ROOT": self.root, "DOM0_SLEEP": str(self.sleep), "LC_ALL": "C.UTF-8", "HOME": "/root",
                       "PYTHONHASHSEED": "random", "PYTHONIOENCODING": "utf-8",
                       "PATH": ":".join([self.path(place) for place in ("/usr/sbin", "/usr/bin", "/sbin")] + [SYSTEM_PATH])}
        for key in ("LVM_BIN_DIR", "COVERAGE_PROCESS_START"):
            if key in os.environ:
                environment[key] = os.environ[key]
        return environment

    def seen(self, path):
        """`path`, an absolute path of dom0, as dom0's programs have to write it."""
        return path if self.native is not None else self.path(path)

    def run(self, *command, **options):
        """Run a dom0 command; (exit status, stdout, stderr), text. env: further variables. Paths as `seen` gives them."""
        if self.native is not None:
            prefix, environment = self.driver_command("")
            command = prefix[:-2] + list(command)
        else:
            environment = self.environment()
            command = list(command)
        environment.update(options.get("env", {}))
        if self.native is not None:
            pass
        elif command[0].startswith("/"):
            command[0] = self.path(command[0])
        else:
            for directory in environment["PATH"].split(":"):
                if os.path.exists(os.path.join(directory, command[0])):
                    command[0] = os.path.join(directory, command[0])
                    break
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(options.get("input", "").encode("utf-8"))
        return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def run_python(self, code, **variables):
        """Run `code` in the double as a program of dom0 with sm's modules at hand; what it left in ``result``, through JSON.

        ``module(name)`` in it imports sm's module of that name wherever this generation keeps it; `variables` are set before.
        """
        script = self.path(DRIVER_DIRECTORY + "/snippet.py")
        write_file(script, SNIPPET % {"variables": json.dumps(variables), "code": code})
        command, environment = self.driver_command(script)
        try:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       close_fds=True)
            out, err = process.communicate()
        finally:
            os.unlink(script)
        if process.returncode:
            raise RuntimeError(err.decode("utf-8", "replace"))
        return json.loads(out.decode("utf-8").splitlines()[-1])

    @property
    def behaves_like(self):
        """The `profile.Profile` of the doubles or of the real sm."""
        return self.profile or profiles.PROFILES[self.generation]

    def login(self, iqn):
        """Log in to every portal of `iqn` by hand, as an administrator would; names of the disks that came up."""
        before = set(self.disks())
        with State(self.root, readonly=True) as state:
            target = state["targets"][iqn]
        for portal in target["portals"]:
            code, _, err = self.run("iscsiadm", "-m", "discovery", "-t", "st", "-p", portal)
            if code:
                raise RuntimeError(err)
            if target["chap"]:
                for key, value in zip(("authmethod", "username", "password"), ["CHAP"] + target["chap"]):
                    self.run("iscsiadm", "-m", "node", "-T", iqn, "-p", portal, "--op", "update", "-n", "node.session.auth." + key,
                             "-v", value)
            code, _, err = self.run("iscsiadm", "-m", "node", "-T", iqn, "-p", portal, "-l")
            if code not in (0, 15):
                raise RuntimeError(err)
        return sorted(set(self.disks()) - before)

    def start_multipathd(self):
        """Let multipathd run."""
        with State(self.root) as state:
            state["services"]["multipathd"] = True

    def reboot(self):
        """The host loses power: sessions, disks, mappings, /var/run and locks are gone; the LUNs stay as they are."""
        with State(self.root) as state:
            devices = Devices(state)
            for name in sorted(state["dm"], key=lambda name: state["dm"][name]["kind"] == "mpath"):
                devices.remove_mapping(name)
            for session in list(state["sessions"]):
                devices.remove_session(session)
                state["sessions"].remove(session)
            for name in sorted(state["disks"]):
                devices.remove_disk(name)
        for directory in ("/var/run", "/var/lock/sm", "/var/lock/lvm"):
            shutil.rmtree(self.path(directory), ignore_errors=True)
            make_directory(self.path(directory))
        for listener in self._listeners.values():
            hang_up(listener)

    def _answer_sysfs(self):
        """What a kernel does before a write to sysfs returns."""
        if has_triggers(self.root):
            with State(self.root) as state:
                Devices(state).settle()

    def _watch_sysfs(self):
        while not self._stop.wait(0.03):
            try:
                self._answer_sysfs()
            except (IOError, OSError, ValueError):
                if not os.path.isdir(self.root):
                    return

    def close(self):
        """Give back loop devices, sockets and the thread. The tree stays for whoever made the directory."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._kernel.join()
        for listener in self._listeners.values():
            listener.close()
        if self._syslog is not None:
            self._syslog.close()
        if os.path.isdir(self.root):
            with State(self.root) as state:
                for entry in list(state["dm"].values()) + list(state["disks"].values()):
                    if entry.get("loop"):
                        release_loop(entry["loop"])
                        entry["loop"] = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()


def hang_up(listener):
    """Drop the connections that wait at a listening socket: nobody takes them, and only so many may wait."""
    listener.setblocking(False)
    try:
        while True:
            listener.accept()[0].close()
    except (OSError, IOError, socket.error):
        listener.setblocking(True)


class SyslogSocket(object):
    """Listens on a /dev/log and appends what comes to a file."""

    def __init__(self, path, log):
        self._log = log
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if os.path.exists(path):
            os.unlink(path)
        here = os.getcwd()
        os.chdir(os.path.dirname(path))     # the address of a unix socket holds 107 bytes
        try:
            self._socket.bind(os.path.basename(path))
        finally:
            os.chdir(here)
        self._thread = threading.Thread(target=self._run)
        self._thread.daemon = True
        self._thread.start()

    def _run(self):
        while True:
            line = self._socket.recv(65536)
            if not line:
                return
            with open(self._log, "ab") as log:
                log.write(line.split(b">", 1)[-1].rstrip(b"\0\n") + b"\n")

    def close(self):
        """Stop listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(2)
        self._socket.close()


def why_not_loop(directory):
    """What keeps a loop-mode double from working in `directory`; None when nothing does."""
    if os.geteuid() != 0:
        return "not root"
    if not any(os.path.exists(os.path.join(path, "lvm")) for path in ("/usr/sbin", "/sbin")):
        return "LVM is not installed"
    probe = os.path.join(directory, "loop-probe")
    node = probe + ".node"
    loop = None
    try:
        with open(probe, "wb") as f:
            f.truncate(1 << 20)
        loop = losetup(probe)
        os.mknod(node, 0o600 | 0o060000, os.stat(loop).st_rdev)
        with open(node, "rb") as f:
            f.read(1)
    except (OSError, IOError, subprocess.CalledProcessError) as e:
        return "no loop devices: %s" % e
    finally:
        if loop:
            release_loop(loop)
        for path in (probe, node):
            if os.path.exists(path):
                os.unlink(path)
    return None


def lock_lines(path):
    """The lines of /proc/locks about a file, split into words; a waiter's second word is '->'."""
    if not os.path.exists(path):
        return []
    inode = os.stat(path).st_ino
    with open("/proc/locks") as locks:
        return [line.split() for line in locks if ":%d " % inode in line]


def wait_until(condition, timeout=120):
    """Wait for `condition()` to be true; whether it was within `timeout` seconds."""
    end = time.time() + timeout
    while time.time() < end:
        if condition():
            return True
        time.sleep(0.01)
    return bool(condition())
