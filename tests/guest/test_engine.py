# SPDX-License-Identifier: LGPL-2.1-only
"""The engine on a clone over real iSCSI while the original is attached and in use."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402
from scenario import Scenario  # noqa: E402

ENGINE = Scenario("engine", ship=rig.dom0_ship())


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return ENGINE.run(tmp_path_factory.mktemp("engine"))


@pytest.mark.parametrize("check", ENGINE.checks())
def test_in_guest(engine, check):
    engine.assert_passed(check)
