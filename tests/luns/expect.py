# SPDX-License-Identifier: LGPL-2.1-only
"""What a resign must have made of a LUN. The witnesses are lvhd's reader, its LVM parser and its policy; the engine is asked
for nothing but the choice of uuids, and that is checked too.
"""
from __future__ import absolute_import, division, print_function

import collections
import re

import pytest

from lvhd import policy, reader, vgtext
from lvhd.judges import lvm as real_lvm
from luns import damage, devices
from relvm import errors, identity
from relvm.engine import blockdev, resign
from relvm.show import report

SECTOR = 512
SHA256_LIMIT = 64 * 1024 * 1024


class Outcome(object):
    """A finished resign.

    original, path   images before and after
    kept             {segments of every LV that has to remain}
    result, device   of the run; sr_uuid as it was asked for
    """

    def __init__(self, original, path, kept, sr_uuid, **options):
        self.original = original
        self.path = path
        self.kept = set(kept)
        self.sr_uuid = sr_uuid
        self.names_given = 'name_label' in options or 'name_description' in options
        self.result, self.device = devices.run(path, sr_uuid, **options)
        self.plan = self.result.plan
        self.uuids = mapping(original, path)


def kept_of(model, left=()):
    """The segments of every volume of a model that a resign keeps; left: uuids that it leaves behind."""
    volumes = [vdi.volume for vdi in policy.kept(model, left)] + policy.kept_volumes(model) + [model.mgt_volume]
    return set(tuple(volume.segments) for volume in volumes)


def all_of(path):
    """The segments of every volume of an image."""
    with reader.Lun(path) as lun:
        return set(tuple(volume.segments) for volume in lun.volumes.values())


def mapping(original, path):
    """{old uuid: new uuid}, from what lies at the same extents, and from the records of MGT at the same offsets."""
    found = {}
    with reader.Lun(original) as old, reader.Lun(path) as new:
        places = dict((tuple(volume.segments), volume.name) for volume in old.volumes.values())
        for volume in new.volumes.values():
            before = reader.UUID.findall(places.get(tuple(volume.segments), ''))
            found.update(zip(before, reader.UUID.findall(volume.name)))
        for before, after in zip(old.mgt().records, new.mgt().records):
            assert found.setdefault(before.fields['uuid'], after.fields['uuid']) == after.fields['uuid']
        found[old.vg_name[-36:]] = new.vg_name[-36:]
    return found


def everything(outcome):
    one_new_vg(outcome)
    nothing_old_is_left(outcome)
    metadata_is_that_of_before(outcome)
    mgt_is_that_of_before(outcome)
    disks_are_those_of_before(outcome)
    only_identities_were_written(outcome)
    order_of_writes(outcome)


def one_new_vg(outcome):
    before, = reader.observe(outcome.original)
    after, = reader.observe(outcome.path)
    assert after.vg_name == 'VG_XenStorage-' + outcome.sr_uuid
    assert not after.exported
    assert after.seqno == before.seqno + 2
    with reader.Lun(outcome.path) as lun:
        assert lun.label.metadata_areas == [(4096, lun.area.size)]
        assert lun.mgt().uuid == outcome.sr_uuid
    with reader.Lun(outcome.original) as old, reader.Lun(outcome.path) as new:
        # version and flag of today's LVM
        assert new.label.extension[0] == 2 and new.label.extension[1] & 1
        assert new.label[2:4] == old.label[2:4]


def nothing_old_is_left(outcome):
    old = reader.identities(outcome.original)
    assert reader.identities(outcome.path) & old == set()
    assert reader.traces(outcome.path, old) == []


def metadata_is_that_of_before(outcome):
    """The whole text, parsed: but for ids, uuids, seqno, description and dropped LVs, it is the old one, order included."""
    with reader.Lun(outcome.original) as old, reader.Lun(outcome.path) as new:
        gone = [volume.name for volume in old.volumes.values() if tuple(volume.segments) not in outcome.kept]
        expected = vgtext.parse(old.text.rstrip(b'\0').decode('utf-8'))
        found = vgtext.parse(new.text.rstrip(b'\0').decode('utf-8'))
        old_vg, new_vg = expected[old.vg_name], found[new.vg_name]
    for name in gone:
        del old_vg['logical_volumes'][name]
    if 'description' in expected:
        expected['description'] = 'Resigned by relvmoiscsi'
    old_vg['seqno'] += 2
    names = dict(outcome.uuids)
    ids = []
    for owner, twin in _with_ids(old_vg, new_vg):
        assert twin['id'] != owner['id']
        ids.append(twin['id'])
        names[owner['id']] = twin['id']
    assert len(set(ids)) == len(ids)
    names.update([(name.replace('-', '--'), new.replace('-', '--')) for name, new in names.items()])
    assert _substituted(expected, names) == found


