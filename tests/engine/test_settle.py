# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.settle: what a journal and the LVs beside it come to. Whole operations of real sm are in test_instants."""
from __future__ import absolute_import, division, print_function, unicode_literals

import pytest

import instants
from fuzz import luns, media
from fuzz.edit import Editor, put
from lvhd import image, reader, shapes
from lvhd.leftovers import journal
from lvhd.model import RAW, SECTOR, Volume
from relvm import errors
from relvm.engine import resign, verify
from relvm.engine.lun import Lun, Placement

OTHER = "12345678-1234-4123-8123-123456789abc"


class State(object):
    """A LUN: sr is its model, lun an editor of it."""

    def __init__(self, sr):
        image.settle(sr)
        self.sr = sr
        self.pages = media.Pages.of_chunks(image.size(sr), image.chunks(sr))
        self.lun = Editor(self.pages, sr)

    def digests(self):
        return reader.virtual_digests(instants.Stream(self.pages))

    def resign(self):
        """plan, after: reader.Lun of the result. `verify` is content."""
        device = media.Device(self.pages)
        self.plan = resign.resign(device, instants.NEW_SR).plan
        after = Lun(device, Placement(device))
        assert verify.problems(after) == []
        self.after = reader.Lun(instants.Stream(self.pages))
        return self

    def volume(self, uuid):
        return self.after.vdi_volume(self.plan.uuids[uuid])

    def has(self, uuid):
        return self.plan.uuids.get(uuid) in self.after.vdi_uuids()

    def said(self, words):
        assert [line for line in self.plan.report if words in line], self.plan.report

    def refused(self, error, *words):
        before = self.pages.snapshot()
        with pytest.raises(error) as caught:
            resign.resign(media.Device(self.pages), instants.NEW_SR)
        for each in words:
            assert each in str(caught.value)
        assert self.pages.snapshot() == before


def undone(state, same):
    """disk has what `same` had, and nothing of the snapshot is left."""
    sr = state.sr
    want = state.digests()[same.uuid]
    state.resign()
    state.said("it is undone")
    disk = state.volume(sr.named["disk"].uuid)
    assert disk.segments == [tuple(piece) for piece in sr.named["base"].volume.segments]
    assert "WRITE" in disk.status and "hidden" not in disk.tags
    assert reader.virtual_digests(instants.Stream(state.pages))[state.plan.uuids[sr.named["disk"].uuid]] == want
    for name in ("base", "new"):
        assert name not in sr.named or not state.has(sr.named[name].uuid)
    assert not [name for name in state.after.volumes if "clone_" in name]
    return disk


@pytest.mark.parametrize("vdi_type", ["vhd", RAW])
@pytest.mark.parametrize("clon", [True, False])
def test_a_snapshot_without_writes_is_undone(clon, vdi_type):
    sr = luns.snapshotting(clon, vdi_type)
    disk = undone(State(sr), sr.named["base"])
    assert disk.name.startswith("LV-" if vdi_type == RAW else "VHD-")


def test_a_snapshot_before_the_new_leaf_is_undone():
    sr = luns.snapshotting()
    sr.named["disk"].stored = sr.named["new"].stored = False
    sr.named["base"].hidden = sr.named["base"].volume.read_only = False
    undone(State(sr), sr.named["base"])


def test_a_snapshot_whose_leaf_has_no_image_is_undone():
    sr = luns.snapshotting()
    state = State(sr)
    digest = state.digests()[sr.named["base"].uuid]
    name = sr.named["disk"].volume.name
    state.lun.write(name, 0, b"\0" * 4096)
    state.resign()
    assert reader.virtual_digests(instants.Stream(state.pages))[state.plan.uuids[sr.named["disk"].uuid]] == digest


def test_a_snapshot_that_was_written_to_is_finished():
    """Undoing it would throw the writes away."""
    sr = luns.snapshotting(written=True)
    sr.named["base"].hidden = sr.named["base"].volume.read_only = False
    state = State(sr)
    want = state.digests()[sr.named["disk"].uuid]
    state.resign()
    state.said("has been written to since")
    base = state.volume(sr.named["base"].uuid)
    assert state.after.vhd(base.name).hidden and "WRITE" not in base.status
    assert not state.has(sr.named["new"].uuid)
    assert reader.virtual_digests(instants.Stream(state.pages))[state.plan.uuids[sr.named["disk"].uuid]] == want


