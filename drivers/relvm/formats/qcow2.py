# SPDX-License-Identifier: LGPL-2.1-only
"""The header of a QCOW2 image, as qemu-img and sm write it into an LV: the one place that names the parent of a disk.

All integers are big-endian; offsets are bytes in the LV. Sources: QEMU's docs/interop/qcow2.txt and block/qcow2.c; qcow2util.py of
the sm that XCP-ng 8.3 has since April 2026, for its own extension and for what it makes.

Header, version 3:

    0    4  "QFI" and 0xfb
    4    4  version; sm makes 3
    8    8  offset of the parent's name, 0 without a parent
    16   4  length of that name in bytes; there is no zero behind it
    20   4  cluster bits: 16 in sm's images, 14 in those that a live migration made
    24   8  virtual size in bytes
    32   4  encryption: 0
    36   4  entries of the L1 table, 8 bytes each
    40   8  offset of the L1 table
    48   8  offset of the refcount table
    56   4  clusters of the refcount table
    60   4  internal snapshots: 0
    64   8  offset of their table
    72   8  incompatible features: bit 4 (extended L2 entries) or none
    80   8  compatible features, which a reader may ignore
    88   8  autoclear features: 0
    96   4  refcount order, up to 6
    100  4  length of the header: where the extensions start
    104  1  compression type, in a header that is long enough: 0

Header extensions: type, length (u32 each), data, zeros up to a multiple of 8. The last one has type 0.

    0xe2792aca  format of the parent: "qcow2" or "raw"
    0x6803f857  names of features, for people
    0x76617465  sm's own, 8 bytes: the first one is 1 for a hidden node, the others are 0. An image from elsewhere has none

Header, extensions and name lie in the first cluster, which holds nothing else. The name of a parent is

    /dev/VG_XenStorage-<SR uuid>/QCOW2-<VDI uuid>       or LV-<VDI uuid> for a raw parent

and may be the path of the same LV below /dev/mapper, with doubled dashes. No uuid stands anywhere else, no checksum covers the
name, and nothing but the name ties a child to its parent. So a new name of the same length is written over the old one.

An L1 entry is 0, but for its flags, until something below it is written: a disk whose entries are all 0 is empty.
"""

import re
import struct

from relvm import errors
from relvm import identity
from relvm.octets import octets
from relvm.octets import text

SECTOR = 512
MAGIC = octets('QFI\xfb')
VHD_COOKIE = octets('conectix')
VERSION = 3
HEADER = '>4sIQIIQIIQQIIQQQQII'
HEADER_FIELDS = struct.calcsize(HEADER)
COMPRESSION_AT = 104
EXTENSION = '>II'
EXTENSION_HEAD = struct.calcsize(EXTENSION)
END = 0
PARENT_FORMAT = 0xe2792aca
FEATURE_NAMES = 0x6803f857
HIDDEN = 0x76617465
HIDDEN_SIZE = 8
EXTENDED_L2 = 1 << 4
# What is read of every image, and where the header of one must end at the latest; sm's end below 1 KiB
HEAD_SIZE = 4096
MAX_HEAD = 65536
# Limits of QEMU: MIN_CLUSTER_BITS, MAX_CLUSTER_BITS, QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE (block/qcow2.h)
CLUSTER_BITS = (9, 21)
MAX_L1 = 32 << 20
MAX_REFCOUNTS = 8 << 20
MAX_NAME = 1023
MAX_REFCOUNT_ORDER = 6
# Bits 9 to 55 of an L1 entry
L1_OFFSET = 0x00fffffffffffe00
L1_PIECE = 1 << 20
# The formats of parents, and how their LVs are named
PARENTS = {'qcow2': 'QCOW2', 'raw': 'LV'}

_DOUBLED = identity.UUID.pattern.replace('}-', '}--')
_PATH = re.compile(r'/dev/VG_XenStorage-(%s)/(QCOW2|LV)-(%s)\Z' % (identity.UUID.pattern, identity.UUID.pattern))
_MAPPED = re.compile(r'/dev/mapper/VG_XenStorage--(%s)-(QCOW2|LV)--(%s)\Z' % (_DOUBLED, _DOUBLED))
_INCOMPATIBLE = {0: 'it is marked dirty', 1: 'it is marked corrupt', 2: 'its data is in another file', 3: 'it has a compression type'}
_STRANGE = {0x23852875: 'it has bitmaps', 0x0537be77: 'it is encrypted', 0x44415441: 'its data is in another file'}


def ends(size):
    """[(offset, length)] of what is read of every image in an LV of `size` bytes, which can be read ahead."""
    return [(0, min(size, HEAD_SIZE))]


