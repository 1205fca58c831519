# SPDX-License-Identifier: LGPL-2.1-only
"""From a cloned LUN to a storage repository plugged on every host, through xapi: resign, probe, introduce, plug, scan.

Safe to repeat after a failure at any step, because xapi's database says how far an earlier run came:

* The SR record is made with `relvmoiscsi: <SCSI id>` in its sm_config. SR.introduce writes both at once, so a record with
  this mark is one that this module made, for a LUN that it had resigned. sm replaces the whole sm_config when the master plugs
  the SR, so before that the mark is repeated in other_config. With such a record nothing is resigned again: what is missing of
  PBDs, plugs and scan is done.
* Without such a record nothing of the pool refers to the LUN yet, and it is resigned (once more, if an earlier run came
  that far): no other uuid than the one of this run is ever introduced.
* A LUN that the pool uses through any other SR, plugged or not, is left alone.

At the end the records say which disk is which (vdimap), and a message of xapi on the SR says what was done. The SR's own entry is made
last: a run that finds it has nothing more to say.
"""

import sys

from relvm import __version__
from relvm.host.holders import PLUGIN
from relvm.pool import answers
from relvm.pool import vdimap

# The type of the SR in the end -> the one that resigns it
TYPES = {'lvmoiscsi': 'relvmoiscsi', 'lvmohba': 'relvmohba'}
MARK = 'relvmoiscsi'
RESIGNED = 'successfully resigned'
# Arguments that are not part of the device config, and device config that is for the resign alone.
NAMES = ('name-label', 'name-description', 'type')
RESIGN_ONLY = ('force', 'resign', 'resign-as', 'snapshots', 'drop')


class AttachError(Exception):
    """`step` (arguments, pool, resign, probe, plug) did not succeed; `sentence` says why, and what to do."""

    def __init__(self, step, sentence):
        Exception.__init__(self, '%s: %s' % (step, sentence))
        self.step = step
        self.sentence = sentence


class Request:
    """What the administrator asked for, from the plugin's arguments (a dict of str). Raises AttachError."""

    def __init__(self, arguments):
        self.attached_type = sr_type(arguments)
        self.type = TYPES[self.attached_type]
        self.resign_config = {}
        self.config = {}
        for key in arguments:
            if key in NAMES:
                continue
            if key.endswith('password'):
                raise AttachError('arguments', clear_text(key))
            self.resign_config[key] = arguments[key]
            if key not in RESIGN_ONLY:
                self.config[key] = arguments[key]
        self.name_label = arguments.get('name-label', '')
        self.name_description = arguments.get('name-description', '')
        self.scsi_id = arguments.get('SCSIid', '')


def sr_type(arguments):
    """The type of the SR that the arguments ask for: as they say, or iSCSI where they name a target, or else that of HBAs."""
    named = [key for key in arguments if key.startswith('target')]
    found = arguments.get('type') or {True: 'lvmoiscsi', False: 'lvmohba'}[bool(named)]
    if found not in TYPES:
        raise AttachError('arguments', 'type=%s is none of lvmoiscsi and lvmohba' % found)
    return found


def clear_text(key):
    """Why a password as an argument is refused: xapi of 6.5 logs them, and every xapi hands them on in argv."""
    return ('%s would show up in logs and process lists. Store it with "xe secret-create value=..." and give its uuid as '
            '%s_secret' % (key, key))


