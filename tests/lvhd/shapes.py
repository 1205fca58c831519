# SPDX-License-Identifier: LGPL-2.1-only
"""Named shapes of SRs: `SHAPES` maps a name to a function from a seed to an `Sr` that can be resigned."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import struct
import uuid

from lvhd import image, lvmtext, mgt
from lvhd.ids import Ids
from lvhd.model import MIB, NEW_RECORD, QCOW2, RAW, RESERVED_BY_SM, SECTOR, Sr, Vdi, Volume

NULL_REF = "OpaqueRef:NULL"
# Sectors written in most disks: at the start, across the border of two blocks, in a later block, at the end of 8 MiB.
SPREAD = (0, 4092, 8192, 16376)
# The longest LV name that, with the VG's, fits the 127 characters of a device-mapper name.
LONGEST_LV_NAME = 127 - len("VG_XenStorage--") - 36 - 4 - 1


def disk(sr, name, sectors=SPREAD, **fields):
    """Add a VDI with data in the given sectors."""
    vdi = sr.add(name, **fields)
    vdi.contents.update((sector, "%s-%s" % (name.replace(" ", "-"), vdi.uuid[:8])) for sector in sectors)
    return vdi


def base_copy(sr, vdi, above_raw="vhd", **fields):
    """Move the data of a VDI into a new hidden parent, as a snapshot does; returns the parent. above_raw: type of a raw VDI's child."""
    base = Vdi(sr.ids.uuid(), "base copy", size=vdi.size, vdi_type=vdi.vdi_type, parent=vdi.parent, contents=vdi.contents,
               full_blocks=vdi.full_blocks, hidden=True, reserved=vdi.reserved, cluster_bits=vdi.cluster_bits, **fields)
    if vdi.vdi_type == RAW:
        vdi.vdi_type = vdi.record_vdi_type = above_raw
        vdi.volume = Volume(vdi.volume_name(), extents=None, tags=vdi.volume.tags)
    vdi.parent, vdi.contents, vdi.full_blocks = base, {}, set()
    return base


def snapshot(sr, vdi, name="snap", time="20200128T12:00:00Z", **fields):
    """Snapshot a VDI; returns the snapshot.  Records end up in the order VDI, snapshot, base copy."""
    base = base_copy(sr, vdi)
    snap = sr.add(name, size=vdi.size, parent=base, is_a_snapshot=True, snapshot_of=vdi.uuid, snapshot_time=time,
                  metadata_of_pool=NULL_REF, reserved=vdi.reserved, vdi_type=vdi.vdi_type, cluster_bits=vdi.cluster_bits, **fields)
    sr.vdis.append(base)
    return snap


def clone(sr, vdi, name):
    """Clone a VDI; returns the clone."""
    base = base_copy(sr, vdi)
    twin = sr.add(name, size=vdi.size, parent=base, reserved=vdi.reserved, vdi_type=vdi.vdi_type, cluster_bits=vdi.cluster_bits)
    sr.vdis.append(base)
    return twin


def write(vdi, sector, seed):
    """Write to the leaf."""
    vdi.contents[sector] = "%s-%s" % (seed, vdi.uuid[:8])


def hidden_chain(sr, vdi, depth):
    """Put hidden nodes below a VDI until its chain has `depth` nodes, each with a little data of its own."""
    for level in range(depth - 1):
        base = base_copy(sr, vdi)
        sr.vdis.append(base)
        write(vdi, 520 + 8 * level, "after%d" % (level + 1))


def one(seed=0, **fields):
    sr = Sr(seed, **fields)
    disk(sr, "vdi0")
    return sr


def one_reserved(seed=0):
    """One VDI with the block tables that sm reserves, and a snapshot of it: locators lie beyond the first extent."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0", reserved=RESERVED_BY_SM)
    snapshot(sr, vdi)
    return sr


def two_snapshots(seed=0, **fields):
    sr = Sr(seed, **fields)
    vdi = disk(sr, "vdi0")
    for number in (1, 2):
        snapshot(sr, vdi, "snap%d" % number)
        write(vdi, 512 + 8 * number, "after%d" % number)
    return sr


def chain5(seed=0):
    sr = Sr(seed)
    vdi = disk(sr, "vdi0")
    for number in range(1, 5):
        snapshot(sr, vdi, "snap%d" % number)
        write(vdi, 512 + 8 * number, "after%d" % number)
    return sr


def chain30(seed=0):
    """The longest chain sm makes; its snapshots are gone, but not yet coalesced."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0")
    hidden_chain(sr, vdi, 30)
    return sr


