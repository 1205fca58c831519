# SPDX-License-Identifier: LGPL-2.1-only
"""The largest SRs: what the log in MGT's tail takes, and what the ring of the LVM metadata takes."""
from __future__ import absolute_import, division, print_function

import os
import random

import pytest

from lvhd import image, reader
from lvhd.model import MIB, QCOW2, VHD, Sr
from luns import damage
from relvm import errors
from relvm.engine import blockdev, resign
from relvm.formats import redolog

NEW = '11111111-2222-4333-8444-555555555555'
RECORD = 1024


@pytest.fixture
def repeat(monkeypatch):
    """Called before a resign: it chooses the same new ids as every other, and so its log has the same length. (Of a byte run
    only what differs is logged, so by chance a log can be some bytes shorter.)"""
    def start_over():
        source = random.Random(1)
        monkeypatch.setattr(os, 'urandom', lambda count: bytes(bytearray([source.randrange(256) for _ in range(count)])))
    return start_over


def children(count, kind=VHD):
    """An SR of one base copy and so many children of it."""
    sr = Sr(1)
    base = sr.add('template', size=MIB, hidden=True, vdi_type=kind)
    for number in range(count):
        sr.add('disk %d' % number, size=MIB, parent=base, vdi_type=kind)
    return sr


def disks(count):
    """An SR of so many disks with a small metadata area, 128 KiB."""
    sr = Sr(1, area_size=128 * 1024, older_texts=0)
    for number in range(count):
        sr.add('disk %d' % number, size=MIB)
    return sr


def attempt(path, model, repeat, sr_uuid=NEW, preview=True):
    """(plan, None) of a preview or a resign, or (None, refusal); a refusal must have left everything as it was."""
    image.write(path, model)
    before = damage.fingerprint(path)
    repeat()
    device = blockdev.Device(path)
    try:
        if preview:
            return resign.preview(device, sr_uuid)[0], None
        return resign.resign(device, sr_uuid).plan, None
    except errors.Refused as refusal:
        assert device.writes == 0
        assert damage.fingerprint(path) == before
        return None, refusal
    finally:
        device.close()


def log_of(count, path, repeat):
    """(bytes that the log of so many children needs, bytes that there are)."""
    plan, refusal = attempt(path, children(count), repeat)
    if refusal is not None:
        assert isinstance(refusal, errors.NoRoomForLog), refusal
        return refusal.fields['needed'], refusal.fields['free']
    return len(plan.log_bytes), redolog.room(plan.lun.mgt.size, plan.lun.mgt.used)


def largest(fits, low, high):
    """The largest number between low, which fits, and high, which does not."""
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def test_log_takes_more_than_a_thousand_children(tmpdir, repeat):
    """Log and records share MGT: the largest SR is found where both together fill it, resigned, and one more child is refused."""
    path = str(tmpdir.join('lun.img'))
    counts = [1000, 1200]
    needed = [log_of(count, path, repeat)[0] for count in counts]
    child = (needed[1] - needed[0]) // 200
    free = log_of(1200, path, repeat)[1]
    guess = 1200 + (free - needed[1]) // (RECORD + child)
    limit = largest(lambda count: attempt(path, children(count), repeat)[1] is None, guess - 8, guess + 8)
    assert guess - 8 < limit < guess + 7
    assert limit > 1000

    _, refusal = attempt(path, children(limit + 1), repeat, preview=False)
    assert isinstance(refusal, errors.NoRoomForLog), refusal
    plan, refusal = attempt(path, children(limit), repeat, preview=False)
    assert refusal is None
    with reader.Lun(path) as lun:
        assert lun.vg_name == 'VG_XenStorage-' + NEW
        assert lun.mgt().uuid == NEW
        assert len(lun.vdi_uuids()) == limit + 1
        base = [uuid for uuid in lun.vdi_uuids() if len(lun.chain(uuid)) == 1]
        assert len(base) == 1
        for uuid in lun.vdi_uuids():
            assert uuid in plan.uuids.values()
            assert lun.chain(uuid)[-1].name == 'VHD-' + base[0]
    print('the largest SR has %d children: %d bytes of log' % (limit, len(plan.log_bytes)))


def test_qcow2_children_take_a_fraction_of_the_log(tmpdir, repeat):
    """One name in place of four, and no checksum."""
    path = str(tmpdir.join('lun.img'))
    plans = [attempt(path, children(300, kind), repeat)[0] for kind in (VHD, QCOW2)]
    records = 300 * 2 * 36
    vhd, qcow2 = [len(plan.log_bytes) - records for plan in plans]
    assert qcow2 < vhd / 3
    plan, refusal = attempt(path, children(1000, QCOW2), repeat, preview=False)
    assert refusal is None
    with reader.Lun(path) as lun:
        assert len(lun.vdi_uuids()) == 1001
        assert lun.chain(plan.uuids[plan.kept[1].uuid])[-1].name == 'QCOW2-' + plan.uuids[plan.kept[0].uuid]


def test_ring_takes_two_texts_and_no_more(tmpdir, repeat):
    path = str(tmpdir.join('lun.img'))
    limit = largest(lambda count: attempt(path, disks(count), repeat)[1] is None, 1, 400)
    plan, refusal = attempt(path, disks(limit), repeat, preview=False)
    assert refusal is None
    # live text, staged and final area side by side, but for what alignment takes
    assert 3 * len(plan.final_text) > 128 * 1024 - 3 * 4096 - 3 * len(plan.final_text) // limit
    with reader.Lun(path) as lun:
        assert lun.vg_name == 'VG_XenStorage-' + NEW
        assert len(lun.vdi_uuids()) == limit
    _, refusal = attempt(path, disks(limit + 1), repeat, preview=False)
    assert isinstance(refusal, errors.NoRoomInRing), refusal
