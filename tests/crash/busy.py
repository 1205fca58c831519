# SPDX-License-Identifier: LGPL-2.1-only
"""LUNs that were cloned in the middle of several operations of sm: what is settled is written through the redo log too.

Each function makes one and returns its model; `reads` of the model is {segments: SHA-256 of what a guest reads there}.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz import luns, media
from fuzz.edit import Editor, put
from lvhd import image
from lvhd.leftovers import journal
from lvhd.model import RAW, SECTOR

OLD_SIZE = '262144'


def _written(path, sr, *kept):
    """kept: (Vdi whose extents stay, Vdi whose content is read there)."""
    image.write(path, sr)
    sr.reads = dict((tuple(tuple(piece) for piece in place.volume.segments), content.virtual_sha256(sr.extent_size))
                    for place, content in kept)
    return Editor(media.File(path), sr)


def _grow(lun, vdi):
    """An inflate_ journal was there before the image was written; the new end of the LV is zeros."""
    lun.write(vdi.volume.name, lun.size(vdi.volume.name) - SECTOR, b'\0' * SECTOR)


def _growing(sr, vdi):
    sr.volumes.append(journal('inflate', vdi.uuid, OLD_SIZE))


def inflate_and_snapshot(path, seed):
    """A snapshot that is undone; the disk that gets its own name back needs a footer, and so does another one."""
    sr = luns.snapshotting()
    disk, base, other = [sr.named[name] for name in ('disk', 'base', 'other')]
    _growing(sr, base)
    _growing(sr, other)
    lun = _written(path, sr, (base, disk), (other, other))
    _grow(lun, base)
    _grow(lun, other)
    return sr


def inflate_and_merge(path, seed):
    """A leaf-coalesce that is undone after the first rename; its parent was being enlarged, and is hidden again."""
    sr = luns.merging(old=True)
    _growing(sr, sr.named['parent'])
    lun = _written(path, sr, (sr.named['disk'], sr.named['disk']), (sr.named['other'], sr.named['other']))
    _grow(lun, sr.named['parent'])
    return sr


def inflate_on_a_snapshot(path, seed):
    """It is dropped, and nothing is written to it."""
    sr = luns.snapshot()
    _growing(sr, sr.named['snap'])
    lun = _written(path, sr, (sr.named['disk'], sr.named['disk']))
    _grow(lun, sr.named['snap'])
    return sr


def two_footers_of_a_dropped_leaf(path, seed):
    sr = luns.cloned()
    gone = luns.disk(sr, 'gone', hidden=True, managed=False)
    lun = _written(path, sr, (sr.named['disk'], sr.named['disk']), (sr.named['twin'], sr.named['twin']))
    for vdi in (gone, sr.named['twin']):
        lun.footer(vdi.volume.name, lambda raw: put(raw, 48, '>Q', 1 << 20), copy=False)
    return sr


def relink_to_a_raw_parent(path, seed):
    """A child with names of two parents; whole sectors of locators change, and their lengths."""
    sr = luns.relinking(RAW)
    lun = _written(path, sr, *[(sr.named[name], sr.named[name]) for name in ('disk', 'twin')])
    name = sr.named['disk'].volume.name
    old, new = [sr.vg_name.replace('-', '--') + '-' + sr.named[each].volume.name.replace('-', '--') for each in ('x', 'top')]
    _, _, length, _, offset = lun.read_locator(name, 0)
    text = lun.read(name, offset, length)
    for encoding in ('ascii', 'utf-16-le'):
        text = text.replace(old.encode(encoding), new.encode(encoding))
    lun.write(name, offset, text.ljust(SECTOR, b'\0'))
    return sr


SCENES = (inflate_and_snapshot, inflate_and_merge, inflate_on_a_snapshot, two_footers_of_a_dropped_leaf, relink_to_a_raw_parent)
