# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a driver whose thread that writes halts before some of its writes; SIGCONT lets it go on.

    python stopped.py K[,K...] PYTHON SCRIPT ARGUMENT

PYTHON is what xapi would have started; this process is it already. K counts from 1. The other threads go on: one that runs an
iscsiadm holds sm's lock for that, and a process stopped as a whole would keep it.
"""
from __future__ import absolute_import, division, print_function

import ctypes
import os
import runpy
import signal
import sys

PR_SET_NAME = 15
SIG_BLOCK = 0
SIGSET_BYTES = 128
HALTED = "halted"


def is_stopped(process):
    """Whether a thread of a subprocess has halted."""
    tasks = "/proc/%d/task" % process.pid
    try:
        for task in os.listdir(tasks):
            with open(os.path.join(tasks, task, "comm")) as name:
                if name.read().strip() == HALTED:
                    return True
    except EnvironmentError:
        # a thread or the process has ended meanwhile
        return False
    return False


def main(numbers, script, argument):
    sys.argv = [script, argument]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    from relvm.engine import blockdev

    libc = ctypes.CDLL(None)
    # SIGCONT waits in the queue until a halted thread takes it, and disturbs no other thread's sleep
    awaited = ctypes.create_string_buffer(SIGSET_BYTES)
    libc.sigemptyset(awaited)
    libc.sigaddset(awaited, signal.SIGCONT)
    libc.pthread_sigmask(SIG_BLOCK, awaited, None)
    taken = ctypes.c_int()
    write = blockdev.Device.write
    count = [0]

    def counted(device, offset, data):
        count[0] += 1
        if count[0] in numbers:
            libc.prctl(PR_SET_NAME, HALTED.encode("ascii"), 0, 0, 0)
            libc.sigwait(awaited, ctypes.byref(taken))
            libc.prctl(PR_SET_NAME, b"going", 0, 0, 0)
        return write(device, offset, data)

    blockdev.Device.write = counted
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1].split(",")], sys.argv[3], sys.argv[4])
