#!/usr/bin/python
# SPDX-License-Identifier: LGPL-2.1-only
"""relvmoiscsi: gives the SR on a cloned iSCSI LUN a new identity, so that it can be attached next to its original.

    xe sr-create type=relvmoiscsi name-label=... device-config:target=... device-config:targetIQN=... device-config:SCSIid=... \
       shared=true

ends in an error whose text is SUCCESS below: there is nothing to plug, since from now on the LUN carries an ordinary SR of
type lvmoiscsi. sr-probe with the same arguments shows what would be done and writes nothing.
"""

from relvm import __version__
from relvm.host import smcompat
from relvm.host.access import Access
from relvm.host.driver import Resigner

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
        ['resign-as', 'The new SR uuid, one that no record of the pool has (default: that of sr-create)'],
        ['discover', 'true, for sr-probe: which LUN of this host carries which SR'],
        ['snapshots', 'keep: snapshots stay, and stay snapshots (default: drop)'],
        ['drop', 'uuids of VDIs, with commas between them, to leave behind with all that depends on them, whatever is wrong with them'],
        ['force', 'true: resign a LUN although its metadata says that it is an original and no copy'],
    ],
}


class RELVMoISCSISR(Resigner, smcompat.base_driver('ISCSI')):
    """The SR driver. Only sr_create (resign) and sr_probe (preview) do anything."""

    TYPE = TYPE
    TRANSPORT = 'iscsi'
    ACCESS = Access

    def handles(type):
        """True for the one type of this driver; the inherited one judges by the end of the script's name."""
        return type == TYPE
    handles = staticmethod(handles)

    def create(self, sr_uuid, size):
        """Resigns the LUN. Always raises: SUCCESS, or the reason why not."""
        self.guarded(self._create, sr_uuid)
        raise smcompat.succeed(SUCCESS)

    def _create(self, sr_uuid):
        lun = self.begin(sr_uuid)
        try:
            # the LUN comes to this host; where it is a copy beyond doubt, the next step is done while sm still waits for it to settle
            lun.attach()
            # plan, log, switch 1, apply, switch 2: LVM, MGT, and the VHD and QCOW2 images get their new identity
            self.resign(lun)
            # this host's LVM, sm's reader of MGT, vhd-util and qcow2_helper read the result and agree
            self.verify(lun)
        finally:
            lun.detach()


if __name__ == '__main__':
    smcompat.SRCommand.run(RELVMoISCSISR, DRIVER_INFO)
else:
    smcompat.SR.registerSR(RELVMoISCSISR)
