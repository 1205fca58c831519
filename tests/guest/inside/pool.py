# SPDX-License-Identifier: LGPL-2.1-only
"""What an administrator or CloudStack does with xapi, and what they expect to be told."""

import os
import re

from dom0.xapi import DRIVER_DIRECTORY, XapiError
from inside import devices
from inside.command import attempt, wait_until
from inside.lvmconf import MASTER

MIB = 1 << 20
RESIGNED = "Error reporting error, unknown key The SR has been successfully resigned. Use the %s type to attach it"


def vg_name(sr_uuid):
    return "VG_XenStorage-" + sr_uuid


def lvm(*arguments):
    """The CompletedProcess of an LVM command that may write, as an administrator gives it on the pool's master."""
    return attempt(*arguments, env=dict(_environment(), **MASTER))


def _environment():
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def resign(xapi, config, label="clone", description="", kind="relvmoiscsi", **options):
    """sr-create type=relvmoiscsi (or `kind`); the XapiError it always ends in."""
    try:
        xapi.sr_create(kind, config, label, description, **options)
    except XapiError as error:
        return error
    raise AssertionError(f"sr-create type={kind} returned")


def says_resigned(error, kind="lvmoiscsi"):
    """True when an XapiError is the one that means success, with nothing on stderr; kind: the type it names."""
    return error.code == "SR_BACKEND_FAILURE_1" and error.params == ["", RESIGNED % kind, ""]


def probe(xapi, config, kind="lvmoiscsi"):
    """The SR uuids that sr-probe type=lvmoiscsi (or `kind`) shows."""
    return re.findall(r"<UUID>\s*(\S+)\s*</UUID>", xapi.sr_probe(kind, config))


def attach(xapi, uuid, config, label="clone", kind="lvmoiscsi"):
    """sr-introduce, pbd-create, pbd-plug, sr-scan; the PBD's reference."""
    xapi.sr_introduce(kind, uuid, name_label=label)
    pbd = xapi.pbd_create(uuid, config)
    xapi.pbd_plug(pbd)
    xapi.sr_scan(uuid)
    return pbd


def detach(xapi, uuid, pbd):
    """pbd-unplug, sr-forget."""
    xapi.pbd_unplug(pbd)
    xapi.sr_forget(uuid)


def disks(xapi, sr_uuid):
    """uuids of the SR's VDIs that a user sees."""
    return sorted(uuid for uuid, record in xapi.vdis(sr_uuid).items() if record["managed"])


def collect_garbage(world, xapi, sr_uuid):
    """A real sm's garbage collector, in the foreground; what it said. It is off otherwise, and what a scan started finds that out first."""
    # up to 7.x it sleeps for five minutes before it finds that out
    wait_until(lambda: not _sm_processes(), "end of sm's processes", 900)
    settings = xapi.db.get("SR", xapi.db.find("SR", sr_uuid))["other_config"]
    settings.pop("gc", None)
    command, environment = world.driver_command(DRIVER_DIRECTORY + "/cleanup.py")
    done = attempt(*command, "-g", "-u", sr_uuid, env=dict(environment, **MASTER))
    settings["gc"] = "false"
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _sm_processes():
    """Process ids of sm's programs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                if DRIVER_DIRECTORY.encode() in words.read():
                    found.append(pid)
        except OSError:
            continue
    return found


def active_lvs(vg):
    """{LV name as device-mapper has it: SCSI ids its table leads to}."""
    return devices.lv_luns(vg)
