# SPDX-License-Identifier: LGPL-2.1-only
"""The redo log of one resign, byte runs in the unused tail of the MGT volume, and the history that it leaves there.

MGT is used from its front; its tail is read by nobody. The head stands in the last 512 bytes of the volume, the sources directly in
front of it, the runs in front of those; sources and runs are padded with zeros to whole sectors. Integers are little-endian.

Head:

    0    8  "RELVMLOG"
    8    4  version (2; in version 1, of release 1.0.0, zeros follow the size of the standard metadata area)
    12   4  CRC-32 of bytes 16..511
    16   8  length of the runs in bytes, padding included
    24   4  CRC-32 of them
    28   4  number of runs
    32  32  PV UUID that the label carries once this log is in force
    64   8  offset of the staged metadata area on the LUN
    72   8  its size
    80   4  CRC (lvmlabel.crc) of the staged text
    84   8  size of the standard metadata area, which starts at offset 4096
    92   4  state: 0 a log, 1 done: nothing but history
    96   4  number of sources
    100  4  CRC-32 of them, padding included
    104  4  CRC (lvmlabel.crc) of the metadata text before the resign
    108  4  CRC-32 of the used part of MGT before the resign
    112  4  CRC of the metadata text after it
    116  4  CRC-32 of the used part of MGT after it
    120 16  the SR's source
    136  2  length of the SCSI id
    138     SCSI id of the LUN, 256 bytes at most

Run: u64 offset on the LUN, u32 length, then so many bytes.

Source: the 16 bytes of the uuid that a VDI, or the SR, had before the first resign. With a new SR uuid S a VDI gets uuid5(S, source),
so the list of sources says which uuid on the LUN stands for which.

A log is in force only while the label carries its PV UUID and points to its staged area, whose text has its CRC. In every other
case it is dead, whatever it says: nothing in it is applied to an SR that has been in use since.

The history is true of a LUN as long as metadata text and MGT are still those from before or after the resign. A run that carries a
history on writes the same sources to the same place, so that with either head, the old one or its own, the LUN keeps its history.
"""

import struct
import zlib

from relvm import errors
from relvm import identity
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.octets import octets
from relvm.octets import text

MAGIC = octets('RELVMLOG')
VERSION = 2
# Left by release 1.0.0: without history
VERSION_1 = 1
HEAD = '<8sII'
BODY = '<QII32sQQIQ'
HEAD_SIZE = 512
HISTORY_AT = 92
HISTORY = '<IIIIIII16sH'
STATE_LOG = 0
STATE_DONE = 1
SOURCE_SIZE = 16
MAX_SCSI_ID = 256
RUN = '<QI'
RUN_HEAD = struct.calcsize(RUN)
# A log of more was not written here: the largest SR that is resigned (lvmlabel.MAX_TEXT, mgt.MAX_USED) needs less
MAX_LENGTH = 1 << 25


def _crc(data):
    return zlib.crc32(data) & 0xffffffff


class History(object):
    """Where the identities on a LUN come from.

    sr, sources [uuid]  of the SR and its VDIs before the first resign
    before, after       (CRC of the metadata text, CRC of MGT's used part) of the LUN around the last resign
    scsi_id             of the LUN that it was made on, '' when nobody said
    done                that resign is known to be over
    """

    def __init__(self, sr, sources, before, after, scsi_id, done=False):
        self.sr = sr
        self.sources = sources
        self.before = before
        self.after = after
        self.scsi_id = scsi_id
        self.done = done

    def finished(self, scsi_id, after):
        """The history when the resign is over."""
        return History(self.sr, self.sources, self.before, after, scsi_id, True)

    def render_sources(self):
        """The bytes that stand in front of the head."""
        return _filled(octets('').join([identity.packed(uuid) for uuid in self.sources]))

    def render(self):
        """This part of the head."""
        scsi_id = octets(self.scsi_id)
        if len(scsi_id) > MAX_SCSI_ID:
            scsi_id = octets('')
        return struct.pack(HISTORY, {True: STATE_DONE, False: STATE_LOG}[self.done], len(self.sources), _crc(self.render_sources()),
                           self.before[0], self.before[1], self.after[0], self.after[1], identity.packed(self.sr),
                           len(scsi_id)) + scsi_id