def tree_with_clones(seed=0):
    sr = Sr(seed)
    first = disk(sr, "template")
    second = clone(sr, first, "vm1")
    write(second, 520, "vm1")
    third = clone(sr, second, "vm2")
    write(third, 528, "vm2")
    write(second, 536, "vm1-later")
    snapshot(sr, third, "backup of vm2")
    write(third, 4092, "vm2-later")
    clone(sr, first, "vm3")
    return sr


def raw(seed=0):
    sr = Sr(seed)
    disk(sr, "raw disk", vdi_type=RAW)
    disk(sr, "vhd disk")
    disk(sr, "odd raw disk", vdi_type=RAW, size=5 * MIB + 512, sectors=(0, 10232))
    return sr


def raw_parent(seed=0):
    """A raw VDI with a snapshot: its data is a hidden raw volume with two VHD children."""
    sr = Sr(seed)
    vdi = disk(sr, "was raw", vdi_type=RAW)
    snapshot(sr, vdi)
    write(vdi, 520, "after")
    return sr


def hidden_leftovers(seed=0):
    """Nodes that wait for the garbage collector: hidden leaves, a hidden chain, a hidden raw volume, one without record."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0")
    snapshot(sr, vdi)
    disk(sr, "deleted disk", hidden=True, managed=False)
    disk(sr, "deleted raw disk", hidden=True, vdi_type=RAW)
    root = disk(sr, "base copy", hidden=True)
    child = disk(sr, "base copy", hidden=True, sectors=(520,))
    child.parent = root
    orphan = disk(sr, "base copy", hidden=True, recorded=False, sectors=(528,))
    orphan.parent = child
    return sr


def qcow2_snapshots(seed=0, **fields):
    """XCP-ng 8.3: a QCOW2 disk with two snapshots."""
    sr = Sr(seed, **fields)
    vdi = disk(sr, "vdi0", vdi_type=QCOW2)
    for number in (1, 2):
        snapshot(sr, vdi, "snap%d" % number)
        write(vdi, 512 + 8 * number, "after%d" % number)
    return sr


def qcow2_chain30(seed=0):
    """The longest chain of QCOW2 images; its snapshots are gone, but not yet coalesced."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0", vdi_type=QCOW2)
    hidden_chain(sr, vdi, 30)
    return sr


def mixed(seed=0):
    """VHD, QCOW2 and raw disks side by side: a tree of clones, a snapshot of each kind, a raw parent of QCOW2 images, a disk that came
    by migration (small clusters, extended L2 entries), one from elsewhere without sm's mark, and what waits for the garbage collector."""
    sr = Sr(seed)
    first = disk(sr, "template", vdi_type=QCOW2)
    second = clone(sr, first, "vm1")
    write(second, 520, "vm1")
    third = clone(sr, second, "vm2")
    write(third, 528, "vm2")
    snapshot(sr, third, "backup of vm2")
    write(third, 4092, "vm2-later")
    vhd = disk(sr, "vhd disk")
    snapshot(sr, vhd)
    write(vhd, 520, "after")
    disk(sr, "raw disk", vdi_type=RAW)
    was_raw = disk(sr, "was raw", vdi_type=RAW)
    sr.vdis.append(base_copy(sr, was_raw, QCOW2))
    write(was_raw, 520, "after")
    migrated = disk(sr, "migrated", vdi_type=QCOW2, cluster_bits=14)
    snapshot(sr, migrated)
    write(migrated, 520, "after")
    disk(sr, "from elsewhere", vdi_type=QCOW2, marked=False)
    disk(sr, "odd size", vdi_type=QCOW2, size=7 * MIB + 512, sectors=(0, 14320))
    disk(sr, "empty", vdi_type=QCOW2, sectors=())
    disk(sr, "in pieces", vdi_type=QCOW2, fragments=3)
    disk(sr, "deleted disk", vdi_type=QCOW2, hidden=True, managed=False)
    root = disk(sr, "base copy", vdi_type=QCOW2, hidden=True)
    disk(sr, "base copy", vdi_type=QCOW2, hidden=True, sectors=(520,)).parent = root
    return sr


