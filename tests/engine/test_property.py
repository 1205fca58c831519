# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""Properties over random SRs and random input. A failure prints the example; a seed is one of lvhd.generate.random_sr, an odd one of
mixed_sr."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import sys
import tempfile
import uuid
import xml.dom.minidom
import xml.sax.saxutils

from hypothesis import example, given, settings
from hypothesis import strategies as st
import pytest

from conftest import copy
from luns import devices, expect
from lvhd import generate, image, policy, reader, vgtext
from relvm import errors, identity, octets
from relvm.engine import blockdev, rehearsal, resign, verify
from relvm.formats import lvmlabel, lvmtext, mgt, redolog, vhd

SECTOR = 512
UUID = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'


def examples(count):
    """Several Pythons share the work, and 2.7's hypothesis takes its time."""
    if os.environ.get('RELVM_SHARE'):
        count = max(10, count // 3) if sys.version_info[0] > 2 else max(4, count // 12)
    return settings(max_examples=count, deadline=None, database=None, print_blob=True)


SEEDS = st.integers(0, (1 << 32) - 1)


class Scene(object):
    """An image of a random SR and a copy of it, for as long as a `with` lasts."""

    def __init__(self, seed):
        self.seed = seed

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix='resign-')
        self.original = os.path.join(self.directory, 'original.img')
        self.path = os.path.join(self.directory, 'clone.img')
        self.model = image.write(self.original, (generate.random_sr, generate.mixed_sr)[self.seed % 2](self.seed))
        copy(self.original, self.path)
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory)


# Random SRs


@examples(16)
@given(seed=SEEDS)
def test_any_sr_is_resigned(seed):
    with Scene(seed) as scene:
        outcome = expect.Outcome(scene.original, scene.path, expect.kept_of(scene.model), UUID)
        expect.everything(outcome)


@examples(6)
@given(seed=SEEDS, picks=st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_whatever_is_left_behind_everything_else_is_as_ever(seed, picks):
    with Scene(seed) as scene:
        stored = [vdi.uuid for vdi in scene.model.vdis if vdi.stored]
        drop = [str(stored[pick % len(stored)]) for pick in picks]
        if not policy.kept_leaves(scene.model, drop):
            with pytest.raises(errors.NothingLeft):
                devices.run(scene.path, UUID, drop=drop)
            return
        outcome = expect.Outcome(scene.original, scene.path, expect.kept_of(scene.model, drop), UUID, drop=drop)
        expect.everything(outcome)


@examples(6)
@given(seed=SEEDS, label=st.text(max_size=600), description=st.text(max_size=200))
def test_any_sr_is_resigned_twice_and_takes_any_name(seed, label, description):
    with Scene(seed) as scene:
        devices.run(scene.path, UUID)
        second = copy(scene.path, scene.path + '.second')
        outcome = expect.Outcome(scene.path, second, expect.all_of(scene.path), OTHER, name_label=octets.from_user(label),
                                 name_description=octets.from_user(description))
        expect.everything(outcome)
        expect.nothing_old_is_left(expect_of(scene, second))


def expect_of(scene, path):
    outcome = expect.Outcome.__new__(expect.Outcome)
    outcome.original, outcome.path = scene.original, path
    return outcome


@examples(8)
@given(seed=SEEDS, writes=st.integers(0, 30), again=st.integers(0, 30))
def test_any_run_that_was_killed_twice_is_finished(seed, writes, again):
    with Scene(seed) as scene:
        for count in (writes, again):
            try:
                devices.run(scene.path, UUID, stop_after=count, scsi_id='3600')
            except devices.Killed:
                pass
            except errors.SameUuid:
                # it was done, and so there is nothing to repeat
                break
            seen, = reader.observe(scene.path)
            assert seen.vg_name in (scene.model.vg_name, 'VG_XenStorage-' + UUID)
        promised = preview_of(scene.path, OTHER)
        devices.run(scene.path, OTHER, scsi_id='3600')
        seen, = reader.observe(scene.path)
        assert (seen.vg_name, seen.exported) == ('VG_XenStorage-' + OTHER, False)
        outcome = expect_of(scene, scene.path)
        outcome.kept = expect.kept_of(scene.model)
        outcome.names_given = False
        outcome.uuids = expect.mapping(scene.original, scene.path)
        expect.nothing_old_is_left(outcome)
        expect.mgt_is_that_of_before(outcome)
        expect.disks_are_those_of_before(outcome)
        # whatever happened on the way, each VDI's uuid follows from the one that it had first, and the preview said so
        with reader.Lun(scene.path) as lun:
            kept = [old for old, new in outcome.uuids.items() if new in lun.vdi_uuids()]
        assert dict(promised.vdis) == dict((old, outcome.uuids[old]) for old in kept)
        assert dict(promised.vdis) == dict((old, str(uuid.uuid5(uuid.UUID(OTHER), str(old)))) for old in kept)


def preview_of(path, sr_uuid):
    device = blockdev.Device(path, False)
    try:
        return resign.preview(device, sr_uuid, scsi_id='3600')[0].map
    finally:
        device.close()


# The LVM text

NAMES = st.sampled_from(['a', 'b1', 'VG_XenStorage-1', 'x.y', 'c+d', 'logical_volumes', 'id'])
SCALARS = st.one_of(st.integers(-(1 << 62), 1 << 62), st.text('abc "\\#{}[]=,\n1-', max_size=8).map(str))
TREES = st.recursive(st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), lambda inner: st.dictionaries(NAMES, inner, max_size=3),
                     max_leaves=12)
