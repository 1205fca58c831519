# SPDX-License-Identifier: LGPL-2.1-only
"""The tools that judge clones of busy SRs: a trace is read as it was written, and what differs is said."""
from __future__ import absolute_import, division, print_function, unicode_literals

import gzip
import io
import json
import os
import struct
import subprocess

import pytest

from lvhd import reader, samples
from recovery import judge, traces

SIZE = 1 << 20
DISK = {"uuid": "a", "name": "A", "hidden": False, "snapshot": False, "parent": "", "size": SIZE, "type": "vhd", "expect": {"0": "old"}}
OTHER = dict(DISK, uuid="b", name="B")
BASE = dict(DISK, uuid="c", name="base copy", hidden=True)


@pytest.fixture
def trace(tmpdir):
    """Two operations: three writes with a flush and a marker between them, and a discard."""
    place = str(tmpdir.mkdir("made"))
    records = [b"M" + struct.pack(str(">I"), 9) + b"begin one", write(0, b"a" * 512), b"F", write(512, b"b" * 512),
               b"M" + struct.pack(str(">I"), 4) + b"step", write(512, b"c" * 512), b"M" + struct.pack(str(">I"), 7) + b"end one",
               b"M" + struct.pack(str(">I"), 9) + b"begin two", b"D" + struct.pack(str(">QI"), 0, 512),
               b"M" + struct.pack(str(">I"), 7) + b"end two"]
    operations = [{"name": "one", "first": 0, "last": 6, "before": [DISK], "after": [DISK]},
                  {"name": "two", "first": 7, "last": 9, "before": [DISK], "after": [DISK]}]
    with io.open(os.path.join(place, "made.json"), "w", encoding="utf-8") as stream:
        stream.write(json.dumps({"sr": "s", "size": SIZE, "operations": operations}, ensure_ascii=False))
    stream = gzip.open(os.path.join(place, "trace.bin.gz"), "wb")
    stream.write(b"LUNTRACE1\n" + struct.pack(str(">Q"), SIZE) + b"".join(records))
    stream.close()
    with open(os.path.join(place, "base.img"), "wb") as image:
        image.write(b"0" * 2048)
    subprocess.check_call(["tar", "-czSf", os.path.join(place, "base.tgz"), "-C", place, "base.img"])
    return traces.Trace(place)


def write(offset, data):
    return b"W" + struct.pack(str(">QI"), offset, len(data)) + data


def test_instants_are_before_the_first_write_and_after_each(trace):
    assert [trace.instants(operation) for operation in trace.operations] == [[0, 2, 4, 6], [7, 9]]


def test_a_film_shows_each_instant(trace, tmpdir):
    film = traces.Film(trace, str(tmpdir.mkdir("film")))
    seen = []
    for state in (0, 2, 4, 6, 9):
        with open(film.wind(state), "rb") as image:
            seen.append(image.read(1536)[::512])
    assert seen == [b"000", b"a00", b"ab0", b"ac0", b"\0c0"]
    assert os.path.getsize(film.path) == SIZE
    with pytest.raises(ValueError):
        film.wind(2)


def test_a_sample_has_the_ends_of_every_operation(trace):
    def states(number):
        return [state for _, state in traces.sample(trace, number)]
    assert states(0) == states(100) == [0, 2, 4, 6, 7, 9]
    assert states(4) == [0, 6, 7, 9]
    assert states(5) == [0, 2, 6, 7, 9]


def test_the_instants_beside_journals_are_those_where_a_journal_comes_or_goes(tmpdir):
    trace = traces.Trace(os.path.join(samples.DATA, "traces", "q83"))
    beside = traces.beside_journals(trace, str(tmpdir.mkdir("beside")))
    (operation,) = [operation for operation in trace.operations if operation["name"] == "snapshot_A_S1"]
    film = traces.Film(trace, str(tmpdir.mkdir("film")))
    seen = []
    for state in sorted(beside & set(trace.instants(operation))):
        with reader.Lun(film.wind(state), busy=True) as lun:
            seen.append([name.split("_")[0] for name in sorted(lun.volumes) if "_" in name])
    assert seen == [[], ["clone"], ["clone"], []]
    assert [state for _, state in traces.sample(trace, 2, beside) if state in beside] == sorted(beside)


def test_facts_know_old_sectors_from_new_and_from_wrong_ones():
    old, new = samples.expected_sectors(DISK), samples.expected_sectors(dict(DISK, expect={"0": "new"}))
    half = dict(old)
    half[3] = new[3]
    assert judge.as_the_facts_say(half, old, new) == ""
    assert judge.as_the_facts_say(old, new, new)
    del half[3]
    assert judge.as_the_facts_say(half, old, new) == "1 sectors are neither old nor new, the first is 3"
    half[3], half[100] = new[3], b"x" * 512
    assert judge.as_the_facts_say(half, old, new) == "1 sectors are neither old nor new, the first is 100"


def test_a_raw_disk_shows_what_its_extents_held():
    raw = dict(DISK, type="raw", uuid="r", hidden=True, name="base copy")
    leaf = dict(DISK, parent="r")
    old, new, unknown = judge.facts({"before": [leaf, raw], "after": [leaf, raw]})["a"]
    assert unknown
    stale = dict(old)
    stale[100] = b"x" * 512
    assert judge.as_the_facts_say(stale, old, new, unknown) == ""
    stale[200] = b"x" * 512
    later = samples.expected_sectors(dict(leaf, expect={"0": "old", "200": "new"}))
    assert judge.as_the_facts_say(stale, old, later, unknown) == ""
    del stale[3]
    assert judge.as_the_facts_say(stale, old, new, unknown)
    assert not judge.facts({"before": [DISK], "after": [DISK]})["a"][2]


@pytest.mark.parametrize("before, after, ours, theirs, designed, differences", [
    ([DISK], [DISK], "a", "a", [], 0),
    ([DISK], [DISK], "", "a", [], 1),
    ([DISK], [DISK], "a", "", [], 1),
    ([DISK], [DISK, OTHER], "a", "ab", [("undone", "b")], 0),
    ([DISK], [DISK, OTHER], "ab", "a", [("begun", "b")], 0),
    ([DISK, OTHER], [DISK], "ab", "a", [("kept", "b")], 0),
    ([DISK, OTHER], [DISK], "a", "ab", [("gone", "b")], 0),
    ([DISK, BASE], [DISK, BASE], "ac", "a", [], 1),
    ([DISK, BASE], [DISK, BASE], "a", "ac", [], 1),
])
def test_what_differs_is_designed_or_not(before, after, ours, theirs, designed, differences):
    verdict = judge.Verdict("operation", 0)
    judge.presence({"before": before, "after": after}, set(ours), set(theirs), verdict)
    assert (verdict.designed, len(verdict.differences)) == (designed, differences)
