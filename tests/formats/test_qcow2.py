# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.qcow2, on images that the real qemu-img made and on those of lvhd's writer."""
from __future__ import absolute_import, division, print_function

import json
import os
import struct

import pytest

from lvhd import image, qcow2 as writer, shapes
from lvhd.judges import command, qemu
from lvhd.model import MIB, QCOW2, RAW, SECTOR, Sr
from relvm import errors
from relvm.formats import qcow2
from relvm.octets import octets

with_qemu = pytest.mark.skipif(qemu.missing() is not None, reason=str(qemu.missing()))

OLD_SR = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
NEW_SR = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
PARENT = '1b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a02'
NEW_PARENT = 'ffffffff-ffff-4fff-8fff-ffffffffff01'
UUIDS = {OLD_SR: NEW_SR, PARENT: NEW_PARENT}
LV = 'QCOW2-2b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a03'
PATH = '/dev/VG_XenStorage-%s/QCOW2-%s' % (OLD_SR, PARENT)
RAW_PATH = '/dev/VG_XenStorage-%s/LV-%s' % (OLD_SR, PARENT)
MAPPED = '/dev/mapper/VG_XenStorage--%s-QCOW2--%s' % (OLD_SR.replace('-', '--'), PARENT.replace('-', '--'))
CLUSTER = 65536
VOLUME = 4 * MIB
MARK = struct.pack('>IIQ', 0x76617465, 8, 0)


def disk(data):
    def read(offset, length):
        assert offset % SECTOR == 0 and length % SECTOR == 0 and 0 <= offset <= offset + length <= len(data)
        return bytes(data[offset:offset + length])
    return qcow2.Disk(LV, len(data), read)


def content(sr, vdi, size=VOLUME):
    image.settle(sr)
    data = bytearray(size)
    for offset, piece in writer.chunks(vdi, sr.vg_name):
        data[offset:offset + len(piece)] = piece
    return data


def single(**fields):
    sr = Sr(1, uuid=OLD_SR)
    leaf = sr.add(u'leaf', uuid=LV[6:], vdi_type=QCOW2, inflated=False, **fields)
    return content(sr, leaf)


def child(parent_type=QCOW2, **fields):
    """The bytes of an LV with a child in it."""
    sr = Sr(1, uuid=OLD_SR)
    parent = sr.add(u'parent', uuid=PARENT, hidden=True, vdi_type=parent_type)
    leaf = sr.add(u'leaf', uuid=LV[6:], parent=parent, vdi_type=QCOW2, inflated=False, **fields)
    return content(sr, leaf)


def made(directory, *arguments):
    """The path of an image that qemu-img makes in a file."""
    path = str(directory.join('made.qcow2'))
    result = command.run(['qemu-img', 'create', '-q', '-u', '-f', 'qcow2'] + list(arguments[:-1]) + [path, arguments[-1]])
    assert result.status == 0, result.err
    return path


