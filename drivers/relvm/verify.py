# SPDX-License-Identifier: LGPL-2.1-only
"""Is what is on a LUN a sound SR, and is nothing of an old identity left on it?

lun.Lun has refused what it could not understand: broken checksums, missing parents, other SRs in parent names, journals. What is
left to say here is what sm wants of a sound SR (the invariants under which introduce, plug and scan just work), and the
comparison with a plan or with the original.
"""

from relvm import identity
from relvm.octets import text


def problems(lun, locked=False):
    """[sentence]: why sm would not take this SR as it is. [] when all is well. locked: the VG has to be exported."""
    found = []
    if lun.vg.exported and not locked:
        found.append('the VG %s is exported' % lun.vg.name)
    if locked and not lun.vg.exported:
        found.append('the VG %s is not locked' % lun.vg.name)
    if lun.mgt.sr_uuid != lun.vg.sr_uuid:
        found.append('MGT says SR %s, the VG is %s' % (lun.mgt.sr_uuid, lun.vg.name))
    for record in lun.lost:
        found.append('the VDI record %s has no LV' % record.uuid)
    for vdi in lun.order:
        if vdi.record is not None and vdi.record.fields['vdi_type'] != {'raw': 'aio', 'vhd': 'vhd'}[vdi.kind()]:
            found.append('the record of %s has the wrong vdi_type' % vdi.lv.name)
        if vdi.children and not vdi.hidden:
            found.append('%s has children and is not hidden' % vdi.lv.name)
    for uuid in uuids_of(lun):
        if uuid not in lun.vdis and uuid != lun.vg.sr_uuid:
            found.append('the name of an LV or of a parent mentions %s, which is not on this LUN' % uuid)
    return found


def uuids_of(lun):
    """Every uuid in LV names of VDIs and in the parent names of VHDs: {uuid: None}."""
    found = {lun.vg.sr_uuid: None}
    for vdi in lun.order:
        found[vdi.uuid] = None
        if vdi.disk is not None:
            for _, stored, _ in vdi.disk.names:
                found.update(dict.fromkeys(_plain_uuids(stored)))
    return found


def live_structures(lun):
    """[(where, bytes or native str)] of all that is read by LVM, sm or vhd-util on this LUN, but names that users gave."""
    found = [('the LVM label', text(lun.label.raw)), ('the LVM metadata', lun.vg.text)]
    found.extend(lun.mgt.identity_fields())
    for vdi in lun.order:
        if vdi.disk is not None:
            found.append(('the header of %s' % vdi.lv.name, text(vdi.disk.header)))
            for _, stored, _ in vdi.disk.names:
                found.append(('a parent locator of %s' % vdi.lv.name, stored))
    return found


def leftovers(lun, old):
    """[sentence] for every string of `old` ({uuid or LVM id: anything}) in a live structure of the LUN."""
    found = []
    ids = [name for name in old if not identity.is_uuid(name)]
    for where, content in live_structures(lun):
        for uuid in _plain_uuids(content):
            if uuid in old:
                found.append('%s still has %s' % (where, uuid))
        if where.startswith('the LVM'):
            for name in ids:
                if name in content:
                    found.append('%s still has the id %s' % (where, name))
    return found


def _plain_uuids(content):
    """Every uuid in the text, also in UTF-16 and in device-mapper's form with doubled dashes."""
    found = identity.UUID.findall(content)
    if '\0' in content:
        content = content.replace('\0', '')
        found.extend(identity.UUID.findall(content))
    if '--' in content:
        found.extend(identity.UUID.findall(content.replace('--', '-')))
    return found


def identities(lun):
    """Every uuid and LVM id that makes up the identity of the SR on a LUN: {string: None}."""
    found = dict.fromkeys(lun.vdis)
    found[lun.vg.sr_uuid] = None
    found[lun.label.pv_uuid] = None
    for name in [lun.vg.id, lun.vg.pv_id] + [lv.id for lv in lun.vg.order]:
        found[name] = None
    return found


def deviations(lun, plan):
    """[sentence]: where the rewritten LUN is not what the plan said."""
    found = leftovers(lun, plan.old_uuids())
    old = plan.lun
    if lun.vg.sr_uuid != plan.sr_uuid:
        found.append('the SR uuid is %s, not %s' % (lun.vg.sr_uuid, plan.sr_uuid))
    for name in identities(old):
        if not identity.is_uuid(name) and name in lun.vg.text:
            found.append('the LVM metadata still has the id %s' % name)
    kept = dict([(plan.uuids[vdi.uuid], vdi) for vdi in plan.kept])
    if sorted(kept) != sorted(lun.vdis):
        found.append('there are %d VDIs, %d were kept' % (len(lun.vdis), len(kept)))
        return found
    for uuid, vdi in kept.items():
        now = lun.vdis[uuid]
        for what, before, after in (
                ('its extents', vdi.lv.segments, now.lv.segments),
                ('its permission', vdi.lv.writable, now.lv.writable),
                ('its tags', [identity.substitute(tag, plan.uuids) for tag in vdi.lv.tags], now.lv.tags),
                ('hidden', vdi.hidden, now.hidden),
                ('its size', vdi.size(old.vg), now.size(lun.vg)),
                ('its name', vdi.name_label(), now.name_label()),
                ('its parent', _parent(vdi, plan.uuids), _parent(now, {}))):
            if before != after:
                found.append('%s of %s was %s and is %s' % (what, now.lv.name, before, after))
    return found


def _parent(vdi, uuids):
    if vdi.parent is None:
        return None
    return uuids.get(vdi.parent.uuid, vdi.parent.uuid)
