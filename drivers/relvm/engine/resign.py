# SPDX-License-Identifier: LGPL-2.1-only
"""Gives the SR on a LUN a new identity.

    old, untouched  --switch 1-->  locked (new identity, VG exported)  --switch 2-->  new

    plan        read everything, compute every change; what is impossible is refused here, and so is a result that would not pass
                the check behind switch 1
    log, stage  the changes into the tail of MGT, the new LVM metadata into a gap of the ring; flush. Nobody reads either yet.
    switch 1    one write of the label: PV, VG and LVs are new, and locked, since an exported VG is used by nobody; flush
    apply       the logged changes to MGT and the VHD headers; flush; read everything back and check it
    final       the LVM metadata to its standard place, not exported; flush
    switch 2    one write of the label; flush
    clear log   its head now says that it is over; its history stays (formats.redolog)

The label alone says where a run that was killed has come to. On its standard area: nothing happened that anybody reads, so a
new plan is made and whatever log is found is dead. On the staged area of a log that belongs to it: the logged changes are applied
again, which is harmless, and the run goes on from there; then, unless it was this very LUN and the SR uuid of this call, the SR is
resigned once more, so that success always means that the LUN has the SR uuid of this call, and two clones of a half-done LUN never
end as twins. Anything else is refused. The logged changes say which VDIs were left behind: a call that finishes what another one
began on this LUN leaves behind those, whichever it names itself.

A LUN that has the SR uuid of this call already, from a resign after which nobody used it, is a success without a write.
"""

import gc
import sys

from relvm.engine import blockdev
from relvm.engine import foreign
from relvm import errors
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import redolog
from relvm.engine import origins
from relvm.engine import rehearsal
from relvm.engine import verify
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.octets import octets
from relvm.engine.plan import Plan
from relvm.engine.plan import padded


class Progress(object):
    """What a caller wants to know while a run goes on. This one wants nothing."""

    def step(self, name):
        """A step begins. Names are those of the module's docstring."""

    def planned(self, names):
        """What will stay is known, and nothing is written yet. names: of its LVs, as they are now. May raise errors.Refused."""

    def switched(self):
        """The LUN does not look like its original any more: switch 1 is on the medium, or was before this run."""


class Done(object):
    """Stands for a Plan where there is nothing to do: the lun has this SR uuid already, from a resign after which nobody used it."""

    def __init__(self, lun, mapped):
        self.lun = lun
        self.map = mapped


class Result(object):
    """plan (of the last resign; None when the LUN had the SR uuid of the call), recovered (an interrupted run was finished first),
    map (origins.Map)
    """

    def __init__(self, plan, recovered, mapped):
        self.plan = plan
        self.recovered = recovered
        self.map = mapped

    def told(self):
        """[sentence] of every VDI and every LV that was left out."""
        if self.plan is None:
            return []
        return ['VDI %s dropped: %s' % (vdi.uuid, why) for vdi, why in self.plan.dropped] + \
            ['LV %s dropped: %s' % (name, why) for name, why in self.plan.removed]


def resign(device, sr_uuid, name_label=None, name_description=None, taken=(), progress=None, scsi_id='',
           keep_snapshots=False, drop=()):
    """The whole job on an open blockdev.Device. Returns a Result; the LUN then has the SR uuid `sr_uuid`.

    Names: UTF-8 as native str, None keeps what MGT says. taken: uuids that must not be chosen. scsi_id: of the LUN, '' when not known.
    keep_snapshots: they are not dropped. drop: uuids of VDIs to leave behind (engine.leaving).
    Raises errors.Refused (nothing changed that anybody reads) or errors.Interrupted (repeat the call to finish).
    """
    return _uncollected(_resign, device, sr_uuid, (name_label, name_description), taken, progress or Progress(), scsi_id, keep_snapshots,
                        drop)


