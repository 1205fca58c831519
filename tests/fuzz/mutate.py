# SPDX-License-Identifier: LGPL-2.1-only
"""Mutations of a LUN by structure, with the checksums made right again, and by bytes.

A mutation takes a Target and Choices. What it can do is bounded, so that a million of them can be tried.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import re
import struct

from fuzz.edit import HEADER, HEADER_AT, LOCATOR, LOCATORS_AT, Editor
from fuzz.locked import BODY, HEAD, Locked
from lvhd import mgt
from lvhd.model import SECTOR

# Where integers break
NUMBERS = [0, 1, 2, 3, 7, 8, 255, 511, 512, 513, 1023, 1024, 1535, 1536, 2048, 4095, 4096, 4097, 8192, 65535, 65536, (1 << 20) - 1,
           1 << 20, (1 << 20) + 1, 1 << 21, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 512, (1 << 32) - 1, 1 << 32, (1 << 40),
           (1 << 53) - 1, (1 << 54) - 1, (1 << 63) - 512, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 512, (1 << 64) - 1]
UUIDS = ["00000000-0000-0000-0000-000000000000", "12345678-1234-4123-8123-123456789abc", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
STRINGS = ["", "a", "..", "/", "../../etc/passwd", "VHD-", "LV-", "MGT", "OLD_x", "hidden", "journaler", "jvhd", "cbtlog", "EXPORTED",
           "READ", "WRITE", "VISIBLE", "ALLOCATABLE", "MISSING", "striped", "linear", "mirror", "lvm2", "pv0", "pv1", "none", "inherit",
           "\\\\", "\\\"", "a" * 127, "x" * 300, "<", "&", "&amp;", "%s", "%(what)s", "\x1b[2J", "\t", "\n", "\r", "\x7f", "\xc2\x80",
           "\xe9", "\xff\xfe", "\0", "VG_XenStorage-" + UUIDS[1], "VHD-" + UUIDS[0], "LV-" + UUIDS[1],
           "clone_%s_%s" % (UUIDS[0], UUIDS[1]), UUIDS[1] + ".cbtlog"] + UUIDS
LINES = ["x = 1", "a {\n}", "}", "{", "tags = [\"hidden\"]", "tags = []", "id = \"x\"", "segment_count = 0", "status = []",
         "flags = [\"x\"]", "# comment", "x = [1, 2, \"3\",]", "x = 1.5", "x = \"\\\\\"", "x = -1", "format = \"lvm2\"", "= 1", "x",
         "x =", "[", "]", "\"", "seqno = 5", "logical_volumes {", "system_id = \"\"", "lock_type = \"none\"", "creation_time = 0",
         "type = \"striped\"", "stripes = [", "\"pv0\", 0"]
# Header fields that are mutated first may make a text as long as its area
LONGEST_TEXT = 30000
TOKEN = re.compile(b'"[^"\\n]*"|[0-9]+|[A-Za-z_][A-Za-z0-9_.+-]*|[^ \\t\\n]')


def latin(string):
    return string.encode("latin-1")


class Target(object):
    """A LUN that is mutated: the Editor's medium is a copy of the base. locked: fuzz.locked.Locked when it carries a log in force."""

    def __init__(self, editor):
        self.editor = editor
        self.locked = editor if isinstance(editor, Locked) else None
        self.vhds = sorted(name for name in editor.volumes if name.startswith("VHD-"))
        self.qcow2s = sorted(name for name in editor.volumes if name.startswith("QCOW2-"))

    def copy(self):
        """The same LUN, to be mutated."""
        editor = object.__new__(type(self.editor))
        editor.__dict__.update(self.editor.__dict__)
        editor.medium = self.editor.medium.copy()
        if self.locked:
            editor.fields, editor.runs = list(self.locked.fields), list(self.locked.runs)
        twin = object.__new__(Target)
        twin.editor, twin.vhds, twin.qcow2s = editor, self.vhds, self.qcow2s
        twin.locked = editor if self.locked else None
        return twin

    def text(self):
        return (self.locked.staged_text() if self.locked else self.editor.read_text())[:LONGEST_TEXT]

    def write_text(self, data, choices):
        if self.locked:
            return self.locked.write_staged_text(data[:LONGEST_TEXT])
        ending = b"\0" if not choices.one_in(40) else choices.pick([b"", b"\0\0", b"\0x\0"])
        self.editor.write_text(data[:LONGEST_TEXT], ending=ending)


