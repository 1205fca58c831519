# SPDX-License-Identifier: LGPL-2.1-only
"""Clones of a busy SR: LUNs as they were at the instants of what a real sm wrote (tests/data/traces), resigned.

Some of the instants as a rule; INSTANTS=all for every one, TRACES=<directory> for traces that are not kept here.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

import pytest

import instants
from fuzz import media
from recovery.traces import Trace
from relvm import errors
from relvm.engine import resign

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "traces")
DIRECTORY = os.environ.get("TRACES", HERE)
NAMES = sorted(os.listdir(DIRECTORY))
EVERY = 1 if os.environ.get("INSTANTS") == "all" else 5
# Raw leaf-coalesce zeroes and copies for thousands of writes; between them nothing changes
EVERY_OF_LONG = EVERY if EVERY == 1 else 97
LONG = 500
# What the LUN does not tell: blktap writes to the parent of a QCOW2 leaf that is merged before any name says so
REFUSED = [("q83", "gc_leaf_coalesce", "Journals")]


def chosen(trace, operation, number):
    every = EVERY_OF_LONG if len(trace.instants(operation)) > LONG else EVERY
    return number % every == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_instant_is_resigned_and_reads_as_before(name):
    trace = Trace(os.path.join(DIRECTORY, name))
    count = 0
    for operation, number, pages in instants.states(trace):
        if not chosen(trace, operation, number):
            continue
        count += 1
        place = "%s %s+%d: " % (name, operation["name"], number)
        found = instants.outcome(operation, pages)
        assert found.wrong == [], place + "; ".join(found.wrong)
        if found.reason is not None:
            assert (name, operation["name"], found.code()) in REFUSED, place + str(found.reason)
    assert count >= len(trace.operations)


class Killed(Exception):
    pass


class Mortal(media.Device):
    """Fails after so many writes."""

    def __init__(self, pages, writes):
        media.Device.__init__(self, pages)
        self.left = writes

    def write(self, offset, data):
        if self.left == 0:
            raise Killed()
        self.left -= 1
        media.Device.write(self, offset, data)


# An operation of a trace, and words of what is decided at the instant where a run is killed again and again: journals that coexist, each
# kind of change that a settled LUN needs
SCENES = [
    ("v3212thin", "t_snapshot_A_S1", "is undone"), ("v3212thin", "t_gc_2", "undone, the VDI has all its data"),
    ("v3212thin", "t_gc_2", "that is finished, and the LV"), ("v3212thin", "t_gc_2", "to enlarge the LV"),
    ("v3212thin", "t_delete_C", "two footers"), ("v3212thin", "t_inflate_A", "to enlarge the LV"),
    ("v3212thin", "t_snapshot_empty", "recorded no VDI"), ("q83", "snapshot_A_S2", "is undone")]


def scenes(name):
    """(operation, Pages) of the first instant for each row of SCENES."""
    wanted = [row for row in SCENES if row[0] == name]
    for operation, _, pages in instants.states(Trace(os.path.join(HERE, name))):
        rows = [row for row in wanted if row[1] == operation["name"]]
        if not rows:
            continue
        try:
            plan, _ = resign.preview(media.Device(pages, False), instants.NEW_SR)
        except errors.Refused:
            continue
        for row in rows:
            if [line for line in plan.report if row[2] in line]:
                wanted.remove(row)
                yield operation, pages.copy()
    assert wanted == []


@pytest.mark.parametrize("name", sorted(set(row[0] for row in SCENES)))
def test_killed_at_every_write_and_repeated(name):
    """The log is one that recovery takes: no region twice, no LV that the new text leaves out."""
    for operation, pages in scenes(name):
        writes = 0
        while True:
            lun = pages.copy()
            try:
                resign.resign(Mortal(lun, writes), instants.NEW_SR)
            except Killed:
                pass
            else:
                break
            found = instants.outcome(operation, lun, instants.LATER_SR)
            assert found.reason is None, (operation["name"], writes, str(found.reason))
            assert found.wrong == [], (operation["name"], writes, found.wrong)
            writes += 1
        assert writes >= 6
