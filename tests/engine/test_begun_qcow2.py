# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.engine.settle on QCOW2 disks: operations of sm that were cut off, state by state."""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct

import pytest

import instants
from fuzz import luns
from lvhd import reader, shapes
from lvhd.leftovers import journal
from lvhd.model import QCOW2, RAW, Volume
from relvm import errors
from test_settle import State

CLUSTER = 65536


def snapshotting(written=False, clon=True):
    """A snapshot just before its journal goes: disk and perhaps new on base, which alone has data."""
    sr = luns.empty()
    leaf = luns.disk(sr, "disk", vdi_type=QCOW2, inflated=False)
    luns.disk(sr, "other")
    base = sr.named["base"] = shapes.base_copy(sr, leaf, recorded=False)
    sr.vdis.append(base)
    if clon:
        sr.named["new"] = sr.add("new", size=leaf.size, parent=base, recorded=False, vdi_type=QCOW2)
    if written:
        shapes.write(leaf, 8, "later")
    sr.volumes.append(journal("clone", leaf.uuid, "%s_%s" % (base.uuid, sr.named["new"].uuid if clon else "")))
    return sr


def merging(depth=2, bottom=QCOW2):
    """A leaf-coalesce of disk into parent, which is shown already; the chain has so many nodes, the last of type `bottom`."""
    sr = luns.empty()
    leaf = luns.disk(sr, "disk", vdi_type=bottom, inflated=False)
    luns.disk(sr, "other")
    for _ in range(depth - 1):
        sr.vdis.append(shapes.base_copy(sr, leaf, QCOW2))
        shapes.write(leaf, 8, "later")
    sr.named["parent"] = leaf.parent
    leaf.parent.hidden = leaf.parent.volume.read_only = False
    leaf.parent.volume.tags = []
    sr.volumes.append(journal("leaf", leaf.uuid, leaf.parent.uuid))
    return sr


def renamed(sr, both=False):
    """The leaf is called OLD_; both: the parent has its name."""
    disk, parent = sr.named["disk"], sr.named["parent"]
    disk.volume.name = "QCOW2-OLD_" + disk.uuid
    state = None
    if both:
        parent.volume.name = parent.volume_name().replace(parent.uuid, disk.uuid)
        parent.recorded = False
    state = State(sr)
    if both:
        # its name still says the parent's old uuid
        head = state.lun.read(disk.volume.name, 0, 4096)
        state.lun.write(disk.volume.name, 0, head.replace(disk.uuid.encode("ascii"), parent.uuid.encode("ascii")))
    return state


def contents(state, vdi):
    return reader.virtual_digests(instants.Stream(state.pages))[state.plan.uuids[vdi.uuid]]


@pytest.mark.parametrize("clon", [True, False])
@pytest.mark.parametrize("hidden", [True, False])
def test_a_snapshot_without_writes_is_undone(clon, hidden):
    sr = snapshotting(clon=clon)
    sr.named["base"].hidden = sr.named["base"].volume.read_only = hidden
    state = State(sr)
    want = state.digests()[sr.named["base"].uuid]
    state.resign()
    state.said("it is undone")
    disk = state.volume(sr.named["disk"].uuid)
    assert disk.name.startswith("QCOW2-") and disk.segments == [tuple(piece) for piece in sr.named["base"].volume.segments]
    assert "WRITE" in disk.status and not state.after.qcow2(disk.name).hidden
    assert contents(state, sr.named["disk"]) == want
    assert len(state.after.vdi_uuids()) == 2


# What the creation of the new leaf shows, in order: nothing, a header of size 0, one of the right size but without a name
@pytest.mark.parametrize("edit", [lambda head: bytearray(4096),
                                  lambda head: head[:24] + bytearray(8) + head[32:],
                                  lambda head: head[:8] + bytearray(12) + head[20:]], ids=["nothing", "size 0", "no parent"])
def test_a_snapshot_whose_leaf_is_not_finished_is_undone(edit):
    sr = snapshotting()
    state = State(sr)
    want = state.digests()[sr.named["base"].uuid]
    name = sr.named["disk"].volume.name
    state.lun.write(name, 0, bytes(edit(bytearray(state.lun.read(name, 0, 4096)))))
    state.resign()
    state.said("it is undone")
    assert contents(state, sr.named["disk"]) == want