def number(choices):
    value = choices.pick(NUMBERS)
    if choices.one_in(3):
        value += choices.below(5) - 2
    return max(0, value) & (1 << 64) - 1


def scratch(raw, choices, fields):
    """Changes a bytearray in place: a field (offset, struct form) gets another number, or bytes are overwritten."""
    if choices.below(4):
        offset, form = choices.pick(fields)
        size = struct.calcsize(str(form))
        value = number(choices) & (1 << 8 * size) - 1
        if choices.one_in(4):
            value = (struct.unpack_from(str(form), raw, offset)[0] + choices.below(33) - 16) & (1 << 8 * size) - 1
        struct.pack_into(str(form), raw, offset, value)
    else:
        spoil_bytes(raw, choices)


def spoil_bytes(raw, choices):
    if not raw:
        return
    kind = choices.below(4)
    place = choices.below(len(raw))
    if kind == 0:
        raw[place] ^= 1 << choices.below(8)
    elif kind == 1:
        raw[place] = choices.below(256)
    elif kind == 2:
        length = 1 + choices.below(16)
        raw[place:place + length] = bytearray(choices.raw(min(length, len(raw) - place)))
    else:
        source = choices.below(len(raw))
        length = min(1 + choices.below(64), len(raw) - max(place, source))
        raw[place:place + length] = raw[source:source + length]


LABEL_FIELDS = [(8, "<Q"), (20, "<I"), (64, "<Q")] + [(offset, "<Q") for offset in range(72, 160, 8)]
AREA_FIELDS = [(20, "<I"), (24, "<Q"), (32, "<Q"), (40, "<Q"), (48, "<Q"), (56, "<I"), (60, "<I"), (64, "<Q"), (72, "<Q"), (80, "<I"),
               (84, "<I")]
FOOTER_FIELDS = [(8, ">I"), (12, ">I"), (16, ">Q"), (32, ">I"), (40, ">Q"), (48, ">Q"), (60, ">I"), (68, ">Q"), (84, ">B"), (85, ">B")]
HEADER_FIELDS = [(8, ">Q"), (16, ">Q"), (24, ">I"), (28, ">I"), (32, ">I"), (40, ">Q"), (56, ">I"), (64, ">H"), (66, ">H")] + [
    (LOCATORS_AT + 24 * index + offset, form) for index in range(8)
    for offset, form in ((0, ">I"), (4, ">I"), (8, ">I"), (12, ">I"), (16, ">Q"))]


# The header; then the extensions as lvhd writes them: format of a parent, names of features, mark, end
QCOW2_FIELDS = [(0, ">I"), (4, ">I"), (8, ">Q"), (16, ">I"), (20, ">I"), (24, ">Q"), (32, ">I"), (36, ">I"), (40, ">Q"), (48, ">Q"),
                (56, ">I"), (60, ">I"), (64, ">Q"), (72, ">Q"), (80, ">Q"), (88, ">Q"), (96, ">I"), (100, ">I"), (104, ">B"), (112, ">I"),
                (116, ">I"), (128, ">I"), (132, ">I"), (504, ">I"), (508, ">I"), (512, ">Q"), (520, ">I"), (524, ">I"), (528, ">Q"),
                (536, ">Q")]


def mutate_label(target, choices):
    target.editor.label(lambda raw: scratch(raw, choices, LABEL_FIELDS), sum_right=not choices.one_in(20))


