# SPDX-License-Identifier: LGPL-2.1-only
"""Writes a model as the image of a LUN."""
from __future__ import absolute_import, division, print_function, unicode_literals

from lvhd import lvmdisk, lvmtext, mgt, qcow2, vhd
from lvhd.model import QCOW2, RAW, SECTOR


class DoesNotFit(ValueError):
    """The model has no room for what it holds."""


def settle(sr):
    """Decide everything the model leaves open: ids, times, extents, sizes.  Doing it twice changes nothing."""
    for index, vdi in enumerate(sr.vdis):
        vdi.footer_uuid = vdi.footer_uuid or sr.ids.uuid()
        vdi.footer_time = vdi.footer_time or sr.time + 60 * index
        vdi.parent_time = vdi.parent_time or vdi.footer_time
        if vdi.stored and vdi.volume.segments is None and vdi.volume.extents is None:
            needed = vdi.size if vdi.vdi_type == RAW else _writer(vdi).Layout(vdi).minimum
            vdi.volume.extents = -(-needed // sr.extent_size)
    volumes = sr.all_volumes()
    for index, volume in enumerate(volumes):
        volume.id = volume.id or sr.ids.lvm_id()
        if volume.creation_time is None:
            volume.creation_time = sr.time + 60 * index
    _allocate(volumes)
    if sr.seqno is None:
        sr.seqno = max(len(volumes), sr.older_texts) + 2
    if sr.pv_size is None:
        ends = [first + count for volume in volumes for first, count in volume.segments]
        sr.pv_size = sr.pe_start + (max(ends + [0]) + sr.free_extents) * sr.extent_size + sr.slack
    return sr


def _writer(vdi):
    """The module that writes a VDI's image."""
    return qcow2 if vdi.vdi_type == QCOW2 else vhd


def _allocate(volumes):
    """Give extents to the volumes that have none: the lowest free ones, fragmented volumes back to front with a gap between."""
    taken = set()
    for volume in volumes:
        for first, count in volume.segments or ():
            taken.update(range(first, first + count))
    lowest = 0
    for volume in volumes:
        if volume.segments is not None:
            volume.extents = sum(count for _, count in volume.segments)
            continue
        pieces = min(volume.fragments, volume.extents)
        segments = []
        cursor = lowest
        for index in range(pieces):
            length = volume.extents * (index + 1) // pieces - volume.extents * index // pieces
            cursor = _free_run(taken, cursor, length)
            taken.update(range(cursor, cursor + length))
            segments.insert(0, (cursor, length))
            cursor += length + 1
        volume.segments = segments
        while lowest in taken:
            lowest += 1


def _free_run(taken, start, length):
    while True:
        clash = [extent for extent in range(start, start + length) if extent in taken]
        if not clash:
            return start
        start = clash[-1] + 1


def _volume_chunks(sr, volume, content):
    """Map (offset in the volume, bytes) to (offset on the LUN, bytes), splitting at segment borders."""
    borders = []
    start = 0
    for first, count in volume.segments:
        borders.append((start, count * sr.extent_size, sr.pe_start + first * sr.extent_size))
        start += count * sr.extent_size
    for offset, data in content:
        if offset + len(data) > start:
            raise DoesNotFit("%s: %d bytes at %d, volume has %d" % (volume.name, len(data), offset, start))
        for begin, length, place in borders:
            if begin + length <= offset:
                continue
            if offset + len(data) <= begin:
                break
            low, high = max(begin, offset), min(begin + length, offset + len(data))
            yield place + low - begin, data[low - offset:high - offset]


def volumes_before(sr, commits):
    """The volumes that the text of so many commits ago lists: the SR grew, so the newest are not there, but MGT is."""
    volumes = sr.all_volumes()
    return volumes[:max(1, len(volumes) - commits)]


def _metadata_chunks(sr):
    volumes = sr.all_volumes()
    text = lvmtext.render(sr, volumes, sr.seqno)
    older = []
    for back in range(sr.older_texts, 0, -1):
        older.append(lvmtext.render(sr, volumes_before(sr, back), sr.seqno - back))
    placed = []
    if sr.text_offset is None:
        position = SECTOR
        for old in older:
            placed.append((position, old))
            position = lvmdisk.after(sr.area_size, position, len(old))
    else:
        position = sr.text_offset
        follower = position
        for old in reversed(older):
            follower = lvmdisk.before(sr.area_size, follower, len(old))
            placed.append((follower, old))
        placed.reverse()
    sr.text_start, sr.text_size = position, len(text)
    if sum(-(-len(data) // SECTOR) * SECTOR for _, data in placed) + len(text) > sr.area_size - SECTOR:
        raise DoesNotFit("the ring of %d bytes is too small for the texts" % sr.area_size)
    for start, data in placed + [(position, text)]:
        for offset, piece in lvmdisk.ring_pieces(sr.area_size, start, data):
            yield sr.area_offset + offset, piece
    locations = [(position, len(text), lvmdisk.crc(text))]
    yield sr.area_offset, lvmdisk.area_header(sr.area_offset, sr.area_size, locations)
    yield SECTOR, lvmdisk.label_sector(sr)


def chunks(sr):
    """(offset, bytes) of everything on the LUN that is not zero.  Settles the model."""
    settle(sr)
    for chunk in _metadata_chunks(sr):
        yield chunk
    if sr.mgt_volume is not None:
        content = [(0, mgt.used(sr) + sr.mgt_stale)] + sr.mgt_volume.content
        for chunk in _volume_chunks(sr, sr.mgt_volume, content):
            yield chunk
    for vdi in sr.vdis:
        if not vdi.stored:
            continue
        if vdi.vdi_type == RAW:
            content = [(sector * SECTOR, data) for sector, data in sorted(vdi.layer_sectors().items())]
        elif vdi.vdi_type == QCOW2:
            content = qcow2.chunks(vdi, sr.vg_name)
        else:
            content = vhd.chunks(vdi, sr.vg_name, vdi.volume.extents * sr.extent_size)
        for chunk in _volume_chunks(sr, vdi.volume, content):
            yield chunk
        for chunk in _volume_chunks(sr, vdi.volume, vdi.volume.content):
            yield chunk
    for volume in sr.volumes:
        for chunk in _volume_chunks(sr, volume, volume.content):
            yield chunk


def size(sr):
    """Bytes of the LUN of a settled model."""
    return sr.pv_size + sr.beyond


def write(path, sr):
    """Write the LUN image of `sr` to `path`, sparse.  An existing file is replaced.  Returns the (settled) model."""
    with open(path, "wb") as stream:
        for offset, data in chunks(sr):
            stream.seek(offset)
            stream.write(data)
        stream.truncate(size(sr))
    return sr
