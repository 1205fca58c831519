# SPDX-License-Identifier: LGPL-2.1-only
"""Loaded at the start of every Python program of a real sm tree in a double: shorter sleeps, the kernel that 6.5 expects,
and INQUIRY."""

import os
import time

import sgio

_sleep = time.sleep
_factor = float(os.environ.get("DOM0_SLEEP", "1"))


def sleep(seconds):
    """time.sleep, shortened; with DOM0_SETTLE it also lasts until udev has nothing left to do, for which an emulated host needs longer
    than those that sm's sleeps were made for."""
    _sleep(seconds * _factor)
    if "DOM0_SETTLE" in os.environ:
        os.spawnlp(os.P_WAIT, "udevadm", "udevadm", "settle", "--timeout=300")


time.sleep = sleep
sgio.install("")

if os.environ.get("DOM0_KERNEL"):
    _uname = os.uname

    def uname():
        """os.uname with the release that DOM0_KERNEL names."""
        values = list(_uname())
        values[2] = os.environ["DOM0_KERNEL"]
        return tuple(values)

    os.uname = uname
