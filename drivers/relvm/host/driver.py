# SPDX-License-Identifier: LGPL-2.1-only
"""What the SR drivers of this product have in common, whichever way the LUN comes to the host.

A driver is a subclass of Resigner and of sm's own driver for its transport. Only sr_create (resign) and sr_probe (preview) do
anything; what they need of the transport is a class like access.Access.
"""

import os
import re

from relvm import errors
from relvm import identity
from relvm import octets
from relvm.engine import blockdev
from relvm.engine import leaving
from relvm.engine import resign
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.formats import lvmgroup
from relvm.host import discovery
from relvm.host import holders
from relvm.host import judges
from relvm.host import locks
from relvm.host import looks
from relvm.host import neighbours
from relvm.host import originals
from relvm.host import smcompat
from relvm.show import lunlist
from relvm.show import pack
from relvm.show import report

VISIBLE = ('the LUN was visible to this host before this call: present a clone to the pool master first, and to the other hosts after '
           'the resign')


class Resigner(object):
    """The half of a driver that knows resigning: the steps of its create(), and probe(). TYPE: the type of the driver; TRANSPORT: a key
    of lunlist.FORMS; ACCESS: how it reaches its LUN."""

    TYPE = ''
    TRANSPORT = ''
    ACCESS = None

    def load(self, sr_uuid):
        """Reads the device config as the plain type does, which also answers the lists of targets and LUNs for an incomplete one."""
        if self.cmd in ('sr_create', 'sr_probe') and not self._is_discovery():
            self.guarded(looks.repeated, smcompat.log, super(Resigner, self).load, sr_uuid)
        else:
            self.ops_exclusive = []

    def begin(self, sr_uuid):
        """The access to the LUN, with all asked that xapi has to say. Raises errors.Refused where that is enough to say no."""
        if self.dconf.get('SRmaster') != 'true':
            raise errors.NotMaster()
        self._refuse_used_lun()
        lun = self.ACCESS(self, sr_uuid)
        lun.ask = self._ask_pool
        lun.rewrite = self.rewriter(lun)
        return lun

    def rewriter(self, lun):
        """A function (open Device, Progress) that resigns `lun`. It needs nothing of xapi any more: that is asked here."""
        names = self._names()
        self._originals = originals.Originals(self.session, self.SCSIid, self.host_ref)
        taken = smcompat.known_uuids(self.session)
        sr_uuid = self._wanted_uuid(lun.sr_uuid)
        keep = self._keep_snapshots()
        drop = self._dropped()
        luns = smcompat.luns_of_srs(self.session)

        def rewrite(device, progress):
            self._check_original(Placement(device).group())
            _refuse_ahead(lun, device, luns)
            lun.ask_lvm(device.path)
            result = resign.resign(device, sr_uuid, names[0], names[1], taken, progress, self.SCSIid, keep, drop)
            lun.map = result.map
            lun.told = result.told()
            lun.resigned = True
        return rewrite

    def resign(self, lun):
        """plan, log, switch 1, apply, switch 2: LVM, MGT and the images of the attached LUN get their new identity, unless they have it
        since it was attached."""
        if lun.resigned:
            return
        device = blockdev.Device(lun.path)
        try:
            self._check_copy(device, lun.guard)
            lun.rewrite(device, lun.steps)
        finally:
            device.close()

    def verify(self, lun):
        """This host's LVM, vhd-util and sm read the result and agree, or the call fails."""
        smcompat.log('%s: SR %s was %s' % (self.SCSIid, lun.map.sr_uuid, lun.map.sr_from))
        for source, uuid in lun.map.vdis:
            smcompat.log('%s: VDI %s was %s' % (self.SCSIid, uuid, source))
        for line in lun.told:
            smcompat.log('%s: %s' % (self.SCSIid, line))
        lun.steps.step('verify')
        try:
            found = _read(lun.path)
            if found.vg.sr_uuid != lun.map.sr_uuid:
                raise errors.JudgeDisagrees(uuid=lun.map.sr_uuid, judge=lun.path, what='the SR there is %s' % found.vg.sr_uuid)
            judges.agree(found, lun.path)
        except errors.Refused:
            raise errors.Unjudged(uuid=lun.map.sr_uuid, what=errors.current().sentence())

    def probe(self):
        """What create() would do, as XML; with discover=true what is on which LUN. Writes nothing."""
        if self._is_discovery():
            return self.guarded(self._discover)
        return self.guarded(self._probe)

    def _is_discovery(self):
        return self.cmd == 'sr_probe' and self.dconf.get('discover') == 'true'

    def _discover(self):
        return lunlist.as_xml(self.TRANSPORT, discovery.Discovery(self, self.TRANSPORT).run())

    def _probe(self):
        data = report.empty(0)
        try:
            self._refuse_used_lun()
            sr_uuid = self._wanted_uuid(smcompat.util.gen_uuid())
            self._keep_snapshots()
            drop = self._dropped()
        except errors.Refused:
            # attaching it would disturb whoever uses it
            report.add_reason(data, errors.current())
            return report.as_xml(data)
        self._originals = originals.Originals(self.session, self.SCSIid, self.host_ref)
        lun = self.ACCESS(self, sr_uuid)
        try:
            lun.attach()
            device = blockdev.Device(lun.path, False)
            try:
                data = report.preview(device, sr_uuid, None, None, smcompat.known_uuids(self.session), self.SCSIid,
                                      self._keep_snapshots(), drop)
                self._add_original(data, device)
                self._add_foreign_images(data, device)
                self._add_the_pools_word(data, device, lun)
                if self.dconf.get('pack') == 'true':
                    data['pack'] = self._pack(device)
            finally:
                device.close()
        finally:
            lun.detach()
        data['device'] = lun.path
        if smcompat.known_uuids(self.session).get(data['sr_uuid']) == 'SR':
            data['copy_of'] = data['sr_uuid']
        for line in report.as_text(data).split('\n'):
            smcompat.log('preview: %s' % errors.printable(octets.from_user(line)))
        return report.as_xml(data)

    def _add_original(self, data, device):
        if data['locked'] or not data['vg']:
            return
        try:
            self._check_original(Placement(device).group())
        except errors.Original:
            report.add_reason(data, errors.current())
        except errors.Refused:
            # the preview has said so
            pass

    def _check_original(self, vg):
        """Raises errors.Original unless the VG is a copy, or the call says force=true. A locked LUN has no original any more."""
        if not vg.exported and not self._forced():
            self._originals.check(vg)

    def _pack(self, device):
        """Where the file of `relvm pack` is now, for the plugin."""
        path = os.path.join(locks.RUN_DIR, 'pack-%s-%s' % (re.sub('[^A-Za-z0-9]', '_', self.SCSIid), smcompat.util.gen_uuid()))
        pack.pack(device, path, self.dconf.get('names') == 'true')
        return path

    def _add_foreign_images(self, data, device):
        """Whatever else is said of the LUN, what is on it is shown."""
        try:
            names = ['%s-%s' % (vdi['type'].upper(), vdi['uuid']) for vdi in data['vdis'] if vdi['action'] == 'keep']
            if not data['possible']:
                names = [lv.name for lv in Placement(device).group().order]
            smcompat.refuse_images(names)
        except errors.Qcow2Host:
            report.add_reason(data, errors.current())
        except errors.Refused:
            # the preview has said so
            pass

    def _add_the_pools_word(self, data, device, lun):
        """What other LUNs of this host and the other hosts have to say."""
        if lun.was_visible:
            data['report'].append(VISIBLE)
        for check in (lambda: self._ask_pool(lun), lambda: _refuse_ahead(lun, device, smcompat.luns_of_srs(self.session))):
            try:
                check()
            except errors.HostSilent:
                report.add_reason(data, errors.current())
            except errors.HolderPresent:
                report.add_reason(data, errors.current())
            except errors.AheadOfOriginal:
                report.add_reason(data, errors.current())
            except errors.Refused:
                # the preview has said so
                pass

    def _ask_pool(self, lun):
        """Where other hosts may see the LUN, none of them may use it: an older LVM maps volumes of the original onto it."""
        if lun.was_visible:
            smcompat.log('%s: %s' % (lun.scsi_id, VISIBLE))
        if lun.was_visible or lun.shared:
            holders.refuse_used(self.session, self.host_ref, lun.scsi_id, self._forced(), smcompat.log)

    def _refuse_used_lun(self):
        """No SR of this pool may use the LUN, on whichever host, attached or not."""
        used = smcompat.in_use_by(self.session, self.SCSIid, self.sr_ref or self._introduced())
        if used:
            raise errors.InUse(scsi_id=self.SCSIid, sr=used[0], how=used[1])

    def _keep_snapshots(self):
        value = self.dconf.get('snapshots', 'drop')
        if value not in ('keep', 'drop'):
            raise errors.BadSnapshots(value=value)
        return value == 'keep'

    def _dropped(self):
        return leaving.parse(self.dconf.get('drop', ''))

    def _wanted_uuid(self, otherwise):
        """The new SR uuid: that of the device config, which nothing of the pool may have, or `otherwise`."""
        uuid = self.dconf.get('resign-as', '')
        if not uuid:
            return otherwise
        if not identity.is_uuid(uuid):
            raise errors.BadResignAs(uuid=uuid, what='that is no UUID in lower case')
        known = smcompat.known_uuids(self.session)
        if uuid in known:
            raise errors.BadResignAs(uuid=uuid, what='%s of this pool has it' % {'SR': 'an SR', 'VDI': 'a VDI'}[known[uuid]])
        return uuid

    def _check_copy(self, device, guard):
        """The LUN is a copy, not an original, and LVM leaves its original alone until it has its new identity."""
        placement = Placement(device)
        vg = placement.group()
        if not placement.staged:
            self._check_original(vg)
            guard.hold(vg.name)

    def _introduced(self):
        """For a look only: the reference of the SR that the pool has for this LUN, and that no host has plugged, if the call names it."""
        try:
            sr = self.session.xenapi.SR.get_by_uuid(self.dconf['introduced'])
            plugged = [pbd for pbd in self.session.xenapi.PBD.get_all_records().values() if pbd['SR'] == sr and pbd['currently_attached']]
        except Exception:
            return None
        if plugged:
            return None
        return sr

    def _forced(self):
        return self.dconf.get('force') == 'true'

    def _names(self):
        """The name and description of the sr-create call, or None for what it did not give."""
        names = [self.session.xenapi.SR.get_name_label(self.sr_ref), self.session.xenapi.SR.get_name_description(self.sr_ref)]
        return [name and octets.from_user(name) or None for name in names]

    def guarded(self, function, *arguments):
        """Calls it; whatever it raises becomes a numbered sm fault that keeps its text and holds no secret."""
        try:
            return function(*arguments)
        except Exception:
            error = errors.current()
        if isinstance(error, SystemExit):
            # up to Python 2.4 it is an Exception
            raise error
        smcompat.log('%s: %s' % (self.cmd, smcompat.masked(smcompat.describe(error), smcompat.secrets(self))))
        raise smcompat.fault(error, smcompat.secrets(self))

    def _unimplemented(self, *arguments):
        raise smcompat.xs_errors.XenError('Unimplemented')

    delete = attach = detach = scan = update = vdi = replay = content_type = check_sr = _unimplemented
    attach_from_config = generate_config = _unimplemented

    def after_master_attach(self, uuid):
        """Nothing was attached, so there is nothing to scan."""

    def cleanup(self):
        """Nothing was activated."""


def _refuse_ahead(lun, device, luns):
    """The text of a clone that others may have seen is not newer than its original's. luns: as smcompat.luns_of_srs() answers."""
    if lun.was_visible or lun.shared:
        placement = Placement(device)
        if not placement.staged:
            vg = placement.group()
            neighbours.refuse_ahead(lun.scsi_id, vg.name, vg.seqno, luns.get(vg.sr_uuid, []) + [lvmgroup.copied_from(vg.pv_device)])


def _read(path):
    device = blockdev.Device(path, False)
    try:
        return Lun(device, Placement(device))
    finally:
        device.close()
