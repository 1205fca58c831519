# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.install.selftest with a real LVM and a real vhd-util, which RELVM_TOOLS (directories, colon-separated) may name."""
from __future__ import absolute_import, division, print_function

import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from conftest import loop_missing
from relvm.engine import blockdev
from relvm.install import selftest, smallsr, tools

HERE = os.path.dirname(os.path.abspath(__file__))
DRIVERS = os.path.join(os.path.dirname(os.path.dirname(HERE)), 'drivers')
GIVEN = [name for name in os.environ.get('RELVM_TOOLS', '').split(':') if name]
DIRECTORIES = tuple(GIVEN) + ('/usr/sbin', '/sbin', '/usr/bin', '/bin')
JUDGES = ['LVM', 'vhd-util', 'qcow2_helper', 'sm', 'contents']
STEPS = ['leftovers', 'room', 'tools', 'make', 'copy', 'preview', 'resign', 'sound'] + JUDGES + ['clean up']
# The reader of sm as far as it is asked: what it says of the copy that it gets is in `answer`
READER = '''
import re
def read_metadata(path):
    data = open(path, 'rb').read().decode('latin-1')
    found = re.findall('<uuid>([^<]*)</uuid>', data)
    live = [record for record in data.split('<vdi>')[1:] if '<deleted>0<' in record]
    return found[0], sorted(re.findall('<uuid>([^<]*)</uuid>', ''.join(live)))
'''


def missing():
    if loop_missing():
        return loop_missing()
    for name in ('lvm', 'vhd-util'):
        if not tools.Host(DIRECTORIES).find(name):
            return '%s is not installed; RELVM_TOOLS may name its directory' % name
    return None


real = pytest.mark.skipif(missing() is not None, reason=str(missing()))


class Host(tools.Host):
    """This machine, whose sm is READER unless SM_TREE names one."""

    def __init__(self, directories=DIRECTORIES):
        tools.Host.__init__(self, directories)
        self.calls = []
        self.looped = {}

    def read_metadata(self, path):
        names = {}
        exec(READER, names)
        return names['read_metadata'](path)

    def run(self, argv, environment=None):
        self.calls.append(list(argv))
        return tools.Host.run(self, argv, environment)

    def attach(self, path):
        loop = tools.Host.attach(self, path)
        assert not self.looped, 'two loop devices at a time'
        self.looped[loop] = path
        return loop

    def detach(self, loop):
        tools.Host.detach(self, loop)
        self.looped.pop(loop, None)


def points(answer):
    return dict((point['name'], point) for point in answer['points'])


def state(*places):
    """What a selftest must leave alone: names, sizes, times and owners below /etc and LVM's places, device-mapper, LVM's own view."""
    found = {}
    for place in places:
        for directory, _, names in os.walk(place):
            for name in names:
                path = os.path.join(directory, name)
                about = os.lstat(path)
                found[path] = (about.st_size, about.st_mtime, about.st_mode)
    for command in (['dmsetup', 'ls'], ['pvs', '--noheadings', '--config', 'devices { hints = "none" filter = [ "r|/dev/loop|" ] }']):
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            found[command[0]] = process.communicate()[0]
        except OSError:
            pass
    return found


@real
def test_it_passes_here_and_leaves_nothing(tmpdir):
    before = state('/etc', '/var/lock', '/var/lib/lvm')
    host = Host()
    answer = selftest.Selftest(host, str(tmpdir)).run()
    assert answer['failures'] == []
    assert answer['ok']
    assert [point['name'] for point in answer['points']] == STEPS
    assert answer['versions']['LVM'] and answer['versions']['Python'] == sys.version.split()[0]
    assert answer['seconds'] < 60
    assert os.listdir(str(tmpdir)) == []
    assert not host.looped
    assert state('/etc', '/var/lock', '/var/lib/lvm') == before
    commands = [call[0] for call in host.calls]
    assert not [name for name in commands if name in ('dmsetup', 'lvchange', 'vgchange', 'pvscan', 'vgscan')]


@real
@pytest.mark.parametrize('judge', JUDGES)
def test_a_judge_that_disagrees_is_named(judge, tmpdir, monkeypatch):
    """Whatever the clone is spoilt in after the resign, the one whose matter it is says so."""
    def spoil(self):
        kept = self.lun.vdis[self._uuids()[self.sr.leaf]]
        place = {'LVM': 4096 + 512 + 300, 'vhd-util': self.lun.vg.runs(kept.lv, 0, 512)[0][0] + 512 + 100,
                 'contents': self.lun.vg.runs(self.lun.vdis[self._uuids()[self.sr.raw]].lv, 1 << 20, 512)[0][0]}.get(judge)
        if place is not None:
            with open(self.clone, 'r+b') as stream:
                stream.seek(place)
                stream.write(b'\xaa')
    original = selftest.Selftest._sound
    monkeypatch.setattr(selftest.Selftest, '_sound', lambda self: original(self) or spoil(self))
    host = Host()
    if judge == 'sm':
        host.read_metadata = lambda path: ('another', [])
    if judge == 'qcow2_helper':
        host.find = lambda name: tools.Host.find(host, {'qcow2_helper': 'false'}.get(name, name))
    answer = selftest.Selftest(host, str(tmpdir)).run()
    assert not answer['ok']
    assert not points(answer)[judge]['ok'], answer
    assert answer['failures'][0].startswith(judge + ': ')
    assert os.listdir(str(tmpdir)) == [] and not host.looped


