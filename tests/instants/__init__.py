# SPDX-License-Identifier: LGPL-2.1-only
"""Every instant of what a real sm wrote, resigned in memory: what comes of it, and what the disks hold then.

An instant is a LUN after the first N records of a trace (recovery.traces). It is resigned, or refused; where it is resigned, `verify` finds
nothing, and an independent reader finds in each VDI that was there before the operation and is there after it what the trace says.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import tarfile

from fuzz import media
from lvhd import reader
from lvhd.model import pattern
from relvm import errors
from relvm.engine import resign, verify
from relvm.engine.lun import Lun, Placement

NEW_SR = str("0f0e0d0c-1111-4222-8333-444455556666")
LATER_SR = str("0f0e0d0c-1111-4222-8333-777788889999")
SECTOR = 512
ZEROS = b"\0" * SECTOR


class Stream(object):
    """Pages, to be read like an open file."""

    def __init__(self, pages):
        self.pages = pages
        self.place = 0

    def seek(self, offset, whence=0):
        self.place = offset if whence == 0 else self.pages.size

    def tell(self):
        return self.place

    def read(self, length):
        data = self.pages.read(self.place, length)
        self.place += len(data)
        return data


def base(trace):
    """The LUN before the first record: Pages."""
    pages = media.Pages(trace.size)
    with tarfile.open(trace.directory + "/base.tgz") as archive:
        stream = archive.extractfile(archive.getmembers()[0])
        offset = 0
        for part in iter(lambda: stream.read(1 << 20), b""):
            if part.count(b"\0") != len(part):
                for start in range(0, len(part), media.PAGE):
                    piece = part[start:start + media.PAGE]
                    if piece.count(b"\0") != len(piece):
                        pages.write(offset + start, piece)
            offset += len(part)
    return media.Pages(trace.size, pages.pages)


def states(trace):
    """(operation, K, Pages) of every instant: K writes of the operation are done. The Pages are the caller's for that long."""
    pages = base(trace)
    done = 0
    for operation in trace.operations:
        for number, instant in enumerate(trace.instants(operation)):
            for kind, offset, data in trace.records[done:instant]:
                if kind == "W":
                    pages.write(offset, data)
                elif kind == "D":
                    pages.write(offset, b"\0" * data)
            done = instant
            yield operation, number, media.Pages(pages.size, Layers(pages))


class Layers(object):
    """Pages as the base of others."""

    def __init__(self, pages):
        self.pages = pages

    def get(self, number, default):
        return self.pages.pages.get(number, self.pages.base.get(number, default))


class Outcome(object):
    """reason (errors.Refused or None), plan, wrong [sentence]"""

    def __init__(self, reason, plan, wrong):
        self.reason = reason
        self.plan = plan
        self.wrong = wrong

    def code(self):
        return self.reason.code() if self.reason is not None else ""


def outcome(operation, pages, sr_uuid=NEW_SR):
    """What comes of one instant."""
    device = media.Device(pages)
    try:
        plan = resign.resign(device, sr_uuid).plan
    except errors.Refused:
        wrong = []
        if device.written:
            wrong.append("refused, but written to")
        return Outcome(errors.current(), None, wrong)
    return Outcome(None, plan, _sound(operation, device) + _contents(operation, plan, pages))


def _sound(operation, device):
    lun = Lun(device, Placement(device))
    found = verify.problems(lun)
    if operation["name"].startswith("create"):
        # a VDI with its image, but still without a record, cannot be told from an old one
        return found
    visible = [vdi.uuid for vdi in lun.order if not vdi.hidden and vdi.record is None]
    return found + ["the VDI %s has no record" % uuid for uuid in visible]


def _contents(operation, plan, pages):
    """[sentence] about VDIs that do not read as they must."""
    before = dict((vdi["uuid"], vdi) for vdi in operation["before"] if "expect" in vdi)
    after = dict((vdi["uuid"], vdi) for vdi in operation["after"] if "expect" in vdi)
    found = []
    with reader.Lun(Stream(pages)) as lun:
        for uuid in sorted(set(before) & set(after)):
            if before[uuid]["snapshot"]:
                continue
            new = _new_uuid(plan, before[uuid])
            try:
                sectors = lun.virtual_sectors(new)
            except reader.BadImage as error:
                found.append("%s: %s" % (uuid, error))
                continue
            raw = [volume for volume in lun.chain(new) if volume.name.startswith("LV-")]
            old, later = [_sectors(vdi["expect"]) for vdi in (before[uuid], after[uuid])]
            for sector in sorted(set(old) | set(later) | set(sectors)):
                data = sectors.get(sector, ZEROS)
                if raw and sector not in old:
                    # sm does not zero a raw volume: it holds what its extents held before
                    continue
                if data not in (old.get(sector, ZEROS), later.get(sector, ZEROS)):
                    found.append("sector %d of %s" % (sector, uuid))
                    break
            size = lun.virtual_size(new)
            if size not in (before[uuid]["size"], after[uuid]["size"]):
                found.append("the size of %s is %d" % (uuid, size))
    return found


def _new_uuid(plan, vdi):
    """What a VDI of the trace is called now; by its name where an interrupted run has renamed it before."""
    if vdi["uuid"] not in plan.uuids:
        (named,) = [kept for kept in plan.kept if kept.name_label() == vdi["name"] and not kept.hidden]
        return plan.uuids[named.uuid]
    return plan.uuids[vdi["uuid"]]


def _sectors(expect):
    found = {}
    for start, seed in expect.items():
        data = pattern(seed, int(start))
        for index in range(len(data) // SECTOR):
            found[int(start) + index] = data[index * SECTOR:(index + 1) * SECTOR]
    return found
