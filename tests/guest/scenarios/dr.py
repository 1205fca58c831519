# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: a disaster recovery test from its beginning to its end, beside the original, with the functions of the plugin.

discover shows the target's LUNs and goes; a preview for a chosen SR uuid; attach with snapshots=keep gives what that said; the map; a VM
on a disk of the clone keeps discard away; then discard leaves nothing.
"""

import json
import sys

import pytest
from dom0.session import Failure, Session
from dom0.xapi import XapiError
from inside import devices, initiator, pool
from inside.command import run
from inside.target import Target, Volume
from lvhd import image, reader, shapes

sys.path[:0] = ["/opt/relvmoiscsi/drivers"]

from relvm import errors  # noqa: E402
from relvm.host import release  # noqa: E402
from relvm.pool import answers, attach, discard, vdimap  # noqa: E402

MIB = pool.MIB
ORIGINAL = "iqn.2024-01.test.array:original"
CLONES = "iqn.2024-01.test.array:clones"
CHOSEN = "ffffffff-ffff-4fff-8fff-ffffffffff00"


class Story:
    """What was asked, and answered."""


@pytest.fixture(scope="module")
def story(world, toolstack):
    told = Story()
    original = Volume("original", "/srv/original", size=128 * MIB)
    Target(ORIGINAL).show(original)
    config = world.device_config(ORIGINAL, original.scsi_id)
    told.original_sr = toolstack.sr_create("lvmoiscsi", config, name_label="original")
    told.disk = toolstack.vdi_create(told.original_sr, 8 * MIB, name_label="disk")
    told.snapshot = toolstack.vdi_snapshot(told.disk)
    luns = [original.clone(name, "/srv/" + name) for name in ("first", "second")]
    image.write("/srv/foreign", shapes.one(3))
    foreign = Volume("foreign", "/srv/foreign")
    clones = Target(CLONES)
    for number, lun in enumerate([*luns, foreign]):
        clones.show(lun, number)
    told.luns = {"original": original, "first": luns[0], "second": luns[1], "foreign": foreign}
    told.lun = luns[0]
    told.before = {name: run("sha256sum", lun.path).split()[0] for name, lun in told.luns.items()}
    told.sessions = initiator.sessions()

    def session():
        api = Session(toolstack)
        api.xenapi.__class__.plugins = {"release": lambda host, arguments: released(arguments)}
        return api

    def released(arguments):
        work = release.look if arguments.get("check") else release.release
        try:
            return " ".join(work(arguments["SCSIid"], arguments["sr"])["devices"])
        except errors.Refused as error:
            # as the plugin hands it on
            raise Failure(XapiError(discard.REFUSED, error.code(), str(error))) from error

    config = world.device_config(CLONES, told.lun.scsi_id)
    target = {key: value for key, value in config.items() if key != "SCSIid"}
    told.listed = answers.discovered(toolstack.sr_probe("relvmoiscsi", {"discover": "true", "login": "true", **target}))
    told.after_look = world.left_over(told.lun.scsi_id, CLONES), initiator.sessions()
    resigned = {"resign-as": CHOSEN, "snapshots": "keep"}
    told.preview = answers.preview(toolstack.sr_probe("relvmoiscsi", {**config, **resigned}))
    told.unchanged = {name: run("sha256sum", lun.path).split()[0] for name, lun in told.luns.items()} == told.before
    told.attached = attach.attach(session(), {**config, **resigned, "name-label": "test"})
    told.records = toolstack.vdis(CHOSEN)
    told.map = vdimap.read(session().xenapi, [CHOSEN], vdimap.of_lun)
    disk = next(vdi["uuid"] for vdi in told.map[0]["vdis"] if vdi["from"] == told.disk)
    vm = toolstack.db.insert("VM", {"uuid": "vm", "name_label": "vm", "power_state": "Running", "suspend_VDI": "NULL"})
    vbd = toolstack.db.insert("VBD", {"VM": vm, "VDI": toolstack.db.find("VDI", disk), "currently_attached": True})
    toolstack.vdi_attach(disk)
    told.mapped = devices.lv_luns(pool.vg_name(CHOSEN))
    with pytest.raises(errors.DisksInUse):
        discard.discard(session(), CHOSEN, toolstack.host)
    told.still_there = told.lun.scsi_id in {lun for found in devices.lv_luns(pool.vg_name(CHOSEN)).values() for lun in found}
    toolstack.vdi_detach(disk)
    toolstack.db.get("VM", vm)["power_state"] = "Halted"
    toolstack.db.get("VBD", vbd)["currently_attached"] = False
    told.answer = discard.discard(session(), CHOSEN, toolstack.host)
    told.left = world.left_over(told.lun.scsi_id, CLONES)
    told.sessions_after = initiator.sessions()
    told.srs = sorted(toolstack.srs())
    with reader.Lun(told.lun.path) as lun:
        told.on_clone = lun.vg_name
    told.original_after = run("sha256sum", original.path).split()[0]
    told.again = discard.discard(session(), CHOSEN, toolstack.host)
    toolstack.sr_scan(told.original_sr)
    told.log = world.log()
    return told


def test_discover_tells_copies_from_others_and_leaves_nothing(story):
    found = {lun["SCSIid"]: lun for lun in story.listed}
    assert set(found) == {lun.scsi_id for lun in story.luns.values()}, json.dumps(story.listed, indent=1)
    told = {name: (found[lun.scsi_id]["copy_of"], found[lun.scsi_id]["used_by"], found[lun.scsi_id]["possible"])
            for name, lun in story.luns.items()}
    assert told["original"] == ("", story.original_sr, False)
    assert told["first"] == told["second"] == (story.original_sr, "", True), json.dumps(story.listed, indent=1)
    assert told["foreign"][:2] == ("", "")
    assert story.after_look == ([], story.sessions)


def test_preview_is_the_result(story):
    assert story.unchanged
    assert story.preview["possible"] and story.attached["sr"] == CHOSEN
    assert {vdi["action"] for vdi in story.preview["vdis"]} == {"keep"}
    assert sorted(vdi["uuid"] for vdi in story.attached["vdis"]) == sorted(story.records)
    assert {vdi["from"] for vdi in story.attached["vdis"]} == {vdi["uuid"] for vdi in story.preview["vdis"]}


def test_snapshots_are_kept_as_snapshots(story):
    new = {vdi["from"]: vdi["uuid"] for vdi in story.attached["vdis"]}
    assert {story.disk, story.snapshot} <= set(new)
    assert story.records[new[story.snapshot]]["is_a_snapshot"]
    assert not story.records[new[story.disk]]["is_a_snapshot"]


def test_the_map_is_the_same_from_the_records(story):
    assert story.map[0]["from"] == story.original_sr
    assert {(vdi["from"], vdi["uuid"]) for vdi in story.map[0]["vdis"]} == {(vdi["from"], vdi["uuid"]) for vdi in story.attached["vdis"]}


def test_a_disk_in_use_keeps_the_sr(story):
    assert {lun for found in story.mapped.values() for lun in found} == {story.lun.scsi_id}
    assert story.still_there


def test_discard_leaves_nothing(story):
    assert story.answer["known"] and [host["unplugged"] for host in story.answer["hosts"]] == [True]
    assert story.left == []
    assert story.sessions_after == story.sessions
    assert story.srs == [story.original_sr]
    assert story.on_clone == pool.vg_name(CHOSEN)
    assert story.again["known"] is False


def test_the_original_is_untouched(story):
    assert story.original_after == story.before["original"]
