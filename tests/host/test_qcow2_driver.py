# SPDX-License-Identifier: LGPL-2.1-only
"""The driver on SRs with QCOW2 disks: resigned where sm knows them, refused elsewhere, with doubles or the real sm of SM_TREE."""
from __future__ import absolute_import, division, print_function

import sys

import pytest

import test_driver
from dom0 import pools, profile as profiles
from luns import damage, devices
from lvhd import policy, reader, shapes
from lvhd.model import QCOW2, RAW, Sr

NAMES = {2: ["X"], 6: ["J", "W", "Y", "V"]}.get(sys.version_info[0] if sys.version_info[0] < 3 else sys.version_info[1], ["W"])
if pools.profiles() == [pools.TREE]:
    NAMES = [pools.TREE]
KNOWS = [name for name in NAMES if name == pools.TREE or profiles.PROFILES[name].QCOW2]
# A real sm gets more of them, and takes its time
SHAPES = ["few"] + (["mixed", "qcow2_chain30", "large_qcow2"] if NAMES == [pools.TREE] else [])
HELPER = "/opt/xensource/libexec/qcow2_helper"
NOT_KNOWN = "the sm of this host does not know them"

array = test_driver.array
pytestmark = pytest.mark.own


def few():
    """A QCOW2 disk with a snapshot, a QCOW2 disk on a raw parent, a VHD."""
    sr = Sr(1)
    shapes.snapshot(sr, shapes.disk(sr, "vdi0", vdi_type=QCOW2))
    sr.vdis.append(shapes.base_copy(sr, shapes.disk(sr, "was raw", vdi_type=RAW), QCOW2))
    shapes.disk(sr, "vdi1")
    return sr


def knowing(a, wanted=True):
    """Goes on where this sm knows QCOW2 disks, or where it does not."""
    if a.world.behaves_like.QCOW2 != wanted:
        pytest.skip("this sm knows QCOW2 disks" if not wanted else "this sm knows no QCOW2 disks")
    return a


@pytest.mark.parametrize("profile", NAMES)
def test_where_sm_knows_no_qcow2_it_is_refused_and_shown(array, profile):
    a = knowing(array(few()), False)
    before = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and NOT_KNOWN in text
    document = a.xapi.sr_probe("relvmoiscsi", a.config())
    assert '<reason code="Qcow2Host">' in document and "<possible>false</possible>" in document
    assert document.count("<type>qcow2</type>") == len([vdi for vdi in a.sr.vdis if vdi.vdi_type == "qcow2"])
    assert damage.fingerprint(a.clone) == before


@pytest.mark.parametrize("profile", NAMES[:1])
def test_what_an_interrupted_run_keeps_is_refused_there_whatever_drop_says(array, profile):
    """That run, on another host, has decided; what drop= names stays."""
    a = knowing(array(few()), False)
    devices.killed(a.clone, "ffffffff-ffff-4fff-8fff-ffffffffff00", 3, scsi_id=test_driver.CLONE)
    before = damage.fingerprint(a.clone)
    named = ",".join(vdi.uuid for vdi in a.sr.vdis if vdi.vdi_type == QCOW2)
    code, text, _ = a.create(a.config(drop=named))
    assert code == "SR_BACKEND_FAILURE_47" and NOT_KNOWN in text
    assert damage.fingerprint(a.clone) == before


@pytest.mark.parametrize("profile", NAMES[:1])
def test_without_its_qcow2_disks_an_sr_is_taken_there(array, profile):
    a = knowing(array(few()), False)
    named = [vdi.uuid for vdi in a.sr.vdis if vdi.vdi_type == QCOW2]
    assert "<possible>true</possible>" in a.xapi.sr_probe("relvmoiscsi", a.config(drop=",".join(named)))
    code, text, _ = a.create(a.config(drop=[vdi.uuid for vdi in a.sr.vdis if vdi.vdi_type == QCOW2 and not vdi.hidden][0]))
    assert code == "SR_BACKEND_FAILURE_47" and NOT_KNOWN in text
    a.resign(config=a.config(drop=",".join(named)))
    assert len(a.adopt()) == 1


@pytest.mark.parametrize("profile", NAMES[:1])
def test_why_it_is_refused_there(array, profile):
    """At its first look such an sm deletes the records of the disks that it does not know."""
    a = knowing(array(shapes.qcow2_snapshots(1)), False)
    with reader.Lun(a.original) as lun:
        assert len(lun.mgt().live()) == 5
    try:
        a.attach_original()
    except pools.XapiError:
        # a real one may stumble over the type afterwards
        pass
    with reader.Lun(a.original) as lun:
        assert list(lun.mgt().live()) == []


@pytest.mark.parametrize("profile", KNOWS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mixed_sr_is_resigned_and_adopted(array, profile, shape):
    sr = few() if shape == "few" else getattr(shapes, shape)(1)
    a = knowing(array(sr))
    contents = reader.virtual_digests(a.clone)
    a.resign()
    kept = reader.virtual_digests(a.clone)
    assert len(kept) == len(policy.kept(sr)) and set(kept.values()) <= set(contents.values())
    vdis = a.adopt()
    assert sorted(vdis) == sorted(kept)
    assert reader.virtual_digests(a.clone) == kept
    with reader.Lun(a.clone) as lun:
        records = lun.mgt().live()
    assert sorted(records) == sorted(kept)
    assert len([record for record in records.values() if record.fields["vdi_type"] == "qcow2"]) == \
        len([vdi for vdi in policy.kept(sr) if vdi.vdi_type == QCOW2])
    assert ("qcow2_helper scan is not asked" in a.world.log()) != a.world.behaves_like.QCOW2_SCANS


@pytest.mark.parametrize("profile", KNOWS)
def test_the_helper_is_a_judge_where_it_scans(array, profile):
    a = knowing(array(shapes.qcow2_snapshots(1)))
    if not a.world.behaves_like.QCOW2_SCANS:
        pytest.skip("this qcow2_helper scans nothing")
    a.pool.lie(HELPER, "scan", b"parent=QCOW2-", b"parent=QCOW2-0")
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and "qcow2_helper scan reads it differently" in text


@pytest.mark.parametrize("profile", KNOWS)
def test_a_volume_without_an_image_is_refused_by_name(array, profile):
    """One with a record; without one it is a disk that was never made, and is left out."""
    a = knowing(array(shapes.qcow2_snapshots(1)))
    with reader.Lun(a.clone) as lun:
        name = sorted("QCOW2-" + uuid for uuid in lun.mgt().live())[0]
    damage.volume(a.clone, name, 0, b"\0" * 4096)
    before = damage.fingerprint(a.clone)
    code, text, _ = a.create()
    assert code == "SR_BACKEND_FAILURE_47" and name in text and "no QCOW2 image" in text
    assert damage.fingerprint(a.clone) == before
