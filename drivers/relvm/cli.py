# SPDX-License-Identifier: LGPL-2.1-only
"""The engine on a block device or an image file, without XenServer.

    python -m relvm preview LUN             what a resign would do; writes nothing
    python -m relvm resign LUN              does it
    python -m relvm verify LUN              is the SR on it sound; with --original, is nothing left of that one's identity
    python -m relvm pack LUN FILE           what a resign reads of it, to be sent with a report: no data of a disk, names replaced
    python -m relvm unpack FILE IMAGE       an image file that is judged as the packed LUN was
    python -m relvm dump LUN                the structures on it (or in a file of pack) with their offsets, names replaced

LUN: a block device that nobody uses, or an image file. Options:

    --json                  one JSON object on stdout
    --sr-uuid UUID          resign, preview: the new SR uuid (default: a random one)
    --name-label TEXT       resign, preview: the SR's new name
    --name-description TEXT
    --keep-snapshots        resign, preview: snapshots stay, and stay snapshots (default: they are dropped)
    --drop UUID[,UUID...]   resign, preview: VDIs to leave behind, whatever is wrong with them, and what depends on them
    --original LUN          verify: the LUN that this one was cloned from
    --force                 resign, preview: also when the SR was last used on this very LUN, an original and no copy
    --scsi-id ID            resign, preview: a SCSI id of LUN, where this host does not know it (a file); a LUN that was resigned and
                            not used since is known again by it
    --names                 pack, dump: leave names of SR and VDIs, host names, descriptions and tags as they are

Exit status: 0 done, 1 refused, failed or not sound (the reason on stderr), 2 wrong usage. On Python 2.4, which has no -m for
packages: python relvm/__main__.py with the same arguments.
"""

import sys

from relvm.engine import blockdev
from relvm import errors
from relvm import identity
from relvm import octets
from relvm.host import scsiids
from relvm.show import report
from relvm.engine import leaving
from relvm.engine import verify
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement

DONE = 0
REFUSED = 1
USAGE = 2
_VALUES = ('--sr-uuid', '--name-label', '--name-description', '--original', '--scsi-id', '--drop')
_HOW = ('--json', '--sr-uuid', '--name-label', '--name-description', '--scsi-id', '--force', '--keep-snapshots', '--drop')
_ALLOWED = {'preview': _HOW, 'resign': _HOW,
            'verify': ('--json', '--original'), 'pack': ('--names',), 'unpack': (), 'dump': ('--names',)}
_TWO = {'pack': 'a LUN and a file', 'unpack': 'a file of pack and an image file'}


class Usage(Exception):
    """The arguments are wrong."""


def parse(argv):
    """argv without the program's name -> (command, [LUN and, for some, FILE], {option: value}). Raises Usage."""
    words = []
    options = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith('--'):
            words.append(word)
        elif word in _VALUES:
            if not rest:
                raise Usage('%s needs a value' % word)
            options[word] = rest.pop(0)
        else:
            options[word] = True
    if '--help' in options:
        raise Usage('')
    if not words or words[0] not in _ALLOWED:
        raise Usage('a command (%s) and a LUN are needed' % ', '.join(sorted(_ALLOWED)))
    if len(words) != 2 + (words[0] in _TWO):
        raise Usage('%s needs %s' % (words[0], _TWO.get(words[0], 'one LUN')))
    for option in options:
        if option not in _ALLOWED[words[0]]:
            raise Usage('%s does not take %s' % (words[0], option))
    uuid = options.setdefault('--sr-uuid', identity.new_uuid())
    if not identity.is_uuid(uuid):
        raise Usage('%s is not a UUID in lower case' % uuid)
    return words[0], words[1:], options


def main(argv):
    """Runs one command; returns the exit status."""
    try:
        command, paths, options = parse(argv)
    except Usage:
        message = str(errors.current())
        _say(sys.stderr, __doc__.rstrip())
        if message:
            _say(sys.stderr, '\nrelvm: %s' % message)
        return USAGE
    try:
        return {'preview': _preview, 'resign': _resign, 'verify': _verify, 'pack': _pack, 'unpack': _unpack,
                'dump': _dump}[command](*(paths + [options]))
    except errors.ResignError:
        error = errors.current()
        if '--json' in options:
            _json({'done': False, 'reason': error.code(), 'sentence': str(error)})
        _say(sys.stderr, 'relvm: %s: %s' % (paths[0], error))
        return REFUSED


def _preview(path, options):
    device = blockdev.Device(path, False)
    try:
        data = report.preview(device, options['--sr-uuid'], _name(options, '--name-label'),
                              _name(options, '--name-description'), scsi_id=_scsi_id(path, options),
                              keep_snapshots='--keep-snapshots' in options, drop=leaving.parse(options.get('--drop', '')))
    finally:
        device.close()
    try:
        _refuse_original(path, data['device_hint'], options)
    except errors.Original:
        report.add_reason(data, errors.current())
    if '--json' in options:
        _json(data)
    else:
        _say(sys.stdout, report.as_text(data))
    if data['possible']:
        return DONE
    return REFUSED


