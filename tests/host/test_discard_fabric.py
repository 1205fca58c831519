# SPDX-License-Identifier: LGPL-2.1-only
"""fn=discard behind HBAs, with multipathing: two hosts, two paths each, and a map."""
from __future__ import absolute_import, division, print_function

from relvm.pool import discard
from test_discard_driver import assert_ended, attached, pair, pytest_generate_tests, seen, without  # noqa: F401 (fixtures)
from test_driver import CLONE, array  # noqa: F401 (a fixture)
from test_fabric_driver import FabricArray

ARRAY = FabricArray


def test_maps_and_paths_go_on_both_hosts(pair):  # noqa: F811
    a, session, second = pair(multipath=True, addresses=("one", "two"))
    before = without(seen(a.world, second.world), CLONE)
    sr = attached(a, session)
    assert a.world.disks().values() and list(second.world.disks().values()).count(CLONE) == 2
    answer = discard.discard(session, sr, a.xapi.host)
    assert [len(host["devices"]) >= 2 for host in answer["hosts"]] == [True, True]
    assert_ended(a, session, second, before, sr)
