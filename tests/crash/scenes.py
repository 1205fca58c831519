# SPDX-License-Identifier: LGPL-2.1-only
"""The SRs that are resigned: those of lvhd.shapes, and LUNs with a history that only a resign can give them."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import io
import os
import random

from crash import busy, medium, pool, recorder, witness
from fuzz import luns, media
from fuzz.edit import Editor, put
from lvhd import image, lvmdisk, policy, reader, remodel, samples, shapes
from lvhd.ids import Ids
from lvhd.model import Sr
from relvm import identity
from relvm.engine import resign

KIB = 1024
# Of every LUN that is resigned here: a run knows it again
SCSI_ID = str('360000000000000000e00000000010002')


class Scene(object):
    """One LUN to begin with.

    base: medium.Base; model: lvhd's Sr; sight: witness.Sight of it.  expected: the inventory of what a resign keeps; identities:
    all that must be gone; sources: what a preview says that the VDIs come from; spare: witness.spare_sectors; hashes: {segments:
    SHA-256 of what a guest reads} of what is kept; options: of each resign; other: of one that finishes another one.
    """

    def __init__(self, name, path, model):
        self.name = name
        self.model = model
        self.options = getattr(model, 'options', {})
        self.other = getattr(model, 'other', self.options)
        self.base = medium.Base(path)
        whole = self.base.path
        self.sight = witness.Sight(whole)
        self.sr_uuid = self.sight.sr_uuid
        self.identities = self.sight.identities
        self.spare = witness.spare_sectors(whole)
        self.sources = pool.alone(lambda: _sources(self.medium(), self.options))
        if hasattr(model, 'reads'):
            # what is settled, or kept on request, is no property of the model: a run that nobody disturbs is the measure, and the
            # contents are known
            self.expected = witness.Sight(Recording(self.medium(), 1, self.options).end.file()).inventory
            self.hashes = model.reads
            return
        before = self.sight.inventory
        left = policy.kept(model, self.options.get('drop', ()))
        kept = [vdi.volume for vdi in left] + policy.kept_volumes(model) + [model.mgt_volume]
        self.expected = dict((tuple(volume.segments), _repaired(before[tuple(volume.segments)])) for volume in kept)
        self.expected[witness.LOST] = []
        self.hashes = dict((tuple(vdi.volume.segments), vdi.virtual_sha256(model.extent_size)) for vdi in left)

    def medium(self):
        """The LUN as it is before the first run."""
        return medium.Medium(self.base)


def _sources(start, options):
    device = recorder.Recorder(start)
    try:
        plan, _ = resign.preview(device, identity.new_uuid(), scsi_id=SCSI_ID, **options)
    finally:
        device.close()
    return [source for source, _ in plan.map.vdis]


def _repaired(entry):
    """An entry of an inventory as a resign leaves it: a record whose type is not that of its LV is put right, as sm does."""
    if 'vdi_type' in entry:
        return dict(entry, vdi_type={'VHD': 'vhd', 'QCOW2': 'qcow2', 'LV': 'aio'}[entry['name']])
    return entry


def determined(seed, function):
    """What `function` returns with the kernel's random source replaced by a seeded one."""
    source = random.Random(seed)
    kernel = os.urandom
    os.urandom = lambda count: bytes(bytearray(source.getrandbits(8) for _ in range(count)))
    try:
        return function()
    finally:
        os.urandom = kernel


class Recording(object):
    """A whole resign of a Medium with the options of a Scene, the same for the same Medium and seed.

    sr_uuid; events of its Recorder; end: the Medium after it; identities: all that it gave.
    """

    def __init__(self, start, seed, options=None):
        answer = pool.alone(lambda: determined(seed, lambda: self._run(start.copy(), options or {})))
        self.sr_uuid, self.events, self.counts, sectors = answer
        self.end = medium.Medium(start.base, sectors)
        self.identities = witness.Sight(self.end.file()).identities

    @staticmethod
    def _run(target, options):
        device = recorder.Recorder(target)
        try:
            sr_uuid = identity.new_uuid()
            resign.resign(device, sr_uuid, scsi_id=SCSI_ID, **options)
        finally:
            device.close()
        return sr_uuid, device.events, device.counts, target.sectors


