# SPDX-License-Identifier: LGPL-2.1-only
"""drop=<VDI uuid>,...: what is named goes with all that depends on it, whatever is wrong with it, and nothing else does."""
from __future__ import absolute_import, division, print_function, unicode_literals

import pytest

import instants
from conftest import copy
from fuzz import luns, media
from fuzz.edit import Editor, put
from luns import damage, devices, expect
from lvhd import image, policy, reader, shapes
from lvhd.leftovers import journal
from lvhd.model import QCOW2, SECTOR, Volume
from relvm import errors
from relvm.engine import blockdev, leaving, resign, verify
from relvm.engine.lun import Lun, Placement
from relvm.show import report

FIRST = str("ffffffff-ffff-4fff-8fff-ffffffffff00")
SECOND = str("eeeeeeee-eeee-4eee-8eee-eeeeeeeeee00")
SCSI_ID = str("360000000000000000e00000000010002")
ABSENT = str("12345678-1234-4123-8123-123456789abc")


class State(object):
    """A LUN in memory: sr is its model, lun an editor of it. bad: [(offset, length)] of the LUN that cannot be read."""

    def __init__(self, sr):
        image.settle(sr)
        self.sr = sr
        self.pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
        self.lun = Editor(self.pages, sr)
        self.bad = []

    def uuid(self, name):
        return str(self.sr.named[name].uuid)

    def lv(self, name):
        return self.sr.named[name].volume.name

    def refused(self, error, *words, **options):
        before = self.pages.snapshot()
        device = Spoilt(self.pages, self.bad)
        with pytest.raises(error) as caught:
            resign.resign(device, FIRST, **options)
        for each in words:
            assert each in str(caught.value)
        assert self.pages.snapshot() == before and not device.writes
        return str(caught.value)

    def resign(self, *named, **options):
        """What the preview says is what is done, and what is not named reads as before. Returns the plan."""
        drop = [self.uuid(name) if name in self.sr.named else name for name in named]
        before = contents(self.pages)
        view = Spoilt(self.pages, self.bad)
        data = report.preview(view, FIRST, drop=drop, **options)
        assert data["possible"], data["reasons"]
        device = Spoilt(self.pages, self.bad)
        self.plan = plan = resign.resign(device, FIRST, drop=drop, **options).plan
        after = Lun(device, Placement(device))
        assert verify.problems(after) == []
        gone = [(str(vdi.uuid), why) for vdi, why in plan.dropped]
        assert [(vdi["uuid"], vdi["reason"]) for vdi in data["vdis"] if vdi["action"] == "drop"] == gone
        assert [(removed["lv"], removed["reason"]) for removed in data["removed"]] == plan.removed
        for uuid, why in gone:
            assert "   drop   " + why in report.as_text(data) and "<uuid>%s</uuid>" % uuid in report.as_xml(data)
        self.after = reader.Lun(instants.Stream(self.pages))
        kept = dict((str(vdi.uuid), plan.uuids[vdi.uuid]) for vdi in plan.kept)
        assert sorted(self.after.vdi_uuids()) == sorted(kept.values())
        now = contents(self.pages)
        assert sorted(now) == sorted(kept.values())
        same = [old for old in kept if old in before]
        assert [old for old in same if now[kept[old]] != before[old]] == [] and (same or not before)
        for old, _ in gone:
            if old not in kept:
                self._gone(plan.uuids[old])
        return plan

    def _gone(self, new):
        assert not [name for name in self.after.volumes if name[-36:] == new and not name.startswith("admin")]
        assert [record.fields["deleted"] for record in self.after.mgt().records if record.fields["uuid"] == new] in ([], ["1"], ["1", "1"])


def contents(pages):
    """{uuid: size and sectors, as a guest reads them} of every disk that a reader which is not the engine's can read."""
    found = {}
    with reader.Lun(instants.Stream(pages)) as lun:
        for uuid in lun.vdi_uuids():
            try:
                found[str(uuid)] = lun.virtual_size(uuid), lun.virtual_sectors(uuid)
            except Exception:
                # what is broken is so for that reader as well
                continue
    return found


