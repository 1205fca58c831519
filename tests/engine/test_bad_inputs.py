# SPDX-License-Identifier: LGPL-2.1-only
"""What a LUN can look like, and what must come of it: the table of bad inputs, as far as an image can show a row.

The rows are data, in fuzz.rows_*: how a sound LUN is spoilt and the whole sentence that the administrator reads, or every line of
the preview's report where the row is accepted. A refusal leaves the image byte for byte as it was.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import xml.dom.minidom

import pytest

from fuzz import locked, luns, media, rows, rows_log, rows_lvm, rows_mgt, rows_vhd
from fuzz.edit import Editor
from luns import damage, devices
from lvhd import image
from relvm import errors
from relvm.engine import blockdev, verify
from relvm.show import jsontext, report
from relvm.engine.lun import Lun, Placement

NEW_SR = str("0f0e0d0c-1111-4222-8333-444455556666")
ROWS = rows_lvm.table.rows + rows_mgt.table.rows + rows_vhd.table.rows
# Numbers of sm's faults (XE_SR_ERRORCODES.xml, the same from 6.5 on)
FAULTS = {"SRUnavailable": 47, "LVMMaster": 58, "LVMOneLUN": 99, "LVMNoVolume": 100, "ConfigSCSIid": 107, "MetadataError": 181}
# Which classes carry another number than 47
NUMBERS = dict([("ManyPVs", 99), ("MissingPV", 99)] +
               [(name, 100) for name in ("NoLabel", "ManyLabels", "BadLabel", "BadArea", "NoVolumeGroup", "BadText",
                                         "NotAnSR", "WrongPV", "AreasDiffer")] +
               [(name, 181) for name in ("NoMGT", "BadMGT", "BadName", "OldMGT", "NewMGT", "ThinDaemon", "WrongSRUuid", "DuplicateVDI",
                                         "UuidOfSR", "BadRecord", "BadVDIName")])


def spoilt(row, path):
    """Writes the image of a row; returns its editor."""
    sr = image.write(path, row.model())
    lun = Editor(media.File(path), sr)
    row.spoil(lun)
    return lun


def previewed(path):
    """The preview's data, read with no right to write, and the same from its JSON, its XML and its text."""
    device = blockdev.Device(path, False)
    try:
        data = report.preview(device, NEW_SR)
    finally:
        device.close()
    from_json = json.loads(jsontext.dumps(data))
    document = xml.dom.minidom.parseString(report.as_xml(data)).documentElement
    return data, from_json, document, report.as_text(data)


def texts(document, name):
    """Of the elements of that name directly below <resign>."""
    return ["".join(part.data for part in node.childNodes) for node in document.getElementsByTagName("resign")[0].childNodes
            if node.nodeName == name]


@pytest.mark.shared
@pytest.mark.parametrize("row", [row for row in ROWS if row.reason], ids=repr)
def test_it_is_refused_in_these_words(row, tmpdir):
    path = str(tmpdir.join("lun.img"))
    lun = spoilt(row, path)
    words = rows.words(lun.sr)
    before = damage.fingerprint(path)

    with pytest.raises(errors.Refused) as caught:
        devices.run(path, NEW_SR)
    wanted = row.text.format(**words)
    assert rows.worded(row, str(caught.value), words) == wanted
    assert caught.value.code() == row.reason
    assert FAULTS[caught.value.sm_error] == NUMBERS.get(row.reason, 47)

    data, from_json, document, text = previewed(path)
    assert data["possible"] is False and from_json["possible"] is False
    (reason,) = from_json["reasons"]
    assert (reason["code"], rows.worded(row, reason["sentence"], words)) == (row.reason, wanted)
    assert texts(document, "reason") == [reason["sentence"]]
    assert ("REFUSED   %s: %s" % (row.reason, reason["sentence"])) in text.split("\n")
    assert damage.fingerprint(path) == before


@pytest.mark.shared
@pytest.mark.parametrize("row", [row for row in ROWS if not row.reason], ids=repr)
def test_it_is_accepted_and_reported(row, tmpdir):
    path = str(tmpdir.join("lun.img"))
    lun = spoilt(row, path)
    wanted = [line.format(**rows.words(lun.sr)) for line in row.report]
    before = damage.fingerprint(path)

    data, from_json, document, text = previewed(path)
    assert from_json["possible"] is True and from_json["reasons"] == []
    dropped = [vdi for vdi in from_json["vdis"] if vdi["action"] == "drop"]
    found = from_json["report"] + ["the VDI %s is dropped: %s" % (vdi["uuid"], vdi["reason"]) for vdi in dropped]
    found += ["the LV %s is dropped: %s" % (removed["lv"], removed["reason"]) for removed in from_json["removed"]]
    assert [rows.worded(row, line, rows.words(lun.sr)) for line in found] == wanted
    assert texts(document, "report") == from_json["report"]
    for line in from_json["report"]:
        assert "note      " + line in text.split("\n")
    for reason in [entry["reason"] for entry in dropped + from_json["removed"]]:
        assert "   drop   " + reason in text.split("\n")
    assert damage.fingerprint(path) == before

    pages = media.Pages.of_chunks(lun.medium.size, [(0, lun.medium.read(0, lun.medium.size))])
    result = devices.run(path, NEW_SR)[0]
    assert result.plan.sr_uuid == NEW_SR
    device = blockdev.Device(path, False)
    try:
        again = Lun(device, Placement(device))
        assert verify.problems(again) == []
        assert again.vg.sr_uuid == NEW_SR
    finally:
        device.close()
    if row.after:
        row.after(lun, Editor(pages, lun.sr))


@pytest.mark.parametrize("row", rows_log.table.rows, ids=repr)
def test_a_forged_log_leads_to_no_write(row):
    lun = locked.Locked(row.model())
    row.spoil(lun)
    before = lun.medium.copy()
    error, device = locked.recovered(lun.medium)
    assert (error.code(), str(error)) == (row.reason, row.text.format(staged=lun.staged))
    assert device.writes == 0
    assert lun.medium.snapshot() == before.snapshot()
    data = report.preview(media.Device(lun.medium, False), NEW_SR)
    assert data["possible"] is False
    assert data["reasons"] == [{"code": row.reason, "sentence": str(error)}]


def test_a_log_that_is_not_forged_is_finished():
    """What every row of rows_log starts from."""
    lun = locked.Locked(luns.snapshot())
    lun.seal()
    error, device = locked.recovered(lun.medium)
    assert error is None
    assert verify.problems(Lun(device, Placement(device))) == []
