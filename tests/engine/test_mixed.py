# SPDX-License-Identifier: LGPL-2.1-only
"""SRs with QCOW2 disks, resigned, with qemu-img as the judge of every image."""
from __future__ import absolute_import, division, print_function

import shutil

import pytest

from luns import expect
from lvhd import image, reader, shapes
from lvhd.judges import backing

UUID = '11111111-2222-4333-8444-555555555555'


@pytest.fixture
def judged(tmpdir):
    """A directory that stands in for /dev."""
    place = str(tmpdir.mkdir('dev'))
    reason = backing.missing(place)
    if reason:
        pytest.skip(reason)
    return place


def resigned(tmpdir, model):
    """The Outcome of a resign of a model's image."""
    original, path = str(tmpdir.join('original.img')), str(tmpdir.join('lun.img'))
    image.write(original, model)
    image.write(path, model)
    return expect.Outcome(original, path, expect.kept_of(model), UUID)


def agreed(outcome, directory):
    """qemu-img finds nothing wrong and reads every kept disk as on the original: {LV of the original: LV of the clone}."""
    old, new = [backing.lay_out(path, directory) for path in (outcome.original, outcome.path)]
    with reader.Lun(outcome.original) as lun:
        names = [name for name, volume in lun.volumes.items()
                 if name.startswith('QCOW2-') and tuple(volume.segments) in outcome.kept]
    pairs = dict(('%s/%s' % (old, name), '%s/QCOW2-%s' % (new, outcome.uuids[name[6:]])) for name in names)
    assert backing.faults(directory, sorted(pairs.values())) == ''
    assert backing.differences(directory, sorted(pairs.items())) == ''
    return pairs


@pytest.mark.parametrize('name', ['qcow2_snapshots', 'qcow2_chain30', 'mixed'])
def test_qemu_img_agrees(name, tmpdir, judged):
    model = shapes.SHAPES[name](5)
    pairs = agreed(resigned(tmpdir, model), judged)
    assert len(pairs) == {'qcow2_snapshots': 3, 'qcow2_chain30': 30, 'mixed': 13}[name]
    leaf = [vdi for vdi in model.vdis if vdi.vdi_type == 'qcow2'][0]
    assert backing.depth(judged, pairs['%s/%s' % (model.vg_name, leaf.volume.name)]) == len(leaf.chain())


def test_the_judge_sees_a_chain_that_leads_elsewhere(tmpdir, judged):
    model = shapes.qcow2_snapshots(5)
    original = str(tmpdir.join('original.img'))
    image.write(original, model)
    vg = backing.lay_out(original, judged)
    leaf = '%s/%s' % (vg, model.vdis[0].volume.name)
    assert backing.faults(judged, [leaf]) == '' and backing.differences(judged, [(leaf, leaf)]) == ''
    shutil.move('%s/%s/%s' % (judged, vg, model.vdis[0].parent.volume.name), '%s/away' % judged)
    assert leaf in backing.faults(judged, [leaf])
    assert leaf in backing.differences(judged, [(leaf, leaf)])


def test_a_disk_of_3_tib(tmpdir, judged):
    """Fully provisioned, so the LUN is larger than that; sparse here."""
    model = shapes.large_qcow2(5)
    outcome = resigned(tmpdir, model)
    assert image.size(model) > 3 << 40
    expect.everything(outcome)
    assert len(agreed(outcome, judged)) == 2
