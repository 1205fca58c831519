# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.guard, apart from a host: how its thread does the work."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from relvm.host import guard


class Work(object):
    """An early.EarlyWork that remembers how it was called. fails: it raises."""

    def __init__(self, fails=None):
        self.calls = []
        self.fails = fails

    def prepare(self, path):
        pass

    def __call__(self, path):
        self.calls.append((path, os.nice(0)))
        if self.fails:
            raise self.fails


class Held(guard.OriginalGuard):
    """The lock is held at once."""

    def _find_and_lock(self):
        return '/dev/sdx'


def done(work):
    thread = Held('360000000000000000e00000000010001', work)
    thread.start()
    thread.join()
    return thread


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may go first')
def test_the_work_goes_before_others_and_nothing_else_does():
    before = os.nice(0)
    work = Work()
    assert done(work).error is None
    assert work.calls == [('/dev/sdx', -20)]
    assert os.nice(0) == before


def test_what_the_work_raises_is_kept():
    error = ValueError('x')
    assert done(Work(error)).error is error


def test_nothing_begins_once_attach_has_ended():
    work = Work()
    thread = Held('360000000000000000e00000000010001', work)
    thread.settle()
    thread.start()
    thread.join()
    assert work.calls == []
