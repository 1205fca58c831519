# SPDX-License-Identifier: LGPL-2.1-only
"""Originals that the pool knows by a path, two LUNs of one SCSI id, and the array that refreshes a clone: refused, and the advice carried
out."""
from __future__ import absolute_import, division, print_function, unicode_literals

import shutil

import pytest

from dom0 import pools
from luns import damage
from lvhd import shapes
from test_driver import CLONE, IQN, ORIGINAL, SUCCESS, array  # noqa: F401 (a fixture)


@pytest.fixture(params=pools.cases([(name,) for name in pools.profiles()[-1:]], False))
def profile(request):
    reason = pools.why_not(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def unnamed(**fields):
    """An SR whose metadata name no SCSI id."""
    return shapes.one(1, device="/dev/sdq", **fields)


def known_as(a, device, serial=None, host=None):
    """The pool has the SR as type lvm."""
    a.xapi.sr_introduce("lvm", a.sr.uuid)
    a.xapi.pbd_create(a.sr.uuid, {"device": device}, host)
    if serial:
        a.xapi.srs()[a.sr.uuid]["sm_config"]["devserial"] = serial


def refused(a, code, *said):
    untouched, before = damage.fingerprint(a.clone), a.traces()
    got, text, _ = a.create()
    assert got == "SR_BACKEND_FAILURE_47", text
    for words in said:
        assert words in text, text
    assert damage.fingerprint(a.clone) == untouched and a.traces() == before
    answer = a.xapi.sr_probe("relvmoiscsi", a.config())
    assert "<possible>false</possible>" in answer and 'code="%s"' % code in answer
    return text


MAYBE = [("/dev/disk/by-id/scsi-" + CLONE, None), ("/dev/disk/by-id/scsi-%s,/dev/sdb" % ORIGINAL, None)]


@pytest.mark.parametrize("device, serial", MAYBE)
def test_an_sr_of_this_pool_that_may_be_on_this_very_lun(array, device, serial):  # noqa: F811
    a = array(unnamed())
    known_as(a, device, serial)
    refused(a, "Original", "is SR %s of this pool" % a.sr.uuid, "SCSI id of its own")
    assert a.create(a.config(force="true"))[1] == SUCCESS


ELSEWHERE = [("/dev/disk/by-id/scsi-" + ORIGINAL, None), ("/dev/sdb", "scsi-" + ORIGINAL)]


@pytest.mark.parametrize("device, serial", ELSEWHERE)
def test_an_sr_of_this_pool_that_is_elsewhere(array, device, serial):  # noqa: F811
    a = array(unnamed())
    known_as(a, device, serial)
    a.resign()


def test_a_path_of_this_host_is_asked(array):  # noqa: F811
    """The pool's SR is on a disk of this host that says that it is the original."""
    a = array(unnamed())
    a.world.login(IQN)
    if a.world.mode != "loop":
        pytest.skip("the disks of this double are files")
    disk = [name for name, scsi_id in a.world.disks().items() if scsi_id == ORIGINAL]
    known_as(a, "/dev/" + disk[0])
    a.resign()


def test_a_path_of_another_host_is_not_asked(array):  # noqa: F811
    a = array(unnamed())
    a.world.login(IQN)
    known_as(a, "/dev/sda", host="OpaqueRef:elsewhere")
    refused(a, "Original", "/dev/sda")


def test_two_luns_of_one_scsi_id(array):  # noqa: F811
    """Targets give all their LUNs the same id unless they are told another."""
    a = array(shapes.one(1, device="/dev/disk/by-scsid/%s/sda" % CLONE))
    refused(a, "Original", "it is an original", "or the target gives original and copy the same SCSI id", "SCSI id of its own")


def test_the_array_refreshes_a_clone(array):  # noqa: F811
    """Last month's SR is still known to the pool, unplugged, under the SCSI id of the LUN on which a new copy is now."""
    a = array()
    a.resign()
    a.adopt()
    last = a.uuid
    pbd = [ref for ref, record in a.xapi.db.all("PBD").items() if record["device_config"].get("SCSIid") == CLONE]
    a.xapi.pbd_unplug(pbd[0])
    shutil.copyfile(a.original, a.clone)
    text = refused(a, "InUse", "belongs to SR %s of this pool" % last, "xe sr-forget uuid=" + last)
    assert "xe pbd-unplug" in text
    a.xapi.sr_forget(last)
    a.resign()
