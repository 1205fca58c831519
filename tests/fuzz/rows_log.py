# SPDX-License-Identifier: LGPL-2.1-only
"""Bad logs on a LUN that an interrupted resign left locked. None may lead to a write."""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz.rows import Table

table = Table()

TEXT = "the LVM label points to a metadata area at offset {staged}, and %s. Another tool was here, or the log of an interrupted resign " + (
    "is damaged; make a new clone.")
DAMAGED = TEXT % "the log of the resign that did this is missing or damaged"
OTHER = TEXT % "the log on the LUN belongs to another resign"
STRAYS = TEXT % "the log on the LUN would change more than volumes"


def refused(number, text):
    return table.refused(number, "UnknownTool", text)


@refused(41, DAMAGED)
def log_is_gone(lun):
    lun.write("MGT", lun.end - 512, b"\0" * 512)


@refused(41, DAMAGED)
def log_of_another_version(lun):
    lun.seal(version=3)


@refused(41, DAMAGED)
def log_of_another_magic(lun):
    lun.seal(magic=b"RELVMLOL")


@refused(41, DAMAGED)
def head_of_the_log_is_damaged(lun):
    lun.write("MGT", lun.end - 20, b"x")


@refused(41, DAMAGED)
def runs_are_damaged(lun):
    lun.write("MGT", lun.end - 512 - 20, b"x")


@refused(41, DAMAGED)
def log_longer_than_mgt(lun):
    lun.seal(length=lun.end)


@refused(41, DAMAGED)
def log_of_63_bits(lun):
    lun.seal(length=1 << 63)


@refused(41, DAMAGED)
def log_of_an_odd_length(lun):
    lun.seal(body=b"x" * 100)


@refused(41, DAMAGED)
def more_runs_than_there_are(lun):
    lun.seal(count=0xffffffff)


@refused(41, DAMAGED)
def run_longer_than_the_log(lun):
    lun.seal(body=(b"\0" * 8 + b"\xff" * 4).ljust(512, b"\0"), count=1)


@refused(41, DAMAGED)
def run_behind_the_end_of_the_lun(lun):
    lun.runs.append((lun.medium.size - 4, b"12345678"))
    lun.seal()


@refused(41, DAMAGED)
def run_at_the_end_of_all_address_space(lun):
    lun.runs.append(((1 << 64) - 1, b"12345678"))
    lun.seal()


@refused(41, DAMAGED)
def log_that_is_over(lun):
    lun.seal_history("<I", 0, 1)


@refused(41, DAMAGED)
def log_of_an_unknown_state(lun):
    lun.seal_history("<I", 0, 2)


@refused(41, DAMAGED)
def sources_are_damaged(lun):
    lun.write("MGT", lun.end - 512 - 16, b"x")


@refused(41, DAMAGED)
def more_sources_than_there_are(lun):
    lun.seal_history("<I", 4, 0xffffffff)


@refused(41, DAMAGED)
def one_source_less(lun):
    lun.sources = b""
    lun.seal_history("<I", 4, 0)


@refused(41, DAMAGED)
def scsi_id_longer_than_its_place(lun):
    lun.seal_history("<H", 44, 257)


@refused(41, STRAYS)
def overlapping_runs(lun):
    lun.runs.append((lun.runs[0][0] + 1, b"x" * 600))
    lun.seal()


@refused(41, STRAYS)
def run_over_the_label(lun):
    lun.runs.append((512, b"\0" * 512))
    lun.seal()


@refused(41, STRAYS)
def run_over_the_staged_area(lun):
    lun.runs.append((lun.fields[4] + 600, b"\0"))
    lun.seal()


@refused(41, STRAYS)
def run_over_the_border_of_a_volume(lun):
    lun.runs.append((lun.sr.pe_start - 1, b"ab"))
    lun.seal()


@refused(41, STRAYS)
def run_into_free_extents(lun):
    lun.runs.append((lun.medium.size - 8, b"x"))
    lun.seal()


@refused(41, STRAYS)
def run_over_the_log(lun):
    lun.runs.append((lun.sr.pe_start + lun.end - 512, b"x"))
    lun.seal()


@refused(41, STRAYS)
def final_area_over_the_extents(lun):
    lun.fields[7] = lun.sr.area_size + 512
    lun.seal()


@refused(41, STRAYS)
def final_area_of_an_odd_size(lun):
    lun.fields[7] = lun.sr.area_size - 1
    lun.seal()


@refused(41, OTHER)
def log_of_another_pv(lun):
    lun.fields[3] = b"A" * 32
    lun.seal()


@refused(41, OTHER)
def log_of_another_place(lun):
    lun.fields[4] += 4096
    lun.seal()


@refused(41, OTHER)
def log_of_another_text(lun):
    lun.fields[6] ^= 1
    lun.seal()


@refused(41, OTHER)
def final_area_that_ends_before_the_staged_one(lun):
    lun.fields[7] = 4096
    lun.seal()


@refused(41, TEXT % "the VG there is not locked")
def staged_text_is_not_exported(lun):
    lun.write_staged_text(lun.staged_text().replace(b', "EXPORTED"', b""))


@refused(41, TEXT % "there is no metadata volume (MGT) that could hold a log")
def staged_text_without_mgt(lun):
    lun.write_staged_text(lun.staged_text().replace(b"\nMGT {", b"\nMGX {"))


@refused(41, STRAYS)
def final_text_reaches_into_the_staged_area(lun):
    lun.write_staged_text(lun.staged_text().replace(b"max_lv = 0", b"# " + b"x" * 100000 + b"\nmax_lv = 0"))
