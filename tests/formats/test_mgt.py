# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.mgt, against lvhd's writer and reader, the real storage manager's volumes, and the XML parser that sm uses."""
from __future__ import absolute_import, division, print_function

import struct
import xml.dom.minidom
import xml.parsers.expat

import pytest

from lvhd import mgt as writer
from lvhd import reader, shapes
from lvhd.model import MIB, Sr
from relvm import errors, identity
from relvm.formats import mgt
from relvm.octets import octets, text

SECTOR = 512
NEW = 'ffffffff-ffff-4fff-8fff-ffffffffff%02d'
EMPTY = u''


def volume_of(data, size=4 * MIB):
    """A volume with these bytes at its front, and rubbish behind them, as a function for mgt.Metadata."""
    whole = data + b'<vdi>' * ((size - len(data)) // 5 + 1)

    def read(offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0 and offset + length <= size
        return whole[offset:offset + length]
    return read


def metadata(data, size=4 * MIB):
    return mgt.Metadata(volume_of(data, size), size)


def some_sr(**fields):
    sr = Sr(3, name_label=u'the SR', name_description=u'of a test', **fields)
    vdi = sr.add(u'disk & more', name_description=u'<one>')
    sr.add(u'gone', deleted=True, is_a_snapshot=True, snapshot_of=vdi.uuid)
    sr.add(u'snap', is_a_snapshot=True, snapshot_of=vdi.uuid, snapshot_time=u'20200128T12:00:00Z', metadata_of_pool=shapes.NULL_REF)
    return sr


def same_as_reader(found, seen):
    assert (found.used, found.sr_uuid, found.allocation) == (seen.length, seen.uuid, seen.allocation)
    assert octets(found.raw) == seen.bytes
    assert octets(mgt.unescaped(found.name_label)).decode('utf-8') == seen.name_label
    assert octets(mgt.unescaped(found.name_description)).decode('utf-8') == seen.name_description
    assert len(found.records) == len(seen.records)
    for record, other in zip(found.records, seen.records):
        assert record.offset == other.offset
        assert octets(mgt.unescaped(record.name_label)).decode('utf-8').strip(u' ') == other.label.strip(u' ')
        assert octets(mgt.unescaped(record.name_description)).decode('utf-8') == other.description
        assert [(name, record.fields[name]) for name in record.order] == list(other.fields.items())
        assert record.uuid == other.fields['uuid']
        assert record.deleted == (other.fields['deleted'] == '1')
        assert record.is_snapshot() == (other.fields['is_a_snapshot'] == '1')
    assert list(found.live()) and set(found.live()) == set(seen.live())
    return True


def test_shape_is_read_as_by_the_other_reader(shape):
    with reader.Lun(shape.path) as lun:
        volume = lun.volumes['MGT']
        assert same_as_reader(mgt.Metadata(volume.read, volume.size), lun.mgt())


def test_sample_is_read_as_by_the_other_reader(sample):
    with reader.Lun(sample) as lun:
        volume = lun.volumes['MGT']
        assert same_as_reader(mgt.Metadata(volume.read, volume.size), lun.mgt())


def test_records_without_a_live_one():
    sr = Sr(3)
    sr.add(u'gone', deleted=True)
    assert metadata(writer.used(sr)).live() == {}
    assert metadata(writer.used(Sr(3))).records == []


def test_padding_with_zeros_as_well():
    """sm writes spaces; a volume of an early release has zeros."""
    data = writer.used(some_sr())
    padded = b''.join(data[start:start + SECTOR].rstrip(b' ').ljust(SECTOR, b'\0') for start in range(0, len(data), SECTOR))
    assert len(metadata(padded).records) == 3


# What is refused. Each row changes the volume of `some_sr`.

def swap(old, new):
    """Within its sector; what gets longer takes from the padding."""
    def change(data):
        sectors = []
        for start in range(0, len(data), SECTOR):
            sector = data[start:start + SECTOR]
            if old in sector:
                sector = sector.replace(old, new, 1).rstrip(b' ').ljust(SECTOR)
            sectors.append(sector)
        changed = b''.join(sectors)
        assert changed != data
        return changed
    return change


FIRST = some_sr().vdis[0].uuid.encode('ascii')
NAME = b'<name_label>disk &amp; more</name_label>'
BAD = [
    ('zeros', lambda data: b'\0' * len(data), 'header'),
    ('no magic', swap(b'XSSM', b'XSSN'), 'XSSN'),
    ('no number', swap(b'XSSM:5120', b'XSSM:abcd'), 'header'),
    ('no version', swap(b':1:2', b''), 'header'),
    ('rubbish in the header', swap(b':1:2', b':1:2 x'), 'header'),
    ('too short', swap(b'XSSM:5120', b'XSSM:1024'), '1024 of'),
    ('longer than the volume', swap(b'XSSM:5120     ', b'XSSM:4194816  '), '4194816 of 4194304'),
    ('half a record', swap(b'XSSM:5120', b'XSSM:4608'), '4608 of'),
    ('a record of rubbish', swap(b'XSSM:5120', b'XSSM:6144'), 'offset 5120'),
    ('no XML header', swap(b'<?xml version="1.0" ?>', b'<?xml version="1.1" ?>'), 'SR record'),
    ('no SR uuid', swap(b'<uuid>', b'<uoid>'), 'SR record'),
    ('other tag', swap(b'<allocation>thick</allocation>', b''), 'uuid'),
    ('further tag', swap(b'<allocation>', b'<x>1</x><allocation>'), 'allocation, uuid, x'),
    ('rubbish in the SR record', swap(b'</allocation>', b'</allocation>.'), 'SR record'),
    ('allocation', swap(b'thick', b'thack'), 'thack'),
    ('SR uuid', swap(some_sr().uuid.encode('ascii'), b'1234'), '1234'),
    ('SR name', swap(b'<name_label>the SR', b'<name_label>the <b> SR'), 'name of the SR'),
    ('SR name not closed', swap(b'the SR</name_label>', b'the SR'), 'name of the SR'),
    ('SR description', swap(b'<name_description>of', b'<description>of'), 'name of the SR'),
    ('SR name in Latin-1', swap(b'the SR', b'the \xfc'), 'not UTF-8'),
    ('SR description with a control character', swap(b'of a', b'of \x01'), 'control'),
    ('record not opened', swap(b'<vdi>' + NAME, NAME), 'offset 2048'),
    ('record not closed', swap(FIRST + b'</uuid></vdi>', FIRST + b'</uuid>'), 'offset 2048'),
    ('names out of order', swap(NAME + b'<name_description>&lt;one&gt;</name_description>',
                                b'<name_description></name_description>' + NAME), 'offset 2048'),
    ('text between fields', swap(b'<uuid>' + FIRST, b' <uuid>' + FIRST), 'offset 2048'),
    ('field not closed', swap(b'<uuid>' + FIRST + b'</uuid>', b'<uuid>' + FIRST), 'offset 2048'),
    ('field closed as another', swap(FIRST + b'</uuid>', FIRST + b'</type>'), 'uuid wrong'),
    ('field twice', swap(b'<uuid>' + FIRST, b'<type>x</type><uuid>' + FIRST), 'type wrong or twice'),
    ('field with attributes', swap(b'<uuid>' + FIRST, b'<uuid x="1">' + FIRST), 'offset 2048'),
    ('nested field', swap(b'<uuid>' + FIRST + b'</uuid>', b'<uuid><x>' + FIRST + b'</x></uuid>'), 'offset 2048'),
    ('no uuid', swap(b'<uuid>' + FIRST + b'</uuid>', b''), 'has the uuid'),
    ('bad uuid', swap(FIRST, FIRST.upper()), 'has the uuid'),
    ('no deleted', swap(b'<deleted>0</deleted>', b''), 'deleted'),
    ('deleted is 2', swap(b'<deleted>0</deleted>', b'<deleted>2</deleted>'), 'deleted'),
    ('last field twice', swap(b'<deleted>0</deleted>', b'<deleted>0</deleted><deleted>0</deleted>'), 'field deleted wrong or twice'),
    ('deleted is empty', swap(b'<deleted>0</deleted>', b'<deleted></deleted>'), 'deleted'),
    ('no vdi_type', swap(b'<vdi_type>vhd</vdi_type>', b''), 'vdi_type'),
    ('vdi_type', swap(b'<vdi_type>vhd</vdi_type>', b'<vdi_type>lvhd</vdi_type>'), 'lvhd'),
    ('is_a_snapshot', swap(b'<is_a_snapshot>0', b'<is_a_snapshot>yes'), 'is_a_snapshot yes'),
    ('is_a_snapshot too large', swap(b'<is_a_snapshot>0', b'<is_a_snapshot>1234567890'), 'is_a_snapshot'),
    ('DTD', swap(b'<vdi>' + NAME, b'<!DOCTYPE x [<!ENTITY a "b">]><vdi>' + NAME), 'offset 2048'),
    ('own entity', swap(b'disk &amp; more', b'disk &a; more'), 'entity'),
    ('bare ampersand', swap(b'disk &amp; more', b'disk & more'), 'entity'),
    ('numeric entity', swap(b'disk &amp; more', b'disk &#0; more'), 'entity'),
    ('name in Latin-1', swap(b'disk &amp; more', b'disk \xfc more'), 'not UTF-8'),
    ('name with a lone surrogate', swap(b'disk &amp; more', b'disk \xed\xa0\x80 more'), 'not UTF-8'),
    ('name that is cut in a character', swap(b'disk &amp; more', b'disk \xc3'), 'not UTF-8'),
    ('name with a zero', swap(b'disk &amp; more', b'disk \0 more'), 'control'),
    ('name with an escape', swap(b'disk &amp; more', b'disk \x1b[1m'), 'control'),
    ('name with a character that XML forbids', swap(b'disk &amp; more', b'disk \xef\xbf\xbf'), 'XML'),
    ('description with the other one', swap(b'&lt;one&gt;', b'\xef\xbf\xbe'), 'XML'),
    ('field in Latin-1', swap(b'<type>user', b'<type>\xfc'), 'not UTF-8'),
]


@pytest.mark.parametrize('change, said', [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_what_is_not_understood(change, said):
    data = writer.used(some_sr())
    assert len(data) == 5120
    with pytest.raises(errors.BadMGT) as caught:
        metadata(change(data))
    assert said in str(caught.value)


def test_a_bad_name_is_told_by_its_vdi():
    """sm cut it within an entity; made anew it would be cut there again, so that the name has to be changed."""
    with pytest.raises(errors.BadName) as caught:
        metadata(swap(b'disk &amp; more', b'disk &am')(writer.used(some_sr())))
    assert 'the name of VDI %s (record at offset 2048)' % FIRST.decode('ascii') in str(caught.value)
    assert 'vdi-param-set' in str(caught.value)


@pytest.mark.parametrize('change', [swap(b'<vdi>' + NAME, NAME), swap(b'<managed>1', b'<managed>x')])
def test_a_bad_record_is_told_by_its_vdi(change):
    with pytest.raises(errors.BadMGT) as caught:
        metadata(change(writer.used(some_sr()))).live()
    assert 'VDI %s (record at offset 2048)' % FIRST.decode('ascii') in str(caught.value)


@pytest.mark.parametrize('version', [(1, 1), (1, 0), (1, 3), (2, 0), (0, 2), (12, 345)])
def test_other_versions(version):
    with pytest.raises(errors.OldMGT if version < (1, 2) else errors.NewMGT) as caught:
        metadata(writer.used(some_sr(mgt_version=version)))
    assert '%d:%d' % version in str(caught.value)


@pytest.mark.parametrize('minor', [0, 1, 2])
def test_the_binary_header_from_before_6_0(minor):
    """metadata.py of sm: STRUCT_FMT. sm 3.0 and later do not rewrite it any more."""
    data = struct.pack('4sIHH', b'XSSM', 412, 1, minor) + b'<?xml version="1.0" ?><SRMetadata></SRMetadata>'
    with pytest.raises(errors.OldMGT) as caught:
        metadata(data.ljust(4096, b'\0'))
    assert '1:%d in the binary form' % minor in str(caught.value) and '6.0 to 8.2' in str(caught.value)


THIN = b'<initial_allocation>%s</initial_allocation><allocation_quantum>%s</allocation_quantum>'


@pytest.mark.parametrize('fields', [(b'', b''), (b'16777216', b'8388608')])
def test_the_sr_record_of_xenserver_7_0_is_kept(fields):
    """sm v1.12.0 to v1.15.1 wrote two more fields into every SR, and nobody takes them out."""
    old = metadata(swap(b'</allocation>', b'</allocation>' + THIN % fields)(writer.used(some_sr())))
    assert old.allocation == 'thick'
    uuids = dict((record.uuid, NEW % 1) for record in old.records)
    uuids[old.sr_uuid] = NEW % 0
    new = octets(old.rewritten(uuids, {}, {}))
    assert new[SECTOR:2 * SECTOR] == octets(old.raw)[SECTOR:2 * SECTOR].replace(octets(old.sr_uuid), octets(NEW % 0))
    assert THIN % fields in new


def test_the_thin_srs_of_xenserver_7_0():
    with pytest.raises(errors.ThinDaemon):
        metadata(swap(b'thick</allocation>', b'xlvhd</allocation>' + THIN % (b'1', b'1'))(writer.used(some_sr())))


@pytest.mark.parametrize('size', [0, 512, 1536])
def test_volume_that_is_too_small(size):
    with pytest.raises(errors.BadMGT) as caught:
        metadata(b'', size)
    assert '%d bytes' % size in str(caught.value)


def test_more_than_16_mib_are_not_read():
    size = 64 * MIB

    def read(offset, length):
        assert (offset, length) == (0, SECTOR)
        return ('XSSM:%-10d:1:2' % (2048 + 1024 * 16384)).encode('ascii').ljust(SECTOR)
    with pytest.raises(errors.BadMGT) as caught:
        mgt.Metadata(read, size)
    assert 'at most' in str(caught.value)


@pytest.mark.parametrize('old, new, said', [
    (b'<read_only>', b'<sparse>1</sparse><read_only>', 'unknown field sparse'),
    (b'<managed>1</managed>', b'', 'has no managed'), (b'<read_only>0</read_only>', b'', 'has no read_only'),
    (b'<type>user</type>', b'', 'has no type'), (b'<managed>1<', b'<managed>x<', 'has managed x')])
def test_what_the_record_of_a_vdi_must_have(old, new, said):
    found = metadata(swap(old, new)(writer.used(some_sr())))
    with pytest.raises(errors.BadMGT) as caught:
        found.live()
    assert said in str(caught.value) and 'offset 2048' in str(caught.value)


BLANKS = [u' ', u'\t \n', u'\u2003']


@pytest.mark.parametrize('blank', BLANKS)
@pytest.mark.parametrize('field', ['name', 'description'])
def test_names_that_sm_could_not_scan_are_emptied(field, blank):
    """sm's parser makes a dict of white space."""
    sr = some_sr()
    vdi = sr.vdis[0]
    setattr(vdi, 'name_label' if field == 'name' else 'name_description', blank)
    _, old, new, _ = rewritten(sr)
    assert old.records[0].blank() == [field] and old.records[2].blank() == []
    labels = {'name': ('', '&lt;one&gt;'), 'description': ('disk &amp; more', '')}
    assert (new.records[0].name_label, new.records[0].name_description) == labels[field]
    assert new.records[2].raw[:SECTOR] == old.records[2].raw[:SECTOR]


@pytest.mark.parametrize('blank', BLANKS)
def test_a_blank_name_of_the_sr_is_emptied(blank):
    sr = some_sr()
    sr.name_label = sr.name_description = blank
    _, old, new, seen = rewritten(sr)
    assert old.blank() == ['name', 'description']
    assert (seen.name_label, seen.name_description) == (u'', u'')


@pytest.mark.parametrize('given', [b' ', b'\x00', b'\x07\x1b', b'\xe2\x80\x83 \t'])
def test_a_given_name_that_sm_could_not_read_back_is_not_written(given):
    _, _, new, seen = rewritten(some_sr(), name_label=text(given), name_description=text(given))
    assert (seen.name_label, seen.name_description) == (u'', u'')


def test_a_record_that_would_grow_beyond_its_sectors():
    """A deleted record of no type and with no byte to spare, whose uuid is that of a VDI."""
    sr = some_sr()
    uuid = sr.vdis[0].uuid.encode('ascii')
    start = b'<uuid>' + uuid + b'</uuid><vdi_type></vdi_type><deleted>1</deleted><x>'
    tail = start + b'x' * (SECTOR - len(start) - len(b'</x></vdi>')) + b'</x></vdi>'
    data = writer.used(sr)
    data = data[:3072 + SECTOR] + tail + data[4096:]
    found = metadata(data)
    uuids = dict((record.uuid, NEW % 1) for record in found.records)
    uuids[found.sr_uuid] = NEW % 0
    with pytest.raises(errors.BadMGT) as caught:
        found.rewritten(uuids, {}, {str(sr.vdis[0].uuid): 'vhd'})
    assert 'no room' in str(caught.value) and 'offset 3072' in str(caught.value)


def test_the_sr_is_no_vdi():
    sr = some_sr()
    sr.add(u'odd', uuid=sr.uuid)
    with pytest.raises(errors.UuidOfSR) as caught:
        metadata(writer.used(sr)).live()
    assert sr.uuid in str(caught.value)


def test_two_records_of_one_vdi():
    sr = some_sr()
    sr.add(u'twin', uuid=sr.vdis[0].uuid)
    found = metadata(writer.used(sr))
    with pytest.raises(errors.DuplicateVDI) as caught:
        found.live()
    assert sr.vdis[0].uuid in str(caught.value)


def test_a_deleted_record_may_have_the_uuid_of_another():
    sr = some_sr()
    sr.add(u'twin', uuid=sr.vdis[0].uuid, deleted=True)
    assert len(metadata(writer.used(sr)).live()) == 2


@pytest.mark.parametrize('change', [swap(FIRST, b'-'), swap(b'<vdi_type>vhd</vdi_type>', b'<vdi_type>-</vdi_type>'),
                                    swap(b'<is_a_snapshot>0', b'<is_a_snapshot>-')])
def test_what_a_deleted_record_says_does_not_matter(change):
    data = swap(b'<deleted>0</deleted>', b'<deleted>1</deleted>')(writer.used(some_sr()))
    assert len(metadata(change(data)).records) == 3


# XML: whatever is taken, sm's parser takes as well.

CHARACTERS = [u'a', u'\x00', u'\x01', u'\x08', u'\t', u'\n', u'\x0b', u'\x0c', u'\r', u'\x0e', u'\x1f', u' ', u'"', u"'", u'/', u']]&gt;',
              u'&amp;', u'&lt;', u'&gt;', u'&quot;', u'&apos;', u'&nbsp;', u'&#65;', u'&', u'&amp', u'\x7f', u'\x80', u'\x85', u'\xa0',
              u'\xad', u'\u0301', u'\u200f', u'\u2028', u'\ud7ff', u'\ue000', u'\ufdd0', u'\ufffd', u'\ufffe', u'\uffff',
              u'\U0001f4be', u'\U0001fffe', u'\U0010ffff']


@pytest.mark.parametrize('data', [u'x%sy'.replace(u'%s', char).encode('utf-8') for char in CHARACTERS] +
                         [b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xc0\xaf', b'\xf4\x90\x80\x80', b'\xff', b'\xef\xbb\xbf'], ids=repr)
def test_names_that_are_taken_are_taken_by_expat(data):
    volume = swap(b'disk &amp; more', data)(writer.used(some_sr()))
    try:
        record = metadata(volume).records[0]
    except errors.BadMGT:
        return
    assert octets(record.name_label) == data
    document = xml.dom.minidom.parseString(volume[2048:3072].replace(b'\0', b''))
    shown = document.getElementsByTagName('name_label')[0].firstChild.data
    assert shown == octets(mgt.unescaped(record.name_label)).decode('utf-8').replace(u'\r', u'\n')


def taken(data):
    try:
        metadata(swap(b'disk &amp; more', data)(writer.used(some_sr())))
    except errors.BadMGT:
        return False
    return True


@pytest.mark.parametrize('char', [u'a', u'\t', u'\n', u' ', u'"', u'&amp;', u'&quot;', u'\x7f', u'\u0301', u'\ufffd', u'\U0001f4be',
                                  u'\U0010ffff'])
def test_names_that_sm_can_hold_are_taken(char):
    assert taken(u'x{0}y'.format(char).encode('utf-8'))


# Types and snapshots

@pytest.mark.parametrize('field, value, said', [
    ('type', 'user', ''), ('type', 'system', ''), ('type', '', ''), ('type', 'suspend', ''), ('type', 'crashdump', ''),
    ('type', 'ha_statefile', 'ha_statefile'), ('type', 'redo_log', 'redo_log'), ('type', 'metadata', 'metadata'),
    ('metadata_of_pool', '', ''), ('metadata_of_pool', 'OpaqueRef:NULL', ''),
    ('metadata_of_pool', 'OpaqueRef:%s' % FIRST.decode('ascii'), 'metadata of a pool'), ('type', 'cbt_metadata', 'cbt_metadata'),
    ('metadata_of_pool', FIRST.decode('ascii'), 'metadata of a pool')])
def test_types_that_are_never_kept(field, value, said):
    sr = Sr(1)
    sr.add(u'x', **{field: value})
    why = metadata(writer.used(sr)).records[0].dropped_type()
    assert (said in why) if said else why == ''


@pytest.mark.parametrize('value, expected', [(b'0', False), (b'2', True), (b'00', False), (b'01', True)])
def test_snapshots(value, expected):
    data = swap(b'<is_a_snapshot>1<', b'<is_a_snapshot>' + value + b'<')(writer.used(some_sr()))
    assert metadata(data).records[1].is_snapshot() is expected


def test_a_record_that_does_not_say_is_no_snapshot():
    data = swap(b'<is_a_snapshot>0</is_a_snapshot>', b'')(writer.used(some_sr()))
    assert not metadata(data).records[0].is_snapshot()


# Rewriting

def rewritten(sr, dropped=(), types=None, **names):
    """(uuids, old metadata, the new one read by the engine, the new one as lvhd reads it)"""
    old = metadata(writer.used(sr))
    uuids = {sr.uuid: NEW % 0}
    for number, vdi in enumerate(sr.vdis):
        uuids[vdi.uuid] = NEW % (number + 1)
    new = octets(old.rewritten(uuids, dict.fromkeys(dropped), types or {}, **names))
    assert len(new) == old.used

    class Volume(object):
        size = 4 * MIB

        def read(self, offset, length):
            return new[offset:offset + length]
    return uuids, old, metadata(new), reader.Mgt(Volume())


def test_new_uuids_and_all_else_as_it_was():
    sr = some_sr()
    uuids, old, new, seen = rewritten(sr)
    assert seen.uuid == uuids[sr.uuid]
    for before, after, other in zip(old.records, new.records, seen.records):
        assert after.raw[:SECTOR] == before.raw[:SECTOR]
        assert after.order == before.order
        expected = dict(before.fields, uuid=uuids[before.uuid], metadata_of_pool='')
        expected['snapshot_of'] = uuids.get(before.fields['snapshot_of'], '')
        assert after.fields == expected == dict(other.fields)
    assert new.raw[:SECTOR] == old.raw[:SECTOR]
    assert new.raw[2 * SECTOR:4 * SECTOR] == old.raw[2 * SECTOR:4 * SECTOR]
    assert len(new.records) == 3
    assert new.records[1].deleted and not new.records[0].deleted


def test_dropped_records_become_free_slots():
    sr = some_sr()
    uuids, _, new, _ = rewritten(sr, dropped=[sr.vdis[2].uuid])
    assert [record.deleted for record in new.records] == [False, True, True]
    assert set(new.live()) == set([uuids[sr.vdis[0].uuid]])


def test_the_type_is_that_of_the_volume():
    sr = some_sr()
    assert sr.vdis[0].record_vdi_type == 'vhd'
    _, _, new, _ = rewritten(sr, types={sr.vdis[0].uuid: 'aio', sr.vdis[2].uuid: 'vhd'})
    assert [record.fields['vdi_type'] for record in new.records] == ['aio', 'vhd', 'vhd']


@pytest.mark.parametrize('reference', ['OpaqueRef:NULL', 'OpaqueRef:0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01',
                                       '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01', 'whatever', ''])
def test_references_to_what_is_not_on_the_lun_are_emptied(reference):
    sr = Sr(2)
    sr.add(u'x', is_a_snapshot=True, snapshot_of=reference)
    sr.add(u'y', metadata_of_pool=reference)
    _, _, new, _ = rewritten(sr)
    assert [record.fields['snapshot_of'] for record in new.records] == ['', '']
    assert [record.fields['metadata_of_pool'] for record in new.records] == ['', '']


def test_fields_that_are_not_there_are_not_added():
    sr = Sr(2)
    sr.add(u'x', record_tags=('deleted', 'vdi_type', 'uuid', 'offset'))
    sr.add(u'gone', deleted=True, record_tags=('deleted',))
    _, _, new, _ = rewritten(sr)
    assert [record.order for record in new.records] == [['deleted', 'vdi_type', 'uuid', 'offset'], ['deleted']]


@pytest.mark.parametrize('tags', [shapes.NEW_RECORD, tuple(reversed(shapes.NEW_RECORD)), tuple(sorted(shapes.NEW_RECORD)),
                                  shapes.NEW_RECORD + ('offset',)])
def test_order_of_fields_is_kept(tags):
    sr = Sr(2)
    sr.add(u'x', record_tags=tags)
    _, _, new, _ = rewritten(sr)
    assert tuple(new.records[0].order) == tags


ROOM = SECTOR - len('<name_label></name_label>')


@pytest.mark.parametrize('name, expected', [
    (u'', u''),
    (u'plain', u'plain'),
    (u'Gr\xfcn \u4e2d\u6587 \U0001f4be', u'Gr\xfcn \u4e2d\u6587 \U0001f4be'),
    (u'a & b <c> "d" \'e\' ]]>', u'a & b <c> "d" \'e\' ]]>'),
    (u'&amp; stays', u'&amp; stays'),
    (u'x' * ROOM, u'x' * ROOM),
    (u'x' * (ROOM + 1), u'x' * ROOM),
    (u'x' * (ROOM - 1) + u'\xfc', u'x' * (ROOM - 1)),
    (u'x' * (ROOM - 2) + u'\xfc', u'x' * (ROOM - 2) + u'\xfc'),
    (u'x' * (ROOM - 4) + u'&b', u'x' * (ROOM - 4)),
    (u'x' * (ROOM - 5) + u'&b', u'x' * (ROOM - 5) + u'&'),
    (u'\U0001f4be' * 200, u'\U0001f4be' * (ROOM // 4)),
    (u'\xfc' * 600, u'\xfc' * (ROOM // 2)),
    (u'zero \x00 bell \x07 esc \x1b', u'zero   bell   esc  '),
    (u'tab\tline\nfeed', u'tab\tline\nfeed'),
    (u'no \ufffe and \uffff', u'no \ufffd and \ufffd'),
])
def test_new_names_of_the_sr(name, expected):
    _, _, new, seen = rewritten(some_sr(), name_label=text(name.encode('utf-8')))
    assert (seen.name_label, seen.name_description) == (expected, u'of a test')
    assert octets(mgt.unescaped(new.name_label)).decode('utf-8') == expected


def test_new_description_of_the_sr():
    _, _, new, seen = rewritten(some_sr(), name_description=text(u'\xfc&'.encode('utf-8')))
    assert (seen.name_label, seen.name_description) == (u'the SR', u'\xfc&')
    _, _, new, seen = rewritten(some_sr(), name_label='', name_description='')
    assert (seen.name_label, seen.name_description) == (EMPTY, EMPTY)
    assert new.name_label == new.name_description == ''


@pytest.mark.parametrize('data', [b'\xff', b'a\xc3', b'\xed\xa0\x80', b'\xed\xa0\xbd\xed\xb2\xbe'])
def test_a_new_name_that_is_not_utf8_is_repaired(data):
    _, _, new, seen = rewritten(some_sr(), name_label=text(data))
    assert u'\ufffd' in seen.name_label or u'?' in seen.name_label
    assert new.name_label


def test_long_names_of_records_are_kept_as_sm_cut_them(shape_called):
    with reader.Lun(shape_called('long_names').path) as lun:
        volume = lun.volumes['MGT']
        old = mgt.Metadata(volume.read, volume.size)
        uuids = dict((uuid, identity.new_uuid()) for uuid in list(old.live()) + [old.sr_uuid])
        new = old.rewritten(uuids, {}, {})
    for record in old.records:
        assert new[record.offset:record.offset + SECTOR] == record.raw[:SECTOR]


@pytest.mark.parametrize('stored, shown', [('', ''), ('a', 'a'), ('&lt;&gt;&amp;&quot;&apos;', '<>&"\''), ('&amp;lt;', '&lt;'),
                                           ('&amp;amp;', '&amp;')])
def test_unescaped(stored, shown):
    assert mgt.unescaped(stored) == shown


def test_identity_fields_are_all_but_names():
    sr = some_sr()
    found = metadata(writer.used(sr)).identity_fields()
    assert len(found) == 4
    assert 'offset 3072' in found[2][0]
    whole = '\n'.join([content for _, content in found])
    assert sr.uuid in whole and sr.vdis[0].uuid in whole and 'disk' not in whole and 'of a test' not in whole


def test_expat_is_the_parser_that_sm_uses():
    with pytest.raises(xml.parsers.expat.ExpatError):
        xml.dom.minidom.parseString(b'<a>\xef\xbf\xbf</a>')
