# SPDX-License-Identifier: LGPL-2.1-only
"""Brings one LUN to this host and takes it away again, leaving the host as it was.

sm counts the users of an iSCSI session by SR uuid; this goes through that count and never logs out of a session that was there
before. A small file per LUN says which uuid a run has put in; a run that finds the file of a dead one takes that uuid out first,
since otherwise nobody ever would.
"""

import os
import time

from relvm import errors
from relvm.host import bus
from relvm.host import devices
from relvm.host import locks
from relvm.host import looks
from relvm.host import lvmview
from relvm.host import smcompat
from relvm.host import steps
from relvm.host.early import EarlyWork
from relvm.host.guard import OriginalGuard

# Seconds for a LUN to appear on a session that is there already
RESCAN_TIMEOUT = 20
# Seconds for udev to list what the kernel has found, on a host that has much to do
UDEV_TIMEOUT = 60


class Access(object):
    """The LUN of one SR object while it is on this host.

    path         of its block device, once attached
    guard        guard.OriginalGuard, which protects the original while both are visible
    steps        steps.Steps, which the log gets
    was_visible  True when this host saw the LUN before the call; known once attached
    shared       True when other hosts of the pool may see it; known once attached
    ask          function (this object) that raises when the pool speaks against a resign; None for a look only
    rewrite      function (open Device, Progress) that gives it its new identity; None for a look only
    resigned     True once it has its new identity
    map          then an origins.Map: what became of what
    question     the lvmview.Question whether this host's LVM sees it, or None
    told         then [sentence] of what was left out
    """

    was_visible = shared = False

    def __init__(self, sr, sr_uuid):
        self.sr = sr
        self.sr_uuid = sr_uuid
        self.scsi_id = sr.SCSIid
        self.path = ''
        self.guard = None
        self.steps = steps.Steps(self)
        self.ask = None
        self.rewrite = None
        self.resigned = False
        self.map = None
        self.question = None
        self.told = []
        self._begin = 0
        self._attached = False
        self._lock = None
        self._session_was_there = False
        self._disks_before = []

    def _targets_iqn(self):
        return smcompat.as_text(self.sr.iscsi.targetIQN)
    _iqn = property(_targets_iqn)

    def attach(self):
        """Locks the LUN on this host, attaches it, makes sure that it is the right one and that nobody uses it.

        Where it can be, rewrite() is called on the way, and the LUN is resigned when this returns. Raises subclasses of errors.Refused, or
        what sm raises; errors.Unjudged when the LUN was resigned and the rest failed. Call detach() in any case.
        """
        self._begin = time.time()
        self.steps.step('attach')
        if not devices.is_scsi_id(self.scsi_id):
            raise errors.BadSCSIid(scsi_id=self.scsi_id)
        lock = locks.lun_lock(self.scsi_id)
        lock.acquire()
        self._lock = lock
        self._look_before()
        if self.ask is not None:
            # before the thread, which may write, and while the session of xapi is nobody else's
            self.ask(self)
        early = None
        if self.rewrite is not None and self._may_be_early():
            early = EarlyWork(self, self.rewrite)
        self.guard = OriginalGuard(self.scsi_id, early)
        self.guard.start()
        try:
            try:
                self._bring()
            finally:
                self.guard.settle()
                self.guard.note('attach returned')
                self._log(early)
                if early is not None and early.began and self.guard.error is not None:
                    raise self.guard.error
            self.path = self._find()
            devices.check_device(self.path, self.scsi_id, smcompat.scsiutil.getSCSIid)
        except Exception:
            if not self.resigned:
                raise
            what = smcompat.masked(smcompat.describe(errors.current()), smcompat.secrets(self.sr))
            raise errors.Unjudged(uuid=self.map.sr_uuid, what=what)

    def _look_before(self):
        """What is there already; refused when somebody may be using it. Writes down what this run is about to do."""
        left_over = self._forget_dead_run()
        found = devices.multipath_map(self.scsi_id)
        if found and not left_over and not self._flush_empty(found):
            raise errors.MapPresent(scsi_id=self.scsi_id, map=found)
        self._disks_before = devices.scsi_disks(self.scsi_id)
        if left_over:
            self._disks_before = []
        self.was_visible = bool(self._disks_before)
        self.shared = self._session_was_there
        locks.write_state(self.scsi_id, [self._iqn, self.sr_uuid, str(int(self._session_was_there))])

    def _may_be_early(self):
        return not smcompat.multipathing(self.sr) and not devices.scsi_disks(self.scsi_id)

    def _find(self):
        return self.sr.mpathmodule.path(self.scsi_id)

    def _log(self, early):
        if early is not None:
            for line in early.lines:
                smcompat.log(line)

    def ask_lvm(self, path):
        """This host's LVM is asked about the LUN at `path`; steps waits for the answer before anything is written."""
        if self.question is not None and self.question.path == path:
            return
        self._end_question()
        self.question = lvmview.Question(path)

    def _end_question(self):
        question, self.question = self.question, None
        if question is not None:
            question.end()

    def touch(self):
        """Shows other runs that wait for the locks of this one that its work goes on."""
        for holder in (self._lock, self.guard):
            if holder is not None:
                holder.touch()

    def _flush_empty(self, found):
        """True when the map had neither paths nor anything on it, and is gone now.

        With several targets sm looks for the LUN behind each of them while it reads the device config: it logs in and out again,
        and multipathd keeps the map that this made.
        """
        if devices.slaves(found) or devices.holders(found):
            return False
        try:
            self.sr.mpathmodule.reset(self.scsi_id, True)
        except Exception:
            smcompat.log('flushing the map of %s: %s' % (self.scsi_id, smcompat.describe(errors.current())))
        return not devices.multipath_map(self.scsi_id)

    def _forget_dead_run(self):
        """Takes back what a run that died on this LUN had left. True if there was one. We hold the lock, so it is dead."""
        smcompat.look_again_for_session(self.sr.iscsi)
        self._session_was_there = bool(self.sr.iscsi.attached)
        lines = locks.read_state(self.scsi_id)
        if len(lines) != 3:
            return False
        iqn, sr_uuid, session_was_there = lines
        smcompat.log('a run with SR uuid %s died on this LUN; its reference to %s is dropped' % (sr_uuid, iqn))
        smcompat.drop_reference(iqn, sr_uuid)
        if iqn == self._iqn and session_was_there == '0':
            self._session_was_there = False
        return True

    def _bring(self):
        iscsi = self.sr.iscsi
        if iscsi.attached and not devices.scsi_disks(self.scsi_id):
            # the array has presented the clone since the session was made
            iscsi.refresh()
            end = time.time() + RESCAN_TIMEOUT
            while not devices.scsi_disks(self.scsi_id) and time.time() < end:
                time.sleep(0.1)
        lock = locks.session_lock(self._iqn)
        lock.acquire()
        # from here on detach() has something to undo: attach counts us before it can fail
        self._attached = True
        try:
            try:
                self._attach_session(iscsi)
            except OSError:
                if smcompat.is_missing_lun(errors.current()):
                    raise errors.LUNMissing(scsi_id=self.scsi_id)
                raise
        finally:
            lock.release()
        self._wait_for_udev()
        smcompat.attach_lun(iscsi, self.scsi_id)

    def _attach_session(self, iscsi):
        """Raises what sm raises."""
        try:
            looks.repeated(smcompat.log, iscsi.attach, self.sr_uuid)
        except Exception:
            if not smcompat.says_missing_lun(errors.current()) or not self._wait_for_udev():
                raise
            # sm counts a user of the session once, however often he comes
            looks.repeated(smcompat.log, iscsi.attach, self.sr_uuid)

    def _wait_for_udev(self):
        """While the LUN is missing and the kernel has disks that udev has not listed yet, for which sm gives it five seconds. True when
        the LUN is there."""
        end = time.time() + UDEV_TIMEOUT
        told = False
        while not devices.scsi_disks(self.scsi_id) and time.time() < end:
            waiting = bus.unlisted()
            if not waiting:
                break
            if not told:
                smcompat.log('%s: udev has not listed %s yet' % (self.scsi_id, ', '.join(waiting)))
                told = True
            time.sleep(locks.LOOK)
        return bool(devices.scsi_disks(self.scsi_id))

    def detach(self):
        """Leaves the host as it was found. Never raises: what fails is logged, since the outcome for the LUN is known already."""
        self.steps.step('detach')
        todo = [self._release_guard, self._end_question]
        if self._attached:
            todo.append(self._leave)
            if not self.resigned:
                todo.append(self._remove_disks)
        if self._lock is not None:
            todo.append(self._remove_state)
            todo.append(self._lock.release)
        todo.append(self.steps.end)
        for step in todo:
            try:
                step()
            except Exception:
                smcompat.log('while detaching: %s' % smcompat.masked(smcompat.describe(errors.current()),
                                                                    smcompat.secrets(self.sr)))

    def _release_guard(self):
        if self.guard is not None:
            self.guard.release()
            smcompat.log('%s: %s' % (self.scsi_id, steps.times(self._begin, self.guard.times)))

    def _leave(self):
        lock = locks.session_lock(self._iqn)
        lock.acquire()
        try:
            try:
                iscsi = self.sr.iscsi
                if not devices.multipath_map(self.scsi_id):
                    smcompat.without_map(iscsi)
                if self._session_was_there:
                    iscsi.mpathmodule.reset(self.scsi_id, True)
                else:
                    iscsi.detach(self.sr_uuid)
            finally:
                # detach() does this as well, but only after it could remove the multipath map
                smcompat.drop_reference(self._iqn, self.sr_uuid)
        finally:
            lock.release()

    def _remove_disks(self):
        """A clone that was not resigned is not left visible: it endangers its original."""
        for disk in devices.scsi_disks(self.scsi_id):
            if disk not in self._disks_before and os.path.exists('%s/block/%s/device/delete' % (devices.SYS, disk)):
                devices.remove_disk(disk)

    def _remove_state(self):
        locks.remove_state(self.scsi_id)
