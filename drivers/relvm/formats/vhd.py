# SPDX-License-Identifier: LGPL-2.1-only
"""The VHD structures that name the parent of a disk, as vhd-util writes them into LVs.

All integers are big-endian; offsets are bytes in the LV. Sources: the VHD image format specification 1.0; blktap's
include/libvhd.h, lib/libvhd.c and lib/vhd-util-scan.c.

Footer, 512 bytes: a copy at offset 0, the footer itself in the last 512 bytes of the LV.

    0    8  "conectix"
    16   8  offset of the dynamic header (512 here)
    48   8  virtual size in bytes
    60   4  type: 2 fixed, 3 dynamic, 4 differencing
    64   4  checksum: ones' complement of the sum of all other bytes
    68  16  unique id; a child repeats its parent's
    85   1  hidden (1: an inner node or garbage)

sm sees the copy at offset 0 (vhd-util scan), so that one counts where the two differ; a footer that is changed is written to the end
first. While libvhd moves block tables, both say "v_poison" (libvhd-journal.c): what is between them is then of no one state.

Dynamic header, 1024 bytes at offset 512:

    0    8  "cxsparse"
    8    8  all ones
    16   8  offset of the block allocation table (BAT)
    24   4  version 0x00010000
    28   4  entries in the BAT
    32   4  block size in bytes
    36   4  checksum
    40  16  unique id of the parent; zeros for a raw parent
    56   4  time stamp of the parent
    64 512  name of the parent, UTF-16BE, ended by a zero
    576 24* eight locators: code, space, length, reserved (u32 each), u64 offset of the text;
            space is in bytes, or, where that is less than 512, in sectors

Locators: MacX is UTF-8 and starts with "file://", W2ku and W2ru are UTF-16LE with backslashes.

In an SR the parent's name is the device-mapper name of its LV, VG name and LV name with doubled dashes and one dash between;
all three locators hold it as a relative path, "./<name>". That name carries the SR uuid and the VDI uuid.

A child that gets another parent has new locators before it has a new header (vhd_change_parent of libvhd.c): one whose LV was cloned
in between has names of two parents. A locator that became shorter is filled up with zeros then, under its old length.

A name is only ever compared and rewritten here, never opened.
"""

import array
import struct
import sys
import zlib

from relvm import errors
from relvm.formats import hyperv
from relvm.formats import locators
from relvm.octets import octets
from relvm.octets import text

SECTOR = 512
FOOTER = '>8s8xQ24xQ4xII16sxB'
FOOTER_FIELDS = struct.calcsize(FOOTER)
FOOTER_SIZE = 512
HEADER_AT = 512
HEADER = '>8sQQIIII16s'
HEADER_FIELDS = struct.calcsize(HEADER)
HEADER_SIZE = 1024
HEAD_SIZE = FOOTER_SIZE + HEADER_SIZE
FIXED = 2
DYNAMIC = 3
DIFFERENCING = 4
HEADER_VERSION = 0x00010000
NAME_AT = 64
NAME_SIZE = 512
LOCATORS_AT = 576
LOCATORS = 8
COOKIE = octets('conectix')
HEADER_COOKIE = octets('cxsparse')
POISON = octets('v_poison')
BATMAP_COOKIE = octets('tdbatmap')
HIDDEN_AT = 85
PARENT_ID_AT = 40
NO_BLOCK = 0xffffffff
NO_PARENT = octets('\0') * 16
# A locator holds a path; vhd-util reserves one sector
MAX_LOCATOR = 4096
# The size that vhd-util makes, and the largest that it takes (VHD_BLOCK_SIZE, vhd_validate_header)
MAX_BLOCK = 1 << 21
# MSIZE of lvhdutil: the BAT is laid out for 2 TiB, which is also the largest VHD, in blocks of 2 MiB
MAX_BAT = 1 << 20
BAT_PIECE = 4096
_NO_NAMES = octets('\0') * (16 + NAME_SIZE + 24 * LOCATORS)


def checksum(raw, at):
    """The checksum of a structure whose own checksum stands at `at`."""
    return ~(_sum(raw) - _sum(raw[at:at + 4])) & 0xffffffff


