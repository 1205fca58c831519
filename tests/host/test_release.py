# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.release on files that look like /dev and /sys: what goes, and what keeps everything where it is."""
from __future__ import absolute_import, division, print_function

import os
import shutil
import sys
import types

import pytest

from relvm import errors
from relvm.host import devices, inquiry, locks, release
from test_holders import Tree

LUN = '36001405clone'
NAA = '3600140500000000000000000000000aa'
OTHER = 'ffffffff-ffff-4fff-8fff-ffffffffff00'


class Host(Tree):
    """Two paths to the LUN of one SR, without a map."""

    def __init__(self, root, image, sr_uuid):
        Tree.__init__(self, root)
        self.sr = sr_uuid
        self.deleted = []
        self.said = {}
        for name in ('sda', 'sdb'):
            self.add(name, LUN, image)

    def add(self, name, scsi_id, image):
        self.disk(name, scsi_id)
        self.said[name] = scsi_id
        os.unlink(str(self.root.join('dev', name)))
        os.symlink(image, str(self.root.join('dev', name)))

    def paths_of(self, fd):
        return [name for name in self.said if os.path.samestat(os.fstat(fd), os.stat(str(self.root.join('dev', name))))]

    def remove_disk(self, name):
        """As the kernel and udev do."""
        self.deleted.append(name)
        os.unlink(str(self.root.join('dev', 'disk', 'by-scsid', self.said[name], name)))
        shutil.rmtree(str(self.root.join('sys', 'block', name)))


@pytest.fixture
def host(tmpdir, monkeypatch, shape_called):
    monkeypatch.setattr(devices, 'DEV', str(tmpdir.mkdir('dev')))
    monkeypatch.setattr(devices, 'SYS', str(tmpdir.mkdir('sys')))
    monkeypatch.setattr(locks, 'RUN_DIR', str(tmpdir.join('run')))
    # the paths are links to one image, which is what scsi_paths() resolves to; sysfs has them by name
    monkeypatch.setattr(devices, 'scsi_paths', lambda scsi_id: named(tmpdir, scsi_id))
    shape = shape_called('one')
    made = Host(tmpdir, shape.copy(tmpdir.join('lun.img')), shape.model.uuid)
    monkeypatch.setattr(devices, 'remove_disk', made.remove_disk)
    monkeypatch.setattr(inquiry, 'identification', lambda fd: made.paths_of(fd))
    monkeypatch.setattr(inquiry, 'scsi_ids', lambda names: [made.said[names[0]]])
    return made


def named(tmpdir, scsi_id):
    directory = tmpdir.join('dev', 'disk', 'by-scsid', scsi_id)
    return [str(tmpdir.join('dev', path.basename)) for path in sorted(directory.listdir())] if directory.check() else []


def test_every_path_goes_and_nothing_else(host, tmpdir, shape_called):
    host.add('sdc', 'another', shape_called('one').copy(tmpdir.join('other.img')))
    assert release.look(LUN, host.sr)['devices'] == ['sda', 'sdb'] and host.deleted == []
    assert release.release(LUN, host.sr) == {'SCSIid': LUN, 'devices': ['sda', 'sdb']}
    assert host.deleted == ['sda', 'sdb']
    assert release.release(LUN, host.sr)['devices'] == []
    assert devices.scsi_disks('another') == ['sdc']


def refused(host, cls, sr=None, scsi_id=LUN):
    for work in (release.release, release.look):
        with pytest.raises(cls) as caught:
            work(scsi_id, sr or host.sr)
        assert host.deleted == []
    return str(caught.value)


def test_the_label_leads_to_another_sr(host):
    assert host.sr in refused(host, errors.OtherContent, OTHER)


def test_nothing_can_be_read(host, tmpdir):
    with open(str(tmpdir.join('lun.img')), 'r+b') as stream:
        stream.write(b'\0' * 4096)
    assert 'nothing that can be read' in refused(host, errors.OtherContent)


def test_a_disk_says_that_it_is_another_lun(host):
    host.said = {'sda': NAA, 'sdb': NAA}
    assert NAA in refused(host, errors.WrongLUN)


def test_a_disk_that_does_not_answer(host, monkeypatch):
    def silent(fd):
        raise EnvironmentError('the transport answers with status 1')
    monkeypatch.setattr(inquiry, 'identification', silent)
    assert 'status 1' in refused(host, errors.WrongLUN)


def test_an_id_of_another_kind_is_asked_of_sm(host, monkeypatch):
    asked = []

    def answer(path):
        asked.append(os.path.basename(path))
        return LUN
    smcompat = types.ModuleType('smcompat')
    smcompat.scsiutil = types.ModuleType('scsiutil')
    smcompat.scsiutil.getSCSIid = answer
    import relvm.host
    monkeypatch.setitem(sys.modules, 'relvm.host.smcompat', smcompat)
    monkeypatch.setattr(relvm.host, 'smcompat', smcompat, raising=False)
    monkeypatch.setattr(inquiry, 'scsi_ids', lambda names: [])
    assert release.release(LUN, host.sr)['devices'] == ['sda', 'sdb'] == sorted(set(asked))


def test_something_sits_on_one_path(host):
    host.mapped('dm-7', 'VG_XenStorage--x-VHD--y', 'LVM-xy', ['sdb'])
    with pytest.raises(errors.HolderPresent):
        release.release(LUN, host.sr)
    assert host.deleted == []


def test_somebody_has_a_path_for_himself(host, tmpdir, loop):
    device = loop(str(tmpdir.join('lun.img')))
    path = str(tmpdir.join('dev', 'sdb'))
    os.unlink(path)
    os.symlink(device, path)
    taken = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(errors.DeviceBusy):
            release.release(LUN, host.sr)
        assert host.deleted == []
    finally:
        os.close(taken)
    release.release(LUN, host.sr)
    assert host.deleted == ['sda', 'sdb']


@pytest.mark.parametrize('scsi_id, sr, cls', [('..', OTHER, errors.BadSCSIid), ('', OTHER, errors.BadSCSIid), (LUN, 'x', errors.NoSuchSR)])
def test_arguments(host, scsi_id, sr, cls):
    refused(host, cls, sr, scsi_id)