def _with_ids(old_vg, new_vg):
    pairs = [(old_vg, new_vg)]
    for part in ('physical_volumes', 'logical_volumes'):
        assert len(old_vg[part]) == len(new_vg[part])
        pairs.extend(zip(old_vg[part].values(), new_vg[part].values()))
    return pairs


def _substituted(tree, names):
    """The tree with every old name replaced by its new one, in keys and in text."""
    any_of = re.compile('|'.join([re.escape(name) for name in sorted(names)]))

    def new(part):
        if isinstance(part, dict):
            return collections.OrderedDict((new(name), new(value)) for name, value in part.items())
        if isinstance(part, list):
            return [new(value) for value in part]
        if isinstance(part, int):
            return part
        return any_of.sub(lambda match: names[match.group(0)], part)
    return new(tree)


def mgt_is_that_of_before(outcome):
    with reader.Lun(outcome.original) as old, reader.Lun(outcome.path) as new:
        before, after = old.mgt(), new.mgt()
        kept = dict((name[-36:], name) for name, volume in old.volumes.items() if tuple(volume.segments) in outcome.kept)
    assert (after.length, after.version, after.allocation) == (before.length, before.version, before.allocation)
    assert after.bytes[:SECTOR] == before.bytes[:SECTOR]
    if not outcome.names_given:
        assert after.bytes[2 * SECTOR:4 * SECTOR] == before.bytes[2 * SECTOR:4 * SECTOR]
    for one, other in zip(before.records, after.records):
        assert other.bytes[:SECTOR] == one.bytes[:SECTOR]
        assert other.bytes[SECTOR:].strip(b' ')[-6:] == b'</vdi>'
        expected = one.fields.copy()
        uuid = one.fields['uuid']
        expected['uuid'] = outcome.uuids[uuid]
        if 'snapshot_of' in expected:
            expected['snapshot_of'] = outcome.uuids.get(expected['snapshot_of'], '')
        if 'metadata_of_pool' in expected:
            expected['metadata_of_pool'] = ''
        if uuid not in kept:
            expected['deleted'] = '1'
        elif one.fields['deleted'] == '0':
            expected['vdi_type'] = {'VHD': 'vhd', 'QCOW2': 'qcow2', 'LV': 'aio'}[kept[uuid].split('-')[0]]
        assert list(other.fields.items()) == list(expected.items())


def disks_are_those_of_before(outcome):
    """Contents, sizes, chains, hidden flags, footers, bitmaps of every VDI that remains."""
    digests, before = reader.virtual_digests(outcome.path), reader.virtual_digests(outcome.original)
    with reader.Lun(outcome.original) as old, reader.Lun(outcome.path) as new:
        remaining = [uuid for uuid in old.vdi_uuids() if tuple(old.vdi_volume(uuid).segments) in outcome.kept]
        assert sorted(digests) == sorted(outcome.uuids[uuid] for uuid in remaining)
        for uuid in remaining:
            twin = outcome.uuids[uuid]
            assert digests[twin] == before[uuid]
            assert [volume.segments for volume in new.chain(twin)] == [volume.segments for volume in old.chain(uuid)]
            name = old.vdi_volume(uuid).name
            if name.startswith('QCOW2-'):
                one, other = old.qcow2(name), new.qcow2(new.vdi_volume(twin).name)
                assert other.head[:one.name_at or None] == one.head[:one.name_at or None]
                assert (other.hidden, len(other.head)) == (one.hidden, len(one.head))
            if name.startswith('VHD-'):
                one, other = old.vhd(name), new.vhd(new.vdi_volume(twin).name)
                assert other.footer.bytes == one.footer.bytes
                assert other.backup_bytes == one.backup_bytes
                for locator in other.locators:
                    assert _locator_target(locator) == new.vg_name.replace('-', '--') + '-' + \
                        other.parent_volume().replace('-', '--')


def _locator_target(locator):
    """The device-mapper name in a locator's relative path."""
    if locator.code == 'MacX':
        path = locator.data.decode('ascii')
        assert path.startswith('file://./')
        return path[9:]
    path = locator.data.decode('utf-16-le')
    assert path.startswith('.\\')
    return path[2:]


def hashes_are_those_of_the_model(outcome, model):
    """SHA-256 of what a guest reads, against what the image writer knows of every disk up to 64 MiB."""
    checked = 0
    for vdi in policy.kept(model):
        if vdi.virtual_size(model.extent_size) <= SHA256_LIMIT:
            assert reader.virtual_sha256(outcome.path, outcome.uuids[vdi.uuid]) == vdi.virtual_sha256(model.extent_size)
            checked += 1
    assert checked


