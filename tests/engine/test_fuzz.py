# SPDX-License-Identifier: LGPL-2.1-only
"""A short run of the fuzzers, and bounds on what the largest and the oddest LUNs cost.

The bounds: a look at a LUN reads at most oracle.read_limit bytes; the engine takes a number of Python lines that grows as what it
reads, and at most MEMORY_PER_BYTE bytes of memory for each byte of metadata text that it reads (MGT and VHDs take less).
`make fuzz` runs longer. A seed or an input that fails there fails again with tests/fuzz/run.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import signal
import struct
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz import luns, media, mutate, oracle
from fuzz.cases import Cases
from fuzz.choices import of_bytes, seeded
from fuzz.edit import Editor, put
from fuzz.locked import Locked
from lvhd import image
from lvhd import mgt as writer
from relvm import cli, errors
from relvm.engine import resign
from relvm.formats import lvmtext, mgt
from relvm.show import report
from relvm.engine.lun import Lun, Placement

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MIB = 1 << 20
# Seconds of CPU after which a test that takes one or two is hung
HUNG = 120
MEMORY_PER_BYTE = 80
CASES = Cases()
FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
               if hasattr(HealthCheck, "data_too_large") else [HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def hang_guard():
    """Ends a test that has used HUNG seconds of CPU: an engine that is not linear would take hours."""
    def hung(number, frame):
        raise AssertionError("used %d seconds of CPU" % HUNG)
    before = signal.signal(signal.SIGVTALRM, hung)
    signal.setitimer(signal.ITIMER_VIRTUAL, HUNG)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


# Cases

def test_the_sound_luns_are_accepted():
    """What all mutations start from."""
    for target in CASES.plain:
        assert oracle.run(target.copy().editor.medium) is None
        assert oracle.show(target.copy().editor.medium)["possible"] is True
    for target in CASES.locked:
        assert oracle.look(target.copy().editor.medium) is None
        assert oracle.run(target.copy().editor.medium, locked=True) is None


def test_mutations_reach_many_reasons():
    """The seeds below are no idle run: they give this many different answers."""
    found = set(CASES.lun(seeded(seed)) for seed in range(250))
    assert "accepted" in found and len(found) > 14, found


@pytest.mark.parametrize("start", range(1000, 2000, 100))
def test_seeded_structures(start):
    for seed in range(start, start + 100):
        CASES.part(seeded(seed))


@FEW
@given(st.binary(min_size=1, max_size=160))
def test_luns(data):
    CASES.lun(of_bytes(data))


@FEW
@given(st.binary(min_size=1, max_size=160))
def test_structures(data):
    CASES.part(of_bytes(data))


@FEW
@given(st.binary(max_size=2000))
def test_any_bytes_as_metadata_text(data):
    target = CASES.plain[0].copy()
    target.editor.write_text(data)
    reason = oracle.look(target.editor.medium)
    assert reason is not None and reason.code() in ("BadText", "NoVolumeGroup"), reason


@FEW
@given(st.binary(max_size=512), st.integers(0, 5))
def test_any_bytes_as_a_sector_of_mgt(data, sector):
    target = CASES.plain[0].copy()
    target.editor.write("MGT", 512 * sector, data.ljust(512))
    oracle.run(target.editor.medium)


# surrogates have no UTF-8
NAMES = st.text(st.one_of(st.characters(blacklist_categories=("Cs",)),
                          st.sampled_from("<>&\"'\t\n\r\x1b\x7f\x85\u2028\u202e\u2066\ufffd\U0001f4be]%\\")), max_size=40)


@FEW
@given(NAMES, NAMES, NAMES)
@example(u"", u" ", u"")
def test_any_names_are_shown_or_refused(sr_name, name, description):
    """What is taken is well-formed wherever it is shown, and kept."""
    sr = image.settle(luns.plain())
    pages = CASES.plain[0].copy().editor.medium
    editor = Editor(pages, sr)
    for start, tag, value in ((1024, "name_label", sr_name), (1536, "name_description", description)):
        data = b"<%s>" % tag.encode("ascii") + writer.escape(value)[:400] + b"</%s>" % tag.encode("ascii")
        editor.write("MGT", start, data.ljust(512))
    data = b"<vdi><name_label>" + writer.escape(name)[:400] + b"</name_label><name_description></name_description>"
    editor.write("MGT", 2048, data.ljust(512))
    shown = oracle.show(pages)
    if shown["possible"]:
        assert oracle.run(pages) is None
        if not name.strip():
            data = b"<vdi><name_label></name_label><name_description></name_description>"
        assert editor.read("MGT", 2048, 512).rstrip(b" ") == data.rstrip(b" ")
    else:
        assert [reason["code"] for reason in shown["reasons"]] in (["BadMGT"], ["BadName"], ["BadVDIName"])


@pytest.mark.parametrize("seed", range(12))
def test_the_command_line(seed, tmpdir, capfd):
    """On an image file: an exit status of 0 or 1, JSON on stdout, one line on stderr, and a file that is as before unless it says done."""
    path = str(tmpdir.join("lun.img"))
    pages = mutate.mutate(CASES.plain[seed % len(CASES.plain)], seeded(7000 + seed)).editor.medium
    with open(path, "wb") as stream:
        stream.write(pages.read(0, pages.size))
    for name in ("preview", "verify", "resign"):
        status = cli.main([str(name), path, str("--json")])
        out, err = capfd.readouterr()
        answer = json.loads(out)
        assert status in (0, 1) and len(err.splitlines()) <= 1
        with open(path, "rb") as stream:
            same = stream.read() == pages.read(0, pages.size)
        assert same or (name == "resign" and answer["done"] is True and status == 0)


@pytest.mark.newest
@pytest.mark.skipif(sys.version_info < (3, 9), reason="tests/fuzz/run is for newer Pythons")
@pytest.mark.parametrize("engine", ["seeds", "guided"])
def test_the_long_fuzzer_runs(engine):
    if engine == "guided" and not hasattr(sys, "monitoring"):
        pytest.skip("sys.monitoring came with Python 3.12")
    process = subprocess.Popen([sys.executable, os.path.join(HERE, "fuzz", "run"), "--engine", engine, "--cases", "60"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out = process.communicate()[0].decode("ascii")
    assert process.returncode == 0, out
    assert "60 cases in" in out and ", 0 failed" in out


# Bytes read

class Vast(media.Pages):
    """A LUN of any size whose block tables are given by `fill`, a function of (offset, length), and are not in memory."""

    def __init__(self, base, size, ranges):
        media.Pages.__init__(self, size, base)
        self.ranges = ranges

    def read(self, offset, length):
        parts = []
        while length > 0:
            inside = [(end, entry) for start, end, entry in self.ranges if start <= offset < end]
            later = [start for start, _, _ in self.ranges if start > offset]
            count = min([length] + [end - offset for end, _ in inside] + [start - offset for start in later])
            parts.append(inside[0][1] * (count // 4) if inside else media.Pages.read(self, offset, count))
            if len(parts[-1]) < count:
                break
            offset, length = offset + count, length - count
        return b"".join(parts)


def children(count, entries, entry):
    """A LUN of `count` VHD children of one parent with block tables of `entries` entries, all of them `entry`: (Vast, Sr)."""
    sr = luns.empty()
    base = luns.disk(sr, "base", hidden=True)
    for number in range(count):
        luns.disk(sr, "child%d" % number, sectors=()).parent = base
    extents = 16 + 4 * entries // luns.EXTENT
    for vdi in sr.vdis[1:]:
        vdi.volume.extents = extents
    image.settle(sr)
    pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
    editor = Editor(pages, sr)
    ranges = []
    for vdi in sr.vdis[1:]:
        name = vdi.volume.name

        def header(raw):
            put(raw, 16, ">Q", 8192)
            put(raw, 28, ">I", entries)

        def footer(raw):
            put(raw, 48, ">Q", entries << 21)
        editor.header(name, header)
        editor.footer(name, footer)
        (start, _), = editor.places(name, 8192, 512)
        ranges.append((start, start + 4 * entries, entry))
    merged = dict(pages.base)
    merged.update(pages.pages)
    return Vast(merged, pages.size, ranges), sr


EMPTY, FAR, NEAR = b"\xff\xff\xff\xff", b"\0\x10\0\0", b"\0\0\0\1"


@pytest.mark.parametrize("count, entries", [(1, 1024), (4, 1 << 16), (3, 1 << 20)])
@pytest.mark.parametrize("entry", [EMPTY, FAR, NEAR], ids=["empty", "far", "near"])
def test_reads_of_block_tables_are_bounded(count, entries, entry):
    pages, sr = children(count, entries, entry)
    device = media.Device(pages, writable=False)
    reason = None
    try:
        Lun(device, Placement(device))
    except errors.Refused:
        reason = errors.current().code()
    assert reason == ("BadLocator" if entry == NEAR else None)
    text = len(Editor(pages, sr).read_text()) + 1
    assert device.bytes_read <= oracle.read_limit(text, writer.RECORDS + writer.RECORD * len(sr.vdis), count + 1, count * entries)
    assert device.reads < 100 + 20 * len(sr.vdis) + 8 * count * (1 + entries // (1 << 18))


def test_reads_of_qcow2_headers_are_bounded():
    """The names of features may fill the first cluster up to what is taken."""
    sr = image.settle(luns.qcow2())
    pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
    editor = Editor(pages, sr)
    editor.write(sr.named["base"].volume.name, 116, struct.pack(str(">I"), 60000))
    device = media.Device(pages, writable=False)
    assert Lun(device, Placement(device)).vdis[str(sr.named["base"].uuid)].hidden is False
    text = len(editor.read_text()) + 1
    assert device.bytes_read <= oracle.read_limit(text, writer.RECORDS + writer.RECORD * len(sr.vdis), 1, 1024, 4)


def test_a_preview_and_a_resign_take_few_looks():
    """A plan looks twice, the second time at what it would leave; the check behind switch 1 looks again."""
    pages, sr = children(2, 1 << 14, EMPTY)
    limit = oracle.read_limit(len(Editor(pages, sr).read_text()) + 300, writer.RECORDS + writer.RECORD * 3, 3, 2 << 14)
    device = media.Device(pages, writable=False)
    assert report.preview(device, oracle.FIRST_SR)["possible"] is True
    assert device.bytes_read <= 4 * limit
    device = media.Device(pages.copy())
    device.pages = Copied(pages)
    resign.resign(device, oracle.FIRST_SR)
    assert device.bytes_read <= 5 * limit


class Copied(Vast):
    """A Vast that can be written."""

    def __init__(self, other):
        Vast.__init__(self, other.base, other.size, other.ranges)


@pytest.mark.parametrize("size", [1 << 30, 1 << 44])
def test_a_text_of_any_size_is_not_read(size):
    sr = image.settle(luns.plain())
    pages = CASES.plain[0].copy().editor.medium
    pages.size = 1 << 44
    editor = Editor(pages, sr)
    editor.label(lambda raw: put(raw, 112, "<Q", size))
    editor.area(lambda raw: put(raw, 32, "<QQQ", size, 512, size - 512))
    device = media.Device(pages, writable=False)
    with pytest.raises(errors.BadArea):
        Placement(device)
    assert device.bytes_read <= oracle.FIXED


@pytest.mark.parametrize("used", [mgt.MAX_USED + 2048, 1 << 30, 9999999999 // 1024 * 1024])
def test_a_metadata_volume_of_any_size_is_not_read(used):
    read = []

    def content(offset, length):
        read.append(length)
        return ("XSSM:%-10d:1:2" % used).encode("ascii").ljust(512) if offset == 0 else b" " * length
    with pytest.raises(errors.BadMGT):
        mgt.Metadata(content, 1 << 40)
    assert read == [512]


def test_a_metadata_volume_of_the_largest_size_is_read_once():
    read = []

    def content(offset, length):
        read.append(length)
        return ("XSSM:%-10d:1:2" % mgt.MAX_USED).encode("ascii").ljust(512) if offset == 0 else b" " * length
    with pytest.raises(errors.BadMGT):
        mgt.Metadata(content, 1 << 40)
    assert sum(read) == mgt.MAX_USED


def test_a_log_of_any_size_is_not_read():
    lun = Locked(luns.plain(mgt_extents=200))
    before = oracle.look(lun.medium)
    assert before is None
    lun.seal(length=(1 << 25) + 512)
    device = media.Device(lun.medium, writable=False)
    with pytest.raises(errors.UnknownTool):
        resign.preview(device, oracle.SECOND_SR)
    assert device.bytes_read < oracle.FIXED + 65536


# Steps and memory

class Steps(object):
    """Counts the lines of the engine that run."""

    def __init__(self):
        self.count = 0
        self._place = os.path.dirname(os.path.dirname(os.path.abspath(resign.__file__)))

    def _trace(self, frame, event, argument):
        if event == "call":
            return self._trace if os.path.abspath(frame.f_code.co_filename).startswith(self._place) else None
        self.count += 1
        return self._trace

    def of(self, function, *arguments):
        self.count = 0
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            function(*arguments)
        finally:
            sys.settrace(before)
        return self.count


def sr_of_disks(count):
    sr = luns.empty(area_size=4 * MIB, pe_start=8192 * 512 + 4096, mgt_extents=1 + count // 100)
    for number in range(count):
        luns.disk(sr, "disk%d" % number, sectors=())
    return sr


def sr_of_clones(count):
    sr = luns.cloned(area_size=4 * MIB, pe_start=8192 * 512 + 4096, mgt_extents=1 + count // 100)
    for number in range(count):
        luns.disk(sr, "clone%d" % number, sectors=()).parent = sr.named["base"]
    return sr


def sr_of_segments(count):
    sr = luns.plain(area_size=4 * MIB, pe_start=8192 * 512 + 4096)
    luns.disk(sr, "raw", vdi_type="aio", size=count * luns.EXTENT, fragments=count)
    return sr


def sr_of_slots(count):
    sr = luns.plain(mgt_extents=2 + count // 100)
    for _ in range(count):
        sr.add("gone", deleted=True)
    return sr


@pytest.mark.parametrize("model", [sr_of_disks, sr_of_clones, sr_of_segments, sr_of_slots], ids=lambda model: model.__name__)
def test_steps_grow_as_what_is_read(model):
    """Four times as much takes at most five times as many steps, beyond what an empty SR takes."""
    counts = []
    for size in (20, 80):
        sr = image.settle(model(size))
        pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
        counts.append(Steps().of(resign.preview, media.Device(pages, False), oracle.FIRST_SR))
    assert counts[0] > 1000
    assert counts[1] <= 5 * counts[0], counts


def test_steps_of_block_tables_grow_as_their_pages():
    counts = []
    for entries in (1 << 14, 1 << 16):
        pages, _ = children(1, entries, FAR)
        device = media.Device(pages, False)
        counts.append(Steps().of(Lun, device, Placement(device)))
    assert counts[1] <= 5 * counts[0], counts


def _numbered(form, size):
    parts, length, number = [], 0, 0
    while length < size:
        parts.append(form % number)
        length += len(parts[-1])
        number += 1
    return "".join(parts)


# Each is repeated up to a mebibyte: what regular expressions and parsers break on
ODD_TEXTS = [
    ("open string", 'a = "', "a"), ("escapes", 'a = "', "\\a"), ("quotes", "", '"'), ("backslashes", "", "\\"),
    ("numbers", "a = [", "1,"), ("numbers without commas", "a = [", "1 "), ("blanks in a list", "a = [", " "), ("commas", "a = [1", ","),
    ("comments in a list", "a = [", "#\n"), ("strings", "a = [", '"",'), ("open strings", "a = [", '",'),
    ("blanks behind an item", 'a = ["x"', " "), ("comments", "", "#\n"), ("comment", "", "#"), ("blanks", "", " "), ("lines", "", "\n"),
    ("open sections", "", "a {"), ("closed", "", "}"), ("same name", "", "a = 1\n"), ("name", "", "a"), ("dashes", "a = ", "-"),
    ("digits", "a = ", "1"), ("fraction", "a = 1.", "1"), ("NULs", "", "\0"), ("blanks behind a name", "a", " "),
    ("comments behind a name", "a", "\n#"), ("comments behind =", "a =", "\n#"), ("equals", "a ", "= ")]
ODD_NAMES = [entry[0].replace(" ", "_") for entry in ODD_TEXTS]


@pytest.mark.parametrize("start, piece", [entry[1:] for entry in ODD_TEXTS], ids=ODD_NAMES)
@pytest.mark.parametrize("end", ["", "\0", "!", "]", '"', " = 1\n"], ids=["nothing", "nul", "mark", "bracket", "quote", "value"])
def test_odd_texts_of_the_largest_size(start, piece, end):
    """Under the hang guard: a parser that is not linear needs hours."""
    string = str(start + piece * ((MIB - len(start)) // len(piece)) + end)
    try:
        lvmtext.parse(string)
    except errors.BadText:
        assert len(str(errors.current())) < 3000


def assert_memory_of(string):
    """No more than MEMORY_PER_BYTE, also where the text is refused."""
    import tracemalloc
    tracemalloc.start()
    try:
        try:
            lvmtext.parse(string)
        except errors.BadText:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_PER_BYTE * len(string)


@pytest.mark.skipif(sys.version_info < (3, 6), reason="tracemalloc came with Python 3")
@pytest.mark.parametrize("form", ["a%d {}\n", "a%d=1\n", 'a%d="%%d"\n', "a%d=[1]\n", "a%x=1 ", "# %d\n", "a%d = [1,2,3,4,5,6,7,8]\n"])
def test_memory_for_texts(form):
    assert_memory_of(_numbered(form, MIB))


@pytest.mark.skipif(sys.version_info < (3, 6), reason="tracemalloc came with Python 3")
@pytest.mark.parametrize("start, piece", [entry[1:] for entry in ODD_TEXTS], ids=ODD_NAMES)
def test_memory_for_odd_texts(start, piece):
    """Also what the regular expressions keep while they match."""
    assert_memory_of(start + piece * ((MIB - len(start)) // len(piece)))


@pytest.mark.skipif(sys.version_info < (3, 6), reason="tracemalloc came with Python 3")
@pytest.mark.parametrize("model", [sr_of_disks, sr_of_slots], ids=lambda model: model.__name__)
def test_memory_for_a_preview(model):
    import tracemalloc
    sr = image.settle(model(300))
    pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
    device = media.Device(pages, False)
    tracemalloc.start()
    try:
        report.preview(device, oracle.FIRST_SR)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_PER_BYTE * device.bytes_read


@pytest.mark.skipif(sys.version_info < (3, 6), reason="tracemalloc came with Python 3")
@pytest.mark.parametrize("entry", [EMPTY, FAR, NEAR], ids=["empty", "far", "near"])
def test_memory_for_block_tables(entry):
    """They are read in pieces: the memory does not grow with their number."""
    import tracemalloc
    pages, _ = children(2, 1 << 20, entry)
    device = media.Device(pages, False)
    tracemalloc.start()
    try:
        try:
            Lun(device, Placement(device))
        except errors.BadLocator:
            assert entry == NEAR
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 24 * MIB
