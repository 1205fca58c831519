# SPDX-License-Identifier: LGPL-2.1-only
"""Disks of a double: what kernel and udev show of an iSCSI session, of an HBA and of a device-mapper device.

A disk has the names that XenServer's udev rules give it (sm-api, iSCSI object):
``/dev/sdX``, ``/dev/disk/by-id/scsi-<SCSI id>``, ``/dev/disk/by-scsid/<SCSI id>/sdX``,
``/dev/disk/by-scsibus/<SCSI id>-H:0:0:L`` and ``/dev/iscsi/<IQN>/<ip:port>/LUN<L>``, and the sysfs files
that sm and LVM read. In 'loop' mode /dev/sdX is a block device node of the number of a loop device
over the image; in 'file' mode it is a link to the image.
"""

import errno
import glob
import os
import stat
import time

from dom0.bin.tapctl import volumes_in_use
from dom0.state import make_directory, make_link, remove_file, write_file

SECTOR = 512
DM_MAJOR = 253
LOOP_ATTEMPTS = 40


def remove_tree(path):
    """Remove the directory `path` and all in it, if it is there."""
    for directory, directories, files in os.walk(path, topdown=False):
        for name in files + [name for name in directories if os.path.islink(os.path.join(directory, name))]:
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)


def losetup(image, offset=0, size=0, readonly=False):
    """Take a loop device over `size` bytes of `image` from `offset` (0: all); its path, /dev/loopN."""
    import subprocess       # slow to import, and most commands do without

    command = ["losetup", "--find", "--show"]
    if offset:
        command += ["--offset", str(offset)]
    if size:
        command += ["--sizelimit", str(size)]
    if readonly:
        command.append("--read-only")
    environment = dict(os.environ, LC_ALL="C")
    for attempt in range(LOOP_ATTEMPTS):
        try:
            return subprocess.check_output(command + [image], env=environment).decode().strip()
        except subprocess.CalledProcessError:
            # all taken, or another process took the one that was found
            if attempt == LOOP_ATTEMPTS - 1:
                raise
            time.sleep(0.25)


def release_loop(loop):
    """Give back the loop device `loop`; a device that is still open goes when it is closed."""
    import subprocess

    subprocess.call(["losetup", "--detach", loop])


def make_node(path, loop):
    """Make the block device node `path` for the loop device `loop`; its [major, minor]."""
    number = os.stat(loop).st_rdev
    make_directory(os.path.dirname(path))
    remove_file(path)
    os.mknod(path, stat.S_IFBLK | 0o660, number)
    return [os.major(number), os.minor(number)]