def unmade(size, read):
    """True if no image was ever finished in an LV: there is no magic, nor a VHD, which sm has put into such LVs by mistake; or a header
    that says size 0, which is what qemu-img begins with.

    Parameters as for Disk.
    """
    head = read(0, min(size, SECTOR))
    if head[:4] != MAGIC:
        return head[:8] != VHD_COOKIE
    return struct.unpack('>Q', head[24:32])[0] == 0


class Disk(object):
    """The QCOW2 image in one LV.

    lv            name of the LV, for sentences
    virtual_size  bytes
    hidden        as sm reads it; hidden_at  where that byte is, None without sm's extension
    parent        (kind, uuid) of the parent's LV: ('QCOW2'|'LV', uuid), or None
    parents       [parent], or []
    sr_uuid       the SR that the parent's name says, or None
    names         [(offset, name as stored, '')]: one with a parent, else none
    report        [sentence] about what is odd but harmless
    """

    KIND = 'qcow2'
    differs = False

    def __init__(self, lv, size, read):
        """size: of the LV in bytes; read: function (offset, length) -> bytes of the LV, 512-aligned.

        Raises BadQcow2, ReadFailed.
        """
        self.lv = lv
        self.size = size
        self.report = []
        self.parent = None
        self.parents = []
        self.sr_uuid = None
        self.names = []
        self._read = read
        self.head = read(0, min(size, HEAD_SIZE))
        self._check_header()
        end = self._read_extensions()
        self._read_parent(end)

    def _bad(self, what):
        raise errors.BadQcow2(lv=self.lv, what=what)

    def _check_header(self):
        if self.head[:4] != MAGIC:
            self._bad('there is no QCOW2 image in it')
        _, version, self.name_at, self.name_size, bits, self.virtual_size, encryption, self.l1_entries, self.l1_at, refcounts_at, \
            refcount_clusters, snapshots, _, incompatible, _, autoclear, order, self.header_size = \
            struct.unpack(HEADER, self.head[:HEADER_FIELDS])
        if version != VERSION:
            self._bad('it has version %d' % version)
        if not CLUSTER_BITS[0] <= bits <= CLUSTER_BITS[1]:
            self._bad('clusters of 2^%d bytes' % bits)
        self.cluster = 1 << bits
        for bit in range(64):
            if incompatible >> bit & 1 and 1 << bit != EXTENDED_L2:
                self._bad(_INCOMPATIBLE.get(bit, 'it has the unknown feature %d' % bit))
        if autoclear:
            self._bad('autoclear features 0x%x' % autoclear)
        if encryption:
            self._bad('it is encrypted')
        if snapshots:
            self._bad('it has %d internal snapshots' % snapshots)
        if order > MAX_REFCOUNT_ORDER:
            self._bad('a refcount order of %d' % order)
        if self.header_size < HEADER_FIELDS or self.header_size % 8 or self.header_size > min(self.cluster, self.size):
            self._bad('a header of %d bytes' % self.header_size)
        if self.virtual_size == 0 or self.virtual_size % SECTOR:
            self._bad('a size of %d bytes' % self.virtual_size)
        self._check_tables(incompatible, refcounts_at, refcount_clusters)

    def _check_tables(self, features, refcounts_at, refcount_clusters):
        """L1 and refcount table lie in the LV and outside the first cluster, and the L1 table is large enough for the disk."""
        entry = 8
        if features & EXTENDED_L2:
            entry = 16
        covered = self.cluster // entry * self.cluster
        self.l1_used = (self.virtual_size + covered - 1) // covered
        length = self.l1_entries * 8
        if self.l1_entries < self.l1_used or length > MAX_L1 or self._misplaced(self.l1_at, length):
            self._bad('an L1 table of %d entries at offset %d' % (self.l1_entries, self.l1_at))
        length = refcount_clusters * self.cluster
        if not 0 < length <= MAX_REFCOUNTS or self._misplaced(refcounts_at, length):
            self._bad('a refcount table of %d clusters at offset %d' % (refcount_clusters, refcounts_at))

    def _misplaced(self, offset, length):
        return offset % self.cluster or offset < self.cluster or offset + length > self.size

    def _need(self, end):
        """The first `end` bytes have been read, or it is no header that sm or QEMU would write."""
        if end > min(self.cluster, MAX_HEAD, self.size):
            self._bad('its header does not end in the first cluster')
        if end > len(self.head):
            self.head = self._read(0, min(self.cluster, MAX_HEAD, self.size))

    def _read_extensions(self):
        """Fills in format and hidden; where the extensions end."""
        if self.header_size > COMPRESSION_AT:
            self._need(self.header_size)
            if self.head[COMPRESSION_AT:COMPRESSION_AT + 1] != octets('\0'):
                self._bad('it has a compression type')
        self.hidden = False
        self.hidden_at = None
        self.parent_format = None
        seen = {}
        position = self.header_size
        while True:
            start = position + EXTENSION_HEAD
            self._need(start)
            kind, length = struct.unpack(EXTENSION, self.head[position:start])
            if kind == END:
                break
            position = start + (length + 7) // 8 * 8
            self._need(position)
            if kind in seen:
                self._bad('it has the header extension 0x%08x twice' % kind)
            seen[kind] = None
            data = text(self.head[start:start + length])
            if kind == PARENT_FORMAT:
                self.parent_format = data
            elif kind == HIDDEN:
                self._read_hidden(start, data)
            elif kind != FEATURE_NAMES:
                self._bad(_STRANGE.get(kind, 'it has the unknown header extension 0x%08x' % kind))
        if self.hidden_at is None:
            self.report.append('%s has no mark of sm that says whether it is hidden; it is taken as visible' % self.lv)
        return start

    def _read_hidden(self, start, data):
        if len(data) != HIDDEN_SIZE or data[1:] != '\0' * (HIDDEN_SIZE - 1):
            self._bad('its mark for hidden nodes is not the one that sm makes')
        self.hidden_at = start
        self.hidden = data[0] != '\0'

    def _read_parent(self, end):
        """The parent's name: only a plain path of an LV of an SR is taken."""
        if self.name_at == 0:
            return
        if self.name_at < end or not 0 < self.name_size <= MAX_NAME:
            self._bad('its parent has a name of %d bytes at offset %d' % (self.name_size, self.name_at))
        self._need(self.name_at + self.name_size)
        name = text(self.head[self.name_at:self.name_at + self.name_size])
        match = _PATH.match(name) or _MAPPED.match(name)
        if match is None:
            self._bad('its parent is %s' % name)
        self.sr_uuid, kind, uuid = [part.replace('--', '-') for part in match.groups()]
        if PARENTS.get(self.parent_format) != kind:
            self._bad('the format of its parent %s is %s' % (name, self.parent_format or 'not said'))
        self.parent = kind, uuid
        self.parents = [self.parent]
        self.names.append((self.name_at, name, ''))

    def check_names(self, sr_uuid, mixed=False):
        """Raises BadQcow2 unless the name of a parent is of that SR."""
        if self.sr_uuid not in (None, sr_uuid):
            self._bad('it names SR %s' % self.sr_uuid)

    def fits(self, parent):
        """True: the format has nothing beside the name that could say that a Disk (None for a raw one) is not the parent."""
        return True

    def structures(self):
        """[(what, native str)] of what names the parent."""
        if self.parent is None:
            return []
        return [('header', text(self.head[:self.name_at + self.name_size]))]

    def empty(self):
        """True when nothing was ever written to this layer. Raises ReadFailed."""
        position = 0
        while position < self.l1_used * 8:
            # whole sectors: the table's last one may hold entries that mean nothing
            length = min(self.l1_used * 8 - position, L1_PIECE)
            data = self._read(self.l1_at + position, (length + SECTOR - 1) // SECTOR * SECTOR)[:length]
            if data != octets('\0') * length:
                for entry in struct.unpack('>%dQ' % (length // 8), data):
                    if entry & L1_OFFSET:
                        return False
            position += length
        return True

    def id_of(self, parent):
        """Images have no ids."""

    def rewritten(self, uuids, hidden=None, parent=None, mend_end=False):
        """[(offset in the LV, old bytes, new bytes)], disjoint and of the same lengths: what the disk becomes.

        uuids   {old: new} for the name of the parent
        hidden  the mark that it gets; None leaves it
        parent, mend_end  are of VHDs: a name is changed in one write, and there is no footer

        Raises BadQcow2 when there is no mark to set.
        """
        changes = []
        if hidden is not None and hidden != self.hidden:
            if self.hidden_at is None:
                self._bad('it would have to be marked as hidden, and sm has not made the mark yet')
            changes.append((self.hidden_at, self.head[self.hidden_at:self.hidden_at + 1], octets(chr(int(hidden)))))
        for offset, name, _ in self.names:
            new = renamed(name, uuids)
            if new != name:
                changes.append((offset, octets(name), octets(new)))
        return changes


def renamed(name, uuids):
    """A parent's path with the uuids of SR and VDI replaced."""
    match = _PATH.match(name)
    if match:
        return '/dev/VG_XenStorage-%s/%s-%s' % _names(match.groups(), uuids)
    match = _MAPPED.match(name)
    parts = _names([part.replace('--', '-') for part in match.groups()], uuids)
    return '/dev/mapper/VG_XenStorage--%s-%s--%s' % tuple([part.replace('-', '--') for part in parts])


def _names(parts, uuids):
    sr_uuid, kind, uuid = parts
    return uuids.get(sr_uuid, sr_uuid), kind, uuids.get(uuid, uuid)
