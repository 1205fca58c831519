# SPDX-License-Identifier: LGPL-2.1-only
"""The redo log of one resign: byte runs in the unused tail of the MGT volume.

MGT is used from its front; its tail is read by nobody. The head stands in the last 512 bytes of the volume, the runs directly in
front of it, padded with zeros to whole sectors. Integers are little-endian.

Head:

    0    8  "RELVMLOG"
    8    4  version (1)
    12   4  CRC-32 of bytes 16..511
    16   8  length of the runs in bytes, padding included
    24   4  CRC-32 of them
    28   4  number of runs
    32  32  PV UUID that the label carries once this log is in force
    64   8  offset of the staged metadata area on the LUN
    72   8  its size
    80   4  CRC (lvmlabel.crc) of the staged text
    84   8  size of the standard metadata area, which starts at offset 4096

Run: u64 offset on the LUN, u32 length, then so many bytes.

A log is in force only while the label carries its PV UUID and points to its staged area, whose text has its CRC. In every other
case it is dead, whatever it says: nothing in it is applied to an SR that has been in use since.
"""

import struct
import zlib

from relvm import errors
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.octets import octets
from relvm.octets import text

MAGIC = octets('RELVMLOG')
VERSION = 1
HEAD = '<8sII'
BODY = '<QII32sQQIQ'
HEAD_SIZE = 512
RUN = '<QI'
RUN_HEAD = struct.calcsize(RUN)
# A log of more was not written here: the largest SR that is resigned (lvmlabel.MAX_TEXT, mgt.MAX_USED) needs less
MAX_LENGTH = 1 << 25


def _crc(data):
    return zlib.crc32(data) & 0xffffffff


class Log(object):
    """pv_uuid (no dashes), staged (offset, size), text_crc, area_size, runs [(offset, bytes)]"""

    def __init__(self, pv_uuid, staged, text_crc, area_size, runs):
        self.pv_uuid = pv_uuid
        self.staged = staged
        self.text_crc = text_crc
        self.area_size = area_size
        self.runs = runs

    def render(self):
        """The bytes of runs and head; they end where the MGT volume ends."""
        pieces = []
        for offset, data in self.runs:
            pieces.append(struct.pack(RUN, offset, len(data)))
            pieces.append(data)
        body = octets('').join(pieces)
        body += octets('\0') * (-len(body) % lvmlabel.SECTOR)
        rest = struct.pack(BODY, len(body), _crc(body), len(self.runs), octets(self.pv_uuid), self.staged[0], self.staged[1],
                           self.text_crc, self.area_size)
        rest += octets('\0') * (HEAD_SIZE - struct.calcsize(HEAD) - len(rest))
        return body + struct.pack(HEAD, MAGIC, VERSION, _crc(rest)) + rest


def load(lun_reader, size, device_size):
    """The Log at the end of an MGT volume of `size` bytes; lun_reader: (offset, length) -> bytes of the volume.

    Returns None when there is none or it is damaged in any way.
    """
    raw = lun_reader(size - HEAD_SIZE, HEAD_SIZE)
    start = struct.calcsize(HEAD)
    magic, version, checksum = struct.unpack(HEAD, raw[:start])
    if magic != MAGIC or version != VERSION or checksum != _crc(raw[start:]):
        return None
    length, checksum, count, pv_uuid, offset, area, text_crc, area_size = \
        struct.unpack(BODY, raw[start:start + struct.calcsize(BODY)])
    if length % lvmlabel.SECTOR or length > min(size - HEAD_SIZE, MAX_LENGTH):
        return None
    body = octets('')
    if length:
        body = lun_reader(size - HEAD_SIZE - length, length)
    if checksum != _crc(body):
        return None
    runs = []
    position = 0
    while len(runs) < count:
        if position + RUN_HEAD > length:
            return None
        place, size_of_run = struct.unpack(RUN, body[position:position + RUN_HEAD])
        position += RUN_HEAD
        data = body[position:position + size_of_run]
        position += size_of_run
        if len(data) != size_of_run or place + size_of_run > device_size:
            return None
        runs.append((place, data))
    return Log(text(pv_uuid), (offset, area), text_crc, area_size, runs)


def strays(log, vg, lv):
    """True if a log could change anything but the contents of volumes: a forged one, since none that is written here does.

    vg: the lvmgroup.VolumeGroup of the staged text; lv: its MGT. All that a forged log can still do is to write to the volumes of the
    LUN that it is on, which whoever forged it could do without it.
    """
    if log.area_size % lvmlabel.SECTOR or lvmlabel.AREA_OFFSET + log.area_size > vg.pe_start:
        return True
    if lvmlabel.AREA_OFFSET + lvmlabel.round_up(lvmlabel.AREA_HEADER + len(lvmgroup.unlocked(vg)), lvmlabel.SECTOR) > log.staged[0]:
        return True
    head = vg.runs(lv, vg.lv_size(lv) - HEAD_SIZE, HEAD_SIZE)[0][0]
    places = []
    for volume in vg.order:
        for start, length in vg.runs(volume, 0, vg.lv_size(volume)):
            places.append((start, start + length))
    places.sort()
    number = 0
    end = 0
    for start, data in sorted(log.runs):
        if start < end or start < head + HEAD_SIZE and start + len(data) > head:
            return True
        end = start + len(data)
        while number < len(places) and places[number][1] <= start:
            number += 1
        if number == len(places) or start < places[number][0] or end > places[number][1]:
            return True
    return False


def in_force(log, placement):
    """True if the label says that this log is to be applied. `placement`: a lun.Placement."""
    return (placement.staged and log.pv_uuid == placement.label.pv_uuid and log.staged == placement.label.area and
            log.text_crc == placement.area.text_crc and log.area_size > lvmlabel.AREA_HEADER and
            log.staged[0] >= lvmlabel.AREA_OFFSET + lvmlabel.AREA_HEADER and
            log.staged[0] + log.staged[1] <= lvmlabel.AREA_OFFSET + log.area_size)


def room(size, used):
    """Bytes at the end of the volume that no record uses; 4096 are left to the records."""
    return max(0, size - lvmlabel.round_up(used, lvmlabel.ALIGNMENT) - lvmlabel.ALIGNMENT)


def check_room(size, used, needed):
    """Raises errors.NoRoomForLog."""
    free = min(room(size, used), MAX_LENGTH)
    if needed > free:
        raise errors.NoRoomForLog(free=free, needed=needed)