def test_a_snapshot_that_was_written_to_is_finished():
    sr = snapshotting(written=True)
    sr.named["base"].hidden = sr.named["base"].volume.read_only = False
    state = State(sr)
    want = state.digests()[sr.named["disk"].uuid]
    state.resign()
    base = state.volume(sr.named["base"].uuid)
    assert state.after.qcow2(base.name).hidden and "WRITE" not in base.status
    assert contents(state, sr.named["disk"]) == want


def test_a_base_that_cannot_be_marked_is_refused():
    """sm has not made the mark yet, and the image is not taken apart to make room for it."""
    sr = snapshotting(written=True)
    sr.named["base"].marked = False
    sr.named["base"].hidden = sr.named["base"].volume.read_only = False
    State(sr).refused(errors.BadQcow2, sr.named["base"].volume.name, "marked as hidden")


@pytest.mark.parametrize("depth", [2, 3])
def test_a_merge_before_its_renames_is_refused(depth):
    """A VM that runs on writes to the parent from a moment on that the LUN does not show."""
    State(merging(depth)).refused(errors.Journals, "leaf_", "does not tell")


@pytest.mark.parametrize("bottom", [QCOW2, RAW])
@pytest.mark.parametrize("both", [False, True])
def test_a_merge_after_a_rename_is_finished(both, bottom):
    sr = merging(bottom=bottom)
    state = renamed(sr, both)
    disk, parent = sr.named["disk"], sr.named["parent"]
    state.resign()
    state.said("that is finished")
    found = state.volume(disk.uuid)
    assert found.segments == [tuple(piece) for piece in parent.volume.segments]
    assert "WRITE" in found.status and "hidden" not in found.tags
    assert bottom == RAW or not state.after.qcow2(found.name).hidden
    assert len(state.after.vdi_uuids()) == 2
    assert not [name for name in state.after.volumes if "OLD" in name]


@pytest.mark.parametrize("both", [False, True])
def test_a_merge_into_the_middle_of_a_chain_is_refused(both):
    """blktap's commit goes to the bottom of the chain: the parent that is renamed has not got the data."""
    renamed(merging(3), both).refused(errors.Journals, "leaf_", "bottom of its chain")


def test_a_volume_for_a_new_disk_without_an_image_is_dropped():
    sr = luns.qcow2()
    sr.volumes.append(Volume("QCOW2-" + sr.ids.uuid(), extents=2))
    state = State(sr).resign()
    state.said("has no image yet")
    assert not [name for name in state.after.volumes if name.startswith("QCOW2-") and not state.after.volumes[name].read(0, 4).strip(b"\0")]


def test_a_volume_without_an_image_that_has_a_record_is_refused():
    sr = luns.qcow2()
    state = State(sr)
    state.lun.write(sr.named["snap"].volume.name, 0, b"\0" * 4096)
    state.refused(errors.BadQcow2, sr.named["snap"].volume.name)


def test_a_volume_that_sm_gave_a_vhd_is_refused():
    """Real sm makes a VHD where it should make a QCOW2 image, on a raw parent: somebody's data may be in it."""
    sr = luns.qcow2()
    sr.volumes.append(Volume("QCOW2-" + sr.ids.uuid(), extents=2, content=[(0, b"conectix")]))
    State(sr).refused(errors.BadQcow2, sr.volumes[0].name)


def test_a_journal_of_enlarging_is_dropped():
    """There is no footer that has to stand at the end."""
    sr = luns.qcow2()
    sr.volumes.append(journal("inflate", sr.named["disk"].uuid, "262144"))
    state = State(sr)
    want = state.digests()[sr.named["disk"].uuid]
    state.resign()
    assert not [name for name in state.after.volumes if name.startswith("inflate")]
    assert contents(state, sr.named["disk"]) == want


def test_a_stale_l1_table_is_not_taken_for_data_of_an_unfinished_leaf():
    """The flags of its entries say nothing; an offset does."""
    sr = snapshotting()
    state = State(sr)
    state.lun.write(sr.named["disk"].volume.name, 3 * CLUSTER, struct.pack(str(">Q"), 1 << 63))
    state.resign().said("it is undone")
