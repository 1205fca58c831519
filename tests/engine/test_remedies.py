# SPDX-License-Identifier: LGPL-2.1-only
"""What a refusal advises is done, with the real tool, on a LUN that the real storage manager made; then it is resigned.

Settings of LVM and vgexport are in test_lvm_settings, wipefs in test_foreign, what sm and xapi do in tests/host/test_mended_by_sm.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import struct
import subprocess

import pytest

from conftest import copy
from luns import damage, devices
from lvhd import reader, samples
from lvhd.judges import lvm
from lvhd.model import MIB
from relvm import errors
from relvm.formats import vhd

NEW_SR = str('0f0e0d0c-1111-4222-8333-444455556666')
VG = 'VG_XenStorage-%s' % samples.about('snaps')['uuid']
NEEDS_LVM = pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))


def tool(name):
    """The path of a program in one of the directories of RELVM_TOOLS or on the usual path; skips the test without it."""
    for place in os.environ.get('RELVM_TOOLS', '').split(':') + os.environ.get('PATH', '').split(':'):
        if place and os.access(os.path.join(place, name), os.X_OK):
            return os.path.join(place, name)
    return pytest.skip('%s is not installed; RELVM_TOOLS may name its directory' % name)


@pytest.fixture
def original(unpacked, tmpdir):
    """An SR with a disk and two snapshots."""
    return copy(unpacked['snaps'], tmpdir.join('original.img'))


def commands(path, *lines):
    """LVM commands on an image, {vg} and {device} filled in; all have to succeed."""
    lvm.carry_out(path, {'vg': VG}, *lines)


def create(name):
    """The words of lvcreate for an LV of one extent that no device-mapper is asked for."""
    return 'lvcreate %s -l1 -n %s {vg}' % ('-Zn' if lvm.is_old() else '-an -Zn -Wn', name)


def refused(path, error, *words):
    with pytest.raises(error) as caught:
        devices.run(path, NEW_SR)[0]
    for word in words:
        assert word in str(caught.value)


def judged(path):
    """It is resigned now, and real LVM reads it."""
    plan = devices.run(path, NEW_SR)[0].plan
    found = lvm.report_image(path)
    assert lvm.complaints(found) == []
    assert [row['vg_name'] for row in found.vgs.rows] == ['VG_XenStorage-' + NEW_SR]
    return plan


def leaf(path):
    """The name of the LV of the one disk."""
    with reader.Lun(path) as lun:
        parents = [lun.vhd(name).parent_volume() for name in lun.volumes if name.startswith('VHD-')]
        return [name for name in lun.volumes if name.startswith('VHD-') and name not in parents][0]


@NEEDS_LVM
def test_the_volume_of_a_vdi_that_nobody_can_read_is_removed(original):
    name = leaf(original)
    damage.header(original, name, damage.put(0, b'no cookie'))
    refused(original, errors.BadVHD, 'lvremove', name, 'xe vdi-forget')
    commands(original, 'lvremove -f {vg}/%s' % name)
    plan = judged(original)
    assert [line for line in plan.report if name[-36:] in line and 'has no LV' in line]


@NEEDS_LVM
def test_a_volume_of_a_kind_that_sm_does_not_make_is_removed(original):
    commands(original, create('other').replace('-l1', '-l1 --type error'))
    refused(original, errors.UnknownSegment, 'Remove the LV')
    commands(original, 'lvremove -f {vg}/other')
    judged(original)


@NEEDS_LVM
def test_a_volume_named_like_one_of_sm_is_renamed(original):
    commands(original, create('VHD-backup'))
    refused(original, errors.UnknownVolume, 'Remove or rename it')
    commands(original, 'lvrename {vg} VHD-backup backup_of_vhd')
    judged(original)


@NEEDS_LVM
def test_a_pv_that_was_missing_is_brought_back(original):
    damage.text(original, lambda text: text.replace(b'["ALLOCATABLE"]\nflags = []', b'["ALLOCATABLE"]\nflags = ["MISSING"]'))
    refused(original, errors.MissingPV, 'vgextend --restoremissing')
    commands(original, 'vgextend --restoremissing {vg} {device}')
    judged(original)


@NEEDS_LVM
def test_a_change_writes_both_metadata_areas_again(original, tmpdir):
    backup = str(tmpdir.join('backup'))
    with open(original, 'r+b') as image:
        image.truncate(os.path.getsize(original) + 64 * MIB)
    with reader.Lun(original) as lun:
        pv = lun.pv['id']
    commands(original, 'vgcfgbackup -f %s {vg}' % backup,
             'pvcreate -ff -y --uuid %s --restorefile %s --metadatasize 10m --pvmetadatacopies 2 {device}' % (pv, backup),
             'vgcfgrestore -f %s {vg}' % backup)
    device = reader.Device(original)
    offset = reader.read_labels(device)[0].metadata_areas[1][0]
    start, length = struct.unpack(str('<QQ'), damage.read(original, offset + 40, 16))
    older = damage.read(original, offset + start, length).replace(b'seqno = ', b'seqno =1', 1)
    damage.write(original, offset + start, older)
    damage.area(original, damage.put(56, struct.pack(str('<I'), reader.lvm_crc(older))), offset=offset)
    refused(original, errors.AreasDiffer, 'create and delete a VDI')
    commands(original, create('VHD-' + NEW_SR), 'lvremove -f {vg}/VHD-%s' % NEW_SR)
    judged(original)


def test_a_partition_table_is_taken_off(original):
    wipefs = tool('wipefs')
    entry = b'\x80\x01\x01\0\x83\xfe\xff\xff' + b'\x3f\0\0\0\0\x10\0\0'
    head = damage.read(original, 0, 512)
    damage.write(original, 446, entry.ljust(64, b'\0') + b'\x55\xaa')
    refused(original, errors.ForeignSignature, 'wipefs -o 510')
    subprocess.check_call([wipefs, '--force', '-o', '510', original], stdout=subprocess.DEVNULL if hasattr(subprocess, 'DEVNULL') else None)
    assert damage.read(original, 0, 446) == head[:446]
    assert devices.run(original, NEW_SR)[0].plan is not None


# vhd-util


SPOILT = [('footer at the end', lambda data: data.__setitem__(slice(len(data) - 512, len(data)), b'\0' * 512), False),
          ('copy of the footer', lambda data: data.__setitem__(slice(0, 512), b'\0' * 512), False),
          ('both footers', lambda data: (data.__setitem__(slice(0, 512), b'\0' * 512),
                                         data.__setitem__(slice(len(data) - 512, len(data)), b'\0' * 512)), True),
          ('header', lambda data: data.__setitem__(slice(700, 704), b'abcd'), True)]


@pytest.mark.parametrize('spoil, stays', [case[1:] for case in SPOILT], ids=[case[0] for case in SPOILT])
def test_vhd_util_repair_mends_what_is_no_reason_to_refuse_and_nothing_else(spoil, stays, tmpdir):
    """So no refusal advises it."""
    program = tool('vhd-util')
    path = str(tmpdir.join('disk.vhd'))
    subprocess.check_call([program, 'create', '-n', path, '-s', '16'])
    with open(path, 'rb') as stream:
        data = bytearray(stream.read())
    spoil(data)
    with open(path, 'wb') as stream:
        stream.write(bytes(data))
    assert (read(path) is None) == (not stays)
    assert (subprocess.call([program, 'repair', '-n', path]) != 0) == stays
    assert (read(path) is None) == (not stays)
    assert 'repair' not in errors.BadVHD.advice


def read(path):
    """What the engine has against a VHD in a file, or None."""
    with open(path, 'rb') as stream:
        data = stream.read()
    try:
        vhd.Disk(str('VHD-x'), len(data), lambda offset, length: data[offset:offset + length])
    except errors.Refused:
        return errors.current()
