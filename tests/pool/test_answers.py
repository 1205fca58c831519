# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.pool.answers: the XML of SR.probe as data."""
from __future__ import unicode_literals

import sys

import pytest

from relvm.pool import answers

REFUSED = str('''<SRlist><SR>
  <UUID>
    11111111-1111-1111-1111-111111111111
  </UUID>
  <Devlist>/dev/sdc</Devlist><size>1073741824</size><name_label>Backup &lt;old&gt;</name_label><name_description/>
  <pool_metadata_detected>false</pool_metadata_detected>
  <resign><possible>false</possible>
    <reason code="JournalsOpen">The SR has open journals.</reason><reason code="DeviceBusy">In use.</reason>
    <copy_of>22222222-2222-2222-2222-222222222222</copy_of>
    <report>No hint of the device.</report><report>Two VDIs will show up.</report>
    <vdi><uuid>a</uuid><name_label>disk</name_label><action>keep</action><reason/><type>vhd</type><size>10</size></vdi>
    <vdi><uuid>b</uuid><name_label/><action>drop</action><reason>snapshot</reason><type>raw</type><size/></vdi>
  </resign></SR></SRlist>''')


def test_every_part_of_a_preview():
    assert answers.preview(REFUSED) == {
        'uuid': '11111111-1111-1111-1111-111111111111', 'name_label': 'Backup <old>', 'name_description': '',
        'size': 1073741824, 'device': '/dev/sdc', 'possible': False,
        'reasons': [{'code': 'JournalsOpen', 'sentence': 'The SR has open journals.'},
                    {'code': 'DeviceBusy', 'sentence': 'In use.'}],
        'copy_of': '22222222-2222-2222-2222-222222222222',
        'report': ['No hint of the device.', 'Two VDIs will show up.'],
        'vdis': [{'uuid': 'a', 'name_label': 'disk', 'action': 'keep', 'reason': '', 'type': 'vhd', 'size': 10},
                 {'uuid': 'b', 'name_label': '', 'action': 'drop', 'reason': 'snapshot', 'type': 'raw', 'size': None}],
    }


def test_a_lun_that_can_be_resigned():
    answer = answers.preview(str('<SRlist><SR><UUID>a</UUID><resign><possible>true</possible></resign></SR></SRlist>'))
    assert (answer['possible'], answer['reasons'], answer['copy_of'], answer['vdis']) == (True, [], '', [])


def test_a_lun_on_which_no_sr_could_be_read():
    answer = answers.preview(str('<SRlist><resign><possible>false</possible><reason code="NoLabel">no.</reason></resign></SRlist>'))
    assert (answer['uuid'], answer['possible'], answer['reasons']) == ('', False, [{'code': 'NoLabel', 'sentence': 'no.'}])


def test_names_outside_ascii():
    xml = '<SRlist><SR><UUID>a</UUID><name_label>Grün 中</name_label><resign/></SR></SRlist>'
    for text in (xml.encode('utf-8'), str(xml) if sys.version_info[0] > 2 else xml.encode('utf-8')):
        assert answers.preview(text)['name_label'] == 'Grün 中'


def test_the_srs_of_an_ordinary_probe():
    assert answers.found(str('<?xml version="1.0" ?>\n<SRlist/>')) == []
    two = answers.found(str('<SRlist><SR><UUID>a</UUID><size>1</size></SR><SR><UUID>\n b\n </UUID></SR></SRlist>'))
    assert [(sr['uuid'], sr['size']) for sr in two] == [('a', 1), ('b', None)]


@pytest.mark.parametrize('xml', ['', 'no XML', '<SRlist>', '<iscsi-target/>', '<SRlist/>',
                                 '<SRlist><SR><UUID>a</UUID></SR></SRlist>',
                                 '<SRlist><SR><resign/></SR><SR><resign/></SR></SRlist>'])
def test_what_is_no_preview_is_refused(xml):
    with pytest.raises(answers.NotAnAnswer):
        answers.preview(str(xml))
