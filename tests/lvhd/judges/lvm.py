# SPDX-License-Identifier: LGPL-2.1-only
"""Real LVM as a judge: commands on a loop device, without device-mapper and without the machine's own LVM state. It is the machine's
LVM, or that in the directory LVM_BIN_DIR.

    with Loop(path) as device:
        report(device)
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import os
import re
import shutil
import tempfile
import time

from lvhd.judges import command

BUSY_ATTEMPTS = 120
BUSY_SECONDS = 0.25
VG_FIELDS = "vg_name vg_uuid vg_attr vg_seqno vg_extent_size vg_extent_count vg_free_count pv_count lv_count vg_mda_count vg_tags"
LV_FIELDS = "lv_name lv_uuid vg_name lv_attr lv_size seg_count lv_tags"
PV_FIELDS = "pv_name pv_uuid vg_name pv_attr pv_size dev_size pe_start pv_mda_count pv_tags"
SEGMENT_FIELDS = "lv_name segtype seg_start_pe seg_pe_ranges"

# Why each option: nothing of the host's LVM is read or written, no device-mapper or udev is needed, two judges can run at once,
# and only the device asked about is seen.
CONFIG = """
config {
    checks = 0
}
devices {
    scan = ["/dev"]
    filter = ["a|^%(device)s$|", "r|.*|"]
    global_filter = ["a|^%(device)s$|", "r|.*|"]
    use_devicesfile = 0
    hints = "none"
    write_cache_state = 0
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    md_component_detection = 0
    fw_raid_component_detection = 0
    multipath_component_detection = 0
}
global {
    activation = %(activation)d
    locking_type = 1
    locking_dir = "%(directory)s"
    use_lvmetad = 0
    use_lvmpolld = 0
    use_aio = 0
    use_lvmlockd = 0
    event_activation = 0
    notify_dbus = 0
    system_id_source = "none"
}
activation {
    udev_sync = 0
    udev_rules = 0
    monitoring = 0
}
backup {
    backup = 0
    archive = 0
    backup_dir = "%(directory)s"
    archive_dir = "%(directory)s"
}
"""

EXPECTED_WARNINGS = ("Activation disabled. No device-mapper interaction will be attempted.", "is using an old PV header",
                     "This metadata update is NOT backed up")

Report = collections.namedtuple("Report", "vgs lvs pvs segments checks")
# vgs, lvs, pvs, segments: `Listing`; checks: [command.Result] of vgck and pvck.
Listing = collections.namedtuple("Listing", "result rows")
# rows: one dict of strings per line, keyed by LVM's field names; sizes in bytes.


def missing():
    """None when LVM can judge here, else what is not there."""
    for program in ("lvm", "losetup"):
        if command.find(program) is None:
            return "%s is not installed (Debian package %s)" % (program, {"lvm": "lvm2", "losetup": "mount"}[program])
    if os.geteuid() != 0:
        return "loop devices need root"
    if not os.path.exists("/dev/loop-control"):
        return "this kernel has no loop devices"
    return None


_versions = []


def is_old():
    """Whether this is LVM 2.02 or older, which differs from 2.03 in a few answers."""
    if not _versions:
        out = run("/dev/null", "version").out
        _versions.append(tuple(int(number) for number in re.search(r"LVM version:\s+(\d+)\.(\d+)", out).groups()))
    return _versions[0] < (2, 3)


class NoLoopDevice(RuntimeError):
    """No loop device could be had."""


class Loop(object):
    """A loop device for an image: a context manager whose value is the device's path."""

    def __init__(self, image, read_only=True):
        self._image = image
        self._read_only = read_only
        self.device = None

    def __enter__(self):
        arguments = ["losetup", "--find", "--show"] + (["--read-only"] if self._read_only else []) + [self._image]
        for _ in range(BUSY_ATTEMPTS):
            result = command.run(arguments)
            if result.status == 0:
                self.device = result.out.strip()
                return self.device
            # All taken, or another process took the one that was found.
            time.sleep(BUSY_SECONDS)
        raise NoLoopDevice(result.err)

    def __exit__(self, *_):
        command.run(["losetup", "--detach", self.device])


def run(device, *arguments, **options):
    """Run one LVM command that sees nothing but `device`; activation=True lets it use device-mapper."""
    directory = tempfile.mkdtemp(prefix="lvm-judge-")
    try:
        settings = {"device": device, "directory": directory, "activation": int(options.get("activation", False))}
        with io.open(os.path.join(directory, "lvm.conf"), "w") as stream:
            stream.write(CONFIG % settings)
        return command.run(("lvm",) + arguments, {"LVM_SYSTEM_DIR": directory, "LVM_SUPPRESS_FD_WARNINGS": "1"})
    finally:
        shutil.rmtree(directory)


def listing(device, name, fields, *options):
    """One of LVM's reports as rows."""
    result = run(device, name, "--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o", ",".join(fields.split()),
                 *options)
    rows = []
    for line in result.out.splitlines():
        if line.count("|") == len(fields.split()) - 1:
            rows.append(dict(zip(fields.split(), line.strip().split("|"))))
    return Listing(result, rows)


def report(device):
    """Everything LVM says about the VG on `device`."""
    return Report(listing(device, "vgs", VG_FIELDS), listing(device, "lvs", LV_FIELDS, "-a"),
                  listing(device, "pvs", PV_FIELDS, "-a"), listing(device, "lvs", SEGMENT_FIELDS, "-a", "--segments"),
                  _checks(device))


def _checks(device):
    """pvck of LVM 2.02 walks the ring by guesswork, for minutes on some; it is not asked."""
    found = [run(device, "vgck")]
    if not is_old():
        found.append(run(device, "pvck", device))
    return found


def carry_out(image, names, *lines):
    """LVM commands on an image, which they may change; `names` and {device} are filled in, and all have to succeed."""
    with Loop(image, read_only=False) as device:
        for line in lines:
            result = run(device, *line.format(device=device, **names).split())
            assert result.status == 0, result


def complaints(report_):
    """Every line on which a report's commands failed or warned, except for what is meant: no activation, no backup, a label without
    today's extension."""
    lines = []
    for result in [part.result for part in report_[:-1]] + report_.checks:
        if result.status != 0:
            lines.append("exit status %d" % result.status)
        for line in result.err.splitlines():
            if not any(expected in line for expected in EXPECTED_WARNINGS):
                lines.append(line.strip())
    return lines


def report_image(image):
    """`report` of an image file, which stays unchanged."""
    with Loop(image) as device:
        return report(device)