def _uncollected(function, *arguments):
    """Calls it without Python's search for cycles: the thousands of objects of a run stay until it ends, and it would look through
    them over and over."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return function(*arguments)
    finally:
        if collecting:
            gc.enable()


def _resign(device, sr_uuid, names, taken, progress, scsi_id, keep_snapshots, drop):
    progress.step('plan')
    # What a killed run wrote can be read before it is on the medium, and a power loss now could still undo it: the label, for one,
    # but not what this run writes because of it
    device.flush()
    foreign.check(device)
    once = rehearsal.Once(device)
    placement = Placement(once)
    same_lun = True
    recovered = ''
    if placement.staged:
        same_lun = find_log(device, placement).made_on(scsi_id)
        recovered = recover(device, progress, scsi_id)
        once = rehearsal.Once(device)
    try:
        if recovered:
            placement = Placement(once)
        lun, found = _read(once, placement, scsi_id, drop, bool(recovered), bool(recovered) and same_lun)
        if same_lun:
            done = _already(lun, found, sr_uuid, scsi_id)
            if done is not None:
                progress.planned([vdi.lv.name for vdi in lun.order])
                progress.switched()
                return Result(None, bool(recovered), done.map)
        plan = Plan(lun, sr_uuid, names[0], names[1], taken, bool(recovered), found, scsi_id, keep_snapshots)
        execute(device, plan, rehearsal.rehearse(once, plan), progress)
    except errors.Refused:
        if not recovered:
            raise
        raise errors.RecoveredOnly(sr_uuid=recovered, what=sys.exc_info()[1].sentence())
    return Result(plan, bool(recovered), plan.map)


def _read(once, placement, scsi_id, drop, recovered, decided):
    """The Lun without VDIs that are left behind, and its origins.Origins.

    recovered: an interrupted run on it has just been finished. decided: that run was one on this very LUN, so that its log has said what
    is left behind, and `drop` says nothing any more.
    """
    lun = Lun(once, placement, drop)
    found = origins.read(lun, scsi_id, recovered)
    if not drop or not (decided or found.unmarked and found.scsi_id == scsi_id):
        return lun, found
    staying = [vdi.uuid for vdi in lun.order if vdi.uuid in lun.leaving]
    lun = Lun(once, placement)
    if staying:
        lun.report.append('the resign that was interrupted has not left behind %s; it was finished as it had begun, and they stay' %
                          ', '.join(staying))
    return lun, found


def _already(lun, found, sr_uuid, scsi_id):
    """The Done of a LUN that a resign has given this very SR uuid, and that nobody has used since; None for any other."""
    if lun.vg.sr_uuid != sr_uuid or found.scsi_id != scsi_id:
        return None
    named = [vdi for vdi in lun.order if vdi.left_behind] + [uuid for uuid in lun.leaving.missing if uuid not in found.sources]
    if named or verify.problems(lun):
        return None
    return Done(lun, origins.Map(found.sr, sr_uuid, [(found.of(vdi.uuid), vdi.uuid) for vdi in lun.order]))


def preview(device, sr_uuid, name_label=None, name_description=None, taken=(), scsi_id='', keep_snapshots=False, drop=()):
    """The Plan that resign() would carry out, or a Done, and whether it would finish an interrupted run first. Writes nothing."""
    return _uncollected(_preview, device, sr_uuid, (name_label, name_description), taken, scsi_id, keep_snapshots, drop)


def _preview(device, sr_uuid, names, taken, scsi_id, keep_snapshots, drop):
    foreign.check(device)
    view = rehearsal.Once(device)
    placement = Placement(view)
    same_lun = True
    if placement.staged:
        log = find_log(view, placement)
        same_lun = log.made_on(scsi_id)
        view = _finished(view, placement, log, scsi_id)
    now = placement
    if placement.staged:
        now = Placement(view)
    lun, found = _read(view, now, scsi_id, drop, placement.staged, placement.staged and same_lun)
    done = None
    if same_lun:
        done = _already(lun, found, sr_uuid, scsi_id)
    if done is not None:
        return done, placement.staged
    plan = Plan(lun, sr_uuid, names[0], names[1], taken, placement.staged, found, scsi_id, keep_snapshots)
    rehearsal.rehearse(view, plan)
    return plan, placement.staged


def _finished(once, placement, log, scsi_id):
    """The LUN as recover() would leave it, to be read."""
    locked = Lun(rehearsal.Rehearsal(once, log.runs), placement)
    final = lvmgroup.unlocked(locked.vg)
    label = placement.label
    head = locked.vg.runs(locked.mgt_lv, locked.vg.lv_size(locked.mgt_lv) - redolog.HEAD_SIZE, redolog.HEAD_SIZE)[0][0]
    pieces = [(lvmlabel.AREA_OFFSET, lvmlabel.render_area(lvmlabel.AREA_OFFSET, log.area_size, final)),
              (label.sector * lvmlabel.SECTOR, label.switched(log.pv_uuid, (lvmlabel.AREA_OFFSET, log.area_size))),
              (head, _over(log, scsi_id, locked, final))]
    return rehearsal.Rehearsal(once, log.runs + pieces)


def _over(log, scsi_id, locked, final):
    return log.over(scsi_id, origins.marks(lvmlabel.crc(octets(final)), locked.mgt.raw))


def execute(device, plan, rehearsed, progress):
    """log, stage, switch 1 and the rest, for a plan that was just made and rehearsed."""
    label, area = plan.lun.label, plan.lun.area
    progress.planned([vdi.lv.name for vdi in plan.kept])
    progress.step('log')
    device.step = 'writing the log'
    device.write(plan.log_at, plan.log_bytes)
    device.write(plan.staged[0], padded(plan.staged_bytes))
    device.flush()

    progress.step('switch 1')
    now = Placement(device)
    if not now.label.same_place(label) or now.area.header != area.header or now.area.text != area.text:
        raise errors.Changing(what='the LVM metadata changed while the log was written')
    _expect(device, plan.log_at, plan.log_bytes, errors.Changing)
    _expect(device, plan.staged[0], plan.staged_bytes, errors.Changing)
    _switch(device, now, plan.pv_uuid, plan.staged, 'switch 1')
    progress.switched()
    _complete(device, plan.log, progress, plan.scsi_id, plan, rehearsed)


def recover(device, progress, scsi_id=''):
    """Finishes an interrupted run, if there is one. Returns the SR uuid that the LUN has then, '' if there was none."""
    placement = Placement(device)
    if not placement.staged:
        return ''
    log = find_log(device, placement)
    progress.planned([lv.name for lv in placement.group().order])
    progress.switched()
    _complete(device, log, progress, scsi_id)
    return placement.group().sr_uuid


def find_log(device, placement):
    """The log that the label of a locked LUN says is in force. Raises errors.UnknownTool when there is none."""
    offset = placement.label.area[0]
    vg = placement.group()
    if not vg.exported:
        raise errors.UnknownTool(offset=offset, what='the VG there is not locked')
    lv = vg.lvs.get(mgt.LV_NAME)
    if lv is None or len(lv.segments) != 1:
        raise errors.UnknownTool(offset=offset, what='there is no metadata volume (MGT) that could hold a log')

    def read(start, length):
        return device.read(vg.runs(lv, start, length)[0][0], length)

    log = redolog.load(read, vg.lv_size(lv), device.size)
    if log is None:
        raise errors.UnknownTool(offset=offset, what='the log of the resign that did this is missing or damaged')
    if not redolog.in_force(log, placement):
        raise errors.UnknownTool(offset=offset, what='the log on the LUN belongs to another resign')
    if redolog.strays(log, vg, lv):
        raise errors.UnknownTool(offset=offset, what='the log on the LUN would change more than volumes')
    return log


def _complete(device, log, progress, scsi_id, plan=None, rehearsed=None):
    """From the locked state to the new one. Everything here may be repeated. plan, rehearsed: None when another run made them."""
    try:
        progress.step('apply')
        device.step = 'applying the log'
        blockdev.patch(device, blockdev.spans(log.runs))
        device.flush()
        locked = _check(device, log, plan, rehearsed)

        progress.step('final')
        device.step = 'writing the final metadata'
        text = lvmgroup.unlocked(locked.vg)
        final = lvmlabel.render_area(lvmlabel.AREA_OFFSET, log.area_size, text)
        device.write(lvmlabel.AREA_OFFSET, padded(final))
        device.flush()

        progress.step('switch 2')
        _expect(device, lvmlabel.AREA_OFFSET, final, errors.ChangedWhileLocked)
        now = _locked(device, log, 'switch 2')
        _switch(device, now, log.pv_uuid, (lvmlabel.AREA_OFFSET, log.area_size), 'switch 2')

        progress.step('clear log')
        device.step = 'clearing the log'
        size = locked.vg.lv_size(locked.mgt_lv)
        device.write(locked.vg.runs(locked.mgt_lv, size - redolog.HEAD_SIZE, redolog.HEAD_SIZE)[0][0],
                     _over(log, scsi_id, locked, text))
    except errors.ReadFailed:
        _read_failed(device)
    except errors.Refused:
        # nothing is refused any more at this point: the LUN is locked
        raise errors.CheckFailed(what=sys.exc_info()[1].sentence())


def _check(device, log, plan, rehearsed):
    """The lun.Lun in its locked state, read back from the medium. Raises errors.Refused when it is not sound or not as planned."""
    if rehearsed is not None and rehearsed.is_on(device):
        return rehearsed.lun
    locked = Lun(device, _locked(device, log, 'check'))
    found = verify.problems(locked, True)
    if plan is not None:
        found = found + verify.deviations(locked, plan)
    if found:
        raise errors.CheckFailed(what='; '.join(found[:5]))
    return locked


def _read_failed(device):
    """Raises what the errors.ReadFailed that is being handled means once the label was written."""
    raise errors.ReadBackFailed(step=device.step, **sys.exc_info()[1].fields)


def _locked(device, log, step):
    """The Placement of a LUN that must be in the locked state of `log`."""
    now = Placement(device)
    if not redolog.in_force(log, now):
        raise errors.ChangedWhileLocked(step=step, what='the label or the staged metadata changed')
    return now


def _switch(device, placement, pv_uuid, area, step):
    """One write of the first 4 KiB in which only the label's sector changes; flush; read back."""
    device.step = step
    sector = placement.label.switched(pv_uuid, area)
    start = placement.label.sector * lvmlabel.SECTOR
    device.write(0, placement.head[:start] + sector + placement.head[start + lvmlabel.SECTOR:])
    device.flush()
    try:
        found = lvmlabel.find_label(device.read(0, lvmlabel.AREA_OFFSET))
    except errors.ReadFailed:
        _read_failed(device)
    except errors.Refused:
        raise errors.ChangedWhileLocked(step=step, what=sys.exc_info()[1].sentence())
    if found.pv_uuid != pv_uuid or found.area != area:
        raise errors.ChangedWhileLocked(step=step, what='the label that was written does not read back')


def _expect(device, offset, data, error):
    if device.read_any(offset, len(data)) != data:
        raise error(step=device.step, what='what was written at offset %d does not read back' % offset)