def attach(session, arguments, history_of=vdimap.of_lun):
    """Attaches the LUN that `arguments` (device config of lvmoiscsi or lvmohba, and type, name-label, name-description, force) describe.

    To be called on the master, by one at a time for one LUN. Returns a dict for JSON: sr, name_label, resigned (in this
    run), from (the SR uuid before the first resign, '' when not known), pbds [{host, uuid, attached}], vdis [{uuid, from, name_label,
    virtual_size in bytes, is_a_snapshot}]. history_of: reads what the LUN itself says, as vdimap.of_lun.

    Raises AttachError, or what XenAPI raises: a driver's refusal comes through as it is.
    """
    api = session.xenapi
    request = Request(arguments)
    master = pool_master(session)
    sr = None
    if request.scsi_id:
        sr = earlier(api, request.scsi_id)
    resigned = sr is None
    if resigned:
        resign(api, master, request)
        sr = introduce(api, master, request)
    elif not [pbd for pbd in pbds(api, sr) if pbd['currently_attached']]:
        confirm(api, master, request, sr)
    if api.SR.get_record(sr)['other_config'].get(MARK) != request.scsi_id:
        api.SR.add_to_other_config(sr, MARK, request.scsi_id)
    failures = plug(api, master, request, sr)
    if failures:
        raise AttachError('plug', 'SR %s is introduced, but not plugged everywhere: %s. Give the same command again'
                          % (api.SR.get_uuid(sr), '; '.join(failures)))
    api.SR.scan(sr)
    trace(api, sr, request, history_of(request.scsi_id))
    return describe(api, sr, resigned)


def trace(api, sr, request, history):
    """Notes on SR and VDIs what they come from, and tells it in a message."""
    record = api.SR.get_record(sr)
    vdis = vdimap.vdi_records(api, sr)
    known = vdimap.mark_vdis(api, record['uuid'], vdis, history)
    if vdimap.FROM in record['other_config'] or history is None or not known:
        return
    body = 'relvmoiscsi %s gave the SR on LUN %s the uuid %s. It is a copy of SR %s; %d of its VDIs are copies of that one\'s' % (
        __version__, request.scsi_id, record['uuid'], history.sr, len(known))
    try:
        api.message.create('SR_RESIGNED', '5', 'SR', record['uuid'], body)
    except Exception:
        # a pool that takes no message has its SR all the same
        if getattr(sys.exc_info()[1], 'details', None) is None:
            raise
    vdimap.mark_sr(api, sr, history.sr)


def pool_master(session):
    """The reference of the host that is the pool's master."""
    return list(session.xenapi.pool.get_all_records().values())[0]['master']


def earlier(api, scsi_id):
    """The SR that an earlier run introduced for this LUN, or None. Raises AttachError if the pool knows the LUN by
    another one."""
    srs = api.SR.get_all_records()
    marked = [ref for ref in srs if scsi_id in (srs[ref]['sm_config'].get(MARK), srs[ref]['other_config'].get(MARK))]
    records = api.PBD.get_all_records().values()
    others = [srs[pbd['SR']]['uuid'] for pbd in records
              if pbd['device_config'].get('SCSIid') == scsi_id and pbd['SR'] in srs and pbd['SR'] not in marked
              and srs[pbd['SR']]['type'] not in TYPES.values()]
    if others:
        raise AttachError('pool', 'the LUN %s is SR %s of this pool already: it is not resigned' % (scsi_id, others[0]))
    if len(marked) > 1:
        raise AttachError('pool', 'more than one SR was introduced for the LUN %s: %s. Forget those that it does not carry '
                          '(xe sr-forget)' % (scsi_id, ' '.join([srs[ref]['uuid'] for ref in marked])))
    for ref in marked:
        return ref
    return None


def resign(api, master, request):
    """Has the driver resign the LUN. It reports success as a failure of SR.create, so that no SR record stays."""
    try:
        api.SR.create(master, request.resign_config, '0', request.name_label, request.name_description, request.type, 'user', True, {})
    except Exception:
        error = sys.exc_info()[1]
        details = getattr(error, 'details', None)
        if details is None or not [word for word in details if RESIGNED in str(word)]:
            raise
        return
    raise AttachError('resign', 'the driver neither resigned the LUN nor refused: look into /var/log/SMlog')


def on_lun(api, master, request, introduced=''):
    """The SR that is on the LUN (answers.found): what sm itself sees over iSCSI. Its probe for HBAs would take a multipath map away that
    somebody else has made, so there the driver that resigns is asked. introduced: uuid of the SR that the pool already has for it."""
    config, kind = request.config, request.attached_type
    if kind == 'lvmohba':
        config, kind = dict(config), request.type
        if introduced:
            config['introduced'] = introduced
    answer = answers.found(api.SR.probe(master, config, kind, {}))
    if len(answer) != 1:
        raise AttachError('probe', 'sm sees %d SRs on the LUN, not one. Give the same command again' % len(answer))
    return answer[0]