def mutate_area(target, choices):
    offset = target.locked.staged if target.locked and choices.below(4) else None
    target.editor.area(lambda raw: scratch(raw, choices, AREA_FIELDS), sum_right=not choices.one_in(20), offset=offset)


def mutate_text(target, choices):
    data = target.text()
    kind = choices.below(6)
    if kind == 0:
        raw = bytearray(data)
        spoil_bytes(raw, choices)
        data = bytes(raw)
    elif kind < 4:
        data = another_token(data, choices)
    else:
        data = other_lines(data, choices)
    target.write_text(data, choices)


def another_token(data, choices):
    """One number, string, name or mark becomes another."""
    tokens = list(TOKEN.finditer(data))
    if not tokens:
        return data
    match = choices.pick(tokens)
    old = match.group()
    kind = choices.below(4)
    if kind == 0:
        new = choices.pick(tokens).group()
    elif old[:1] == b'"':
        new = b'"' + latin(choices.pick(STRINGS)) + b'"'
    elif old.isdigit():
        new = latin("%d" % (number(choices) if choices.below(3) else max(0, int(old[:18]) + choices.below(9) - 4)))
    else:
        new = latin(choices.pick(STRINGS))
    return data[:match.start()] + new + data[match.end():]


def other_lines(data, choices):
    """A line is left out, doubled, moved or put in; a whole section is left out or doubled; the text ends early."""
    lines = data.split(b"\n")
    place = choices.below(len(lines))
    kind = choices.below(7)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[choices.below(len(lines))])
    elif kind == 2:
        lines.insert(place, lines.pop(choices.below(len(lines))))
    elif kind == 3:
        lines.insert(place, latin(choices.pick(LINES)))
    elif kind == 4:
        return b"\n".join(lines[:place])
    else:
        starts = [index for index, line in enumerate(lines) if line.endswith(b"{")]
        if starts:
            start = choices.pick(starts)
            depth, end = 0, start
            while end < len(lines):
                depth += lines[end].count(b"{") - lines[end].count(b"}")
                end += 1
                if depth <= 0:
                    break
            if kind == 5:
                del lines[start:end]
            else:
                lines[start:start] = lines[start:end]
    return b"\n".join(lines)


def mutate_mgt(target, choices):
    """One sector of MGT."""
    editor = target.editor
    count = sum(1 for vdi in editor.sr.vdis if vdi.recorded)
    start = SECTOR * choices.below(4 + 2 * count + (1 if choices.one_in(10) else 0))
    sector = editor.read("MGT", start, SECTOR)
    kind = choices.below(5)
    if start == 0 and kind < 4:
        used = number(choices) % (1 << 34) if choices.below(3) else mgt.RECORDS + mgt.RECORD * choices.below(count + 3)
        sector = latin("XSSM:%-10d:%s" % (used, choices.pick(["1:2", "1:2", "1:2", "1:1", "2:0", "1:2 ", "1:22", ""])))
    elif kind < 3:
        sector = another_field(sector, choices)
    elif kind == 3:
        sector = sector.rstrip(b" ") + latin(choices.pick(STRINGS))
    else:
        raw = bytearray(sector)
        spoil_bytes(raw, choices)
        sector = bytes(raw)
    editor.write("MGT", start, sector[:SECTOR].ljust(SECTOR))


def another_field(sector, choices):
    """An element gets another value or name, is left out or doubled."""
    fields = list(re.finditer(b"<([a-z_]+)>([^<>]*)</[a-z_]+>", sector))
    if not fields:
        return sector
    match = choices.pick(fields)
    kind = choices.below(6)
    if kind == 0:
        return sector[:match.start()] + sector[match.end():]
    if kind == 1:
        return sector[:match.start()] + match.group() + sector[match.start():].rstrip(b" ")
    if kind == 2:
        value = choices.pick(fields).group(2)
    elif kind == 3:
        value = latin(choices.pick(["0", "1", "2", "-1", "", "vhd", "aio", "qcow2", "user", "ha_statefile", "redo_log", "metadata",
                                    "system", "thin", "OpaqueRef:NULL", "20200101T00:00:00Z"]))
    else:
        value = latin(choices.pick(STRINGS))
    return sector[:match.start(2)] + value + sector[match.end(2):].rstrip(b" ")