@real
def test_a_resign_that_does_not_work_is_a_failure(tmpdir, monkeypatch):
    monkeypatch.setattr(selftest.resign, 'recover', lambda device, progress: '')
    answer = selftest.Selftest(Host(), str(tmpdir)).run()
    assert not answer['ok'] and 'resign' in answer['failures'][0]
    assert os.listdir(str(tmpdir)) == []


@pytest.mark.skipif(loop_missing() is not None, reason=str(loop_missing()))
def test_what_is_missing_is_named(tmpdir):
    bare = tmpdir.mkdir('bin')
    for name in ('losetup', 'lvm'):
        bare.join(name).mksymlinkto(tools.Host(('/usr/sbin', '/sbin', '/usr/bin', '/bin')).find(name))
    place = tmpdir.mkdir('place')
    answer = selftest.Selftest(Host((str(bare),)), str(place)).run()
    assert answer['failures'] == ['tools: vhd-util: not found']
    assert place.listdir() == []


def test_no_room(tmpdir, monkeypatch):
    monkeypatch.setattr(selftest, 'ROOM', 1 << 60)
    answer = selftest.Selftest(Host(), str(tmpdir)).run()
    assert 'are needed' in answer['failures'][0]
    assert [point['name'] for point in answer['points']] == ['leftovers', 'room', 'clean up']
    assert tmpdir.listdir() == []


def test_an_answer_that_says_why_when_nothing_can_be_done(tmpdir):
    answer = selftest.Selftest(Host((str(tmpdir),)), str(tmpdir)).run()
    assert not answer['ok'] and answer['failures']


@pytest.mark.skipif(loop_missing() is not None, reason=str(loop_missing()))
def test_what_a_killed_run_left_is_swept_and_a_running_one_is_left_alone(tmpdir):
    host = Host()
    dead, alive = tmpdir.mkdir(selftest.PREFIX + 'dead'), tmpdir.mkdir(selftest.PREFIX + 'alive')
    tmpdir.mkdir('another')
    for directory in (dead, alive):
        directory.join('lock').write('')
    dead.join('original').write('x' * 4096)
    loop = tools.Host.attach(host, str(dead.join('original')))
    with open(str(alive.join('lock'))) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert selftest.sweep(host, str(tmpdir)) == [str(dead)]
    assert sorted(path.basename for path in tmpdir.listdir()) == ['another', selftest.PREFIX + 'alive']
    assert loop not in tools.Host.run(host, ['losetup', '-a'])
    assert selftest.sweep(host, str(tmpdir)) == [str(alive)]


@real
def test_killed_in_the_middle_it_is_cleaned_up_by_the_next(tmpdir):
    code = ('import sys; sys.path.insert(0, sys.argv[1])\nfrom relvm.install import selftest, tools\n'
            'selftest.Selftest(tools.Host(tuple(sys.argv[2].split(":"))), sys.argv[3]).run()\n')
    process = subprocess.Popen([sys.executable, '-c', code, DRIVERS, ':'.join(DIRECTORIES), str(tmpdir)])
    end = time.time() + 60
    while time.time() < end and not [path for path in tmpdir.listdir() if path.join('clone').check() and path.join('lvm').check()]:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert tmpdir.listdir()
    answer = selftest.Selftest(Host(), str(tmpdir)).run()
    assert answer['failures'] == []
    assert 'removed what an earlier run left' in points(answer)['leftovers']['sentence']
    assert tmpdir.listdir() == []


def test_two_at_once(tmpdir, monkeypatch):
    monkeypatch.setattr(selftest, 'LOCK', str(tmpdir.join('run', 'lock')))
    monkeypatch.setattr(selftest.Selftest, 'run', lambda self: {'ok': True, 'again': selftest.run()})
    answer = selftest.run()
    assert answer['ok'] and answer['again']['failures'] == ['another selftest is running on this host']


def test_a_program_that_hangs_is_ended(tmpdir, monkeypatch):
    monkeypatch.setattr(tools, 'SECONDS', 0.2)
    with pytest.raises(tools.CommandFailed) as caught:
        tools.Host(('/bin', '/usr/bin')).run(['sleep', '60'])
    assert 'took more than' in str(caught.value)


def test_a_program_that_fails_says_its_last_words():
    with pytest.raises(tools.CommandFailed) as caught:
        tools.Host(('/bin', '/usr/bin')).run(['ls', '/nothing/here'])
    assert 'No such file' in str(caught.value) and 'status 2' in str(caught.value)


@real
def test_the_small_sr_is_like_one_of_sm(tmpdir):
    """Allocated, and an SR that a resign takes with every kind of disk in it."""
    directory = tmpdir.mkdir('sr')
    path = str(directory.join('original'))
    selftest._allocate(path, smallsr.SIZE)
    assert os.stat(path).st_blocks * 512 >= smallsr.SIZE
    host = Host()
    sr = smallsr.SmallSR(host, tools.Lvm(host, str(directory)), str(directory))
    sr.make(path)
    before = hashlib.sha256(open(path, 'rb').read()).hexdigest()
    lun = selftest._read(path)
    assert dict((uuid, (vdi.kind(), vdi.hidden)) for uuid, vdi in lun.vdis.items()) == {
        sr.raw: ('raw', False), sr.base: ('vhd', True), sr.leaf: ('vhd', False), sr.snapshot: ('vhd', False)}
    assert [vdi.parent.uuid for vdi in lun.order if vdi.parent] == [sr.base, sr.base]
    assert stat.S_ISREG(os.stat(path).st_mode)
    assert hashlib.sha256(open(path, 'rb').read()).hexdigest() == before
    assert blockdev.Device(path, False).size == smallsr.SIZE
