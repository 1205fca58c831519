# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.pool.vdimap: which disk is which, from records and from the LUN, and whether a VM keeps off its original."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from luns import devices
from relvm import identity
from relvm.formats import redolog
from relvm.pool import vdimap

NEW = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'
OLD = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
SOURCES = ['%08d-0000-4000-8000-000000000000' % number for number in range(3)]
HISTORY = redolog.History(OLD, SOURCES, (0, 0), (0, 0), 'lun', True)
VM = 'the VM'


class Table(object):
    """One class of xapi: get_record and the like of {ref: record}."""

    def __init__(self, records):
        self.records = records

    def get_by_uuid(self, uuid):
        return [ref for ref, record in self.records.items() if record['uuid'] == uuid][0]

    def get_record(self, ref):
        return self.records[ref]

    def get_all_records(self):
        return self.records

    def remove_from_other_config(self, ref, key):
        self.records[ref]['other_config'].pop(key, None)

    def add_to_other_config(self, ref, key, value):
        assert key not in self.records[ref]['other_config']
        self.records[ref]['other_config'][key] = value

    def get_VDIs(self, ref):
        return self.records[ref]['VDIs']

    def get_PBDs(self, ref):
        return ['PBD ' + ref]

    def get_software_version(self, ref):
        return self.records[ref]['software_version']


def vdi(uuid, sr, **fields):
    return dict({'uuid': uuid, 'SR': sr, 'name_label': 'disk', 'other_config': {}}, **fields)


class Api(object):
    """A pool with the original, and with two clones of its LUN that were resigned."""

    def __init__(self):
        vdis = {}
        srs = {'old': {'uuid': OLD, 'sm_config': {}, 'other_config': {}, 'VDIs': []}}
        for source in SOURCES:
            vdis[source] = vdi(source, 'old')
        for ref, uuid in (('new', NEW), ('other', OTHER)):
            srs[ref] = {'uuid': uuid, 'sm_config': {}, 'other_config': {vdimap.MARK: 'lun'}, 'VDIs': []}
            for source in SOURCES:
                vdis[ref + source] = vdi(identity.uuid5(uuid, source), ref)
        for ref, record in vdis.items():
            srs[record['SR']]['VDIs'].append(ref)
        self.SR, self.VDI = Table(srs), Table(vdis)
        self.PBD = Table(dict(('PBD ' + ref, {'device_config': {'SCSIid': 'lun ' + ref}}) for ref in srs))
        self.host = Table({'master': {'software_version': {'xapi_build': '1.9.70'}}})
        self.VBD, self.VM = Table({}), Table({VM: {'uuid': VM, 'VBDs': [], 'snapshots': [], 'suspend_VDI': vdimap.NULL}})

    def attach_disk(self, ref, vm=VM, kind='Disk'):
        name = 'VBD %d' % len(self.VBD.records)
        self.VBD.records[name] = {'type': kind, 'VDI': ref}
        self.VM.records[vm]['VBDs'].append(name)


def whole(uuid):
    return sorted((identity.uuid5(uuid, source), source) for source in SOURCES)


def pairs(answer):
    return [(each['uuid'], each['from']) for each in answer['vdis']]


def nothing(scsi_id):
    return None


def test_the_lun_says_it_where_the_records_do_not():
    asked = []

    def history_of(scsi_id):
        asked.append(scsi_id)
        return HISTORY
    answer, = vdimap.read(Api(), [NEW], history_of)
    assert (answer['sr'], answer['from'], pairs(answer), asked) == (NEW, OLD, whole(NEW), ['lun new'])


def test_the_records_say_it_where_the_lun_cannot_be_read():
    api = Api()
    known = vdimap.mark_vdis(api, NEW, vdimap.vdi_records(api, 'new'), HISTORY)
    vdimap.mark_sr(api, 'new', OLD)
    assert sorted(known.items()) == whole(NEW)
    answer, = vdimap.read(api, [NEW], nothing)
    assert (answer['from'], pairs(answer)) == (OLD, whole(NEW))
    # once more
    vdimap.mark_vdis(api, NEW, vdimap.vdi_records(api, 'new'), None)
    vdimap.mark_sr(api, 'new', OLD)
    assert pairs(vdimap.read(api, [NEW], nothing)[0]) == whole(NEW)


def test_what_xapi_copied_to_a_snapshot_does_not_count_and_goes():
    api = Api()
    vdimap.mark_vdis(api, NEW, vdimap.vdi_records(api, 'new'), HISTORY)
    api.VDI.records['snap'] = vdi(OTHER, 'new', other_config={vdimap.FROM: SOURCES[0], 'mine': 'x'})
    api.SR.records['new']['VDIs'].append('snap')
    assert pairs(vdimap.read(api, [NEW], nothing)[0]) == whole(NEW)
    vdimap.mark_vdis(api, NEW, vdimap.vdi_records(api, 'new'), HISTORY)
    assert api.VDI.records['snap']['other_config'] == {'mine': 'x'}