def mutate_footer(target, choices):
    which = choices.below(3)
    target.editor.footer(choices.pick(target.vhds), lambda raw: scratch(raw, choices, FOOTER_FIELDS), copy=which != 1, end=which != 0,
                         sum_right=not choices.one_in(10))


def mutate_header(target, choices):
    target.editor.header(choices.pick(target.vhds), lambda raw: scratch(raw, choices, HEADER_FIELDS), sum_right=not choices.one_in(20))


def mutate_parent(target, choices):
    """Another parent of the same LUN, or one that is nowhere, in the header and in all locators; sometimes with the right unique id."""
    editor = target.editor
    name = choices.pick(target.vhds)
    raw = editor.read(name, HEADER_AT, HEADER)
    old = raw[64:576].decode("utf-16-be", "replace").split("\0")[0]
    uuids = [volume.split("-", 1)[1] for volume in target.vhds] + UUIDS
    doubled = choices.pick(uuids).replace("-", "--")
    if not re.match("VG_XenStorage--[ -~]{86}\\Z", old):
        return
    new = old[:-len(doubled)] + doubled
    if choices.one_in(4):
        new = old[:15] + choices.pick(UUIDS).replace("-", "--") + old[55:]
    editor.names(name, old, new)
    if choices.below(3):
        unique = editor.read(choices.pick(target.vhds), 68, 16)
        editor.header(name, lambda raw: raw.__setitem__(slice(40, 56), bytearray(unique)))


def mutate_locator(target, choices):
    """The text of a locator."""
    editor = target.editor
    name = choices.pick(target.vhds)
    code, space, length, _, offset = LOCATOR.unpack(editor.read(name, HEADER_AT + LOCATORS_AT + 24 * choices.below(3), 24))
    if not length or offset + SECTOR > editor.size(name) or length > SECTOR:
        return
    raw = bytearray(editor.read(name, offset, length))
    if choices.below(3):
        spoil_bytes(raw, choices)
    else:
        text = latin(choices.pick(STRINGS))
        raw[:len(text)] = bytearray(text)
        raw = raw[:length]
    editor.write(name, offset, bytes(raw))


def mutate_bat(target, choices):
    """An entry of the block table, or the batmap's header."""
    editor = target.editor
    name = choices.pick(target.vhds)
    if choices.one_in(4):
        raw = bytearray(editor.read(name, 2048, SECTOR))
        scratch(raw, choices, [(0, ">Q"), (8, ">Q"), (16, ">I")])
        editor.write(name, 2048, bytes(raw))
    else:
        editor.write(name, 1536 + 4 * choices.below(2), struct.pack(str(">I"), number(choices) & 0xffffffff))


def mutate_qcow2(target, choices):
    """A field of a QCOW2 header or of its extensions, the parent's path, or an L1 entry."""
    editor = target.editor
    if not target.qcow2s:
        return mutate_bytes(target, choices)
    name = choices.pick(target.qcow2s)
    raw = bytearray(editor.read(name, 0, 4096))
    place, length = struct.unpack_from(str(">QI"), raw, 8)
    kind = choices.below(6)
    if kind < 3:
        scratch(raw, choices, QCOW2_FIELDS)
    elif kind == 3 and 0 < place < 4096 - length and 0 < length < 2048:
        path = bytes(raw[place:place + length]).decode("latin-1")
        if choices.below(3):
            uuids = [volume.split("-", 1)[1] for volume in target.qcow2s] + UUIDS
            path = path[:-36] + choices.pick(uuids) if choices.below(3) else path[:23] + choices.pick(uuids) + path[59:]
        else:
            path = choices.pick(STRINGS + [path + "\0", path[1:], "json:{}", path.replace("QCOW2-", "VHD-")])
        struct.pack_into(str(">I"), raw, 16, len(path))
        raw[place:place + len(path)] = bytearray(latin(path))
    elif kind == 4:
        raw[choices.below(700)] = choices.below(256)
    else:
        table, = struct.unpack_from(str(">Q"), raw, 40)
        if table % SECTOR == 0 and table + SECTOR <= editor.size(name):
            editor.write(name, table, struct.pack(str(">Q"), number(choices)))
    editor.write(name, 0, bytes(raw[:4096]))


