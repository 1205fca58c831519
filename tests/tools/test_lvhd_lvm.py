# SPDX-License-Identifier: LGPL-2.1-only
"""Real LVM on the images that the tests write, and the writer against what real LVM writes."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import sys

import pytest

from lvhd import generate, image, lvmdisk, mgt, reader, remodel, samples, shapes
from lvhd.judges import lvm
from lvhd.model import MIB, Sr

pytestmark = pytest.mark.skipif(lvm.missing() is not None, reason=str(lvm.missing()))

# The images are the same bytes on every Python, so the old ones need only show that the judge works there.
JUDGED = list(shapes.SHAPES) if sys.version_info >= (3, 7) else ["tree_with_clones", "fragmented", "wrapped_text", "tags"]
RANDOM_SEEDS = range(100, 120 if sys.version_info >= (3, 7) else 102)

newest = pytest.mark.skipif(lvm.missing() is None and lvm.is_old(), reason="the writer writes what LVM 2.03 does")


def fingerprint(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(MIB), b""):
            digest.update(block)
    return digest.hexdigest()


def assert_lvm_agrees(path, sr):
    """LVM's four reports and two checks say what the model says, without a warning."""
    said = lvm.report_image(path)
    assert lvm.complaints(said) == []
    vg, = said.vgs.rows
    assert (vg["vg_name"], vg["vg_uuid"], int(vg["vg_seqno"])) == (sr.vg_name, sr.vg_id, sr.seqno)
    volumes = sr.all_volumes()
    extents = (sr.pv_size - sr.pe_start) // sr.extent_size
    assert int(vg["vg_extent_count"]) == extents
    assert int(vg["vg_free_count"]) == extents - sum(volume.extents for volume in volumes)
    assert (vg["pv_count"], vg["vg_mda_count"], int(vg["lv_count"])) == ("1", "1", len(volumes))
    assert vg["vg_tags"].split(",") == (sorted(sr.tags) or [""])
    pv, = said.pvs.rows
    assert (pv["pv_uuid"], pv["vg_name"], int(pv["pe_start"])) == (sr.pv_id, sr.vg_name, sr.pe_start)
    by_name = dict((row["lv_name"], row) for row in said.lvs.rows)
    assert sorted(by_name) == sorted(volume.name for volume in volumes)
    for volume in volumes:
        row = by_name[volume.name]
        assert row["lv_uuid"] == volume.id
        assert int(row["lv_size"]) == volume.extents * sr.extent_size
        assert row["lv_attr"][1] == ("r" if volume.read_only else "w")
        assert sorted(row["lv_tags"].split(",")) == (sorted(set(volume.tags)) or [""])
        ranges = [segment["seg_pe_ranges"].split(":")[1] for segment in said.segments.rows if segment["lv_name"] == volume.name]
        assert ranges == ["%d-%d" % (first, first + count - 1) for first, count in volume.segments]
    assert set(segment["segtype"] for segment in said.segments.rows) <= set(["linear"])


@pytest.mark.parametrize("name", JUDGED)
def test_lvm_accepts_the_shape(name, tmpdir):
    path = str(tmpdir.join("lun.img"))
    assert_lvm_agrees(path, image.write(path, shapes.SHAPES[name](11)))


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_lvm_accepts_random_srs(seed, tmpdir):
    path = str(tmpdir.join("lun.img"))
    assert_lvm_agrees(path, image.write(path, generate.random_sr(seed)))


def test_lvm_accepts_a_thousand_volumes(tmpdir):
    path = str(tmpdir.join("lun.img"))
    assert_lvm_agrees(path, image.write(path, shapes.sized(1100)))


@pytest.mark.parametrize("name", samples.NAMES)
def test_lvm_agrees_on_the_samples(name, tmpdir):
    path = samples.unpack(name, tmpdir)
    assert_lvm_agrees(path, image.settle(remodel.sr(path)))


def test_judging_changes_nothing(tmpdir):
    path = str(tmpdir.join("lun.img"))
    image.write(path, shapes.one(beyond=0))
    before = fingerprint(path)
    lvm.report_image(path)
    assert fingerprint(path) == before


def test_judge_notices_a_damaged_text(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.one())
    with open(path, "r+b") as stream:
        stream.seek(sr.area_offset + sr.text_start + 100)
        stream.write(b"?")
    said = lvm.report_image(path)
    assert lvm.complaints(said) != []
    assert reader.vg_names(path) == [row["vg_name"] for row in said.vgs.rows] == []