class Spoilt(media.Device):
    """A device with bad sectors."""

    def __init__(self, pages, bad):
        media.Device.__init__(self, pages)
        self.bad = bad

    def read(self, offset, length):
        for start, size in self.bad:
            if start < offset + length and offset < start + size:
                raise errors.ReadFailed(device=self.path, offset=offset, length=length, cause="Input/output error")
        return media.Device.read(self, offset, length)


def names(plan):
    return sorted(str(vdi.lv.name) for vdi, _ in plan.dropped)


# What can be wrong with one VDI: (what, how `disk` of luns.cloned is spoilt, the refusal)


def _both_footers(lun, name):
    lun.footer(name, lambda raw: put(raw, 0, "8s", b"x" * 8))


def _poison(lun, name):
    lun.footer(name, lambda raw: put(raw, 0, "8s", b"v_poison"), copy=False)


def _fixed(lun, name):
    lun.footer(name, lambda raw: put(raw, 60, ">I", 2))


def _header(lun, name):
    lun.header(name, lambda raw: put(raw, 0, "8s", b"x" * 8))


def _locator(lun, name):
    lun.locator(name, 0, b"file://../../etc/passwd")


def _parent_missing(lun, name):
    parent = lun.sr.named["base"].uuid
    lun.names(name, parent.replace("-", "--"), ABSENT.replace("-", "--"))


def _parent_mismatch(lun, name):
    lun.header(name, lambda raw: put(raw, 40, "16s", b"x" * 16))


def _record_unclosed(lun, name):
    lun.record(lun.sr.named["disk"], b"</vdi>", b"")


def _record_field(lun, name):
    lun.record(lun.sr.named["disk"], b"<deleted>", b"<svid>1</svid><deleted>")


def _record_name(lun, name):
    lun.record(lun.sr.named["disk"], b"<name_label>disk", b"<name_label>\xe2\x82")


def _record_twice(lun, name):
    lun.record(lun.sr.named["other"], lun.sr.named["other"].uuid.encode("ascii"), lun.sr.named["disk"].uuid.encode("ascii"))


def _two_lvs(lun, name):
    lun.text(lun.sr.named["other"].volume.name, "LV-" + lun.sr.named["disk"].uuid)


SPOILT = [(_both_footers, errors.BadVHD), (_poison, errors.Poisoned), (_fixed, errors.FixedVHD), (_header, errors.BadVHD),
          (_locator, errors.BadLocator), (_parent_missing, errors.ParentMissing), (_parent_mismatch, errors.ParentMismatch),
          (_record_unclosed, errors.BadRecord), (_record_field, errors.BadRecord), (_record_name, errors.BadVDIName),
          (_record_twice, errors.DuplicateVDI), (_two_lvs, errors.DuplicateVDI)]


@pytest.mark.parametrize("spoil, error", SPOILT, ids=[spoil.__name__.strip("_") for spoil, _ in SPOILT])
def test_what_is_wrong_with_a_vdi_that_is_left_behind(spoil, error):
    sr = luns.cloned()
    luns.disk(sr, "other")
    luns.disk(sr, "third")
    state = State(sr)
    name = state.lv("disk")
    spoil(state.lun, name)
    said = state.refused(error, name[-36:])
    assert "drop=" in said and "--drop" in said
    plan = state.resign("disk")
    left = set([name]) | (set(["LV-" + name[-36:]]) if spoil is _two_lvs else set())
    assert set(names(plan)) == left
    assert all(leaving.NAMED in why for _, why in plan.dropped)
    assert set(str(vdi.uuid) for vdi in plan.kept) >= set(state.uuid(each) for each in ("twin", "base", "third"))


def test_an_image_on_bad_sectors():
    state = State(luns.cloned())
    state.bad = state.lun.places(state.lv("disk"), 0, 4096)
    assert "drop=" in state.refused(errors.UnreadableVDI, state.lv("disk"), "Input/output error")
    assert names(state.resign("disk")) == [state.lv("disk")]


@pytest.mark.parametrize("named", ["one", "two", "three"])
def test_a_chain_that_comes_back_to_itself(named):
    sr = luns.empty()
    for name in ("disk", "one", "two", "three"):
        luns.disk(sr, name, hidden=name != "disk")
    sr.named["one"].parent, sr.named["two"].parent, sr.named["three"].parent = sr.named["two"], sr.named["three"], sr.named["one"]
    state = State(sr)
    state.refused(errors.BadChain, "comes back to itself", "drop=")
    plan = state.resign(named)
    assert len(plan.dropped) == 3 and [str(vdi.uuid) for vdi in plan.kept] == [state.uuid("disk")]


