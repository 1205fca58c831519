# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.line and the locks that are waited for in it: who is next, and until when it is worth waiting."""
from __future__ import absolute_import, division, print_function

import os
import threading
import time

import pytest

from relvm import errors
from relvm.host import line, locks


@pytest.fixture
def directory(tmpdir, monkeypatch):
    monkeypatch.setattr(locks, "RUN_DIR", str(tmpdir))
    return str(tmpdir.join(locks.LINE))


class Clock(object):
    """Stands for module time: 25 seconds pass with every sleep, and `look` is called."""

    def __init__(self, look):
        self.now = 1000.0
        self.looks = 0
        self._look = look

    def time(self):
        return self.now

    def sleep(self, _):
        self.now += 25
        self._look(self)


def test_tickets_are_served_in_their_order(directory):
    first, second, third = [line.Ticket(directory, "V_x") for _ in range(3)]
    other = line.Ticket(directory, "V_xy")
    assert first.ahead() == () and other.ahead() == ()
    assert len(second.ahead()) == 2 and len(third.ahead()) == 3
    second.leave()
    assert len(third.ahead()) == 2
    first.leave()
    first.leave()
    assert third.ahead() == ()
    third.leave()
    other.leave()
    assert os.listdir(directory) == [".lock"]


def test_the_ticket_of_a_dead_run_counts_for_nothing(directory):
    process = os.fork()
    if not process:
        line.Ticket(directory, "V_x")
        os._exit(0)
    os.waitpid(process, 0)
    assert len(os.listdir(directory)) == 2
    mine = line.Ticket(directory, "V_x")
    assert mine.ahead() == ()
    mine.leave()
    assert os.listdir(directory) == [".lock"]


def test_who_is_first_can_show_that_he_is_alive(directory):
    first, second = line.Ticket(directory, "V_x"), line.Ticket(directory, "V_x")
    os.utime(os.path.join(directory, "V_x.000000000001"), (1, 1))
    before = second.ahead()
    first.touch()
    assert second.ahead() != before
    first.leave()
    second.leave()


def test_many_get_a_lock_in_the_order_in_which_they_came(directory, tmpdir):
    path = str(tmpdir.join("V_group"))
    holder = locks.FileLock(path, "the holder")
    holder.acquire()
    served = []

    def wait(number):
        lock = locks.FileLock(path, "one of many")
        lock.acquire()
        served.append(number)
        lock.release()
    waiting = []
    for number in range(6):
        waiting.append(threading.Thread(target=wait, args=(number,)))
        waiting[-1].start()
        while len(os.listdir(directory)) < number + 3:
            time.sleep(0.001)
    assert served == []
    holder.release()
    for thread in waiting:
        thread.join()
    assert served == list(range(6))


def test_nobody_is_refused_while_the_line_moves(directory, tmpdir, monkeypatch):
    """A wait that lasts three times as long as anything may stand still, behind somebody who shows that he is alive."""
    path = str(tmpdir.join("V_group"))
    holder, other = locks.FileLock(path, "the holder"), locks.FileLock(path, "the other")
    holder.acquire()
    def look(clock):
        clock.looks += 1
        if clock.looks < 8:
            os.utime(os.path.join(directory, "V_group.000000000001"), (clock.looks, clock.looks))
        else:
            holder.release()
    monkeypatch.setattr(locks, "time", Clock(look))
    assert other.acquire()
    other.release()


def test_a_holder_that_does_nothing_is_waited_for_so_long_and_no_longer(directory, tmpdir, monkeypatch):
    path = str(tmpdir.join("V_group"))
    holder, other = locks.FileLock(path, "the holder"), locks.FileLock(path, "the other")
    holder.acquire()
    monkeypatch.setattr(locks, "time", Clock(lambda clock: None))
    with pytest.raises(errors.LockTimeout) as caught:
        other.acquire()
    assert "waited 60 seconds for the other" in str(caught.value)
    assert os.listdir(directory) == [".lock", "V_group.000000000001"]
    holder.release()


def test_a_wait_that_is_not_wanted_any_more_ends_without_the_lock(directory, tmpdir):
    path = str(tmpdir.join("V_group"))
    holder, other = locks.FileLock(path, "the holder"), locks.FileLock(path, "the other")
    holder.acquire()
    assert not other.acquire(None, lambda: False)
    holder.release()
    assert other.acquire(None, lambda: True)
    other.release()
    assert os.listdir(directory) == [".lock"]


def test_an_lvm_that_waits_gets_the_lock_between_two_of_ours(directory, tmpdir):
    """LVM waits in the kernel, with no ticket."""
    import fcntl

    path = str(tmpdir.join("V_group"))
    served = []

    def lvm():
        with open(path, "a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            served.append("lvm")

    def ours():
        lock = locks.FileLock(path, "the second")
        lock.acquire()
        served.append("second")
        lock.release()
    first = locks.FileLock(path, "the first")
    first.acquire()
    threads = [threading.Thread(target=lvm), threading.Thread(target=ours)]
    for thread in threads:
        thread.start()
    inode = ":%d " % os.stat(path).st_ino
    while not [entry for entry in open("/proc/locks") if inode in entry and "->" in entry] or len(os.listdir(directory)) < 3:
        time.sleep(0.001)
    first.release()
    for thread in threads:
        thread.join()
    assert served == ["lvm", "second"]


def test_a_lock_is_given_back_although_a_child_still_has_the_descriptor(directory, tmpdir):
    path = str(tmpdir.join("V_group"))
    holder, other = locks.FileLock(path, "the holder"), locks.FileLock(path, "the other")
    holder.acquire()
    copy = os.dup(holder.fd)
    holder.release()
    assert other.try_acquire()
    other.release()
    os.close(copy)
