# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's resetvdis: forgets that this host had VDIs of an SR attached."""


def reset_sr(session, host_uuid, sr_uuid, is_sr_master):
    sr = session.xenapi.SR.get_by_uuid(sr_uuid)
    key = "host_" + session.xenapi.host.get_by_uuid(host_uuid)
    records = session.xenapi.VDI.get_all_records_where('field "SR" = "%s"' % sr)
    for ref in records:
        if key in records[ref]["sm_config"]:
            session.xenapi.VDI.remove_from_sm_config(ref, key)
