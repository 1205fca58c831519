# SPDX-License-Identifier: LGPL-2.1-only
"""What must hold for every LUN, however hostile. A violation is an AssertionError or whatever the engine let escape.

* Only subclasses of relvm.errors.ResignError come out of the engine.
* A refusal has written nothing (media.Device counts, and has no place outside the LUN to write to).
* An LUN that was not locked ends old or new: on a medium that does as it is told, nothing is interrupted.
* What was resigned reads as a sound SR, and can be resigned again.
* What is read is bounded by what the LUN's own structures say: `read_limit`.
* Whatever is printed is ASCII, one line a sentence, well-formed as JSON and XML.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import xml.dom.minidom

from fuzz import media
from relvm import errors
from relvm.engine import foreign, resign, verify
from relvm.formats import lvmlabel, mgt, qcow2, vhd
from relvm.show import jsontext, report
from relvm.engine.lun import Lun, Placement

FIRST_SR = str("1f0e0d0c-1111-4222-8333-444455556666")
SECOND_SR = str("2f0e0d0c-1111-4222-8333-444455556666")
# What is looked at for signatures of others; then the first 4 KiB and the metadata area's header
FIXED = foreign.HEAD + foreign.TAIL + 4096 + 512
# Of one VHD: head, footer, batmap header, eight locators
PER_VHD = 1536 + 512 + 512 + vhd.LOCATORS * (vhd.MAX_LOCATOR + 512)


def read_limit(text, used, vhds, entries, qcow2s=0):
    """Bytes that one look at a LUN may read at most.

    text: of the metadata text; used: of MGT; vhds: their number; entries: of all their block tables together; qcow2s: the number
    of QCOW2 images. What a LUN says beyond lvmlabel.MAX_TEXT, mgt.MAX_USED and vhd.MAX_BAT for each VHD is refused unread.
    """
    return FIXED + min(text, lvmlabel.MAX_TEXT) + 1024 + min(used, mgt.MAX_USED) + vhds * (PER_VHD + 512) + \
        4 * min(entries, vhds * vhd.MAX_BAT) + qcow2s * (qcow2.HEAD_SIZE + qcow2.MAX_HEAD)


def said(error):
    """The sentence of a reason, checked."""
    sentence = str(error)
    assert all(" " <= char <= "~" for char in sentence), sentence
    assert len(sentence) < 8000 and sentence.endswith("."), sentence
    return sentence


def look(pages, sr_uuid=FIRST_SR, drop=()):
    """Reads and plans as a preview does: the reason, or None. Nothing is written. drop: uuids of VDIs to leave behind."""
    device = media.Device(pages, writable=False)
    try:
        resign.preview(device, sr_uuid, drop=drop)
    except errors.ResignError:
        reason = errors.current()
        said(reason)
        assert isinstance(reason, errors.Refused), reason
        return reason
    return None


def show(pages, drop=()):
    """The whole preview in every form: the data."""
    device = media.Device(pages, writable=False)
    data = report.preview(device, FIRST_SR, drop=drop)
    text = jsontext.dumps(data)
    assert all(" " <= char <= "~" for char in text)
    assert json.loads(text)["possible"] == data["possible"]
    document = report.as_xml(data)
    assert all(char == "\n" or " " <= char <= "~" for char in document)
    xml.dom.minidom.parseString(document)
    lines = report.as_text(data)
    assert not [char for char in lines if ord(char) < 32 and char != "\n" or 127 <= ord(char) < 160]
    assert data["possible"] == (not data["reasons"])
    return data


def run(pages, locked=False, drop=()):
    """Resigns the LUN in memory: the reason, or None. locked: it carried a log in force before it was mutated."""
    device = media.Device(pages)
    try:
        resign.resign(device, FIRST_SR, drop=drop)
    except errors.ResignError:
        reason = errors.current()
        said(reason)
        if isinstance(reason, errors.Refused):
            assert device.written == [], (reason, device.written)
        else:
            assert locked, "interrupted by nothing: %s" % reason
        return reason
    again = Lun(device, Placement(device))
    assert verify.problems(again) == []
    assert again.vg.sr_uuid == FIRST_SR
    reason = look(pages, SECOND_SR)
    allowed = (errors.NoRoomInRing, errors.NoRoomForLog)
    if locked:
        # a forged log may have said of a VDI that is kept what is never kept
        allowed += (errors.DroppedHasChildren, errors.NothingLeft)
    assert reason is None or isinstance(reason, allowed), reason
    return None
