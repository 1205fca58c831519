# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a driver from which the array takes the LUN away as soon as it has been resigned, while sm still attaches it.

    python unmapped.py SCSI-ID PYTHON SCRIPT ARGUMENT

PYTHON is what xapi would have started; this process is it already.
"""
from __future__ import absolute_import, division, print_function

import glob
import os
import runpy
import shutil
import sys


def main(scsi_id, script, argument):
    sys.argv = [script, argument]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    from relvm.engine import blockdev
    from relvm.host import devices

    close = blockdev.Device.close

    def closed(device):
        close(device)
        if device.writable and device.writes:
            links = "%s/disk/by-scsid/%s" % (devices.DEV, scsi_id)
            for name in os.listdir(links):
                for known in glob.glob("%s/class/scsi_device/*/device/block/%s" % (devices.SYS, name)):
                    os.unlink(os.path.dirname(os.path.dirname(known)))
            shutil.rmtree(links)
            os.unlink("%s/disk/by-id/scsi-%s" % (devices.DEV, scsi_id))

    blockdev.Device.close = closed
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3], sys.argv[4])
