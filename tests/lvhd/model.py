# SPDX-License-Identifier: LGPL-2.1-only
"""What an LVHD storage repository holds, as plain objects.

An `Sr` is one VG on one PV: the MGT volume, one volume per stored VDI, and whatever else sm or an
administrator left there.  Sizes are in bytes unless a name says extents or sectors.

Data of a guest is kept small and known: `Vdi.contents` maps a sector number to a seed, and the 4096 bytes
from that sector on are the text ``[SEED@SECTOR]`` repeated and cut, as in the sample images.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib

from lvhd.ids import Ids

SECTOR = 512
MIB = 1024 * 1024
PATTERN_SECTORS = 8

VHD = "vhd"
QCOW2 = "qcow2"
RAW = "aio"
# sm reserves block tables for disks of this size in every VHD (lvhdutil.MSIZE).
RESERVED_BY_SM = 2 * 1024 * 1024 * MIB

# Order of the tags of a MGT record as the samples have them: a record that sm has read and written back
# carries a stale offset, a base copy's record was written once.
UPDATED_RECORD = ("read_only", "managed", "snapshot_time", "vdi_type", "snapshot_of", "deleted", "offset", "type",
                  "metadata_of_pool", "is_a_snapshot", "uuid")
NEW_RECORD = ("managed", "snapshot_time", "vdi_type", "deleted", "is_a_snapshot", "read_only", "uuid", "snapshot_of",
              "metadata_of_pool", "type")


def pattern(seed, sector):
    """The 4096 bytes that `seed` stands for when written at `sector`."""
    unit = ("[%s@%d]" % (seed, sector)).encode("utf-8")
    length = PATTERN_SECTORS * SECTOR
    return (unit * (length // len(unit) + 1))[:length]


class Volume(object):
    """A logical volume.

    segments: list of (first physical extent, number of extents), or None to have them allocated.
    fragments: when allocated, into how many segments.
    content: list of (offset in the volume, bytes).
    """

    def __init__(self, name, extents=1, segments=None, fragments=1, tags=(), read_only=False, content=(), id=None,
                 creation_time=None, creation_host="guest", lines=()):
        self.name = name
        self.extents = extents
        self.segments = segments
        self.fragments = fragments
        self.tags = list(tags)
        self.read_only = read_only
        self.content = list(content)
        self.id = id
        self.creation_time = creation_time
        self.creation_host = creation_host
        # Further lines of the LV's section in the metadata text, for example 'allocation_policy = "inherit"'.
        self.lines = list(lines)

    def __repr__(self):
        return "Volume(%s, %s)" % (self.name, self.segments or self.extents)


class Vdi(object):
    """A VDI: a record in MGT, a volume, or both.

    parent: the Vdi this one is a child of in its VHD chain.
    contents: what was written to this layer, sector number to seed; full_blocks: numbers of 2 MiB blocks all of whose
    sectors are present in this layer (what contents does not cover reads as zeros).
    hidden: VHD footer flag, or for raw the LV tag; such nodes have read-only volumes.
    inflated: the volume has room for the whole disk (a leaf on a thick SR); otherwise it is as small as its data allows.
    reserved: bytes of disk for which block tables are laid out; 0 means size.  sm always reserves RESERVED_BY_SM, which costs
    4 MiB of 0xff per VHD; that is why the default is small.
    deleted: the MGT slot is marked deleted; recorded and stored: whether there is a record and a volume.
    label_bytes and description_bytes: what the record holds literally instead of the encoded name.
    cluster_bits: of a QCOW2 image; other than 16 it has extended L2 entries. marked: it has sm's mark for hidden nodes.
    """

    def __init__(self, uuid, name_label="", name_description="", size=8 * MIB, vdi_type=VHD, parent=None, contents=None,
                 full_blocks=(), hidden=False, is_a_snapshot=False, snapshot_of="", snapshot_time="", type="user", managed=None,
                 read_only=None, metadata_of_pool="", deleted=False, recorded=True, stored=True, inflated=None, reserved=0,
                 footer_uuid=None, footer_time=None, parent_time=None, block_order=None, volume=None, tags=(),
                 volume_read_only=None, fragments=1, record_tags=None, record_vdi_type=None, label_bytes=None,
                 description_bytes=None, cluster_bits=16, marked=True):
        self.uuid = uuid
        self.name_label = name_label
        self.name_description = name_description
        self.size = size
        self.vdi_type = vdi_type
        self.parent = parent
        self.contents = dict(contents or {})
        self.full_blocks = set(full_blocks)
        self.hidden = hidden
        self.is_a_snapshot = is_a_snapshot
        self.snapshot_of = snapshot_of
        self.snapshot_time = snapshot_time
        self.type = type
        self.managed = (not hidden) if managed is None else managed
        self.read_only = hidden if read_only is None else read_only
        self.metadata_of_pool = metadata_of_pool
        self.deleted = deleted
        self.recorded = recorded
        self.stored = stored and not deleted
        self.inflated = (not hidden and not is_a_snapshot) if inflated is None else inflated
        self.reserved = reserved
        self.footer_uuid = footer_uuid
        self.footer_time = footer_time
        self.parent_time = parent_time
        self.block_order = block_order
        self.record_tags = record_tags or (NEW_RECORD if hidden else UPDATED_RECORD)
        self.record_vdi_type = record_vdi_type or vdi_type
        self.label_bytes = label_bytes
        self.description_bytes = description_bytes
        self.cluster_bits = cluster_bits
        self.marked = marked
        if volume is None:
            volume_tags = list(tags)
            if hidden and vdi_type == RAW:
                volume_tags.append("hidden")
            volume = Volume(self.volume_name(), extents=None, fragments=fragments, tags=volume_tags,
                            read_only=hidden if volume_read_only is None else volume_read_only)
        self.volume = volume

    def volume_name(self):
        """The LV's name: VHD-<uuid>, QCOW2-<uuid> or LV-<uuid> (sm lvhdutil.LV_PREFIX, lvmcowutil.LV_PREFIX)."""
        return {VHD: "VHD-", QCOW2: "QCOW2-", RAW: "LV-"}[self.vdi_type] + self.uuid

    def chain(self):
        """This node, its parent, and so on to the root."""
        nodes = [self]
        while nodes[-1].parent is not None:
            nodes.append(nodes[-1].parent)
        return nodes

    def virtual_size(self, extent_size=4 * MIB):
        """Bytes a guest sees; a raw VDI is as large as its volume."""
        if self.vdi_type == RAW:
            return -(-self.size // extent_size) * extent_size
        return self.size

    def layer_sectors(self):
        """What this layer itself says: sector number to 512 bytes."""
        sectors = {}
        for block in self.full_blocks:
            first = block * 4096
            for sector in range(first, min(first + 4096, self.size // SECTOR)):
                sectors[sector] = b"\0" * SECTOR
        for start in sorted(self.contents):
            data = pattern(self.contents[start], start)
            for index in range(PATTERN_SECTORS):
                sectors[start + index] = data[index * SECTOR:(index + 1) * SECTOR]
        return sectors

    def virtual_sectors(self):
        """What a guest reads through the whole chain: sector number to 512 bytes; all others are zeros."""
        sectors = {}
        for node in reversed(self.chain()):
            sectors.update(node.layer_sectors())
        return sectors

    def virtual_sha256(self, extent_size=4 * MIB):
        """SHA-256, as hex, of the whole virtual disk."""
        digest = hashlib.sha256()
        sectors = self.virtual_sectors()
        total = self.virtual_size(extent_size) // SECTOR
        zeros = b"\0" * MIB
        position = 0
        for sector in sorted(sectors) + [total]:
            gap = (sector - position) * SECTOR
            while gap > 0:
                digest.update(zeros[:gap])
                gap -= MIB
            if sector < total:
                digest.update(sectors[sector])
            position = sector + 1
        return digest.hexdigest()

    def __repr__(self):
        return "Vdi(%s, %s)" % (self.volume_name(), self.name_label)


class Sr(object):
    """An SR on a LUN.

    vdis: in the order of their MGT records.  volumes: LVs that are no VDIs (journals, CBT logs, an administrator's).
    volume_order: names of LVs in the order of the metadata text; those not named come after, MGT first.
    lvm: whose metadata text and label to write: '2.02.84', '2.02.130' or '2.03.16'; indented: with indentation and comments,
    as LVM writes archive files (LVM reads such a text on disk too); lvm_version: what the text says wrote it, by default the
    release that `lvm` names.
    extension: version of the PV header extension (0 to 2, None for none; -1 to do as `lvm` does).
    text_offset: where in the metadata area the live text starts (a multiple of 512), None to follow the older texts;
    older_texts: how many commits before it are still in the ring.
    free_extents: PV extents that belong to no LV; slack: bytes of the PV behind the last whole extent; beyond: bytes of
    the LUN behind the PV.
    mgt_stale: bytes left in MGT behind its used part.
    """

    def __init__(self, seed=0, uuid=None, name_label="iSCSI SR", name_description="", allocation="thick", vdis=(), volumes=(),
                 volume_order=(), lvm="2.03.16", indented=False, extension=-1, text_offset=None, older_texts=3, seqno=None,
                 free_extents=16, slack=MIB, beyond=0, pe_start=22528 * SECTOR, extent_size=8192 * SECTOR, area_offset=4096,
                 area_size=None, vg_id=None, pv_id=None, status=("RESIZEABLE", "READ", "WRITE"), tags=(), pv_tags=(),
                 pv_size=None, device="/dev/disk/by-scsid/360000000000000000e00000000010001/sda", description=None,
                 kernel="Linux guest 4.19.0+1 #1 SMP Tue Jan 28 12:00:00 UTC 2020 x86_64", host="guest", time=1580212800, lvm_version=None,
                 mgt=True, mgt_extents=1, mgt_version=(1, 2), mgt_stale=b"", mgt_volume=None):
        self.ids = Ids(seed)
        self.uuid = uuid or self.ids.uuid()
        self.name_label = name_label
        self.name_description = name_description
        self.allocation = allocation
        # Behind <allocation> in MGT
        self.more_fields = ""
        self.vdis = list(vdis)
        self.volumes = list(volumes)
        self.volume_order = list(volume_order)
        self.lvm = lvm
        self.indented = indented
        self.lvm_version = lvm_version
        self.extension = {"2.02.84": None, "2.02.130": 1, "2.03.16": 2}[lvm] if extension == -1 else extension
        self.text_offset = text_offset
        self.older_texts = older_texts
        self.seqno = seqno
        self.free_extents = free_extents
        self.slack = slack
        self.beyond = beyond
        self.pe_start = pe_start
        self.extent_size = extent_size
        self.area_offset = area_offset
        self.area_size = pe_start - area_offset if area_size is None else area_size
        self.vg_id = vg_id or self.ids.lvm_id()
        self.pv_id = pv_id or self.ids.lvm_id()
        self.status = list(status)
        self.tags = list(tags)
        self.pv_tags = list(pv_tags)
        self.pv_size = pv_size
        self.device = device
        self.description = description
        self.kernel = kernel
        self.host = host
        self.time = time
        self.mgt_version = mgt_version
        self.mgt_stale = mgt_stale
        self.mgt_volume = mgt_volume
        if mgt and mgt_volume is None:
            self.mgt_volume = Volume("MGT", extents=mgt_extents)

    @property
    def vg_name(self):
        return "VG_XenStorage-" + self.uuid

    def vdi(self, uuid):
        """The VDI with this uuid; KeyError if there is none."""
        for vdi in self.vdis:
            if vdi.uuid == uuid:
                return vdi
        raise KeyError(uuid)

    def add(self, name_label="", **fields):
        """Add a VDI with a fresh uuid; returns it."""
        vdi = Vdi(fields.pop("uuid", None) or self.ids.uuid(), name_label, **fields)
        self.vdis.append(vdi)
        return vdi

    def all_volumes(self):
        """Every LV, in the order of the metadata text."""
        volumes = []
        if self.mgt_volume is not None:
            volumes.append(self.mgt_volume)
        volumes.extend(vdi.volume for vdi in self.vdis if vdi.stored)
        volumes.extend(self.volumes)
        rank = dict((name, index) for index, name in enumerate(self.volume_order))
        return sorted(volumes, key=lambda volume: rank.get(volume.name, len(rank)))

    def children(self, vdi):
        return [other for other in self.vdis if other.parent is vdi]
