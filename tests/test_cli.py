# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.cli as people and programs meet it: a process with arguments, an exit status, two streams."""
from __future__ import absolute_import, division, print_function

import io
import json
import os
import subprocess
import sys

import pytest

from conftest import copy
from luns import damage, devices
from lvhd import image, policy, reader, shapes
from lvhd.model import Sr
from relvm import cli, errors, identity
from relvm.host import devices as host_devices

DRIVERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'drivers')
SCRIPT = os.path.join(DRIVERS, 'relvm', '__main__.py')
UUID = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
OTHER = 'eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00'
HINT = '360000000000000000e00000000010001'


class Ended(object):
    """status; out and err as Unicode."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out.decode('utf-8')
        self.err = err.decode('utf-8')

    def json(self):
        return json.loads(self.out)


def started(command, locale='C', path=None):
    environment = {'PATH': os.environ.get('PATH', ''), 'LC_ALL': locale, 'PYTHONDONTWRITEBYTECODE': '1'}
    if path:
        environment['PYTHONPATH'] = path
    process = subprocess.Popen([sys.executable] + command, stdin=open(os.devnull), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=environment, cwd='/')
    out, err = process.communicate()
    return Ended(process.returncode, out, err)


def relvm(*arguments, **options):
    """The script that every Python can run."""
    return started([SCRIPT] + [encoded(each) for each in arguments], **options)


def encoded(argument):
    """An argument's bytes as subprocess takes them on this Python."""
    if isinstance(argument, type(u'')):
        argument = argument.encode('utf-8')
    return argument


@pytest.fixture
def clone(shape_called, tmpdir):
    def make(name='two_snapshots'):
        return copy(shape_called(name).path, tmpdir.join(name + '.img'))
    return make


@pytest.fixture
def locked(clone):
    path = clone()
    devices.killed(path, OTHER, 3)
    return path


def vg_of(path):
    name, = reader.vg_names(path)
    return name[-36:]


# The ways in


def test_script_and_module_are_the_same(clone):
    path = clone()
    for command, environment in (([SCRIPT], None), (['-m', 'relvm'], DRIVERS)):
        ended = started(command + ['preview', path, '--json'], path=environment)
        assert (ended.status, ended.err) == (0, '')
        assert ended.json()['sr_uuid'] == vg_of(path)


def test_script_from_its_own_directory(clone):
    """The modules beside the script do not hide those of the standard library, as their names would (errors, plan, report)."""
    process = subprocess.Popen([sys.executable, '__main__.py', 'verify', clone()], cwd=os.path.dirname(SCRIPT), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={'PYTHONDONTWRITEBYTECODE': '1', 'PATH': os.environ.get('PATH', '')})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b'')
    assert out.startswith(b'sound: SR ')


# Usage

WRONG = [
    [], ['resign'], ['preview'], ['verify'], ['x'], ['x', 'y'], ['preview', 'a', 'b'], ['--json'], ['preview', 'x', '--nonsense'],
    ['preview', 'x', '--sr-uuid'], ['resign', 'x', '--sr-uuid', 'abc'], ['resign', 'x', '--sr-uuid', UUID.upper()],
    ['unpack', 'x', 'y', '--force'], ['preview', 'x', '--original', 'y'], ['verify', 'x', '--sr-uuid', UUID], ['verify', 'x', '--force'],
    ['verify', 'x', '--name-label', 'y'], ['resign', 'x', '--original', 'y'], ['resign', 'x', '--name-label'], ['-h'],
    ['--help', 'preview', 'x'], ['preview', 'x', '--json', '--help'],
]


@pytest.mark.parametrize('arguments', WRONG, ids=[' '.join(each) or 'none' for each in WRONG])
def test_usage(arguments, capfd):
    assert cli.main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ''
    assert 'python -m relvm preview|resign' in err or 'preview LUN' in err
    if '--help' not in arguments:
        assert err.rstrip().split('\n')[-1].startswith('relvm: ')