def test_a_chain_that_is_too_long():
    sr = luns.chain(31)
    luns.disk(sr, "other")
    state = State(sr)
    state.refused(errors.BadChain, "longer than 30", "drop=")
    plan = state.resign("disk")
    assert [str(vdi.uuid) for vdi in plan.kept] == [state.uuid("other")] and len(plan.dropped) == 31


# What goes along


def test_children_of_a_parent_that_is_left_behind():
    sr = luns.cloned()
    luns.disk(sr, "other")
    state = State(sr)
    plan = state.resign("base")
    assert names(plan) == sorted(state.lv(name) for name in ("disk", "twin", "base"))
    said = dict((str(vdi.lv.name), why) for vdi, why in plan.dropped)
    assert said[state.lv("base")] == leaving.NAMED
    assert said[state.lv("disk")] == said[state.lv("twin")] == "its parent %s is left behind" % state.lv("base")


def test_a_broken_parent_takes_its_children_along_and_is_not_taken_by_one():
    sr = luns.cloned()
    luns.disk(sr, "other")
    state = State(sr)
    _both_footers(state.lun, state.lv("base"))
    # nobody asked for the twin
    state.refused(errors.BadVHD, state.lv("base"), drop=[state.uuid("disk")])
    assert len(state.resign("base").dropped) == 3


def test_a_parent_that_is_not_on_the_lun_can_be_named():
    sr = luns.cloned()
    luns.disk(sr, "other")
    state = State(sr)
    _parent_missing(state.lun, state.lv("disk"))
    assert names(state.resign(ABSENT)) == [state.lv("disk")]


def test_hidden_nodes_that_only_the_named_one_needs():
    sr = luns.chain(4)
    luns.disk(sr, "other")
    plan = State(sr).resign("disk")
    assert sorted(why for _, why in plan.dropped) == ["a hidden node that nothing refers to"] * 3 + [leaving.NAMED]


def test_a_record_without_an_lv_can_be_named():
    sr = luns.cloned()
    sr.named["lost"] = sr.add("lost", stored=False)
    State(sr).resign("lost")


def test_a_raw_disk_and_the_journal_of_its_growth():
    sr = luns.snapshot()
    raw = sr.named["raw"]
    sr.volumes.append(journal("zero", raw.uuid, str(luns.EXTENT)))
    plan = State(sr).resign("raw", keep_snapshots=True)
    assert names(plan) == [str(raw.volume.name)]
    assert [name for name, _ in plan.removed] == ["zero_%s_%d" % (raw.uuid, luns.EXTENT)]


def test_a_snapshot_with_children():
    sr = luns.snapshot()
    luns.disk(sr, "child", sectors=())
    sr.named["child"].parent = sr.named["snap"]
    state = State(sr)
    assert "drop=%s" % state.uuid("snap") in state.refused(errors.DroppedHasChildren, state.lv("child"))
    assert names(state.resign("snap")) == sorted([state.lv("snap"), state.lv("child")])
    state = State(sr)
    assert names(state.resign("child")) == sorted([state.lv("snap"), state.lv("child")])


def test_a_snapshot_that_is_kept_outlives_its_disk():
    """It has its own data, and may be the last that can be read."""
    state = State(luns.snapshot())
    _both_footers(state.lun, state.lv("disk"))
    plan = state.resign("disk", keep_snapshots=True)
    assert set(str(vdi.uuid) for vdi in plan.kept) == set(state.uuid(name) for name in ("snap", "base", "raw"))


def test_qcow2():
    state = State(luns.qcow2())
    state.lun.write(state.lv("disk"), 0, b"\0" * 4)
    state.refused(errors.BadQcow2, state.lv("disk"), "drop=")
    assert names(state.resign("disk")) == sorted([state.lv("disk"), state.lv("snap"), state.lv("base")])


# Journals


