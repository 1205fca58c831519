# SPDX-License-Identifier: LGPL-2.1-only
"""A preview as data, and the data as text, JSON or the XML of sr-probe.

The data is a dict of plain values; names are Unicode text, all other text is ASCII:

    sr_uuid, name_label, name_description, vg, pv_uuid, size (bytes)
    possible        True when it can be resigned
    locked          True when an interrupted run has to be finished first
    reasons         [{'code', 'sentence'}] why not
    copied_from     the SCSI id under which the SR was last used, or ''; device_hint  the path that says so
    copy_of         the SR of this pool that it is a copy of, or '' (the driver fills it in)
    report          [sentence]
    vdis            [{'uuid' that it has on the LUN, 'from' that it had before the first resign, 'new_uuid', 'name_label',
                      'type' vhd|qcow2|raw, 'size', 'parent', 'hidden', 'action' keep|drop, 'reason'}]
    removed         [{'lv', 'reason'}]
    new             {'sr_uuid', 'from' the SR uuid before the first resign, 'pv_uuid'}
    done            True when the LUN has the new SR uuid already and nothing would be written
    writes          [{'step', 'offset', 'length'}]
"""

import re

from relvm import errors
from relvm.formats import lvmgroup
from relvm.formats import mgt
from relvm import octets
from relvm.engine import resign
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement


def preview(device, sr_uuid, name_label=None, name_description=None, taken=(), scsi_id='', keep_snapshots=False, drop=()):
    """What resign() would do, as data. Never raises errors.Refused: a refusal is part of the answer."""
    data = empty(device.size)
    try:
        placement = Placement(device)
        data['pv_uuid'] = placement.label.pv_uuid
        vg = placement.group()
        data['vg'] = vg.name
        data['sr_uuid'] = vg.sr_uuid
        # a path on the LUN holds whatever somebody put there
        data['copied_from'] = errors.printable(lvmgroup.copied_from(vg.pv_device))
        data['device_hint'] = errors.printable(vg.pv_device)
        data['locked'] = placement.staged
        plan, _ = resign.preview(device, sr_uuid, name_label, name_description, taken, scsi_id, keep_snapshots, drop)
        data['possible'] = True
        _describe(data, plan.lun)
        data['done'] = isinstance(plan, resign.Done)
        _decide(data, plan)
    except errors.Refused:
        add_reason(data, errors.current())
        _describe_what_can_be_read(data, device, drop)
    return data


# Tabs, line ends and the controls U+007F to U+009F; other controls are refused in MGT. Then what breaks or turns round a line
_MOVES = re.compile(octets.for_user('[\x00-\x1f\x7f\xc2\x80-\xc2\x9f\xe2\x80\xa8-\xe2\x80\xae\xe2\x81\xa6-\xe2\x81\xa9]'))


def empty(size):
    """The data of a LUN of which nothing is known."""
    return {'sr_uuid': '', 'name_label': '', 'name_description': '', 'vg': '', 'pv_uuid': '', 'size': size, 'possible': False,
            'locked': False, 'reasons': [], 'copied_from': '', 'device_hint': '', 'copy_of': '', 'report': [], 'vdis': [],
            'removed': [], 'new': {}, 'done': False, 'writes': []}


def add_reason(data, error):
    """One more reason why it is refused."""
    data['possible'] = False
    data['reasons'].append({'code': error.code(), 'sentence': str(error)})


def _describe_what_can_be_read(data, device, drop):
    try:
        _describe(data, Lun(device, Placement(device), drop))
    except errors.Refused:
        pass


def _name(stored):
    """A name of MGT as Unicode text."""
    return octets.for_user(mgt.unescaped(stored))


def _shown(name):
    """The name on one line, and with nothing in it that moves a terminal's cursor."""
    return _MOVES.sub('?', name)


def _describe(data, lun):
    data['name_label'] = _name(lun.mgt.name_label)
    data['name_description'] = _name(lun.mgt.name_description)
    data['report'] = list(lun.report)
    for vdi in lun.order:
        parent = ''
        if vdi.parent is not None:
            parent = vdi.parent.uuid
        data['vdis'].append({'uuid': vdi.uuid, 'from': vdi.uuid, 'new_uuid': '', 'name_label': _name(vdi.name_label()),
                             'type': vdi.kind(), 'size': vdi.size(lun.vg), 'parent': parent, 'hidden': vdi.hidden,
                             'action': '', 'reason': ''})


def _decide(data, plan):
    data['new'] = {'sr_uuid': plan.map.sr_uuid, 'from': plan.map.sr_from, 'pv_uuid': plan.lun.label.pv_uuid}
    if data['done']:
        new = dict([(uuid, (source, uuid)) for source, uuid in plan.map.vdis])
        gone = {}
    else:
        new = dict([(vdi.uuid, pair) for vdi, pair in zip(plan.kept, plan.map.vdis)])
        gone = dict([(vdi.uuid, why) for vdi, why in plan.dropped])
        data['new']['pv_uuid'] = plan.pv_uuid
        data['report'] = list(plan.report)
        data['removed'] = [{'lv': name, 'reason': why} for name, why in plan.removed]
        data['writes'] = [{'step': step, 'offset': offset, 'length': length} for step, offset, length in plan.writes()]
    for vdi in data['vdis']:
        if vdi['uuid'] in gone:
            vdi['action'] = 'drop'
            vdi['reason'] = gone[vdi['uuid']]
        else:
            vdi['action'] = 'keep'
            vdi['from'], vdi['new_uuid'] = new[vdi['uuid']]