def introduce(api, master, request):
    """Makes the SR record for the new identity; its reference."""
    seen = on_lun(api, master, request)
    for record in api.SR.get_all_records().values():
        if record['uuid'] == seen['uuid']:
            raise AttachError('probe', 'the LUN carries SR %s, which this pool knows already: it is not attached. Give the '
                              'same command again' % seen['uuid'])
    label = request.name_label or seen['name_label'] or 'LUN %s' % request.scsi_id
    description = request.name_description or seen['name_description']
    return api.SR.introduce(seen['uuid'], label, description, request.attached_type, 'user', True, {MARK: request.scsi_id})


def confirm(api, master, request, sr):
    """Before the first plug of an SR from an earlier run: the array may have put another clone on the LUN since."""
    uuid = api.SR.get_uuid(sr)
    seen = on_lun(api, master, request, uuid)
    if seen['uuid'] != uuid:
        raise AttachError('probe', 'an earlier run introduced SR %s for this LUN, but it carries SR %s now. Forget the first '
                          '(xe sr-forget uuid=%s), then give the same command again' % (uuid, seen['uuid'], uuid))


def pbds(api, sr):
    """The SR's PBD records, each with its reference as `ref`."""
    found = []
    for ref in api.SR.get_PBDs(sr):
        record = dict(api.PBD.get_record(ref))
        record['ref'] = ref
        found.append(record)
    return found


def plug(api, master, request, sr):
    """Makes and plugs what is missing, the master first. Returns a sentence for each host that failed; raises what the
    master's plug raises, since the others need it."""
    failures = []
    existing = {}
    for record in pbds(api, sr):
        existing[record['host']] = record
    hosts = [host for host in api.host.get_all() if host != master]
    for host in [master] + hosts:
        if host not in existing or not existing[host]['currently_attached']:
            look_again(api, host, request.scsi_id)
        try:
            if host not in existing:
                ref = api.PBD.create({'host': host, 'SR': sr, 'device_config': request.config, 'other_config': {}})
                api.PBD.plug(ref)
            elif not existing[host]['currently_attached']:
                api.PBD.plug(existing[host]['ref'])
        except Exception:
            error = sys.exc_info()[1]
            details = getattr(error, 'details', None)
            if details is None or host == master:
                raise
            failures.append('host %s: %s' % (api.host.get_name_label(host), ' '.join([str(word) for word in details])))
    return failures


def look_again(api, host, scsi_id):
    """Lets udev of a host look at the LUN: if it was there before the resign, links to the original's PV may still lead to it."""
    try:
        api.host.call_plugin(host, PLUGIN, 'refresh', {'SCSIid': scsi_id})
    except Exception:
        # a host without this version; the plug says whether it can use the LUN
        pass


def describe(api, sr, resigned):
    """attach's answer."""
    record = api.SR.get_record(sr)
    plugged = []
    for pbd in pbds(api, sr):
        plugged.append({'host': api.host.get_name_label(pbd['host']), 'uuid': pbd['uuid'],
                        'attached': pbd['currently_attached']})
    vdis = []
    records = vdimap.vdi_records(api, sr)
    known = vdimap.sources(record['uuid'], records, None)
    for vdi in records.values():
        vdis.append({'uuid': vdi['uuid'], 'from': known.get(vdi['uuid'], ''),
                     'name_label': vdi['name_label'], 'virtual_size': int(vdi['virtual_size']),
                     'is_a_snapshot': vdi['is_a_snapshot']})
    vdis.sort(key=lambda vdi: vdi['uuid'])
    plugged.sort(key=lambda pbd: pbd['host'])
    return {'sr': record['uuid'], 'from': record['other_config'].get(vdimap.FROM, ''), 'name_label': record['name_label'],
            'resigned': resigned, 'pbds': plugged, 'vdis': vdis}