def mutate_log(target, choices):
    """The log of a locked LUN: its fields, its runs, or its bytes."""
    log = target.locked
    kind = choices.below(6)
    if kind == 0:
        index = choices.pick([4, 5, 6, 7])
        log.fields[index] = number(choices) & (0xffffffff if index == 6 else (1 << 64) - 1)
    elif kind == 1:
        data = choices.raw(1 + choices.below(40))
        log.runs.append((choices.pick([number(choices), choices.below(log.medium.size), log.sr.pe_start + choices.below(1 << 21)]), data))
    elif kind == 2 and log.runs:
        log.runs.pop(choices.below(len(log.runs)))
    elif kind == 3 and log.runs:
        index = choices.below(len(log.runs))
        raw = bytearray(log.runs[index][1])
        spoil_bytes(raw, choices)
        log.runs[index] = log.runs[index][0], bytes(raw)
    elif kind == 4 and log.runs:
        index = choices.below(len(log.runs))
        log.runs[index] = min(max(0, log.runs[index][0] + choices.below(1025) - 512), (1 << 64) - 1), log.runs[index][1]
    if kind == 5:
        raw = bytearray(log.read("MGT", log.end - 3 * HEAD, 3 * HEAD))
        spoil_bytes(raw, choices)
        log.write("MGT", log.end - 3 * HEAD, bytes(raw))
    else:
        extra = {}
        if choices.one_in(8):
            extra = {choices.pick(["count", "length"]): number(choices)}
            extra = dict((str(name), value & (0xffffffff if name == "count" else (1 << 64) - 1)) for name, value in extra.items())
        log.seal(sums_right=not choices.one_in(10), **extra)


def mutate_bytes(target, choices):
    """Bytes of any structure, and no checksum."""
    editor = target.editor
    places = [(0, 4096), (editor.sr.area_offset, 4096)] + editor.places("MGT", 0, mgt.RECORDS + mgt.RECORD * 4)
    for name in target.vhds + target.qcow2s:
        places.append(editor.places(name, 0, 4096)[0])
        places.append(editor.places(name, editor.size(name) - SECTOR, SECTOR)[0])
    if target.locked:
        places.append((target.locked.staged, 4096))
    offset, length = choices.pick(places)
    raw = bytearray(editor.medium.read(offset, length))
    for _ in range(1 + choices.below(3)):
        spoil_bytes(raw, choices)
    editor.medium.write(offset, bytes(raw))


PLAIN = [mutate_label, mutate_area, mutate_text, mutate_text, mutate_text, mutate_mgt, mutate_mgt, mutate_footer, mutate_header,
         mutate_parent, mutate_locator, mutate_bat, mutate_bytes, mutate_qcow2]
LOCKED = PLAIN + [mutate_log] * 6


def mutate(base, choices, most=3):
    """A mutated copy of a Target; at least one mutation, seldom more than `most`."""
    target = base.copy()
    mutations = LOCKED if target.locked else PLAIN
    for _ in range(1 + choices.below(most)):
        choices.pick(mutations)(target, choices)
    return target


def plain(sr, medium):
    """The Target of a sound LUN."""
    return Target(Editor(medium, sr))


assert BODY.size <= HEAD - 16
