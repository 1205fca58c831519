# SPDX-License-Identifier: LGPL-2.1-only
"""The end of a test: an SR that fn=attach has attached is unplugged everywhere, its LUN taken off every host, its records forgotten.

What is on the LUN stays as it is; the array may take it away afterwards. Everything that speaks against it is looked for first, on every
host, before anything is done. Then, in this order, so that the same call finishes what an interrupted one began:

    unplug      each PBD, the master's last
    release     each host takes the LUN's devices off itself (host.release, through the plugin)
    forget      the SR, its PBDs and VDIs in xapi's records. Before that a repeated call finds its work by them; after it there is none
"""

from relvm import errors
from relvm import identity
from relvm.host import holders
from relvm.pool import attach
from relvm.pool import vdimap

# What the plugin says when it has refused something: this, the reason's name, its sentence
REFUSED = 'RELVMOISCSI_REFUSED'
# VDIs that xapi itself writes to, and their names
POOL_DATA = {'metadata': 'a replica of the database', 'redo_log': 'a redo log', 'ha_statefile': 'an HA statefile'}
POOL_ROLES = (('default_SR', 'the default SR of the pool'), ('suspend_image_SR', 'where the pool suspends VMs to'),
              ('crash_dump_SR', "where crash dumps of the pool's VMs go"))
HOST_ROLES = (('suspend_image_sr', 'where the host %s suspends VMs to'), ('crash_dump_sr', 'where crash dumps of the host %s go'),
              ('local_cache_sr', 'the cache of the host %s'))


def scsi_id_of(session, sr_uuid):
    """The LUN of an SR that fn=attach has marked, '' when the pool has no such SR. Raises errors.NoSuchSR, NotOurs."""
    if not identity.is_uuid(sr_uuid):
        raise errors.NoSuchSR(sr=sr_uuid)
    for record in session.xenapi.SR.get_all_records().values():
        if record['uuid'] == sr_uuid:
            return _marked(record)
    return ''


def _marked(record):
    scsi_id = record['other_config'].get(vdimap.MARK, '')
    if not scsi_id:
        raise errors.NotOurs(sr=record['uuid'], what='it does not carry its mark')
    if record['type'] not in attach.TYPES:
        raise errors.NotOurs(sr=record['uuid'], what='it is of type %s' % record['type'])
    return scsi_id


def discard(session, sr_uuid, master):
    """Ends the SR. master: the reference of the host that this runs on.

    Returns a dict for JSON: sr, SCSIid, known (False: the pool has no such SR, and nothing was done; an earlier call may have finished),
    hosts [{host, unplugged, devices [names that were taken off]}], away [names of hosts that are not running], vms [names of those that
    have lost disks], vdis (how many records are forgotten). Raises errors.Refused by its reason, or what XenAPI raises.
    """
    scsi_id = scsi_id_of(session, sr_uuid)
    answer = {'sr': sr_uuid, 'SCSIid': scsi_id, 'known': bool(scsi_id), 'hosts': [], 'away': [], 'vms': [], 'vdis': 0}
    if not scsi_id:
        return answer
    run = Discard(session, sr_uuid, scsi_id, master)
    run.refuse()
    for host in run.hosts:
        answer['hosts'].append({'host': run.name(host), 'unplugged': run.unplug(host), 'devices': []})
    for host, done in zip(run.hosts, answer['hosts']):
        done['devices'] = run.release(host)
    answer['away'] = [run.name(host) for host in run.away]
    answer['vms'], answer['vdis'] = run.vms, len(run.vdis)
    session.xenapi.SR.forget(run.sr)
    return answer


