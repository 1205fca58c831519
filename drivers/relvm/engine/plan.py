# SPDX-License-Identifier: LGPL-2.1-only
"""From what is on a LUN to the list of writes. Pure: nothing is read and nothing is written here, and what is not possible is
refused here, before the first write.
"""

from relvm.engine import blockdev
from relvm import errors
from relvm import identity
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import redolog
from relvm.engine import origins
from relvm.octets import octets

DESCRIPTION = 'Resigned by relvmoiscsi'


class Plan(object):
    """What one resign will do.

    lun           what it starts from
    sr_uuid       the new SR uuid
    uuids         {old uuid: new uuid} of the SR and of everything that MGT or an LV name mentions
    kept          [lun.Vdi], dropped [(lun.Vdi, why)], removed [(LV name, why)] for LVs that are no VDI
    report        [sentence]
    ids           {old LVM id: new one}, with dashes; pv_uuid  the new PV UUID, no dashes
    staged        (offset, size) of the staged metadata area; staged_text, final_text
    runs          [(offset on the LUN, bytes)] for MGT and the headers of images
    origins       origins.Origins of what is on the LUN; map: origins.Map
    log           redolog.Log; log_bytes what is written; log_runs where [(offset, length)]
    """

    def __init__(self, lun, sr_uuid, name_label=None, name_description=None, taken=(), again=False, traced=None, scsi_id='',
                 keep_snapshots=False):
        """sr_uuid: the new identity. Names: UTF-8 as native str, None keeps the old.
        taken: uuids that must not be used, or a dict that says what has each. traced: origins.Origins of the LUN, None if it has none.
        scsi_id: of the LUN, '' when not known. again: an interrupted run has just been finished. If it was of this very sr_uuid,
        LVM's ids still become new. keep_snapshots: they stay, and stay snapshots.

        Raises a subclass of errors.Refused.
        """
        self.lun = lun
        self.sr_uuid = sr_uuid
        self.scsi_id = scsi_id
        self.keep_snapshots = keep_snapshots
        self.origins = traced or origins.Origins(lun.vg.sr_uuid)
        self.report = list(lun.report)
        for uuid in lun.leaving.missing:
            if uuid not in self.origins.sources:
                raise errors.NothingToDrop(uuid=uuid)
        if lun.vg.exported:
            raise errors.Exported(vg=lun.vg.name)
        if sr_uuid == lun.vg.sr_uuid and not again:
            raise errors.SameUuid(uuid=sr_uuid)
        self._choose()
        self._name(taken)
        self._render_lvm()
        self._render_contents(name_label, name_description)
        self._render_log()

    def _choose(self):
        """Which VDIs stay. A hidden node stays as long as something that stays refers to it."""
        reasons = {}
        for vdi in self.lun.order:
            why = vdi.left_behind or self._never_kept(vdi)
            if why:
                reasons[vdi.uuid] = why
        waiting = [vdi for vdi in self.lun.order if vdi.hidden]
        while waiting:
            vdi = waiting.pop()
            if vdi.uuid in reasons:
                continue
            if [child for child in vdi.children if child.uuid not in reasons]:
                continue
            reasons[vdi.uuid] = 'a hidden node that nothing refers to'
            if vdi.parent is not None and vdi.parent.hidden:
                waiting.append(vdi.parent)
        self.kept = []
        self.dropped = []
        for vdi in self.lun.order:
            if vdi.uuid not in reasons:
                self.kept.append(vdi)
                continue
            self.dropped.append((vdi, reasons[vdi.uuid]))
            children = [child.lv.name for child in vdi.children if not child.left_behind]
            if children and self._never_kept(vdi):
                raise errors.DroppedHasChildren(uuid=vdi.uuid, why=reasons[vdi.uuid], children=', '.join(children))
        for vdi in self.kept:
            if vdi.parent is not None and not vdi.parent.hidden:
                self.report.append('the LV %s is not hidden, and %s depends on it: writing to the first would damage the second' %
                                   (vdi.parent.lv.name, vdi.lv.name))
        self.removed = list(self.lun.left_out)
        for lv, vdi in self.lun.carried:
            if vdi.uuid in reasons:
                self.removed.append((lv.name, 'a journal of sm'))
        for lv in self.lun.cbt_logs:
            self.removed.append((lv.name, 'a log of changed blocks, which would corrupt the next incremental backup'))
        if not [vdi for vdi in self.kept if not vdi.hidden]:
            if not self.lun.order:
                raise errors.EmptySR()
            raise errors.NothingLeft(dropped='; '.join(['%s (%s)' % (vdi.uuid, why) for vdi, why in self.dropped]))
        inner = [vdi.uuid for vdi in self.kept if vdi.hidden]
        if inner:
            self.report.append('%d base copies stay, since disks depend on them (resigning never merges disks): after sr-scan '
                               'each appears as a VDI of its own, and CloudStack expects exactly one VDI' % len(inner))

        snapshots = [vdi.uuid for vdi in self.kept if vdi.record is not None and vdi.record.is_snapshot()]
        if snapshots:
            self.report.append('%d snapshots stay snapshots' % len(snapshots))

    def _never_kept(self, vdi):
        if self.keep_snapshots and vdi.record is not None:
            return vdi.record.dropped_type()
        return vdi.never_kept()

    def _name(self, taken):
        """A new uuid for every one that the SR uses, also for those of records and LVs that are dropped."""
        lun = self.lun
        used = dict.fromkeys(taken, 'something of this pool')
        if isinstance(taken, dict):
            used.update(taken)
        old = [lun.vg.sr_uuid]
        old.extend([vdi.uuid for vdi in lun.order])
        old.extend([record.uuid for record in lun.mgt.records if identity.is_uuid(record.uuid)])
        for lv in lun.cbt_logs:
            old.extend(identity.UUID.findall(lv.name))
        old.extend(sorted(lun.uuids))
        if self.sr_uuid in old[1:]:
            raise errors.SameUuid(uuid=self.sr_uuid)
        used.update(dict.fromkeys(old, 'on this LUN'))
        used[self.sr_uuid] = 'the new SR'
        kept = dict([(vdi.uuid, vdi) for vdi in self.kept])
        self.uuids = {lun.vg.sr_uuid: self.sr_uuid}
        for uuid in [vdi.uuid for vdi in self.kept] + old:
            if uuid not in self.uuids:
                self.uuids[uuid] = self._new_uuid(uuid, used, uuid in kept)
                used[self.uuids[uuid]] = 'another VDI of this LUN'
        self.map = origins.Map(self.origins.sr, self.sr_uuid,
                               [(self.origins.of(vdi.uuid), self.uuids[vdi.uuid]) for vdi in self.kept])
        for lv in lun.others:
            name = identity.substitute(lv.name, self.uuids)
            if name != lv.name:
                self.report.append('the LV %s has an old uuid in its name; it will be %s' % (lv.name, name))

    def _new_uuid(self, uuid, used, needed):
        """needed: a VDI that is kept must get the uuid that follows from its source, and no other."""
        new = identity.uuid5(self.sr_uuid, self.origins.of(uuid))
        # Only the names of an interrupted run that is made again stay
        if new not in used or new == uuid:
            return new
        if needed:
            raise errors.UuidTaken(vdi=self.origins.of(uuid), uuid=new, what=used[new])
        return identity.unused_uuid(used)

    def _render_lvm(self):
        lun = self.lun
        leave_out = dict([(vdi.lv.name, why) for vdi, why in self.dropped])
        leave_out.update(dict(self.removed))
        self.ids = lvmgroup.new_ids(lun.vg)
        self.pv_uuid = self.ids[lun.vg.pv_id].replace('-', '')
        settled = dict([(vdi.lv.name, (vdi.name, vdi.writable, vdi.tags)) for vdi in self.kept])
        self.staged_text, self.final_text = lvmgroup.rewrite(lun.vg, self.ids, self.uuids, leave_out, DESCRIPTION, settled)
        reserved = lvmlabel.AREA_HEADER + len(self.final_text)
        if reserved > lun.area.size:
            raise errors.NoRoomInRing(needed=reserved, free=lun.area.size)
        self.staged = lvmlabel.find_gap(lun.area, lvmlabel.AREA_HEADER + len(self.staged_text), reserved)
        self.staged_bytes = lvmlabel.render_area(self.staged[0], self.staged[1], self.staged_text)

    def _render_contents(self, name_label, name_description):
        lun = self.lun
        gone = dict([(vdi.uuid, why) for vdi, why in self.dropped])
        for record in lun.lost:
            gone[record.uuid] = 'no LV'
        types = dict([(vdi.uuid, mgt.VDI_TYPES[vdi.kind()]) for vdi in lun.order])
        self._report_blank_names(name_label, name_description)
        new = lun.mgt.rewritten(self.uuids, gone, types, name_label, name_description)
        self.new_mgt = new
        self.runs = self._changes(lun.mgt_lv, 0, octets(lun.mgt.raw), octets(new))
        for vdi in self.kept:
            for offset, old, changed in vdi.changes(self.uuids):
                self.runs.extend(self._changes(vdi.lv, offset, old, changed))
            if vdi.disk is not None and vdi.disk.differs:
                self.report.append('the two footers of %s differ: an operation of sm had begun and is undone; the footer at the start, '
                                   'which sm goes by, is taken' % vdi.lv.name)

    def _report_blank_names(self, name_label, name_description):
        mended = 'the %s of %s is nothing but white space, which sm cannot read back; it is empty on the clone'
        given = {'name': name_label, 'description': name_description}
        for what in self.lun.mgt.blank():
            if given[what] is None:
                self.report.append(mended % (what, 'the SR'))
        for vdi in self.kept:
            if vdi.record is not None:
                self.report.extend([mended % (what, 'VDI %s' % vdi.uuid) for what in vdi.record.blank()])

    def _changes(self, lv, offset, old, new):
        """The byte runs on the LUN that change `old` into `new` at `offset` of the LV."""
        found = []
        position = 0
        for start, length in self.lun.vg.runs(lv, offset, len(old)):
            found.extend(blockdev.difference(start, old[position:position + length], new[position:position + length]))
            position += length
        return found

    def _render_log(self):
        lun = self.lun
        size = lun.vg.lv_size(lun.mgt_lv)
        if len(lun.mgt_lv.segments) != 1:
            raise errors.BadExtents(lv=mgt.LV_NAME, what='%d segments; one is expected' % len(lun.mgt_lv.segments))
        sources = self.origins.sources or [source for source, _ in self.map.vdis] + lun.leaving.gone
        history = redolog.History(self.origins.sr, sources, origins.marks(lun.area.text_crc, lun.mgt.raw),
                                  origins.marks(lvmlabel.crc(octets(self.final_text)), self.new_mgt), self.scsi_id)
        self.log = redolog.Log(self.pv_uuid, self.staged, lvmlabel.crc(octets(self.staged_text)), lun.area.size, self.runs, history)
        self.log_bytes = self.log.render()
        redolog.check_room(size, lun.mgt.used, len(self.log_bytes))
        self.log_at = lun.vg.runs(lun.mgt_lv, size - len(self.log_bytes), len(self.log_bytes))[0][0]

    def old_uuids(self):
        """Every uuid that must not be left: {old: anything}."""
        return dict([(old, new) for old, new in self.uuids.items() if old != new])

    def writes(self):
        """[(step, offset, length)] of every write of the run, in order."""
        found = [('log', self.log_at, len(self.log_bytes)),
                 ('stage', self.staged[0], len(padded(self.staged_bytes))),
                 ('switch 1', 0, lvmlabel.AREA_OFFSET)]
        for offset, length, _ in blockdev.spans(self.runs):
            found.append(('apply', offset, length))
        found.append(('final', lvmlabel.AREA_OFFSET, lvmlabel.round_up(lvmlabel.AREA_HEADER + len(self.final_text), lvmlabel.SECTOR)))
        found.append(('switch 2', 0, lvmlabel.AREA_OFFSET))
        found.append(('clear log', self.log_at + len(self.log_bytes) - redolog.HEAD_SIZE, redolog.HEAD_SIZE))
        return found


def padded(data):
    """bytes, zeros added up to a whole sector."""
    return data + octets('\0') * (-len(data) % lvmlabel.SECTOR)
