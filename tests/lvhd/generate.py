# SPDX-License-Identifier: LGPL-2.1-only
"""Random SRs for property tests: `random_sr(seed)` and `mixed_sr(seed)` are valid SRs that can be resigned."""
from __future__ import absolute_import, division, print_function, unicode_literals

from lvhd import shapes
from lvhd.ids import Ids
from lvhd.model import MIB, NEW_RECORD, QCOW2, RAW, RESERVED_BY_SM, SECTOR, UPDATED_RECORD, VHD, Sr, Volume

MAX_CHAIN = 30
NAME_PARTS = ("disk", "a b", "&", "<x>", "\"q\"", "\u00e9", "\u4e2d\u6587", "\U0001f4be", "'", "--", "]]>", "%s", "\\",
              "z" * 60, "\u00fc" * 90)
TAG_PARTS = ("nightly", "owner_me", "a.b", "x-y", "T+1")
SECTOR_CHOICES = (0, 8, 520, 2048, 4088, 4092, 8192, 12288, 16376)


def random_name(ids):
    """A name that the parser gives back as it is: no white space at its ends."""
    return " ".join(ids.pick(NAME_PARTS) for _ in range(ids.below(5))).strip()


def random_sr(seed, max_disks=6):
    """An SR of up to `max_disks` disks with snapshots, clones, raw disks, hidden leftovers, deleted slots, other volumes, tags and
    fragments, and with its metadata text anywhere in the ring."""
    ids = Ids(seed)
    sr = Sr(ids.bits(32), name_label=random_name(ids) or "SR", name_description=random_name(ids),
            allocation=ids.pick(("thick", "thin")), lvm=ids.pick(("2.02.84", "2.02.130", "2.03.16")),
            indented=ids.chance(0.1), extension=ids.pick((-1, None, 0, 1, 2)), older_texts=ids.below(12),
            free_extents=ids.below(20), slack=ids.pick((0, 512, MIB)), beyond=ids.pick((0, 0, 4096, 64 * MIB)),
            pe_start=ids.pick((22528, 22528, 24576)) * SECTOR, mgt_extents=1 + ids.below(2),
            tags=random_tags(ids), status=("RESIZEABLE", "READ", "WRITE"))
    for _ in range(1 + ids.below(max_disks)):
        _grow_disk(sr, ids)
    for _ in range(ids.below(4)):
        sr.vdis.insert(ids.below(len(sr.vdis) + 1), _deleted(sr, ids))
    for vdi in sr.vdis:
        vdi.volume.fragments = 1 + ids.below(3) if ids.chance(0.3) else 1
    if ids.chance(0.3):
        sr.volumes.append(Volume("admin_%d" % ids.below(100), extents=1 + ids.below(3), tags=random_tags(ids)))
    for vdi in [vdi for vdi in sr.vdis if vdi.stored and not vdi.hidden and vdi.vdi_type == VHD]:
        if ids.chance(0.1):
            sr.volumes.append(shapes.cbt_log(vdi.uuid, size=vdi.size))
    if ids.chance(0.7):
        sr.text_offset = (1 + ids.below((sr.area_size - SECTOR) // SECTOR)) * SECTOR
    if ids.chance(0.2):
        sr.text_offset = shapes.TEXT_PLACES["wraps_half"](sr.area_size, shapes.text_size(sr))
    return sr


def mixed_sr(seed):
    """random_sr(seed) with some of its trees made of QCOW2 images, raw roots left as they are."""
    sr = random_sr(seed)
    ids = Ids(seed + 1)
    kinds = {}
    for vdi in sr.vdis:
        if vdi.vdi_type == VHD and vdi.stored and kinds.setdefault(id(vdi.chain()[-1]), ids.chance(0.6)):
            vdi.vdi_type = vdi.record_vdi_type = QCOW2
            vdi.volume.name = vdi.volume_name()
    for vdi in sr.vdis:
        if vdi.vdi_type == QCOW2 and ids.chance(0.2):
            vdi.cluster_bits = 14
    return sr


def random_tags(ids):
    return sorted(set(ids.pick(TAG_PARTS) for _ in range(ids.below(3))))


def _deleted(sr, ids):
    vdi = sr.add(random_name(ids), deleted=True)
    sr.vdis.remove(vdi)
    return vdi


def _random_data(vdi, ids):
    last = vdi.size // SECTOR - 8
    taken = sorted(vdi.contents)
    for _ in range(ids.below(5)):
        sector = min(ids.pick(SECTOR_CHOICES), last)
        if all(abs(sector - other) >= 8 for other in taken):
            taken.append(sector)
            shapes.write(vdi, sector, "d%d" % ids.below(1000))


def _grow_disk(sr, ids):
    """Add a disk and let a random history happen to it."""
    size = ids.pick((8 * MIB, 8 * MIB, 4 * MIB, 2 * MIB, 20 * MIB, 5 * MIB + 512, 7 * MIB + 1024))
    reserved = RESERVED_BY_SM if ids.chance(0.05) else ids.pick((0, 0, 64 * MIB))
    vdi = sr.add(random_name(ids), name_description=random_name(ids), size=size, reserved=reserved,
                 vdi_type=RAW if ids.chance(0.25) else VHD, tags=random_tags(ids),
                 record_tags=ids.pick((UPDATED_RECORD, NEW_RECORD)))
    _random_data(vdi, ids)
    if ids.chance(0.1) and vdi.vdi_type == VHD:
        vdi.full_blocks.add(ids.below(size // (2 * MIB)))
    leaves = [vdi]
    for _ in range(ids.below(6)):
        leaf = ids.pick(leaves)
        if len(leaf.chain()) >= MAX_CHAIN:
            continue
        event = ids.below(4)
        if event == 0:
            shapes.snapshot(sr, leaf, random_name(ids))
        elif event == 1:
            leaves.append(shapes.clone(sr, leaf, random_name(ids)))
        elif event == 2:
            depth = min(2 + ids.below(8), MAX_CHAIN - len(leaf.chain()) + 1)
            for _ in range(depth - 1):
                sr.vdis.append(shapes.base_copy(sr, leaf))
        elif len(leaves) > 1:
            # A clone was deleted: a hidden leaf until the garbage collector comes.
            leaves.remove(leaf)
            leaf.hidden, leaf.managed, leaf.volume.read_only = True, False, True
        _random_data(leaf, ids)