def test_a_new_leaf_that_holds_data_is_kept():
    sr = luns.snapshotting()
    shapes.write(sr.named["new"], 8, "new")
    state = State(sr).resign()
    assert state.has(sr.named["new"].uuid) and state.has(sr.named["base"].uuid)


def test_what_has_a_record_is_never_undone():
    """The block still holds what an older journal said."""
    sr = luns.snapshotting()
    sr.named["base"].recorded = sr.named["new"].recorded = True
    state = State(sr).resign()
    state.said("not begun")
    for name in ("disk", "base", "new"):
        assert state.has(sr.named[name].uuid)


@pytest.mark.parametrize("block", [b"\0" * SECTOR, b"36 x", ("36 " + OTHER).encode("ascii").ljust(SECTOR)])
def test_a_block_that_was_not_written_yet(block):
    sr = luns.plain()
    sr.volumes.append(Volume("clone_%s_1" % sr.named["disk"].uuid, tags=["journaler"], content=[(0, block)]))
    state = State(sr).resign()
    state.said("not begun")
    assert state.has(sr.named["disk"].uuid)


@pytest.mark.parametrize("block", [b"\0" * SECTOR, b"36 x", ("73 %s_%s" % (OTHER, OTHER)).encode("ascii").ljust(SECTOR)])
def test_a_block_of_a_merge_that_was_not_written_yet(block):
    """sm itself fails on this journal at each attach, until an administrator removes it."""
    sr = luns.cloned()
    sr.volumes.append(Volume("leaf_%s_1" % sr.named["disk"].uuid, tags=["journaler"], content=[(0, block)]))
    state = State(sr)
    want = state.digests()[sr.named["disk"].uuid]
    state.resign()
    state.said("prepared to merge VDI %s into its parent and not begun" % sr.named["disk"].uuid)
    assert not [name for name in state.after.volumes if "leaf_" in name]
    assert reader.virtual_digests(instants.Stream(state.pages))[state.plan.uuids[sr.named["disk"].uuid]] == want


def test_neither_disk_nor_base():
    sr = luns.plain()
    sr.volumes.append(journal("clone", OTHER, "2%s_" % OTHER[1:]))
    State(sr).refused(errors.Journals, "clone_" + OTHER, "neither")


def test_recordless_disk_and_a_snapshot_of_it_without_a_write():
    """The disk holds nothing of its own and has no record, but it is no leaf of an unfinished snapshot."""
    sr = luns.empty()
    disk = luns.disk(sr, "disk", recorded=False)
    luns.disk(sr, "other")
    shapes.snapshot(sr, disk)
    state = State(sr).resign()
    assert state.has(disk.uuid)
    state.said("the LV %s has no record" % disk.volume.name)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("empty", [False, True])
def test_the_leaf_of_an_unfinished_snapshot(recorded, empty):
    sr = luns.snapshotting()
    sr.volumes = []
    sr.named["base"].recorded = recorded
    if not empty:
        shapes.write(sr.named["new"], 8, "new")
    state = State(sr).resign()
    assert state.has(sr.named["new"].uuid) == (not empty)
    assert state.has(sr.named["disk"].uuid)


@pytest.mark.parametrize("vdi_type", ["vhd", RAW])
@pytest.mark.parametrize("old", [False, True])
def test_a_merge_is_undone_until_both_renames_are_done(old, vdi_type):
    sr = luns.merging(old=old, vdi_type=vdi_type)
    state = State(sr).resign()
    state.said("that is undone")
    disk, parent = state.volume(sr.named["disk"].uuid), state.volume(sr.named["parent"].uuid)
    assert disk.segments == [tuple(piece) for piece in sr.named["disk"].volume.segments]
    assert "WRITE" not in parent.status
    assert state.after.vhd(parent.name).hidden if vdi_type == "vhd" else "hidden" in parent.tags
    assert [volume.name for volume in state.after.chain(state.plan.uuids[sr.named["disk"].uuid])] == [disk.name, parent.name]


