# SPDX-License-Identifier: LGPL-2.1-only
"""What the other LUNs of a host carry, and a clone that LVM has written to in the place of its original."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from lvhd import image, shapes
from relvm import errors
from relvm.host import devices, neighbours

ORIGINAL, CLONE, OTHER = '360000000000000000e00000000010001', '360000000000000000e00000000010002', '360000000000000000e00000000010003'


@pytest.fixture
def host(tmpdir, monkeypatch):
    """host(SCSI id, SR): that LUN on this host, as an image file behind udev's links."""
    monkeypatch.setattr(devices, 'DEV', str(tmpdir.mkdir('dev')))
    monkeypatch.setattr(devices, 'SYS', str(tmpdir.mkdir('sys')))
    names = iter(['sda', 'sdb', 'sdc', 'sdd'])

    def add(scsi_id, sr=None, state='running'):
        name = next(names)
        if sr is None:
            tmpdir.join('dev', name).write('nothing')
        else:
            image.write(str(tmpdir.join('dev', name)), sr)
        tmpdir.ensure('dev', 'disk', 'by-scsid', scsi_id, dir=True)
        os.symlink('../../../' + name, str(tmpdir.join('dev', 'disk', 'by-scsid', scsi_id, name)))
        tmpdir.ensure('sys', 'block', name, 'device', 'state').write(state + '\n')
        return name
    return add


def sr(seqno, hint='/dev/sdq'):
    return shapes.one(1, seqno=seqno, device=hint)


def by_scsid(scsi_id):
    return '/dev/disk/by-scsid/%s/mapper' % scsi_id


def test_looks(host):
    model = sr(100, by_scsid(ORIGINAL))
    host(ORIGINAL, model)
    host(CLONE)
    host(OTHER, sr(101), state='offline')
    found = dict((look.scsi_id, (look.vg_name, look.seqno, look.copied_from)) for look in neighbours.looks(None))
    assert found == {ORIGINAL: ('VG_XenStorage-' + model.uuid, 100, ORIGINAL), CLONE: ('', 0, '')}
    assert [look.scsi_id for look in neighbours.looks(ORIGINAL)] == [CLONE]


def test_a_path_that_cannot_be_read_has_another_beside_it(host):
    host(ORIGINAL)
    host(ORIGINAL, sr(100))
    assert [look.seqno for look in neighbours.looks(CLONE)] == [100]


def refuse(model, seqno, originals=()):
    neighbours.refuse_ahead(CLONE, 'VG_XenStorage-' + model.uuid, seqno, list(originals))


@pytest.mark.parametrize('hint, originals', [('/dev/sdq', [ORIGINAL]), (by_scsid(ORIGINAL), [])])
def test_ahead_of_its_original(host, hint, originals):
    model = sr(100, hint)
    host(ORIGINAL, model)
    host(CLONE, model)
    refuse(model, 99, originals)
    refuse(model, 100, originals)
    with pytest.raises(errors.AheadOfOriginal) as caught:
        refuse(model, 101, originals)
    assert 'seqno 101' in str(caught.value) and 'original %s (seqno 100)' % ORIGINAL in str(caught.value)


def test_another_clone_is_no_original(host):
    model = sr(100, by_scsid(ORIGINAL))
    host(OTHER, model)
    refuse(model, 101)
    refuse(model, 101, [ORIGINAL])


def test_another_sr_is_no_original(host):
    model = sr(100, by_scsid(ORIGINAL))
    host(ORIGINAL, shapes.one(2, seqno=100))
    refuse(model, 101, [ORIGINAL])
