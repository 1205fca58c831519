# SPDX-License-Identifier: LGPL-2.1-only
"""A storage array: LUNs on files behind iSCSI targets, served by the kernel's own target (LIO) through configfs.

Of the two targets that distributions ship, this one answers discovery with every portal of a target, as arrays do, and lets
a LUN have any serial number; so one LUN may be shown by two controllers, and sm's multipath code finds its portals.

The SCSI id of a LUN (what ``scsi_id -g -u`` prints and what follows ``scsi-`` in /dev/disk/by-id) is type 3, then an NAA 6
name of the vendor 001405 and the first 25 hexadecimal digits of the serial number (linux, drivers/target/target_core_spc.c).

The files live on the tmpfs /srv by default: sparse, and gone with the guest. A LUN that must survive a power cut is put on
a disk of the job, /dev/disk/by-id/virtio-NAME. Either is written through the page cache, as by an array with a volatile
cache, and flushed when the initiator sends SYNCHRONIZE CACHE.
"""

import os
import pathlib

from inside.command import run

CONFIG = pathlib.Path("/sys/kernel/config")
FILES = CONFIG / "target/core/fileio_0"
BLOCKS = CONFIG / "target/core/iblock_0"
FABRIC = CONFIG / "target/iscsi"
DEFAULT_PORTAL = "127.0.0.1:3260"


def write(path, text):
    """One write of one value: configfs takes each write as a whole, and tells what it thinks of it in the write's errno."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(text).encode())
    finally:
        os.close(descriptor)


class Volume:
    """What the array keeps: a file or block device with a serial number, shown to hosts by any number of targets.

    Fields: name (unique), path, serial (32 hexadecimal digits), scsi_id.
    """

    def __init__(self, name, path, size=None, serial=None, block=False):
        """`size` in bytes makes the file, sparse. The serial number follows from the name unless given. block: `path` is a block device,
        which gets every write and flush as it comes."""
        self.name = name
        self.path = str(path)
        self.serial = serial or name.encode().hex().ljust(32, "0")[:32]
        if size is not None:
            with open(self.path, "wb") as backing:
                backing.truncate(size)
        with open(self.path, "rb") as backing:
            length = backing.seek(0, os.SEEK_END)
        self.place = (BLOCKS if block else FILES) / name
        self.place.mkdir(parents=True)
        control = f"udev_path={self.path}" if block else f"fd_dev_name={self.path},fd_dev_size={length},fd_buffered_io=1"
        write(self.place / "control", control)
        write(self.place / "wwn/vpd_unit_serial", self.serial)
        write(self.place / "enable", 1)
        if block:
            return
        # A volatile write cache that the initiator has to flush.
        write(self.place / "attrib/emulate_write_cache", 1)

    @property
    def scsi_id(self):
        return "36001405" + self.serial[:25]

    def clone(self, name, path):
        """A new Volume with the same bytes. This one must be quiet: no initiator's write under way."""
        run("cp", "--sparse=always", self.path, path)
        return Volume(name, path)

    def remove(self):
        """Takes the volume from the array; no target may show it any more. The file stays."""
        self.place.rmdir()


class Target:
    """One target (IQN), open to every initiator at every portal; with chap() only to those who know the secret."""

    def __init__(self, iqn, portals=(DEFAULT_PORTAL,)):
        self.iqn = iqn
        self.place = FABRIC / iqn
        self.group = self.place / "tpgt_1"
        self.group.mkdir(parents=True)
        for name, value in (
            ("generate_node_acls", 1),
            ("demo_mode_write_protect", 0),
            ("cache_dynamic_acls", 1),
            ("authentication", 0),
        ):
            write(self.group / "attrib" / name, value)
        for portal in portals:
            self.add_portal(portal)
        write(self.group / "enable", 1)

    def add_portal(self, portal):
        """`portal` is "address:port"."""
        (self.group / "np" / portal).mkdir()

    def remove_portal(self, portal):
        """Ends the connections there; what an initiator sees is a path that fails."""
        (self.group / "np" / portal).rmdir()

    def show(self, volume, number=0):
        """Makes the volume LUN `number` of this target. Initiators see it at their next login or rescan."""
        lun = self.group / "lun" / f"lun_{number}"
        lun.mkdir()
        os.symlink(volume.place, lun / volume.name)

    def hide(self, number=0):
        """Takes a LUN away; initiators keep their device and get errors."""
        lun = self.group / "lun" / f"lun_{number}"
        for link in lun.iterdir():
            if link.is_symlink():
                link.unlink()
        lun.rmdir()

    def chap(self, user, secret, outgoing=None):
        """Demands CHAP of initiators; `outgoing` = (user, secret) with which the target proves itself in turn."""
        write(self.group / "auth/userid", user)
        write(self.group / "auth/password", secret)
        if outgoing:
            write(self.group / "auth/userid_mutual", outgoing[0])
            write(self.group / "auth/password_mutual", outgoing[1])
        write(self.group / "attrib/authentication", 1)

    def remove(self):
        """Ends all sessions and takes the target from the array."""
        write(self.group / "enable", 0)
        for lun in (self.group / "lun").iterdir():
            self.hide(int(lun.name[len("lun_") :]))
        for portal in (self.group / "np").iterdir():
            portal.rmdir()
        self.group.rmdir()
        self.place.rmdir()


def demand_discovery_chap(user, secret):
    """Demands CHAP of whoever asks any portal for its targets."""
    write(FABRIC / "discovery_auth/userid", user)
    write(FABRIC / "discovery_auth/password", secret)
    write(FABRIC / "discovery_auth/enforce_discovery_auth", 1)


def allow_discovery():
    """Ends demand_discovery_chap."""
    write(FABRIC / "discovery_auth/enforce_discovery_auth", 0)


def start():
    """Loads the kernel's target. What is made afterwards lasts until it is removed or the guest ends."""
    os.makedirs("/etc/target", exist_ok=True)  # the module looks for it
    run("modprobe", "-a", "target_core_mod", "target_core_file", "target_core_iblock", "iscsi_target_mod")
    if not (CONFIG / "target").is_dir():
        run("mount", "-t", "configfs", "configfs", CONFIG)
    FABRIC.mkdir(exist_ok=True)
