# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.show.pack: what is unpacked is judged as the LUN is, and holds neither data nor names."""
from __future__ import absolute_import, division, print_function

import hashlib
import io
import json
import os
import re
import sys
import uuid

import pytest

from fuzz import media, rows_lvm, rows_mgt, rows_vhd
from fuzz.edit import Editor
from luns import damage, devices
from lvhd import image, samples, shapes
from lvhd.model import pattern
from relvm import errors, identity
from relvm.engine import blockdev, resign
from relvm.show import masking, pack, report

SR = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
ROWS = rows_lvm.table.rows + rows_mgt.table.rows + rows_vhd.table.rows
if not os.environ.get('EXHAUSTIVE'):
    # the first row of each reason
    ROWS = sorted(dict((row.reason, row) for row in reversed(ROWS)).values(), key=repr)
NAMES = list(shapes.SHAPES) + ['sample ' + name for name in samples.NAMES]
if sys.version_info < (3, 9):
    # every shape on the newest Python
    NAMES = ['chain5', 'fragmented', 'unicode_names', 'wrapped_text', 'qcow2_snapshots', 'sample one']
    ROWS = ROWS[::4]
# Read by hand where it matters: what stays of a name
KEPT = [('', ''), ('disk 1', 'xxxx x'), (' \t ', ' \t '), ('a&amp;b &lt;', 'x&amp;x &lt;'), ('R&D', 'x&x'), ('\xc3\xbc', '\xc3\xa9'),
        ('\xe4\xb8\xad1', '\xe4\xb8\xadx'), ('\xf0\x9f\x98\x80', '\xf0\x9f\x92\xbe'), ('\xc2\xa0', '\xc2\xa0'),
        ('\xe3\x80\x80', '\xe3\x80\x80'), ('Gr\xfcn', 'xx\xffx'), ('\xed\xa0\x80', '\xff\xff\xff'), ('\xef\xbf\xbf', '\xef\xbf\xbf'),
        ('a\x01b', 'x\x01x'), ('\xe4\xb8', '\xff\xff')]


class Drawn(object):
    """A random source that draws the same numbers again, so that plans can be compared to the last byte."""

    def __init__(self):
        self.count = 0

    def urandom(self, length):
        self.count += 1
        data = b''
        while len(data) < length:
            data += hashlib.sha256(('%d %d' % (self.count, len(data))).encode('ascii')).digest()
        return data[:length]


def previewed(path, sr_uuid=SR):
    """The preview's data."""
    device = blockdev.Device(path, False)
    real = identity.os
    identity.os = Drawn()
    try:
        return report.preview(device, sr_uuid)
    finally:
        identity.os = real
        device.close()


def comparable(data, path, names):
    """As text that is equal for equal previews. names: with those of SR and VDIs."""
    if not names:
        for thing in [data] + data['vdis']:
            for key in ('name_label', 'name_description'):
                if key in thing:
                    thing[key] = len(thing[key].encode('utf-8'))
    return json.dumps(data, sort_keys=True, indent=1).replace(path, 'LUN')


def round_trip(path, tmpdir, names=False):
    """(image of it, bytes of the file)"""
    packed, unpacked = str(tmpdir.join('packed')), str(tmpdir.join('unpacked'))
    device = blockdev.Device(path, False)
    try:
        size = pack.pack(device, packed, names)
    finally:
        device.close()
    assert size == os.path.getsize(packed)
    pack.unpack(packed, unpacked)
    assert os.path.getsize(unpacked) == os.path.getsize(path) // 512 * 512
    return unpacked, size


def same(path, tmpdir, names=False):
    unpacked, size = round_trip(path, tmpdir, names)
    assert comparable(previewed(unpacked), unpacked, names) == comparable(previewed(path), path, names)
    return unpacked, size


@pytest.mark.parametrize('name', NAMES)
def test_what_is_unpacked_is_judged_and_planned_as_the_lun_is(name, shape_called, unpacked, tmpdir):
    if name.startswith('sample '):
        path = unpacked[name[7:]]
    else:
        path = shape_called(name).path
    made, size = same(path, tmpdir)
    assert size < 1 << 18
    if name in ('chain5', 'wrapped_text', 'qcow2_snapshots'):
        # and goes through a resign of its own
        devices.run(made, SR)


