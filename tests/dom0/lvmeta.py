# SPDX-License-Identifier: LGPL-2.1-only
"""LVM metadata of the double's disks, read straight from the images. For the stand-in LVM commands.

On-disk format as in lvhd.lvmdisk; the text is parsed by lvhd.vgtext.
"""

import struct
import zlib

from lvhd import vgtext

SECTOR = 512
LABEL_SECTORS = 4
AREA_MAGIC = b" LVM2 x[5A%r0N*>"
CRC_START = 0xf597a6cf


class NoMetadata(Exception):
    """There is no PV, or its metadata cannot be read; the text says what is wrong."""


class PhysicalVolume(object):
    """A PV as found: `device` is the caller's name for it, `vg` the `VolumeGroup` its text describes (or None)."""

    def __init__(self, device, uuid, size, pe_start, area_size):
        self.device = device
        self.uuid = uuid
        self.size = size
        self.pe_start = pe_start
        self.area_size = area_size
        self.vg = None
        self.error = None


class VolumeGroup(object):
    """One VG, from its text. Sizes in bytes; segments as (first extent, extents, [(pv name, first PE)])."""

    def __init__(self, name, section, text_size):
        self.name = name
        self.text_size = text_size
        self.uuid = section["id"]
        self.seqno = section["seqno"]
        self.status = section["status"]
        self.tags = section.get("tags", [])
        self.extent_size = section["extent_size"] * SECTOR
        self.pvs = section.get("physical_volumes", {})
        self.volumes = []
        for lv_name, lv in section.get("logical_volumes", {}).items():
            self.volumes.append(LogicalVolume(self, lv_name, lv))

    @property
    def exported(self):
        return "EXPORTED" in self.status

    @property
    def writable(self):
        return "WRITE" in self.status

    @property
    def extents(self):
        return sum(pv["pe_count"] for pv in self.pvs.values())

    @property
    def free_extents(self):
        return self.extents - sum(lv.extents for lv in self.volumes)


class LogicalVolume(object):
    """One LV of a VG."""

    def __init__(self, vg, name, section):
        self.vg = vg
        self.name = name
        self.uuid = section["id"]
        self.status = section["status"]
        self.tags = section.get("tags", [])
        self.segments = []
        for number in range(1, section["segment_count"] + 1):
            segment = section["segment%d" % number]
            stripes = segment["stripes"]
            places = [(stripes[i], stripes[i + 1]) for i in range(0, len(stripes), 2)]
            self.segments.append((segment["start_extent"], segment["extent_count"], places))

    @property
    def extents(self):
        return sum(segment[1] for segment in self.segments)

    @property
    def size(self):
        return self.extents * self.vg.extent_size

    @property
    def readonly(self):
        return "WRITE" not in self.status


def crc(data):
    """LVM's CRC: CRC-32 from 0xf597a6cf without the final inversion."""
    return zlib.crc32(data, CRC_START ^ 0xffffffff) & 0xffffffff ^ 0xffffffff


def dashed(uuid):
    """A UUID of 32 characters as LVM prints it: 6-4-4-4-4-4-6."""
    cuts = [0, 6, 10, 14, 18, 22, 26, 32]
    return "-".join(uuid[a:b] for a, b in zip(cuts, cuts[1:]))


def read_pv(path, device):
    """The PV on the image `path`, called `device` in the result. Raises NoMetadata when there is no label."""
    with open(path, "rb") as f:
        head = f.read(LABEL_SECTORS * SECTOR)
        for number in range(LABEL_SECTORS):
            sector = head[number * SECTOR:(number + 1) * SECTOR]
            if sector[:8] == b"LABELONE" and sector[24:32] == b"LVM2 001":
                break
        else:
            raise NoMetadata("No PV label found on %s" % device)
        if struct.unpack("<I", sector[16:20])[0] != crc(sector[20:]):
            raise NoMetadata("%s: Label checksum incorrect" % device)
        at = struct.unpack("<I", sector[20:24])[0]
        uuid = dashed(sector[at:at + 32].decode("ascii"))
        size = struct.unpack("<Q", sector[at + 32:at + 40])[0]
        data, areas = read_lists(sector, at + 40)
        pv = PhysicalVolume(device, uuid, size, data[0][0] if data else 0, areas[0][1] if areas else 0)
        try:
            for offset, _ in areas[:1]:
                pv.vg = read_area(f, offset)
        except NoMetadata as e:
            pv.error = "%s: %s" % (device, e)
    return pv


def read_lists(sector, at):
    """The data areas and the metadata areas of a PV header from byte `at` of its sector on."""
    lists = []
    for _ in range(2):
        found = []
        while True:
            offset, size = struct.unpack("<QQ", sector[at:at + 16])
            at += 16
            if not offset:
                break
            found.append((offset, size))
        lists.append(found)
    return lists


def read_area(f, start):
    """The VG in the metadata area at byte `start` of the open file `f`; None when there is none."""
    f.seek(start)
    header = f.read(SECTOR)
    if header[4:20] != AREA_MAGIC:
        raise NoMetadata("wrong magic number in metadata area header")
    if struct.unpack("<I", header[:4])[0] != crc(header[4:]):
        raise NoMetadata("Incorrect checksum in metadata area header")
    size = struct.unpack("<Q", header[32:40])[0]
    offset, length, text_crc = struct.unpack("<QQI", header[40:60])
    if not offset:
        return None
    first = min(length, size - offset)
    f.seek(start + offset)
    text = f.read(first)
    if first < length:
        f.seek(start + SECTOR)
        text += f.read(length - first)
    if crc(text) != text_crc:
        raise NoMetadata("Checksum error in metadata text")
    try:
        tree = vgtext.parse(text.rstrip(b"\0").decode("utf-8"))
    except (vgtext.BadText, UnicodeDecodeError) as e:
        raise NoMetadata("Couldn't read volume group metadata: %s" % e)
    for name, section in tree.items():
        if isinstance(section, dict) and "extent_size" in section:
            return VolumeGroup(name, section, length)
    raise NoMetadata("no volume group in the metadata text")
