# SPDX-License-Identifier: LGPL-2.1-only
"""Reads the image of a LUN: label, VG, volumes, MGT, chains of VHDs and QCOW2 images, and what a guest would read.

Works from the format descriptions in the docstrings of `lvmdisk`, `mgt`, `vhd` and `qcow2`, but shares no code with those encoders.
An image is a path or a seekable binary file object.  What is damaged raises `BadImage`.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import binascii
import collections
import hashlib
import io
import re
import struct
import uuid as uuids
import xml.dom.minidom
import xml.parsers.expat

from lvhd import vgtext

SECTOR = 512
BLOCK_SECTORS = 4096
BLOCK = BLOCK_SECTORS * SECTOR
VHD_EPOCH = 946684800
LABEL_SECTORS = 4
UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


# Of the names of VDIs' volumes
PREFIXES = ("VHD-", "QCOW2-", "LV-")


class BadImage(ValueError):
    """The image does not hold what was looked for, or holds it damaged."""


Label = collections.namedtuple("Label", "sector pv_id device_size data_areas metadata_areas extension bytes")
# extension: None or (version, flags); areas: lists of (offset, size).
Area = collections.namedtuple("Area", "offset size locations bytes")
# locations: list of (offset in the area, size, CRC, flags).
Structure = collections.namedtuple("Structure", "name pieces data")
# pieces: list of (offset on the LUN, length); data: their bytes, joined.
Record = collections.namedtuple("Record", "offset label description fields bytes")
Locator = collections.namedtuple("Locator", "code space length offset data")
Seen = collections.namedtuple("Seen", "pv_id vg_name vg_id seqno exported")


def lvm_crc(data):
    """LVM's CRC of `data`: bitwise-reflected polynomial 0xedb88320 from 0xf597a6cf, not inverted at the end."""
    return (binascii.crc32(data, 0x0a685930) & 0xffffffff) ^ 0xffffffff


def vhd_checksum(data, at):
    """Complement of the sum of all bytes but the four of the checksum itself at offset `at`."""
    total = sum(bytearray(data)) - sum(bytearray(data[at:at + 4]))
    return ~total & 0xffffffff


def dashed(lvm_id):
    """A PV's id as the text has it, from the 32 characters of the label."""
    parts, start = [], 0
    for length in (6, 4, 4, 4, 4, 4, 6):
        parts.append(lvm_id[start:start + length])
        start += length
    return "-".join(parts)


class Device(object):
    """Positioned reads from a path or an open binary file; short at the end of the device."""

    def __init__(self, image):
        self._own = not hasattr(image, "read")
        self._stream = io.open(image, "rb") if self._own else image

    def read(self, offset, length):
        self._stream.seek(offset)
        return bytes(self._stream.read(length))

    def size(self):
        self._stream.seek(0, 2)
        return self._stream.tell()

    def close(self):
        if self._own:
            self._stream.close()


def read_labels(device):
    """Every valid LVM2 label in the first four sectors."""
    labels = []
    for number in range(LABEL_SECTORS):
        sector = device.read(number * SECTOR, SECTOR)
        if len(sector) < SECTOR or sector[:8] != b"LABELONE":
            continue
        at, check, start, kind = struct.unpack_from(str("<QII8s"), sector, 8)
        if at != number or check != lvm_crc(sector[20:]) or kind != b"LVM2 001":
            continue
        size, = struct.unpack_from(str("<Q"), sector, start + 32)
        data_areas, position = _areas(sector, start + 40)
        metadata_areas, position = _areas(sector, position)
        version, flags = struct.unpack_from(str("<II"), sector, position)
        labels.append(Label(number, dashed(sector[start:start + 32].decode("ascii")), size, data_areas, metadata_areas,
                            (version, flags) if version else None, sector))
    return labels


def _areas(sector, position):
    areas = []
    while True:
        offset, size = struct.unpack_from(str("<QQ"), sector, position)
        position += 16
        if offset == 0:
            return areas, position
        areas.append((offset, size))


