# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.origins: maps are never composed, and a repeated call with the same SR uuid gives what was promised."""
from __future__ import absolute_import, division, print_function

import struct
import uuid
import zlib

import pytest

from conftest import copy
from luns import damage, devices
from lvhd import reader, shapes
from relvm import errors, identity
from relvm.engine import blockdev
from relvm.show import report

FIRST = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
SECOND = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'
THIRD = 'dddddddd-dddd-4ddd-8ddd-dddddddddd00'
SCSI_ID = '360000000000000000e00000000010002'
OTHER_LUN = '360000000000000000e00000000010003'
# Writes of a run on two_snapshots: log, stage, switch 1, three changes, final, switch 2, head
WRITES = 9


def promised(path, sr_uuid, scsi_id=SCSI_ID):
    """What a preview says: {source: new uuid} of what is kept. It writes nothing."""
    before = damage.fingerprint(path)
    device = blockdev.Device(path, False)
    try:
        data = report.preview(device, sr_uuid, scsi_id=scsi_id)
    finally:
        device.close()
    assert data['reasons'] == [] and data['possible']
    assert damage.fingerprint(path) == before
    return dict((vdi['from'], vdi['new_uuid']) for vdi in data['vdis'] if vdi['action'] == 'keep')


def on(path):
    """The uuids of the VDIs that are on a LUN, as a reader that is not the engine's sees them."""
    with reader.Lun(path) as lun:
        return set(lun.vdi_uuids())


def expected(sources, sr_uuid):
    return dict((source, str(uuid.uuid5(uuid.UUID(sr_uuid), str(source)))) for source in sources)


@pytest.fixture
def clone(shape_called, tmpdir):
    """clone(name): (path of the original, path of a copy of it)."""
    def make(name):
        original = shape_called(name).path
        return original, copy(original, tmpdir.join('clone.img'))
    return make


@pytest.fixture
def sources(shape_called):
    return [vdi.uuid for vdi in shape_called('two_snapshots').model.vdis if not vdi.is_a_snapshot]


def done(path, sr_uuid, sources, scsi_id=SCSI_ID):
    """A run that must give what the preview says and what follows from `sources`; its Result and device."""
    assert promised(path, sr_uuid, scsi_id) == expected(sources, sr_uuid)
    result, device = devices.run(path, sr_uuid, scsi_id=scsi_id)
    assert dict(result.map.vdis) == expected(sources, sr_uuid)
    assert on(path) == set(expected(sources, sr_uuid).values())
    assert result.map.sr_uuid == sr_uuid == reader.vg_names(path)[0][-36:]
    return result, device


def test_of_python():
    for number in range(100):
        name = str(uuid.uuid4())
        assert identity.uuid5(FIRST, name) == str(uuid.uuid5(uuid.UUID(FIRST), name))
        assert identity.is_uuid(identity.uuid5(FIRST, name))
        assert identity.unpacked(identity.packed(name)) == name


@pytest.mark.shared
@pytest.mark.parametrize('writes', range(WRITES + 1))
@pytest.mark.parametrize('again', [FIRST, SECOND], ids=['same', 'other'])
def test_killed_and_repeated(writes, again, clone, sources):
    _, path = clone('two_snapshots')
    assert promised(path, FIRST) == expected(sources, FIRST)
    if writes < WRITES:
        devices.killed(path, FIRST, writes, scsi_id=SCSI_ID)
    else:
        devices.run(path, FIRST, scsi_id=SCSI_ID)
    done(path, again, sources)


@pytest.mark.shared
@pytest.mark.parametrize('writes', range(WRITES + 1))
@pytest.mark.parametrize('third', [SECOND, THIRD], ids=['second', 'third'])
def test_second_resign_of_an_unused_clone_is_killed(writes, third, clone, sources):
    """Whatever was killed, the sources are those from before the first resign."""
    _, path = clone('two_snapshots')
    done(path, FIRST, sources)
    if writes < WRITES:
        devices.killed(path, SECOND, writes, scsi_id=SCSI_ID)
    else:
        done(path, SECOND, sources)
    done(path, third, sources)


@pytest.mark.shared
@pytest.mark.parametrize('first', [3, 7])
@pytest.mark.parametrize('second', [0, 3, 5, 8, 10])
def test_a_run_that_finishes_another_is_killed(first, second, clone, sources):
    _, path = clone('two_snapshots')
    devices.killed(path, FIRST, first, scsi_id=SCSI_ID)
    try:
        devices.run(path, SECOND, stop_after=second, scsi_id=SCSI_ID)
    except devices.Killed:
        pass
    done(path, SECOND, sources)
    done(path, THIRD, sources)


@pytest.mark.parametrize('writes', [8, 9])
def test_the_same_sr_uuid_again_writes_nothing(writes, clone, sources):
    """8: the mark that it is over was lost."""
    _, path = clone('two_snapshots')
    try:
        devices.run(path, FIRST, stop_after=writes, scsi_id=SCSI_ID)
    except devices.Killed:
        pass
    result, device = done(path, FIRST, sources)
    assert (result.plan, result.recovered, device.writes) == (None, False, 0)
    device = blockdev.Device(path, False)
    try:
        data = report.preview(device, FIRST, scsi_id=SCSI_ID)
    finally:
        device.close()
    assert data['done'] and data['writes'] == [] and 'nothing to do' in report.as_text(data)