def test_a_recordless_leaf_is_kept_where_its_twin_is_left_behind():
    """It is dropped only as long as another disk holds the same."""
    sr = luns.cloned()
    twin = sr.named["twin"]
    twin.recorded = False
    twin.contents.clear()
    sr.named["base"].recorded = False
    sr.named["disk"].contents.clear()
    luns.disk(sr, "other")
    state = State(sr)
    plan = state.resign("disk")
    assert state.uuid("twin") in [str(vdi.uuid) for vdi in plan.kept]


@pytest.mark.parametrize("named", ["disk", "base"])
def test_a_snapshot_in_the_middle_whose_base_copy_is_broken(named):
    sr = luns.snapshotting(written=True)
    state = State(sr)
    _header(state.lun, state.lv("base"))
    state.refused(errors.BadVHD, state.lv("base"), "drop=")
    plan = state.resign(named)
    assert [str(vdi.uuid) for vdi in plan.kept] == [state.uuid("other")]


def test_a_snapshot_in_the_middle_is_undone_and_the_disk_goes():
    plan = State(luns.snapshotting()).resign("disk")
    assert [why for _, why in plan.dropped] == [leaving.NAMED] and len(plan.kept) == 1


def test_the_base_copy_of_a_snapshot_that_is_undone_cannot_be_named():
    """No VDI has that uuid afterwards, and the disk was not listed."""
    state = State(luns.snapshotting())
    state.refused(errors.NothingToDrop, state.uuid("base"), drop=[state.uuid("base")])


def test_a_journal_that_cannot_be_carried_out():
    sr = luns.snapshotting()
    sr.named["disk"].stored = False
    sr.vdis.remove(sr.named["base"])
    sr.vdis.remove(sr.named["new"])
    state = State(sr)
    state.refused(errors.Journals, "clone_" + state.uuid("disk"), "drop=")
    plan = state.resign("disk")
    assert [line for line in plan.report if "cannot be carried out" in line]
    assert [name for name, _ in plan.removed] == [name for name in state.lun.volumes if name.startswith("clone_")]


def test_two_journals_of_one_kind():
    sr = luns.merging()
    sr.volumes.append(journal("leaf", sr.named["disk"].uuid, sr.named["parent"].uuid))
    sr.volumes[-1].name += "1"
    sr.volumes[-1].name = sr.volumes[-1].name.replace("_11", "_%s" % sr.named["other"].uuid)
    state = State(sr)
    state.refused(errors.Journals, "second one", "drop=")
    plan = state.resign("disk")
    assert names(plan) == [state.lv("disk")] and len(plan.removed) == 2


def test_a_merge_of_vhds_goes_with_the_parent_that_was_shown_for_it():
    state = State(luns.merging())
    assert names(state.resign("disk")) == sorted([state.lv("disk"), state.lv("parent")])


def test_a_merge_whose_leaf_cannot_be_read_leaves_the_parent_there():
    """Whether it has data of two points in time cannot be told; it may be a disk that has nothing to do with it."""
    state = State(luns.merging())
    _both_footers(state.lun, state.lv("disk"))
    state.refused(errors.BadVHD, state.lv("disk"))
    plan = state.resign("disk")
    assert state.uuid("parent") in [str(vdi.uuid) for vdi in plan.kept]
    assert [line for line in plan.report if "two points in time" in line and state.lv("parent") in line]


def test_a_merge_of_qcow2_images():
    sr = luns.empty()
    leaf = luns.disk(sr, "disk", vdi_type=QCOW2, inflated=False)
    luns.disk(sr, "other")
    top = shapes.base_copy(sr, leaf, recorded=True)
    sr.vdis.append(top)
    sr.named["parent"] = top
    shapes.write(leaf, 8, "later")
    top.hidden = top.volume.read_only = False
    sr.volumes.append(journal("leaf", leaf.uuid, top.uuid))
    state = State(sr)
    state.refused(errors.Journals, "leaf_", "drop=")
    assert names(state.resign("disk")) == sorted([state.lv("disk"), state.lv("parent")])


@pytest.mark.parametrize("hidden", [True, False])
def test_an_old_leaf(hidden):
    sr = luns.merging(old=True)
    sr.volumes.pop()
    sr.named["disk"].hidden = hidden
    state = State(sr)
    if not hidden:
        state.refused(errors.Journals, "OLD_", "drop=")
    plan = state.resign("disk")
    assert state.uuid("other") in [str(vdi.uuid) for vdi in plan.kept]
    assert not [name for name in state.after.volumes if "OLD_" in name]


