# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.locks: who holds one, and who does not."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from relvm import errors
from relvm.host import locks


@pytest.fixture(autouse=True)
def run_directory(tmpdir, monkeypatch):
    """The machine's own is left alone."""
    monkeypatch.setattr(locks, 'RUN_DIR', str(tmpdir.mkdir('run')))


def test_a_lock_that_somebody_holds(tmpdir):
    path = str(tmpdir.join('V_group'))
    one, other = locks.FileLock(path, 'the one'), locks.FileLock(path, 'an LVM command')
    one.acquire()
    assert not other.try_acquire()
    with pytest.raises(errors.LockTimeout) as caught:
        other.acquire(0)
    assert str(caught.value) == ('waited 0 seconds for an LVM command. Another operation on this LUN or its original is running; repeat '
                                 'the command when it is over.')
    one.release()
    other.acquire(0)
    other.release()
    other.release()


def test_a_lock_whose_file_is_gone_is_not_held(tmpdir):
    """LVM unlinks its lock files: a lock on one that is no longer there keeps nobody out."""
    path = str(tmpdir.join('V_group'))
    one, other = locks.FileLock(path, 'the one'), locks.FileLock(path, 'the other')
    one.acquire()
    os.unlink(path)
    assert other.try_acquire()
    assert os.path.exists(path)
    one.release()
    assert not one.try_acquire()
    other.release()
