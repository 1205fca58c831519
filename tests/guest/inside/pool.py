# SPDX-License-Identifier: LGPL-2.1-only
"""What an administrator or CloudStack does with xapi, and what they expect to be told."""

import re

from dom0.xapi import XapiError
from inside import devices
from inside.command import attempt
from inside.lvmconf import MASTER

MIB = 1 << 20
RESIGNED = "Error reporting error, unknown key The SR has been successfully resigned. Use the lvmoiscsi type to attach it"


def vg_name(sr_uuid):
    return "VG_XenStorage-" + sr_uuid


def lvm(*arguments):
    """The CompletedProcess of an LVM command that may write, as an administrator gives it on the pool's master."""
    return attempt(*arguments, env=dict(_environment(), **MASTER))


def _environment():
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def resign(xapi, config, label="clone", description="", **options):
    """sr-create type=relvmoiscsi; the XapiError it always ends in."""
    try:
        xapi.sr_create("relvmoiscsi", config, label, description, **options)
    except XapiError as error:
        return error
    raise AssertionError("sr-create type=relvmoiscsi returned")


def says_resigned(error):
    """True when an XapiError is the one that means success, with nothing on stderr."""
    return error.code == "SR_BACKEND_FAILURE_1" and error.params == ["", RESIGNED, ""]


def probe(xapi, config):
    """The SR uuids that sr-probe type=lvmoiscsi shows."""
    return re.findall(r"<UUID>\s*(\S+)\s*</UUID>", xapi.sr_probe("lvmoiscsi", config))


def attach(xapi, uuid, config, label="clone"):
    """sr-introduce, pbd-create, pbd-plug, sr-scan; the PBD's reference."""
    xapi.sr_introduce("lvmoiscsi", uuid, name_label=label)
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


def active_lvs(vg):
    """{LV name as device-mapper has it: SCSI ids its table leads to}."""
    return devices.lv_luns(vg)
