# SPDX-License-Identifier: LGPL-2.1-only
"""Changes one thing in an image, and renews the checksums around it so that nothing else is wrong.

Everything is found by lvhd's reader. An `edit` takes a bytearray and changes it in place.
"""
from __future__ import absolute_import, division, print_function

import hashlib
import io
import os
import struct

from lvhd import reader

SECTOR = 512
SEEK_DATA = 3
BLOCK = 1 << 16


def read(path, offset, length):
    with io.open(path, 'rb') as stream:
        stream.seek(offset)
        return stream.read(length)


def write(path, offset, data):
    with io.open(path, 'r+b') as stream:
        stream.seek(offset)
        stream.write(bytes(data))


def blocks(path):
    """(offset, bytes) of every block of the file that is not all zeros. Holes are not read."""
    size = os.path.getsize(path)
    position = 0
    with io.open(path, 'rb') as stream:
        while position < size:
            try:
                position = os.lseek(stream.fileno(), position, SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                return
            stream.seek(position)
            data = stream.read(BLOCK)
            if data.count(b'\0') != len(data):
                yield position, data
            position += BLOCK


def fingerprint(path):
    """SHA-256 of the file: of its size and of its blocks."""
    digest = hashlib.sha256(str(os.path.getsize(path)).encode('ascii'))
    for position, data in blocks(path):
        digest.update(struct.pack('<Q', position))
        digest.update(data)
    return digest.hexdigest()


def edited(path, offset, length, edit, seal):
    data = bytearray(read(path, offset, length))
    edit(data)
    seal(data)
    write(path, offset, data)


def nothing(data):
    """No checksum is renewed."""


def seal_label(data):
    data[16:20] = struct.pack('<I', reader.lvm_crc(bytes(data[20:])))


def seal_area(data):
    data[0:4] = struct.pack('<I', reader.lvm_crc(bytes(data[4:])))


def label(path, edit, seal=seal_label):
    edited(path, SECTOR, SECTOR, edit, seal)


def area(path, edit, seal=seal_area, offset=4096):
    edited(path, offset, SECTOR, edit, seal)


def text(path, change):
    """Replace the live metadata text by `change` of it (bytes to bytes), at the same start in the ring."""
    with reader.Lun(path) as lun:
        area_, old = lun.area, lun.text
    new = change(old)
    assert new != old
    put_text(path, area_, new)


def put_text(path, area_, new):
    start = area_.locations[0][0]
    first = min(len(new), area_.size - start)
    write(path, area_.offset + start, new[:first])
    if first < len(new):
        write(path, area_.offset + SECTOR, new[first:])

    def point(header):
        header[40:60] = struct.pack('<QQI', start, len(new), reader.lvm_crc(new))
    area(path, point, offset=area_.offset)


def replace(path, old, new):
    """Replace bytes of the live metadata text, every occurrence."""
    text(path, lambda data: data.replace(old, new))


def volume(path, name, offset, data):
    """Write into an LV."""
    with reader.Lun(path) as lun:
        pieces = lun.volumes[name].pieces(offset, len(data))
    done = 0
    for place, length in pieces:
        write(path, place, data[done:done + length])
        done += length


def read_volume(path, name, offset, length):
    with reader.Lun(path) as lun:
        return lun.volumes[name].read(offset, length)


def size_of(path, name):
    with reader.Lun(path) as lun:
        return lun.volumes[name].size


def mgt(path, old, new):
    """Replace bytes in the used part of MGT; a shorter or longer text takes or gives padding of its sector."""
    with reader.Lun(path) as lun:
        used = lun.mgt().length
        data = lun.volumes['MGT'].read(0, used)
    assert old in data
    sectors = []
    for start in range(0, used, SECTOR):
        sector = data[start:start + SECTOR]
        if old in sector:
            sector = sector.replace(old, new).rstrip(b' ').ljust(SECTOR)
            assert len(sector) == SECTOR
        sectors.append(sector)
    volume(path, 'MGT', 0, b''.join(sectors))


def seal_footer(data):
    data[64:68] = struct.pack('>I', reader.vhd_checksum(bytes(data), 64))


def seal_header(data):
    data[36:40] = struct.pack('>I', reader.vhd_checksum(bytes(data), 36))


def footer(path, name, edit, seal=seal_footer, both=True):
    """Edit the copy of the footer at the start of a VHD, and the footer at its end if `both`."""
    places = [0]
    if both:
        places.append(size_of(path, name) - SECTOR)
    for place in places:
        data = bytearray(read_volume(path, name, place, SECTOR))
        edit(data)
        seal(data)
        volume(path, name, place, bytes(data))


def header(path, name, edit, seal=seal_header):
    data = bytearray(read_volume(path, name, SECTOR, 2 * SECTOR))
    edit(data)
    seal(data)
    volume(path, name, SECTOR, bytes(data))


def put(offset, value):
    """An edit that writes bytes at an offset."""
    def edit(data):
        data[offset:offset + len(value)] = value
    return edit
