# SPDX-License-Identifier: LGPL-2.1-only
"""The storm in short: a few clones of one attached original at once, with LVM at work on it. Nothing is said about times."""
from __future__ import absolute_import, division, print_function

import sys

import pytest

from dom0 import world
from storm import clones


@pytest.mark.skipif(sys.version_info[0] < 3, reason='the tools of the storm are for Python 3')
def test_every_clone_gets_its_turn(tmpdir):
    reason = world.why_not_loop(str(tmpdir))
    if reason:
        pytest.skip(reason)
    result = clones.storm(str(tmpdir), 3, 'J', sleep=0.3)
    assert (result.errors, result.left) == ([], [])
    assert result.succeeded == 3
    assert len(result.held) == 3 and result.commands
    assert result.early == 3
