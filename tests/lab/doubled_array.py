# SPDX-License-Identifier: LGPL-2.1-only
"""HOOK of the kit for a double of a dom0: python doubled_array.py ROOT DIRECTORY clone|remove NUMBER SCSIID"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dom0.state import State  # noqa: E402


def main(root, directory, what, number, scsi_id):
    path = os.path.join(directory, "clone-%s" % number)
    if what == "remove":
        os.unlink(path)
        return 0
    with State(root) as state:
        for target in state["targets"].values():
            for lun in list(target["luns"].values()):
                if lun["scsi_id"] == scsi_id:
                    os.sync()
                    subprocess.check_call(["cp", "--sparse=always", lun["image"], path])
                    clone = scsi_id[:-1] + number
                    target["luns"][str(len(target["luns"]))] = dict(lun, image=path, scsi_id=clone, serial=clone[1:], wwid=clone)
                    print("SCSIid=" + clone)
                    return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
