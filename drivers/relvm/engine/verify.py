# SPDX-License-Identifier: LGPL-2.1-only
"""Is what is on a LUN a sound SR, and is nothing of an old identity left on it?

lun.Lun has refused what it could not understand: broken checksums, missing parents, other SRs in parent names, journals. What is
left to say here is what sm wants of a sound SR (the invariants under which introduce, plug and scan just work), and the
comparison with a plan or with the original.
"""

import re

from relvm import identity
from relvm.formats import mgt
from relvm.octets import text

# A uuid or an LVM id from its first dash on. What stands before that is looked at last, as a search for a dash is quicker by
# far than one for letters and digits.
_FROM_DASH = re.compile('-(?:(?<=[0-9a-f]{8}-)([0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})|'
                        '(?<=[0-9a-zA-Z!#]{6}-)((?:[0-9a-zA-Z!#]{4}-){5}[0-9a-zA-Z!#]{6}))')
UUID_HEAD = 8
LVM_ID = 2
LVM_ID_HEAD = 6

# What _properties() returns
PROPERTIES = ('extents', 'permission', 'tags', 'hidden', 'size', 'name', 'parent')


def problems(lun, locked=False):
    """[sentence]: why sm would not take this SR as it is. [] when all is well. locked: the VG has to be exported."""
    found = []
    if lun.vg.exported and not locked:
        found.append('the VG %s is exported' % lun.vg.name)
    if locked and not lun.vg.exported:
        found.append('the VG %s is not locked' % lun.vg.name)
    if lun.mgt.sr_uuid != lun.vg.sr_uuid:
        found.append('MGT says SR %s, the VG is %s' % (lun.mgt.sr_uuid, lun.vg.name))
    found.extend(lun.decided)
    for record in lun.lost:
        found.append('the VDI record %s has no LV' % record.uuid)
    for vdi in lun.order:
        if vdi.record is not None and vdi.record.fields['vdi_type'] != mgt.VDI_TYPES[vdi.kind()]:
            found.append('the record of %s has the wrong vdi_type' % vdi.lv.name)
        if vdi.disk is not None and vdi.disk.differs:
            found.append('the two footers of %s differ' % vdi.lv.name)
    for uuid in uuids_of(lun):
        if uuid not in lun.vdis and uuid != lun.vg.sr_uuid:
            found.append('the name of an LV or of a parent mentions %s, which is not on this LUN' % uuid)
    return found


def uuids_of(lun):
    """Every uuid in LV names of VDIs and in the names of parents: {uuid: None}."""
    found = {lun.vg.sr_uuid: None}
    for vdi in lun.order:
        found[vdi.uuid] = None
        if vdi.disk is not None:
            for _, stored, _ in vdi.disk.names:
                found.update(dict.fromkeys([name for name in names_in(stored) if identity.is_uuid(name)]))
    return found


def live_structures(lun):
    """[(where, native str)] of all that is read by LVM, sm, vhd-util or qemu-img on this LUN, but names that users gave."""
    found = [('the LVM label', text(lun.label.raw)), ('the LVM metadata', lun.vg.text.rstrip('\0'))]
    found.extend(lun.mgt.identity_fields())
    for vdi in lun.order:
        if vdi.disk is not None:
            found.extend([('the %s of %s' % (what, vdi.lv.name), content) for what, content in vdi.disk.structures()])
    return found


def leftovers(lun, old):
    """[sentence] for every string of `old` ({uuid or LVM id: anything}) in a live structure of the LUN."""
    found = []
    if lun.label.pv_uuid in old:
        found.append('the LVM label still has the id %s' % lun.label.pv_uuid)
    for where, content in live_structures(lun):
        for name in dict.fromkeys(names_in(content)):
            if name in old:
                found.append('%s still has %s' % (where, name))
    return found


def names_in(content):
    """Every uuid and every LVM id (with dashes) in the text, also in UTF-16 and in device-mapper's form with doubled dashes."""
    found = _plain_names(content)
    if '\0' in content:
        content = content.replace('\0', '')
        found.extend(_plain_names(content))
    if '--' in content:
        found.extend(_plain_names(content.replace('--', '-')))
    return found


def _plain_names(content):
    found = []
    for match in _FROM_DASH.finditer(content):
        start = match.start() - UUID_HEAD
        if match.lastindex == LVM_ID:
            start = match.start() - LVM_ID_HEAD
        found.append(content[start:match.end()])
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
    old = plan.lun
    old_names = plan.old_uuids()
    old_names.update(dict.fromkeys([name for name in identities(old) if not identity.is_uuid(name)]))
    found = leftovers(lun, old_names)
    if lun.vg.sr_uuid != plan.sr_uuid:
        found.append('the SR uuid is %s, not %s' % (lun.vg.sr_uuid, plan.sr_uuid))
    kept = dict([(plan.uuids[vdi.uuid], vdi) for vdi in plan.kept])
    if sorted(kept) != sorted(lun.vdis):
        found.append('there are %d VDIs, %d were kept' % (len(lun.vdis), len(kept)))
        return found
    for uuid, vdi in kept.items():
        before = _properties(vdi, old.vg, plan.uuids, plan.ids)
        after = _properties(lun.vdis[uuid], lun.vg, {}, {})
        if before != after:
            for what, was, now in zip(PROPERTIES, before, after):
                if was != now:
                    found.append('the %s of %s was %s and is %s' % (what, lun.vdis[uuid].lv.name, was, now))
    journals = [lv.name for lv, _ in lun.carried]
    expected = [identity.substitute(lv.name, plan.uuids) for lv, vdi in old.carried if plan.uuids[vdi.uuid] in kept]
    if sorted(journals) != sorted(expected):
        found.append('the journals %s were to go along, and %s are there' % (', '.join(expected), ', '.join(journals)))
    return found


def _properties(vdi, vg, uuids, ids):
    """What a resign does not change about a VDI, but for the uuids and LVM ids in it."""
    return (vdi.lv.segments, vdi.writable, [identity.renamed(tag, uuids, ids) for tag in vdi.tags], vdi.hidden, vdi.size(vg),
            _name(vdi), _parent(vdi, uuids))


def _name(vdi):
    """The name as a resign leaves it: one of blanks alone is emptied."""
    if mgt.is_blank(vdi.name_label()):
        return ''
    return vdi.name_label()


def _parent(vdi, uuids):
    if vdi.parent is None:
        return None
    return uuids.get(vdi.parent.uuid, vdi.parent.uuid)