class Discard(object):
    """One end of a test. hosts: references of those that run, the master last; away: of the others; vms: names of VMs that lose disks."""

    def __init__(self, session, sr_uuid, scsi_id, master):
        self._session = session
        self._api = session.xenapi
        self._uuid = sr_uuid
        self._scsi_id = scsi_id
        self._records = self._api.host.get_all_records()
        running = [ref for ref in sorted(self._records) if ref != master and holders.is_live(session, self._records[ref])]
        self.hosts = running + [master]
        self.away = [ref for ref in sorted(self._records) if ref not in self.hosts]
        self.sr = self._api.SR.get_by_uuid(sr_uuid)
        self.vdis = vdimap.vdi_records(self._api, self.sr)
        self.vms = []

    def name(self, host):
        return self._records[host]['name_label']

    def refuse(self):
        """Raises the errors.Refused that speaks against it. Changes nothing."""
        self._refuse_other_users()
        self._refuse_roles()
        self._refuse_pool_data()
        self._refuse_used_disks()
        for host in self.away:
            if [pbd for pbd in self._pbds(host) if pbd['currently_attached']]:
                raise errors.HostAway(host=self.name(host), scsi_id=self._scsi_id, cause='it is not running, and its PBD is plugged')
        for host in self.hosts:
            self._ask(host, {'check': 'true'})

    def _refuse_other_users(self):
        srs = self._api.SR.get_all_records()
        for pbd in self._api.PBD.get_all_records().values():
            same_lun = pbd['device_config'].get('SCSIid') == self._scsi_id
            if pbd['SR'] == self.sr and not same_lun:
                raise errors.NotOurs(sr=self._uuid, what='it was attached on the LUN %s, and the PBD %s names another one'
                                     % (self._scsi_id, pbd['uuid']))
            if pbd['SR'] != self.sr and same_lun and pbd['SR'] in srs:
                self._shared(srs[pbd['SR']], 'a PBD has its SCSI id')
        for ref, record in srs.items():
            if ref != self.sr and self._scsi_id in (record['other_config'].get(vdimap.MARK), record['sm_config'].get(vdimap.MARK)):
                self._shared(record, 'it was introduced for its SCSI id')

    def _shared(self, other, how):
        raise errors.SharedLUN(other=other['uuid'], scsi_id=self._scsi_id, sr=self._uuid, how=how)

    def _refuse_roles(self):
        for pool in self._api.pool.get_all_records().values():
            for field, role in POOL_ROLES:
                if pool.get(field) == self.sr:
                    raise errors.HasRole(sr=self._uuid, role=role)
        for host in self._records.values():
            for field, role in HOST_ROLES:
                if host.get(field) == self.sr:
                    raise errors.HasRole(sr=self._uuid, role=role % host['name_label'])

    def _refuse_pool_data(self):
        found = ['VDI %s is %s' % (vdi['uuid'], POOL_DATA[vdi['type']]) for vdi in self.vdis.values() if vdi['type'] in POOL_DATA]
        if found:
            raise errors.PoolDataOnSR(sr=self._uuid, what=', '.join(sorted(found)))

    def _refuse_used_disks(self):
        """A disk is in use while a VBD is plugged, a VM that has it is not halted, or xapi works on it."""
        used = {}
        losing = {}
        vms = self._api.VM.get_all_records()
        for vbd in self._api.VBD.get_all_records().values():
            if vbd['VDI'] in self.vdis and vbd['VM'] in vms:
                vm = vms[vbd['VM']]
                losing[vm['name_label']] = None
                if vm['power_state'] != 'Halted' and not vm.get('is_control_domain') or vm.get('current_operations'):
                    used[_of_vm(vbd['VDI'], self.vdis, vm)] = None
                elif vbd['currently_attached'] or vbd.get('reserved') or vbd.get('current_operations'):
                    used['VDI %s plugged into VM %s' % (self.vdis[vbd['VDI']]['uuid'], _called(vm))] = None
        for vm in vms.values():
            if vm.get('suspend_VDI') in self.vdis:
                used[_of_vm(vm['suspend_VDI'], self.vdis, vm)] = None
        for vdi in self.vdis.values():
            if vdi.get('current_operations'):
                used['VDI %s (%s)' % (vdi['uuid'], ', '.join(sorted(vdi['current_operations'].values())))] = None
        if used:
            raise errors.DisksInUse(sr=self._uuid, what='; '.join(sorted(used)))
        self.vms = sorted(losing)

    def _pbds(self, host):
        """PBD records of the SR on a host, each with its reference as `ref`, as they are now."""
        found = [dict(self._api.PBD.get_record(ref), ref=ref) for ref in self._api.SR.get_PBDs(self.sr)]
        return [pbd for pbd in found if pbd['host'] == host]

    def unplug(self, host):
        """True when there was something to unplug."""
        plugged = [pbd for pbd in self._pbds(host) if pbd['currently_attached']]
        for pbd in plugged:
            self._api.PBD.unplug(pbd['ref'])
        return bool(plugged)

    def release(self, host):
        """The names of the devices that the host has taken off itself."""
        if [pbd for pbd in self._pbds(host) if pbd['currently_attached']]:
            raise errors.LUNStays(host=self.name(host), scsi_id=self._scsi_id, what='somebody has plugged the SR again')
        return self._ask(host, {})

    def _ask(self, host, more):
        """What the host's own plugin answers to fn=release. Its refusals become ours, with the host's name."""
        try:
            answer = self._api.host.call_plugin(host, holders.PLUGIN, 'release', dict(more, SCSIid=self._scsi_id, sr=self._uuid))
        except Exception:
            details = [str(word) for word in getattr(errors.current(), 'details', None) or []]
            if not details:
                raise
            if details[0] == REFUSED:
                raise errors.LUNStays(host='the host ' + self.name(host), scsi_id=self._scsi_id, what=details[-1].rstrip('.'))
            raise errors.HostAway(host=self.name(host), scsi_id=self._scsi_id, cause=' '.join(details))
        return [name for name in answer.split(' ') if name]


def _of_vm(ref, vdis, vm):
    return 'VDI %s by VM %s, which is %s' % (vdis[ref]['uuid'], _called(vm), vm['power_state'].lower())


def _called(vm):
    return '%s (%s)' % (vm['name_label'], vm['uuid'])