def _sum(raw):
    """The sum of all bytes. Adler-32's low half is that plus 1, modulo 65521, which 256 bytes do not reach."""
    total = 0
    for start in range(0, len(raw), 256):
        total += (zlib.adler32(raw[start:start + 256]) & 0xffff) - 1
    return total


def ends(size):
    """[(offset, length)] of what is read of every VHD in an LV of `size` bytes, which can be read ahead."""
    return [(0, HEAD_SIZE), (size - FOOTER_SIZE, FOOTER_SIZE)]


class Footer(object):
    """type, virtual_size, header_at, unique_id (16 bytes), hidden (bool), raw"""

    def __init__(self, raw):
        self.raw = raw
        _, self.header_at, self.virtual_size, self.type, _, self.unique_id, hidden = \
            struct.unpack(FOOTER, raw[:FOOTER_FIELDS])
        self.hidden = hidden != 0

    def marked(self, hidden):
        """The 512 bytes with that mark."""
        if hidden == self.hidden:
            return self.raw
        raw = self.raw[:HIDDEN_AT] + octets(chr(int(hidden))) + self.raw[HIDDEN_AT + 1:]
        return raw[:64] + struct.pack('>I', checksum(raw, 64)) + raw[68:]


def unmade(size, read):
    """True if no VHD was ever finished in an LV.

    lvcreate zeroes the first 4 KiB; vhd-util writes BAT and locators, then the copy of the footer, the header and the footer. So there is
    no copy of a footer, and no header or one whose BAT is empty; or there is a copy, and zeros in place of the header. Parameters as
    for Disk. It is asked of LVs that hold no Disk.
    """
    head = read(0, HEAD_SIZE)
    header = head[HEADER_AT:]
    if parse_footer(head[:FOOTER_SIZE]) is not None:
        return header == octets('\0') * HEADER_SIZE
    if head[:8] in (COOKIE, POISON):
        return False
    if header[:8] != HEADER_COOKIE:
        return True
    _, _, bat_at, _, entries, _, stored, _ = struct.unpack(HEADER, header[:HEADER_FIELDS])
    if stored != checksum(header, 36) or bat_at % SECTOR or bat_at + entries * 4 > size - FOOTER_SIZE or entries > MAX_BAT:
        return False
    return not _blocks(read, bat_at, entries, 0, NO_BLOCK - 1)


def parse_footer(raw):
    """Footer of 512 bytes, or None when cookie or checksum are wrong (vhd_validate_footer of libvhd).

    An early tapdisk set `hidden` without a new checksum; libvhd takes such a footer, and so it is taken here.
    """
    if raw[:8] != COOKIE:
        return None
    stored = struct.unpack('>I', raw[64:68])[0]
    if checksum(raw, 64) != stored:
        created_by = raw[28:31], struct.unpack('>I', raw[32:36])[0]
        if created_by not in ((octets('tap'), 0x00000001), (octets('tap'), 0x00010001)):
            return None
        if checksum(raw[:85] + octets('\0') + raw[86:], 64) != stored:
            return None
    return Footer(raw)


