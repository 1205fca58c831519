# SPDX-License-Identifier: LGPL-2.1-only
"""What makes LVM pass over a LUN is refused before anything is written, by name, and found where real tools put it.

sfdisk, sgdisk and wipefs act on images; md superblocks are written here, since mdadm makes none without the kernel's md, and shown to
mdadm, which has to agree. Real LVM says whether it would have passed over the LUN.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import re
import struct
import zlib

import pytest

from conftest import copy
from luns import damage, expect
from lvhd.judges import command, lvm
from lvhd.model import MIB
from relvm import errors
from relvm.engine import blockdev, foreign, resign

NEW_SR = str('0f0e0d0c-1111-4222-8333-444455556666')
SECTOR = 512


def program(name, package):
    return pytest.mark.skipif(command.find(name) is None, reason=str('%s is not installed (Debian package %s)' % (name, package)))


@pytest.fixture
def lun(unpacked, tmpdir):
    return copy(unpacked['one'], tmpdir.join('lun.img'))


def write(path, offset, data):
    with open(path, 'r+b') as image:
        image.seek(offset)
        image.write(data)


def size(path):
    return os.path.getsize(path)


def refused(path, what, offset):
    sentence = expect.refused(path, errors.ForeignSignature, what, 'at offset %d,' % offset)
    assert 'wipefs -o %d' % offset in sentence


def resigned(path):
    device = blockdev.Device(path)
    try:
        resign.resign(device, NEW_SR)
    finally:
        device.close()


def run(*arguments):
    result = command.run(arguments)
    assert result.status == 0, result
    return result.out


def table(kind, start=63, sectors=1000, boot=0, number=0):
    """A sector 0 with one partition, in one of the four places."""
    entry = struct.pack('<BxxxBxxxII', boot, kind, start, sectors)
    return b'\0' * (446 + 16 * number) + entry + b'\0' * (48 - 16 * number) + b'\x55\xaa'


# A partition table

@pytest.mark.parametrize('number', [0, 1, 2, 3])
def test_a_partition_in_sector_0(lun, number):
    """With sizes of one bit: no byte of them may be missed."""
    for sectors in (1, 1 << 24):
        write(lun, 0, table(0x83, start=0, sectors=sectors, number=number))
        refused(lun, 'a partition table', 510)


@pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))
def test_lvm_passes_over_it(lun):
    """On a loop device LVM looks for partitions only when the kernel does."""
    write(lun, 0, table(0x83))
    loop = command.run(['losetup', '--find', '--show', '--partscan', lun])
    if loop.status:
        pytest.skip('no loop device with partitions')
    device = loop.out.strip()
    try:
        result = lvm.run(device, 'pvs', device)
    finally:
        command.run(['losetup', '--detach', device])
    assert result.status != 0 and ('partition' in result.err or 'filter' in result.err), result


@program('sfdisk', 'fdisk')
@pytest.mark.parametrize('kind', ['83', '8e'])
def test_sfdisk(lun, kind, tmpdir):
    script = tmpdir.join('script')
    script.write('label: dos\nstart=2048, type=%s\n' % kind)
    before = damage.read(lun, SECTOR, 8 * SECTOR)
    run('sh', '-c', 'sfdisk --force --wipe never --no-reread %s < %s' % (lun, script))
    assert damage.read(lun, SECTOR, 8 * SECTOR) == before
    refused(lun, 'a partition table', 510)


@program('sgdisk', 'gdisk')
def test_sgdisk(lun):
    """Its header stands in the place of the LVM label."""
    run('sgdisk', '--clear', '--new=1:2048:4096', lun)
    refused(lun, 'a partition table', 510)
    write(lun, 0, b'\0' * SECTOR)
    refused(lun, 'a GPT partition table', SECTOR)


@program('sgdisk', 'gdisk')
def test_what_sgdisk_leaves_at_the_end_disturbs_nobody(lun):
    head = damage.read(lun, 0, 17408)
    with open(lun, 'r+b') as image:
        image.truncate(size(lun) + MIB)
    run('sgdisk', '--clear', '--new=1:2048:4096', lun)
    write(lun, 0, head)
    assert damage.read(lun, size(lun) - SECTOR, 8) == b'EFI PART'
    resigned(lun)


@program('wipefs', 'util-linux')
def test_the_advice_is_carried_out(lun):
    write(lun, 0, table(0x83))
    refused(lun, 'a partition table', 510)
    run('wipefs', '--force', '-o', '510', lun)
    resigned(lun)


@pytest.mark.parametrize('sector', [
    b'\0' * 510 + b'\x55\xaa', table(0x83, sectors=0), table(0x83, boot=0x41), table(0x83)[:510] + b'\xaa\x55',
    b'boot'.ljust(446, b'\x90') + b'\0' * 64 + b'\x55\xaa'], ids=['empty', 'no sectors', 'no table', 'magic turned round', 'boot code'])
def test_what_is_no_partition_table(lun, sector):
    write(lun, 0, sector)
    resigned(lun)


# md

def superblock_1(offset, version=1):
    """The fields of struct mdp_superblock_1 that mdadm asks for, with its checksum."""
    raw = bytearray(256 + 2)
    struct.pack_into(str('<IIII16s32sQIiQII'), raw, 0, 0xa92b4efc, version, 0, 0, b'0123456789abcdef', b'host:0', 1, 1, 0, 204800, 128, 1)
    struct.pack_into(str('<QQQQIIBBH'), raw, 128, 2048, 204800, offset // SECTOR, 0, 0, 0, 0, 0, 0)
    struct.pack_into(str('<I'), raw, 220, 1)
    raw[216:220] = b'\0' * 4
    total = sum(struct.unpack_from(str('<64I'), raw)) + sum(struct.unpack_from(str('<H'), raw, 256))
    struct.pack_into(str('<I'), raw, 216, (total & 0xffffffff) + (total >> 32) & 0xffffffff)
    return bytes(raw)


def superblock_0():
    """The generic section of struct mdp_super_t, with its checksum."""
    raw = bytearray(4096)
    struct.pack_into(str('<12I'), raw, 0, 0xa92b4efc, 0, 90, 0, 0, 0x11111111, 1000, 1, 102336, 1, 1, 0)
    words = list(struct.unpack(str('<1024I'), raw))
    total = sum(words)
    struct.pack_into(str('<I'), raw, 4 * 38, (total & 0xffffffff) + (total >> 32) & 0xffffffff)
    return bytes(raw)


def md_place(version, length):
    return {'0.90': length // 65536 * 65536 - 65536, '1.0': (length // SECTOR - 16) // 8 * 4096, '1.1': 0, '1.2': 4096}[version]


@pytest.mark.parametrize('version', ['0.90', '1.0', '1.1', '1.2'])
@pytest.mark.parametrize('more', [0, 512, 4096 + 512, 65536 - 512])
def test_md(lun, version, more):
    with open(lun, 'r+b') as image:
        image.truncate(size(lun) + more)
    place = md_place(version, size(lun))
    write(lun, place, superblock_0() if version == '0.90' else superblock_1(place))
    if command.find('mdadm'):
        seen = command.run(['mdadm', '--examine', '--metadata=' + version, lun])
        assert re.search(r'Magic : a92b4efc\s+Version : %s' % version.replace('.', r'\.'), seen.out), seen
    refused(lun, 'an md RAID superblock (%s)' % version, place)


def test_md_of_the_other_byte_order(lun):
    place = md_place('0.90', size(lun))
    write(lun, place, struct.pack('>I', 0xa92b4efc))
    refused(lun, '(0.90)', place)


# Others

def test_firmware_raid(lun):
    write(lun, size(lun) - 1024, b'Intel Raid ISM Cfg Sig. 1.1.00')
    refused(lun, 'Intel firmware', size(lun) - 1024)


@pytest.mark.parametrize('place', [512, 257 * SECTOR])
@pytest.mark.parametrize('order', ['<', '>'])
def test_ddf(lun, place, order):
    header = bytearray(b'guid'.ljust(SECTOR, b'\xff'))
    struct.pack_into(str(order + 'II'), header, 0, 0xde11de11, 0xffffffff)
    write(lun, size(lun) - place, bytes(header))
    resigned(copy(lun, lun + '.other'))
    struct.pack_into(str(order + 'I'), header, 4, zlib.crc32(bytes(header)) & 0xffffffff)
    write(lun, size(lun) - place, bytes(header))
    refused(lun, 'DDF', size(lun) - place)


def test_labels_of_other_volume_managers(lun):
    write(lun, 0, b'HM\x01\0')
    refused(lun, 'LVM 1', 0)
    write(lun, 0, struct.pack('>Q', 0x11670).ljust(272, b'x') + struct.pack('>I', 0x40103))
    refused(lun, 'GFS pool', 0)
    write(lun, 0, b'HM\x03\0'.ljust(SECTOR, b'\0'))
    resigned(lun)


def test_a_disk_that_is_too_small_is_not_looked_at(tmpdir):
    path = str(tmpdir.join('small'))
    with open(path, 'wb') as image:
        image.truncate(128 * 1024)
    device = blockdev.Device(path, False)
    try:
        foreign.check(device)
        assert device.reads == 0
    finally:
        device.close()


def test_what_it_costs(lun):
    device = blockdev.Device(lun, False)
    try:
        foreign.check(device)
        assert device.reads == 2
    finally:
        device.close()
