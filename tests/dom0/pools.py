# SPDX-License-Identifier: LGPL-2.1-only
"""A dom0 double with its toolstack, as the driver's tests want it: one object, one profile, closed at once."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import shutil
import sys
import tempfile

import pytest

from dom0 import native
from dom0 import profile as profiles_module
from dom0 import world as worlds
from dom0.world import wait_until
from dom0.xapi import Xapi, XapiCrashed, XapiError

__all__ = ["Pool", "XapiCrashed", "XapiError", "profiles", "wait_until", "why_not"]

TREE = "SM_TREE"
# Every generation of sm, instead of one for each layout
ALL = "ALL_GENERATIONS"
# An older Python does the rest: this one gets what every generation gets, and no more
CORE = "DRIVER_CORE"
# 2.7 and 3.6 share what one of them does
SHARE = "RELVM_SHARE"
# sm moved to Python 3 with XenServer 8
PYTHON2 = ("C", "D", "E", "N", "Q", "S", "X")
# 6.5, 8.2; XenServer 8 and XCP-ng 8.3, sm 4. XenServer's Python 3 is 3.6; a newer one gets one of them
CHOSEN = {2: ("C", "X"), 6: ("J", "V")}
NEWER = ("J",)
# These get every test, and the first of them the long series whole
WHOLE = ("X", "J")

LIAR = """#!%(python)s
import subprocess, sys
process = subprocess.Popen([%(real)r] + sys.argv[1:], stdout=subprocess.PIPE)
out = process.communicate()[0]
if %(word)r in sys.argv:
    out = out.replace(%(old)r, %(new)r)
getattr(sys.stdout, "buffer", sys.stdout).write(out)
sys.exit(process.returncode)
"""


def profiles():
    """What the driver's tests run on with this interpreter: names of profiles, or 'SM_TREE' alone when that is set."""
    if os.environ.get(TREE):
        return [TREE]
    if os.environ.get(ALL):
        return [name for name in sorted(profiles_module.PROFILES) if (name in PYTHON2) == (sys.version_info[0] < 3)]
    if sys.version_info[0] < 3:
        return list(CHOSEN[2])
    return list(CHOSEN.get(sys.version_info[1], NEWER))


def all_of_them():
    """Whether every generation gets every test, or the one that SM_TREE names."""
    return bool(os.environ.get(ALL) or os.environ.get(TREE))


def whole(name, among=WHOLE):
    """Whether a profile gets all tests. One with each of dom0's interpreters does."""
    return bool(os.environ.get(ALL)) or name == TREE or (name in among and sys.version_info[:2] in ((2, 7), (3, 6)))


def thorough(name):
    """Whether a profile gets the long series whole."""
    return whole(name, WHOLE[:1])


