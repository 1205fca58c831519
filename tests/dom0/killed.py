# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a driver that is killed (SIGKILL to itself) or fails at its Kth write or flush.

    python killed.py write|flush|eio-write|eio-flush|eio-read K PYTHON SCRIPT ARGUMENT

PYTHON is what xapi would have started; this process is it already. K counts from 1. The write that kills is not done: the writes
before it are what the LUN has got.
"""
from __future__ import absolute_import, division, print_function

import errno
import os
import runpy
import signal
import sys


def main(what, number, script, argument):
    real = os.path.realpath(script)
    sys.argv = [script, argument]
    sys.path[0] = os.path.dirname(real)
    from relvm import errors
    from relvm.engine import blockdev
    count = [0]

    def due():
        count[0] += 1
        return count[0] == number

    def replaced(method, error):
        def call(self, *arguments):
            if self.writable and due():
                if not what.startswith("eio-"):
                    os.kill(os.getpid(), signal.SIGKILL)
                self.failed = what != "eio-read"
                raise error(self, *arguments)
            return method(self, *arguments)
        return call

    cause = os.strerror(errno.EIO)
    if what.endswith("write"):
        blockdev.Device.write = replaced(blockdev.Device.write, lambda self, offset, data: errors.WriteFailed(
            step=self.step, device=self.path, offset=offset, length=len(data), cause=cause))
    elif what.endswith("flush"):
        blockdev.Device.flush = replaced(blockdev.Device.flush, lambda self: errors.FlushFailed(
            step=self.step, device=self.path, cause=cause))
    else:
        blockdev.Device.read = replaced(blockdev.Device.read, lambda self, offset, length: errors.ReadFailed(
            device=self.path, offset=offset, length=length, cause=cause))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[4], sys.argv[5])
