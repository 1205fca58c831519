# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.together and ahead: reads at once give what reads one after the other give, and how many times a run waits for the LUN."""
from __future__ import absolute_import, division, print_function

import os
import threading

import pytest

from lvhd import image, shapes
from relvm import errors
from relvm.engine import blockdev, resign, together
from relvm.engine.lun import Lun, Placement

UUID = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
SIZE = 1 << 20


@pytest.fixture
def path(tmpdir):
    """An image file in which every 512 bytes say where they are."""
    path = str(tmpdir.join('lun.img'))
    with open(path, 'wb') as stream:
        for number in range(SIZE // 512):
            stream.write(('%08d' % number).encode('ascii') * 64)
    return path


@pytest.fixture
def device(path):
    device = blockdev.Device(path)
    yield device
    device.close()


def descriptors():
    return len(os.listdir('/proc/self/fd'))


PLACES = [(number * 4096, 512 * (1 + number % 5)) for number in range(200)]


def test_the_same_as_one_after_the_other(device):
    before = descriptors(), threading.active_count()
    found = device.read_all(PLACES)
    assert found == [device.read(*place) for place in PLACES]
    assert (descriptors(), threading.active_count()) == before
    assert device.reads == 2 * len(PLACES)
    assert device.round_trips == len(PLACES) + -(-len(PLACES) // together.READERS)
    assert device.bytes_read == 2 * sum(length for _, length in PLACES)


def test_on_a_block_device(path, loop):
    device = blockdev.Device(loop(path))
    try:
        assert device.direct
        assert device.read_all(PLACES) == [device.read(*place) for place in PLACES]
    finally:
        device.close()


def test_few_places_take_few_threads(device, monkeypatch):
    started = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, 'start', lambda thread: (started.append(thread), start(thread)))
    assert len(device.read_all(PLACES[:1])) == 1
    assert len(device.read_all(PLACES[:3])) == 3
    assert started == []
    device.read_all(PLACES[:8])
    assert len(started) == 3


def test_a_place_that_cannot_be_read_is_named(device):
    with pytest.raises(errors.ReadFailed) as caught:
        device.read_all(PLACES + [(SIZE, 512), (SIZE + 512, 512)])
    assert 'reading 512 bytes at offset %d of %s failed: it ends there' % (SIZE, device.path) in str(caught.value)
    with pytest.raises(ValueError):
        device.read_all([(0, 512), (1, 512)])


def test_a_host_that_gives_no_threads(device, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threading.Thread, 'start', start)
    before = descriptors()
    assert device.read_all(PLACES) == [device.read(*place) for place in PLACES]
    assert device.round_trips == 2 * len(PLACES)
    assert descriptors() == before


def test_another_device_under_the_same_name_is_not_read(device, path, tmpdir):
    before = device.read_all(PLACES)
    os.rename(path, path + '.moved')
    with open(path, 'wb') as stream:
        stream.truncate(SIZE)
    trips, open_before = device.round_trips, descriptors()
    assert device.read_all(PLACES) == before
    assert device.round_trips == trips + len(PLACES)
    assert descriptors() == open_before


def resigned(path):
    """The device of one whole resign, closed."""
    device = blockdev.Device(path)
    try:
        resign.resign(device, UUID)
    finally:
        device.close()
    return device


@pytest.mark.parametrize('vdis, limit', [(1, 40), (100, 60), (700, 120)])
def test_how_many_times_a_run_waits_for_the_lun(tmpdir, vdis, limit):
    """Round trips one after the other, from open to end. What is read grows with the number of VDIs; the waiting hardly does."""
    path = str(tmpdir.join('lun.img'))
    image.write(path, shapes.sized(vdis))
    device = resigned(path)
    assert device.round_trips <= limit
    assert device.reads >= device.round_trips
    os.unlink(path)


def test_all_that_is_wanted_is_foreseen(tmpdir):
    """With children, block tables and locators, nothing of an image is read by itself."""
    path = str(tmpdir.join('lun.img'))
    image.write(path, shapes.chain30(1))
    alone = []

    class Watched(blockdev.Device):
        def read(self, offset, length):
            alone.append(offset)
            return blockdev.Device.read(self, offset, length)
    device = Watched(path, False)
    try:
        lun = Lun(device, Placement(device))
    finally:
        device.close()
    inside = [vdi.lv.name for vdi in lun.order for start, length in lun.vg.runs(vdi.lv, 0, lun.vg.lv_size(vdi.lv))
              for offset in alone if start <= offset < start + length]
    assert inside == []


def test_a_header_of_nonsense_foresees_nothing(tmpdir):
    """What it points to is not read ahead, and the refusal is the format's own."""
    path = str(tmpdir.join('lun.img'))
    sr = shapes.chain5(1)
    image.write(path, sr)
    device = blockdev.Device(path)
    try:
        lun = Lun(device, Placement(device))
        child = [vdi for vdi in lun.order if vdi.parent is not None][0]
        start = lun.vg.runs(child.lv, 512, 1024)[0][0]
        device.write(start, b'\xff' * 1024)
        with pytest.raises(errors.BadVHD):
            Lun(device, Placement(device))
    finally:
        device.close()
