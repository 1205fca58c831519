# SPDX-License-Identifier: LGPL-2.1-only
"""A look of sm's that fails since somebody else's session vanished is repeated."""
from __future__ import absolute_import, division, print_function

import errno
import os
import shutil
import threading

import pytest

from dom0 import pools
from relvm.host import looks
from test_driver import array  # noqa: F401 (a fixture)

GONE = IOError(errno.ENOENT, 'No such file or directory', '/sys/class/iscsi_host/host7/device/session1/iscsi_session/session1/targetname')


@pytest.fixture(params=pools.cases([(name,) for name in pools.profiles()[-1:]], False))
def profile(request):
    reason = pools.why_not(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def failing(times, error):
    """(a function that fails so often, what it was called with)"""
    calls = []

    def look(*arguments):
        calls.append(arguments)
        if len(calls) <= times:
            raise error
        return 'seen'
    return look, calls


@pytest.mark.parametrize('error', [GONE, IndexError('list index out of range')])
def test_it_is_repeated(error, monkeypatch):
    monkeypatch.setattr(looks, 'PAUSE', 0)
    lines = []
    look, calls = failing(2, error)
    assert looks.repeated(lines.append, look, 1, 2) == 'seen'
    assert calls == [(1, 2)] * 3 and len(lines) == 2


def test_not_for_ever(monkeypatch):
    monkeypatch.setattr(looks, 'PAUSE', 0)
    look, calls = failing(100, GONE)
    with pytest.raises(IOError):
        looks.repeated(str, look)
    assert len(calls) == looks.LOOKS


@pytest.mark.parametrize('error', [
    KeyError('x'), IOError(errno.EIO, 'x', '/sys/class/iscsi_session/x'), IOError(errno.ENOENT, 'x', '/etc/x'),
    OSError(errno.ENOENT, 'No such file or directory: /dev/disk/by-scsid/3600'), SystemExit(1)])
def test_nothing_else_is(error):
    look, calls = failing(1, error)
    with pytest.raises(type(error)):
        looks.repeated(str, look)
    assert len(calls) == 1


def test_a_session_that_goes_away_meanwhile(array):  # noqa: F811
    """There is a session's directory, but the name of its target is gone already; the directory goes when sm has stumbled over it."""
    a = array()
    session = a.world.path('/sys/class/iscsi_host/host99/device/session99/iscsi_session/session99')
    os.makedirs(session)
    done = threading.Event()

    def kernel():
        while not done.wait(0.05):
            if 'vanished while sm looked' in a.world.log():
                shutil.rmtree(a.world.path('/sys/class/iscsi_host/host99'))
                return
    thread = threading.Thread(target=kernel)
    thread.start()
    try:
        a.resign()
    finally:
        done.set()
        thread.join()
    assert not os.path.exists(session)