def test_a_merge_after_both_renames_is_finished():
    sr = luns.merging(old=True)
    disk, parent = sr.named["disk"], sr.named["parent"]
    parent.volume.name = "VHD-" + disk.uuid
    parent.recorded = False
    parent.hidden = True
    state = State(sr)
    # its names still say the parent's old uuid
    state.lun.names(disk.volume.name, disk.uuid.replace("-", "--"), parent.uuid.replace("-", "--"))
    state.resign()
    state.said("that is finished")
    found = state.volume(disk.uuid)
    assert found.segments == [tuple(piece) for piece in parent.volume.segments]
    assert not state.after.vhd(found.name).hidden and "WRITE" in found.status
    assert len(state.after.vdi_uuids()) == 2


def test_a_stale_leaf_journal():
    """The leaf is on another parent than the block says."""
    sr = luns.cloned()
    other = luns.disk(sr, "other")
    sr.volumes.append(journal("leaf", sr.named["disk"].uuid, other.uuid))
    state = State(sr).resign()
    state.said("not begun")
    assert state.has(other.uuid) and "WRITE" in state.volume(other.uuid).status


def test_only_the_parent_is_left():
    sr = luns.merging(child=False)
    state = State(sr).resign()
    state.said("which alone is left")
    assert state.volume(sr.named["disk"].uuid).segments == [tuple(piece) for piece in sr.named["parent"].volume.segments]
    assert not state.has(sr.named["parent"].uuid)
    sr = luns.merging(child=False)
    sr.named["disk"].recorded = False
    State(sr).refused(errors.Journals, "only the parent")


@pytest.mark.parametrize("hidden", [True, False])
def test_an_old_leaf_without_a_journal(hidden):
    sr = luns.cloned()
    old = sr.add("old", size=luns.SIZE, parent=sr.named["base"], recorded=False, hidden=hidden)
    old.volume.name = "VHD-OLD_" + old.uuid
    state = State(sr)
    if not hidden:
        return state.refused(errors.Journals, old.volume.name)
    state.resign()
    state.said("not deleted the old volume yet")
    assert not [name for name in state.after.volumes if "OLD" in name]


def test_a_relink_that_moved_no_child_is_dropped():
    sr = luns.relinking()
    state = State(sr).resign()
    state.said("sm will begin again")
    for name in ("disk", "twin", "x", "top"):
        assert state.has(sr.named[name].uuid)
    assert not [name for name in state.after.volumes if name.startswith("relink")]


@pytest.mark.parametrize("locators", [1, 2, 3])
@pytest.mark.parametrize("top_type", ["vhd", RAW])
def test_a_relink_that_stopped_between_the_names_of_a_child_is_finished(top_type, locators):
    """The new text of a locator stands under its old length, with zeros behind it."""
    sr = luns.relinking(top_type)
    state = State(sr)
    old, new = [(sr.vg_name.replace("-", "--") + "-" + sr.named[name].volume.name.replace("-", "--")) for name in ("x", "top")]
    name = sr.named["disk"].volume.name
    for number in range(locators):
        code, space, length, _, offset = state.lun.read_locator(name, number)
        encoding = "ascii" if bytes(code) == b"MacX" else "utf-16-le"
        text = state.lun.read(name, offset, length).decode(encoding)
        assert text.endswith(old)
        state.lun.write(name, offset, text.replace(old, new).encode(encoding).ljust(SECTOR, b"\0"))
    state.resign()
    state.said("that is finished, and the LV is dropped")
    assert not state.has(sr.named["x"].uuid)
    top = state.volume(sr.named["top"].uuid)
    for leaf in ("disk", "twin"):
        chain = state.after.chain(state.plan.uuids[sr.named[leaf].uuid])
        assert [volume.name for volume in chain[1:]] == [top.name]
        child = state.after.vhd(chain[0].name)
        for locator in child.locators:
            encoding = "ascii" if locator.code == "MacX" else "utf-16-le"
            assert locator.data.decode(encoding).endswith(top.name.replace("-", "--"))


def test_mixed_names_without_a_journal_are_refused():
    sr = luns.relinking()
    sr.volumes = []
    state = State(sr)
    name = sr.named["disk"].volume.name
    offset = state.lun.read_locator(name, 0)[4]
    text = state.lun.read(name, offset, SECTOR)
    pair = [sr.named[each].uuid.replace("-", "--").encode("ascii") for each in ("x", "top")]
    state.lun.write(name, offset, text.replace(*pair))
    state.refused(errors.BadLocator, "others name")