def as_volume(path):
    """The file's bytes in an LV that is larger."""
    with open(path, 'rb') as stream:
        data = stream.read()
    return bytearray(data.ljust(len(data) // MIB * MIB + 2 * MIB, b'\0'))


def marked(data, hidden=False):
    """Adds the mark of sm, as its _add_or_find_custom_header does."""
    place, length = struct.unpack('>QI', bytes(data[8:20]))
    at, = struct.unpack('>I', bytes(data[100:104]))
    while struct.unpack('>I', bytes(data[at:at + 4]))[0]:
        at += 8 + (struct.unpack('>I', bytes(data[at + 4:at + 8]))[0] + 7) // 8 * 8
    if place:
        name = data[place:place + length]
        data[place:place + length] = b'\0' * length
        data[place + 16:place + 16 + length] = name
        data[8:16] = struct.pack('>Q', place + 16)
    data[at:at + 16] = MARK
    data[at + 8:at + 9] = b'\x01' if hidden else b'\0'
    return data


def saved(directory, data, name='volume'):
    path = str(directory.join(name))
    with open(path, 'wb') as stream:
        stream.write(data)
    return path


def info(path):
    result = command.run(['qemu-img', 'info', '-U', '-f', 'qcow2', '--output=json', path])
    assert result.status == 0, result.err
    return json.loads(result.out)


def without_parent(path):
    """The name by which QEMU opens a child alone."""
    return 'json:' + json.dumps({'driver': 'qcow2', 'backing': None, 'file': {'driver': 'file', 'filename': path}})


def applied(data, changes):
    new = bytearray(data)
    for offset, old, piece in changes:
        assert len(old) == len(piece) and bytes(new[offset:offset + len(old)]) == old
        new[offset:offset + len(piece)] = piece
    return new


@with_qemu
@pytest.mark.parametrize('options, size', [
    ((), 8 * MIB), ((), 65536), ((), 17589500641280), ((), 3 << 40), (('-o', 'cluster_size=512'), 8 * MIB),
    (('-o', 'cluster_size=2M'), 8 * MIB), (('-o', 'cluster_size=16k,extended_l2=on'), 8 * MIB), (('-o', 'refcount_bits=1'), 8 * MIB),
    (('-o', 'lazy_refcounts=on'), 8 * MIB), (('-o', 'preallocation=metadata'), 8 * MIB)])
def test_a_disk_that_qemu_makes(tmpdir, options, size):
    path = made(tmpdir, *options + (str(size),))
    found = disk(as_volume(path))
    assert (found.virtual_size, found.parent, found.names, found.hidden, found.hidden_at) == (size, None, [], False, None)
    assert found.virtual_size == info(path)['virtual-size']
    assert found.rewritten(UUIDS) == [] and found.structures() == []
    assert found.empty() == ('preallocation=metadata' not in options)
    assert len(found.report) == 1 and LV in found.report[0]


@with_qemu
@pytest.mark.parametrize('options', [(), ('-o', 'cluster_size=16k,extended_l2=on')])
@pytest.mark.parametrize('path, form, parent, new', [
    (PATH, 'qcow2', ('QCOW2', PARENT), '/dev/VG_XenStorage-%s/QCOW2-%s' % (NEW_SR, NEW_PARENT)),
    (RAW_PATH, 'raw', ('LV', PARENT), '/dev/VG_XenStorage-%s/LV-%s' % (NEW_SR, NEW_PARENT)),
    (MAPPED, 'qcow2', ('QCOW2', PARENT),
     '/dev/mapper/VG_XenStorage--%s-QCOW2--%s' % (NEW_SR.replace('-', '--'), NEW_PARENT.replace('-', '--')))])
def test_a_child_that_qemu_makes(tmpdir, options, path, form, parent, new):
    """As sm makes it; qemu-img then reads the new name, and finds nothing wrong with the image."""
    data = marked(as_volume(made(tmpdir, '-F', form, '-b', path, *options + ('8M',))), True)
    found = disk(data)
    assert (found.parent, found.sr_uuid, found.hidden, found.report) == (parent, OLD_SR, True, [])
    assert [name for _, name, _ in found.names] == [path]
    after = applied(data, found.rewritten(UUIDS))
    assert [index for index in range(len(data)) if data[index] != after[index]][0] >= found.names[0][0]
    assert disk(after).parent == (parent[0], NEW_PARENT) and disk(after).sr_uuid == NEW_SR
    said = info(saved(tmpdir, after))
    assert (said['backing-filename'], said['backing-filename-format']) == (new, form)
    checked = command.run(['qemu-img', 'check', without_parent(str(tmpdir.join('volume')))])
    assert (checked.status, 'No errors' in checked.out) == (0, True)


@with_qemu
def test_what_sm_does_to_a_child_later(tmpdir):
    """Rebase and resize by qemu-img keep sm's mark, and leave nothing of an old name."""
    path = saved(tmpdir, marked(as_volume(made(tmpdir, '-F', 'qcow2', '-b', PATH.replace(PARENT, LV[6:]), '8M')), True))
    assert command.run(['qemu-img', 'rebase', '-u', '-f', 'qcow2', '-F', 'qcow2', '-b', PATH, path]).status == 0
    found = disk(as_volume(path))
    assert (found.parent, found.hidden) == (('QCOW2', PARENT), True)
    assert LV[6:] not in found.structures()[0][1]
    assert command.run(['qemu-img', 'resize', without_parent(path), '3T']).status == 0
    found = disk(as_volume(path))
    assert (found.virtual_size, found.parent, found.hidden) == (3 << 40, ('QCOW2', PARENT), True)


@pytest.mark.skipif(command.find('qemu-io') is None, reason='qemu-io is not installed (Debian package qemu-utils)')
@pytest.mark.parametrize('words, size, empty', [
    ('read 0 1M', '8M', True), ('write 0 512', '8M', False), ('write 2T 512', '3T', False), ('write -z 0 64k', '8M', False)])
def test_empty(tmpdir, words, size, empty):
    path = made(tmpdir, size)
    assert command.run(['qemu-io', '-f', 'qcow2', '-c', words, path]).status == 0
    assert disk(as_volume(path)).empty() is empty


@with_qemu
@pytest.mark.parametrize('fields', [{}, {'cluster_bits': 14}, {'size': 3 << 40}, {'full_blocks': (1,)}], ids=str)
def test_lvhds_images_are_sound(tmpdir, fields):
    sr = Sr(1, uuid=OLD_SR)
    leaf = shapes.disk(sr, 'leaf', uuid=LV[6:], vdi_type=QCOW2, inflated=False, **fields)
    data = content(sr, leaf)
    path = saved(tmpdir, data)
    checked = command.run(['qemu-img', 'check', '-f', 'qcow2', path])
    assert (checked.status, 'No errors' in checked.out) == (0, True)
    found = disk(data)
    assert (found.virtual_size, found.empty(), found.report) == (leaf.size, False, [])
    target = str(tmpdir.join('raw'))
    if leaf.size <= 8 * MIB:
        assert command.run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', path, target]).status == 0
        with open(target, 'rb') as stream:
            for sector, expected in leaf.virtual_sectors().items():
                stream.seek(sector * SECTOR)
                assert stream.read(SECTOR) == expected
        os.unlink(target)


@pytest.mark.parametrize('parent_type, kind', [(QCOW2, 'QCOW2'), (RAW, 'LV')])
@pytest.mark.parametrize('hidden', [False, True])
def test_a_child(parent_type, kind, hidden):
    found = disk(child(parent_type, hidden=hidden))
    assert (found.parent, found.sr_uuid, found.hidden, found.empty()) == ((kind, PARENT), OLD_SR, hidden, True)
    assert found.names[0][0] == 544 and found.fits(None)
    (offset, old, new), = found.rewritten(UUIDS)
    assert (offset, len(old)) == (544, len(new))
    assert found.rewritten({}) == []


def test_an_image_of_another_place_is_taken_as_visible():
    found = disk(child(marked=False))
    assert (found.hidden, found.hidden_at, len(found.report)) == (False, None, 1)


def test_flags_of_an_l1_entry_are_no_data():
    data = single()
    data[3 * CLUSTER:3 * CLUSTER + 8] = struct.pack('>Q', 1 << 63)
    assert disk(data).empty()
    data[3 * CLUSTER + 8:3 * CLUSTER + 16] = struct.pack('>Q', 1 << 20)
    assert disk(data).empty(), 'an entry that the disk does not need was looked at'
    data[3 * CLUSTER:3 * CLUSTER + 8] = struct.pack('>Q', 1 << 20)
    assert not disk(data).empty()


def test_a_header_of_more_than_a_page():
    """A long table of feature names moves the parent's name; only the header says where it is."""
    data = child()
    path = PATH.encode('ascii')
    names = writer.extension(writer.FEATURE_NAMES, b'\0' * 48 * 120)
    extensions = writer.extension(writer.PARENT_FORMAT, b'qcow2') + names + MARK + struct.pack('>II', 0, 0)
    place = 112 + len(extensions)
    data[112:place + len(path)] = extensions + path
    data[8:16] = struct.pack('>Q', place)
    found = disk(data)
    assert place > 4096 and found.parent == ('QCOW2', PARENT)
    assert found.rewritten(UUIDS)[0][0] == place
    assert found.hidden_at == place - 16


def number(at, form, value):
    def edit(data):
        data[at:at + struct.calcsize(form)] = struct.pack(form, value)
    return edit


def bytes_at(at, new):
    def edit(data):
        data[at:at + len(new)] = octets(new)
    return edit


def name(path):
    """Another name of the parent."""
    def edit(data):
        data[16:20] = struct.pack('>I', len(path))
        data[544:544 + 1100] = octets(path).ljust(1100, b'\0')
    return edit


# In lvhd's child: format of the parent at 112, feature names at 128, sm's mark at 520, end mark at 536, name at 544
REFUSALS = [
    (bytes_at(0, 'cone'), 'there is no QCOW2 image in it'), (bytes_at(0, '\0' * 4096), 'there is no QCOW2 image in it'),
    (number(4, '>I', 2), 'version 2'), (number(4, '>I', 4), 'version 4'), (number(20, '>I', 8), '2^8'), (number(20, '>I', 22), '2^22'),
    (number(20, '>I', 0xffffffff), '2^4294967295'), (number(24, '>Q', 0), 'a size of 0'), (number(24, '>Q', 513), 'a size of 513'),
    (number(24, '>Q', 1 << 60), 'an L1 table of 1 entries'), (number(32, '>I', 1), 'encrypted'), (number(36, '>I', 0), 'an L1 table of 0'),
    (number(36, '>I', 0x7fffffff), 'an L1 table'), (number(36, '>I', (32 << 17) + 1), 'an L1 table'),
    (number(40, '>Q', 0), 'an L1 table of 1 entries at offset 0'), (number(40, '>Q', CLUSTER + 512), 'an L1 table'),
    (number(40, '>Q', VOLUME), 'an L1 table'), (number(40, '>Q', 1 << 63), 'an L1 table'),
    (number(48, '>Q', 0), 'a refcount table'), (number(48, '>Q', 512), 'a refcount table'), (number(48, '>Q', VOLUME), 'a refcount table'),
    (number(56, '>I', 0), 'a refcount table of 0 clusters'), (number(56, '>I', 200), 'a refcount table of 200'),
    (number(60, '>I', 1), '1 internal snapshots'), (number(72, '>Q', 1), 'dirty'), (number(72, '>Q', 2), 'corrupt'),
    (number(72, '>Q', 4), 'data is in another file'), (number(72, '>Q', 8), 'compression type'), (number(72, '>Q', 32), 'feature 5'),
    (number(72, '>Q', 1 << 63), 'feature 63'), (number(88, '>Q', 1), 'autoclear features 0x1'),
    (number(96, '>I', 7), 'a refcount order of 7'), (number(100, '>I', 72), 'a header of 72'), (number(100, '>I', 108), 'a header of 108'),
    (number(100, '>I', 1 << 20), 'a header of 1048576'), (bytes_at(104, '\1'), 'compression type'),
    (number(112, '>I', 0x23852875), 'bitmaps'), (number(112, '>I', 0x0537be77), 'encrypted'),
    (number(112, '>I', 0x44415441), 'data is in another file'), (number(112, '>I', 0x12345678), 'unknown header extension 0x12345678'),
    (number(112, '>I', 0x6803f857), '0x6803f857 twice'), (number(116, '>I', 0xffffffff), 'does not end in the first cluster'),
    (number(132, '>I', CLUSTER), 'does not end in the first cluster'), (number(536, '>I', 0x6803f857), '0x6803f857 twice'),
    (number(524, '>I', 4), 'mark for hidden'), (bytes_at(529, '\1'), 'mark for hidden'),
    (number(112, '>I', 0), 'not said'), (bytes_at(120, 'vpc\0\0'), 'is vpc'), (bytes_at(120, 'raw\0\0'), 'is raw'),
    (number(8, '>Q', 540), 'a name of 98 bytes at offset 540'), (number(8, '>Q', 1), 'at offset 1'),
    (number(8, '>Q', CLUSTER - 8), 'does not end in the first cluster'), (number(8, '>Q', 1 << 63), 'does not end in the first cluster'),
    (number(16, '>I', 0), 'a name of 0 bytes'), (number(16, '>I', 1024), 'a name of 1024 bytes'),
    (number(16, '>I', 97), 'its parent is /dev/'),
    (name(PATH + '\0'), 'its parent is /dev/'), (name(PATH + '\n'), 'its parent is /dev/'), (name(PATH[5:]), 'its parent is VG_'),
    (name('json:{"driver":"qcow2"}'), 'its parent is json'), (name('nbd:localhost:10809'), 'its parent is nbd'),
    (name(PATH.replace('QCOW2-', 'VHD-')), 'its parent is /dev/'), (name(PATH.replace('/QCOW2', '/../QCOW2')), 'its parent is /dev/'),
    (name(PATH.replace('VG_XenStorage-', 'VG_other-')), 'its parent is /dev/'), (name(PATH.upper()), 'its parent is /DEV/'),
    (name(MAPPED.replace('--', '-')), 'its parent is /dev/mapper'), (name('/dev/mapper/' + PATH[5:]), 'its parent is /dev/mapper'),
    (name('\xff' * 98), 'its parent is'),
]


@pytest.mark.parametrize('edit, said', REFUSALS, ids=[said for _, said in REFUSALS])
def test_refused(edit, said):
    data = child()
    edit(data)
    with pytest.raises(errors.BadQcow2) as caught:
        disk(data)
    assert said in str(caught.value) and LV in str(caught.value)


@pytest.mark.parametrize('length', [512, 4096, 2 * CLUSTER])
def test_an_lv_that_ends_too_early(length):
    with pytest.raises(errors.BadQcow2):
        disk(child()[:length])


def test_every_prefix_of_the_header_is_read_or_refused():
    """What a host that died while sm or qemu-img wrote the first sectors can have left: nothing else than BadQcow2 comes of it."""
    whole = child()
    outcomes = set()
    for end in range(0, 700, 4):
        data = whole[:end].ljust(len(whole), b'\0')
        try:
            outcomes.add(disk(data).parent is not None)
        except errors.BadQcow2:
            outcomes.add('refused')
    assert outcomes == set(['refused', True])