@pytest.mark.parametrize('name', ['two_snapshots', 'unicode_names', 'tags'])
def test_names_stay_on_request(name, shape_called, tmpdir):
    same(shape_called(name).path, tmpdir, True)


@pytest.mark.parametrize('row', ROWS, ids=repr)
def test_a_refusal_is_the_same_sentence(row, tmpdir):
    path = str(tmpdir.join('lun.img'))
    model = image.write(path, row.model())
    row.spoil(Editor(media.File(path), model))
    made, _ = round_trip(path, tmpdir)
    data, expected = previewed(made), previewed(path)
    assert data['possible'] == expected['possible']
    # a sentence that shows a bit of what it is about shows it masked
    for found, wanted in zip(data['reasons'], expected['reasons']):
        assert found['code'] == wanted['code']
        assert len(found['sentence'].replace(made, '')) == len(wanted['sentence'].replace(path, ''))
    assert len(data['reasons']) == len(expected['reasons'])
    assert len(data['report']) == len(expected['report'])


@pytest.mark.parametrize('writes', range(1, 12))
def test_a_locked_lun_stays_locked_and_can_be_finished(writes, shape_called, tmpdir):
    """Whatever instant the run ended at; the new name is in its log."""
    path = shape_called('two_snapshots').copy(tmpdir.join('lun.img'))
    try:
        devices.run(path, SR, stop_after=writes, name_label='Secret Customer')
    except devices.Killed:
        pass
    other = SR[:-2] + '11'
    made, _ = round_trip(path, tmpdir)
    assert comparable(previewed(made, other), made, False) == comparable(previewed(path, other), path, False)
    with io.open(made, 'rb') as stream:
        assert b'Customer' not in stream.read()
    outcome = devices.run(made, other)[0]
    assert outcome.plan.sr_uuid == other
    assert not resign.Placement(blockdev.Device(made, False)).staged


@pytest.mark.parametrize('names', [False, True])
def test_the_history_of_a_resign_that_is_over_stays_at_home(names, shape_called, tmpdir):
    shape = shape_called('two_snapshots')
    path = shape.copy(tmpdir.join('lun.img'))
    devices.run(path, SR, scsi_id='36001405secret')
    made, _ = same(path, tmpdir, names)
    with io.open(path, 'rb') as stream:
        before = stream.read()
    with io.open(made, 'rb') as stream:
        after = stream.read()
    told = [b'36001405secret'] + [uuid.UUID(vdi.uuid).bytes for vdi in shape.model.vdis] + [uuid.UUID(shape.model.uuid).bytes]
    assert [word in before for word in told].count(True) > 2
    assert [word for word in told if word in after] == []


def words_of(sr):
    """What nobody else is to read of a model: names, descriptions, hosts, contents."""
    found = [sr.name_label, sr.name_description, sr.creation_host] + [vdi.name_label for vdi in sr.vdis]
    return [word.encode('utf-8') for word in found if len(word) > 5]


def secret(seed=0):
    sr = shapes.two_snapshots(seed, name_label=u'Insolvency Ltd', name_description=u'Bürohaus')
    sr.add(u'Deleted Customer', deleted=True)
    sr.vdis[0].name_label = u'Payroll of Mr. Smith'
    sr.description = u'made by smithers'
    sr.older_texts = 3
    return sr


def test_no_name_and_no_data_goes_into_the_file(written, tmpdir):
    path = written(secret())
    with io.open(path, 'rb') as stream:
        before = stream.read()
    made, _ = round_trip(path, tmpdir)
    with io.open(made, 'rb') as stream:
        content = stream.read()
    for word in (b'Insolvency', u'B\xfcrohaus'.encode('utf-8'), b'Payroll', b'Customer', b'smithers'):
        assert word in before, word
        assert word not in content, word
    host = re.search(b'creation_host = "([^"]+)"', before).group(1)
    assert host not in content
    assert re.search(b'# [^\n]*[A-Za-wyz]', content) is None


@pytest.mark.parametrize('name', ['fragmented', 'raw', 'chain5'])
def test_data_of_a_disk_is_not_read(name, shape_called, tmpdir):
    made, _ = round_trip(shape_called(name).path, tmpdir)
    before, after = [b''.join(data for _, data in damage.blocks(path)) for path in (shape_called(name).path, made)]
    seen = 0
    for vdi in shape_called(name).model.vdis:
        for sector, seed in vdi.contents.items():
            data = pattern(seed, sector)[:64]
            seen += data in before
            assert data not in after
    assert seen > 3