def _plain(shape):
    def build(path, seed):
        return image.write(path, shape(seed))
    return build


def _keeping(shape):
    """Every snapshot stays."""
    def build(path, seed):
        model = image.write(path, shape(seed))
        model.options = {'keep_snapshots': True}
        model.reads = dict((tuple(tuple(piece) for piece in vdi.volume.segments), vdi.virtual_sha256(model.extent_size))
                           for vdi in model.vdis if vdi.stored and not vdi.hidden)
        return model
    return build


def _sample(name):
    def build(path, seed):
        os.rename(samples.unpack(name, os.path.dirname(path)), path)
        return remodel.sr(path)
    return build


def _resign(path, seed):
    return Recording(medium.Medium(medium.Base(path)), seed).events


def _replay(path, events):
    with io.open(path, 'r+b') as stream:
        for event in events:
            if event != recorder.FLUSH:
                stream.seek(event.offset)
                stream.write(event.data)


def _without_clearing(events):
    """A resign whose last write, which overwrites the head of its log, was lost."""
    assert events[-1].step == 'clearing the log'
    return events[:-1]


def _before_switch_1(events):
    """A resign that was killed when everything was ready for switch 1."""
    return events[:events.index(recorder.FLUSH) + 1]


def _use(path, model, seed, grow_mgt=False, leave=1):
    """What an attached SR goes through: VDIs deleted, others made in their extents, snapshots taken, MGT longer or larger."""
    ids = random.Random(seed)
    # Not those that the first VDIs got
    model.ids = Ids(seed + 1000)
    freed = []
    leaves = [vdi for vdi in model.vdis if vdi.stored and not vdi.hidden and not model.children(vdi)]
    for vdi in leaves[leave:]:
        vdi.deleted, vdi.stored, vdi.parent = True, False, None
        freed.extend(vdi.volume.segments)
    used = set(id(node) for vdi in model.vdis if vdi.stored and not vdi.hidden for node in vdi.chain())
    for vdi in model.vdis:
        if vdi.stored and id(vdi) not in used:
            vdi.deleted, vdi.stored, vdi.parent = True, False, None
            freed.extend(vdi.volume.segments)
    if grow_mgt:
        first, count = model.mgt_volume.segments[0]
        model.mgt_volume.segments = [(first, count + 1)]
    for number in range(6):
        vdi = shapes.disk(model, 'later %d' % number, sectors=(0, 8 * ids.randrange(1, 400)))
        if number % 3 == 0:
            shapes.snapshot(model, vdi, 'snap of later %d' % number)
            shapes.write(vdi, 4096, 'after')
    model.seqno += 5
    model.text_offset = lvmdisk.after(model.area_size, *_live_text(path))
    model.older_texts = 0
    model.pv_size = model.pv_size or os.path.getsize(path)
    with io.open(path, 'r+b') as stream:
        # A guest that formats a new disk, or an array that was told of freed extents
        for first, count in freed:
            stream.seek(model.pe_start + first * model.extent_size)
            stream.write(b'\0' * (count * model.extent_size))
        for offset, data in image.chunks(model):
            stream.seek(offset)
            stream.write(data)
    return model


def _live_text(path):
    with reader.Lun(path) as lun:
        return lun.area.locations[0][:2]


def _roomy(seed):
    """An SR whose first VDI is a snapshot, so that the extent behind MGT becomes free by a resign, with room for others."""
    model = Sr(seed, free_extents=80)
    vdis = [shapes.disk(model, 'vdi%d' % number) for number in range(3)]
    snap = shapes.snapshot(model, vdis[0])
    model.vdis.remove(snap)
    model.vdis.insert(0, snap)
    return model