def only_identities_were_written(outcome):
    """Whatever sector differs from before is the label's, the metadata area's, MGT's, or a header or locator of a kept child: of
    a QCOW2 image those with the parent's path."""
    allowed = []
    with reader.Lun(outcome.path) as lun:
        allowed.append((SECTOR, 2 * SECTOR))
        allowed.append((lun.area.offset, lun.area.offset + lun.area.size))
        mgt = lun.volumes['MGT']
        allowed.extend((start, start + length) for start, length in mgt.pieces(0, mgt.size))
        for name in lun.volumes:
            if name.startswith('QCOW2-') and lun.qcow2(name).name_at:
                allowed.extend((start, start + count) for start, count in
                               lun.volumes[name].pieces(lun.qcow2(name).name_at, len(lun.qcow2(name).parent_path)))
            if name.startswith('VHD-') and lun.vhd(name).differencing:
                places = [(SECTOR, 2 * SECTOR)] + [(each.offset, each.length) for each in lun.vhd(name).locators]
                for offset, length in places:
                    allowed.extend((start, start + count) for start, count in lun.volumes[name].pieces(offset, length))
    for write in outcome.device.written():
        old = damage.read(outcome.original, write.offset, len(write.data))
        new = damage.read(outcome.path, write.offset, len(write.data))
        for start in range(0, len(new), SECTOR):
            if old[start:start + SECTOR] != new[start:start + SECTOR]:
                place = write.offset + start
                assert [each for each in allowed if each[0] < place + SECTOR and place < each[1]], \
                    'the sector at %d was changed' % place


def order_of_writes(outcome):
    """| log, stage | label | changes | final | label | head of the log: six flushes, and the preview's list of writes."""
    phases = [[]]
    for event in outcome.device.events:
        if event == devices.FLUSH:
            phases.append([])
        else:
            phases[-1].append((event.offset, len(event.data)))
    assert len(phases) == 7
    before, log, switch, changes, final, again, clear = phases
    assert (len(before), len(log), len(final), len(clear)) == (0, 2, 1, 1)
    assert switch == again == [(0, 4096)]
    assert outcome.device.flushes == 6
    assert outcome.device.writes == 6 + len(changes)
    planned = [(offset, length) for _, offset, length in outcome.plan.writes()]
    assert planned == sum(phases, [])


def real_lvm_agrees(path):
    """vgck is content, and lvs shows exactly what the reader saw: names, ids, permissions, tags, segments."""
    with reader.Lun(path) as lun:
        expected = dict((name, (volume.id, volume.size, set(volume.tags), 'WRITE' in volume.status))
                        for name, volume in lun.volumes.items())
        segments = [(name, '%d-%d' % (first, first + count - 1))
                    for name, volume in lun.volumes.items() for first, count in volume.segments]
    with real_lvm.Loop(path) as device:
        check = real_lvm.run(device, 'vgck')
        assert (check.status, check.out) == (0, '')
        unexpected = [line for line in check.err.splitlines()
                      if not any(warning in line for warning in real_lvm.EXPECTED_WARNINGS)]
        assert unexpected == []
        rows = real_lvm.listing(device, 'lvs', real_lvm.LV_FIELDS + ' seg_pe_ranges', '-a', '--segments').rows
    assert set(row['lv_name'] for row in rows) == set(expected)
    for row in rows:
        lv_id, size, tags, writable = expected[row['lv_name']]
        assert (row['lv_uuid'], int(row['lv_size'])) == (lv_id, size)
        assert set(each for each in row['lv_tags'].split(',') if each) == tags
        assert (row['lv_attr'][1] == 'w') == writable
    ranges = [(row['lv_name'], row['seg_pe_ranges'].split(':')[1]) for row in rows]
    assert sorted(ranges) == sorted(segments)


def refused(path, error, *said):
    """A resign of this image is refused with exactly this class before anything is written, and the sentence says so much.

    The preview gives the same reason. Returns the sentence.
    """
    before = damage.fingerprint(path)
    device = devices.Recording(path)
    try:
        with pytest.raises(errors.Refused) as caught:
            resign.resign(device, identity.new_uuid())
    finally:
        device.close()
    sentence = str(caught.value)
    assert type(caught.value) is error
    for words in said:
        assert words in sentence
    assert device.writes == 0
    assert damage.fingerprint(path) == before
    reader_ = blockdev.Device(path, False)
    try:
        data = report.preview(reader_, identity.new_uuid())
    finally:
        reader_.close()
    assert data['possible'] is False
    assert [reason['code'] for reason in data['reasons']] == [error.__name__]
    assert data['reasons'][0]['sentence'].split(' ')[:4] == sentence.split(' ')[:4]
    assert damage.fingerprint(path) == before
    return sentence