def test_usage_as_a_process(tmpdir):
    ended = relvm('resign', str(tmpdir.join('none')), '--sr-uuid', 'x')
    assert (ended.status, ended.out) == (2, '')
    assert ended.err.endswith('relvm: x is not a UUID in lower case\n')
    ended = relvm('--help')
    assert (ended.status, ended.out) == (2, '')
    assert 'Exit status' in ended.err and 'relvm:' not in ended.err.split('\n')[-2]


def test_options_may_stand_anywhere():
    expected = ('resign', ['x'], {'--json': True, '--sr-uuid': UUID, '--name-label': '--odd'})
    assert cli.parse(['resign', 'x', '--json', '--sr-uuid', UUID, '--name-label', '--odd']) == expected
    assert cli.parse(['--sr-uuid', UUID, 'resign', '--json', '--name-label', '--odd', 'x']) == expected


def test_random_uuids():
    found = [cli.parse(['preview', 'x'])[2]['--sr-uuid'] for _ in range(2)]
    assert found[0] != found[1] and identity.is_uuid(found[0])


# preview


def test_preview(clone):
    path = clone()
    before = damage.fingerprint(path)
    ended = relvm('preview', path, '--sr-uuid', UUID)
    assert (ended.status, ended.err) == (0, '')
    assert 'new SR    %s\n' % UUID in ended.out
    assert ended.out.endswith('; nothing has been written\n')
    assert damage.fingerprint(path) == before


def test_preview_json(clone):
    path = clone()
    before = damage.fingerprint(path)
    ended = relvm('preview', path, '--json', '--sr-uuid', UUID, '--name-label', 'x' * 200, '--name-description', 'y')
    assert (ended.status, ended.err) == (0, '')
    data = ended.json()
    assert (data['possible'], data['new']['sr_uuid'], data['sr_uuid']) == (True, UUID, vg_of(path))
    assert sorted(set(vdi['action'] for vdi in data['vdis'])) == ['drop', 'keep']
    assert damage.fingerprint(path) == before


def test_preview_of_what_is_refused(written):
    path = written(shapes.one(mgt=False))
    before = damage.fingerprint(path)
    ended = relvm('preview', path)
    assert (ended.status, ended.err) == (1, '')
    assert 'REFUSED   NoMGT: ' in ended.out
    ended = relvm('preview', path, '--json')
    assert (ended.status, ended.err) == (1, '')
    assert [reason['code'] for reason in ended.json()['reasons']] == ['NoMGT']
    assert damage.fingerprint(path) == before


def test_preview_of_a_locked_lun(locked):
    before = damage.fingerprint(locked)
    ended = relvm('preview', locked)
    assert (ended.status, ended.err) == (0, '')
    assert 'LOCKED' in ended.out
    assert relvm('preview', locked, '--json').json()['locked'] is True
    assert damage.fingerprint(locked) == before


# resign


def test_resign(clone, shape_called):
    path = clone()
    old = vg_of(path)
    ended = relvm('resign', path, '--sr-uuid', UUID)
    assert (ended.status, ended.err) == (0, '')
    lines = ended.out.split('\n')
    assert lines[0] == 'resigned: SR %s is now %s (9 writes, 6 flushes)' % (old, UUID)
    assert vg_of(path) == UUID
    with reader.Lun(path) as lun:
        new = lun.vdi_uuids()
    model = shape_called('two_snapshots').model
    assert [line for line in lines if line.startswith('VDI ') and ' -> ' in line] == \
        ['VDI %s -> %s' % (vdi.uuid, uuid) for vdi, uuid in zip([vdi for vdi in model.vdis if not vdi.is_a_snapshot], new)]
    assert [line for line in lines if line.endswith('dropped: a snapshot')] == \
        ['VDI %s dropped: a snapshot' % vdi.uuid for vdi in model.vdis if vdi.is_a_snapshot]
    assert [line for line in lines if line.startswith('note: 2 base copies')]