def disk_letter(index):
    """sda, sdb, ... for 0, 1, ..."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return "sd" + letters


class Devices(object):
    """Makes disks and device-mapper devices appear and disappear in a locked state."""

    def __init__(self, state):
        self.state = state
        self.loop_mode = state["mode"] == "loop"

    # sessions

    def add_session(self, session):
        """Show `session` in sysfs and bring up all its LUNs."""
        host = session["host"]
        ip, port = session["portal"].rsplit(":", 1)
        base = self._host_directory(host)
        number = "session%d" % session["sid"]
        names = os.path.join(base, number, "iscsi_session", number)
        write_file(os.path.join(names, "targetname"), session["iqn"] + "\n")
        write_file(os.path.join(names, "state"), "LOGGED_IN\n")
        connection = "connection%d:0" % session["sid"]
        address = os.path.join(base, number, connection, "iscsi_connection", connection)
        for key, value in (("persistent_address", ip), ("persistent_port", port), ("address", ip), ("port", port)):
            write_file(os.path.join(address, key), value + "\n")
        scsi_host = self.state.path("/sys/class/scsi_host/host%d" % host)
        write_file(os.path.join(scsi_host, "proc_name"), "iscsi_tcp\n")
        write_file(os.path.join(scsi_host, "scan"), "")
        make_link(base, self.state.path("/sys/class/iscsi_host/host%d/device" % host))
        make_link(names, self.state.path("/sys/class/iscsi_session/" + number))
        self.rescan(session)

    def remove_session(self, session):
        """Take down the disks of `session` and its traces in sysfs."""
        for name in self.disks_of(session):
            self.remove_disk(name)
        host = session["host"]
        remove_tree(self._host_directory(host))
        remove_tree(self.state.path("/sys/class/scsi_host/host%d" % host))
        remove_tree(self.state.path("/sys/class/iscsi_host/host%d" % host))
        remove_file(self.state.path("/sys/class/iscsi_session/session%d" % session["sid"]))

    def rescan(self, session):
        """Bring up the LUNs of `session` that are not there yet."""
        self.list_in_udev(self.bring_up(session))

    def bring_up(self, session):
        """Let the kernel know the LUNs of `session` that are not there yet; the names of their disks. udev lists them later."""
        present = [self.state["disks"][name]["lun"] for name in self.disks_of(session)]
        return [self.add_disk(session, lun) for lun in sorted(self.state["targets"][session["iqn"]]["luns"], key=int)
                if lun not in present]

    def list_in_udev(self, names):
        """Make the links of the disks `names` below /dev/disk; while udev is busy (`udev_waits`), they are only noted, or all but the last
        is made (`udev_halts`)."""
        busy = self.state["udev_waits"] is not None
        if busy:
            self.state["udev_waits"].extend(names)
        for name in names:
            disk = self.state["disks"][name]
            node = self.state.path("/dev/" + name)
            if busy and not self.state["udev_halts"]:
                continue
            for path in self._disk_links(name, disk):
                if not os.path.islink(path):
                    make_link(os.path.relpath(node, os.path.dirname(path)), path)
            if busy:
                continue
            by_id = self.state.path("/dev/disk/by-id/scsi-" + disk["scsi_id"])
            if not os.path.exists(by_id):
                make_link("../../" + name, by_id)

    def disks_of(self, session):
        """Names of the disks that `session` brought up."""
        disks = self.state["disks"]
        return sorted(name for name in disks if disks[name]["sid"] == session["sid"])

    # HBAs

    def add_hba(self, hba):
        """Show an HBA in sysfs. Its LUNs come up when somebody scans."""
        scsi_host = self.state.path("/sys/class/scsi_host/host%d" % hba["host"])
        make_directory(self._host_directory(hba["host"]))
        write_file(os.path.join(scsi_host, "proc_name"), hba["driver"] + "\n")
        write_file(os.path.join(scsi_host, "scan"), "")
        make_link(self._host_directory(hba["host"]), os.path.join(scsi_host, "device"))

    # disks

    def add_disk(self, session, lun):
        """Let the kernel know LUN number `lun` (text) of `session`; the disk's name."""
        described = self.state["targets"][session["iqn"]]["luns"][lun]
        index = 0
        while disk_letter(index) in self.state["disks"]:
            index += 1
        name = disk_letter(index)
        size = os.path.getsize(described["image"])
        disk = {"iqn": session["iqn"], "portal": session["portal"], "lun": lun, "sid": session["sid"],
                "host": session["host"], "scsi_id": described["scsi_id"], "image": described["image"], "size": size,
                "loop": None, "dev": [8, 16 * index], "vendor": described.get("vendor", "DOUBLE"),
                "serial": described.get("serial", described["scsi_id"][1:]), "wwid": described.get("wwid", described["scsi_id"])}
        node = self.state.path("/dev/" + name)
        if self.loop_mode:
            disk["loop"] = losetup(described["image"])
            disk["dev"] = make_node(node, disk["loop"])
        else:
            make_link(described["image"], node)
        self.state["disks"][name] = disk
        self._add_disk_sysfs(name, disk)
        return name

    def remove_disk(self, name):
        """Take down the disk `name`. What is mapped on it stays, as in a kernel, but its links go."""
        disk = self.state["disks"].pop(name)
        for path in self._disk_links(name, disk):
            remove_file(path)
            remove_empty_directories(os.path.dirname(path), self.state.path("/dev"))
        by_id = self.state.path("/dev/disk/by-id/scsi-" + disk["scsi_id"])
        if os.path.islink(by_id) and os.path.basename(os.readlink(by_id)) == name:
            remove_file(by_id)
            for other in sorted(self.state["disks"]):
                if self.state["disks"][other]["scsi_id"] == disk["scsi_id"]:
                    make_link("../../" + other, by_id)
                    break
        remove_file(self.state.path("/dev/" + name))
        self._remove_disk_sysfs(name, disk)
        if disk["loop"]:
            release_loop(disk["loop"])

    def disk_of_path(self, path):
        """The name of the disk or device-mapper device behind `path` (below the root or not); None if none."""
        root = self.state.root
        if root and not path.startswith(root):
            path = root + path
        path = os.path.normpath(path)
        for _ in range(20):
            directory, base = os.path.split(path)
            if directory == root + "/dev" and (base in self.state["disks"] or base.startswith("dm-")):
                return base
            if not os.path.islink(path):
                return None
            path = os.path.normpath(os.path.join(directory, os.readlink(path)))
        return None

    def _disk_links(self, name, disk):
        dev = self.state.path("/dev")
        scsi_id = disk["scsi_id"]
        links = ["%s/disk/by-scsid/%s/%s" % (dev, scsi_id, name),
                 "%s/disk/by-scsibus/%s-%d:0:0:%s" % (dev, scsi_id, disk["host"], disk["lun"])]
        if disk["portal"]:
            links.append("%s/iscsi/%s/%s/LUN%s" % (dev, disk["iqn"], disk["portal"], disk["lun"]))
        return links

    def _host_directory(self, host):
        return self.state.path("/sys/devices/platform/host%d" % host)

    def _device_directory(self, disk, hctl):
        between = "session%s" % disk["sid"]
        if not disk["portal"]:
            between = "rport-%d:0-0" % disk["host"]
        return os.path.join(self._host_directory(disk["host"]), between, "target%d:0:0" % disk["host"], hctl)

    def _add_disk_sysfs(self, name, disk):
        hctl = "%d:0:0:%s" % (disk["host"], disk["lun"])
        device = self._device_directory(disk, hctl)
        block = os.path.join(device, "block", name)
        for key, value in (("vendor", disk["vendor"]), ("model", "LUN"), ("type", "0"), ("state", "running"),
                           ("wwid", "naa." + disk["wwid"][1:]), ("delete", ""), ("rescan", "")):
            write_file(os.path.join(device, key), value and value + "\n")
        self._add_block_sysfs(block, name, disk["dev"], disk["size"])
        make_link(device, os.path.join(block, "device"))
        make_link(device, self.state.path("/sys/class/scsi_disk/%s/device" % hctl))
        make_link(device, self.state.path("/sys/class/scsi_device/%s/device" % hctl))

    def _add_block_sysfs(self, block, name, number, size):
        write_file(os.path.join(block, "dev"), "%d:%d\n" % tuple(number))
        write_file(os.path.join(block, "size"), "%d\n" % (size // SECTOR))
        write_file(os.path.join(block, "ro"), "0\n")
        write_file(os.path.join(block, "uevent"), "")
        write_file(os.path.join(block, "queue", "scheduler"), "[noop] deadline cfq\n")
        write_file(os.path.join(block, "queue", "logical_block_size"), "512\n")
        make_directory(os.path.join(block, "holders"))
        make_directory(os.path.join(block, "slaves"))
        make_link(block, self.state.path("/sys/block/" + name))
        make_link(block, self.state.path("/sys/class/block/" + name))
        make_link(block, self.state.path("/sys/dev/block/%d:%d" % tuple(number)))

    def _remove_disk_sysfs(self, name, disk):
        hctl = "%d:0:0:%s" % (disk["host"], disk["lun"])
        device = self._device_directory(disk, hctl)
        remove_tree(device)
        remove_tree(self.state.path("/sys/class/scsi_disk/" + hctl))
        remove_tree(self.state.path("/sys/class/scsi_device/" + hctl))
        self._remove_block_links(name, disk["dev"])

    def _remove_block_links(self, name, number):
        remove_file(self.state.path("/sys/block/" + name))
        remove_file(self.state.path("/sys/class/block/" + name))
        remove_file(self.state.path("/sys/dev/block/%d:%d" % tuple(number)))

    # device-mapper

    def add_mapping(self, name, uuid, kind, table, readonly=False):
        """Make the device-mapper device `name`.

        `table` is [[start, length, major, minor, offset]] in sectors. In loop mode the node is a loop
        device over the one range of the image that the table names (or over a copy, where the table has
        several ranges: no device-mapper, no way to join them). In file mode it always is a copy, written
        back by `remove_mapping`.
        """
        minor = 0
        used = [entry["minor"] for entry in self.state["dm"].values()]
        while minor in used:
            minor += 1
        slaves = [self.name_of_number(row[2], row[3]) for row in table]
        mapping = {"uuid": uuid, "minor": minor, "kind": kind, "table": table, "readonly": readonly, "loop": None,
                   "dev": [DM_MAJOR, minor], "slaves": sorted(set(slaves)), "copy": None, "suspended": False}
        ranges = [self._image_range(row) for row in table]
        size = sum(row[1] for row in table) * SECTOR
        node = self.state.path("/dev/dm-%d" % minor)
        source, offset = ranges[0][0], ranges[0][1]
        whole = kind == "mpath"
        if not whole and (len(ranges) > 1 or not self.loop_mode):
            mapping["copy"] = self.state.path("/var/lib/dom0/dm-%d.copy" % minor)
            copy_ranges(ranges, mapping["copy"])
            source, offset = mapping["copy"], 0
        if self.loop_mode:
            mapping["loop"] = losetup(source, offset, 0 if whole else size, readonly)
            mapping["dev"] = make_node(node, mapping["loop"])
        else:
            make_link(source, node)
            if mapping["copy"]:
                os.chmod(mapping["copy"], 0o444 if readonly else 0o644)
        self.state["dm"][name] = mapping
        make_link("../dm-%d" % minor, self.state.path("/dev/mapper/" + name))
        block = self.state.path("/sys/devices/virtual/block/dm-%d" % minor)
        self._add_block_sysfs(block, "dm-%d" % minor, mapping["dev"], size)
        write_file(os.path.join(block, "dm", "name"), name + "\n")
        write_file(os.path.join(block, "dm", "uuid"), uuid + "\n")
        write_file(os.path.join(block, "dm", "suspended"), "0\n")
        for slave in mapping["slaves"]:
            below = self.state.path("/sys/block/" + slave)
            make_link(below, os.path.join(block, "slaves", slave))
            make_link(block, os.path.join(below, "holders", "dm-%d" % minor))
        return mapping

    def remove_mapping(self, name):
        """Remove the device-mapper device `name`; False when something has it open."""
        mapping = self.state["dm"][name]
        if self.is_open(name):
            return False
        node = self.state.path("/dev/dm-%d" % mapping["minor"])
        if mapping["copy"]:
            if not mapping["readonly"]:
                write_back([self._image_range(row) for row in mapping["table"]], mapping["copy"])
            remove_file(mapping["copy"])
        remove_file(self.state.path("/dev/mapper/" + name))
        remove_file(node)
        for slave in mapping["slaves"]:
            remove_file(self.state.path("/sys/block/%s/holders/dm-%d" % (slave, mapping["minor"])))
        self._remove_block_links("dm-%d" % mapping["minor"], mapping["dev"])
        remove_tree(self.state.path("/sys/devices/virtual/block/dm-%d" % mapping["minor"]))
        if mapping["loop"]:
            release_loop(mapping["loop"])
        del self.state["dm"][name]
        return True

    def is_open(self, name):
        """Whether a process has the device-mapper device `name` open, or another one is stacked on it."""
        mapping = self.state["dm"][name]
        for other in self.state["dm"].values():
            if "dm-%d" % mapping["minor"] in other["slaves"]:
                return True
        if self.state.path("/dev/dm-%d" % mapping["minor"]) in volumes_in_use(self.state):
            return True
        wanted = {self.state.path("/dev/dm-%d" % mapping["minor"]), mapping["copy"] or ""}
        number = tuple(mapping["dev"]) if mapping["loop"] else None
        return has_open_files(wanted, number)

    def name_of_number(self, major, minor):
        """The kernel name (sda, dm-0) of device `major`:`minor`."""
        for name, disk in self.state["disks"].items():
            if disk["dev"] == [major, minor]:
                return name
        for mapping in self.state["dm"].values():
            if mapping["dev"] == [major, minor]:
                return "dm-%d" % mapping["minor"]
        raise KeyError("no device %d:%d" % (major, minor))

    def _image_range(self, row):
        """(image, offset, length) in bytes behind one row of a table."""
        _, length, major, minor, offset = row
        name = self.name_of_number(major, minor)
        if name in self.state["disks"]:
            return self.state["disks"][name]["image"], offset * SECTOR, length * SECTOR
        for mapping in self.state["dm"].values():
            if "dm-%d" % mapping["minor"] == name:
                below = mapping["table"][0]
                return self._image_range([0, length, below[2], below[3], below[4] + offset])
        raise KeyError(name)

    # what was written to sysfs

    def settle(self):
        """Do what was asked for by writing to sysfs: delete a device, scan a host."""
        for name in sorted(self.state["disks"]):
            trigger = self.state.path("/sys/block/%s/device/delete" % name)
            if take_trigger(trigger):
                self.remove_disk(name)
        asked = [session for session in self.state["sessions"] + self.state["hbas"]
                 if take_trigger(self.state.path("/sys/class/scsi_host/host%d/scan" % session["host"]))]
        fresh = []
        for session in asked:
            fresh.extend(self.bring_up(session))
        self.list_in_udev(fresh)


def has_triggers(root):
    """Whether something was written to a sysfs file of the double at `root` that asks for an action."""
    for pattern in ("/sys/block/*/device/delete", "/sys/class/scsi_host/*/scan"):
        for path in glob.glob(root + pattern):
            if os.path.getsize(path):
                return True
    return False


def take_trigger(path):
    """Whether `path` has something in it; empties it."""
    try:
        if not os.path.getsize(path):
            return False
    except OSError:
        return False
    with open(path, "w"):
        pass
    return True


def has_open_files(paths, number):
    """Whether another process has one of `paths`, or a block device of [major, minor] `number`, open."""
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(fd) in paths:
                return True
            if number is not None:
                status = os.stat(fd)
                if stat.S_ISBLK(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == number:
                    return True
        except OSError:
            continue
    return False


def copy_ranges(ranges, path):
    """Write the (image, offset, length) `ranges` one after the other into the file `path`, sparsely."""
    with open(path, "wb") as out:
        for image, offset, length in ranges:
            with open(image, "rb") as source:
                source.seek(offset)
                while length:
                    chunk = source.read(min(length, 1 << 20))
                    if not chunk:
                        raise IOError(errno.EIO, "short image", image)
                    if chunk.count(b"\0") == len(chunk):
                        out.seek(len(chunk), os.SEEK_CUR)
                    else:
                        out.write(chunk)
                    length -= len(chunk)
        out.truncate(out.tell())


def write_back(ranges, path):
    """Write the file `path` back to the ranges it was copied from, changed parts only."""
    with open(path, "rb") as source:
        for image, offset, length in ranges:
            with open(image, "r+b") as out:
                done = 0
                while done < length:
                    chunk = source.read(min(length - done, 1 << 16))
                    if not chunk:
                        raise IOError(errno.EIO, "the copy has become shorter", path)
                    out.seek(offset + done)
                    if out.read(len(chunk)) != chunk:
                        out.seek(offset + done)
                        out.write(chunk)
                    done += len(chunk)


def remove_empty_directories(path, stop):
    """Remove `path` and its parents below `stop`, as far as they are empty."""
    while path != stop and path.startswith(stop):
        try:
            os.rmdir(path)
        except OSError:
            return
        path = os.path.dirname(path)
