# SPDX-License-Identifier: LGPL-2.1-only
"""qemu-img and libvhdi on the VHDs in the images: sizes, links between child and parent, and what a guest reads."""
from __future__ import absolute_import, division, print_function, unicode_literals

import sys

import pytest

from lvhd import extract, generate, image, policy, samples, shapes, vhd
from lvhd.judges import libvhdi, qemu
from lvhd.model import MIB, SECTOR, VHD
from lvhd.reader import Lun

with_qemu = pytest.mark.skipif(qemu.missing() is not None, reason=str(qemu.missing()))
with_libvhdi = pytest.mark.skipif(libvhdi.missing() is not None, reason=str(libvhdi.missing()))

# Shapes that differ in their VHDs; where the metadata text lies changes nothing in them.
VHD_SHAPES = [name for name in shapes.SHAPES if not name.startswith("text_at_")]
# The images are the same bytes on every Python, so the old ones need only show that the judges work there.
JUDGED = VHD_SHAPES + list(range(200, 212)) if sys.version_info >= (3, 7) else ["tree_with_clones", "raw_parent", 200]
HASHED = 256 * MIB
SOME = 12


def extracted(path, sr, directory):
    """VHD volumes of the model as files: volume name to path.  Of many, those at the ends and some between."""
    vdis = [vdi for vdi in sr.vdis if vdi.stored and vdi.vdi_type == VHD]
    wanted = vdis if len(vdis) <= SOME else vdis[:4] + vdis[-4:]
    files = {}
    for vdi in wanted:
        for node in vdi.chain():
            name = node.volume.name
            if node.vdi_type == VHD and name not in files:
                files[name] = extract.volume(path, name, str(directory.join(name)))
    return files


def model(name):
    if isinstance(name, int):
        return generate.random_sr(name)
    return shapes.SHAPES[name](21)


@pytest.fixture(params=JUDGED, ids=str)
def case(request, tmpdir):
    """(model, volume name to file)."""
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, model(request.param))
    return sr, extracted(path, sr, tmpdir)


def read_sectors(path, numbers):
    with open(path, "rb") as stream:
        found = {}
        for number in numbers:
            stream.seek(number * SECTOR)
            found[number] = stream.read(SECTOR)
        return found


@with_qemu
def test_qemu_reads_every_layer(case, tmpdir):
    sr, files = case
    raw = str(tmpdir.join("raw"))
    for vdi in sr.vdis:
        if not vdi.stored or vdi.volume.name not in files:
            continue
        path = files[vdi.volume.name]
        said = qemu.info(path)
        assert (said.result.status, said.size, said.cluster) == (0, vdi.size, vhd.BLOCK)
        assert qemu.convert(path, raw) == (0, "", "")
        layer = vdi.layer_sectors()
        assert read_sectors(raw, layer) == layer


@with_libvhdi
def test_libvhdi_reads_every_chain(case):
    sr, files = case
    chains = []
    for vdi in sr.vdis:
        nodes = vdi.chain()
        # libvhdi knows no raw parents.
        if vdi.stored and all(node.volume.name in files for node in nodes):
            chains.append((vdi, nodes))
    answers = libvhdi.read([([files[node.volume.name] for node in nodes], sorted(vdi.virtual_sectors())[:64])
                            for vdi, nodes in chains])
    for (vdi, nodes), disk in zip(chains, answers):
        assert disk.error is None
        assert (disk.size, disk.identifier) == (vdi.size, vdi.footer_uuid)
        if vdi.parent is not None:
            assert disk.parent_identifier == vdi.parent.footer_uuid
            assert disk.parent_name == vhd.mapper_name(sr.vg_name, vdi.parent.volume.name)
        expected = vdi.virtual_sectors()
        assert disk.sectors == dict((number, expected[number]) for number in sorted(expected)[:64])
        if vdi.size <= HASHED:
            assert disk.sha256 == vdi.virtual_sha256()


@with_libvhdi
def test_libvhdi_was_asked_about_chains():
    """The test above is only worth something if most shapes have VHD chains that it reads."""
    deep = [name for name in VHD_SHAPES if any(len(vdi.chain()) > 1 for vdi in policy.kept(model(name)))]
    assert len(deep) > len(VHD_SHAPES) // 2


@with_libvhdi
def test_libvhdi_refuses_a_wrong_parent(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.two_snapshots())
    files = extracted(path, sr, tmpdir)
    leaf, stranger = sr.vdis[0], sr.vdis[1]
    disk, = libvhdi.read([([files[leaf.volume.name], files[stranger.volume.name]], [])])
    assert disk.error is not None


@with_qemu
def test_qemu_refuses_a_damaged_footer_and_copy(tmpdir):
    path = str(tmpdir.join("lun.img"))
    sr = image.write(path, shapes.one())
    file = list(extracted(path, sr, tmpdir).values())[0]
    with open(file, "r+b") as stream:
        for offset, whence in ((0, 0), (-512, 2)):
            stream.seek(offset, whence)
            stream.write(b"x" * 8)
    assert qemu.info(file).result.status != 0


@with_libvhdi
@pytest.mark.parametrize("name", samples.NAMES)
def test_libvhdi_reads_the_samples_as_their_json_says(name, tmpdir):
    path = samples.unpack(name, tmpdir)
    about = samples.about(name)
    jobs = []
    with Lun(path) as lun:
        for uuid in sorted(about["vdis"]):
            chain = [volume.name for volume in lun.chain(uuid)]
            jobs.append(([extract.volume(path, each, str(tmpdir.join(each))) for each in chain],
                         sorted(samples.expected_sectors(about["vdis"][uuid]))))
    for uuid, disk in zip(sorted(about["vdis"]), libvhdi.read(jobs)):
        assert disk.error is None
        assert disk.sectors == samples.expected_sectors(about["vdis"][uuid])
