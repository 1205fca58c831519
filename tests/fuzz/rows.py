# SPDX-License-Identifier: LGPL-2.1-only
"""What a row of the table of bad inputs is made of.

A row is a function that takes a sound LUN (`edit.Editor`) and spoils it, under a decorator that says what must come of it:

* ``refused(number, reason, sentence)``: the class in relvm.errors and the whole text that the administrator reads;
* ``accepted(number, report)``: every line of the preview's report, in order.

`number` is the row in the table, NEW for what the table does not list. In texts `{disk}` is the LV of the VDI that the model calls
disk, `{disk_uuid}` its uuid; `{vg}`, `{sr}`, `{pv}` and `{pv_id}` (without and with dashes) are the SR's; `{new}` is any
uuid that the LUN has not.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import re

from fuzz import luns

NEW = 0
# Advice that several classes share
NEW_CLONE = "Make a new clone. If that one is refused as well, the original has the same fault"
UNKNOWN_OWNER = "Somebody else owns this VG, or a newer LVM wrote it; detach it there, or make a new clone"
VDI = "Repair or remove this VDI on the original and clone again"
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
