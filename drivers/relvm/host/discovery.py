# SPDX-License-Identifier: LGPL-2.1-only
"""Which LUNs of this host carry which SR, of which SR of the pool they are copies, and whether they can be resigned.

Of each LUN the label, the metadata area and the head of MGT are read, nothing else, and nothing is written. What the preview would read
besides may still speak against a resign.

With a target (device config login=true) its other LUNs are shown to this host for that time, and taken away again: where there was no
session with it, by a login and logout through sm; where there was one, by a scan that only adds, and what came up and nobody uses goes.
For all that time twins.TwinGuard keeps LVM off the originals of copies among them.

One such look at a time. A small file says what it is about; the next one takes back what one that died had left.
"""

import copy
import os
import time

from relvm import errors
from relvm import octets
from relvm.engine import blockdev
from relvm.engine.lun import Placement
from relvm.formats import lvmgroup
from relvm.formats import mgt
from relvm.host import bus
from relvm.host import devices
from relvm.host import locks
from relvm.host import looks
from relvm.host import neighbours
from relvm.host import originals
from relvm.host import smcompat
from relvm.host import twins

# Seconds that a target's LUNs are shown at most, and that are waited for udev and kernel
TIMEOUT = 60
UDEV_TIMEOUT = 20
STATE = 'discover'
# Device config that is not for sm's session
OWN_KEYS = ('SCSIid', 'discover', 'login')


class Target(object):
    """A target whose LUNs this host is to see for a while. sr: the SR object of the call; before: {SCSI id: disks} of what is there."""

    def __init__(self, sr, before):
        self._sr = sr
        self._before = before
        self._iqn = sr.dconf.get('targetIQN', '')
        self._uuid = smcompat.util.gen_uuid()
        self._iscsi = None
        self._attached = False
        for key in ('target', 'targetIQN'):
            if ',' in sr.dconf.get(key, '') or sr.dconf.get(key) == '*':
                raise errors.OneTarget(target=sr.dconf[key])

    def show(self):
        """Its LUNs are there when this returns, as far as udev has listed them. Raises what sm raises."""
        command = copy.deepcopy(self._sr.original_srcmd)
        for key in OWN_KEYS:
            command.dconf.pop(key, None)
        # also says which IQNs there are, when none is named
        self._iscsi = smcompat.iscsi_session(command, self._uuid)
        self._sr.iscsiSRs = [self._iscsi]
        lock = locks.session_lock(self._iqn)
        lock.acquire()
        try:
            ours = self._forget_dead_run()
            known = bus.scsi_devices()
            if ours or not bus.hosts_of_session(self._iqn):
                locks.write_state(STATE, [self._iqn, self._uuid])
                # sm counts us before it can fail
                self._attached = True
                looks.repeated(smcompat.log, self._iscsi.attach, self._uuid)
        finally:
            lock.release()
        hosts = bus.hosts_of_session(self._iqn)
        bus.ask(hosts, smcompat.log)
        _settle(hosts, known)

    def _forget_dead_run(self):
        """Takes a look that died out of sm's references. True when the session was its own, and nobody else has come to use it."""
        lines = locks.read_state(STATE)
        if len(lines) != 2:
            return False
        smcompat.log('a look at the target %s died; its reference is dropped' % lines[0])
        left = smcompat.drop_reference(lines[0], lines[1])
        locks.remove_state(STATE)
        return left == 0 and lines[0] == self._iqn

    def hide(self):
        """This host is as it was. Never raises: what fails is logged."""
        for step in (self._remove_maps, self._leave, self._remove_disks):
            try:
                step()
            except Exception:
                smcompat.log('after a look at %s: %s' % (self._iqn, smcompat.masked(smcompat.describe(errors.current()),
                                                                                  smcompat.secrets(self._sr))))

    def _came_up(self):
        return [scsi_id for scsi_id in devices.scsi_ids() if scsi_id not in self._before]

    def _remove_maps(self):
        for scsi_id in self._came_up():
            found = devices.multipath_map(scsi_id)
            if found and not devices.holders(found) and not self._in_use(scsi_id):
                smcompat.flush_map(devices.map_name(found), scsi_id)

    def _leave(self):
        if not self._attached:
            return
        lock = locks.session_lock(self._iqn)
        lock.acquire()
        try:
            try:
                self._iscsi.detach(self._uuid)
            finally:
                smcompat.drop_reference(self._iqn, self._uuid)
                locks.remove_state(STATE)
        finally:
            lock.release()

    def _remove_disks(self):
        removed = []
        for scsi_id in self._came_up():
            lock = locks.lun_lock(scsi_id)
            # a resign that has begun meanwhile has it
            if not lock.try_acquire():
                continue
            try:
                if not devices.users(scsi_id) and not devices.multipath_map(scsi_id) and not self._in_use(scsi_id):
                    for disk in devices.scsi_disks(scsi_id):
                        removed.append(disk)
                        devices.remove_disk(disk)
                else:
                    smcompat.log('the LUN %s, which came up with a look at %s, is in use and stays' % (scsi_id, self._iqn))
            finally:
                lock.release()
        end = time.time() + UDEV_TIMEOUT
        while [disk for disk in removed if os.path.exists('%s/block/%s' % (devices.SYS, disk))] and time.time() < end:
            time.sleep(locks.LOOK)

    def _in_use(self, scsi_id):
        """The pool has begun to use a LUN since it came up."""
        return smcompat.in_use_by(self._sr.session, scsi_id, None) is not None


