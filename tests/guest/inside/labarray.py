# SPDX-License-Identifier: LGPL-2.1-only
"""HOOK of the lab kit in the guest: python3 -m inside.labarray IQN clone|remove NUMBER SCSIID

The clone is another LUN of the original's target.
"""

import os
import pathlib
import sys

from inside.command import run
from inside.target import FILES, Volume

ORIGINAL = "/srv/lab"


def main(iqn, what, number, scsi_id):
    path = f"/srv/lab-{number}"
    lun = pathlib.Path(f"/sys/kernel/config/target/iscsi/{iqn}/tpgt_1/lun/lun_{number}")
    if what == "remove":
        for link in lun.iterdir():
            if link.is_symlink():
                link.unlink()
        lun.rmdir()
        (FILES / f"lab-{number}").rmdir()
        os.unlink(path)
        return
    os.sync()
    run("cp", "--sparse=always", ORIGINAL, path)
    clone = Volume(f"lab-{number}", path)
    lun.mkdir()
    os.symlink(clone.place, lun / clone.name)
    print("SCSIid=" + clone.scsi_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
