# SPDX-License-Identifier: LGPL-2.1-only
"""What a VM does with its disk: writes to (dom0.vdisks) and reads from the VHD in an activated LV, writes to a QCOW2 image."""

import tempfile

from dom0.vdisks import SECTOR, LogicalVolume, write
from inside import devices
from inside.command import run
from lvhd import reader

__all__ = ["lun_of_lv", "mount_room", "read", "write", "write_qcow2"]


def mount_room(place, mebibytes=700):
    """A file system at `place` with the room that a selftest asks for, which the guest's root has not. No tmpfs: 6.5's vhd-util opens its
    files with O_DIRECT."""
    image = "/srv/room"
    run("truncate", "-s", f"{mebibytes}M", image)
    run("mke2fs", "-q", "-t", "ext4", "-m", "0", image)
    run("mount", "-o", "loop", image, place)


def write_qcow2(path, data, sector):
    """As write() for a QCOW2 image, by qemu-io; the images behind it must be active as well."""
    with tempfile.NamedTemporaryFile() as source:
        source.write(data)
        source.flush()
        run("qemu-io", "-f", "qcow2", "-c", f"write -s {source.name} {sector * SECTOR} {len(data)}", path)


def read(vg, name, sector, count):
    """Sectors of a disk as a VM reads them: the top VHD is LV `name` of `vg`; its whole chain must be active."""
    sectors = {}
    layers = []
    while name:
        volume = LogicalVolume(f"/dev/{vg}/{name}")
        layers.append(volume)
        vhd = reader.Vhd(volume)
        sectors = {**vhd.sectors(), **sectors}
        name = vhd.parent_volume()
    for volume in layers:
        volume.close()
    return b"".join(sectors.get(number, bytes(SECTOR)) for number in range(sector, sector + count))


def lun_of_lv(vg, name):
    """SCSI ids that an active LV's table leads to."""
    return devices.lv_luns(vg)[devices.dm_name(vg, name)]
