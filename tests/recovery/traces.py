# SPDX-License-Identifier: LGPL-2.1-only
"""Traces: every write that reached a LUN while a real sm worked on it.

A directory NAME holds NAME.json (the facts), base.tgz (the LUN before the first record: base.img, sparse) and trace.bin.gz
(either of the first and the last may be .xz, .gz or as it is):

    `LUNTRACE1\\n`, u64 size of the LUN; then records; numbers are big-endian
    W u64 offset, u32 length, data      a write
    D u64 offset, u32 length            a discard; what was there reads zero afterwards
    F                                   a flush
    M u32 length, text                  a marker; writes nothing

State N is the base with the first N records applied. Facts: sr, size, operations [{name, what, first, last, before, after, error}];
`first` and `last` are the indexes of an operation's own markers, `before` and `after` list the VDIs: uuid, name, hidden, parent, size,
type, snapshot, and expect {sector: seed} of what a user sees.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import gzip
import io
import json
import os
import re
import struct
import subprocess

MAGIC = b"LUNTRACE1\n"


class Trace(object):
    """name, facts, operations [dict], records [(kind, offset, data or length)], read at once."""

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.name = os.path.basename(self.directory)
        self.facts = json.loads(self._content(self.name + ".json").decode("utf-8"))
        self.operations = self.facts["operations"]
        self.records = []
        self._read(io.BytesIO(self._content("trace.bin")))

    def _content(self, name):
        """The bytes of a file that may be compressed (Python 2.7 has no lzma)."""
        path = os.path.join(self.directory, name)
        if os.path.exists(path + ".xz"):
            return subprocess.check_output(["xz", "-dc", path + ".xz"])
        if os.path.exists(path + ".gz"):
            stream = gzip.open(path + ".gz")
        else:
            stream = io.open(path, "rb")
        with stream:
            return stream.read()

    def _read(self, stream):
        if stream.read(len(MAGIC)) != MAGIC:
            raise ValueError("%s is no trace" % self.directory)
        self.size, = struct.unpack(str(">Q"), stream.read(8))
        while True:
            kind = stream.read(1).decode("ascii")
            if kind in ("W", "D"):
                offset, length = struct.unpack(str(">QI"), stream.read(12))
                self.records.append((kind, offset, stream.read(length) if kind == "W" else length))
            elif kind == "M":
                length, = struct.unpack(str(">I"), stream.read(4))
                self.records.append((kind, 0, stream.read(length).decode("utf-8")))
            elif kind == "F":
                self.records.append((kind, 0, b""))
            else:
                return

    def instants(self, operation):
        """The numbers of an operation's states: before its first write, and after each."""
        after = [index + 1 for index in range(operation["first"], operation["last"]) if self.records[index][0] in "WD"]
        return [operation["first"]] + after

    def base(self, directory):
        """Unpack the LUN before the first record; its path."""
        subprocess.check_call(["tar", "-xzSf", os.path.join(self.directory, "base.tgz"), "-C", directory, "--no-same-owner"])
        path = os.path.join(directory, "base.img")
        with open(path, "r+b") as image:
            image.truncate(self.size)
        return path

    def apply(self, image, first, last):
        """Records first to last - 1, on an open file."""
        self.apply_to(image, self.records[first:last])

    @staticmethod
    def apply_to(image, records):
        """Some records, on an open file."""
        for kind, offset, data in records:
            if kind == "W":
                image.seek(offset)
                image.write(data)
            elif kind == "D":
                image.seek(offset)
                image.write(b"\0" * data)


class Film(object):
    """One image that is wound forward from instant to instant of a trace."""

    def __init__(self, trace, directory):
        self.trace = trace
        self.path = trace.base(directory)
        self.at = 0

    def wind(self, state):
        """Bring the image to that state; it must not lie before the present one. Its path."""
        if state < self.at:
            raise ValueError("state %d is over" % state)
        with open(self.path, "r+b") as image:
            self.trace.apply(image, self.at, state)
        self.at = state
        return self.path


# Journals of sm among the LVs of a VG's text, and what goes with them
JOURNAL = re.compile(br"^((?:clone|leaf|inflate|relink|coalesce|zero|jvhd)_\S+|\S+-OLD_\S+|\S+_trim_lv) \{", re.MULTILINE)
# LVM's only metadata area: its header's place on the LUN, the place of its own offset and size, of its first slot, and what is no text
HEADER, AREA, SLOT, SKIPPED = 4096, 24, 40, 512


def beside_journals(trace, directory):
    """The states next to each change of the set of sm's journals, as LVM tells it: the last one before and the first one after."""
    film = Film(trace, directory)
    found = set()
    for operation in trace.operations:
        previous = known = None
        for state in trace.instants(operation):
            if previous is None or _writes_header(trace.records[previous:state]):
                now = _journals(film.wind(state))
                if previous is not None and now != known:
                    found.update((previous, state))
                known = now
            previous = state
    return found


def _writes_header(records):
    return any(kind == "W" and offset <= HEADER < offset + len(data) for kind, offset, data in records)


def _journals(path):
    """Their names in the text that the first slot of LVM's area names."""
    with open(path, "rb") as image:
        image.seek(HEADER)
        header = image.read(512)
        area, size = struct.unpack_from(str("<QQ"), header, AREA)
        start, length = struct.unpack_from(str("<QQ"), header, SLOT)
        image.seek(area)
        ring = image.read(size)
    text = ring[start:start + length]
    text += ring[SKIPPED:SKIPPED + length - len(text)]
    return set(JOURNAL.findall(text.replace(b"\t", b"")))


def sample(trace, number, also=()):
    """About `number` of a trace's instants, in order, as (operation, state): of every operation the first, the last and as many between
    as fit, evenly spread; 0: all of them. Long operations give no more than short ones until those are used up. also: states that are
    chosen in any case."""
    instants = [(operation, trace.instants(operation)) for operation in trace.operations]
    each = 1
    while number and sum(min(each + 1, len(states)) for _, states in instants) <= number:
        if each >= max(len(states) for _, states in instants):
            break
        each += 1
    chosen = []
    for operation, states in instants:
        count = min(each, len(states)) if number else len(states)
        indexes = sorted({index * (len(states) - 1) // max(count - 1, 1) for index in range(count)})
        chosen.extend((operation, state) for index, state in enumerate(states) if index in indexes or state in also)
    return chosen
