# SPDX-License-Identifier: LGPL-2.1-only
"""The image writer: against the images of the real storage manager byte by byte, and against the readers."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib

import pytest

from lvhd import generate, image, leftovers, mgt, policy, reader, remodel, samples, shapes, vhd
from lvhd.model import RAW, SECTOR, VHD, Sr

RANDOM_SEEDS = range(40)


@pytest.fixture(scope="module", params=samples.NAMES)
def sample(request, tmpdir_factory):
    return samples.unpack(request.param, tmpdir_factory.mktemp("samples"))


def test_a_sample_is_rewritten_byte_for_byte(sample, tmpdir):
    """Label, area header, text, MGT, and per VHD footers, header, locators, whole BAT, batmap and data."""
    path = str(tmpdir.join("copy.img"))
    image.write(path, remodel.sr(sample))
    assert reader.live_strings(path) == reader.live_strings(sample)
    with reader.Lun(sample) as real, reader.Lun(path) as ours:
        assert ours.device.size() == real.device.size()
        assert ours.device.read(0, 4096) == real.device.read(0, 4096)
        for name in real.volumes:
            if name.startswith("VHD-"):
                one, other = real.vhd(name), ours.vhd(name)
                length = one.table_bytes()
                assert other.volume.read(other.table_offset, length) == one.volume.read(one.table_offset, length)
                assert other.batmap() == one.batmap()
                assert other.sectors() == one.sectors()


def stripped(sectors):
    return dict((number, data) for number, data in sectors.items() if data != b"\0" * SECTOR)


def assert_reads_as_modelled(path, sr):
    assert reader.observe(path) == [reader.Seen(sr.pv_id, sr.vg_name, sr.vg_id, sr.seqno, False)]
    with reader.Lun(path) as lun:
        assert list(lun.volumes) == [volume.name for volume in sr.all_volumes()]
        for volume in sr.all_volumes():
            there = lun.volumes[volume.name]
            assert (there.id, there.segments, there.tags) == (volume.id, volume.segments, volume.tags)
            assert ("WRITE" in there.status) == (not volume.read_only)
            for offset, data in volume.content:
                assert there.read(offset, len(data)) == data
        records = lun.mgt().records
        recorded = [vdi for vdi in sr.vdis if vdi.recorded]
        assert [record.fields["uuid"] for record in records] == [vdi.uuid for vdi in recorded]
        for record, vdi in zip(records, recorded):
            label, description = mgt.stored_names(vdi.name_label, vdi.name_description)
            assert mgt.escape(record.label) == label
            assert mgt.escape(record.description) == description
            assert (record.fields["deleted"] == "1") == vdi.deleted
        for vdi in sr.vdis:
            if not vdi.stored:
                continue
            assert lun.virtual_size(vdi.uuid) == vdi.virtual_size()
            assert lun.virtual_sectors(vdi.uuid) == stripped(vdi.virtual_sectors())
            assert [volume.name for volume in lun.chain(vdi.uuid)] == [node.volume.name for node in vdi.chain()]
            if vdi.vdi_type == VHD:
                assert lun.vhd(vdi.volume.name).footer.hidden == vdi.hidden


@pytest.mark.parametrize("name", list(shapes.SHAPES))
def test_shape_reads_as_modelled(name, tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.SHAPES[name](3))
    assert_reads_as_modelled(path, sr)
    assert policy.kept_leaves(sr)


@pytest.mark.parametrize("name", list(leftovers.LEFTOVERS))
def test_leftover_reads_as_modelled(name, tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr, left = leftovers.LEFTOVERS[name](3)
    image.write(path, sr)
    with reader.Lun(path) as lun:
        assert left in lun.volumes
    assert len(vhd.mapper_name(sr.vg_name, left)) <= 127


def test_long_journal_keeps_its_value_inside(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr, left = leftovers.clone(3)
    image.write(path, sr)
    with reader.Lun(path) as lun:
        length, value = lun.volumes[left].read(0, SECTOR).split(b" ", 1)
    assert left == "clone_%s_1" % sr.vdis[0].uuid
    assert value[:int(length)].decode("ascii") == "%s_%s" % (sr.vdis[0].parent.uuid, sr.vdis[1].uuid)


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_random_sr_reads_as_modelled(seed, tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, generate.random_sr(seed))
    assert_reads_as_modelled(path, sr)
    assert policy.kept_leaves(sr)


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_random_sr_survives_remodelling(seed, tmpdir):
    first, second = str(tmpdir.join("first.img")), str(tmpdir.join("second.img"))
    image.write(first, generate.random_sr(seed))
    image.write(second, remodel.sr(first))
    assert reader.live_strings(second) == reader.live_strings(first)
    assert reader.virtual_digests(second) == reader.virtual_digests(first)


def test_same_seed_same_bytes_on_every_python(tmpdir):
    """The number is the point: every interpreter has to find the same one."""
    path = str(tmpdir.join("lun.img"))
    image.write(path, generate.random_sr(1234))
    digest = hashlib.sha256(b"".join(reader.live_strings(path).values()))
    assert digest.hexdigest() == "a895d6c2f10dbc8ca6096c0ab11bfb2616d182657131cea5f50f7f20555aa692"


def test_writing_twice_gives_the_same(tmpdir):
    first, second = str(tmpdir.join("first.img")), str(tmpdir.join("second.img"))
    sr = shapes.tree_with_clones()
    image.write(first, sr)
    image.write(second, sr)
    assert reader.live_strings(second) == reader.live_strings(first)


def test_seeds_give_different_identities(tmpdir):
    first, second = str(tmpdir.join("first.img")), str(tmpdir.join("second.img"))
    image.write(first, shapes.one(1))
    image.write(second, shapes.one(2))
    assert not reader.identities(first) & reader.identities(second)


@pytest.mark.parametrize("place", list(shapes.TEXT_PLACES))
def test_text_lies_where_it_was_put(place, tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.text_at(place))
    with reader.Lun(path) as lun:
        start, size = lun.area.locations[0][:2]
        assert start % SECTOR == 0
        assert len(lun.text_pieces) == (2 if place.startswith("wraps") else 1)
        last_offset, last_length = lun.text_pieces[-1]
    end = last_offset + last_length - sr.area_offset
    if place == "ends_at_end":
        assert end == sr.area_size
    if place == "wraps_last_sector":
        assert end <= 2 * SECTOR
    if place == "wraps_after_first_sector":
        assert lun.text_pieces[0][1] == SECTOR


def older_texts(path, sr):
    """Sequence numbers of the texts of this VG in the ring, by place."""
    with open(path, "rb") as stream:
        stream.seek(sr.area_offset)
        ring = stream.read(sr.area_size)
    found, marker = [], (sr.vg_name + " {").encode("ascii")
    place = ring.find(marker, SECTOR)
    while place >= 0:
        found.append((int(ring[ring.index(b"seqno = ", place) + 8:].split(None, 1)[0]), place))
        place = ring.find(marker, place + 1)
    return found


def test_older_texts_precede_the_live_one(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.two_snapshots(older_texts=5))
    assert older_texts(path, sr)[0] == (sr.seqno - 5, SECTOR)
    assert [seqno for seqno, _ in older_texts(path, sr)] == list(range(sr.seqno - 5, sr.seqno + 1))
    assert older_texts(path, sr)[-1] == (sr.seqno, sr.text_start)


def test_older_texts_go_round_the_ring_backwards(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.two_snapshots(older_texts=5, text_offset=2 * SECTOR))
    by_seqno = dict(older_texts(path, sr))
    assert sorted(by_seqno) == list(range(sr.seqno - 5, sr.seqno + 1))
    assert by_seqno[sr.seqno] == 2 * SECTOR
    assert all(by_seqno[seqno] > sr.area_size // 2 for seqno in range(sr.seqno - 5, sr.seqno))


def test_full_ring_has_no_empty_stretch(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.full_ring())
    with open(path, "rb") as stream:
        stream.seek(sr.area_offset)
        ring = stream.read(sr.area_size)
    empty = b"\0" * 4096
    assert all(ring[page:page + 4096] != empty for page in range(0, len(ring) - 4096, 4096))


def test_a_ring_too_small_is_refused():
    sr = shapes.two_snapshots(area_size=8192, older_texts=3)
    with pytest.raises(image.DoesNotFit):
        list(image.chunks(sr))


def test_content_beyond_a_volume_is_refused():
    sr = shapes.one()
    sr.mgt_volume.content.append((4 * 1024 * 1024 - 1, b"xx"))
    with pytest.raises(image.DoesNotFit):
        list(image.chunks(sr))


def test_fragmented_header_and_locators_lie_in_different_segments(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.fragmented())
    child = [vdi for vdi in sr.vdis if vdi.parent is not None][0]
    with reader.Lun(path) as lun:
        volume = lun.volumes[child.volume.name]
        assert len(volume.segments) > 1
        locator = lun.vhd(volume.name).locators[0]
        header, = volume.pieces(SECTOR, 2 * SECTOR)
        place, = volume.pieces(locator.offset, locator.length)
    assert place[0] - header[0] != locator.offset - SECTOR


def test_full_vg_has_no_free_extent(tmpdir):
    path = str(tmpdir.join("lun.img"))
    image.write(path, shapes.full_vg())
    with reader.Lun(path) as lun:
        assert sum(volume.extents for volume in lun.volumes.values()) == lun.pv["pe_count"]
        assert lun.device.size() == lun.pe_start + lun.pv["pe_count"] * lun.extent_size


def test_mgt_nearly_full_leaves_what_was_asked(tmpdir):
    path = str(tmpdir.join("lun.img"))
    image.write(path, shapes.mgt_nearly_full(free=64 * 1024))
    with reader.Lun(path) as lun:
        assert 64 * 1024 <= lun.volumes["MGT"].size - lun.mgt().length < 66 * 1024


def test_long_names_are_cut_as_sm_cuts_them(tmpdir):
    path = str(tmpdir.join("lun.img"))
    image.write(path, shapes.long_names())
    with reader.Lun(path) as lun:
        mgt_volume = lun.mgt()
    assert mgt_volume.name_label == "n" * 487
    assert mgt_volume.name_description == "\u00e9" * 237
    first, second, third = mgt_volume.records[:3]
    assert (first.label, first.description) == ("\u4e2d" * 74, "\u00fc" * 111)
    assert second.label == "a" * 445
    assert (third.label, third.description) == ("&" * 44, "<" * 55)


def test_longest_lv_name_fills_the_mapper_name():
    sr = shapes.long_names()
    assert len(vhd.mapper_name(sr.vg_name, sr.volumes[0].name)) == 127


def test_a_record_that_does_not_fit_is_refused():
    sr = Sr()
    sr.add("x", snapshot_of="y" * 400)
    with pytest.raises(mgt.DoesNotFit):
        list(image.chunks(sr))


def test_a_thousand_vdis(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.sized(1100, chain=30, diff_share=0.97))
    assert len(sr.vdis) == 1100
    assert max(len(vdi.chain()) for vdi in sr.vdis) == 30
    assert sum(vdi.parent is not None for vdi in sr.vdis) >= 1000
    with reader.Lun(path) as lun:
        assert len(lun.mgt().live()) == 1100
        assert len(lun.volumes) == 1101


@pytest.mark.parametrize("count, share", [(1, 0.0), (10, 0.1), (10, 0.5), (100, 0.1), (100, 0.0)])
def test_sized_has_the_share_of_children_asked_for(count, share):
    sr = shapes.sized(count, diff_share=share)
    assert len(sr.vdis) == count
    assert sum(vdi.parent is not None for vdi in sr.vdis) == int(count * share)


@pytest.mark.parametrize("megabytes, expected", [
    (8, (240, 4, 17)), (40, (963, 5, 17)), (500, (1015, 16, 63)), (130048, (65278, 16, 255)), (2097152, (65535, 16, 255))])
def test_geometry(megabytes, expected):
    """Calculated by hand from the VHD specification's appendix; the samples' footers have the first."""
    assert vhd.geometry(megabytes * 2048) == expected


def test_policy_on_a_tree():
    sr = shapes.tree_with_clones()
    names = sorted(vdi.name_label for vdi in policy.kept_leaves(sr))
    assert names == ["template", "vm1", "vm2", "vm3"]
    dropped = [vdi for vdi in sr.vdis if vdi not in policy.kept(sr)]
    assert [vdi.name_label for vdi in dropped] == ["backup of vm2"]


def test_policy_drops_nodes_only_snapshots_needed():
    sr = Sr()
    vdi = shapes.disk(sr, "vdi0")
    shapes.snapshot(sr, vdi, "first")
    shapes.snapshot(sr, vdi, "second")
    second_base = vdi.parent
    vdi.parent = None
    assert policy.kept(sr) == [vdi]
    assert second_base not in policy.kept(sr)


def test_policy_drops_system_vdis_and_cbt_logs():
    assert [vdi.name_label for vdi in policy.kept(shapes.ha_and_metadata_vdis())] == ["vdi0"]
    assert policy.kept_volumes(shapes.cbt_logs()) == []


def test_children_of_raw_parents_have_no_parent_uuid(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.raw_parent())
    leaf = sr.vdis[0]
    assert leaf.parent.vdi_type == RAW
    with reader.Lun(path) as lun:
        disk = lun.vhd(leaf.volume.name)
        assert disk.parent_uuid == "00000000-0000-0000-0000-000000000000"
        assert disk.parent_volume() == leaf.parent.volume.name
        assert "hidden" in lun.volumes[leaf.parent.volume.name].tags