def test_resign_json(clone):
    path = clone('cbt_logs')
    old = vg_of(path)
    ended = relvm('resign', path, '--sr-uuid', UUID, '--json')
    assert (ended.status, ended.err) == (0, '')
    data = ended.json()
    assert (data['done'], data['sr_uuid'], data['old_sr_uuid'], data['recovered'], data['flushes']) == (True, UUID, old, False, 6)
    assert data['uuids'][old] == UUID == vg_of(path)
    with reader.Lun(path) as lun:
        assert [data['uuids'][uuid] for uuid in data['kept']] == lun.vdi_uuids()
    assert [each['reason'] for each in data['dropped']] == ['a snapshot']


def test_resign_says_what_is_removed(clone):
    ended = relvm('resign', clone('cbt_logs'))
    assert ended.status == 0
    assert len([line for line in ended.out.split('\n') if '.cbtlog dropped: ' in line]) == 3


def test_vdis_that_are_left_behind(clone, shape_called):
    path = clone('tree_with_clones')
    leaves = [vdi for vdi in policy.kept_leaves(shape_called('tree_with_clones').model)]
    damage.header(path, leaves[0].volume.name, damage.put(0, b'no cookie'))
    ended = relvm('resign', path)
    assert ended.status == 1 and 'BadVHD' not in ended.err and '(--drop)' in ended.err
    named = '%s,%s' % (leaves[0].uuid, leaves[1].uuid)
    before = damage.fingerprint(path)
    shown = relvm('preview', path, '--drop', named)
    assert shown.status == 0 and shown.out.count('   drop   left behind, as drop= says') == 2
    for wrong in ('x', OTHER):
        ended = relvm('resign', path, '--drop', named + ',' + wrong)
        assert ended.status == 1 and wrong in ended.err
    assert damage.fingerprint(path) == before
    data = relvm('resign', path, '--drop', named, '--json').json()
    gone = dict((each['uuid'], each['reason']) for each in data['dropped'])
    assert gone[leaves[1].uuid] == 'left behind, as drop= says' and leaves[0].volume.name in gone[leaves[0].uuid]
    assert set(leaf.uuid for leaf in leaves[2:]) <= set(data['kept'])


def test_resign_without_a_uuid(clone):
    path = clone()
    old = vg_of(path)
    assert relvm('resign', path).status == 0
    assert vg_of(path) != old and identity.is_uuid(str(vg_of(path)))


def test_resign_of_a_locked_lun(locked, tmpdir):
    twin = copy(locked, tmpdir.join('twin.img'))
    first = relvm('preview', locked, '--sr-uuid', OTHER, '--json').json()
    ended = relvm('resign', locked, '--sr-uuid', UUID)
    assert (ended.status, ended.err) == (0, '')
    # not the SR uuid of the run that was killed, but the one from before
    assert ended.out.startswith('an interrupted resign was finished first\nresigned: SR %s is now %s' % (first['new']['from'], UUID))
    assert first['new']['from'] != OTHER == first['sr_uuid']
    data = relvm('resign', twin, '--sr-uuid', OTHER, '--json').json()
    assert (data['recovered'], data['done'], data['sr_uuid']) == (True, True, OTHER)
    assert vg_of(twin) == OTHER


def test_refusal(written):
    path = written(shapes.one(mgt=False))
    before = damage.fingerprint(path)
    ended = relvm('resign', path)
    assert (ended.status, ended.out) == (1, '')
    assert ended.err == 'relvm: %s: %s\n' % (path, errors.NoMGT())
    ended = relvm('resign', path, '--json')
    assert ended.status == 1
    assert ended.json() == {'done': False, 'reason': 'NoMGT', 'sentence': str(errors.NoMGT())}
    assert ended.err == 'relvm: %s: %s\n' % (path, errors.NoMGT())
    assert damage.fingerprint(path) == before


