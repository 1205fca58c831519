# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a driver that stops itself (SIGSTOP) before some of its writes; SIGCONT lets it go on.

    python stopped.py K[,K...] PYTHON SCRIPT ARGUMENT

PYTHON is what xapi would have started; this process is it already. K counts from 1.
"""
from __future__ import absolute_import, division, print_function

import ctypes
import os
import runpy
import signal
import sys


def is_stopped(process):
    """Whether a subprocess has stopped."""
    with open("/proc/%d/stat" % process.pid) as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def main(numbers, script, argument):
    sys.argv = [script, argument]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    from relvm.engine import blockdev

    stop_here = ctypes.CDLL(None)["raise"]
    write = blockdev.Device.write
    count = [0]

    def counted(device, offset, data):
        count[0] += 1
        if count[0] in numbers:
            # not os.kill: of several threads this very one has to stop here
            stop_here(signal.SIGSTOP)
        return write(device, offset, data)

    blockdev.Device.write = counted
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1].split(",")], sys.argv[3], sys.argv[4])
