# SPDX-License-Identifier: LGPL-2.1-only
"""Which disk of a resigned SR is which disk of its original: kept in xapi's records, read back, and held against a VM.

The uuid that a VDI had before the first resign stands in its other_config under FROM, that of the SR in the SR's. xapi copies
other_config to snapshots and clones, so a VDI's entry counts only if the VDI's uuid follows from it (identity.uuid5). Where there is no
entry, the history on the LUN says it (formats.redolog); the same test holds for that, also when the SR has been used since.
"""

import os

from relvm import errors
from relvm import identity
from relvm.engine import blockdev
from relvm.engine import origins
from relvm.engine.lun import Placement
from relvm.formats import mgt
from relvm.formats import redolog
from relvm.host import devices

FROM = 'relvmoiscsi:from'
MARK = 'relvmoiscsi'
# ocaml/xapi/import.ml of xapi knows vdi:OLD=NEW from this version on; earlier ones ignore it
MAPPING_XAPI = (1, 9, 70)
NULL = 'OpaqueRef:NULL'


class MapError(Exception):
    """`sentence` says what is wrong, and what to do."""

    step = 'map'

    def __init__(self, sentence):
        Exception.__init__(self, sentence)
        self.sentence = sentence


def of_lun(scsi_id):
    """The redolog.History on a LUN that this host sees, or None when there is none or it cannot be read. Whoever uses the LUN goes on."""
    if not devices.is_scsi_id(scsi_id):
        return None
    name = devices.multipath_map(scsi_id)
    paths = devices.scsi_paths(scsi_id)
    if name:
        paths = [os.path.join(devices.DEV, name)]
    for path in paths[:1]:
        try:
            return of_device(path)
        except errors.ResignError:
            return None
    return None


def of_device(path):
    """The redolog.History on a device, or None. Raises errors.ResignError."""
    device = blockdev.Device(path, False)
    try:
        vg = Placement(device).group()
        lv = vg.lvs.get(mgt.LV_NAME)
        if lv is None or len(lv.segments) != 1:
            return None

        def read(offset, length):
            return device.read(vg.runs(lv, offset, length)[0][0], length)
        return redolog.load_history(read, vg.lv_size(lv))
    finally:
        device.close()


def sources(sr_uuid, vdis, history):
    """{VDI uuid: source} of those VDI records ({ref: record}) of which it is known."""
    found = {}
    on_lun = {}
    if history is not None:
        on_lun = origins.sources_of(sr_uuid, history)
    for record in vdis.values():
        uuid = record['uuid']
        entry = record['other_config'].get(FROM, '')
        if identity.is_uuid(entry) and identity.uuid5(sr_uuid, entry) == uuid:
            found[uuid] = entry
        elif uuid in on_lun:
            found[uuid] = on_lun[uuid]
    return found


def vdi_records(api, sr):
    """{reference: record} of an SR's VDIs."""
    return dict([(ref, api.VDI.get_record(ref)) for ref in api.SR.get_VDIs(sr)])


def mark_vdis(api, sr_uuid, vdis, history):
    """Sets FROM on every VDI of which the source is known; what xapi copied there from another VDI goes."""
    known = sources(sr_uuid, vdis, history)
    for ref, record in vdis.items():
        source = known.get(record['uuid'])
        if record['other_config'].get(FROM) != source:
            api.VDI.remove_from_other_config(ref, FROM)
            if source is not None:
                api.VDI.add_to_other_config(ref, FROM, source)
    return known


def mark_sr(api, sr, source):
    """Sets FROM on the SR."""
    api.SR.remove_from_other_config(sr, FROM)
    api.SR.add_to_other_config(sr, FROM, source)


def read(api, uuids, history_of):
    """[{sr, from, vdis [{uuid, from, name_label}]}] of the SRs with these uuids. history_of: a function as of_lun. Raises MapError."""
    return [_of_sr(api, uuid, history_of) for uuid in uuids]


