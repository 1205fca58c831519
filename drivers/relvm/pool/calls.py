# SPDX-License-Identifier: LGPL-2.1-only
"""The functions of the xapi plugin: (session, arguments: a dict of str) -> text. What each does, and which arguments it takes, stands in
the plugin, which hands its calls to these.

Raises CallFailed, whose code and words are what xapi's client gets; errors.Refused; and what XenAPI raises.
"""

import fcntl
import os
import re

from relvm import errors
from relvm.host import devices
from relvm.host import holders as holding
from relvm.host import locks
from relvm.host import release as releasing
from relvm.pool import answers
from relvm.pool import attach as attaching
from relvm.pool import discard as discarding
from relvm.pool import vdimap
from relvm.show import dump as dumping
from relvm.show import jsontext
from relvm.show import pack as packing

INVENTORY = '/etc/xensource-inventory'
FORMATS = ('json', 'vm-import')


class CallFailed(Exception):
    """code: RELVMOISCSI_...; words: [str]."""

    def __init__(self, code, *words):
        Exception.__init__(self, code, *words)
        self.code = code
        self.words = list(words)


def preview(session, arguments):
    return _json(_probed(session, arguments))


def _probed(session, arguments):
    _refuse_passwords(arguments)
    request = attaching.Request(arguments)
    answer = session.xenapi.SR.probe(_this_host(session), request.resign_config, request.type, {})
    return answers.preview(answer)


def _refuse_passwords(arguments):
    for key in arguments:
        if key.endswith('password'):
            raise CallFailed('RELVMOISCSI_ARGUMENTS', attaching.clear_text(key))


def discover(session, arguments):
    """Both drivers are asked, unless the arguments say which."""
    _refuse_passwords(arguments)
    form = arguments.get('format', 'json')
    config = dict([(key, value) for key, value in arguments.items() if key not in ('format', 'type')], discover='true')
    kinds = ['lvmoiscsi', 'lvmohba']
    if arguments.get('type') or arguments.get('login') or form == 'xml':
        kinds = [attaching.sr_type({'type': arguments.get('type') or kinds[0]})]
    if form not in ('json', 'xml'):
        raise CallFailed('RELVMOISCSI_ARGUMENTS', 'format is json or xml')
    found = [session.xenapi.SR.probe(_this_host(session), config, attaching.TYPES[kind], {}) for kind in kinds]
    if form == 'xml':
        return found[0]
    luns = []
    for kind, answer in zip(kinds, found):
        luns.extend([dict(lun, type=kind) for lun in answers.discovered(answer)])
    return _json({'luns': luns})


def pack(session, arguments):
    path = _packed(session, arguments)
    return _json({'file': path, 'bytes': os.path.getsize(path)})


def dump(session, arguments):
    path = _packed(session, arguments)
    try:
        return '\n'.join(list(dumping.lines(packing.opened(path), True)))
    finally:
        os.unlink(path)


def _packed(session, arguments):
    """The path of the file that the driver made; its refusal when it did not come that far."""
    answer = _probed(session, dict(arguments, pack='true'))
    if not answer.get('pack'):
        raise CallFailed('RELVMOISCSI_PACK', *[reason['sentence'] for reason in answer['reasons']])
    return answer['pack']


def holders(session, arguments):
    try:
        return _json(holding.on_this_host(arguments.get('SCSIid', '')))
    except errors.BadSCSIid:
        raise CallFailed('RELVMOISCSI_ARGUMENTS', str(errors.current()))


def refresh(session, arguments):
    if devices.is_scsi_id(arguments.get('SCSIid', '')):
        devices.trigger(arguments['SCSIid'])
    return '{}'


def release(session, arguments):
    """The names of the devices, with blanks between them."""
    work = {'true': releasing.look}.get(arguments.get('check'), releasing.release)
    return ' '.join(work(arguments.get('SCSIid', ''), arguments.get('sr', ''))['devices'])


def attach(session, arguments):
    return _on_master(session, arguments, 'attach', _attach)


def _attach(session, arguments, master):
    lock = _lock(arguments.get('SCSIid', ''))
    try:
        return _json(attaching.attach(session, arguments))
    finally:
        lock.close()


def discard(session, arguments):
    return _on_master(session, arguments, 'discard', _discard)


def _discard(session, arguments, master):
    uuid = arguments.get('sr', '')
    lock = _lock(discarding.scsi_id_of(session, uuid))
    try:
        return _json(discarding.discard(session, uuid, master))
    finally:
        lock.close()


def which(session, arguments):
    return _on_master(session, arguments, 'map', _which)


def _which(session, arguments, master):
    srs = [uuid for uuid in arguments.get('sr', '').split(',') if uuid]
    if arguments.get('check'):
        return _json(vdimap.check(session.xenapi, arguments['check'], srs))
    if not srs or arguments.get('format', FORMATS[0]) not in FORMATS:
        raise CallFailed('RELVMOISCSI_ARGUMENTS', 'map needs sr=UUID[,UUID...] or check=VM; format is json or vm-import')
    maps = vdimap.read(session.xenapi, srs, vdimap.of_lun)
    if arguments.get('format') == 'vm-import':
        return vdimap.import_words(session.xenapi, master, maps)
    return _json({'srs': maps})


def _on_master(session, arguments, name, function):
    """One place for the lock and the records, and SR.create of a shared SR runs there anyway."""
    master = attaching.pool_master(session)
    if master != _this_host(session):
        return session.xenapi.host.call_plugin(master, holding.PLUGIN, name, arguments)
    return function(session, arguments, master)


def _json(value):
    return jsontext.dumps(value, 1)


def _this_host(session):
    found = re.search("^INSTALLATION_UUID='(.*)'$", devices.read_line(INVENTORY), re.MULTILINE)
    return session.xenapi.host.get_by_uuid(found.group(1))


def _lock(scsi_id):
    """An open file with an exclusive lock on it, one per LUN: a second attach or discard of the same LUN is refused meanwhile."""
    if not os.path.isdir(locks.RUN_DIR):
        os.makedirs(locks.RUN_DIR)
    lock = open(os.path.join(locks.RUN_DIR, 'attach.' + re.sub('[^A-Za-z0-9]', '_', scsi_id)), 'w')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except IOError:
        lock.close()
        raise CallFailed('RELVMOISCSI_BUSY', 'another call attaches or discards this LUN')
    return lock