@pytest.mark.parametrize('command', ['preview', 'resign', 'verify'])
def test_a_lun_that_is_not_there(command, tmpdir):
    path = str(tmpdir.join('none'))
    ended = relvm(command, path)
    assert (ended.status, ended.out) == (1, '')
    assert ended.err.startswith('relvm: %s: cannot open %s: No such file or directory.' % (path, path))
    assert relvm(command, path, '--json').json()['reason'] == 'DeviceMissing'


def test_an_image_in_use(clone):
    from relvm.engine import blockdev
    path = clone()
    device = blockdev.Device(path)
    try:
        assert relvm('resign', path, '--json').json()['reason'] == 'DeviceBusy'
        assert relvm('preview', path).status == 0
        assert relvm('verify', path).status == 0
    finally:
        device.close()


def test_a_blank_image(tmpdir):
    path = str(tmpdir.join('blank'))
    with io.open(path, 'wb') as stream:
        stream.truncate(1 << 20)
    for command in ('preview', 'resign', 'verify'):
        ended = relvm(command, path, '--json')
        assert ended.status == 1
        assert 'NoLabel' in ended.out


# Originals and copies


def test_an_original_is_refused(clone):
    """The metadata names the LUN under which it was last used; whoever says that this is that LUN has the original."""
    path = clone()
    before = damage.fingerprint(path)
    ended = relvm('resign', path, '--scsi-id', HINT, '--json')
    assert (ended.status, ended.json()['reason']) == (1, 'Original')
    assert HINT in ended.err
    ended = relvm('preview', path, '--scsi-id', HINT, '--json')
    assert ended.status == 1
    assert [reason['code'] for reason in ended.json()['reasons']] == ['Original']
    assert 'REFUSED   Original' in relvm('preview', path, '--scsi-id', HINT).out
    assert damage.fingerprint(path) == before


@pytest.mark.parametrize('arguments', [['--scsi-id', '3600'], ['--scsi-id', HINT, '--force'], ['--force'], []])
def test_a_copy_is_not(arguments, clone):
    assert relvm('resign', clone(), *arguments).status == 0


def test_a_device_is_known_again_by_the_id_that_this_host_has_for_it(clone, tmpdir, monkeypatch, capfd):
    """The same SR uuid once more: by its SCSI id the LUN is one that was resigned and not used since. A file has none."""
    path = clone()
    sr_uuid = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
    monkeypatch.setattr(host_devices, 'DEV', str(tmpdir.join('dev')))
    monkeypatch.setattr(host_devices, 'SYS', str(tmpdir.join('sys')))
    link = tmpdir.join('dev', 'disk', 'by-scsid', '3600').ensure(dir=1).join('sdb')
    link.mksymlinkto(path)
    assert cli.main(['resign', str(link), '--sr-uuid', sr_uuid]) == 0
    before = damage.fingerprint(path)
    assert cli.main(['resign', str(link), '--sr-uuid', sr_uuid]) == 0
    assert '(0 writes' in capfd.readouterr()[0]
    assert cli.main(['resign', path, '--sr-uuid', sr_uuid]) == 1
    assert damage.fingerprint(path) == before


@pytest.mark.parametrize('place', ['disk/by-id/scsi-' + HINT, 'disk/by-scsid/%s/sdb' % HINT, 'mapper/' + HINT])
def test_the_id_is_known_by_the_path(place, clone, tmpdir, monkeypatch, capfd):
    """Without --scsi-id: the LUN is named by a link of udev."""
    path = clone()
    monkeypatch.setattr(host_devices, 'DEV', str(tmpdir.join('dev')))
    monkeypatch.setattr(host_devices, 'SYS', str(tmpdir.join('sys')))
    link = tmpdir.join('dev', *place.split('/'))
    link.dirpath().ensure(dir=1)
    link.mksymlinkto(path)
    before = damage.fingerprint(path)
    for command in ('resign', 'preview'):
        assert cli.main([command, str(tmpdir.join('dev', *place.split('/')))]) == 1
        assert 'Original' in ''.join(capfd.readouterr()) or command == 'resign'
    assert damage.fingerprint(path) == before
    assert cli.main(['preview', str(tmpdir.join('dev', *place.split('/'))), '--force']) == 0
    assert cli.main(['resign', str(tmpdir.join('dev', *place.split('/'))), '--force']) == 0


