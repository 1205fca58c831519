# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a driver; the machine's power goes at its Kth write, flush, or question to a judge, which is not done any more.

    python3 cut.py write|flush|judge K PYTHON SCRIPT ARGUMENT
"""

import os
import runpy
import sys


def main(what, number, script, argument):
    sys.argv = [script, argument]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    from relvm.engine import blockdev

    if what == "judge":
        from relvm.host import smcompat

        places = [(smcompat, "lvm"), (smcompat, "scan_vhds"), (smcompat, "read_metadata")]
    else:
        places = [(blockdev.Device, what)]
    count = 0

    def counted(function):
        def call(*arguments):
            nonlocal count
            if what == "judge" or arguments[0].writable:
                count += 1
                if count == number:
                    sys.path.insert(0, "/rig")
                    from inside.reporting import cut_power, report

                    report(cut=f"{what} {number}")
                    cut_power()
            return function(*arguments)

        return call

    for owner, name in places:
        setattr(owner, name, counted(getattr(owner, name)))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[4], sys.argv[5])
