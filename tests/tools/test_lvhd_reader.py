# SPDX-License-Identifier: LGPL-2.1-only
"""The readers, on the images that the real storage manager made, and on damaged ones."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib

import pytest

from lvhd import image, reader, samples, shapes, vhd
from lvhd.reader import SECTOR, BadImage


@pytest.fixture(scope="module", params=samples.NAMES)
def sample(request, tmpdir_factory):
    """(name, path) of an unpacked sample."""
    return request.param, samples.unpack(request.param, tmpdir_factory.mktemp("samples"))


def test_sample_shows_its_one_vg(sample):
    name, path = sample
    assert reader.vg_names(path) == ["VG_XenStorage-" + samples.about(name)["uuid"]]


def test_sample_mgt_lists_the_vdis_of_its_json(sample):
    name, path = sample
    about = samples.about(name)
    with reader.Lun(path) as lun:
        mgt = lun.mgt()
    assert (mgt.uuid, mgt.version, mgt.allocation) == (about["uuid"], (1, 2), "thick")
    listed = dict((uuid, record) for uuid, record in mgt.live().items() if record.label != "base copy")
    assert set(listed) == set(about["vdis"])
    for uuid, vdi in about["vdis"].items():
        assert listed[uuid].label == vdi["name"]
        assert (listed[uuid].fields["is_a_snapshot"] == "1") == vdi["snap"]
        assert listed[uuid].fields["vdi_type"] == ("aio" if vdi["raw"] else "vhd")


def test_sample_contents_are_those_of_its_json(sample):
    name, path = sample
    for uuid, vdi in samples.about(name)["vdis"].items():
        with reader.Lun(path) as lun:
            assert lun.virtual_size(uuid) == vdi["mb"] * 1024 * 1024
            assert lun.virtual_sectors(uuid) == samples.expected_sectors(vdi)


def test_sample_chain_depths(sample):
    name, path = sample
    with reader.Lun(path) as lun:
        depths = sorted(len(lun.chain(uuid)) for uuid in samples.about(name)["vdis"])
    assert depths == {"one": [1], "xs70": [1], "snaps": [2, 3, 3], "chain5": [2, 3, 4, 5, 5]}[name]


def test_virtual_read_is_part_of_the_hashed_disk(sample):
    name, path = sample
    for uuid in samples.about(name)["vdis"]:
        whole = reader.virtual_read(path, uuid, 0, 16384)
        assert reader.virtual_sha256(path, uuid) == hashlib.sha256(whole).hexdigest()
        assert reader.virtual_read(path, uuid, 4090, 20) == whole[4090 * SECTOR:4110 * SECTOR]


def test_virtual_read_beyond_the_end_is_an_error(sample):
    name, path = sample
    uuid = list(samples.about(name)["vdis"])[0]
    with pytest.raises(BadImage):
        reader.virtual_read(path, uuid, 16384, 1)


def test_identities_are_found_where_they_live(sample):
    name, path = sample
    uuid = samples.about(name)["uuid"]
    places = [place for place, _ in reader.traces(path, [uuid])]
    assert places[:2] == ["metadata text", "MGT"]
    with reader.Lun(path) as lun:
        children = [volume for volume in lun.volumes if volume.startswith("VHD-") and lun.vhd(volume).differencing]
    for child in children:
        for part in ("header", "locator MacX", "locator W2ku", "locator W2ru"):
            assert "%s %s" % (child, part) in places
    assert len(places) == 2 + 4 * len(children)
    with reader.Lun(path) as lun:
        assert [place for place, _ in reader.traces(path, [lun.label.pv_id])] == ["label", "metadata text"]
    for identity in reader.identities(path):
        assert reader.traces(path, [identity])


@pytest.fixture
def lun_image(tmpdir):
    """(path, model) of a small SR with a chain of three."""
    path = str(tmpdir.join("lun.img"))
    return path, image.write(path, shapes.two_snapshots())


def flip(path, offset):
    with open(path, "r+b") as stream:
        stream.seek(offset)
        byte = bytearray(stream.read(1))
        byte[0] ^= 0x01
        stream.seek(offset)
        stream.write(bytes(byte))


@pytest.mark.parametrize("offset", [512 + 8, 512 + 40, 512 + 500])
def test_damaged_label_is_no_label(lun_image, offset):
    path, _ = lun_image
    flip(path, offset)
    assert reader.observe(path) == []
    with pytest.raises(BadImage):
        reader.Lun(path)


@pytest.mark.parametrize("offset", [4096, 4096 + 30, 4096 + 45, 4096 + 511])
def test_damaged_area_header_hides_the_vg_but_not_the_pv(lun_image, offset):
    path, sr = lun_image
    flip(path, offset)
    assert reader.observe(path) == [reader.Seen(sr.pv_id, None, None, None, False)]
    assert reader.vg_names(path) == []


def test_damaged_text_hides_the_vg(lun_image):
    path, sr = lun_image
    flip(path, sr.area_offset + sr.text_start + sr.text_size // 2)
    assert reader.vg_names(path) == []


def test_exported_vg_is_seen_as_such(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.one(status=["EXPORTED", "RESIZEABLE", "READ", "WRITE"]))
    assert reader.observe(path) == [reader.Seen(sr.pv_id, sr.vg_name, sr.vg_id, sr.seqno, True)]


def structure(path, name):
    return [each for each in reader.structures(path) if each.name == name][0]


def test_damaged_vhd_header_is_an_error(lun_image):
    path, sr = lun_image
    name = sr.vdis[0].volume.name
    flip(path, structure(path, name + " header").pieces[0][0] + 100)
    with pytest.raises(BadImage):
        reader.virtual_sha256(path, sr.vdis[0].uuid)


def test_damaged_footer_is_replaced_by_its_copy(lun_image):
    path, sr = lun_image
    leaf = sr.vdis[0]
    flip(path, structure(path, leaf.volume.name + " footer").pieces[0][0] + 10)
    with reader.Lun(path) as lun:
        assert lun.vhd(leaf.volume.name).damaged
    assert reader.virtual_sha256(path, leaf.uuid) == leaf.virtual_sha256()


def test_wrong_parent_uuid_is_an_error(lun_image):
    path, sr = lun_image
    base = sr.vdis[0].parent
    base.footer_uuid = sr.ids.uuid()
    other = image.write(path + ".2", shapes.two_snapshots())
    with open(path + ".2", "r+b") as stream:
        for part in (" footer copy", " footer"):
            stream.seek(structure(path, base.volume.name + part).pieces[0][0])
            stream.write(vhd.footer(base))
    with pytest.raises(BadImage):
        reader.virtual_sha256(path + ".2", other.vdis[0].uuid)


def test_flipped_guest_bit_changes_hash_and_digest(lun_image):
    path, sr = lun_image
    leaf = sr.vdis[0]
    before = reader.virtual_sha256(path, leaf.uuid), reader.virtual_digests(path)
    with reader.Lun(path) as lun:
        volume = lun.volumes[leaf.volume.name]
        start = min(entry for entry in lun.vhd(leaf.volume.name).table() if entry != 0xffffffff)
        offset = volume.pieces((start + 1 + 528) * SECTOR, 1)[0][0]
    flip(path, offset)
    after = reader.virtual_sha256(path, leaf.uuid), reader.virtual_digests(path)
    assert before[0] != after[0]
    assert [uuid for uuid in before[1] if before[1][uuid] != after[1][uuid]] == [leaf.uuid]


@pytest.mark.parametrize("name, volume", [
    ("VG_XenStorage--1--2-VHD--3--4", "VHD-3-4"),
    ("vg-lv", "lv"),
    ("v--g-l--v--x", "l-v-x"),
])
def test_mapper_names(name, volume):
    assert reader.volume_of_mapper_name(name) == volume


@pytest.mark.parametrize("name", ["", "novolume", "a-b-c", "a--b"])
def test_bad_mapper_names(name):
    with pytest.raises(BadImage):
        reader.volume_of_mapper_name(name)