def large_qcow2(seed=0):
    """A QCOW2 disk of 3 TiB with all its room on the LUN, and a snapshot, beside a VHD."""
    sr = Sr(seed)
    large = disk(sr, "large", vdi_type=QCOW2, size=3 << 40, sectors=(0, 4092, 1 << 32, (3 << 31) - 8))
    snapshot(sr, large)
    write(large, 1 << 31, "after")
    disk(sr, "vdi1")
    return sr


def vdis50(seed=0):
    """50 volumes: 20 plain disks, 10 with a snapshot each."""
    sr = Sr(seed)
    for number in range(20):
        disk(sr, "disk %d" % number, sectors=(0, 8 * number + 8))
    for number in range(10):
        vdi = disk(sr, "busy disk %d" % number, sectors=(0, 8 * number + 8))
        snapshot(sr, vdi, "snap of %d" % number)
        write(vdi, 4096, "after")
    return sr


def full_vg(seed=0):
    return two_snapshots(seed, free_extents=0, slack=0)


def text_size(sr):
    """Bytes of the live metadata text of a model."""
    image.settle(sr)
    return len(lvmtext.render(sr, sr.all_volumes(), sr.seqno))


def text_at(place, seed=0, **fields):
    """A shape whose live text lies at a named place of the ring (see TEXT_PLACES)."""
    sr = two_snapshots(seed, description="", **fields)
    if place == "ends_at_end":
        sr.description = "x" * (-text_size(sr) % SECTOR)
    sr.text_offset = TEXT_PLACES[place](sr.area_size, text_size(sr))
    return sr