def test_older_texts_of_the_ring_are_left_out(shape_called, tmpdir):
    path = shape_called('full_ring').path
    with io.open(path, 'rb') as stream:
        assert stream.read(10 << 20).count(b'seqno = ') > 10
    made, _ = round_trip(path, tmpdir)
    with io.open(made, 'rb') as stream:
        assert stream.read(10 << 20).count(b'seqno = ') == 1


@pytest.mark.parametrize('stored, masked', KEPT)
def test_a_masked_name_keeps_its_length_and_kind(stored, masked):
    assert masking.name(stored) == masked
    assert len(masked) == len(stored)


def test_a_masked_text_keeps_what_sm_and_a_resign_go_by():
    uuid = SR
    text = ('vg {\ntags = ["hidden", "Customer-%s", "a b"]\n}\n# Linux host 4.4\ncreation_host = "ho\\"st"\t# now\n'
            'description = "made, by \'x\'"\nname = "creation_host = 1"\n' % uuid)
    assert masking.group_text(text) == (
        'vg {\ntags = ["hidden", "xxxxxxxx-%s", "x x"]\n}\n# xxxxx xxxx x.x\ncreation_host = "xx\\"xx"\t# xxx\n'
        'description = "xxxx, xx \'x\'"\nname = "creation_host = 1"\n' % uuid)


def test_foreign_bytes_where_a_structure_belongs_are_blotted():
    data = 'PASSWORD=x\0'.ljust(512, '\0')
    assert masking.blot(data) == 'xxxxxxxxxx\0'.ljust(512, '\0')
    for structure in ('conectix...'.ljust(512, '\0'), '\0' * 512, '\xc7' * 512):
        assert masking.blot(structure) == structure


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(shape_called, tmpdir):
    target = tmpdir.join('there')
    target.write('mine')
    device = blockdev.Device(shape_called('one').path, False)
    with pytest.raises(errors.FileExists):
        pack.pack(device, str(target))
    packed = str(tmpdir.join('packed'))
    pack.pack(device, packed)
    with pytest.raises(errors.FileExists):
        pack.unpack(packed, str(target))
    with pytest.raises(errors.FileFailed):
        pack.pack(device, str(tmpdir.join('nowhere', 'packed')))
    device.close()
    whole = Fading(device.path, 1 << 20)
    pack.pack(whole, str(tmpdir.join('whole')))
    os.unlink(str(tmpdir.join('whole')))
    with pytest.raises(errors.ReadFailed):
        pack.pack(Fading(device.path, whole.reads - 1), str(tmpdir.join('second')))
    assert target.read() == 'mine'
    assert sorted(os.listdir(str(tmpdir))) == ['packed', 'there']


class Fading(blockdev.Device):
    """A LUN that cannot be read any more after so many reads."""

    def __init__(self, path, left):
        self.left = left
        blockdev.Device.__init__(self, path, False)

    def read(self, offset, length):
        if self.reads == self.left:
            raise errors.ReadFailed(device=self.path, offset=offset, length=length, cause='gone')
        return blockdev.Device.read(self, offset, length)


def test_a_file_is_for_its_owner_alone(shape_called, tmpdir):
    packed = str(tmpdir.join('packed'))
    device = blockdev.Device(shape_called('one').path, False)
    pack.pack(device, packed)
    device.close()
    assert os.stat(packed).st_mode & 0o77 == 0


@pytest.mark.parametrize('places, holes, left', [
    ([(0, 10)], [], [(0, 10)]),
    ([(0, 10)], [(2, 4), (6, 8)], [(0, 2), (4, 6), (8, 10)]),
    ([(0, 10), (20, 30)], [(5, 25)], [(0, 5), (25, 30)]),
    ([(0, 10)], [(0, 10)], []),
    ([(5, 10)], [(0, 5), (10, 12)], [(5, 10)]),
    ([(5, 10)], [(0, 7)], [(7, 10)])])
def test_what_is_left_out(places, holes, left):
    assert pack.without(places, holes) == left
