# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.scsiids, on files that look like /dev and /sys."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from relvm import errors
from relvm.host import devices, scsiids

ID = '360000000000000000e00000000010001'


@pytest.fixture
def host(tmpdir, monkeypatch):
    monkeypatch.setattr(devices, 'DEV', str(tmpdir.join('dev')))
    monkeypatch.setattr(devices, 'SYS', str(tmpdir.join('sys')))
    tmpdir.mkdir('dev')
    for name in ('sdb', 'dm-3'):
        os.mkfifo(str(tmpdir.join('dev', name)))
    return tmpdir


def test_nothing_tells(host):
    assert scsiids.of(str(host.join('dev', 'sdb'))) == []
    assert scsiids.of(str(host.join('nothing'))) == []
    scsiids.refuse_original(str(host.join('dev', 'sdb')), '/dev/disk/by-scsid/%s/sda' % ID)


@pytest.mark.parametrize('wwid, expected', [('naa.' + ID[1:], [ID]), ('eui.0011223344556677', ['20011223344556677']), ('t10.ATA x', [])])
def test_sysfs(host, wwid, expected):
    host.join('sys', 'block', 'sdb', 'device', 'wwid').write(wwid + '\n', ensure=True)
    assert scsiids.of(str(host.join('dev', 'sdb'))) == expected


def test_a_multipath_map(host):
    host.join('sys', 'block', 'dm-3', 'dm', 'uuid').write('mpath-%s\n' % ID, ensure=True)
    assert scsiids.of(str(host.join('dev', 'dm-3'))) == [ID]
    host.join('sys', 'block', 'dm-3', 'dm', 'uuid').write('LVM-abc\n')
    assert scsiids.of(str(host.join('dev', 'dm-3'))) == []


def test_links_of_udev(host):
    for name in ('disk/by-id/scsi-' + ID, 'disk/by-scsid/other/sdb', 'disk/by-id/wwn-0x1'):
        link = host.join('dev', *name.split('/'))
        link.dirpath().ensure(dir=1)
        link.mksymlinkto(host.join('dev', 'sdb'))
    host.join('dev', 'disk', 'by-id', 'scsi-elsewhere').mksymlinkto(host.join('dev', 'dm-3'))
    assert scsiids.of(str(host.join('dev', 'sdb'))) == [ID, 'other']


def test_the_one_by_which_sm_names_it(host):
    path = str(host.join('dev', 'sdb'))
    assert scsiids.the_one(path) == ''
    host.join('sys', 'block', 'sdb', 'device', 'wwid').write('eui.0011223344556677\n', ensure=True)
    assert scsiids.the_one(path) == '20011223344556677'
    directory = host.join('dev', 'disk', 'by-scsid', ID).ensure(dir=1)
    directory.join('sdb').mksymlinkto(path)
    assert scsiids.the_one(path) == scsiids.the_one(str(directory.join('sdb'))) == ID
    host.join('dev', 'disk', 'by-scsid', 'other').ensure(dir=1).join('sdb').mksymlinkto(path)
    assert scsiids.the_one(path) == ''


def test_an_original(host):
    host.join('sys', 'block', 'sdb', 'device', 'wwid').write('naa.%s\n' % ID[1:], ensure=True)
    path = str(host.join('dev', 'sdb'))
    for hint in ('/dev/disk/by-scsid/%s/sda' % ID, '/dev/mapper/' + ID):
        with pytest.raises(errors.Original):
            scsiids.refuse_original(path, hint)
    for hint in ('/dev/disk/by-scsid/%s2/sda' % ID[:-1], '/dev/sdb', ''):
        scsiids.refuse_original(path, hint)
    with pytest.raises(errors.Original):
        scsiids.refuse_original('lun.img', '/dev/disk/by-scsid/x/sda', 'x')


def test_what_can_be_a_scsi_id():
    """sm replaces white space alone; what cannot leave /dev/disk is taken."""
    for value in ('3600', 'SVendor_a+b=c#d@e(f)', '1x.y:z-_'):
        assert devices.is_scsi_id(value), value
    for value in ('', '.', '..', 'a/b', '../x', 'a b', 'a\nb', 'a\0b'):
        assert not devices.is_scsi_id(value), value