def _settle(hosts, known):
    """Waits until udev lists every disk behind the SCSI hosts; and a little for one that is none of the disks `known`."""
    begin = time.time()
    while time.time() < begin + UDEV_TIMEOUT:
        news = [disk for disk in bus.scsi_devices() if disk not in known] or time.time() > begin + bus.NOTHING_NEW
        # one that the kernel has not named yet may be behind any of them
        if news and not [disk for disk in bus.unlisted() if bus.host_of(disk) in ('', ) + tuple(hosts)]:
            return
        time.sleep(locks.LOOK)


class Discovery(object):
    """One look. sr: the SR object of the call, not loaded by sm; transport: 'iscsi' or 'hba'."""

    def __init__(self, sr, transport):
        self._sr = sr
        self._transport = transport
        # all that xapi has to say, before anything is shown
        session = sr.session
        self._originals = originals.Originals(session, '', sr.host_ref)
        self._luns_of_srs = smcompat.luns_of_srs(session)
        self._known = smcompat.known_uuids(session)
        self._records = session.xenapi.SR.get_all_records(), session.xenapi.PBD.get_all_records()
        self._seen = []

    def run(self):
        """[{field: value}] of each LUN, as show.lunlist takes them. Raises what the login raises."""
        before = neighbours.luns()
        self._seen = [neighbours.Look(scsi_id, disks) for scsi_id, disks in before.items()]
        if self._sr.dconf.get('login') != 'true' or self._transport != 'iscsi':
            return self._all(before, before, None)
        lock = locks.discover_lock()
        lock.acquire()
        try:
            return self._all_of_target(before)
        finally:
            lock.release()

    def _all_of_target(self, before):
        target = Target(self._sr, before)
        guard = twins.TwinGuard(self._seen)
        guard.start()
        try:
            try:
                end = time.time() + TIMEOUT
                target.show()
                return self._all(neighbours.luns(), before, end)
            finally:
                target.hide()
        finally:
            guard.release()
            if guard.error is not None:
                smcompat.log('LVM was not kept off the originals: %s' % guard.error)

    def _all(self, luns, before, end):
        """end: seconds since the epoch when no further LUN is looked at; None for never."""
        found = []
        for scsi_id, disks in sorted(luns.items()):
            if bus.over_iscsi(disks[0]) == (self._transport == 'iscsi'):
                lun = self._described(scsi_id, disks, scsi_id in before)
                if end is not None and time.time() > end:
                    _refuse(lun, errors.NotLookedAt(scsi_id=scsi_id, seconds=TIMEOUT))
                else:
                    self._judge(lun, scsi_id, disks)
                found.append(lun)
        return found

    def _described(self, scsi_id, disks, visible):
        path = '%s/%s' % (devices.DEV, disks[0])
        return {'SCSIid': scsi_id, 'path': path, 'numpaths': str(len(disks)), 'hba': bus.driver_of(disks[0]),
                'LUNid': os.path.basename(os.path.realpath('%s/block/%s/device' % (devices.SYS, disks[0]))).split(':')[-1],
                'vendor': _told(smcompat.scsiutil.getmanufacturer, path), 'serial': _told(smcompat.scsiutil.getserial, path),
                'size': _told(smcompat.scsiutil.getsize, path), 'visible': visible, 'possible': True, 'locked': False, 'reasons': [],
                'sr_uuid': '', 'sr_name': '', 'copy_of': '', 'copied_from': '', 'used_by': ''}

    def _judge(self, lun, scsi_id, disks):
        """Fills in what is on the LUN and what speaks against a resign."""
        used = smcompat.used_in(self._records[0], self._records[1], scsi_id, None)
        if used:
            lun['used_by'] = used[0]
            _refuse(lun, errors.InUse(scsi_id=scsi_id, sr=used[0], how=used[1]))
        try:
            device = blockdev.Device(_best_path(scsi_id, disks), False)
            try:
                self._read(lun, device)
            finally:
                device.close()
        except errors.Refused:
            _refuse(lun, errors.current())

    def _read(self, lun, device):
        placement = Placement(device)
        vg = placement.group()
        lun['sr_uuid'] = vg.sr_uuid
        lun['copied_from'] = errors.printable(lvmgroup.copied_from(vg.pv_device))
        lun['locked'] = placement.staged
        if self._known.get(vg.sr_uuid) == 'SR' and lun['used_by'] != vg.sr_uuid:
            lun['copy_of'] = vg.sr_uuid
        if not placement.staged:
            self._check(lun, vg)
        smcompat.refuse_images([lv.name for lv in vg.order])
        lv = vg.lvs.get(mgt.LV_NAME)
        if lv is None:
            raise errors.NoMGT()

        def read(offset, length):
            return octets.octets('').join([device.read(*place) for place in vg.runs(lv, offset, length)])
        head = mgt.Metadata(read, vg.lv_size(lv), True)
        lun['sr_name'] = octets.for_user(mgt.unescaped(head.name_label))

    def _check(self, lun, vg):
        if vg.exported:
            _refuse(lun, errors.Exported(vg=vg.name))
        if lun['used_by']:
            return
        try:
            self._originals.scsi_id = lun['SCSIid']
            self._originals.check(vg)
            if lun['visible']:
                named = self._luns_of_srs.get(vg.sr_uuid, []) + [lvmgroup.copied_from(vg.pv_device)]
                neighbours.refuse_ahead(lun['SCSIid'], vg.name, vg.seqno, named, self._seen)
        except errors.Refused:
            _refuse(lun, errors.current())


def _best_path(scsi_id, disks):
    """The map's, which knows which of its paths can be read; otherwise the first disk's."""
    return '%s/%s' % (devices.DEV, devices.multipath_map(scsi_id) or disks[0])


def _refuse(lun, error):
    lun['possible'] = False
    lun['reasons'].append({'code': error.code(), 'sentence': str(error)})


def _told(function, path):
    """What one of sm's functions says about a disk, as text; '' where it fails."""
    try:
        return errors.printable(function(path))
    except Exception:
        return ''
