# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's mpath_cli: multipathd's prompt."""

import re

import util

mpathcmd = ["/usr/sbin/multipathd", "-k"]


class MPathCLIFail(Exception):
    """multipathd did not say ok."""


def _ask(cmd):
    return util.doexec(mpathcmd, cmd)[1]


def mpexec(cmd):
    out = _ask(cmd)
    if out not in ("multipathd> ok\nmultipathd> ", "multipathd> " + cmd + "\nok\nmultipathd> "):
        raise MPathCLIFail()


def add_path(path):
    mpexec("add path %s" % path)


def remove_path(path):
    mpexec("remove path %s" % path)


def remove_map(m):
    mpexec("remove map %s" % m)


def resize_map(m):
    mpexec("resize map %s" % m)


def reconfigure():
    mpexec("reconfigure")


def is_working():
    return "switchgroup" in _ask("help")


def list_paths(scsi_id):
    return re.findall(r"[0-9]+:[0-9]+:[0-9]+:[0-9]+\s+([a-z]+)", _ask("show map %s topology" % scsi_id))


def list_maps():
    return [line.split(" ")[0] for line in _ask("list maps").split("\n")[1:-1]]


def ensure_map_gone(scsi_id):
    while list_paths(scsi_id):
        util.sleep(1)