@pytest.mark.parametrize('scsi_id', ['', OTHER_LUN])
def test_the_same_sr_uuid_on_another_lun_is_refused(scsi_id, clone):
    _, path = clone('two_snapshots')
    devices.run(path, FIRST, scsi_id=SCSI_ID)
    with pytest.raises(errors.SameUuid):
        devices.run(path, FIRST, scsi_id=scsi_id)


def test_a_clone_of_a_resigned_lun_is_a_clone_of_that(clone, tmpdir, sources):
    """Another LUN, so the sources are the uuids that it has."""
    _, path = clone('two_snapshots')
    done(path, FIRST, sources)
    second = copy(path, tmpdir.join('second.img'))
    found = sorted(on(second))
    done(second, SECOND, found, OTHER_LUN)
    # and from then on it is a LUN that was resigned and not used
    done(second, THIRD, found, OTHER_LUN)


def test_a_lun_that_was_used_is_an_original(clone, sources):
    _, path = clone('two_snapshots')
    done(path, FIRST, sources)
    damage.mgt(path, b'<name_label>vdi0</name_label>', b'<name_label>used</name_label>')
    done(path, SECOND, sorted(on(path)))


@pytest.mark.parametrize('sr_uuid', [FIRST, SECOND], ids=['same', 'other'])
def test_an_array_clones_a_lun_in_mid_resign(sr_uuid, clone, tmpdir, sources):
    """Both keep the sources; with another SCSI id even the same SR uuid leaves no twins of LVM's ids."""
    _, path = clone('two_snapshots')
    devices.killed(path, FIRST, 4, scsi_id=SCSI_ID)
    twin = copy(path, tmpdir.join('twin.img'))
    done(path, FIRST, sources)
    result, _ = done(twin, sr_uuid, sources, OTHER_LUN)
    assert result.recovered and result.plan is not None
    common = reader.identities(path) & reader.identities(twin)
    assert [name for name in common if not identity.is_uuid(str(name))] == []
    # killed between the two halves, the second LUN still knows where its VDIs come from
    again = copy(path, tmpdir.join('again.img'))
    done(again, THIRD, sorted(on(again)), OTHER_LUN)


def of_version_1(path):
    """What release 1.0.0 would have left: the log's head ends with the size of the area, and runs stand in front of it."""
    with reader.Lun(path) as lun:
        size = lun.volumes['MGT'].size
        head = bytearray(lun.volumes['MGT'].read(size - 512, 512))
        length, = struct.unpack_from('<Q', head, 16)
        sources = -(-16 * struct.unpack_from('<I', head, 96)[0] // 512) * 512
        body = lun.volumes['MGT'].read(size - 512 - sources - length, length)
    assert head[8:12] == b'\2\0\0\0' and sources == 512
    head[92:] = b'\0' * 420
    struct.pack_into('<I', head, 8, 1)
    struct.pack_into('<I', head, 12, zlib.crc32(bytes(head[16:])) & 0xffffffff)
    damage.volume(path, 'MGT', size - 512 - sources - length, b'\xee' * sources + body + bytes(head))


@pytest.mark.parametrize('sr_uuid', [FIRST, SECOND], ids=['same', 'other'])
@pytest.mark.parametrize('writes', [3, 5, 7])
def test_a_locked_lun_of_version_1_is_finished(writes, sr_uuid, clone):
    """It says nothing of sources, so those are the uuids that the killed run gave."""
    _, path = clone('two_snapshots')
    devices.killed(path, FIRST, writes, scsi_id=SCSI_ID)
    of_version_1(path)
    with reader.Lun(path) as lun:
        given = [name[-36:] for name in lun.volumes if name.startswith('VHD-')]
    result, _ = done(path, sr_uuid, given)
    assert result.recovered
    done(path, THIRD, given)


def test_a_history_with_one_source_twice_counts_for_nothing(clone, sources):
    """A forged one: two VDIs of one uuid must not come from it."""
    _, path = clone('two_snapshots')
    done(path, FIRST, sources)
    with reader.Lun(path) as lun:
        size = lun.volumes['MGT'].size
        head = bytearray(lun.volumes['MGT'].read(size - 512, 512))
        data = lun.volumes['MGT'].read(size - 1024, 512)
    data = data[:16] * 2 + data[32:]
    struct.pack_into('<I', head, 100, zlib.crc32(data) & 0xffffffff)
    struct.pack_into('<I', head, 12, zlib.crc32(bytes(head[16:])) & 0xffffffff)
    damage.volume(path, 'MGT', size - 1024, data + bytes(head))
    done(path, SECOND, sorted(on(path)))


def test_a_name_of_this_very_lun_in_the_history(written):
    """The source of one VDI is what another one is called now: forged as well."""
    path = written(shapes.two_snapshots())
    devices.run(path, FIRST, scsi_id=SCSI_ID)
    found = sorted(on(path))
    with reader.Lun(path) as lun:
        size = lun.volumes['MGT'].size
        head = bytearray(lun.volumes['MGT'].read(size - 512, 512))
        data = lun.volumes['MGT'].read(size - 1024, 512)
    data = data[:16] + uuid.UUID(found[0]).bytes + uuid.UUID(found[1]).bytes + data[48:]
    struct.pack_into('<I', head, 100, zlib.crc32(data) & 0xffffffff)
    struct.pack_into('<I', head, 12, zlib.crc32(bytes(head[16:])) & 0xffffffff)
    damage.volume(path, 'MGT', size - 1024, data + bytes(head))
    mapped = promised(path, SECOND)
    assert len(set(mapped.values())) == len(found)
