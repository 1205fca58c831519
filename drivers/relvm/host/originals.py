# SPDX-License-Identifier: LGPL-2.1-only
"""Is the SR on a LUN an original, and no copy of one?

Two things tell. The path under which LVM last wrote the PV names the LUN: it is this one. Or an SR of this pool has the SR uuid that is on
the LUN, and nothing says that it is on another LUN: a PBD names its LUN by a path (SR type lvm), and where that path leads to, on another
host perhaps, is not known. What does say so: a SCSI id in the path, what the disk there answers, where that is this host's path, and
`devserial`, which sm notes in the SR's sm_config at each attach ("scsi-<id>", split by commas).
"""

import os

from relvm import errors
from relvm.engine.descriptor import CLOSE_ON_EXEC
from relvm.formats import lvmgroup
from relvm.host import devices
from relvm.host import inquiry

SERIAL = 'scsi-'


class Originals(object):
    """What the pool's records say, asked once; judges LUNs without xapi and without starting a process."""

    def __init__(self, session, scsi_id, host):
        """scsi_id: of the LUN that is to be resigned; host: the reference of this one."""
        self.scsi_id = scsi_id
        self._by_path = {}
        srs = session.xenapi.SR.get_all_records()
        for pbd in session.xenapi.PBD.get_all_records().values():
            sr = srs.get(pbd['SR'])
            if sr is None or sr['type'].startswith('relvmo') or pbd['device_config'].get('SCSIid'):
                continue
            serials = [word[len(SERIAL):] for word in sr['sm_config'].get('devserial', '').split(',') if word.startswith(SERIAL)]
            self._by_path.setdefault(sr['uuid'], []).append((pbd['device_config'].get('device', ''), pbd['host'] == host, serials))

    def check(self, vg):
        """Raises errors.Original unless the lvmgroup.VolumeGroup on the LUN is a copy, as far as anybody can tell."""
        if lvmgroup.copied_from(vg.pv_device) == self.scsi_id:
            raise errors.Original(how='was last used on this very LUN (%s)' % self.scsi_id)
        for names, here, serials in self._by_path.get(vg.sr_uuid, ()):
            if serials and '' not in serials and self.scsi_id not in serials:
                continue
            if self.scsi_id in serials or [name for name in names.split(',') if not self._is_elsewhere(name, here)]:
                how = 'is SR %s of this pool, which uses its LUN as %s, and that may be this one'
                raise errors.Original(how=how % (vg.sr_uuid, names or 'nothing that its records name'))

    def _is_elsewhere(self, device, here):
        """True when a device that a PBD names is positively another LUN."""
        named = lvmgroup.copied_from(device)
        if named or not here or not device:
            return named not in ('', self.scsi_id)
        try:
            fd = os.open(device.replace('/dev', devices.DEV, 1), os.O_RDONLY | os.O_NONBLOCK | CLOSE_ON_EXEC)
            try:
                found = inquiry.scsi_ids(inquiry.identification(fd))
            finally:
                os.close(fd)
        except EnvironmentError:
            return False
        return found != [] and self.scsi_id not in found