def part_of(name, values):
    """The values of a series that a profile gets: all, or those that the other dom0's Python leaves to it, or the middle one."""
    if os.environ.get(ALL) or name == TREE:
        return values
    if whole(name) and os.environ.get(SHARE) and len(values) > 1:
        return values[WHOLE.index(name)::len(WHOLE)]
    if thorough(name):
        return values
    return values[len(values) // 2:][:1]


def chosen(everywhere):
    """The profiles that a test gets: all of profiles(), or those that get every test, or else the first."""
    names = profiles()
    if everywhere:
        return names
    return [name for name in names if whole(name)] or names[:1]


def cases(values, everywhere):
    """Tuples of arguments as pytest takes them."""
    left_out = not everywhere and os.environ.get(CORE) and not os.environ.get(TREE)
    marks = [pytest.mark.skip(reason="done with a Python that dom0 has")] if left_out else []
    return [pytest.param(*value, marks=marks) for value in values]


def interpreter():
    """The interpreter behind a virtual environment. virtualenv's own for 2.7 does not start with -S, as dom0's programs do."""
    prefix = getattr(sys, "real_prefix", None)
    if prefix is None:
        return sys.executable
    return os.path.join(prefix, "bin", "python%d.%d" % sys.version_info[:2])


def why_not(name):
    """Why a profile cannot be tested here, or None."""
    if name != TREE:
        return None
    if native.is_python3(os.environ[TREE]) != (sys.version_info[0] > 2):
        return "SM_TREE is for Python %d" % (native.is_python3(os.environ[TREE]) + 2)
    place = tempfile.mkdtemp()
    try:
        reason = worlds.why_not_loop(place)
    finally:
        shutil.rmtree(place)
    return reason and "SM_TREE needs loop devices: " + reason


class Pool(object):
    """world: the dom0 double; xapi: its toolstack, running."""

    def __init__(self, directory, profile, multipath=False, mode="auto", slaves=0):
        if profile == TREE:
            self.world = worlds.World(directory, mode=mode, profile=None, python=interpreter())
            self.world.install_sm(os.environ[TREE])
        else:
            self.world = worlds.World(directory, mode=mode, profile=profile, python=interpreter())
        self.xapi = Xapi(self.world, slaves=slaves, multipath=multipath)
        self.xapi.start()

    def close(self):
        self.xapi.stop()
        self.world.close()

    @contextlib.contextmanager
    def wrapped(self, program, *arguments):
        """Drivers are started through a Python program meanwhile."""
        command_line = self.world.driver_command(self.xapi.driver_script("relvmoiscsi"))[0]
        if self.world.sm_tree:
            # the machine's own root, as the driver of a real sm sees it
            program = "/.host" + program
        self.xapi.wrapper = [command_line[-2], program] + [str(argument) for argument in arguments]
        try:
            yield
        finally:
            self.xapi.wrapper = []

    def create_on_slave(self, device_config, kind):
        """sr_create of type `kind` as a slave would run it: (code, text)."""
        fields = {"sr_uuid": "0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111", "sr_ref": "OpaqueRef:none",
                  "device_config": dict(device_config, SRmaster="false"), "args": ["0"]}
        sr = self.xapi._new_sr(fields["sr_uuid"], kind, "x", "", True, {})
        fields["sr_ref"] = sr
        try:
            self.xapi.result(self.xapi.exec_driver(kind, "sr_create", fields, sr))
        except XapiError as error:
            return error.code, error.params[1]
        raise AssertionError("no error")

    def sr_command(self, sr_uuid, command):
        """Any SR command for a known SR, or vdi_create."""
        if command == "vdi_create":
            return self.xapi.vdi_create(sr_uuid, 1 << 20)
        return self.xapi._sr_call(sr_uuid, command)

    def attach_only(self, vdi_uuid):
        """vdi_attach, which activates the volumes, without the vdi_activate that starts a tapdisk."""
        return self.xapi._vdi_call(vdi_uuid, "vdi_attach", ["true"], None)

    def lie(self, path, word, old, new):
        """The command `path` answers `new` where it means `old`, whenever `word` is among its arguments."""
        real = self.world.path(path)
        # some go by the name that they are called by
        moved = os.path.join(os.path.dirname(real), "moved", os.path.basename(real))
        os.mkdir(os.path.dirname(moved))
        os.rename(real, moved)
        with open(real, "w") as stream:
            stream.write(LIAR % {"python": self.world.python, "real": moved, "word": word, "old": old, "new": new})
        os.chmod(real, 0o755)

    def remove_disk(self, scsi_id):
        """Takes the disks of a SCSI id off the host, as if the array had presented the LUN later."""
        for name, found in self.world.disks().items():
            if found == scsi_id:
                with open(self.world.path("/sys/block/%s/device/delete" % name), "w") as stream:
                    stream.write("1")
        assert worlds.wait_until(lambda: scsi_id not in self.world.disks().values())

    def multipath_map(self, scsi_id):
        """True once multipathd has made a map of the SCSI id."""
        return worlds.wait_until(lambda: scsi_id in self.world.mappings())

    def sit_on(self, scsi_id, name):
        """Lets the kernel say that a device-mapper device sits on the disk of a SCSI id."""
        for disk, found in self.world.disks().items():
            if found == scsi_id:
                holder = self.world.path("/sys/block/%s/holders/dm-77" % disk)
                device = self.world.path("/sys/block/dm-77/dm")
                for directory in (holder, device):
                    os.makedirs(directory)
                with open(os.path.join(device, "name"), "w") as stream:
                    stream.write(name + "\n")
