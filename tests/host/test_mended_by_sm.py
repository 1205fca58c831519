# SPDX-License-Identifier: LGPL-2.1-only
"""What a refusal advises to do with sm and xapi is done, on a pool of doubles; then the LUN is resigned."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from conftest import copy
from luns import damage
from lvhd import reader, shapes
from lvhd.model import MIB, RAW, Sr
from test_driver import array, pytest_generate_tests, SUCCESS  # noqa: F401 (fixtures)


# A name that is cut in a character; with REMEDIES set also a record without its end, and a header
SPOILT = [(b"<name_label>vdi0", b"<name_label>\xe2\x82", "is not UTF-8"), (b"</vdi>", b"", "is not of the known form"),
          (b"XSSM:", b"XSSX:", "its header is")]


def refused(a, *words):
    code, text, _ = a.create()
    assert code.startswith("SR_BACKEND_FAILURE_") and text != SUCCESS
    for each in words:
        assert each in text, text


def unplugged(a):
    """The original, attached and scanned once, so that xapi knows its VDIs; its PBD."""
    a.attach_original()
    pbd, = [ref for ref, record in a.xapi.pbds(a.sr.uuid).items() if record["currently_attached"]]
    a.xapi.pbd_unplug(pbd)
    return pbd


def clone_again(a):
    copy(a.original, a.clone)


def renamed_and_plugged(a, pbd):
    """lvrename VG MGT MGT_old, pbd-plug, and the SR is at rest again."""
    damage.text(a.original, lambda text: text.replace(b"\nMGT {", b"\nMGT_old {", 1))
    a.xapi.pbd_plug(pbd)
    a.xapi.sr_scan(a.sr.uuid)
    a.xapi.pbd_unplug(pbd)


@pytest.mark.parametrize("old, new, words", SPOILT if os.environ.get("REMEDIES") else SPOILT[:1])
def test_sm_makes_mgt_anew(array, old, new, words):  # noqa: F811
    a = array(shapes.two_snapshots(1))
    pbd = unplugged(a)
    damage.mgt(a.original, old, new)
    clone_again(a)
    refused(a, words, "lvrename", "unplug and plug the PBDs")
    renamed_and_plugged(a, pbd)
    with reader.Lun(a.original) as lun:
        assert set(["MGT", "MGT_old"]) <= set(lun.volumes)
    clone_again(a)
    a.resign()
    assert "vdi0" in [vdi["name_label"] for vdi in a.adopt().values()]


def test_sm_makes_an_mgt_that_is_not_there(array):  # noqa: F811
    a = array(shapes.two_snapshots(1))
    pbd = unplugged(a)
    damage.text(a.original, lambda text: text.replace(b"\nMGT {", b"\nMGT_old {", 1))
    clone_again(a)
    refused(a, "has no metadata volume", "unplug and plug")
    a.xapi.pbd_plug(pbd)
    a.xapi.pbd_unplug(pbd)
    clone_again(a)
    a.resign()


def test_an_sr_of_raw_volumes_alone_is_upgraded(array):  # noqa: F811
    """xe-lvm-upgrade sets sm-config:use_vhd; the next plug makes an MGT."""
    sr = Sr(1)
    shapes.disk(sr, "raw disk", vdi_type=RAW)
    a = array(sr)
    damage.text(a.original, lambda text: text.replace(b"\nMGT {", b"\nMGT_old {", 1))
    clone_again(a)
    refused(a, "has no metadata volume", "xe-lvm-upgrade")
    pbd = unplugged(a)
    clone_again(a)
    refused(a, "has no metadata volume")
    a.xapi.db.get("SR", a.xapi.db.find("SR", a.sr.uuid))["sm_config"]["use_vhd"] = "true"
    a.xapi.pbd_plug(pbd)
    a.xapi.sr_scan(a.sr.uuid)
    a.xapi.pbd_unplug(pbd)
    clone_again(a)
    a.resign()
    assert [vdi["sm_config"]["vdi_type"] for vdi in a.adopt().values()] == ["aio"]


def test_a_vdi_is_made_on_an_empty_sr(array):  # noqa: F811
    a = array(Sr(1))
    refused(a, "Make a VDI on the original")
    a.attach_original()
    a.xapi.vdi_create(a.sr.uuid, 8 * MIB)
    pbd, = a.xapi.pbds(a.sr.uuid)
    a.xapi.pbd_unplug(pbd)
    clone_again(a)
    a.resign()


def test_the_sr_of_last_months_clone_is_forgotten(array):  # noqa: F811
    """The array has put another copy on the LUN."""
    a = array(shapes.two_snapshots(1))
    a.resign()
    a.adopt()
    first = a.uuid
    pbd, = [ref for ref, record in a.xapi.pbds(first).items()]
    refused(a, "xe pbd-unplug", "xe sr-forget uuid=%s" % first)
    a.xapi.pbd_unplug(pbd)
    clone_again(a)
    refused(a, "xe sr-forget uuid=%s" % first)
    a.xapi.sr_forget(first)
    a.resign()
    assert a.uuid != first