# Names


@pytest.mark.parametrize('locale', ['C', 'C.UTF-8'])
def test_unicode_arguments(locale, clone, tmpdir):
    path = clone()
    odd = os.path.join(str(tmpdir), u'l\xfcn \u4e2d.img'.encode('utf-8') if str is bytes else 'l\xfcn \u4e2d.img')
    os.rename(path, odd)
    name, description = u'caf\xe9 & \u4e2d\u6587 \U0001f4be', u'\u00fc' * 300
    ended = relvm('resign', odd, '--sr-uuid', UUID, '--name-label', name, '--name-description', description, locale=locale)
    assert (ended.status, ended.err) == (0, '')
    with reader.Lun(odd) as lun:
        assert lun.mgt().name_label == name
        assert description.startswith(lun.mgt().name_description) and len(lun.mgt().name_description) > 200
    assert name in relvm('preview', odd, locale=locale).out
    assert relvm('preview', odd, '--json', locale=locale).json()['name_label'] == name
    ended = relvm('resign', odd + '.none', locale=locale)
    assert ended.status == 1
    assert u'l\xfcn \u4e2d.img.none' in ended.err


def test_arguments_that_are_not_utf8(clone):
    path = clone()
    assert relvm('resign', path, '--name-label', b'a\xffb').status == 0
    with reader.Lun(path) as lun:
        assert lun.mgt().name_label in (u'a\ufffdb', u'a?b')


def test_names_on_the_lun_in_every_locale(tmpdir):
    sr = Sr(1, name_label=u'\u65e5\u672c\u8a9e "x"')
    shapes.disk(sr, u'\U0001f600')
    path = str(tmpdir.join('lun.img'))
    image.write(path, sr)
    for locale in ('C', 'POSIX', 'C.UTF-8'):
        ended = relvm('preview', path, locale=locale)
        assert (ended.status, ended.err) == (0, '')
        assert u'"\u65e5\u672c\u8a9e "x""' in ended.out and u'"\U0001f600"' in ended.out


# verify


def test_verify(clone):
    path = clone('admin_lv')
    before = damage.fingerprint(path)
    ended = relvm('verify', path)
    assert (ended.status, ended.err) == (0, '')
    assert ended.out.endswith('sound: SR %s with 1 VDIs\n' % vg_of(path))
    assert ended.out.count('note      the LV ') == 3
    data = relvm('verify', path, '--json').json()
    assert (data['done'], data['sr_uuid'], data['problems'], len(data['report'])) == (True, vg_of(path), [], 3)
    assert damage.fingerprint(path) == before


def test_verify_of_an_unsound_sr(clone):
    path = clone('strays')
    ended = relvm('verify', path)
    assert (ended.status, ended.err) == (1, '')
    assert ended.out.count('PROBLEM   ') == 2 and 'sound' not in ended.out
    ended = relvm('verify', path, '--json')
    assert ended.status == 1
    assert (ended.json()['done'], len(ended.json()['problems'])) == (False, 2)


def test_verify_with_its_original(clone, shape_called):
    original = shape_called('two_snapshots').path
    path = clone()
    ended = relvm('verify', path, '--original', original)
    assert ended.status == 1
    assert 'the LVM label still has' in ended.out
    assert relvm('resign', path).status == 0
    for arguments in ([], ['--json']):
        assert relvm('verify', path, '--original', original, *arguments).status == 0


