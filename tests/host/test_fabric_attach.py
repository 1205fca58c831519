# SPDX-License-Identifier: LGPL-2.1-only
"""The plugin's attach with relvmohba behind it, under a multipath map that was there before: sm's own probe would refuse that."""
from __future__ import absolute_import, division, print_function

from dom0.session import Session
from luns import damage
from relvm.pool import attach
from test_attach_driver import profile  # noqa: F401 (a fixture)
from test_driver import CLONE, array  # noqa: F401 (a fixture)
from test_fabric_driver import FabricArray

ARRAY = FabricArray


def test_attach_under_a_map_that_was_there(array):  # noqa: F811
    a = array(multipath=True, addresses=("one", "two"))
    a.world.start_multipathd()
    a.attach_original()
    a.show()
    a.world.run("multipath", CLONE)
    assert a.pool.multipath_map(CLONE)
    untouched = damage.fingerprint(a.original)
    answer = attach.attach(Session(a.xapi), a.config())
    assert answer["resigned"] is True and [pbd["attached"] for pbd in answer["pbds"]] == [True]
    assert a.xapi.srs()[answer["sr"]]["type"] == "lvmohba"
    assert not set(a.xapi.vdis(a.sr.uuid)) & set(a.xapi.vdis(answer["sr"]))
    assert damage.fingerprint(a.original) == untouched
    assert attach.attach(Session(a.xapi), a.config()) == dict(answer, resigned=False)
