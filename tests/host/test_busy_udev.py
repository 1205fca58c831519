# SPDX-License-Identifier: LGPL-2.1-only
"""A host whose udev needs longer than sm waits for it: sm's own attach says then that the LUN is not there."""
from __future__ import absolute_import, division, print_function

from test_driver import CLONE, array, everywhere, pytest_generate_tests  # noqa: F401 (fixtures)

WAITS = "udev has not listed"


@everywhere
def test_a_lun_that_udev_lists_late_is_waited_for(array):  # noqa: F811
    a = array(same_target=False)
    a.attach_original()
    before = a.traces()
    a.world.keep_udev_busy()
    a.resign_while_udev_waits("%s: %s" % (CLONE, WAITS))
    assert a.traces() == before
    assert len(a.adopt()) == 1


def test_a_lun_that_is_not_there_is_not_waited_for(array):  # noqa: F811
    a = array(same_target=False)
    code, _, _ = a.create(a.config(CLONE[:-1] + "9"))
    assert code == "SR_BACKEND_FAILURE_107"
    assert WAITS not in a.world.log()
    assert a.traces()["references"] == {} and a.traces()["sessions"] == []