def test_verify_finds_a_single_old_uuid(clone, shape_called):
    """One field of one record."""
    original = shape_called('two_snapshots').path
    path = clone()
    relvm('resign', path)
    old = shape_called('two_snapshots').model.vdis[0].uuid
    damage.mgt(path, b'<snapshot_of></snapshot_of>', b'<snapshot_of>%s</snapshot_of>' % old.encode('ascii'))
    assert relvm('verify', path).status == 0
    ended = relvm('verify', path, '--original', original, '--json')
    assert ended.status == 1
    assert len(ended.json()['problems']) >= 1 and old in ended.json()['problems'][0]


def test_verify_of_a_locked_lun(locked):
    ended = relvm('verify', locked)
    assert (ended.status, ended.out) == (1, '')
    assert 'locked by an interrupted resign' in ended.err
    assert relvm('verify', locked, '--json').json()['reason'] == 'UnknownTool'


def test_verify_with_an_original_that_is_not_there(clone, tmpdir):
    ended = relvm('verify', clone(), '--original', str(tmpdir.join('none')))
    assert (ended.status, ended.out) == (1, '')
    assert 'none' in ended.err


# In this process, for what a process hides


def test_main_returns_the_status(clone, capfd):
    path = clone()
    assert cli.main(['preview', path]) == cli.DONE
    assert cli.main(['resign', path, '--json']) == cli.DONE
    assert cli.main(['verify', path]) == cli.DONE
    assert cli.main(['verify', path + '.none', '--json']) == cli.REFUSED
    out, err = capfd.readouterr()
    assert 'sound: SR' in out
    assert err.count('\n') == 1


def test_the_device_is_closed_whatever_happens(clone, written, capfd):
    before = len(os.listdir('/proc/self/fd'))
    good, bad = clone(), written(shapes.one(mgt=False))
    for arguments in (['preview', good], ['preview', bad], ['resign', bad], ['verify', bad], ['resign', good], ['verify', good]):
        cli.main(arguments)
        assert len(os.listdir('/proc/self/fd')) == before
    capfd.readouterr()


# Something to attach to a report


def test_pack_and_unpack_and_dump(clone, tmpdir):
    path, packed, made = clone(), str(tmpdir.join('packed')), str(tmpdir.join('made.img'))
    done = relvm('pack', path, packed)
    assert (done.status, done.err) == (0, '')
    assert done.out == '%s: %d bytes\n' % (packed, os.path.getsize(packed))
    assert relvm('unpack', packed, made).status == 0
    previews = [relvm('preview', '--json', each).json() for each in (path, made)]
    assert previews[0]['sr_uuid'] == previews[1]['sr_uuid'] and previews[1]['possible']
    dumps = [relvm('dump', each).out for each in (path, packed, made)]
    assert dumps[0] == dumps[1] == dumps[2]
    assert 'LABELONE' in dumps[0] and 'vdi0' not in dumps[0]
    assert 'vdi0' in relvm('dump', '--names', path).out


@pytest.mark.parametrize('words', [['pack', 'x'], ['unpack', 'x'], ['dump'], ['dump', 'x', 'y'], ['unpack', '--names', 'x', 'y'],
                                   ['pack', '--json', 'x', 'y']])
def test_pack_and_its_like_say_what_they_need(words):
    done = relvm(*words)
    assert (done.status, done.out) == (2, '')
    assert done.err.startswith('The engine on a block device')


def test_what_pack_and_unpack_refuse(clone, tmpdir):
    path = clone()
    before = io.open(path, 'rb').read()
    for words, code in ((['pack', path, path], 'is there already'),
                        (['unpack', path, str(tmpdir.join('made'))], 'no file of relvm pack'),
                        (['pack', str(tmpdir.join('none')), str(tmpdir.join('made'))], 'cannot open'),
                        (['dump', str(tmpdir.join('none'))], 'cannot open')):
        done = relvm(*words)
        assert (done.status, done.out) == (1, '')
        assert code in done.err
    assert io.open(path, 'rb').read() == before
    assert not tmpdir.join('made').check()
