# SPDX-License-Identifier: LGPL-2.1-only
"""Which uuid a VDI had before the first resign, and the map from there to the uuids of a resigned LUN.

A resign gives a VDI the uuid identity.uuid5(new SR uuid, source). The source is the VDI's uuid on the LUN, but for a LUN that was
resigned and not used since, as after a run that was killed or is repeated: then it is what the VDI was called before the first resign,
which the history on the LUN says (formats.redolog). So the same SR uuid always gives the same VDI uuids, and maps are never composed.
"""

import zlib

from relvm import identity
from relvm.formats import redolog
from relvm.octets import octets


class Origins(object):
    """sr: the SR's source; sources: [uuid] as the history has them, [] without one, those among them that drop= named; scsi_id: of the
    LUN that was last resigned so, None without a history; unmarked: that resign came to its end, but for the mark that says so.
    """

    def __init__(self, sr_uuid, history=None):
        self.sr = sr_uuid
        self.sources = []
        self.scsi_id = None
        self.unmarked = False
        self._of = {}
        if history is not None:
            self.sr = history.sr
            self.sources = history.sources
            self.scsi_id = history.scsi_id
            self._of = sources_of(sr_uuid, history)

    def of(self, uuid):
        """The source of a uuid on the LUN."""
        return self._of.get(uuid, uuid)


def sources_of(sr_uuid, history):
    """{VDI uuid: source} for the SR uuid that a LUN carries. What is in it is right for every VDI that the LUN has."""
    return dict([(identity.uuid5(sr_uuid, source), source) for source in history.sources])


def read(lun, scsi_id, recovered):
    """The Origins of what is on a lun.Lun.

    scsi_id: of this LUN, '' when not known. recovered: an interrupted run on it has just been finished.
    """
    sr_uuid = lun.vg.sr_uuid
    history = redolog.load_history(lun.reader(lun.mgt_lv), lun.vg.lv_size(lun.mgt_lv))
    if history is None or not _valid(lun, history) or not (recovered or _this_lun(lun, history, scsi_id)):
        return Origins(sr_uuid)
    found = Origins(sr_uuid, history)
    found.unmarked = not history.done and _now(lun) == history.after
    return found


def marks(text_crc, metadata):
    """By which a LUN is known again: (CRC of the LVM metadata text, CRC-32 of MGT's used part, native str)."""
    return text_crc, zlib.crc32(octets(metadata)) & 0xffffffff


def _now(lun):
    return marks(lun.area.text_crc, lun.mgt.raw)


def _valid(lun, history):
    """Nobody has changed the LUN since, and no two VDIs have one source."""
    if _now(lun) not in (history.before, history.after):
        return False
    sources = dict.fromkeys(history.sources)
    moved = sources_of(lun.vg.sr_uuid, history)
    return len(sources) == len(history.sources) and not [uuid for uuid in lun.vdis if uuid in sources and uuid in moved]


def _this_lun(lun, history, scsi_id):
    """The history was made on this LUN, or on one that an array cloned in the middle of a resign."""
    if history.done:
        return scsi_id != '' and history.scsi_id == scsi_id
    # The last write of the resign is missing. Before switch 2 this is the LUN of the run that was killed
    return _now(lun) == history.after or history.scsi_id == scsi_id


class Map(object):
    """What became of what: sr_from, sr_uuid; vdis [(source, new uuid)] of those that are kept, in the order of the LVM metadata."""

    def __init__(self, sr_from, sr_uuid, vdis):
        self.sr_from = sr_from
        self.sr_uuid = sr_uuid
        self.vdis = vdis