def test_inflate_writes_the_footer_to_the_new_end():
    sr = luns.plain()
    sr.volumes.append(journal("inflate", sr.named["disk"].uuid, "262144"))
    state = State(sr)
    name = sr.named["disk"].volume.name
    size = state.lun.size(name)
    for end in (b"\0" * SECTOR, b"x" * SECTOR):
        state = State(sr)
        state.lun.write(name, size - SECTOR, end)
        state.resign()
        state.said("to enlarge the LV %s" % name)
        volume = state.volume(sr.named["disk"].uuid)
        assert volume.read(0, SECTOR) == volume.read(volume.size - SECTOR, SECTOR)


def test_inflate_refuses_a_footer_over_a_block():
    sr = luns.plain()
    sr.volumes.append(journal("inflate", sr.named["disk"].uuid, "262144"))
    state = State(sr)
    name = sr.named["disk"].volume.name
    state.lun.write(name, 1536, b"\0\0" + bytes(bytearray(divmod(state.lun.size(name) // SECTOR - 8, 256))))
    state.refused(errors.BadVHD, "where its footer has to be")


@pytest.mark.parametrize("kind", ["inflate", "relink", "coalesce", "zero", "leaf"])
def test_journals_of_a_vdi_that_is_gone(kind):
    sr = luns.plain()
    sr.volumes.append(journal(kind, OTHER, {"inflate": "4096", "zero": "4096", "leaf": OTHER}.get(kind, "1")))
    state = State(sr).resign()
    assert sorted(state.after.volumes) == sorted(["MGT", "VHD-" + state.plan.uuids[sr.named["disk"].uuid]])
    assert [name for name, _ in state.plan.removed] == [sr.volumes[0].name]


def test_a_trim_is_dropped():
    sr = luns.plain()
    sr.volumes.append(Volume(sr.uuid + "_trim_lv", extents=2))
    state = State(sr).resign()
    state.said("to trim the SR")
    assert len(state.after.volumes) == 2


def test_a_journal_of_zeroing_goes_along_with_its_volume():
    sr = luns.empty()
    disk = luns.disk(sr, "disk", vdi_type=RAW)
    luns.disk(sr, "other")
    sr.volumes.append(journal("zero", disk.uuid, "65536"))
    state = State(sr).resign()
    state.said("goes along")
    (name,) = [name for name in state.after.volumes if name.startswith("zero")]
    assert name == "zero_%s_65536" % state.plan.uuids[disk.uuid]
    assert state.after.volumes[name].tags == ["journaler"]
    # once more: it is found and kept again
    again = resign.resign(media.Device(state.pages), instants.LATER_SR).plan
    assert [lv.name for lv, _ in again.lun.carried] == [name]


def test_two_journals_of_one_kind():
    sr = luns.plain()
    uuid = sr.named["disk"].uuid
    sr.volumes = [journal("zero", uuid, "1"), journal("zero", uuid, "2")]
    State(sr).refused(errors.Journals, "second")


def test_a_hidden_leaf_with_a_mended_footer_is_left_alone():
    """Nothing is written to an LV that the new text leaves out."""
    sr = luns.cloned()
    gone = luns.disk(sr, "gone", hidden=True, managed=False)
    sr.volumes.append(journal("inflate", gone.uuid, "262144"))
    state = State(sr)
    state.lun.footer(gone.volume.name, lambda raw: put(raw, 85, "B", 0), copy=False)
    start = state.lun.places(gone.volume.name, 0, SECTOR)[0][0]
    state.resign()
    assert not state.has(gone.uuid)
    assert not [offset for offset, _ in state.plan.runs if start <= offset < start + state.lun.size(gone.volume.name)]


def test_a_new_volume_that_holds_an_old_disk_of_another_chain():
    """vdi_create in extents that held a child: its parent is not there any more."""
    sr = luns.cloned()
    stale = sr.add("stale", size=luns.SIZE, parent=sr.named["base"], recorded=False)
    state = State(sr)
    state.lun.names(stale.volume.name, sr.named["base"].uuid.replace("-", "--"), OTHER.replace("-", "--"))
    state.resign()
    state.said("its parent VHD-%s is not on this LUN" % OTHER)
    assert not state.has(stale.uuid)