def test_judge_and_observer_agree_on_an_exported_vg(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.one(status=["EXPORTED", "RESIZEABLE", "READ", "WRITE"]))
    with lvm.Loop(path) as device:
        said = lvm.report(device)
        named = lvm.run(device, "lvs", sr.vg_name)
    assert [(row["vg_name"], row["vg_attr"][2]) for row in said.vgs.rows] == [(sr.vg_name, "x")]
    assert reader.observe(path)[0].exported
    # Asked for no VG by name, lvs passes over an exported one; up to 2.02 with an error
    assert (said.lvs.result.status, said.lvs.rows) == (5 if lvm.is_old() else 0, [])
    assert named.status == 5


def test_lvm_shows_only_its_own_device(tmpdir):
    """Two judges at once: neither sees the other's PV, although both have the same ids."""
    first, second = str(tmpdir.join("first.img")), str(tmpdir.join("second.img"))
    image.write(first, shapes.one(5))
    image.write(second, shapes.one(5))
    with lvm.Loop(first) as one, lvm.Loop(second) as other:
        assert one != other
        for device in (one, other):
            said = lvm.report(device)
            assert lvm.complaints(said) == []
            assert [row["pv_name"] for row in said.pvs.rows] == [device]


@pytest.fixture
def made_by_lvm(tmpdir):
    """Path of an image whose VG this machine's LVM made with the commands sm uses, with tags, segments, a read-only LV and odd
    names; only MGT's contents are ours."""
    path = str(tmpdir.join("real.img"))
    sr = Sr(77)
    with open(path, "wb") as stream:
        stream.truncate(256 * MIB + 512)

    def run(*arguments):
        result = lvm.run(device, *arguments)
        assert result.status == 0, result
    with lvm.Loop(path, read_only=False) as device:
        run("pvcreate", "-ff", "-y", "--metadatasize", "10M", device)
        run("vgcreate", sr.vg_name, device)

        def create(name, extents, *options):
            run("lvcreate", "-Zn", "-n", name, "-l", str(extents), *(options + (sr.vg_name,)))
        create("MGT", 1)
        create("leaf-a", 2, "--addtag", "a.b", "--addtag", "C+d")
        create("gone", 2)
        create("base", 3, "--addtag", "hidden", "-pr")
        run("lvremove", "-f", sr.vg_name + "/gone")
        create("third.lv", 3)
        create("pinned", 1, "--alloc", "contiguous", "--readahead", "256")
        run("lvextend", "-l", "+2", sr.vg_name + "/MGT")
        run("vgchange", "--addtag", "pool_7", sr.vg_name)
        run("pvchange", "--addtag", "array-a", device)
    with open(path, "r+b") as stream:
        stream.seek(sr.pe_start)
        stream.write(mgt.used(sr))
    return path


@newest
def test_writer_equals_this_machines_lvm(made_by_lvm, tmpdir):
    """Label sector, area header and text, byte for byte."""
    path = str(tmpdir.join("ours.img"))
    sr = remodel.sr(made_by_lvm)
    assert sr.pe_start == 22528 * 512
    assert [len(volume.segments) for volume in sr.all_volumes()] == [2, 1, 1, 1, 1]
    image.write(path, sr)
    real, ours = reader.live_strings(made_by_lvm), reader.live_strings(path)
    for name in ("label", "metadata area header", "metadata text"):
        assert ours[name] == real[name]


@newest
def test_lvm_goes_on_from_where_the_writer_stopped(tmpdir):
    """The next text LVM writes lands right behind ours; also when that is round the end of the ring."""
    for place in ("start", "wraps_half", "ends_at_end", "wraps_after_first_sector"):
        path = str(tmpdir.join(place + ".img"))
        sr = image.write(path, shapes.text_at(place))
        with lvm.Loop(path, read_only=False) as device:
            result = lvm.run(device, "lvcreate", "-Zn", "-n", "later", "-l", "1", sr.vg_name)
            assert result.status == 0, result
        with reader.Lun(path) as lun:
            assert "later" in lun.volumes
            assert lun.vg["seqno"] == sr.seqno + 1
            assert lun.area.locations[0][0] == lvmdisk.after(sr.area_size, sr.text_start, sr.text_size)


def test_free_extents_are_those_lvm_gives_out(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.full_vg())
    with lvm.Loop(path, read_only=False) as device:
        result = lvm.run(device, "lvcreate", "-Zn", "-n", "later", "-l", "1", sr.vg_name)
    assert result.status != 0
    assert "free" in result.err or "extents" in result.err