def test_inflate_with_a_block_where_the_footer_has_to_be():
    sr = luns.cloned()
    luns.disk(sr, "other")
    state = State(sr)
    size = state.lun.size(state.lv("disk"))
    sr.volumes.append(journal("inflate", sr.named["disk"].uuid, str(size)))
    state = State(sr)
    with reader.Lun(instants.Stream(state.pages)) as lun:
        bat = lun.vhd(state.lv("disk")).table_offset
    state.lun.write(state.lv("disk"), bat, bytes(bytearray(put_block((size - SECTOR) // SECTOR))))
    state.refused(errors.BadVHD, "footer has to be", "drop=")
    assert names(state.resign("disk")) == [state.lv("disk")]


def put_block(sector):
    raw = bytearray(b"\xff" * SECTOR)
    put(raw, 0, ">I", sector)
    return raw


# What is refused


@pytest.mark.parametrize("value", ["x", "1234", ABSENT.upper(), ABSENT + ",", "," + ABSENT, ABSENT + " ", ABSENT + ";" + ABSENT])
def test_a_malformed_uuid(value):
    with pytest.raises(errors.BadDrop) as caught:
        leaving.parse(str(value))
    assert "lower case" in str(caught.value)


def test_values():
    assert leaving.parse("") == []
    assert leaving.parse(ABSENT + "," + FIRST) == [ABSENT, FIRST]


@pytest.mark.parametrize("which", ["nobody's", "deleted", "the SR's", "dropped too"])
def test_a_vdi_that_is_not_on_the_lun(which):
    state = State(luns.snapshot())
    uuid = {"deleted": str([vdi.uuid for vdi in state.sr.vdis if vdi.deleted][0]), "the SR's": str(state.sr.uuid)}.get(which, ABSENT)
    drop = [uuid] if which != "dropped too" else [state.uuid("disk"), uuid]
    state.refused(errors.NothingToDrop, uuid, drop=drop)
    data = report.preview(media.Device(state.pages, False), FIRST, drop=drop)
    assert [reason["code"] for reason in data["reasons"]] == ["NothingToDrop"]


def test_all_vdis():
    state = State(luns.cloned())
    state.refused(errors.NothingLeft, state.uuid("disk"), leaving.NAMED, drop=[state.uuid("disk"), state.uuid("twin")])
    state.refused(errors.NothingLeft, state.uuid("twin"), drop=[state.uuid("base")])


def test_what_is_not_named_is_still_refused():
    state = State(luns.cloned())
    _header(state.lun, state.lv("twin"))
    state.refused(errors.BadVHD, state.lv("twin"), drop=[state.uuid("disk")])


# Whole LUNs: everything that is kept is as it would be without drop=


@pytest.mark.parametrize("shape", ["chain5", "tree_with_clones", "mixed", "fragmented"])
def test_everything_else_is_as_ever(shape, shape_called, tmpdir):
    model = shape_called(shape).model
    path = copy(shape_called(shape).path, tmpdir.join("clone.img"))
    leaves = [vdi for vdi in policy.kept_leaves(model)]
    drop = [str(leaves[-1].uuid)]
    if len(leaves) == 1:
        return
    outcome = expect.Outcome(shape_called(shape).path, path, expect.kept_of(model, drop), FIRST, drop=drop)
    expect.everything(outcome)


# Repeated


def on(path):
    with reader.Lun(path) as lun:
        return set(lun.vdi_uuids())


WRITES = 9


@pytest.fixture
def clone(shape_called, tmpdir):
    """(path of a copy of an SR, the uuids of two disks of it)"""
    model = shape_called("tree_with_clones").model
    leaves = [str(vdi.uuid) for vdi in policy.kept_leaves(model)]
    assert len(leaves) > 2
    return copy(shape_called("tree_with_clones").path, tmpdir.join("clone.img")), leaves


def total_writes(path, tmpdir, drop):
    _, device = devices.run(copy(path, tmpdir.join("measured.img")), FIRST, scsi_id=SCSI_ID, drop=drop)
    return device.writes


@pytest.mark.parametrize("sr_uuid", [FIRST, SECOND], ids=["same", "other"])
@pytest.mark.parametrize("again", ["same", "none", "another", "more"])
def test_a_killed_run_is_finished_with_its_own_set(again, sr_uuid, clone, tmpdir):
    path, leaves = clone
    first = leaves[:1]
    second = {"same": first, "none": [], "another": leaves[1:2], "more": leaves[:2]}[again]
    writes = total_writes(path, tmpdir, first)
    whole = path
    for stop in (2, 3, writes - 2, writes - 1):
        path = copy(whole, tmpdir.join("killed.img"))
        devices.killed(path, FIRST, stop, scsi_id=SCSI_ID, drop=first)
        device = blockdev.Device(path, False)
        try:
            data = report.preview(device, sr_uuid, scsi_id=SCSI_ID, drop=second)
        finally:
            device.close()
        result, _ = devices.run(path, sr_uuid, scsi_id=SCSI_ID, drop=second)
        gone = second if stop == 2 else first
        sources = set(source for source, _ in result.map.vdis)
        assert set(leaves) - sources == set(gone), (stop, again)
        assert set(vdi["from"] for vdi in data["vdis"] if vdi["action"] == "keep") == sources
        assert on(path) == set(uuid for _, uuid in result.map.vdis)
        told = [line for line in data["report"] if "was finished as it had begun" in line]
        assert len(told) == int(stop > 2 and again in ("another", "more"))
        if result.plan is not None and told:
            assert told[0] in result.plan.report


def test_a_finished_run_is_repeated(clone):
    """As after an answer that was lost: the same command succeeds, and what it names is gone."""
    path, leaves = clone
    devices.run(path, FIRST, scsi_id=SCSI_ID, drop=leaves[:1])
    assert devices.run(path, FIRST, scsi_id=SCSI_ID, drop=leaves[:1])[0].plan is None
    for sr_uuid in (SECOND, FIRST):
        result, _ = devices.run(path, sr_uuid, scsi_id=SCSI_ID, drop=leaves[:1])
        assert set(leaves) - set(source for source, _ in result.map.vdis) == set(leaves[:1])
    # a word that was wrong then is wrong now
    with pytest.raises(errors.NothingToDrop):
        devices.run(path, SECOND, scsi_id=SCSI_ID, drop=[ABSENT])


def test_a_resigned_lun_knows_its_disks_by_both_uuids(clone):
    path, leaves = clone
    result, _ = devices.run(path, FIRST, scsi_id=SCSI_ID)
    new = dict(result.map.vdis)
    result, _ = devices.run(path, SECOND, scsi_id=SCSI_ID, drop=[leaves[0], new[leaves[1]]])
    assert set(leaves) - set(source for source, _ in result.map.vdis) == set(leaves[:2])


def test_what_is_still_there_is_no_success(clone):
    """The LUN has the SR uuid of the call already, but a VDI that the call names is on it."""
    path, leaves = clone
    devices.run(path, FIRST, scsi_id=SCSI_ID)
    before = damage.fingerprint(path)
    with pytest.raises(errors.SameUuid):
        devices.run(path, FIRST, scsi_id=SCSI_ID, drop=leaves[:1])
    assert damage.fingerprint(path) == before


def test_a_clone_of_a_locked_lun_can_leave_more_behind(clone):
    path, leaves = clone
    devices.killed(path, FIRST, 3, scsi_id=SCSI_ID, drop=leaves[:1])
    result, _ = devices.run(path, SECOND, scsi_id=SCSI_ID + str("3"), drop=leaves[:2])
    assert set(leaves) - set(source for source, _ in result.map.vdis) == set(leaves[:2])


def test_the_order_of_names_and_repetitions_do_not_matter():
    sr = luns.cloned()
    luns.disk(sr, "other")
    plan = State(sr).resign("twin", "disk", "twin")
    assert len(plan.dropped) == 3


def test_volumes_of_others_are_not_touched():
    sr = luns.cloned()
    sr.volumes.append(Volume("admin-of-" + sr.named["disk"].uuid, extents=1))
    luns.disk(sr, "other")
    state = State(sr)
    state.resign("disk")
    assert [name for name in state.after.volumes if name.startswith("admin-of-")]