SPACE = st.sampled_from(['', ' ', '\n', '\t\t', ' # comment "{\n', '\n\n#\n', ' \r\n'])


def depth(tree):
    return 1 + max([depth(value) for value in tree.values() if isinstance(value, dict)] + [0])


def rendered(tree, draw):
    """The text of a tree with white space and comments wherever they may be."""
    parts = []
    for name, value in tree.items():
        parts.extend([draw(SPACE), name, draw(SPACE)])
        if isinstance(value, dict):
            parts.extend(['{', rendered(value, draw), draw(SPACE), '}'])
        else:
            parts.extend(['=', draw(SPACE), value_text(value, draw)])
        parts.append(draw(SPACE) or ' ')
    return ''.join(parts)


def value_text(value, draw):
    if isinstance(value, list):
        return '[%s%s]' % (','.join(draw(SPACE) + value_text(item, draw) + draw(SPACE) for item in value), draw(SPACE))
    if isinstance(value, str):
        return lvmtext.quote(value)
    return str(value)


def plain(section):
    return dict((name, plain(entry) if isinstance(entry, lvmtext.Section) else entry.data) for name, entry in section.entries.items())


@st.composite
def texts(draw):
    tree = draw(st.dictionaries(NAMES, TREES, max_size=4))
    return tree, rendered(tree, draw)


@examples(150)
@given(texts())
def test_any_text_is_understood(pair):
    tree, string = pair
    if depth(tree) >= lvmtext.MAX_DEPTH:
        return
    root = lvmtext.parse(string)
    assert plain(root) == tree
    assert lvmtext.parse(string + '\0').order == root.order
    check_places(root, string)


def check_places(section, string):
    """What lies between start and end of a value parses to the value; of a section, to the section."""
    for name, entry in section.entries.items():
        if isinstance(entry, lvmtext.Section):
            assert string[entry.start:entry.name_end] == name
            assert string[entry.body - 1] == '{' and string[entry.end - 1] == '}'
            assert plain(lvmtext.parse(string[entry.body:entry.end - 1])) == plain(entry)
            check_places(entry, string)
        else:
            assert lvmtext.parse('x = %s' % string[entry.start:entry.end]).value('x').data == entry.data


@examples(400)
@given(st.text('aab12 ={}[]",\\#\n-', max_size=24).map(str))
def test_what_is_taken_is_what_another_parser_understands(string):
    try:
        found = plain(lvmtext.parse(string))
    except errors.BadText:
        return
    assert found == vgtext.parse(u'' + string)


@examples(100)
@given(st.text('abcdefgh', max_size=40).map(str),
       st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), st.sampled_from(['', 'X', 'YY']))))
def test_edits_are_those_of_a_slow_editor(string, wanted):
    edits, slow, end = lvmtext.Edits(), [], 0
    for start, length, new in sorted(wanted):
        if end <= start and start + length <= len(string) and (length or start > end):
            slow.append((start, start + length, new))
            end = start + length
    for edit in reversed(slow):
        edits.replace(*edit)
    expected = string
    for start, stop, new in reversed(slow):
        expected = expected[:start] + new + expected[stop:]
    assert edits.apply(string) == expected


# Places


@examples(200)
@given(st.integers(2, 40), st.data())
def test_ring_goes_round(sectors, data):
    size = sectors * SECTOR
    start = data.draw(st.integers(SECTOR, size - 1))
    length = data.draw(st.integers(1, size - SECTOR))
    slow, place = [], start
    for _ in range(length):
        slow.append(place)
        place += 1
        if place == size:
            place = SECTOR
    fast = []
    for offset, count in lvmlabel.ring_pieces(start, length, size):
        fast.extend(range(offset, offset + count))
    assert fast == slow


