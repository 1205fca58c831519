# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: fixtures that scenarios with the driver share."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def world():
    """The guest as a dom0; also its array."""
    from inside.guestworld import GuestWorld

    # GUEST_SM: the checkout of a real sm; GUEST_SLEEP: what its sleeps are multiplied with
    real = {}
    if os.environ.get("GUEST_SM"):
        real = {"sm": os.environ["GUEST_SM"], "sm_python": os.environ["GUEST_SM_PYTHON"]}
        real["sleep"] = float(os.environ.get("GUEST_SLEEP", "1"))
    dom0 = GuestWorld(**real)
    yield dom0
    pathlib.Path("/results/SMlog").write_text(dom0.log(), errors="surrogateescape")


@pytest.fixture(scope="session")
def toolstack(world):
    """xapi on it."""
    from dom0.xapi import Xapi

    with Xapi(world) as xapi:
        # an emulated host on a busy machine
        xapi.timeout = 1800
        yield xapi
