# SPDX-License-Identifier: LGPL-2.1-only
"""device-mapper multipath, configured as in a dom0: maps are named by the SCSI id."""

import os
import subprocess

from inside.command import attempt, run, wait_until

CONFIGURATION = """\
defaults {
    user_friendly_names no
    find_multipaths no
    polling_interval 1
}
"""


def start():
    """Starts multipathd; returns its Popen."""
    with open("/etc/multipath.conf", "w") as config:
        config.write(CONFIGURATION)
    daemon = subprocess.Popen(["multipathd", "-d"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: attempt("multipathd", "show", "daemon").stdout.startswith("pid"), "multipathd")
    return daemon


def stop(daemon):
    """Flushes every map that nobody uses and ends the daemon."""
    attempt("multipath", "-F")
    attempt("multipathd", "shutdown")
    daemon.wait()


def wait_for_map(scsi_id, paths):
    """/dev/mapper/<SCSI id>, when the map has that many active paths and udev knows it."""
    path = "/dev/mapper/" + scsi_id

    def ready():
        return os.path.exists(path) and run("multipath", "-ll", scsi_id).count("active ready running") == paths

    wait_until(ready, f"map {scsi_id} with {paths} paths")
    run("udevadm", "settle")
    return path
