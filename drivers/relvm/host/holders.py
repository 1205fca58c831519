# SPDX-License-Identifier: LGPL-2.1-only
"""Whether anything sits on a LUN, on this host and on every other one of the pool.

A clone that a host sees under its original's identity can be used there without anybody wanting it: an older LVM maps volumes of the
original onto it. No lock of this host reaches there, so the hosts are asked, each through its own plugin (fn=holders):

    {"SCSIid": ..., "holders": [NAME, ...], "visible": true or false}
"""

import errno
import os
import re

from relvm import errors
from relvm.host import devices

PLUGIN = 'relvmoiscsi'
_ANSWER = re.compile(r'\{\s*"SCSIid":\s*"([^"]*)",\s*"holders":\s*\[([^]]*)\],\s*"visible":\s*(?:true|false)\s*\}\s*\Z')


def on_this_host(scsi_id):
    """The answer of this host, for JSON. Raises errors.BadSCSIid."""
    if not devices.is_scsi_id(scsi_id):
        raise errors.BadSCSIid(scsi_id=scsi_id)
    found = devices.users(scsi_id)
    mapped = devices.multipath_map(scsi_id)
    if mapped and devices.slaves(mapped) and not found and _held('%s/%s' % (devices.DEV, mapped)):
        found = ['a program or file system on ' + mapped]
    return {'SCSIid': scsi_id, 'visible': bool(mapped or devices.scsi_disks(scsi_id)), 'holders': found}


def _held(path):
    """True when somebody has a device for himself. Only for maps: of a disk this would keep multipathd from making one."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError:
        return errors.current().errno == errno.EBUSY
    return False


def refuse_used(session, own_host, scsi_id, forced, log):
    """Asks every other live host of the pool.

    session: of XenAPI; own_host: its reference, which is not asked; forced: a host that does not answer is only logged; log: function
    (sentence). Raises errors.HolderPresent, HostSilent.
    """
    for host, record in sorted(session.xenapi.host.get_all_records().items()):
        if host == own_host or not is_live(session, record):
            continue
        try:
            names = _names(session.xenapi.host.call_plugin(host, PLUGIN, 'holders', {'SCSIid': scsi_id}), scsi_id)
        except Exception:
            silent = errors.HostSilent(host=record['name_label'], scsi_id=scsi_id, cause=_cause(errors.current()))
            if not forced:
                raise silent
            log('forced: %s' % silent)
            continue
        if names:
            raise errors.HolderPresent(host='host %s' % record['name_label'], device='the LUN ' + scsi_id, holders=', '.join(names))


def is_live(session, record):
    """False only for a host that xapi takes for dead."""
    try:
        return session.xenapi.host_metrics.get_record(record['metrics'])['live'] is not False
    except Exception:
        return True


def _names(answer, scsi_id):
    match = _ANSWER.match(answer)
    if match is None or match.group(1) != scsi_id:
        raise ValueError('its plugin answers %s' % errors.printable(answer))
    return re.findall('"([^"]*)"', match.group(2))


def _cause(error):
    details = getattr(error, 'details', None)
    if details:
        return ' '.join(['%s' % (word,) for word in details])
    return '%s' % (error,)
