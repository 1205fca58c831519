# SPDX-License-Identifier: LGPL-2.1-only
"""The engine on a clone over real iSCSI while the original is attached and in use; with GUEST_DRIVER=1 also what reaches the array."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402
from scenario import Scenario  # noqa: E402

ENGINE = Scenario("engine", ship=rig.dom0_ship())
BELOW = Scenario("below", ship={**rig.dom0_ship(), "/opt/relvmoiscsi/tests/luns": rig.REPOSITORY / "tests/luns"})


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ENGINE.run(tmp_path_factory.mktemp("engine"))


@pytest.mark.parametrize("check", ENGINE.checks())
def test_in_guest(engine, check):
    engine.assert_passed(check)


@pytest.fixture(scope="module")
def below(tmp_path_factory):
    return BELOW.run(tmp_path_factory.mktemp("below"))


@pytest.mark.skipif(not os.environ.get("GUEST_DRIVER"), reason="make guest-test runs it")
@pytest.mark.parametrize("check", BELOW.checks())
def test_from_below(below, check):
    below.assert_passed(check)