def _scsi_id(path, options):
    """By it a LUN that was resigned and not used since is known again."""
    return options.get('--scsi-id') or scsiids.the_one(path)


def _refuse_original(path, hint, options):
    """hint: the path in its metadata under which the LUN was last used."""
    if '--force' not in options:
        scsiids.refuse_original(path, hint, options.get('--scsi-id', ''))


def _resign(path, options):
    from relvm.engine import resign
    device = blockdev.Device(path)
    try:
        placement = Placement(device)
        if not placement.staged:
            _refuse_original(path, placement.group().pv_device, options)
        result = resign.resign(device, options['--sr-uuid'], _name(options, '--name-label'),
                               _name(options, '--name-description'), scsi_id=_scsi_id(path, options),
                               keep_snapshots='--keep-snapshots' in options, drop=leaving.parse(options.get('--drop', '')))
    finally:
        device.close()
    _say_result(result, device, options)
    return DONE


def _say_result(result, device, options):
    plan = result.plan
    mapped = result.map
    if '--json' in options:
        answer = {'done': True, 'sr_uuid': mapped.sr_uuid, 'old_sr_uuid': mapped.sr_from, 'recovered': result.recovered,
                  'map': [{'from': source, 'uuid': uuid} for source, uuid in mapped.vdis],
                  'uuids': dict(mapped.vdis + [(mapped.sr_from, mapped.sr_uuid)]), 'kept': [source for source, _ in mapped.vdis],
                  'dropped': [], 'removed': [], 'report': [], 'writes': device.writes, 'flushes': device.flushes}
        if plan is not None:
            answer['uuids'] = plan.uuids
            answer['kept'] = [vdi.uuid for vdi in plan.kept]
            answer['dropped'] = [{'uuid': vdi.uuid, 'reason': why} for vdi, why in plan.dropped]
            answer['removed'] = [{'lv': name, 'reason': why} for name, why in plan.removed]
            answer['report'] = plan.report
        _json(answer)
        return
    if result.recovered:
        _say(sys.stdout, 'an interrupted resign was finished first')
    _say(sys.stdout, 'resigned: SR %s is now %s (%d writes, %d flushes)' %
         (mapped.sr_from, mapped.sr_uuid, device.writes, device.flushes))
    for pair in mapped.vdis:
        _say(sys.stdout, 'VDI %s -> %s' % pair)
    if plan is None:
        return
    for sentence in result.told():
        _say(sys.stdout, sentence)
    for sentence in plan.report:
        _say(sys.stdout, 'note: %s' % sentence)


def _verify(path, options):
    lun = _read(path)
    found = verify.problems(lun)
    if '--original' in options:
        found = found + verify.leftovers(lun, verify.identities(_read(options['--original'])))
    if '--json' in options:
        _json({'done': not found, 'sr_uuid': lun.vg.sr_uuid, 'vdis': sorted(lun.vdis), 'problems': found, 'report': lun.report})
    else:
        for sentence in found:
            _say(sys.stdout, 'PROBLEM   %s' % sentence)
        for sentence in lun.report:
            _say(sys.stdout, 'note      %s' % sentence)
        if not found:
            _say(sys.stdout, 'sound: SR %s with %d VDIs' % (lun.vg.sr_uuid, len(lun.vdis)))
    if found:
        return REFUSED
    return DONE


def _pack(path, target, options):
    from relvm.show import pack
    device = blockdev.Device(path, False)
    try:
        size = pack.pack(device, target, '--names' in options)
    finally:
        device.close()
    _say(sys.stdout, '%s: %d bytes' % (target, size))
    return DONE


def _unpack(path, image, options):
    from relvm.show import pack
    source = pack.unpack(path, image)
    _say(sys.stdout, '%s: a LUN of %d bytes, packed by version %s' % (image, source.size, source.program))
    return DONE


def _dump(path, options):
    from relvm.show import dump
    from relvm.show import pack
    device = pack.opened(path)
    try:
        for line in dump.lines(device, '--names' in options):
            _say(sys.stdout, line)
    finally:
        device.close()
    return DONE


def _read(path):
    device = blockdev.Device(path, False)
    try:
        placement = Placement(device)
        if placement.staged:
            raise errors.UnknownTool(offset=placement.label.area[0], what='the LUN is locked by an interrupted resign, or worse')
        return Lun(device, placement)
    finally:
        device.close()


def _name(options, option):
    if option in options:
        return octets.from_user(options[option])
    return None


def _json(value):
    from relvm.show import jsontext
    _say(sys.stdout, jsontext.dumps(value, 2))


def _say(stream, text):
    """One line, as UTF-8 whatever the locale of dom0 is."""
    data = octets.octets(octets.from_user(text + '\n'))
    stream.flush()
    getattr(stream, 'buffer', stream).write(data)
    stream.flush()
