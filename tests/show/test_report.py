# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.show.report: a preview as data, text and the XML of sr-probe."""
from __future__ import absolute_import, division, print_function

import json
import xml.dom.minidom

import pytest

from luns import damage, devices
from lvhd import policy, reader, shapes
from lvhd.model import Sr
from relvm import errors, identity
from relvm.engine import blockdev
from relvm.show import jsontext, report

UUID = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'


def previewed(path, *names):
    before = damage.fingerprint(path)
    device = blockdev.Device(path, False)
    try:
        return report.preview(device, UUID, *names)
    finally:
        device.close()
        assert damage.fingerprint(path) == before


def elements(data):
    """The XML as {tag: text} of <SR>, and the <resign> element."""
    string = report.as_xml(data)
    assert isinstance(string, str)
    assert all(' ' <= char <= '~' or char == '\n' for char in string)
    document = xml.dom.minidom.parseString(string)
    found = {}
    for node in document.getElementsByTagName('SR'):
        for child in node.childNodes:
            if child.nodeType == child.ELEMENT_NODE:
                found[child.tagName] = inner(child)
    resign, = document.getElementsByTagName('resign')
    return found, resign


def inner(node):
    return u''.join(child.data for child in node.childNodes if child.nodeType == child.TEXT_NODE)


def texts(node, tag):
    return [inner(each) for each in node.getElementsByTagName(tag)]


def test_data_of_a_shape(shape):
    model = shape.model
    data = previewed(shape.path)
    with reader.Lun(shape.path) as lun:
        mgt = lun.mgt()
        assert (data['sr_uuid'], data['vg'], data['pv_uuid']) == (model.uuid, lun.vg_name, lun.label.pv_id.replace('-', ''))
        assert (data['name_label'], data['name_description']) == (mgt.name_label, mgt.name_description)
        assert data['size'] == lun.device.size()
        assert data['device_hint'] == model.device
        assert data['copied_from'] == model.device.split('/')[4]
        labels = dict((record.fields['uuid'], record.label) for record in mgt.records)
    stored = [vdi for vdi in model.vdis if vdi.stored]
    kept = [vdi.uuid for vdi in policy.kept(model)]
    assert [vdi['uuid'] for vdi in data['vdis']] == [vdi.uuid for vdi in stored]
    for shown, vdi in zip(data['vdis'], stored):
        assert shown['name_label'] == labels.get(vdi.uuid, u'')
        assert shown['size'] == vdi.virtual_size(model.extent_size)
        assert shown['type'] == {'vhd': 'vhd', 'qcow2': 'qcow2', 'aio': 'raw'}[vdi.vdi_type]
        assert shown['hidden'] == vdi.hidden
        assert shown['parent'] == (vdi.parent.uuid if vdi.parent is not None else '')
        if not data['possible']:
            assert (shown['action'], shown['new_uuid'], shown['reason']) == ('', '', '')
        elif vdi.uuid in kept:
            assert shown['action'] == 'keep' and shown['reason'] == '' and len(shown['new_uuid']) == 36
        else:
            assert shown['action'] == 'drop' and shown['reason'] and shown['new_uuid'] == ''
    assert data['possible'] == (shape.name != 'mgt_nearly_full')
    if data['possible']:
        assert data['new']['sr_uuid'] == UUID and len(data['new']['pv_uuid']) == 32
        assert [each['lv'] for each in data['removed']] == \
            [volume.name for volume in model.volumes if volume not in policy.kept_volumes(model)]


def test_every_form_of_a_shape(shape):
    """Each form can be read by its reader, and says the same names."""
    data = previewed(shape.path)
    back = json.loads(jsontext.dumps(data))
    assert back == json.loads(json.dumps(data))
    found, resign = elements(data)
    assert (found['UUID'], found['size']) == (data['sr_uuid'], str(data['size']))
    assert found['name_label'] == data['name_label'].replace(u'\n', u' ').replace(u'\t', u' ')
    names = [vdi['name_label'].replace(u'\n', u' ').replace(u'\t', u' ') for vdi in data['vdis']]
    assert texts(resign, 'name_label') == names
    assert texts(resign, 'uuid') == [vdi['uuid'] for vdi in data['vdis']]
    assert texts(resign, 'lv') == [each['lv'] for each in data['removed']]
    assert texts(resign, 'possible') == [str(data['possible']).lower()]
    assert texts(resign, 'writes') == [str(len(data['writes']))]
    lines = report.as_text(data)
    assert isinstance(lines, type(u''))
    for vdi in data['vdis']:
        assert vdi['uuid'] in lines and vdi['name_label'] in lines


def test_the_preview_is_what_the_resign_does(shape_called, tmpdir):
    """Writes: as many and as long, at the same places."""
    path = shape_called('tree_with_clones').copy(tmpdir.join('lun.img'))
    data = previewed(path)
    _, device = devices.run(path, OTHER)
    assert [(each['offset'], each['length']) for each in data['writes']] == \
        [(each.offset, len(each.data)) for each in device.written()]
    assert sum(each['length'] for each in data['writes']) == device.bytes_written


def test_text(shape_called):
    lines = report.as_text(previewed(shape_called('ha_and_metadata_vdis').path)).split(u'\n')
    model = shape_called('ha_and_metadata_vdis').model
    assert lines[0] == u'SR        %s  "iSCSI SR"' % model.uuid
    assert u'new SR    %s' % UUID in lines
    assert u'last used on the LUN with SCSI id 360000000000000000e00000000010001' in lines
    assert u'   drop   its type is ha_statefile' in lines
    assert lines[-1].endswith(u'nothing has been written')
    assert not [line for line in lines if line.startswith((u'REFUSED', u'LOCKED'))]