class Disk(object):
    """The VHD in one LV.

    lv          name of the LV, for sentences
    footer      Footer; virtual_size, hidden  what it says
    differs     the two footers do, and both are good
    parent      (kind, uuid) of the parent's LV as the header has it: ('VHD'|'LV', uuid), or None
    parents     [(kind, uuid)] of all that header and locators name: one, or two in the middle of a change
    parent_id   unique id of the parent that the header repeats
    sr_uuid     the SR that the parent's names say, or None
    names       [(offset, name as stored, encoding)] of the parent: in the header and in every locator
    report      [sentence] about what is odd but harmless
    """

    KIND = 'vhd'

    def __init__(self, lv, size, read):
        """size: of the LV in bytes; read: function (offset, length) -> bytes of the LV, 512-aligned.

        Raises BadVHD, BadLocator, ReadFailed.
        """
        self.lv = lv
        self.size = size
        self.report = []
        self.parent = None
        self.parents = []
        self.sr_uuid = None
        self.names = []
        self._read = read
        self._head = head = read(0, HEAD_SIZE)
        self._end = end = read(size - FOOTER_SIZE, FOOTER_SIZE)
        if POISON in (head[:8], end[:8]):
            raise errors.Poisoned(lv=lv)
        copy = parse_footer(head[:FOOTER_SIZE])
        if copy is None and head[:8] != COOKIE and hyperv.has_footer(size, read, parse_footer):
            raise errors.FixedVHD(lv=lv)
        self.footer = footer = self._choose_footer(copy, end)
        self.virtual_size = footer.virtual_size
        self.hidden = footer.hidden
        if footer.type == FIXED:
            raise errors.FixedVHD(lv=lv)
        if footer.type not in (DYNAMIC, DIFFERENCING):
            self._bad('it has type %d' % footer.type)
        if footer.header_at != HEADER_AT:
            self._bad('its header is at offset %d' % footer.header_at)
        self.header = head[HEADER_AT:]
        self._check_header()
        if footer.type == DIFFERENCING:
            self._read_names(read)
        elif self.parent_id + self.header[NAME_AT:LOCATORS_AT + 24 * LOCATORS] != _NO_NAMES:
            self._bad('it is no differencing disk, but names a parent')

    def _bad(self, what):
        raise errors.BadVHD(lv=self.lv, what=what)

    def _bad_locator(self, what):
        raise errors.BadLocator(lv=self.lv, what=what)

    def _choose_footer(self, copy, raw_end):
        """The one that counts. copy: Footer or None; raw_end: the 512 bytes at the end."""
        self.differs = False
        self._end_is_good = True
        if copy is not None and copy.raw == raw_end:
            return copy
        end = parse_footer(raw_end)
        self._end_is_good = end is not None
        if copy is None:
            if end is None:
                self._bad('both its footers are damaged')
            # libvhd reads the other one in that case
            self.report.append('the footer at the start of %s is damaged, the one at its end is good; the first is mended' % self.lv)
            return end
        if end is None:
            # a VHD that was grown while it was cloned looks like this, and one that is in use
            self.report.append('the footer at the end of %s is damaged, its copy at the start is good' % self.lv)
        else:
            self.differs = True
        return copy

    def _check_header(self):
        header = self.header
        cookie, offset, self.bat_at, version, self.entries, self.block_size, stored, self.parent_id = \
            struct.unpack(HEADER, header[:HEADER_FIELDS])
        if cookie != HEADER_COOKIE or stored != checksum(header, 36):
            self._bad('its header is damaged')
        if version != HEADER_VERSION or offset != 0xffffffffffffffff:
            self._bad('its header has version 0x%08x' % version)
        if self.block_size < SECTOR or self.block_size > MAX_BLOCK or self.block_size & (self.block_size - 1):
            self._bad('blocks of %d bytes' % self.block_size)
        self.bat_size = (self.entries * 4 + SECTOR - 1) // SECTOR * SECTOR
        if self.bat_at % SECTOR or self.bat_at < HEAD_SIZE or self.entries > MAX_BAT or \
                self.bat_at + self.bat_size > self.size - FOOTER_SIZE:
            self._bad('a BAT of %d entries at offset %d' % (self.entries, self.bat_at))
        if self.footer.virtual_size > self.entries * self.block_size:
            self._bad('its size is more than its BAT can hold')

    def _read_names(self, read):
        """The parent's name in the header and in every locator: each must be an LV of the same VG."""
        where = HEADER_AT + NAME_AT
        raw = self.header[NAME_AT:NAME_AT + NAME_SIZE]
        self._add_name(where, locators.until_zero(raw), 'utf-16-be', '')
        self.locators = texts = []
        for number in range(LOCATORS):
            at = LOCATORS_AT + 24 * number
            code, space, length, _, offset = struct.unpack('>4sIIIQ', self.header[at:at + 24])
            code = text(code)
            if code == '\0\0\0\0':
                continue
            if code not in ('MacX', 'W2ku', 'W2ru'):
                self._bad_locator('code %s' % code)
            if space < SECTOR:
                # as the specification has it, in sectors; libvhd writes bytes, and reads both (vhd_parent_locator_size)
                space *= SECTOR
            if not 0 < length <= space or length > MAX_LOCATOR:
                self._bad_locator('%d bytes in a space of %d' % (length, space))
            if offset % SECTOR or offset < HEAD_SIZE or offset + length > self.size - FOOTER_SIZE:
                self._bad_locator('its text is at offset %d' % offset)
            texts.append((offset, length, code, number))
        for offset, stored, code in locators.read_texts(read, texts):
            if code == 'MacX':
                self._add_name(offset, stored, '', 'file://')
            else:
                self._add_name(offset, stored, 'utf-16-le', '')
        self._check_places([(offset, offset + length) for offset, length, _, _ in texts], read)

    def _add_name(self, offset, stored, encoding, prefix):
        """One stored name. Only a plain name of an LV, or ./ and that, is taken."""
        stored = locators.trimmed(stored, encoding)
        try:
            sr_uuid, parent = locators.parsed(stored, encoding, prefix)
        except ValueError:
            self._bad_locator(str(errors.current()))
        if self.parent is None:
            self.parent = parent
        if parent not in self.parents:
            self.parents.append(parent)
        if sr_uuid is not None:
            if self.sr_uuid not in (None, sr_uuid):
                self._bad_locator('it names two SRs')
            self.sr_uuid = sr_uuid
        self.names.append((offset, stored, encoding))

    def _check_places(self, places, read):
        """No locator's text may overlap BAT, batmap, another locator or a data block: rewriting it would change the disk."""
        if not places:
            return
        taken = [('BAT', self.bat_at, self.bat_at + self.bat_size)] + self._batmap(read)
        for start, end in places:
            for what, first, last in taken:
                if start < last and end > first:
                    self._bad_locator('its text lies in the %s' % what)
        ordered = sorted(places)
        for number in range(1, len(ordered)):
            if ordered[number][0] < ordered[number - 1][1]:
                self._bad_locator('two texts overlap')
        used = (self.footer.virtual_size + self.block_size - 1) // self.block_size
        bitmap = self._bitmap_size()
        low = max(0, ordered[0][0] - self.block_size - bitmap) // SECTOR
        high = ordered[-1][1] // SECTOR
        for first in _blocks(read, self.bat_at, used, low, high):
            start = first * SECTOR
            for begin, end in places:
                if begin < start + bitmap + self.block_size and end > start:
                    self._bad_locator('its text lies in a data block')

    def _batmap(self, read):
        """[('batmap', start, end)] of its header, behind the BAT, and of the map (struct dd_batmap_hdr of libvhd.h)."""
        start = self.bat_at + self.bat_size
        raw = read(start, SECTOR)
        if raw[:8] != BATMAP_COOKIE:
            return []
        offset, sectors = struct.unpack('>QI', raw[8:20])
        return [('batmap', start, start + SECTOR), ('batmap', offset, offset + sectors * SECTOR)]

    def check_names(self, sr_uuid, mixed=False):
        """Raises BadLocator unless the names of a parent are complete and of that SR."""
        if len(self.names) == 1:
            self._bad_locator('there is no locator')
        if self.sr_uuid not in (None, sr_uuid):
            self._bad_locator('it names SR %s' % self.sr_uuid)
        if len(self.parents) > 1 and not mixed:
            self._bad_locator('it names %s-%s, others name %s-%s' % (self.parents[1] + self.parents[0]))

    def id_of(self, parent):
        """The unique id by which a child names the Disk `parent`, None for a raw one."""
        if parent is None:
            return NO_PARENT
        return parent.footer.unique_id

    def fits(self, parent):
        """Whether the Disk `parent`, None for a raw one, is what the header says by its unique id."""
        return self.parent_id == self.id_of(parent)

    def structures(self):
        """[(what, native str)] of what names the parent. (A disk without parent that has anything there was refused.)"""
        if self.parent is None:
            return []
        return [('header', text(self.header))] + [('parent locator', stored) for _, stored, _ in self.names]

    def empty(self):
        """True when no block was ever written to this layer. Raises ReadFailed."""
        return not _blocks(self._read, self.bat_at, self.entries, 0, NO_BLOCK - 1)

    def reaches_end(self):
        """True when a block lies where the footer at the end has to be."""
        last = (self.size - FOOTER_SIZE - self.block_size - self._bitmap_size()) // SECTOR + 1
        return len(_blocks(self._read, self.bat_at, self.entries, max(0, last), NO_BLOCK - 1)) > 0

    def _bitmap_size(self):
        return (self.block_size // SECTOR // 8 + SECTOR - 1) // SECTOR * SECTOR

    def rewritten(self, uuids, hidden=None, parent=None, mend_end=False):
        """[(offset in the LV, old bytes, new bytes)], disjoint and of the same lengths: what the disk becomes.

        uuids     {old: new} for the names of the parent
        hidden    the mark that it gets; None leaves it
        parent    (kind, old uuid, unique id) of another parent than it has, or None
        mend_end  the footer at the end is written even if there is none now
        """
        if hidden is None:
            hidden = self.hidden
        footer = self.footer.marked(hidden)
        changes = []
        if footer != self._head[:FOOTER_SIZE]:
            changes.append((0, self._head[:FOOTER_SIZE], footer))
        if self.parent is not None:
            if parent is None:
                header, locators = self._renamed(uuids)
            else:
                header, locators = self._moved(uuids, parent)
            if header != self.header:
                header = header[:36] + struct.pack('>I', checksum(header, 36)) + header[40:]
                changes.append((HEADER_AT, self.header, header))
            changes.extend(locators)
        if footer != self._end and (self._end_is_good or mend_end):
            changes.append((self.size - FOOTER_SIZE, self._end, footer))
        return changes

    def _renamed(self, uuids):
        """(header but for its checksum, [(offset, old, new)] of locators), each name of the same length as it was."""
        header = self.header
        changes = []
        for offset, stored, encoding in self.names:
            new = octets(locators.renamed(stored, encoding, uuids))
            if offset == HEADER_AT + NAME_AT:
                header = header[:NAME_AT] + new + header[NAME_AT + len(new):]
            else:
                changes.append((offset, octets(stored), new))
        return header, changes

    def _moved(self, uuids, parent):
        """The same for another parent: names may be shorter or longer, and their lengths stand in the header."""
        kind, uuid, unique_id = parent
        name = octets(locators.renamed(locators.hung(self.names[0][1], self.names[0][2], kind, uuid), self.names[0][2], uuids))
        header = self.header[:PARENT_ID_AT] + unique_id + self.header[PARENT_ID_AT + 16:NAME_AT] + \
            name + octets('\0') * (NAME_SIZE - len(name)) + self.header[NAME_AT + NAME_SIZE:]
        changes = []
        for (offset, length, _, number), (_, stored, encoding) in zip(self.locators, self.names[1:]):
            new = octets(locators.renamed(locators.hung(stored, encoding, kind, uuid), encoding, uuids))
            at = LOCATORS_AT + 24 * number
            space = struct.unpack('>I', header[at + 4:at + 8])[0]
            if len(new) > space and (space >= SECTOR or len(new) > space * SECTOR):
                self._bad_locator('%d bytes in a space of %d' % (len(new), space))
            header = header[:at + 8] + struct.pack('>I', len(new)) + header[at + 12:]
            size = (max(length, len(new)) + SECTOR - 1) // SECTOR * SECTOR
            changes.append((offset, self._read(offset, size), new + octets('\0') * (size - len(new))))
        return header, changes


def _blocks(read, bat_at, count, low, high):
    """The first sectors, from `low` to `high`, of the blocks that a BAT names; `count` entries are looked at, 1 MiB at a time."""
    found = []
    size = (count * 4 + SECTOR - 1) // SECTOR * SECTOR
    empty = octets('\xff') * BAT_PIECE
    position = 0
    while position < size:
        length = min(size - position, 1 << 20)
        data = read(bat_at + position, length)
        for start in range(0, length, BAT_PIECE):
            piece = data[start:start + BAT_PIECE]
            if empty.startswith(piece):
                continue
            entries = array.array('I', piece)
            if sys.byteorder == 'little':
                entries.byteswap()
            # as a rule every block lies behind the locators, and a look at the lowest one is enough
            if min(entries) <= high:
                entries = entries[:max(0, count - (position + start) // 4)]
                found.extend([entry for entry in entries if low <= entry <= high and entry != NO_BLOCK])
        position += length
    return found