def resigned_before(path, seed):
    """A LUN that was resigned and not used since."""
    image.write(path, _roomy(seed))
    _replay(path, _resign(path, seed + 77))
    return remodel.sr(path)


def resigned_then_used(path, seed):
    """Resigned with the log's head left over, attached and used; MGT has another extent, so the old head lies inside it."""
    image.write(path, _roomy(seed))
    _replay(path, _without_clearing(_resign(path, seed + 77)))
    return _use(path, remodel.sr(path), seed, grow_mgt=True)


def resigned_then_used_in_place(path, seed):
    """The same, but MGT has kept its size: the old head still stands where a log's head is looked for."""
    image.write(path, _roomy(seed))
    _replay(path, _without_clearing(_resign(path, seed + 77)))
    return _use(path, remodel.sr(path), seed)


def killed_then_used(path, seed):
    """A run was killed right before switch 1; the LUN was then attached under its old identity and used."""
    image.write(path, _roomy(seed))
    _replay(path, _before_switch_1(_resign(path, seed + 77)))
    return _use(path, remodel.sr(path), seed)


def left_behind(path, seed):
    """A run leaves a broken disk and a base copy with two disks on it behind; one that finishes it names another disk, in vain."""
    model = luns.cloned()
    for name in ('broken', 'other', 'third'):
        luns.disk(model, name)
    image.write(path, model)
    lun = Editor(media.File(path), model)
    lun.footer(model.named['broken'].volume.name, lambda raw: put(raw, 0, '8s', b'v_poison'), copy=False)
    model.options = {'drop': [str(model.named[name].uuid) for name in ('broken', 'base')]}
    model.other = {'drop': [str(model.named['other'].uuid)]}
    return model


def mgt_nearly_full(path, seed):
    """Deleted slots fill MGT; there is hardly room for the log.

    Extents of 256 KiB instead of sm's 4 MiB keep MGT small: each of its sectors is torn once in each direction.
    """
    room = 24 * KIB
    model = Sr(seed, extent_size=256 * KIB)
    vdi = shapes.disk(model, 'vdi0')
    shapes.snapshot(model, vdi)
    slots = (256 * KIB - room - 2048) // 1024 - len(model.vdis)
    for number in range(slots):
        model.add('gone %d' % number, deleted=True)
    return image.write(path, model)


def _shapes():
    table = collections.OrderedDict()
    for name in ('one', 'two_snapshots', 'chain5', 'chain30', 'tree_with_clones', 'raw', 'raw_parent', 'hidden_leftovers', 'vdis50',
                 'qcow2_snapshots', 'qcow2_chain30', 'mixed', 'full_vg', 'wrapped_text', 'full_ring', 'long_names',
                 'one_reserved', 'deleted_slots', 'cbt_logs', 'fragmented', 'tags', 'admin_lv', 'strays', 'old_lvm_text',
                 'lvm_2_02_130_text'):
        table[name] = _plain(shapes.SHAPES[name])
    for place in shapes.TEXT_PLACES:
        table['text_at_' + place] = _plain(shapes.SHAPES['text_at_' + place])
    for name in ('two_snapshots', 'qcow2_snapshots', 'tree_with_clones'):
        table['keep_' + name] = _keeping(shapes.SHAPES[name])
    for name in samples.NAMES:
        table['sample_' + name] = _sample(name)
    for function in (left_behind, mgt_nearly_full, resigned_before, resigned_then_used, resigned_then_used_in_place,
                     killed_then_used) + busy.SCENES:
        table[function.__name__] = function
    return table


# Name to a function of a path and a seed that makes the image and returns its model
SCENES = _shapes()


def build(name, directory, seed=0):
    """The Scene of that name; its image is a file in `directory`."""
    path = os.path.join(str(directory), '%s-%d.img' % (name, seed))
    return Scene(name, path, SCENES[name](path, seed))