class Log(object):
    """pv_uuid (no dashes), staged (offset, size), text_crc, area_size, runs [(offset, bytes)], history (None in version 1)"""

    def __init__(self, pv_uuid, staged, text_crc, area_size, runs, history):
        self.pv_uuid = pv_uuid
        self.staged = staged
        self.text_crc = text_crc
        self.area_size = area_size
        self.runs = runs
        self.history = history

    def render(self):
        """The bytes of runs, sources and head; they end where the MGT volume ends."""
        pieces = []
        for offset, data in self.runs:
            pieces.append(struct.pack(RUN, offset, len(data)))
            pieces.append(data)
        body = _filled(octets('').join(pieces))
        return body + self.history.render_sources() + self._head(body, self.history)

    def over(self, scsi_id, after):
        """The head to write when the resign is over: nothing is left but history. After a log of version 1 that is nothing at all.

        scsi_id: of the LUN; after: the CRCs of metadata text and MGT's used part as they are now.
        """
        if self.history is None:
            return octets('\0') * HEAD_SIZE
        return self._head(octets(''), self.history.finished(scsi_id, after))

    def made_on(self, scsi_id):
        """False when the log is from another LUN, which an array cloned, or does not say where it is from."""
        return self.history is not None and self.history.scsi_id == scsi_id

    def _head(self, body, history):
        rest = struct.pack(BODY, len(body), _crc(body), len(self.runs), octets(self.pv_uuid), self.staged[0], self.staged[1],
                           self.text_crc, self.area_size) + history.render()
        rest += octets('\0') * (HEAD_SIZE - struct.calcsize(HEAD) - len(rest))
        return struct.pack(HEAD, MAGIC, VERSION, _crc(rest)) + rest


def _filled(data):
    return data + octets('\0') * (-len(data) % lvmlabel.SECTOR)


def _head_of(lun_reader, size):
    """(version, the head's bytes) at the end of an MGT volume of `size` bytes; version 0 when there is none, or it is damaged."""
    raw = lun_reader(size - HEAD_SIZE, HEAD_SIZE)
    magic, version, checksum = struct.unpack(HEAD, raw[:struct.calcsize(HEAD)])
    if magic != MAGIC or version not in (VERSION_1, VERSION) or checksum != _crc(raw[struct.calcsize(HEAD):]):
        return 0, raw
    return version, raw


def load_history(lun_reader, size):
    """The History in the tail of an MGT volume of `size` bytes, or None. lun_reader: (offset, length) -> bytes of the volume."""
    version, raw = _head_of(lun_reader, size)
    if version != VERSION:
        return None
    return _history(raw, lun_reader, size)


def with_history(raw, history):
    """The bytes `raw` of a head with another History in it."""
    rest = raw[struct.calcsize(HEAD):HISTORY_AT] + history.render()
    rest += octets('\0') * (HEAD_SIZE - struct.calcsize(HEAD) - len(rest))
    return struct.pack(HEAD, MAGIC, VERSION, _crc(rest)) + rest


def _history(raw, lun_reader, size):
    state, count, checksum, text_before, mgt_before, text_after, mgt_after, sr, length = \
        struct.unpack(HISTORY, raw[HISTORY_AT:HISTORY_AT + struct.calcsize(HISTORY)])
    filled = lvmlabel.round_up(count * SOURCE_SIZE, lvmlabel.SECTOR)
    if state not in (STATE_LOG, STATE_DONE) or length > MAX_SCSI_ID or filled > min(size - HEAD_SIZE, MAX_LENGTH):
        return None
    data = octets('')
    if filled:
        data = lun_reader(size - HEAD_SIZE - filled, filled)
    if checksum != _crc(data):
        return None
    sources = [identity.unpacked(data[place:place + SOURCE_SIZE]) for place in range(0, count * SOURCE_SIZE, SOURCE_SIZE)]
    start = HISTORY_AT + struct.calcsize(HISTORY)
    return History(identity.unpacked(sr), sources, (text_before, mgt_before), (text_after, mgt_after), text(raw[start:start + length]),
                   state == STATE_DONE)


def load(lun_reader, size, device_size):
    """The Log at the end of an MGT volume of `size` bytes; lun_reader: (offset, length) -> bytes of the volume.

    Returns None when there is none or it is damaged in any way.
    """
    version, raw = _head_of(lun_reader, size)
    if not version:
        return None
    start = struct.calcsize(HEAD)
    length, checksum, count, pv_uuid, offset, area, text_crc, area_size = \
        struct.unpack(BODY, raw[start:start + struct.calcsize(BODY)])
    history = None
    sources = 0
    if version == VERSION:
        history = _history(raw, lun_reader, size)
        if history is None or history.done:
            return None
        sources = lvmlabel.round_up(len(history.sources) * SOURCE_SIZE, lvmlabel.SECTOR)
    if length % lvmlabel.SECTOR or length > min(size - HEAD_SIZE - sources, MAX_LENGTH):
        return None
    body = octets('')
    if length:
        body = lun_reader(size - HEAD_SIZE - sources - length, length)
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
    return Log(text(pv_uuid), (offset, area), text_crc, area_size, runs, history)


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
