# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.blockdev on files and on loop devices: what the kernel says is what is tested, nothing stands in for it."""
from __future__ import absolute_import, division, print_function

import fcntl
import io
import os
import resource
import stat
import subprocess

import pytest

from lvhd.judges import command
from relvm import errors
from relvm.engine import blockdev

SECTOR = 512
MIB = 1 << 20


@pytest.fixture
def opened():
    """A function like blockdev.Device; what it opened is closed in the end."""
    devices = []

    def open_device(path, writable=True, device_class=blockdev.Device):
        devices.append(device_class(str(path), writable))
        return devices[-1]
    yield open_device
    for device in devices:
        device.close()


@pytest.fixture
def image(tmpdir):
    """A file of 4 MiB in which every sector is different."""
    path = str(tmpdir.join('lun.img'))
    with io.open(path, 'wb') as stream:
        for number in range(4 * MIB // SECTOR):
            stream.write(sector(number))
    return path


def sector(number):
    return (b'%08d' % number * 64)[:SECTOR] if str is not bytes else ('%08d' % number) * 64


def contents(path):
    with io.open(path, 'rb') as stream:
        return stream.read()


def descriptors():
    return len(os.listdir('/proc/self/fd'))


class Buffered(blockdev.Device):
    """As on a kernel, device or Python without O_DIRECT."""

    def _try_direct(self):
        return False


# Files


def test_file(image, opened):
    device = opened(image)
    assert (device.path, device.size, device.is_block, device.writable) == (image, 4 * MIB, False, True)
    assert device.read(512, 1024) == sector(1) + sector(2)
    assert device.read(0, 4 * MIB) == contents(image)
    assert device.read(4 * MIB, 0) == b''
    device.write(1024, b'x' * 512)
    device.flush()
    assert device.read(512, 1536) == sector(1) + b'x' * 512 + sector(3)
    device.close()
    assert contents(image)[1024:1536] == b'x' * 512


def test_counters(image, opened):
    device = opened(image)
    device.read(0, 1024)
    device.read_any(100, 1000)
    device.write(0, b'x' * 2048)
    device.flush()
    device.flush()
    assert (device.reads, device.bytes_read, device.writes, device.bytes_written, device.flushes) == (2, 1024 + 1536, 1, 2048, 2)


@pytest.mark.parametrize('offset, length', [(0, 1), (511, 1), (511, 2), (512, 512), (513, 511), (1, 4096), (1000, 0), (4 * MIB - 1, 1)])
def test_read_of_any_alignment(image, opened, offset, length):
    device = opened(image, False)
    assert device.read_any(offset, length) == contents(image)[offset:offset + length]


@pytest.mark.parametrize('offset, length', [(1, 512), (0, 1), (0, 513), (-512, 512)])
def test_unaligned_read_is_a_mistake_of_the_caller(image, opened, offset, length):
    with pytest.raises(ValueError):
        opened(image).read(offset, length)


@pytest.mark.parametrize('offset, length', [(1, 512), (0, 1), (-512, 512), (4 * MIB, 512), (4 * MIB - 512, 1024)])
def test_write_outside_is_a_mistake_of_the_caller(image, opened, offset, length):
    before = contents(image)
    with pytest.raises(ValueError):
        opened(image).write(offset, b'x' * length)
    assert contents(image) == before


def test_size_is_in_whole_sectors(tmpdir, opened):
    path = tmpdir.join('odd.img')
    path.write(b'x' * 1300)
    assert opened(path).size == 1024


def test_empty_file(tmpdir, opened):
    path = tmpdir.join('empty.img')
    path.write(b'')
    assert opened(path).size == 0


def test_read_beyond_the_end(image, opened):
    device = opened(image, False)
    with pytest.raises(errors.ReadFailed) as caught:
        device.read(4 * MIB - 512, 1024)
    assert caught.value.fields['offset'] == 4 * MIB - 512
    assert 'it ends there' in str(caught.value)
    assert device.reads == 0


def test_read_at_an_offset_that_no_file_has(image, opened):
    with pytest.raises(errors.ReadFailed) as caught:
        opened(image).read(1 << 70, SECTOR)
    assert '%d' % (1 << 70) in str(caught.value) and str(caught.value).rstrip('. ') != ''


def test_places_that_touch_are_one_read(image, opened):
    """Twice: what comes behind a gap is joined like the first ones, and nothing more is read than that."""
    device = opened(image)
    places = [(8 * SECTOR, SECTOR), (0, 2 * SECTOR), (SECTOR, SECTOR), (9 * SECTOR, 3 * SECTOR), (10 * SECTOR, SECTOR),
              (4 * MIB - SECTOR, SECTOR)]
    found = blockdev.read_places(device, places)
    for offset, length in places:
        assert found[offset, length] == b''.join([sector(offset // SECTOR + number) for number in range(length // SECTOR)])
    assert sorted(found) == sorted(places)
    assert (device.reads, device.bytes_read) == (3, (2 + 4 + 1) * SECTOR)


def test_file_that_was_cut_behind_our_back(image, opened):
    device = opened(image, False)
    with io.open(image, 'r+b') as stream:
        stream.truncate(MIB + 100)
    assert device.read(MIB - 512, 512) == sector(2047)
    for offset in (MIB, MIB + 512):
        with pytest.raises(errors.ReadFailed):
            device.read(offset, 512)


def test_large_write_goes_out_in_parts_and_counts_as_one(tmpdir, opened):
    path = str(tmpdir.join('large.img'))
    with io.open(path, 'wb') as stream:
        stream.truncate(5 * MIB)

    class Parts(blockdev.Device):
        parts = []

        def _write(self, data):
            self.parts.append(len(data))
            return blockdev.Device._write(self, data)
    device = opened(path, True, Parts)
    data = b''.join(sector(number) for number in range(5 * MIB // SECTOR))
    device.write(SECTOR, data[SECTOR:])
    assert Parts.parts == [MIB] * 4 + [MIB - SECTOR]
    assert device.writes == 1
    assert contents(path) == b'\0' * SECTOR + data[SECTOR:]


# Opening


def test_missing_file(tmpdir, opened):
    with pytest.raises(errors.DeviceMissing) as caught:
        opened(tmpdir.join('none'))
    assert 'No such file' in str(caught.value) and str(tmpdir.join('none')) in str(caught.value)


def test_directory(tmpdir, opened):
    before = descriptors()
    with pytest.raises(errors.NotADisk):
        opened(tmpdir)
    with pytest.raises(errors.Refused):
        opened(tmpdir, False).read(0, 512)
    assert descriptors() <= before + 1


def test_image_in_use(image, opened):
    assert_in_use(image, opened)


def assert_in_use(path, opened):
    """Opened for writing, nobody else opens it for writing; for reading, and afterwards, they do."""
    device = opened(path)
    before = descriptors()
    with pytest.raises(errors.DeviceBusy) as caught:
        opened(path)
    assert path in str(caught.value)
    assert descriptors() == before
    opened(path, False).read(0, 512)
    device.close()
    opened(path).close()


def test_image_that_another_process_has_locked(image, opened):
    stream = io.open(image, 'rb')
    fcntl.flock(stream.fileno(), fcntl.LOCK_SH)
    with pytest.raises(errors.DeviceBusy):
        opened(image)
    opened(image, False)
    stream.close()
    opened(image)


def as_nobody(function):
    """Runs a function in a child without root's rights; returns what it wrote."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.write(writing, function().encode('ascii'))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    stream = os.fdopen(reading, 'rb')
    answer = stream.read().decode('ascii')
    stream.close()
    return answer


def outcome(path, writable):
    try:
        blockdev.Device(path, writable).close()
    except errors.ResignError as error:
        return error.code()
    return 'opened'


def test_image_that_may_not_be_written(image):
    os.chmod(image, stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    if os.geteuid() != 0:
        assert outcome(image, True) == 'DeviceReadOnly'
        assert outcome(image, False) == 'opened'
        return
    directory = os.path.dirname(image)
    while directory != '/':
        os.chmod(directory, os.stat(directory).st_mode | stat.S_IXOTH)
        directory = os.path.dirname(directory)
    assert as_nobody(lambda: outcome(image, True)) == 'DeviceReadOnly'
    assert as_nobody(lambda: outcome(image, False)) == 'opened'


def test_every_descriptor_is_closed(image, opened):
    before = descriptors()
    device = opened(image)
    device.read(0, 512)
    device.close()
    device.close()
    assert descriptors() == before


def test_reading_alone_never_writes(image, opened):
    before = contents(image)
    device = opened(image, False)
    with pytest.raises(errors.WriteFailed):
        device.write(0, b'x' * 512)
    device.close()
    assert contents(image) == before


# Errors of the kernel


def limited(path, limit, function):
    """Runs a function in a child that may write no file beyond `limit` (RLIMIT_FSIZE); returns the text it gave."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            os.write(writing, function(path).encode('ascii'))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    stream = os.fdopen(reading, 'rb')
    answer = stream.read().decode('ascii')
    stream.close()
    return answer


def write_two_mib(path):
    device = blockdev.Device(path)
    device.step = 'a step'
    try:
        device.write(0, b'x' * 2 * MIB)
    except errors.WriteFailed as error:
        try:
            device.flush()
        except errors.FlushFailed as second:
            return '%s|%s|%d|%d' % (error, second, device.writes, device.bytes_written)
    return 'nothing failed'


@pytest.mark.parametrize('limit', [0, 512, MIB, MIB + 512, MIB + 100])
def test_failing_write(image, limit):
    """The kernel writes up to the limit, also a part of a sector, then says EFBIG. Whatever is written, no flush is believed."""
    answer = limited(image, limit, write_two_mib).split('|')
    assert answer[0].startswith('a step: writing 2097152 bytes at offset 0 of %s failed: ' % image)
    assert 'File too large' in answer[0] or 'short write' in answer[0]
    assert 'an earlier write failed' in answer[1]
    assert answer[2:] == ['0', '0']
    assert contents(image)[:limit] == b'x' * limit
    assert contents(image)[limit:limit + 512] == b''.join(sector(number) for number in range(2 * MIB // 512))[limit:limit + 512]


def break_fsync(device):
    """From here on fsync answers EINVAL: the descriptor is a pipe's."""
    reading, writing = os.pipe()
    os.dup2(writing, device.fd)
    os.close(reading)
    os.close(writing)


def test_failing_flush(image, opened):
    device = opened(image)
    device.write(0, b'x' * 512)
    break_fsync(device)
    device.step = 'a step'
    with pytest.raises(errors.FlushFailed) as caught:
        device.flush()
    assert 'a step: flushing' in str(caught.value) and 'Invalid argument' in str(caught.value)
    assert device.flushes == 0


def test_no_second_flush_is_believed(image, opened):
    device = opened(image)
    kept = os.dup(device.fd)
    break_fsync(device)
    with pytest.raises(errors.FlushFailed):
        device.flush()
    os.dup2(kept, device.fd)
    os.close(kept)
    os.fsync(device.fd)
    with pytest.raises(errors.FlushFailed) as caught:
        device.flush()
    assert 'an earlier write failed' in str(caught.value)


def test_failures_are_interruptions_and_reads_are_refusals():
    assert issubclass(errors.WriteFailed, errors.Interrupted)
    assert issubclass(errors.FlushFailed, errors.Interrupted)
    assert issubclass(errors.ReadFailed, errors.Refused)


def test_short_reads_are_put_together(image, opened):
    """A kernel may give less than was asked for, a signal or a memory limit being the cause."""
    class Short(blockdev.Device):
        asked = []

        def _read(self, length):
            self.asked.append(length)
            return blockdev.Device._read(self, min(length, 1024))
    device = opened(image, False, Short)
    assert device.read(512, 4096) == contents(image)[512:4608]
    assert Short.asked == [4096, 3072, 2048, 1024]
    assert (device.reads, device.bytes_read) == (1, 4096)


def test_short_writes_are_continued(image, opened):
    class Short(blockdev.Device):
        def _write(self, data):
            return blockdev.Device._write(self, data[:1024])
    opened(image, True, Short).write(512, b'abcd' * 1024)
    assert contents(image)[512:5120] == b'abcd' * 1024 + sector(9)


# Block devices


@pytest.mark.parametrize('device_class', [blockdev.Device, Buffered])
def test_block_device(image, loop, opened, device_class):
    path = loop(image)
    device = opened(path, True, device_class)
    assert (device.size, device.is_block) == (4 * MIB, True)
    assert device.direct == (device_class is blockdev.Device)
    assert device.read(0, 4 * MIB) == contents(image)
    assert device.read_any(1000, 100) == contents(image)[1000:1100]
    device.write(SECTOR, b'x' * SECTOR)
    device.write(MIB, b'y' * 2 * MIB)
    device.flush()
    assert device.read(0, 3 * SECTOR) == sector(0) + b'x' * SECTOR + sector(2)
    device.close()
    subprocess.check_call(['sync', image])
    assert contents(image)[SECTOR:2 * SECTOR] == b'x' * SECTOR
    assert contents(image)[MIB:3 * MIB] == b'y' * 2 * MIB


@pytest.mark.parametrize('device_class', [blockdev.Device, Buffered])
def test_what_another_wrote_is_read(image, loop, opened, device_class):
    """The page cache of this host holds an old state of the LUN; after opening, the medium is read."""
    path = loop(image)
    # kept open: with its last user the cache would go by itself
    with io.open(path, 'rb') as other:
        assert other.read(4096) == contents(image)[:4096]
        with io.open(image, 'r+b') as stream:
            stream.write(b'z' * 4096)
            stream.flush()
            os.fsync(stream.fileno())
        assert opened(path, False, device_class).read(0, 4096) == b'z' * 4096


@pytest.mark.parametrize('device_class', [blockdev.Device, Buffered])
def test_what_was_flushed_is_read_from_the_medium(image, loop, opened, device_class):
    """A flush throws the cache away, so that reading back asks the device."""
    path = loop(image)
    with io.open(path, 'rb') as other:
        device = opened(path, True, device_class)
        device.write(0, b'x' * 4096)
        device.flush()
        with io.open(image, 'r+b') as stream:
            stream.write(b'lost'.ljust(4096, b'.'))
            stream.flush()
            os.fsync(stream.fileno())
        assert device.read(0, 4096) == b'lost'.ljust(4096, b'.')
        assert other.read(4) == b'lost'


def test_direct_flag_is_really_set(image, loop, opened):
    device = opened(loop(image))
    assert fcntl.fcntl(device.fd, fcntl.F_GETFL) & os.O_DIRECT
    buffered = opened(loop(image, '--read-only'), False, Buffered)
    assert not fcntl.fcntl(buffered.fd, fcntl.F_GETFL) & os.O_DIRECT


def test_block_device_in_use(image, loop, opened):
    assert_in_use(loop(image), opened)


def test_mounted_block_device(tmpdir, loop, opened):
    path = str(tmpdir.join('fs.img'))
    with io.open(path, 'wb') as stream:
        stream.truncate(8 * MIB)
    mkfs = command.find('mkfs.ext4')
    if mkfs is None:
        pytest.skip('mkfs.ext4 is not installed (Debian package e2fsprogs)')
    subprocess.check_call([mkfs, '-q', '-F', path])
    device, target = loop(path), str(tmpdir.mkdir('mnt'))
    mounted = command.run(['mount', '-t', 'ext4', device, target])
    if mounted.status != 0:
        pytest.skip('this machine mounts no loop device: ' + mounted.err.strip())
    try:
        with pytest.raises(errors.DeviceBusy):
            opened(device)
    finally:
        command.run(['umount', target])
    opened(device)


def test_read_only_block_device(image, loop, opened):
    path = loop(image)
    before = descriptors()
    subprocess.check_call(['blockdev', '--setro', path])
    try:
        with pytest.raises(errors.DeviceReadOnly) as caught:
            opened(path)
        assert path in str(caught.value)
        assert descriptors() == before
        assert opened(path, False).read(0, 512) == sector(0)
    finally:
        # The loop device keeps this after it is released, for whoever gets it next
        subprocess.check_call(['blockdev', '--setrw', path])
    opened(path)
    with pytest.raises(errors.DeviceReadOnly):
        opened(loop(image, '--read-only'))


def test_block_device_of_4_kib_sectors(image, loop, opened):
    path = loop(image, '--sector-size', '4096')
    before = descriptors()
    for writable in (True, False):
        with pytest.raises(errors.BlockSize) as caught:
            opened(path, writable)
        assert '4096' in str(caught.value) and path in str(caught.value)
    assert descriptors() == before


def test_block_device_without_a_byte(tmpdir, loop, opened):
    path = tmpdir.join('empty.img')
    path.write(b'')
    device = opened(loop(str(path)))
    assert device.size == 0
    with pytest.raises(errors.ReadFailed):
        device.read(0, 512)


def test_read_beyond_the_end_of_a_block_device(image, loop, opened):
    device = opened(loop(image), False)
    for offset in (4 * MIB - 512, 4 * MIB, 8 * MIB):
        with pytest.raises(errors.ReadFailed):
            device.read(offset, 1024)


@pytest.fixture
def thin(tmpdir, loop):
    """A block device of 4 MiB on a file system that has room for 1 MiB: writing more is an I/O error of the device."""
    if os.geteuid() != 0:
        pytest.skip('mounting needs root')
    target = str(tmpdir.mkdir('thin'))
    mounted = command.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', target])
    if mounted.status != 0:
        pytest.skip('this machine mounts no tmpfs: ' + mounted.err.strip())
    path = os.path.join(target, 'lun.img')
    with io.open(path, 'wb') as stream:
        stream.truncate(4 * MIB)
    device = loop(path)
    yield device
    # Lazily: the loop device, which is released later, still has the file
    command.run(['umount', '--lazy', target])


def test_write_that_the_device_fails(thin, opened):
    device = opened(thin)
    device.step = 'a step'
    with pytest.raises(errors.WriteFailed) as caught:
        device.write(0, b'x' * 3 * MIB)
    assert 'Input/output error' in str(caught.value) or 'No space left' in str(caught.value)
    assert device.failed
    with pytest.raises(errors.FlushFailed):
        device.flush()


def test_flush_that_the_device_fails(thin, opened):
    """The page cache takes what the device then cannot: only fsync says so, and says so once."""
    device = opened(thin, True, Buffered)
    device.write(0, b'x' * 3 * MIB)
    with pytest.raises(errors.FlushFailed) as caught:
        device.flush()
    assert 'Input/output error' in str(caught.value) or 'No space left' in str(caught.value)
    with pytest.raises(errors.FlushFailed) as caught:
        device.flush()
    assert 'an earlier write failed' in str(caught.value)
    device.close()


# Runs of bytes


@pytest.mark.parametrize('old, new, expected', [
    (b'', b'', []),
    (b'same', b'same', []),
    (b'a' * 16, b'b' * 16, [(100, b'b' * 16)]),
    (b'a' * 64, b'a' * 31 + b'b' + b'a' * 32, [(116, b'a' * 15 + b'b')]),
    (b'a' * 64, b'b' + b'a' * 15 + b'b' + b'a' * 47, [(100, b'b' + b'a' * 15 + b'b' + b'a' * 15)]),
    (b'a' * 64, b'b' + b'a' * 31 + b'b' + b'a' * 31, [(100, b'b' + b'a' * 15), (132, b'b' + b'a' * 15)]),
    (b'a' * 20, b'a' * 19 + b'b', [(116, b'aaab')]),
    (b'a' * 48, b'a' * 47 + b'b', [(132, b'a' * 15 + b'b')]),
    (b'a', b'b', [(100, b'b')]),
])
def test_difference(old, new, expected):
    assert blockdev.difference(100, old, new) == expected


def test_difference_of_different_lengths_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError):
        blockdev.difference(0, b'a', b'ab')


@pytest.mark.parametrize('runs, expected', [
    ([], []),
    ([(0, b'x')], [(0, 512)]),
    ([(511, b'xy')], [(0, 1024)]),
    ([(512, b'x' * 512)], [(512, 512)]),
    ([(1000, b'x'), (10, b'y')], [(0, 1024)]),
    ([(0, b'x' * 512), (512 + 4096, b'x')], [(0, 5120)]),
    ([(0, b'x' * 512), (512 + 4096 + 512, b'x')], [(0, 512), (5120, 512)]),
    ([(512 * number, b'x' * 512) for number in range(2049)], [(0, MIB), (MIB, 512)]),
])
def test_spans(runs, expected):
    found = blockdev.spans(runs)
    assert [(offset, length) for offset, length, _ in found] == expected
    assert sum([members for _, _, members in found], []) == sorted(runs)


def test_patch_changes_the_runs_alone(image, opened):
    before = contents(image)
    device = opened(image)
    runs = [(5, b'abc'), (8, b'de'), (511, b'xy'), (1536, b''), (2000, b'z' * 48)]
    blockdev.patch(device, blockdev.spans(runs))
    device.close()
    expected = bytearray(before)
    for offset, data in runs:
        expected[offset:offset + len(data)] = data
    assert contents(image) == bytes(expected)
