# SPDX-License-Identifier: LGPL-2.1-only
"""LVM commands. In a loop-mode double the machine's own LVM does the work; in a file-mode double lvmreport reads.

What real LVM is asked to do here: no device-mapper (``activation=0``, ``--driverloaded n``), devices only below
the double's /dev, and of those the ones that LVM_DEVICE allows, as XenServer's patched LVM does. Activation is
this module's: an active linear LV is a loop device over its part of the image, with the names and the
device-mapper entry that a kernel would show, and `lvs` says so.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from dom0.bin import lvmreport
from dom0.devices import Devices
from dom0.lvnames import mapper_name, names_of_mapper, strip_dev
from dom0.state import State, make_directory, make_link, remove_file

CONFIGURATION = """
config {{ checks = 0 }}
devices {{
    dir = "{root}/dev"
    scan = [ "{root}/dev" ]
    sysfs_scan = 0
    md_component_detection = 0
    fw_raid_component_detection = 0
    multipath_component_detection = 0
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    use_devicesfile = 0
    hints = "none"
    write_cache_state = 0
    filter = [ {names} ]
    global_filter = [ {filter} ]
    allow_changes_with_duplicate_pvs = {duplicates}
}}
activation {{ activation = 0 udev_sync = 0 udev_rules = 0 monitoring = 0 }}
global {{
    locking_dir = "{root}/var/lock/lvm"
    metadata_read_only = {read_only}
    use_lvmpolld = 0
    use_aio = 0
    event_activation = 0
    wait_for_locks = 1
}}
backup {{ backup = 0 archive = 0 }}
log {{ syslog = 0 }}
"""
REPORTS = ("pvs", "vgs", "lvs", "vgck", "lvdisplay", "pvdisplay", "vgdisplay", "pvck", "vgcfgbackup", "pvscan", "vgscan")
# Options of lvchange and vgchange that change no metadata
HARMLESS = re.compile("--refresh|--config|--readonly|-a|--activate|--available")
ATTRIBUTES = re.compile(r"(?<= )([-CmMoOrRsSpvVitTdDeclF][-wrRm][-acilnACILN][-m][-aXsSIi][-oX][-CmrsTtuv][-z][-a-zA-Z][-k])(?= |$)")


def accept_only(paths):
    """The items of an LVM filter."""
    return ", ".join(['"a|^%s$|"' % re.escape(path) for path in paths] + ['"r|.*|"'])


def main(root, argv):
    """Run one LVM command."""
    # --master is an option of 6.5's patched LVM
    command, args = os.path.basename(argv[0]), [arg for arg in argv[1:] if arg != "--master"]
    with State(root) as state:
        Devices(state).settle()
        mode = state["mode"]
        native = state["native"]
    if native:
        args = [below_root(root, arg) for arg in args]
    if mode == "file":
        return lvmreport.main(root, [command] + args)
    return RealLvm(root, command, args, native).run()


def below_root(root, arg):
    """`arg` with paths of /dev moved below `root`; for commands that see the tree as the real root."""
    if arg.startswith("/dev/"):
        return root + arg
    if "{" in arg:
        return re.sub(r"(?<![A-Za-z0-9_.-])/dev/", root + "/dev/", arg)
    return arg


class RealLvm(object):
    """One call of the machine's LVM with the double's devices."""

    def __init__(self, root, command, args, native):
        self.root = root
        self.command = command
        self.args = args
        self.native = native
        self.directory = None

    def run(self):
        """Run the command, then do to the double's device-mapper what LVM would have done."""
        self.directory = tempfile.mkdtemp(prefix="lvm-", dir=self.root + "/var/lib/dom0")
        try:
            if self.write_configuration() and self.writes():
                # LVM 2.02 says so; 2.03.16 was seen to write all the same
                sys.stderr.write("  Operation prohibited while global/metadata_read_only is set.\n")
                return 5
            return self.dispatch()
        finally:
            shutil.rmtree(self.directory)

    def dispatch(self):
        """Exit status of the command with its side effects."""
        before = {}
        if self.command in ("lvremove", "lvrename", "vgremove", "vgrename", "lvresize", "lvextend", "lvreduce"):
            before = self.layout()
        if self.command in ("lvremove", "vgremove"):
            for lv in self.chosen(before):
                if not self.deactivate(lv):
                    sys.stderr.write("  Logical volume %s/%s in use.\n" % (lv["vg"], lv["name"]))
                    return 5
        code, out, err = self.call(self.command, self.arguments())
        if self.command == "lvs" or self.command == "vgs":
            out = self.with_activity(out)
        if self.native:
            out, err = out.replace(self.root + "/dev/", "/dev/"), err.replace(self.root + "/dev/", "/dev/")
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.stdout.flush()
        if code == 0:
            code = self.follow(before)
        return code

    def arguments(self):
        """The command's arguments as they go to real LVM."""
        args = list(self.args)
        if self.command == "lvcreate":
            # no device-mapper: zeroing is done by follow(); --inactive is an option of 6.5's patched LVM
            args = [arg for arg in args if arg not in ("--inactive", "--zero=n")] + ["-Zn", "-an"]
            if "-W" in args:
                index = args.index("-W")
                del args[index:index + 2]
            args += ["-Wn"]
        return args

    def follow(self, before):
        """After a command that succeeded: activation, and names of what is active."""
        activation = self.activation()
        if self.command == "lvcreate":
            name = option(self.args, "-n", "--name")
            for lv in self.layout().values():
                if lv["name"] == name and lv["vg"] in [strip_dev(self.root, arg) for arg in self.args]:
                    if activation == "n":
                        return 0
                    self.activate(lv)
                    zero(lv_path(self.root, lv))
        elif self.command in ("lvchange", "vgchange") and activation:
            chosen = self.chosen(self.layout())
            for lv in chosen:
                if activation == "n":
                    if not self.deactivate(lv):
                        sys.stderr.write("  Logical volume %s/%s in use.\n" % (lv["vg"], lv["name"]))
                        return 5
                elif not self.activate(lv):
                    return 5
        elif self.command == "lvchange" and ("-p" in self.args or "--permission" in self.args or "--refresh" in self.args):
            for lv in self.chosen(self.layout()):
                self.reload(lv)
        elif self.command in ("lvresize", "lvextend", "lvreduce"):
            for lv in self.layout().values():
                old = before.get(lv["uuid"])
                if old and old["segments"] != lv["segments"]:
                    self.reload(lv)
        elif self.command in ("lvrename", "vgrename"):
            for lv in self.layout().values():
                old = before.get(lv["uuid"])
                if old and (old["name"], old["vg"]) != (lv["name"], lv["vg"]) and self.deactivate(old):
                    self.activate(lv)
        return 0

    def activation(self):
        """'y' or 'n' when the command activates or deactivates, else None."""
        if "--inactive" in self.args:
            return "n"
        for index, arg in enumerate(self.args):
            match = re.match(r"(?:-a|--activate[= ]?|--available[= ]?)(e?l?[yn]?)$", arg)
            if match:
                value = match.group(1) or self.args[index + 1]
                return value[-1]
        return None

    # real LVM

    def write_configuration(self):
        """Write lvm.conf for this call, from the double's one and the environment; its metadata_read_only."""
        system = os.environ.get("LVM_SYSTEM_DIR", "/etc/lvm")
        conf = system + "/lvm.conf"
        if not conf.startswith(self.root):
            conf = self.root + conf
        read_only = 0
        with open(conf) as f:
            match = re.search(r"metadata_read_only\s*=\s*(\d)", f.read())
        if match:
            read_only = int(match.group(1))
        make_directory(self.root + "/var/lock/lvm")
        paths = self.visible_devices()
        with State(self.root, readonly=True) as state:
            duplicates = int(not state["refuses_duplicates"])
        text = CONFIGURATION.format(root=self.root, filter=accept_only(paths), names=accept_only(paths + self.links_to(paths)),
                                    read_only=read_only, duplicates=duplicates)
        with open(os.path.join(self.directory, "lvm.conf"), "w") as f:
            f.write(text)
        return read_only

    def links_to(self, paths):
        """Other names of devices, which LVM 2.02.84 wants to be accepted one by one; it does not know global_filter either."""
        found = []
        for directory, _, names in os.walk(self.root + "/dev"):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.islink(path) and os.path.realpath(path) in paths:
                    found.append(path)
        return found

    def writes(self):
        """Whether the command changes metadata."""
        if self.command in ("lvchange", "vgchange"):
            return bool([arg for arg in self.args if arg.startswith("-") and not HARMLESS.match(arg)])
        return self.command not in REPORTS

    def visible_devices(self):
        """Paths that LVM may look at: disks without a map, maps, and of them only LVM_DEVICE's where that is set."""
        with State(self.root, readonly=True) as state:
            devices = Devices(state)
            mapped = set()
            paths = []
            for name, mapping in sorted(state["dm"].items()):
                if mapping["kind"] == "mpath":
                    mapped.update(mapping["slaves"])
                    paths.append("dm-%d" % mapping["minor"])
            paths += [name for name in sorted(state["disks"]) if name not in mapped]
            only = os.environ.get("LVM_DEVICE")
            if only:
                directory = only if only.startswith(self.root) else self.root + only
                try:
                    inside = [devices.disk_of_path(os.path.join(directory, entry)) for entry in os.listdir(directory)]
                except OSError:
                    inside = []
                paths = [path for path in paths if path in inside]
        return ["%s/dev/%s" % (self.root, path) for path in paths]

    def call(self, command, args):
        """(exit status, stdout, stderr) of the machine's LVM command."""
        environment = dict(os.environ, LVM_SYSTEM_DIR=self.directory, LVM_SUPPRESS_FD_WARNINGS="1", LC_ALL="C")
        environment.pop("LVM_DEVICE", None)
        real = None
        for directory in os.environ.get("LVM_BIN_DIR", "/usr/sbin:/sbin").split(":"):
            if os.path.exists(os.path.join(directory, "lvm")):
                real = os.path.join(directory, "lvm")
                break
        if real is None:
            sys.stderr.write("  no LVM on this machine\n")
            return 127, "", ""
        process = subprocess.Popen([real, command, "--driverloaded", "n"] + args, env=environment,
                                   stdin=subprocess.PIPE if command == "lvresize" else None,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(sys.stdin.read().encode() if command == "lvresize" and not sys.stdin.isatty() else None)
        err = "".join(line for line in err.decode("utf-8", "replace").splitlines(True)
                      if "Activation disabled" not in line and "NOT backed up" not in line and "not zeroed" not in line
                      and "Skipping zeroing" not in line)
        return process.returncode, out.decode("utf-8", "replace"), err

    def layout(self):
        """LV uuid -> {'vg', 'name', 'uuid', 'vg_uuid', 'readonly', 'segments': [(start, length, path, offset)]}; sectors."""
        fields = "vg_name,lv_name,lv_uuid,vg_uuid,lv_attr,segtype,seg_start,seg_size,seg_pe_ranges,vg_extent_size"
        plain = ["--noheadings", "--units", "s", "--nosuffix", "--separator", "|"]
        if option(self.args, "--config"):
            plain += ["--config", option(self.args, "--config")]
        _, out, _ = self.call("lvs", plain + ["-o", fields])
        _, starts, _ = self.call("pvs", plain + ["-o", "pv_name,pe_start"])
        first = {}
        for row in starts.splitlines():
            path, start = row.strip().split("|")
            first[path] = int(start)
        found = {}
        for row in out.splitlines():
            vg, name, uuid, vg_uuid, attr, kind, start, length, ranges, extent = row.strip().split("|")
            lv = found.setdefault(uuid, {"vg": vg, "name": name, "uuid": uuid, "vg_uuid": vg_uuid,
                                         "readonly": attr[1] == "r", "segments": []})
            path, pes = ranges.split(" ")[0].rsplit(":", 1)
            if kind == "linear":
                offset = first[path] + int(pes.split("-")[0]) * int(extent)
                lv["segments"].append((int(start), int(length), path, offset))
        return found

    def chosen(self, layout):
        """The LVs that the command's positional arguments name."""
        names = [strip_dev(self.root, arg) for arg in self.args if not arg.startswith("-")]
        lvs = sorted(layout.values(), key=lambda lv: (lv["vg"], lv["name"]))
        return [lv for lv in lvs if lv["vg"] in names or "%s/%s" % (lv["vg"], lv["name"]) in names]

    # activation

    def activate(self, lv):
        """Map `lv`; as LVM, leave it alone when a device of its name and uuid is there already."""
        name = mapper_name(lv)
        uuid = "LVM-" + (lv["vg_uuid"] + lv["uuid"]).replace("-", "")
        with State(self.root) as state:
            devices = Devices(state)
            if name in state["dm"]:
                if state["dm"][name]["uuid"] != uuid:
                    sys.stderr.write("  device-mapper: create ioctl on %s %s failed: Device or resource busy\n" % (name, uuid))
                    return False
            else:
                table = []
                for start, length, path, offset in sorted(lv["segments"]):
                    disk = devices.disk_of_path(path)
                    table.append([start, length] + self.number(state, disk) + [offset])
                devices.add_mapping(name, uuid, "lv", table, lv["readonly"])
        make_link("../mapper/" + name, lv_path(self.root, lv))
        return True

    def deactivate(self, lv):
        """Unmap `lv`; False when it is open."""
        name = mapper_name(lv)
        with State(self.root) as state:
            if name in state["dm"] and not Devices(state).remove_mapping(name):
                return False
        path = lv_path(self.root, lv)
        remove_file(path)
        try:
            os.rmdir(os.path.dirname(path))
        except OSError:
            pass
        return True

    def reload(self, lv):
        """Renew the mapping of `lv` if it is active."""
        with State(self.root, readonly=True) as state:
            active = mapper_name(lv) in state["dm"]
        if active and self.deactivate(lv):
            self.activate(lv)

    def number(self, state, disk):
        """[major, minor] of the disk or map of kernel name `disk`."""
        if disk in state["disks"]:
            return state["disks"][disk]["dev"]
        for mapping in state["dm"].values():
            if "dm-%d" % mapping["minor"] == disk:
                return mapping["dev"]
        raise KeyError(disk)

    def with_activity(self, out):
        """`out` of lvs with the attributes 'active' and 'open' as the double has them (real LVM prints X)."""
        with State(self.root, readonly=True) as state:
            devices = Devices(state)
            active = dict((name, devices.is_open(name)) for name in state["dm"])
        lines = []
        for line in out.splitlines(True):
            words = line.replace("|", " ").replace(",", " ").split()
            activity = "--"
            for name in active:
                vg, lv = names_of_mapper(name)
                if lv in words and (vg in words or any(vg in arg for arg in self.args)):
                    activity = "ao" if active[name] else "a-"
            match = ATTRIBUTES.search(line)
            if match:
                line = line[:match.start(1) + 4] + activity + line[match.start(1) + 6:]
            lines.append(line)
        return "".join(lines)


def option(args, *names):
    """The value of the first of the options `names` in `args`; None if absent."""
    for index, arg in enumerate(args):
        if arg in names:
            return args[index + 1]
        for name in names:
            if name.startswith("--") and arg.startswith(name + "="):
                return arg[len(name) + 1:]
    return None





def lv_path(root, lv):
    """/dev/VG/LV below `root`."""
    return "%s/dev/%s/%s" % (root, lv["vg"], lv["name"])


def zero(path):
    """Zero the first 4 KiB, as lvcreate does with a new LV."""
    with open(path, "r+b") as f:
        f.write(b"\0" * 4096)
