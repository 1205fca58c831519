# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.lvmview: real LVM is asked, with filters in its lvm.conf."""
from __future__ import absolute_import, division, print_function, unicode_literals

import os
import subprocess
import stat
import time

import pytest

from conftest import copy
from luns import damage
from lvhd.judges import lvm
from relvm import errors
from relvm.host import lvmview

CONF = 'devices { filter = [ %s "r|.*|" ] use_devicesfile = 0 write_cache_state = 1 } global { activation = 0 locking_dir = "%s" }\n'
with_lvm = pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))


@pytest.fixture
def system(tmpdir, monkeypatch):
    """A function: sets which devices LVM uses."""
    monkeypatch.setattr(lvmview, 'PAUSE', 0)
    monkeypatch.setenv(str('LVM_SYSTEM_DIR'), str(tmpdir.mkdir('lvm')))
    monkeypatch.setenv(str('LVM_DEVICE'), str('/dev/disk/by-scsid/x'))

    def use(*devices):
        words = ''.join(['"a|^%s$|", ' % device for device in devices])
        tmpdir.join('lvm', 'lvm.conf').write(CONF % (words, tmpdir.join('lvm')))
    return use


def asked(path, **options):
    """What it logs."""
    lines = []
    lvmview.Question(str(path), **options).check(lines.append)
    return lines


@with_lvm
def test_a_lun_that_lvm_uses(system, unpacked, tmpdir):
    with lvm.Loop(unpacked['one']) as device:
        system(device)
        assert asked(device) == []
    assert sorted(os.listdir(str(tmpdir.join('lvm')))) == ['lvm.conf']


@with_lvm
def test_a_filter(system, unpacked, tmpdir):
    path = copy(unpacked['one'], tmpdir.join('lun.img'))
    before = damage.fingerprint(path)
    with lvm.Loop(path, read_only=False) as device:
        system()
        with pytest.raises(errors.HostPassesOver) as caught:
            asked(device)
        assert device in str(caught.value) and 'lvm.conf' in str(caught.value)
    assert damage.fingerprint(path) == before


@with_lvm
def test_beside_its_original_nothing_follows(system, unpacked, tmpdir):
    path = copy(unpacked['one'], tmpdir.join('lun.img'))
    with lvm.Loop(path) as clone:
        with lvm.Loop(unpacked['one']) as original:
            system(clone, original)
            for device in (clone, original):
                asked(device)


@with_lvm
def test_no_pv_is_the_matter_of_others(system, tmpdir):
    path = tmpdir.join('empty')
    with open(str(path), 'wb') as stream:
        stream.truncate(1 << 20)
    with lvm.Loop(str(path)) as device:
        system(device)
        try:
            asked(device)
        except errors.HostPassesOver:
            pass


def program(tmpdir, script):
    path = tmpdir.join('pvs')
    path.write('#!/bin/sh\n' + script)
    os.chmod(str(path), stat.S_IRWXU)
    return str(path)


HANGS = 'exec sleep 30'
ANSWERS = [
    ('echo "  Cannot use /dev/sdb: device is rejected by filter config" >&2; exit 5', True),
    ('echo "  Failed to find device for physical volume \\"/dev/sdb\\"." >&2; exit 5', True),
    ('echo "  Failed to find physical volume \\"/dev/sdb\\"." >&2; exit 5', True),
    ('test "$1" = --readonly && exit 3; echo "  Failed to read physical volume \\"/dev/sdb\\"" >&2; exit 5', True),
    ('echo "  WARNING: Not using device /dev/sdb for PV x."; echo "  Failed to find physical volume \\"/dev/sdb\\"." >&2; exit 5', False),
    ('echo "  Found duplicate PV x: using /dev/sda"; echo "  Failed to read physical volume \\"/dev/sdb\\"" >&2; exit 5', False),
    ('echo "  something else" >&2; exit 5', False), ('kill -9 $$', False), (HANGS, False)]


@pytest.mark.parametrize('script, refused', ANSWERS)
def test_what_it_makes_of_an_answer(script, refused, tmpdir, monkeypatch):
    monkeypatch.setattr(lvmview, 'PAUSE', 0)
    if script == HANGS:
        monkeypatch.setattr(lvmview, 'TIMEOUT', 0.5)
    pvs = program(tmpdir, script)
    if refused:
        with pytest.raises(errors.HostPassesOver):
            asked('/dev/sdb', pvs=pvs)
    else:
        assert len(asked('/dev/sdb', pvs=pvs)) == 1


def test_a_lun_that_appears_to_lvm_a_little_later(tmpdir, monkeypatch):
    monkeypatch.setattr(lvmview, 'PAUSE', 0)
    seen = tmpdir.join('seen')
    pvs = program(tmpdir, 'test -e %s && exit 0; touch %s; echo "  Cannot use /dev/sdb: device not found" >&2; exit 5' % (seen, seen))
    assert asked('/dev/sdb', pvs=pvs) == []


def test_no_program():
    assert len(asked('/dev/sdb', pvs='/nowhere/pvs')) == 1


def test_it_works_while_nobody_waits_for_it(tmpdir):
    began = tmpdir.join('began')
    question = lvmview.Question('/dev/sdb', pvs=program(tmpdir, 'touch %s' % began))
    end = time.time() + 300
    while not began.check() and time.time() < end:
        time.sleep(0.01)
    assert began.check()
    lines = []
    question.check(lines.append)
    assert lines == []


def test_it_is_asked_once(tmpdir):
    asked_for = tmpdir.join('asked')
    question = lvmview.Question('/dev/sdb', pvs=program(tmpdir, 'echo >> %s' % asked_for))
    for _ in range(3):
        question.check(None)
    question.end()
    assert len(asked_for.readlines()) == 1


def children_of(process):
    """Process ids, of the dead that nobody has waited for as well."""
    found = subprocess.Popen(['ps', '-o', 'pid=,comm=', '--ppid', str(process)], stdout=subprocess.PIPE).communicate()[0].decode('utf-8')
    return [line.split()[0] for line in found.splitlines() if line.split()[1] != 'ps']


def test_an_answer_that_nobody_wants_leaves_no_process(tmpdir):
    before, children = os.listdir('/proc/self/fd'), children_of(os.getpid())
    question = lvmview.Question('/dev/sdb', pvs=program(tmpdir, 'exec sleep 300'))
    assert children_of(os.getpid()) != children
    question.end()
    question.end()
    assert children_of(os.getpid()) == children
    assert len(os.listdir('/proc/self/fd')) == len(before)