def _sectors(size):
    return -(-size // SECTOR) * SECTOR


# Place to a function of the area's and the text's size that gives the text's offset in the area.
TEXT_PLACES = collections.OrderedDict([
    ("start", lambda area, text: SECTOR),
    ("second_sector", lambda area, text: 2 * SECTOR),
    ("unaligned_page", lambda area, text: 4096 + SECTOR),
    ("quarter", lambda area, text: area // 4 // SECTOR * SECTOR),
    ("middle", lambda area, text: area // 2 // SECTOR * SECTOR),
    ("three_quarters", lambda area, text: area // 4 * 3 // SECTOR * SECTOR),
    ("ends_at_end", lambda area, text: area - text),
    ("ends_before_end", lambda area, text: area - _sectors(text) - SECTOR),
    ("wraps_last_sector", lambda area, text: area - _sectors(text) + SECTOR),
    ("wraps_half", lambda area, text: area - _sectors(text // 2)),
    ("wraps_after_first_sector", lambda area, text: area - SECTOR),
])


def wrapped_text(seed=0):
    return text_at("wraps_half", seed)


def full_ring(seed=0):
    """A ring that has been written round: every sector holds some older text."""
    sr = two_snapshots(seed, text_offset=700 * SECTOR, seqno=20000)
    sr.older_texts = 0
    room = sr.area_size - SECTOR - _sectors(text_size(sr))
    while True:
        room -= _sectors(len(lvmtext.render(sr, image.volumes_before(sr, sr.older_texts + 1), sr.seqno)))
        if room < 0:
            return sr
        sr.older_texts += 1


def long_names(seed=0):
    """Names of the greatest length: cut by sm in the middle of multi-byte text, escaped, and filling their sectors."""
    sr = Sr(seed, name_label="n" * 600, name_description="\u00e9" * 600)
    disk(sr, "\u4e2d" * 200, name_description="\u00fc" * 300)
    disk(sr, "a" * mgt.NAMES_LIMIT)
    disk(sr, "&" * 44, name_description="<" * 55)
    sr.volumes.append(Volume("L" * LONGEST_LV_NAME))
    return sr


def mgt_nearly_full(seed=0, free=64 * 1024):
    """Deleted slots fill MGT up to `free` bytes."""
    sr = two_snapshots(seed)
    slots = (4 * MIB - free - mgt.RECORDS) // mgt.RECORD - len(sr.vdis)
    for number in range(slots):
        sr.add("gone %d" % number, deleted=True)
    return sr


def deleted_slots(seed=0):
    sr = Sr(seed)
    sr.add("gone", deleted=True)
    vdi = disk(sr, "vdi0")
    sr.add("gone too", deleted=True, is_a_snapshot=True, snapshot_of=vdi.uuid)
    disk(sr, "vdi1")
    sr.mgt_stale = b"<vdi><name_label>stale</name_label>".ljust(1024)
    return sr


def cbt_log(owner_uuid, parent=None, child=None, size=8 * MIB):
    """The volume of a CBT log: uuids of parent and child, consistency, disk size (blktap include/cbt-util.h)."""
    null = uuid.UUID(int=0)
    head = uuid.UUID(parent).bytes if parent else null.bytes
    head += uuid.UUID(child).bytes if child else null.bytes
    return Volume(owner_uuid + ".cbtlog", tags=["cbtlog"], content=[(0, head + struct.pack(str("<iIQ"), 1, 0, size))])


def cbt_logs(seed=0):
    """Changed block tracking: logs of a disk, of its snapshot, and of a snapshot whose data was destroyed."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0")
    snap = snapshot(sr, vdi)
    destroyed = sr.add("data destroyed", is_a_snapshot=True, snapshot_of=vdi.uuid, stored=False, type="cbt_metadata")
    sr.volumes = [cbt_log(destroyed.uuid, child=snap.uuid), cbt_log(snap.uuid, parent=destroyed.uuid, child=vdi.uuid),
                  cbt_log(vdi.uuid, parent=snap.uuid)]
    return sr


def ha_and_metadata_vdis(seed=0):
    sr = Sr(seed)
    disk(sr, "Statefile for HA", vdi_type=RAW, type="ha_statefile", size=4 * MIB, sectors=(0,))
    disk(sr, "Metadata for HA", vdi_type=RAW, type="redo_log", size=8 * MIB, sectors=(0,))
    disk(sr, "Metadata for DR", type="metadata", metadata_of_pool=sr.ids.uuid(), sectors=(0,))
    disk(sr, "vdi0")
    return sr


def admin_lv(seed=0):
    """Volumes that an administrator made, with names that sm does not know."""
    sr = one(seed)
    sr.volumes = [Volume("scratch", extents=2, content=[(0, b"keep me")]),
                  Volume("backup.2020-01-28", tags=["admin"], read_only=True),
                  Volume("pinned", lines=['allocation_policy = "contiguous"', "read_ahead = 256"])]
    return sr


def fragmented(seed=0):
    """Volumes of several segments, among them VHDs whose locators lie in another segment than their header."""
    sr = Sr(seed)
    vdi = disk(sr, "vdi0", reserved=RESERVED_BY_SM)
    snapshot(sr, vdi)
    disk(sr, "vdi1", size=40 * MIB, sectors=(0, 8192, 40000, 81912))
    disk(sr, "raw disk", vdi_type=RAW, size=16 * MIB, sectors=(0, 8188, 24572, 32760))
    for entry in sr.vdis:
        entry.volume.fragments = 4
    return sr


def tags(seed=0):
    sr = Sr(seed, tags=["pool_7"], pv_tags=["array-a"])
    vdi = disk(sr, "vdi0", tags=["owner_me", "of-%s" % Ids(seed + 1).uuid()])
    vdi.volume.tags.append("self-" + vdi.uuid)
    snapshot(sr, vdi, tags=["nightly"])
    disk(sr, "locked", volume_read_only=True)
    return sr


def old_lvm_text(seed=0):
    """As LVM 2.02.84 of XenServer 6.5 leaves it."""
    return two_snapshots(seed, lvm="2.02.84", kernel="Linux dom0 2.6.32.43-0.4.1.xs1.8.0.835.170778xen #1 SMP i686")


def lvm_2_02_130_text(seed=0):
    """As LVM 2.02.130 of XenServer 7.x leaves it."""
    return two_snapshots(seed, lvm="2.02.130")


def indented_text(seed=0):
    """Indentation and comments: no LVM writes that to a PV, every LVM reads it."""
    return two_snapshots(seed, lvm="2.02.84", indented=True)


def no_extension(seed=0):
    return one(seed, extension=None)


def other_sizes(seed=0):
    """A PV with another metadata size, a LUN larger than its PV, thin allocation, a MGT of two extents."""
    sr = one(seed, pe_start=20992 * SECTOR, area_size=20992 * SECTOR - 4096 - 65536, beyond=37 * MIB + 512, allocation="thin",
             mgt_extents=2)
    disk(sr, "large", size=3 * 1024 * 1024 * MIB // 2, sectors=(0, 1 << 30), inflated=False)
    disk(sr, "odd size", size=7 * MIB + 512, sectors=(0, 14320))
    disk(sr, "empty", sectors=())
    disk(sr, "full blocks", full_blocks=(0, 2))
    return sr


def unicode_names(seed=0):
    """Every kind of character MGT can hold: markup, quotes, accents, other scripts, beyond the basic plane, controls."""
    sr = Sr(seed, name_label="SR \u00e4\u00f6\u00fc & <b>\"x\"</b> 'y'", name_description="\u65e5\u672c\u8a9e \U0001f4be")
    disk(sr, "\u0414\u0438\u0441\u043a \u2116 1", name_description="tab\there, line\nfeed & more")
    disk(sr, "<vdi>&amp;</vdi>", name_description="]]> <!-- <name_label>")
    disk(sr, "\U0001f600 \u05d0\u05d1 \u200f\u0301 \ufffd", name_description="=\"' \\ %s %(x)s ${y} $(z) `w`")
    disk(sr, "", name_description="")
    return sr


def opaque_refs(seed=0):
    """References of xapi's database in snapshot_of and metadata_of_pool."""
    sr = two_snapshots(seed)
    reference = "OpaqueRef:" + sr.ids.uuid()
    for vdi in sr.vdis:
        vdi.snapshot_of = reference if vdi.is_a_snapshot else NULL_REF
        vdi.metadata_of_pool = NULL_REF
        vdi.record_tags = NEW_RECORD
    return sr


def strays(seed=0):
    """A record without volume, a volume without record, and a record of the wrong type."""
    sr = one(seed)
    disk(sr, "no record", recorded=False, sectors=(8,))
    sr.add("no volume", stored=False)
    disk(sr, "wrong type", vdi_type=RAW, record_vdi_type="vhd")
    return sr


def sized(count, chain=30, diff_share=0.1, seed=0):
    """`count` VHD volumes, a share of them children in chains of up to `chain` nodes; for benchmarks."""
    sr = Sr(seed)
    children = int(count * diff_share)
    while len(sr.vdis) < count:
        vdi = disk(sr, "disk %d" % len(sr.vdis), sectors=(0, 4092))
        depth = min(chain, children + 1, count - len(sr.vdis) + 1)
        hidden_chain(sr, vdi, depth)
        children -= depth - 1
    return sr


SHAPES = collections.OrderedDict((function.__name__, function) for function in (
    one, one_reserved, two_snapshots, chain5, chain30, tree_with_clones, raw, raw_parent, hidden_leftovers, qcow2_snapshots, qcow2_chain30,
    mixed, vdis50, full_vg, wrapped_text, full_ring, long_names, mgt_nearly_full, deleted_slots, cbt_logs, ha_and_metadata_vdis, admin_lv,
    fragmented, tags, old_lvm_text, lvm_2_02_130_text, indented_text, no_extension, other_sizes, unicode_names, opaque_refs, strays))
for _place in TEXT_PLACES:
    SHAPES["text_at_" + _place] = lambda seed=0, place=_place: text_at(place, seed)
