# SPDX-License-Identifier: LGPL-2.1-only
"""What a row of the table of bad inputs is made of.

A row is a function that takes a sound LUN (`edit.Editor`) and spoils it, under a decorator that says what must come of it:

* ``refused(number, reason, sentence)``: the class in relvm.errors and the whole text that the administrator reads;
* ``accepted(number, report)``: every line of the preview's report, in order.

`number` is a key of TABLE, NEW for what it does not list. In texts `{disk}` is the LV of the VDI that the model calls
disk, `{disk_uuid}` its uuid; `{vg}`, `{sr}`, `{pv}` and `{pv_id}` (without and with dashes) are the SR's; `{new}` is any
uuid that the LUN has not.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import re

from fuzz import luns
from relvm import errors

NEW = 0
# What a LUN can look like
TABLE = {
    1: "no LVM label", 2: "a PV without a VG", 3: "a VG that is no SR", 4: "several PVs", 5: "a missing PV", 6: "an exported VG",
    7: "a VG that somebody else owns", 8: "LVs that are not linear", 9: "LVs active on this host", 10: "a LUN that the pool uses",
    11: "a LUN that changes meanwhile", 12: "a SCSI id of another LUN, or none", 13: "several paths without multipath",
    14: "a multipath map that is there already", 15: "several clones of one original", 16: "a read-only LUN", 17: "no MGT",
    18: "a damaged MGT header", 19: "another version of MGT", 20: "hostile names and XML in MGT", 21: "records without LVs and the reverse",
    22: "two objects of one uuid, and deleted slots", 23: "a record of the wrong type", 24: "LVs that are no VDIs", 25: "open journals",
    26: "damaged VHD footers", 27: "a parent that is not there", 28: "hostile parent locators", 29: "cycles and long chains",
    30: "a raw parent", 31: "VDIs of HA, redo log and pool metadata", 32: "logs of changed blocks", 33: "QCOW2 volumes",
    34: "an encrypted VHD", 35: "tags, permissions and places of LVs", 36: "a full VG, a full ring", 37: "blocks of 4 KiB",
    38: "a full or read-only dom0", 39: "two runs at once", 40: "a host that is not the master", 41: "what an interrupted run left",
    42: "CHAP", 43: "a new uuid that is taken", 44: "a LUN that was resigned before", 45: "a LUN that is too small",
    46: "labels elsewhere, or several", 47: "a label that points elsewhere", 48: "snapshots with children; nothing left",
    49: "a device that is another LUN", 50: "LVs of the original mapped onto the clone", 51: "a LUN larger than its PV",
    52: "records of an sr-create that was cut off", 53: "an original"}
# What no image can show: where its test is
ELSEWHERE = {
    9: "host/test_driver.test_a_volume_that_sits_on_the_clone_is_refused_by_name",
    10: "host/test_driver.test_a_lun_of_the_pool_is_refused",
    12: "host/test_driver.test_a_scsi_id_that_the_target_does_not_have",
    13: "host/test_driver.test_two_paths_without_multipath_are_one_lun",
    14: "host/test_driver.test_multipath",
    37: "engine/test_blockdev.test_block_device_of_4_kib_sectors",
    38: "host/test_driver.test_a_host_that_cannot_keep_state_is_refused_before_anything",
    40: "host/test_driver.test_refused_on_a_slave",
    42: "host/test_driver.test_chap_secret_is_nowhere",
    43: "engine/test_plan.test_a_uuid_that_is_taken_is_refused_by_name",
    49: "host/test_driver.test_two_luns_of_one_scsi_id_are_refused",
    50: "host/test_driver.test_a_volume_that_sits_on_the_clone_is_refused_by_name",
    52: "host/test_driver.test_left_over_records_of_this_type_are_no_reason_to_refuse",
}


def advice(reason):
    """The advice of a class of relvm.errors, where a test of its own (remedies) carries it out."""
    return getattr(errors, reason).advice


# Advice that several classes share
NEW_CLONE = "Make a new clone. If that one is refused as well, the original has the same fault"
UNKNOWN_OWNER = "Somebody else owns this VG, or a newer LVM wrote it; detach it there, or make a new clone"
LEAVE = "If the original is gone, device-config:drop=<uuid of the VDI> (--drop) leaves it behind, with all that depends on it"
REMOVE = advice("BadVHD") % {"lv": "%s"}
VDI = REMOVE % "{disk}"
BASES = ("%d base copies stay, since disks depend on them (resigning never merges disks): after sr-scan each appears as a VDI of its own, "
         "and CloudStack expects exactly one VDI")
UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Row(object):
    """number, name, model (function without arguments), spoil (function of an Editor), reason, text, report, after (function of
    an Editor and the resigned medium that asserts more, or None)"""

    def __init__(self, number, spoil, model, reason=None, text=None, report=(), after=None):
        self.number = number
        self.name = spoil.__name__
        self.spoil = spoil
        self.model = model
        self.reason = reason
        self.text = text
        self.report = list(report)
        self.after = after

    def __repr__(self):
        return "%s-%s" % (self.number or "new", self.name)


class Table(object):
    """Collects rows."""

    def __init__(self):
        self.rows = []

    def refused(self, number, reason, text, model=luns.snapshot):
        def add(spoil):
            self.rows.append(Row(number, spoil, model, reason, text))
            return spoil
        return add

    def accepted(self, number, report, model=luns.snapshot, after=None):
        def add(spoil):
            self.rows.append(Row(number, spoil, model, report=report, after=after))
            return spoil
        return add


def words(sr):
    """What `{...}` in a row's texts stands for."""
    found = {"new": "{new}", "vg": sr.vg_name, "sr": sr.uuid, "pv": sr.pv_id.replace("-", ""), "pv_id": sr.pv_id}
    for name, vdi in sr.named.items():
        found[name] = vdi.volume.name
        found[name + "_uuid"] = vdi.uuid
        found[name + "_mapper"] = sr.vg_name.replace("-", "--") + "-" + vdi.volume.name.replace("-", "--")
    return found


def worded(row, sentence, words):
    """The sentence; when the row's text or report has {new}, with {new} for every uuid that is in no word."""
    if "{new}" not in (row.text or "".join(row.report)):
        return sentence
    known = " ".join(words.values())
    return UUID.sub(lambda match: match.group() if match.group() in known else "{new}", sentence)
