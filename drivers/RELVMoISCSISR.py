#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-only
"""relvmoiscsi: gives the SR on a cloned iSCSI LUN a new identity, so that it can be attached next to its original.

    xe sr-create type=relvmoiscsi name-label=... device-config:target=... device-config:targetIQN=... device-config:SCSIid=... \
       shared=true

ends in an error whose text is SUCCESS below: there is nothing to plug, since from now on the LUN carries an ordinary SR of
type lvmoiscsi. sr-probe with the same arguments shows what would be done and writes nothing.
"""

import time

from relvm import __version__
from relvm.engine import blockdev
from relvm import errors
from relvm.host import judges
from relvm.formats import lvm
from relvm import octets
from relvm.show import report
from relvm.engine import resign
from relvm.host import smcompat
from relvm.host.access import Attachment
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement

SUCCESS = 'The SR has been successfully resigned. Use the lvmoiscsi type to attach it'
TYPE = 'relvmoiscsi'

DRIVER_INFO = {
    # Apache CloudStack looks for "resigning of duplicates" in `xe sm-list`
    'name': 'LVHD over iSCSI with resigning of duplicates',
    'description': 'Gives the SR on a cloned iSCSI LUN a new identity; attach it as lvmoiscsi afterwards',
    'vendor': 'relvmoiscsi',
    'copyright': 'LGPL-2.1-only',
    'driver_version': __version__,
    'required_api_version': '1.0',
    'capabilities': ['SR_PROBE', 'SR_CREATE'],
    'configuration': [
        ['SCSIid', 'The SCSI id of the cloned LUN'],
        ['target', 'IP address or hostname of the iSCSI target'],
        ['targetIQN', 'The IQN of the target'],
        ['chapuser', 'The username to be used during CHAP authentication'],
        ['chappassword', 'The password to be used during CHAP authentication'],
        ['incoming_chapuser', 'The incoming username to be used during bi-directional CHAP authentication (optional)'],
        ['incoming_chappassword', 'The incoming password to be used during bi-directional CHAP authentication (optional)'],
        ['port', 'The network port number on which to query the target'],
        ['multihomed', 'Enable multi-homing to this target, true or false (optional, defaults to same value as '
                       'host.other_config:multipathing)'],
        ['resign', 'true; accepted for clarity, not required'],
        ['force', 'true: resign a LUN although its metadata says that it is an original and no copy'],
    ],
}


class RELVMoISCSISR(smcompat.BaseDriver):
    """The SR driver. Only sr_create (resign) and sr_probe (preview) do anything."""

    def handles(type):
        """True for the one type of this driver; the inherited one judges by the end of the script's name."""
        return type == TYPE
    handles = staticmethod(handles)

    def load(self, sr_uuid):
        """Reads the device config as lvmoiscsi does, which also answers the lists of IQNs and LUNs for an incomplete one."""
        if self.cmd in ('sr_create', 'sr_probe'):
            self._guarded(smcompat.BaseDriver.load, self, sr_uuid)
        else:
            self.ops_exclusive = []

    def create(self, sr_uuid, size):
        """Resigns the LUN. Always raises: SUCCESS, or the reason why not."""
        self._guarded(self._create, sr_uuid)
        raise smcompat.succeed(SUCCESS)

    def _create(self, sr_uuid):
        if self.dconf.get('SRmaster') != 'true':
            raise errors.NotMaster()
        self._refuse_used_lun()
        names = self._names()
        taken = smcompat.known_uuids(self.session)
        attachment = Attachment(self, sr_uuid)
        steps = Steps(attachment)
        try:
            steps.step('attach')
            attachment.attach()
            device = blockdev.Device(attachment.path)
            try:
                self._check_copy(device, attachment.guard)
                resign.resign(device, sr_uuid, names[0], names[1], taken, steps)
                attachment.resigned = True
            finally:
                device.close()
            steps.step('verify')
            judges.agree(self._reread(attachment.path), attachment.path)
            steps.step('detach')
        finally:
            attachment.detach()
            steps.end()

    def probe(self):
        """What create() would do, as XML; writes nothing."""
        return self._guarded(self._probe)

    def _probe(self):
        sr_uuid = smcompat.util.gen_uuid()
        data = report.empty(0)
        try:
            self._refuse_used_lun()
        except errors.Refused:
            # attaching it would disturb whoever uses it
            report.add_reason(data, errors.current())
            return report.as_xml(data)
        attachment = Attachment(self, sr_uuid)
        try:
            attachment.attach()
            device = blockdev.Device(attachment.path, False)
            try:
                data = report.preview(device, sr_uuid)
            finally:
                device.close()
        finally:
            attachment.detach()
        data['device'] = attachment.path
        if data['copied_from'] == self.SCSIid and not data['locked'] and not self._forced():
            report.add_reason(data, errors.Original(scsi_id=self.SCSIid))
        if smcompat.known_uuids(self.session).get(data['sr_uuid']) == 'SR':
            data['copy_of'] = data['sr_uuid']
        for line in report.as_text(data).split('\n'):
            smcompat.log('preview: %s' % errors.printable(octets.from_user(line)))
        return report.as_xml(data)

    def _refuse_used_lun(self):
        """No SR of this pool may use the LUN, on whichever host, attached or not."""
        used = smcompat.in_use_by(self.session, self.SCSIid, self.sr_ref)
        if used:
            raise errors.InUse(scsi_id=self.SCSIid, sr=used[0], how=used[1])

    def _check_copy(self, device, guard):
        """The LUN is a copy, not an original, and LVM leaves its original alone until it has its new identity."""
        placement = Placement(device)
        vg = lvm.VolumeGroup(placement.area.text)
        if placement.staged:
            return
        if lvm.copied_from(vg.pv_device) == self.SCSIid and not self._forced():
            raise errors.Original(scsi_id=self.SCSIid)
        guard.hold(vg.name)

    def _forced(self):
        return self.dconf.get('force') == 'true'

    def _names(self):
        """The name and description of the sr-create call, or None for what it did not give."""
        names = [self.session.xenapi.SR.get_name_label(self.sr_ref), self.session.xenapi.SR.get_name_description(self.sr_ref)]
        return [name and octets.from_user(name) or None for name in names]

    def _reread(self, path):
        device = blockdev.Device(path, False)
        try:
            return Lun(device, Placement(device))
        finally:
            device.close()

    def _guarded(self, function, *arguments):
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


class Steps(resign.Progress):
    """Logs each step with its duration, and lets LVM go on with the original once the LUN does not look like it any more."""

    def __init__(self, attachment):
        self._attachment = attachment
        self._name = ''
        self._since = time.time()

    def step(self, name):
        self.end()
        self._name = name
        self._since = time.time()

    def end(self):
        """The last step is over."""
        if self._name:
            smcompat.log('%s: %s took %.3f s' % (self._attachment.scsi_id, self._name, time.time() - self._since))
        self._name = ''

    def switched(self):
        self._attachment.guard.release()


if __name__ == '__main__':
    smcompat.SRCommand.run(RELVMoISCSISR, DRIVER_INFO)
else:
    smcompat.SR.registerSR(RELVMoISCSISR)
