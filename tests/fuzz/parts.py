# SPDX-License-Identifier: LGPL-2.1-only
"""One reader of the engine at a time on one mutated structure: a hundred times faster than a whole LUN."""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz import media, mutate, oracle
from relvm import errors
from relvm.formats import lvmgroup, lvmlabel, lvmtext, mgt, qcow2, redolog, vhd
from relvm.octets import octets, text

UUIDS = {}
VHD_MUTATIONS = (mutate.mutate_footer, mutate.mutate_header, mutate.mutate_locator, mutate.mutate_bat, mutate.mutate_parent)


def _outcome(function):
    """Runs it: the reason that it gave, or None."""
    try:
        function()
    except errors.ResignError:
        reason = errors.current()
        oracle.said(reason)
        assert isinstance(reason, errors.Refused), reason
        return reason
    return None


def label(target, choices):
    mutate.mutate_label(target, choices)

    def read():
        found = lvmlabel.find_label(target.editor.medium.read(0, 4096))
        sector = found.switched(found.pv_uuid, found.area)
        again = lvmlabel.Label(found.sector, sector)
        # a second metadata area is not mentioned any more
        assert (again.pv_uuid, again.area, again.spare, len(sector)) == (found.pv_uuid, found.area, [], 512)
    return _outcome(read)


def area(target, choices):
    mutate.mutate_area(target, choices)
    sr = target.editor.sr
    return _outcome(lambda: lvmlabel.Area(media.Device(target.editor.medium, False), sr.area_offset, sr.area_size))


def metadata_text(target, choices):
    for _ in range(1 + choices.below(4)):
        mutate.mutate_text(target, choices)
    string = text(target.text() + b"\0")

    def read():
        vg = lvmgroup.VolumeGroup(string)
        staged, final = lvmgroup.rewrite(vg, lvmgroup.new_ids(vg), UUIDS, {}, str("x"))
        assert lvmgroup.VolumeGroup(staged).exported and not lvmgroup.VolumeGroup(final).exported
        for lv in vg.order:
            for offset, length in vg.runs(lv, 0, vg.lv_size(lv)):
                assert vg.pe_start <= offset and offset + length <= vg.dev_size and length > 0
    return _outcome(read)


def syntax(target, choices):
    """The text's grammar alone: what is parsed encloses what it says that it does."""
    for _ in range(1 + choices.below(8)):
        mutate.mutate_text(target, choices)
    string = text(target.text())

    def check(section):
        for entry in section.entries.values():
            assert 0 <= entry.start <= entry.end <= len(string)
            if isinstance(entry, lvmtext.Section):
                assert string[entry.start:entry.name_end] == entry.name and string[entry.body - 1] == "{" and string[entry.end - 1] == "}"
                check(entry)
    return _outcome(lambda: check(lvmtext.parse(string)))


def metadata_volume(target, choices):
    for _ in range(1 + choices.below(4)):
        mutate.mutate_mgt(target, choices)
    editor = target.editor

    def read():
        found = mgt.Metadata(lambda offset, length: editor.read("MGT", offset, length), editor.size("MGT"))
        uuids = dict((record.uuid, oracle.FIRST_SR) for record in found.live().values())
        uuids[found.sr_uuid] = oracle.SECOND_SR
        new = found.rewritten(uuids, {}, {}, str("<&\n"), str("x" * 600))
        assert len(octets(new)) == found.used
    return _outcome(read)


def disk(target, choices):
    for _ in range(1 + choices.below(3)):
        choices.pick(VHD_MUTATIONS)(target, choices)
    editor = target.editor
    name = choices.pick(target.vhds)

    def content(offset, length):
        assert offset % 512 == 0 and length % 512 == 0 and 0 <= offset <= offset + length <= editor.size(name), (offset, length)
        return editor.read(name, offset, length)

    def read():
        found = vhd.Disk(str(name), editor.size(name), content)
        uuids = {}
        if found.parent is not None:
            uuids[found.parent[1]] = oracle.FIRST_SR
        for hidden, mend in ((None, False), (True, True), (False, False)):
            end = 0
            for offset, old, new in sorted(found.rewritten(uuids, hidden, mend_end=mend)):
                assert len(old) == len(new) and offset >= end
                assert editor.read(name, offset, len(old)) == old
                end = offset + len(old)
            assert end <= editor.size(name)
    return _outcome(read)


def image(target, choices):
    """A QCOW2 image; a LUN that has none gives one of its VHDs for it."""
    for _ in range(1 + choices.below(3)):
        mutate.mutate_qcow2(target, choices)
    editor = target.editor
    name = choices.pick(target.qcow2s or target.vhds)

    def content(offset, length):
        assert offset % 512 == 0 and length % 512 == 0 and 0 <= offset <= offset + length <= editor.size(name), (offset, length)
        return editor.read(name, offset, length)

    def read():
        found = qcow2.Disk(str(name), editor.size(name), content)
        assert found.empty() in (True, False)
        if found.parent is not None:
            (offset, old, new), = found.rewritten({found.parent[1]: oracle.FIRST_SR})
            assert len(old) == len(new) and 112 <= offset and offset + len(old) <= found.cluster
    return _outcome(read)


def log(target, choices):
    for _ in range(1 + choices.below(3)):
        mutate.mutate_log(target, choices)
    editor = target.editor

    def read():
        found = redolog.load(lambda offset, length: editor.read("MGT", offset, length), editor.size("MGT"), editor.medium.size)
        for offset, data in [] if found is None else found.runs:
            assert 0 <= offset and offset + len(data) <= editor.medium.size
    return _outcome(read)


PARTS = (label, area, metadata_text, metadata_text, syntax, metadata_volume, metadata_volume, disk, disk, image)
LOCKED_PARTS = (log,)