def read_area(device, offset):
    """The metadata area header at `offset`."""
    header = device.read(offset, SECTOR)
    if len(header) < SECTOR:
        raise BadImage("metadata area at %d: beyond the end of the device" % offset)
    check, magic, version, start, size = struct.unpack_from(str("<I16sIQQ"), header)
    if magic != b" LVM2 x[5A%r0N*>" or version != 1 or start != offset:
        raise BadImage("metadata area at %d: no header" % offset)
    if check != lvm_crc(header[4:]):
        raise BadImage("metadata area at %d: wrong checksum" % offset)
    locations, position = [], 40
    while position < SECTOR - 24:
        location = struct.unpack_from(str("<QQII"), header, position)
        if location[0] == 0:
            break
        locations.append(location)
        position += 24
    return Area(offset, size, locations, header)


def text_pieces(area, location):
    """(offset on the LUN, length) of a text, in order: two pieces when it wraps round the end of the ring."""
    start, size = location[:2]
    first = min(size, area.size - start)
    pieces = [(area.offset + start, first)]
    if first < size:
        pieces.append((area.offset + SECTOR, size - first))
    return pieces


def read_text(device, area, location):
    """The bytes of a metadata text, with its NUL."""
    text = b"".join(device.read(offset, length) for offset, length in text_pieces(area, location))
    if len(text) != location[1] or lvm_crc(text) != location[2]:
        raise BadImage("metadata text at %d: wrong checksum" % location[0])
    return text


def parse_vg(text):
    """(VG name, its section) of a metadata text."""
    tree = vgtext.parse(text.rstrip(b"\0").decode("utf-8"))
    for name, section in tree.items():
        if isinstance(section, dict):
            return name, section
    raise BadImage("no VG in the metadata text")


def observe(image):
    """Every VG that a host sees on the LUN, as `Seen`; a PV without a readable VG gives one with vg_name None."""
    device = Device(image)
    try:
        seen = []
        for label in read_labels(device):
            found = False
            for offset, _ in label.metadata_areas:
                try:
                    area = read_area(device, offset)
                    if not area.locations:
                        continue
                    name, vg = parse_vg(read_text(device, area, area.locations[0]))
                except (BadImage, vgtext.BadText):
                    continue
                ids = [pv["id"] for pv in vg["physical_volumes"].values()]
                if label.pv_id in ids:
                    seen.append(Seen(label.pv_id, name, vg["id"], vg["seqno"], "EXPORTED" in vg["status"]))
                    found = True
            if not found:
                seen.append(Seen(label.pv_id, None, None, None, False))
        return seen
    finally:
        device.close()


def vg_names(image):
    """Sorted names of the VGs that a host sees on the LUN."""
    return sorted(set(seen.vg_name for seen in observe(image) if seen.vg_name is not None))


