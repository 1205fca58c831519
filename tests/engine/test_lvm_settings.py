# SPDX-License-Identifier: LGPL-2.1-only
"""What an administrator's LVM commands make of an SR, on a LUN that the real storage manager made: refused with the command that undoes
it, which is then given; or taken."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

import pytest

from conftest import copy
from luns import devices
from lvhd import reader
from lvhd.judges import lvm
from lvhd.model import MIB
from relvm import errors

NEW_SR = str('0f0e0d0c-1111-4222-8333-444455556666')
pytestmark = pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))


@pytest.fixture
def original(unpacked, tmpdir):
    return copy(unpacked['one'], tmpdir.join('original.img'))


def commands(path, *lines):
    """LVM commands on an image, {vg}, {pv} and {device} filled in; all have to succeed."""
    with reader.Lun(path) as lun:
        names = {'vg': lun.vg_name, 'pv': lun.pv['id']}
    lvm.carry_out(path, names, *lines)


def judged(path):
    """What real LVM says of the resigned LUN; nothing to complain about."""
    found = lvm.report_image(path)
    assert lvm.complaints(found) == []
    assert [row['vg_name'] for row in found.vgs.rows] == ['VG_XenStorage-' + NEW_SR]
    return found


def undo(path, error, word):
    """Gives the command that the refusal names, as it names it."""
    said = str(error)
    with reader.Lun(path) as lun:
        line = said[said.index(word):].split(')')[0].split(' on the original')[0]
        name = lun.vg_name
    line = line.replace('VG/', name + '/')
    commands(path, ' '.join([name if part == 'VG' else part for part in line.split()]))


def test_a_group_that_vgexport_exported(original):
    commands(original, 'vgexport {vg}')
    with pytest.raises(errors.Exported) as caught:
        devices.run(original, NEW_SR)[0]
    undo(original, caught.value, 'vgimport')
    devices.run(original, NEW_SR)[0]
    judged(original)


@pytest.mark.skipif(lvm.missing() is None and lvm.is_old(), reason='LVM 2.02 has no such setting')
@pytest.mark.parametrize('setting, word', [
    ('vgchange --setautoactivation n {vg}', 'vgchange'), ('lvchange --setautoactivation n {vg}/MGT', 'lvchange'),
    ('lvchange -ky {vg}/MGT', 'lvchange')])
def test_a_setting_that_adds_a_flag(original, setting, word):
    commands(original, setting)
    with pytest.raises(errors.LvmSetting) as caught:
        devices.run(original, NEW_SR)[0]
    undo(original, caught.value, word)
    devices.run(original, NEW_SR)[0]
    judged(original)


def test_tags_with_identities(original):
    with reader.Lun(original) as lun:
        pv, vg, uuid = lun.pv['id'], lun.vg['id'], lun.vg_name[14:]
    commands(original, 'vgchange --addtag inv.%s --addtag sr-%s {vg}' % (vg, uuid), 'pvchange --addtag %s {device}' % pv,
             'lvchange --addtag of.%s {vg}/MGT' % pv)
    devices.run(original, NEW_SR)[0]
    found = judged(original)
    new_pv, new_vg = found.pvs.rows[0]['pv_uuid'], found.vgs.rows[0]['vg_uuid']
    assert set(found.vgs.rows[0]['vg_tags'].split(',')) == set(['inv.' + new_vg, 'sr-' + NEW_SR])
    assert found.pvs.rows[0]['pv_tags'] == new_pv
    assert 'of.' + new_pv in [row['lv_tags'] for row in found.lvs.rows]


def test_two_metadata_areas(original, tmpdir):
    """pvcreate --pvmetadatacopies 2. No command takes the second area away again, so the clone goes on with one."""
    backup = str(tmpdir.join('backup'))
    with open(original, 'r+b') as image:
        image.truncate(os.path.getsize(original) + 64 * MIB)
    commands(original, 'vgcfgbackup -f %s {vg}' % backup,
             'pvcreate -ff -y --uuid {pv} --restorefile %s --metadatasize 10m --pvmetadatacopies 2 {device}' % backup,
             'vgcfgrestore -f %s {vg}' % backup)
    with lvm.Loop(original) as device:
        assert lvm.report(device).pvs.rows[0]['pv_mda_count'] == '2'
    devices.run(original, NEW_SR)[0]
    assert judged(original).pvs.rows[0]['pv_mda_count'] == '1'
    commands(original, 'lvcreate -an -Zn -Wn -l1 -n LV-%s {vg}' % NEW_SR if not lvm.is_old() else 'lvcreate -Zn -l1 -n LV-%s {vg}' % NEW_SR)
    judged(original)
