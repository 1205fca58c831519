# SPDX-License-Identifier: LGPL-2.1-only
"""Writes QCOW2 images as sm and qemu-img make them: version 3, in clusters of 64 KiB.

All integers are big-endian. First cluster: header of 112 bytes, extensions (format of the parent, feature names, sm's mark for
hidden nodes, an end mark), then the parent's path. Second: refcount table with one entry. Third: refcount block, 16 bits a cluster.
Then the L1 table, and behind it, in the order of the disk, an L2 table before the data clusters it points to. Entries carry bit 63, which
says that the cluster's refcount is one.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct

from lvhd.model import RAW, SECTOR

MAGIC = b"QFI\xfb"
VERSION = 3
CLUSTER_BITS = 16
REFCOUNT_ORDER = 4
HEADER = struct.Struct(str(">4sIQIIQIIQQIIQQQQIIQ"))
EXTENSION = struct.Struct(str(">II"))
PARENT_FORMAT, FEATURE_NAMES, HIDDEN = 0xe2792aca, 0x6803f857, 0x76617465
EXTENDED_L2 = 1 << 4
ONE_REFERENCE = 1 << 63
ALL_SUBCLUSTERS = 0xffffffff
# (kind of feature, bit, name); kind 0 is incompatible, 1 compatible, 2 autoclear
FEATURES = ((0, 0, b"dirty bit"), (0, 1, b"corrupt bit"), (0, 2, b"external data file"), (0, 3, b"compression type"),
            (0, 4, b"extended L2 entries"), (1, 0, b"lazy refcounts"), (2, 0, b"bitmaps"), (2, 1, b"raw external data"))


def parent_path(vg_name, parent):
    """The path that sm gives qemu-img as the backing file."""
    return "/dev/%s/%s" % (vg_name, parent.volume.name)


class Layout(object):
    """Where the parts of one image lie: numbers of clusters."""

    def __init__(self, vdi):
        self.bits = vdi.cluster_bits
        self.cluster = 1 << self.bits
        # migrations make images with extended L2 entries, in clusters of 16 KiB
        self.extended = self.bits != CLUSTER_BITS
        self.entry = 16 if self.extended else 8
        self.per_table = self.cluster // self.entry
        self.l1_entries = -(-vdi.size // (self.per_table * self.cluster))
        self.l1 = 3
        after = self.l1 + -(-8 * self.l1_entries // self.cluster)
        self.tables, self.data = {}, {}
        for number in _present(vdi, self.cluster):
            table = number // self.per_table
            if table not in self.tables:
                self.tables[table] = after
                after += 1
            self.data[number] = after
            after += 1
        self.clusters = after
        if self.clusters > self.cluster * 8 >> REFCOUNT_ORDER:
            raise ValueError("one refcount block is not enough for %d clusters" % after)
        # LvmCowUtil.calcVolumeSize: all of the disk and its tables when inflated, what is there otherwise
        blocks = -(-vdi.size // self.cluster)
        inflated = vdi.size + (3 + self.l1 + self.l1_entries + -(-blocks // self.per_table)) * self.cluster
        self.minimum = max(inflated, after * self.cluster) if vdi.inflated else after * self.cluster


def _present(vdi, cluster):
    """The numbers of the clusters that the image itself holds, in ascending order."""
    sectors = cluster // SECTOR
    present = set()
    for block in vdi.full_blocks:
        present.update(range(block * 4096 // sectors, min((block + 1) * 4096, vdi.size // SECTOR) // sectors))
    for sector in vdi.contents:
        present.add(sector // sectors)
        present.add((sector + 7) // sectors)
    return sorted(present)


def extension(kind, data):
    return EXTENSION.pack(kind, len(data)) + data + b"\0" * (-len(data) % 8)


def head(vdi, layout, vg_name):
    """Header, extensions and the parent's path."""
    extensions = b""
    if vdi.parent is not None:
        extensions += extension(PARENT_FORMAT, b"raw" if vdi.parent.vdi_type == RAW else b"qcow2")
    extensions += extension(FEATURE_NAMES, b"".join(
        struct.pack(str(">BB46s"), kind, bit, name) for kind, bit, name in FEATURES))
    if vdi.marked:
        extensions += extension(HIDDEN, (b"\x01" if vdi.hidden else b"\0").ljust(8, b"\0"))
    extensions += EXTENSION.pack(0, 0)
    path, place = b"", 0
    if vdi.parent is not None:
        path = parent_path(vg_name, vdi.parent).encode("ascii")
        place = HEADER.size + len(extensions)
    fixed = HEADER.pack(MAGIC, VERSION, place, len(path), layout.bits, vdi.size, 0, layout.l1_entries, layout.l1 * layout.cluster,
                        layout.cluster, 1, 0, 0, EXTENDED_L2 if layout.extended else 0, 0, 0, REFCOUNT_ORDER, HEADER.size, 0)
    return fixed + extensions + path


def chunks(vdi, vg_name):
    """(offset, bytes) of everything that is not zero in the volume of a QCOW2 VDI."""
    layout = Layout(vdi)
    yield 0, head(vdi, layout, vg_name)
    yield layout.cluster, struct.pack(str(">Q"), 2 * layout.cluster)
    yield 2 * layout.cluster, struct.pack(str(">H"), 1) * layout.clusters
    for table, place in sorted(layout.tables.items()):
        yield layout.l1 * layout.cluster + 8 * table, struct.pack(str(">Q"), place * layout.cluster | ONE_REFERENCE)
    sectors = layout.cluster // SECTOR
    # a cluster is copied as a whole when something is written into it
    seen = vdi.virtual_sectors()
    for number, place in sorted(layout.data.items()):
        table, index = divmod(number, layout.per_table)
        entry = struct.pack(str(">Q"), place * layout.cluster | ONE_REFERENCE)
        if layout.extended:
            entry += struct.pack(str(">Q"), ALL_SUBCLUSTERS)
        yield layout.tables[table] * layout.cluster + index * layout.entry, entry
        for sector in range(number * sectors, (number + 1) * sectors):
            content = seen.get(sector)
            if content is not None and content != b"\0" * SECTOR:
                yield place * layout.cluster + (sector % sectors) * SECTOR, content