def as_text(data):
    """Lines for a person: Unicode text."""
    lines = ['SR        %s  "%s"' % (data['sr_uuid'] or '-', _shown(data['name_label'])),
             'PV        %s' % (data['pv_uuid'] or '-'),
             'size      %d bytes' % data['size']]
    if data['copied_from']:
        lines.append('last used on the LUN with SCSI id %s' % data['copied_from'])
    if data['locked']:
        lines.append('LOCKED    an interrupted resign will be finished first')
    for reason in data['reasons']:
        lines.append('REFUSED   %s: %s' % (reason['code'], reason['sentence']))
    if data['new']:
        lines.append('new SR    %s' % data['new']['sr_uuid'])
        lines.append('new PV    %s' % data['new']['pv_uuid'])
    for vdi in data['vdis']:
        lines.append('VDI       %s  %s  %12d  "%s"%s' % (vdi['uuid'], vdi['type'], vdi['size'],
                                                       _shown(vdi['name_label']), _hidden(vdi)))
        if vdi['action'] == 'keep':
            if vdi['from'] != vdi['uuid']:
                lines.append('   was    %s' % vdi['from'])
            lines.append('   ->     %s' % vdi['new_uuid'])
        elif vdi['action'] == 'drop':
            lines.append('   drop   %s' % vdi['reason'])
    for removed in data['removed']:
        lines.append('LV        %s\n   drop   %s' % (removed['lv'], removed['reason']))
    for sentence in data['report']:
        lines.append('note      %s' % sentence)
    if data['done']:
        lines.append('the LUN has this SR uuid already; there is nothing to do')
    if data['writes']:
        total = 0
        for write in data['writes']:
            total += write['length']
        lines.append('%d writes, %d bytes; nothing has been written' % (len(data['writes']), total))
    return '\n'.join(lines)


def _hidden(vdi):
    if vdi['hidden']:
        return '  (hidden)'
    return ''


def as_xml(data):
    """The answer of sr-probe: what lvmoiscsi answers (SRlist, SR, UUID, Devlist, size, name_label), plus <resign>.

    Native str, pure ASCII: characters of names are written as character references.
    """
    out = ['<?xml version="1.0" ?>\n<SRlist>\n']
    if data['sr_uuid']:
        out.append('<SR>\n')
        element(out, 'UUID', data['sr_uuid'])
        element(out, 'Devlist', data.get('device', ''))
        element(out, 'size', str(data['size']))
        element(out, 'name_label', data['name_label'])
        element(out, 'name_description', data['name_description'])
        element(out, 'pool_metadata_detected', 'false')
        _resign_element(out, data)
        out.append('</SR>\n')
    else:
        _resign_element(out, data)
    out.append('</SRlist>\n')
    return ''.join(out)


def _resign_element(out, data):
    out.append('<resign>\n')
    element(out, 'possible', str(data['possible']).lower())
    element(out, 'locked', str(data['locked']).lower())
    for reason in data['reasons']:
        out.append('<reason code="%s">%s</reason>\n' % (reason['code'], escape(reason['sentence'])))
    if data['new']:
        element(out, 'new_sr', data['new']['sr_uuid'])
        element(out, 'from', data['new']['from'])
    element(out, 'copy_of', data['copy_of'])
    element(out, 'copied_from', data['copied_from'])
    for sentence in data['report']:
        element(out, 'report', sentence)
    if 'pack' in data:
        element(out, 'pack', data['pack'])
    for vdi in data['vdis']:
        out.append('<vdi>\n')
        for name in ('uuid', 'from', 'new_uuid', 'name_label', 'action', 'reason', 'type', 'parent'):
            element(out, name, vdi[name])
        element(out, 'size', str(vdi['size']))
        element(out, 'hidden', str(vdi['hidden']).lower())
        out.append('</vdi>\n')
    for removed in data['removed']:
        out.append('<removed>\n')
        element(out, 'lv', removed['lv'])
        element(out, 'reason', removed['reason'])
        out.append('</removed>\n')
    element(out, 'writes', str(len(data['writes'])))
    out.append('</resign>\n')


def element(out, name, value):
    """Appends <name>value</name> to `out`. value: text."""
    out.append('<%s>%s</%s>\n' % (name, escape(value), name))


def escape(value):
    """Text as XML, native str of ASCII characters."""
    pieces = []
    high = 0
    for char in value:
        number = ord(char)
        if 0xd800 <= number < 0xdc00:
            # the first half of a character, on a Python with 16-bit Unicode
            high = number
            continue
        if high:
            number = 0x10000 + ((high & 0x3ff) << 10) + (number & 0x3ff)
            high = 0
        if char in '&<>"' or number > 126:
            pieces.append('&#%d;' % number)
        elif number >= 32:
            pieces.append(str(char))
        else:
            pieces.append(' ')
    return ''.join(pieces)
