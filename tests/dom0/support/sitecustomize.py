# SPDX-License-Identifier: LGPL-2.1-only
"""Loaded at the start of every Python program of a real sm tree in a double: shorter sleeps, the kernel that 6.5 expects,
and INQUIRY."""

import os
import time

import sgio

_sleep = time.sleep
_factor = float(os.environ.get("DOM0_SLEEP", "1"))


def sleep(seconds):
    """time.sleep, shortened."""
    _sleep(seconds * _factor)


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