class LogicalVolume(object):
    """A linear LV: name, id, status, tags, segments as (first extent, count), size in bytes."""

    def __init__(self, lun, name, section):
        self._lun = lun
        self.name = name
        self.section = section
        self.id = section["id"]
        self.status = section["status"]
        self.tags = section.get("tags", [])
        self.segments = []
        for number in range(1, section["segment_count"] + 1):
            segment = section["segment%d" % number]
            if segment["type"] != "striped" or segment["stripe_count"] != 1:
                raise BadImage("%s is not linear" % name)
            if segment["start_extent"] != sum(count for _, count in self.segments):
                raise BadImage("%s: segments out of order" % name)
            self.segments.append((segment["stripes"][1], segment["extent_count"]))
        self.extents = sum(count for _, count in self.segments)
        self.size = self.extents * lun.extent_size

    def pieces(self, offset, length):
        """(offset on the LUN, length) of a byte range of the volume."""
        pieces, start = [], 0
        if offset + length > self.size:
            raise BadImage("%s: %d bytes at %d are beyond its end" % (self.name, length, offset))
        for first, count in self.segments:
            end = start + count * self._lun.extent_size
            low, high = max(start, offset), min(end, offset + length)
            if low < high:
                pieces.append((self._lun.pe_start + first * self._lun.extent_size + low - start, high - low))
            start = end
        return pieces

    def read(self, offset, length):
        return b"".join(self._lun.device.read(at, count) for at, count in self.pieces(offset, length))

    def sectors(self):
        """Sector number to 512 bytes of every sector of the volume that is not zero."""
        sectors = {}
        step = 1024 * 1024
        zero, zeros = b"\0" * SECTOR, b"\0" * step
        for offset in range(0, self.size, step):
            data = self.read(offset, min(step, self.size - offset))
            if data == zeros[:len(data)]:
                continue
            for start in range(0, len(data), SECTOR):
                if data[start:start + SECTOR] != zero:
                    sectors[(offset + start) // SECTOR] = data[start:start + SECTOR]
        return sectors


class Mgt(object):
    """The SR metadata volume.

    length: used bytes; version: (major, minor); uuid, allocation, name_label, name_description of the SR; records: every slot,
    deleted ones too, as `Record` whose label and description are unescaped text and fields the other tags.
    """

    def __init__(self, volume):
        header = volume.read(0, SECTOR).rstrip(b" ").split(b":")
        if len(header) != 4 or header[0] != b"XSSM":
            raise BadImage("MGT has no header")
        self.length = int(header[1])
        self.version = (int(header[2]), int(header[3]))
        if self.length < 4 * SECTOR or self.length % SECTOR or self.length > volume.size:
            raise BadImage("MGT claims %d bytes" % self.length)
        self.bytes = volume.read(0, self.length)
        about = _elements(self.bytes[SECTOR:4 * SECTOR], 0)
        self.uuid = about["uuid"]
        self.allocation = about["allocation"]
        self.name_label = about["name_label"]
        self.name_description = about["name_description"]
        # what sm of the XenServer 7.0 era adds, as it stands there
        self.more_fields = self.bytes[SECTOR:2 * SECTOR].rstrip(b" ").partition(b"</allocation>")[2].decode("ascii")
        self.records = []
        for offset in range(4 * SECTOR, self.length, 2 * SECTOR):
            data = self.bytes[offset:offset + 2 * SECTOR]
            fields = _elements(data, offset)
            self.records.append(Record(offset, fields.pop("name_label"), fields.pop("name_description"), fields, data))

    def live(self):
        """The records that are not deleted, by uuid."""
        records = collections.OrderedDict()
        for record in self.records:
            if record.fields["deleted"] != "1":
                if record.fields["uuid"] in records:
                    raise BadImage("MGT lists %s twice" % record.fields["uuid"])
                records[record.fields["uuid"]] = record
        return records


def _elements(data, offset):
    """Tag to text of a run of XML elements, in order; a <vdi> around them is taken off."""
    data = data.replace(b"\0", b"")
    if data.startswith(b"<?xml"):
        data = data[data.index(b"?>") + 2:]
    try:
        document = xml.dom.minidom.parseString(b"<all>" + data + b"</all>")
    except xml.parsers.expat.ExpatError as error:
        raise BadImage("MGT at %d: %s" % (offset, error))
    parent = document.documentElement
    inner = parent.getElementsByTagName("vdi")
    if inner:
        parent = inner[0]
    fields = collections.OrderedDict()
    for element in parent.childNodes:
        if element.nodeType == element.ELEMENT_NODE:
            fields[element.tagName] = "".join(node.data for node in element.childNodes)
    return fields


class Footer(object):
    """A VHD footer: uuid, size in bytes, hidden, kind (3 dynamic, 4 differencing), time in Unix seconds."""

    def __init__(self, data):
        (cookie, self.features, self.version, self.header_offset, time, self.creator, self.creator_version, self.creator_os,
         self.original_size, self.size, self.cylinders, self.heads, self.per_track, self.kind, check,
         identity, self.saved, hidden) = struct.unpack_from(str(">8sIIQI4sIIQQHBBII16sBB"), data)
        if cookie != b"conectix" or check != vhd_checksum(data, 64):
            raise BadImage("no VHD footer")
        self.time = time + VHD_EPOCH
        self.uuid = str(uuids.UUID(bytes=identity))
        self.hidden = bool(hidden)
        self.bytes = data


class Vhd(object):
    """The VHD in a volume: footer, backup (the copy at 0), header fields, locators, and its own layer's sectors.

    `footer` is the one at the end of the volume, or the backup when that one is damaged (damaged: True).
    """

    def __init__(self, volume):
        self.volume = volume
        self.backup_bytes = volume.read(0, SECTOR)
        self.backup = Footer(self.backup_bytes)
        self.damaged = False
        try:
            self.footer = Footer(volume.read(volume.size - SECTOR, SECTOR))
        except BadImage:
            self.footer, self.damaged = self.backup, True
        self.header_bytes = volume.read(SECTOR, 2 * SECTOR)
        (cookie, _, self.table_offset, self.version, self.entries, self.block_size, check, parent, time, _,
         name) = struct.unpack_from(str(">8sQQIIII16sII512s"), self.header_bytes)
        if cookie != b"cxsparse" or check != vhd_checksum(self.header_bytes, 36):
            raise BadImage("%s: no VHD header" % volume.name)
        if self.block_size != BLOCK:
            raise BadImage("%s: blocks of %d bytes" % (volume.name, self.block_size))
        self.parent_uuid = str(uuids.UUID(bytes=parent))
        self.parent_time = time + VHD_EPOCH
        self.parent_name = name.decode("utf-16-be").split("\0")[0]
        self.locators = []
        for index in range(8):
            code, space, length, _, offset = struct.unpack_from(str(">4sIIIQ"), self.header_bytes, 576 + 24 * index)
            if code != b"\0\0\0\0":
                self.locators.append(Locator(code.decode("ascii"), space, length, offset, volume.read(offset, length)))

    @property
    def size(self):
        return self.footer.size

    @property
    def hidden(self):
        return self.footer.hidden

    @property
    def differencing(self):
        return self.footer.kind == 4

    def parent_volume(self):
        """The LV name in the header's parent name, None for a disk without parent."""
        if not self.differencing:
            return None
        return volume_of_mapper_name(self.parent_name)

    def table(self):
        """The BAT entries of the disk's own blocks, as a list of sector numbers."""
        blocks = min(self.entries, -(-self.footer.size // BLOCK))
        return list(struct.unpack(str(">%dI" % blocks), self.volume.read(self.table_offset, 4 * blocks)))

    def table_bytes(self):
        """Size of the whole BAT on disk."""
        return -(-4 * self.entries // SECTOR) * SECTOR

    def batmap(self):
        """(offset of its header, the header's 512 bytes, the map's bytes)."""
        at = self.table_offset + self.table_bytes()
        header = self.volume.read(at, SECTOR)
        cookie, offset, sectors = struct.unpack_from(str(">8sQI"), header)
        if cookie != b"tdbatmap":
            raise BadImage("%s: no batmap" % self.volume.name)
        return at, header, self.volume.read(offset, sectors * SECTOR)

    def sectors(self):
        """Sector number to 512 bytes, of every sector that is present in this layer."""
        total = self.footer.size // SECTOR
        found = {}
        for block, start in enumerate(self.table()):
            if start == 0xffffffff:
                continue
            bitmap = bytearray(self.volume.read(start * SECTOR, SECTOR))
            for run, count in _runs(bitmap):
                data = self.volume.read((start + 1 + run) * SECTOR, count * SECTOR)
                for index in range(count):
                    sector = block * BLOCK_SECTORS + run + index
                    if sector < total:
                        found[sector] = data[index * SECTOR:(index + 1) * SECTOR]
        return found


class Qcow2(object):
    """The QCOW2 image in a volume: size, hidden, parent_path ("" without parent), parent_format, and its own layer's sectors.

    mark_at: offset of sm's byte for hidden nodes, None when there is none; name_at: of the parent's path; head: what ends with it.
    """

    def __init__(self, volume):
        self.volume = volume
        head = volume.read(0, 65536)
        (magic, version, self.name_at, length, bits, self.size, crypt, self.l1_entries, self.l1_at, _, _, snapshots, _,
         self.features) = struct.unpack_from(str(">4sIQIIQIIQQIIQQ"), head)
        if magic != b"QFI\xfb" or version != 3 or crypt or snapshots:
            raise BadImage("%s: no QCOW2 image" % volume.name)
        self.cluster = 1 << bits
        self.extended = bool(self.features & 16)
        extensions, position = {}, struct.unpack_from(str(">I"), head, 100)[0]
        while True:
            kind, size = struct.unpack_from(str(">II"), head, position)
            if kind == 0:
                break
            extensions[kind] = (position + 8, head[position + 8:position + 8 + size])
            position += 8 + -(-size // 8) * 8
        self.mark_at, mark = extensions.get(0x76617465, (None, b"\0"))
        self.hidden = mark[:1] != b"\0"
        self.parent_format = extensions.get(0xe2792aca, (0, b""))[1].decode("ascii")
        self.parent_path = head[self.name_at:self.name_at + length].decode("ascii") if self.name_at else ""
        self.head = head[:self.name_at + length if self.name_at else position + 8]

    def parent_volume(self):
        """The LV name that the parent's path ends in, None for a disk without parent."""
        if not self.parent_path:
            return None
        return self.parent_path.split("/")[-1]

    def _table(self, place, entries, step):
        data = self.volume.read(place, entries * step)
        return [struct.unpack_from(str(">Q"), data, index * step)[0] & 0x00fffffffffffe00 for index in range(entries)]

    def sectors(self):
        """Sector number to 512 bytes, of every sector that is present in this layer."""
        found = {}
        step = 16 if self.extended else 8
        entries = self.cluster // step
        for number, table in enumerate(self._table(self.l1_at, self.l1_entries, 8)):
            if table == 0:
                continue
            for index, place in enumerate(self._table(table, entries, step)):
                if place == 0:
                    continue
                first = (number * entries + index) * (self.cluster // SECTOR)
                data = self.volume.read(place, self.cluster)
                for start in range(0, self.cluster, SECTOR):
                    if first + start // SECTOR < self.size // SECTOR:
                        found[first + start // SECTOR] = data[start:start + SECTOR]
        return found


def _runs(bitmap):
    """(first sector, count) of each run of set bits."""
    runs, start = [], None
    for index, byte in enumerate(bitmap):
        if byte == 0 and start is None:
            continue
        for bit in range(8):
            present = byte & 0x80 >> bit
            if present and start is None:
                start = 8 * index + bit
            elif not present and start is not None:
                runs.append((start, 8 * index + bit - start))
                start = None
    if start is not None:
        runs.append((start, 8 * len(bitmap) - start))
    return runs


def volume_of_mapper_name(name):
    """The LV name in a device-mapper name 'VG-LV' with doubled dashes inside both."""
    parts = re.split("(?<!-)(?:--)*-(?!-)", name)
    singles = [match.start() for match in re.finditer("(?<!-)-(?!-)", name)]
    if len(singles) != 1 or len(parts) != 2:
        raise BadImage("%r is no device-mapper name of an LV" % name)
    return name[singles[0] + 1:].replace("--", "-")


class Lun(object):
    """Everything on a LUN.  label, area, text (bytes), vg_name, vg (nested dicts), pe_start and extent_size in bytes,
    volumes (LogicalVolume by name, in the order of the text)."""

    def __init__(self, image, busy=False):
        """busy: a second text, which an LVM command was about to commit, may be there; the first is the SR."""
        self.device = Device(image)
        labels = read_labels(self.device)
        if len(labels) != 1:
            raise BadImage("%d LVM labels" % len(labels))
        self.label = labels[0]
        if len(self.label.metadata_areas) != 1:
            raise BadImage("%d metadata areas" % len(self.label.metadata_areas))
        self.area = read_area(self.device, self.label.metadata_areas[0][0])
        if len(self.area.locations) != 1 and not (busy and len(self.area.locations) == 2):
            raise BadImage("%d metadata texts" % len(self.area.locations))
        self.text_pieces = text_pieces(self.area, self.area.locations[0])
        self.text = read_text(self.device, self.area, self.area.locations[0])
        self.vg_name, self.vg = parse_vg(self.text)
        pvs = list(self.vg["physical_volumes"].values())
        if [pv["id"] for pv in pvs] != [self.label.pv_id]:
            raise BadImage("the PV of the label is not the one PV of the VG")
        self.pv = pvs[0]
        self.extent_size = self.vg["extent_size"] * SECTOR
        self.pe_start = self.pv["pe_start"] * SECTOR
        self.volumes = collections.OrderedDict()
        for name, section in self.vg.get("logical_volumes", {}).items():
            self.volumes[name] = LogicalVolume(self, name, section)
        self._disks = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.device.close()

    def mgt(self):
        if "MGT" not in self.volumes:
            raise BadImage("no MGT")
        return Mgt(self.volumes["MGT"])

    def vdi_volume(self, uuid):
        """The volume of a VDI; BadImage if there is none, or more than one."""
        names = [prefix + uuid for prefix in PREFIXES if prefix + uuid in self.volumes]
        if len(names) != 1:
            raise BadImage("%d volumes for VDI %s" % (len(names), uuid))
        return self.volumes[names[0]]

    def vdi_uuids(self):
        """uuids of all VDIs that have a volume, in the order of the text."""
        return [name.split("-", 1)[1] for name in self.volumes
                if name.startswith(PREFIXES) and UUID.match(name.split("-", 1)[1])]

    def vhd(self, name):
        if name not in self._disks:
            self._disks[name] = Vhd(self.volumes[name])
        return self._disks[name]

    def qcow2(self, name):
        if name not in self._disks:
            self._disks[name] = Qcow2(self.volumes[name])
        return self._disks[name]

    def disk(self, name):
        """The Vhd or Qcow2 in a volume, None for a raw one."""
        if name.startswith("VHD-"):
            return self.vhd(name)
        return self.qcow2(name) if name.startswith("QCOW2-") else None

    def chain(self, uuid):
        """The volumes from a VDI's to the root of its chain; checks every link: a VHD's parent uuid, the SR and the format in a
        QCOW2 image."""
        volumes = [self.vdi_volume(uuid)]
        while True:
            child = self.disk(volumes[-1].name)
            name = child and child.parent_volume()
            if not name:
                break
            if name not in self.volumes:
                raise BadImage("%s: parent %s is not on this LUN" % (volumes[-1].name, name))
            if name in [volume.name for volume in volumes]:
                raise BadImage("%s: the chain is a cycle" % name)
            if isinstance(child, Qcow2):
                expected = "/dev/%s/%s" % (self.vg_name, name), {"QCOW2": "qcow2", "LV": "raw"}.get(name.split("-")[0])
                if (child.parent_path, child.parent_format) != expected:
                    raise BadImage("%s: its parent is %s %s" % (volumes[-1].name, child.parent_format, child.parent_path))
                volumes.append(self.volumes[name])
                continue
            expected = self.vhd(name).footer.uuid if name.startswith("VHD-") else str(uuids.UUID(int=0))
            if child.parent_uuid != expected:
                raise BadImage("%s: parent uuid %s, but %s has %s" % (volumes[-1].name, child.parent_uuid, name, expected))
            volumes.append(self.volumes[name])
        return volumes

    def virtual_size(self, uuid):
        volume = self.vdi_volume(uuid)
        disk = self.disk(volume.name)
        return volume.size if disk is None else disk.size

    def virtual_sectors(self, uuid):
        """Sector number to 512 bytes of every sector of the virtual disk that is not zero."""
        sectors = {}
        zero = b"\0" * SECTOR
        for volume in reversed(self.chain(uuid)):
            sectors.update((self.disk(volume.name) or volume).sectors())
        limit = self.virtual_size(uuid) // SECTOR
        return dict((number, data) for number, data in sectors.items() if data != zero and number < limit)


def virtual_read(image, vdi_uuid, sector, count):
    """`count` sectors of a VDI as a guest reads them, through its whole chain."""
    with Lun(image) as lun:
        sectors = lun.virtual_sectors(vdi_uuid)
        if (sector + count) * SECTOR > lun.virtual_size(vdi_uuid):
            raise BadImage("sectors %d to %d are beyond the end of %s" % (sector, sector + count, vdi_uuid))
        return b"".join(sectors.get(number, b"\0" * SECTOR) for number in range(sector, sector + count))


def virtual_sha256(image, vdi_uuid):
    """SHA-256, as hex, of a VDI as a guest reads it."""
    with Lun(image) as lun:
        digest = hashlib.sha256()
        sectors = lun.virtual_sectors(vdi_uuid)
        total = lun.virtual_size(vdi_uuid)
    position = 0
    for number in sorted(sectors):
        _update_zeros(digest, number * SECTOR - position)
        digest.update(sectors[number])
        position = (number + 1) * SECTOR
    _update_zeros(digest, total - position)
    return digest.hexdigest()


def _update_zeros(digest, length):
    zeros = b"\0" * (1024 * 1024)
    while length > 0:
        digest.update(zeros[:length])
        length -= len(zeros)


def virtual_digests(image):
    """uuid to a digest of size and non-zero sectors, for every VDI that has a volume.

    Says the same as `virtual_sha256` when compared, at a fraction of the cost; it is not the SHA-256 of the disk.
    """
    digests = {}
    with Lun(image) as lun:
        for uuid in lun.vdi_uuids():
            digest = hashlib.sha256(struct.pack(str(">Q"), lun.virtual_size(uuid)))
            for number, data in sorted(lun.virtual_sectors(uuid).items()):
                digest.update(struct.pack(str(">Q"), number) + data)
            digests[uuid] = digest.hexdigest()
    return digests


def structures(image):
    """Every live structure of the LUN that carries an identity, as `Structure`s: label, metadata area header, live text, used
    part of MGT, of each VHD both footers, the header and the locators, and of each QCOW2 image what ends with the parent's path."""
    found = []
    with Lun(image) as lun:
        def add(name, pieces):
            data = b"".join(lun.device.read(offset, length) for offset, length in pieces)
            found.append(Structure(name, pieces, data))
        add("label", [(lun.label.sector * SECTOR, SECTOR)])
        add("metadata area header", [(lun.area.offset, SECTOR)])
        add("metadata text", lun.text_pieces)
        if "MGT" in lun.volumes:
            add("MGT", lun.volumes["MGT"].pieces(0, lun.mgt().length))
        for name, volume in lun.volumes.items():
            if name.startswith("QCOW2-"):
                add(name + " header", volume.pieces(0, len(lun.qcow2(name).head)))
            if not name.startswith("VHD-"):
                continue
            disk = lun.vhd(name)
            add(name + " footer copy", volume.pieces(0, SECTOR))
            add(name + " header", volume.pieces(SECTOR, 2 * SECTOR))
            for locator in disk.locators:
                add("%s locator %s" % (name, locator.code), volume.pieces(locator.offset, max(locator.space, locator.length)))
            add(name + " footer", volume.pieces(volume.size - SECTOR, SECTOR))
    return found


def live_strings(image):
    """Name to bytes of every structure of `structures`."""
    return collections.OrderedDict((structure.name, structure.data) for structure in structures(image))


def forms(identity):
    """How an identity can occur on disk: a uuid plain, with doubled dashes, each in ASCII and UTF-16 of both orders, and as 16
    bytes; an LVM id with and without dashes."""
    if not UUID.match(identity):
        return [identity.encode("ascii"), identity.replace("-", "").encode("ascii")]
    texts = [identity, identity.replace("-", "--"), identity.upper()]
    encoded = [text.encode(code) for text in texts for code in ("ascii", "utf-16-le", "utf-16-be")]
    return encoded + [uuids.UUID(identity).bytes]


def traces(image, identities):
    """(structure name, identity) wherever one of the identities is still in a live structure."""
    found = []
    live = live_strings(image)
    for identity in identities:
        patterns = forms(identity)
        for name, data in live.items():
            if any(each in data for each in patterns):
                found.append((name, identity))
    return found


def identities(image):
    """Every identity of the SR on the LUN: uuids of the SR and of all VDIs (records and volumes), LVM ids of PV, VG and LVs."""
    with Lun(image) as lun:
        found = set(UUID.findall(lun.vg_name + " " + " ".join(lun.volumes)))
        found.update([lun.label.pv_id, lun.vg["id"]])
        found.update(volume.id for volume in lun.volumes.values())
        if "MGT" in lun.volumes:
            mgt = lun.mgt()
            found.add(mgt.uuid)
            found.update(record.fields["uuid"] for record in mgt.records)
    return found