def test_text_of_hidden_nodes_notes_and_removed_volumes(shape_called):
    lines = report.as_text(previewed(shape_called('two_snapshots').path)).split(u'\n')
    assert len([line for line in lines if line.endswith(u'(hidden)')]) == 2
    assert [line for line in lines if line.startswith(u'note') and u'base copies' in line]
    lines = report.as_text(previewed(shape_called('cbt_logs').path)).split(u'\n')
    assert len([line for line in lines if line.startswith(u'LV ')]) == 3


def test_a_refusal_is_part_of_the_answer(written):
    sr = shapes.one()
    shapes.disk(sr, 'vdi1').is_a_snapshot = True
    sr.vdis[0].is_a_snapshot = True
    data = previewed(written(sr))
    assert (data['possible'], data['new'], data['writes']) == (False, {}, [])
    assert [reason['code'] for reason in data['reasons']] == ['NothingLeft']
    # what there is, is shown all the same
    assert len(data['vdis']) == 2 and data['name_label'] == u'iSCSI SR'
    lines = report.as_text(data)
    assert u'REFUSED   NothingLeft: no VDI would be left' in lines and u'new SR' not in lines
    found, resign = elements(data)
    assert found['UUID'] == sr.uuid
    assert resign.getElementsByTagName('reason')[0].getAttribute('code') == 'NothingLeft'
    assert 'no VDI would be left' in inner(resign.getElementsByTagName('reason')[0])


def test_nothing_is_known(tmpdir):
    path = str(tmpdir.join('blank.img'))
    with open(path, 'wb') as stream:
        stream.truncate(1 << 20)
    data = previewed(path)
    assert data == dict(report.empty(1 << 20), reasons=data['reasons'])
    assert data['reasons'][0]['code'] == 'NoLabel'
    assert report.as_text(data).split(u'\n')[:3] == [u'SR        -  ""', u'PV        -', u'size      1048576 bytes']
    found, resign = elements(data)
    assert found == {}
    assert texts(resign, 'possible') == ['false']


def test_half_is_known(written):
    """Label and VG are fine, MGT is not."""
    sr = shapes.one()
    path = written(sr)
    damage.volume(path, 'MGT', 0, b'YSSM')
    data = previewed(path)
    assert (data['sr_uuid'], data['vdis'], data['name_label']) == (sr.uuid, [], '')
    assert data['reasons'][0]['code'] == 'BadMGT'
    assert elements(data)[0]['UUID'] == sr.uuid


def test_locked(shape_called, tmpdir):
    path = shape_called('one').copy(tmpdir.join('lun.img'))
    devices.killed(path, OTHER, 3)
    data = previewed(path)
    vdi, = shape_called('one').model.vdis
    assert (data['possible'], data['locked'], data['sr_uuid'], data['done']) == (True, True, OTHER, False)
    assert [(each['from'], each['uuid']) for each in data['vdis']] == [(vdi.uuid, identity.uuid5(OTHER, vdi.uuid))]
    assert data['new']['from'] == shape_called('one').model.uuid
    assert u'LOCKED    an interrupted resign will be finished first' in report.as_text(data)
    assert texts(elements(data)[1], 'locked') == ['true']


def test_further_reasons(shape_called):
    """As the driver adds them."""
    data = previewed(shape_called('one').path)
    report.add_reason(data, errors.Original(how='was last used here'))
    assert not data['possible']
    assert 'device-config:force=true' in data['reasons'][0]['sentence']
    assert texts(elements(data)[1], 'reason')[0] == data['reasons'][0]['sentence']


def test_names_are_given_on(shape_called):
    one = previewed(shape_called('one').path)
    other = previewed(shape_called('one').path, 'x' * 300, 'y' * 300)
    assert sum(each['length'] for each in other['writes']) > sum(each['length'] for each in one['writes'])


@pytest.mark.parametrize('hint', [b'/dev/disk/by-scsid/\xff\xfe/sda', b'/dev/disk/by-scsid/\x1b[2J/sda', b'/dev/disk/mpInuse/\xc3\xa9'])
def test_hostile_hints(hint, written):
    """The path comes from the LUN: its bytes go to a terminal, into XML and into JSON."""
    path = written(shapes.one(device='/dev/disk/by-scsid/3600/sda'))
    damage.replace(path, b'/dev/disk/by-scsid/3600/sda', hint)
    every_form_is_ascii(previewed(path))


def test_hostile_pv_uuid(written):
    path = written(shapes.one())
    damage.label(path, damage.put(32, b'\xff\x1b\0<&>'))
    data = previewed(path)
    assert data['possible'] is False
    every_form_is_ascii(data)


def every_form_is_ascii(data):
    for string in (report.as_text(data), report.as_xml(data), jsontext.dumps(data)):
        assert all(char == '\n' or ' ' <= char <= '~' for char in string)
    elements(data)


@pytest.mark.parametrize('name', [u'', u'a', u'\u4e2d\u6587', u'\U0001f4be', u'<SR> & "x" \'y\' ]]>', u'\x7f\x80\x9f\xa0', u'\ufffd'])
def test_names_in_xml(name, written):
    sr = Sr(1, name_label=name, name_description=name)
    shapes.disk(sr, name)
    data = previewed(written(sr))
    found, resign = elements(data)
    assert (found['name_label'], found['name_description']) == (name, name)
    assert texts(resign, 'name_label') == [name]


def test_white_space_and_halves_of_characters_in_xml():
    """Python with 16-bit Unicode has the two halves of a character, one by one."""
    data = report.empty(0)
    data.update(sr_uuid=UUID, name_label=u'a\tb\nc', name_description=u'x\ud83d\udcbey\ud83d\ude00')
    found, _ = elements(data)
    assert (found['name_label'], found['name_description']) == (u'a b c', u'x\U0001f4bey\U0001f600')