class Ring(object):
    def __init__(self, offset, size, pieces):
        self.offset, self.size, self.pieces = offset, size, pieces

    def live_pieces(self):
        return self.pieces


@examples(300)
@given(st.integers(3, 60), st.data())
def test_gap_is_found_when_there_is_one(pages, data):
    """Against a search of every page."""
    size = pages * 4096 - data.draw(st.sampled_from([0, 512, 3584]))
    start = data.draw(st.integers(1, size // SECTOR - 1)) * SECTOR
    length = data.draw(st.integers(1, size - SECTOR))
    needed = data.draw(st.integers(513, size))
    reserved = data.draw(st.integers(513, size))
    ring = Ring(4096, size, lvmlabel.ring_pieces(start, length, size))
    taken = ring.pieces + [(0, reserved)]
    whole = (needed + SECTOR - 1) // SECTOR * SECTOR
    free = [page for page in range(4096, 4096 + size - whole + 1, 4096)
            if all(page + whole <= 4096 + low or 4096 + low + count <= page for low, count in taken)]
    try:
        found = lvmlabel.find_gap(ring, needed, reserved)
    except errors.NoRoomInRing as error:
        assert free == []
        assert error.fields['free'] < whole
    else:
        assert found == (free[0], whole)


# Runs of bytes


class Memory(object):
    def __init__(self, data):
        self.data = bytearray(data)
        self.size = len(data)
        self.written = []

    def read(self, offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0 and offset + length <= self.size
        return bytes(self.data[offset:offset + length])

    def read_all(self, places):
        return [self.read(offset, length) for offset, length in places]

    def read_any(self, offset, length):
        return bytes(self.data[offset:offset + length])

    def write(self, offset, data):
        assert offset % SECTOR == 0 and len(data) % SECTOR == 0 and offset + len(data) <= self.size
        self.data[offset:offset + len(data)] = data
        self.written.append((offset, len(data)))


PLACES = st.lists(st.tuples(st.integers(0, 64 * 1024 - 1), st.integers(0, 1500)), max_size=12)


def separate(places):
    """Runs that do not overlap, in no particular order."""
    runs, end = [], 0
    for number, (start, length) in enumerate(sorted(places)):
        length = min(length, 64 * 1024 - start)
        if start >= end:
            runs.append((start, bytes(bytearray((start + number + each) % 256 for each in range(length)))))
            end = start + length
    return sorted(runs, key=lambda run: run[0] * 7919 % 10007)


@examples(150)
@given(PLACES)
def test_spans_put_the_runs_in_and_nothing_else(places):
    runs = separate(places)
    device = Memory(bytearray(range(256)) * 256)
    expected = bytearray(device.data)
    for offset, data in runs:
        expected[offset:offset + len(data)] = data
    spans = blockdev.spans(runs)
    blockdev.patch(device, spans)
    assert device.data == expected
    assert device.written == sorted(device.written)
    for one, other in zip(device.written, device.written[1:]):
        assert one[0] + one[1] <= other[0]


@examples(150)
@given(PLACES, st.lists(st.tuples(st.integers(0, 127), st.integers(0, 6)), min_size=1, max_size=8))
def test_rehearsal_shows_what_patches_would_give(places, reads):
    runs = separate(places)
    device = Memory(bytearray(range(256)) * 256)
    view = rehearsal.Rehearsal(Memory(device.data), runs)
    blockdev.patch(device, blockdev.spans(runs))
    for sector, count in reads:
        length = min(count, 128 - sector) * SECTOR
        assert view.read(sector * SECTOR, length) == device.read(sector * SECTOR, length)
        assert view.read_any(sector * SECTOR + 7, length // 3) == device.read_any(sector * SECTOR + 7, length // 3)


@examples(150)
@given(st.binary(max_size=300), st.integers(0, 10000), st.data())
def test_difference_is_exactly_what_differs(old, offset, data):
    new = bytearray(old)
    for place in data.draw(st.lists(st.integers(0, max(0, len(old) - 1)), max_size=8)):
        if old:
            new[place] ^= data.draw(st.integers(1, 255))
    runs = blockdev.difference(offset, old, bytes(new))
    back = bytearray(old)
    end = -1
    for start, piece in runs:
        assert start > end and piece
        end = start + len(piece)
        low = start - offset
        # the first and the last of its grains differ
        last = (len(piece) - 1) // 16 * 16
        assert low % 16 == 0 and bytes(back[low:low + 16]) != piece[:16] and bytes(back[low + last:low + len(piece)]) != piece[last:]
        back[low:low + len(piece)] = piece
    assert back == new


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.binary(max_size=80)), max_size=12), st.binary(min_size=0, max_size=8), st.data())
def test_any_log_reads_back_and_no_damaged_one(runs, _, data):
    history = redolog.History(UUID, [UUID], (0, 0), (0, 0), 'x')
    log = redolog.Log('abcdefghijklmnopqrstuvwxyz012345', (8192, 4096), 7, 1 << 20, runs, history)
    raw = log.render()
    volume = bytearray(b'\0' * (32768 - len(raw)) + raw)

    def load():
        return redolog.load(lambda offset, length: bytes(volume[offset:offset + length]), len(volume), 1 << 31)
    assert load().runs == runs
    volume[-1 - data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert load() is None


# Names


SHORT_NAMES = st.one_of(st.text(max_size=20), st.text(u'&<>"\'\xfc\U0001f4be\ufffe\x00\x1f', max_size=20))


@examples(200)
@given(st.builds(lambda start, part, count: start + part * count, SHORT_NAMES, SHORT_NAMES, st.sampled_from([0, 1, 10, 100, 500])))
@example(u'\r\n0')
@example(u'\r\n' * 500)
def test_any_name_fits_its_sector_and_sm_can_read_it(name):
    sector = mgt._name_sector('name_label', octets.from_user(name))
    assert len(sector) == SECTOR
    document = xml.dom.minidom.parseString(octets.octets(sector.rstrip(' ')))
    shown = u''.join(node.data for node in document.documentElement.childNodes)
    wanted = u''.join(_written(char) for char in octets.for_user(octets.from_user(name)))
    kept = [count for count in range(len(wanted) + 1) if _parsed(wanted[:count]) == shown]
    assert kept
    if not shown and not wanted[:SECTOR].strip():
        # sm's reader takes a name of blanks for a dict: it is left empty
        return
    if kept[-1] < len(wanted):
        # one more character would not have fitted
        more = xml.sax.saxutils.escape(wanted[:kept[-1] + 1]).encode('utf-8')
        assert len(more) > SECTOR - len('<name_label></name_label>')


def _written(char):
    if char in u'\ufffe\uffff':
        return u'\ufffd'
    if char < u' ' and char not in u'\t\n\r':
        return u' '
    return char


def _parsed(text):
    """What an XML parser makes of line ends."""
    return text.replace(u'\r\n', u'\n').replace(u'\r', u'\n')


@examples(200)
@given(st.one_of(st.text(max_size=40), st.binary(max_size=40), st.integers(), st.none()))
def test_anything_can_be_printed(value):
    found = errors.printable(value)
    assert isinstance(found, str)
    assert all(' ' <= char <= '~' for char in found)


PIECES = st.sampled_from([UUID, OTHER, UUID.replace('-', '--'), UUID.upper(), UUID[:-1], '-', '--', 'a', 'F0', '\0', ' ',
                          'AAAAAA-bbbb-CCCC-dddd-EEEE-ffff-000000', '-1234-1234'])


@examples(300)
@given(st.lists(PIECES, max_size=8).map(''.join), st.booleans())
def test_no_name_is_overlooked(content, wide):
    """Against a search for each name by itself."""
    if wide:
        content = '\0'.join(content)
    forms = [content, content.replace('\0', '')]
    forms.extend([form.replace('--', '-') for form in forms])
    found = verify.names_in(content)
    for name in (UUID, OTHER, 'AAAAAA-bbbb-CCCC-dddd-EEEE-ffff-000000'):
        assert (name in found) == any(name in form for form in forms)


@examples(200)
@given(st.lists(PIECES, max_size=8).map(''.join))
@example(UUID[:-1] + UUID)
@example('00000000-1234-1234-1234-1234' + UUID)
def test_substitution_is_that_of_replace(string):
    assert identity.substitute(string, {UUID: OTHER}) == string.replace(UUID, OTHER)
    new = identity.substitute(string, {UUID: OTHER, OTHER: UUID})
    assert len(new) == len(string)
    assert identity.substitute(new, {UUID: OTHER, OTHER: UUID}) == string


@examples(100)
@given(st.binary(min_size=512, max_size=512), st.integers(0, 508))
def test_checksums_are_those_of_a_slow_sum(data, at):
    total = 0
    for place, byte in enumerate(bytearray(data)):
        if not at <= place < at + 4:
            total += byte
    assert vhd.checksum(data, at) == (total ^ 0xffffffff)