@pytest.mark.parametrize('uuid, history_of', [(OLD, lambda scsi_id: HISTORY), (NEW, nothing)], ids=['original', 'unknown'])
def test_an_sr_of_which_nothing_is_known(uuid, history_of):
    with pytest.raises(vdimap.MapError) as caught:
        vdimap.read(Api(), [uuid], history_of)
    assert uuid in caught.value.sentence


def test_words_for_an_import():
    api = Api()
    words = vdimap.import_words(api, 'master', vdimap.read(api, [NEW], lambda scsi_id: HISTORY))
    assert words == ' '.join('vdi:%s=%s' % (source, identity.uuid5(NEW, source)) for source in SOURCES)


@pytest.mark.parametrize('build', ['1.9.69', '1.9', '', 'unknown', '0.2'])
def test_an_old_xapi_gets_no_words(build):
    api = Api()
    api.host.records['master']['software_version'] = {'xapi_build': build}
    with pytest.raises(vdimap.MapError) as caught:
        vdimap.import_words(api, 'master', vdimap.read(api, [NEW], lambda scsi_id: HISTORY))
    assert 'do not import here' in caught.value.sentence


@pytest.mark.parametrize('text, expected', [('1.9.70', (1, 9, 70)), ('1.20.3-2.1', (1, 20, 3)), ('24.11.0-1.xs8', (24, 11, 0)), ('x', ())])
def test_versions(text, expected):
    assert vdimap.version(text) == expected


def test_two_clones_of_one_lun_in_one_import():
    api = Api()
    with pytest.raises(vdimap.MapError) as caught:
        vdimap.import_words(api, 'master', vdimap.read(api, [NEW, OTHER], lambda scsi_id: HISTORY))
    assert 'both come from' in caught.value.sentence


def test_a_vm_on_the_clone_is_safe():
    api = Api()
    api.attach_disk('new' + SOURCES[0])
    api.attach_disk('other' + SOURCES[1])
    api.attach_disk(SOURCES[0], kind='CD')
    api.attach_disk(vdimap.NULL)
    assert vdimap.check(api, VM, []) == {'vm': VM, 'disks': 2}
    with pytest.raises(vdimap.MapError) as caught:
        vdimap.check(api, VM, [NEW])
    assert OTHER in caught.value.sentence


@pytest.mark.parametrize('where', ['disk', 'snapshot', 'suspended'])
def test_a_vm_that_would_write_to_the_original(where):
    api = Api()
    api.attach_disk('new' + SOURCES[0])
    if where == 'suspended':
        api.VM.records[VM]['suspend_VDI'] = SOURCES[1]
    else:
        api.VM.records['snap'] = {'uuid': 'snap', 'VBDs': [], 'snapshots': []}
        api.VM.records[VM]['snapshots'].append('snap')
        api.attach_disk(SOURCES[1], {'disk': VM, 'snapshot': 'snap'}[where])
    with pytest.raises(vdimap.MapError) as caught:
        vdimap.check(api, VM, [])
    assert 'DO NOT START' in caught.value.sentence
    assert SOURCES[1] in caught.value.sentence and OLD in caught.value.sentence and NEW not in caught.value.sentence


def test_a_vm_without_disks_was_not_checked():
    with pytest.raises(vdimap.MapError):
        vdimap.check(Api(), VM, [])


def test_the_history_is_read_from_a_lun_whatever_it_is_used_for(shape_called, tmpdir):
    path = shape_called('two_snapshots').copy(tmpdir.join('lun.img'))
    assert vdimap.of_device(path) is None
    devices.run(path, NEW, scsi_id='lun')
    found = vdimap.of_device(path)
    kept = [each.uuid for each in shape_called('two_snapshots').model.vdis if not each.is_a_snapshot]
    assert (found.sr, sorted(found.sources)) == (shape_called('two_snapshots').model.uuid, sorted(kept))


def test_the_lun_is_found_by_its_scsi_id(shape_called, tmpdir, monkeypatch):
    path = shape_called('one').copy(tmpdir.join('sdz'))
    devices.run(path, NEW, scsi_id='lun')
    monkeypatch.setattr(vdimap.devices, 'DEV', str(tmpdir))
    monkeypatch.setattr(vdimap.devices, 'SYS', str(tmpdir))
    assert vdimap.of_lun('3600') is None
    tmpdir.mkdir('disk').mkdir('by-scsid').mkdir('3600')
    os.symlink(path, str(tmpdir.join('disk', 'by-scsid', '3600', 'sdz')))
    assert vdimap.of_lun('3600').sr == shape_called('one').model.uuid
    assert vdimap.of_lun('../3600') is None and vdimap.of_lun('') is None