def _of_sr(api, uuid, history_of):
    sr = api.SR.get_by_uuid(uuid)
    record = api.SR.get_record(sr)
    vdis = vdi_records(api, sr)
    source = record['other_config'].get(FROM, '')
    known = sources(uuid, vdis, None)
    if not source or len(known) < len(vdis):
        history = history_of(_scsi_id(api, sr))
        if history is not None:
            # another SR's LUN, or one that was used for something else, gives no VDI of this one
            known = sources(uuid, vdis, history)
            if known and not source:
                source = history.sr
    if not known:
        raise MapError('nothing says where the disks of SR %s come from: it was not resigned, or its VDIs are not known yet '
                       '(xe sr-scan uuid=%s)' % (uuid, uuid))
    answer = [{'uuid': vdi['uuid'], 'from': known[vdi['uuid']], 'name_label': vdi['name_label']}
              for vdi in vdis.values() if vdi['uuid'] in known]
    answer.sort(key=lambda vdi: vdi['uuid'])
    return {'sr': uuid, 'from': source, 'vdis': answer}


def _scsi_id(api, sr):
    for pbd in api.SR.get_PBDs(sr):
        scsi_id = api.PBD.get_record(pbd)['device_config'].get('SCSIid', '')
        if scsi_id:
            return scsi_id
    return ''


def import_words(api, master, maps):
    """The words for `xe vm-import metadata=true`: vdi:OLD=NEW, with a blank between. Raises MapError where they would do harm."""
    build = api.host.get_software_version(master).get('xapi_build', '')
    if version(build) < MAPPING_XAPI:
        raise MapError('xapi %s of this pool ignores a map, and would attach the disks of the original: do not import here. Make the VM '
                       'without disks, and attach them with xe vbd-create' % (build or 'of unknown version'))
    new = {}
    for each in maps:
        for vdi in each['vdis']:
            if vdi['from'] in new:
                raise MapError('%s and %s both come from %s: name one clone of each LUN' % (new[vdi['from']], vdi['uuid'], vdi['from']))
            new[vdi['from']] = vdi['uuid']
    return ' '.join(['vdi:%s=%s' % pair for pair in sorted(new.items())])


def version(text):
    """'1.9.70-2' -> (1, 9, 70); () for what is none."""
    numbers = []
    for part in text.split('-')[0].split('.'):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def check(api, vm_uuid, uuids):
    """Every disk of a VM and of its snapshots lies on an SR that was resigned (or, when uuids are given, on one of those).

    Returns {vm, disks: how many}. Raises MapError, naming what lies elsewhere.
    """
    srs = api.SR.get_all_records()
    vm = api.VM.get_record(api.VM.get_by_uuid(vm_uuid))
    outside = []
    count = 0
    for record in [vm] + [api.VM.get_record(ref) for ref in vm['snapshots']]:
        for vdi in _disks(api, record):
            count += 1
            disk = api.VDI.get_record(vdi)
            sr = srs[disk['SR']]
            if uuids and sr['uuid'] not in uuids or not uuids and not (sr['sm_config'].get(MARK) or sr['other_config'].get(MARK)):
                outside.append('%s on SR %s' % (disk['uuid'], sr['uuid']))
    if outside:
        raise MapError('DO NOT START VM %s: it has disks outside the resigned SRs: %s. Detach them (xe vbd-destroy), or remove the VM '
                       'with its records only (xe vm-destroy; never vm-uninstall)' % (vm_uuid, ', '.join(outside)))
    if not count:
        raise MapError('VM %s has no disks: nothing was checked' % vm_uuid)
    return {'vm': vm_uuid, 'disks': count}


def _disks(api, vm):
    found = []
    for ref in vm['VBDs']:
        vbd = api.VBD.get_record(ref)
        if vbd['type'] != 'CD' and vbd['VDI'] != NULL:
            found.append(vbd['VDI'])
    if vm.get('suspend_VDI', NULL) not in (NULL, ''):
        found.append(vm['suspend_VDI'])
    return found
