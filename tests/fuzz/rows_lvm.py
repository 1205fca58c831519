# SPDX-License-Identifier: LGPL-2.1-only
"""Bad labels, metadata areas and metadata texts."""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct

from fuzz import luns
from fuzz.edit import put
from fuzz.rows import NEW, NEW_CLONE, REMOVE, UNKNOWN_OWNER, Table, advice
from lvhd.lvmdisk import area_header, crc, label_sector
from lvhd.model import SECTOR, Volume

table = Table()
refused, accepted = table.refused, table.accepted

NO_LABEL = "no SR on this LUN: it has no LVM label. Check that this is the LUN you mean and that the array has copied all of it."
ORPHAN = ("no SR on this LUN: PV {pv} belongs to no VG, though its label says so. An LVM command that was interrupted (one, in the life "
          "of an SR, at its first change by a newer LVM) can leave a clone like this: make a new clone, and do not format this one.")
LABEL = "the LVM label is not understood: %s. " + NEW_CLONE + "."
AREA = "the LVM metadata area at offset %s is not understood: %s. " + NEW_CLONE + "."
TEXT = "the LVM metadata text is not understood: %s. " + NEW_CLONE + "."
EXTENTS = "the extents of LV %s are not understood: %s. " + NEW_CLONE + "."
SETTING = "%s has %s = %s, which an SR does not have. " + advice("LvmSetting").replace("%(command)s", "%s") + "."
FOREIGN = "%s has %s = %s, which an SR does not have. " + UNKNOWN_OWNER + "."
SEGMENT = ("the LV {disk} has a segment of type %s; only linear LVs are supported. Remove the LV from the original, or make it linear, "
           "and clone again.")
LABELS = ("LVM labels in sectors %s of the first four; one label, in sector 1, is expected. Another tool was here; make a new clone.")
NOT_AN_SR = ("the VG on this LUN is %s, which is not an LVHD SR (VG_XenStorage-<uuid>). It belongs to somebody else and is left alone; "
             "check that this is the LUN you mean.")
MANY_PVS = "the VG {vg} spans %d PVs (%s); an SR on one LUN is expected. An SR on several LUNs cannot be resigned."
MISSING = ("the VG {vg} has lost PVs: %s. Half an SR cannot be resigned; bring the original's PVs back (vgextend --restoremissing) and "
           "clone again.")
ELSEWHERE = "the LVM label points to a metadata area at offset %d, and %s. " + (
    "Another tool was here, or the log of an interrupted resign is damaged; make a new clone.")
TOO_SMALL = "the LUN has %d bytes, but its %s needs %d. The clone is truncated; make a new one."
UNKNOWN = ("the LV %s is named or tagged like a volume of sm, but is none that sm makes. Remove or rename it on the original and "
           "clone again.")
DUPLICATE = ("two objects carry the uuid {disk_uuid}: %s. Remove one of them on the original and clone again. If the original is gone, "
             "device-config:drop={disk_uuid} (--drop) leaves both behind.")
OF_SR = "the uuid of the SR, {sr}, is also that of %s. Remove that VDI on the original and clone again."
QCOW2_NAME = "QCOW2-12345678-1234-4123-8123-123456789abc"
QCOW2 = "the QCOW2 image in LV %s is not understood: %s. " + REMOVE % QCOW2_NAME + "."
KEPT = "the LV %s is not of an SR; it is kept"
NO_ROOM = ("the LVM metadata area has no free run of %d bytes for a second text; the largest has %d. Remove some VDIs from the original "
           "and clone again.")
OTHER_PV_ID = "AAAAAA-aaaa-bbbb-cccc-dddd-eeee-ffffff"


@refused(1, "NoLabel", NO_LABEL)
def blank(lun):
    lun.medium.write(0, b"\0" * 1024 * 1024)


@refused(1, "ForeignSignature", "the LUN has a partition table at offset 510, for which LVM passes over it. Somebody else uses the LUN, "
         "or a tool was run on it by mistake, and LVM of some releases does not see the original either. If it was a mistake, take the "
         "signature off the original (wipefs -o 510 <device>) and make a new clone.")
def partition_table(lun):
    entry = b"\x80\x01\x01\0\x83\xfe\xff\xff" + struct.pack(str("<II"), 63, 4096)
    lun.medium.write(0, (b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa")
    lun.medium.write(SECTOR, b"\0" * SECTOR)


@refused(2, "NoVolumeGroup", ORPHAN)
def orphan_pv(lun):
    lun.area(lambda raw: put(raw, 40, "<QQQ", 0, 0, 0))


@refused(2, "NoVolumeGroup", ORPHAN.replace(", though its label says so", ""))
def orphan_pv_of_an_old_lvm(lun):
    orphan_pv(lun)
    lun.label(lambda raw: put(raw, 136, "<II", 1, 0))


@accepted(2, ["the LUN was cloned while an LVM command made its first change of a PV of an older LVM; the metadata that it was about to "
              "commit, which is whole, is taken"], model=luns.plain)
def the_pre_committed_text_alone(lun):
    """LVM 2.02.143 or later, killed before the last write of its first change."""
    def change(raw):
        raw[64:88] = raw[40:64]
        put(raw, 40, "<QQQ", 0, 0, 0)
    lun.area(change)


@refused(2, "BadLabel", LABEL % "0 metadata areas; one or two are expected")
def pv_without_metadata_area(lun):
    lun.label(lambda raw: put(raw, 104, "<QQ", 0, 0))


@refused(3, "NotAnSR", NOT_AN_SR % "XSLocalEXT-{sr}")
def local_ext_sr(lun):
    lun.text("VG_XenStorage-", "XSLocalEXT-")


@refused(3, "NotAnSR", NOT_AN_SR % "vg_guest")
def vg_of_a_guest(lun):
    lun.text(lun.sr.vg_name, "vg_guest")


@refused(3, "NotAnSR", NOT_AN_SR % "VG_XenStorage-12345678-ABCD-4bcd-8bcd-123456789abc")
def upper_case_uuid(lun):
    lun.text(lun.sr.vg_name, "VG_XenStorage-12345678-ABCD-4bcd-8bcd-123456789abc")


@refused(3, "NotAnSR", NOT_AN_SR % "{vg}-x")
def vg_name_with_a_tail(lun):
    lun.text(lun.sr.vg_name, lun.sr.vg_name + "-x")


def _second_pv(lun, flags):
    start = lun.read_text().index(b"pv0 {")
    end = lun.read_text().index(b"}\n", start) + 2
    first = lun.read_text()[start:end].decode("ascii")
    second = first.replace("pv0", "pv1").replace(lun.sr.pv_id, OTHER_PV_ID)
    if flags:
        second = second.replace("flags = []", "flags = [%s]" % flags)
    lun.text(first, first + second)


@refused(4, "ManyPVs", MANY_PVS % (2, "{pv_id}, " + OTHER_PV_ID))
def two_pvs(lun):
    _second_pv(lun, "")


@refused(4, "ManyPVs", MANY_PVS % (0, ""))
def no_pv(lun):
    data = lun.read_text().decode("ascii")
    start = data.index("pv0 {")
    lun.text(data[start:data.index("}\n", start) + 2], "")


@refused(5, "MissingPV", MISSING % OTHER_PV_ID)
def second_pv_is_missing(lun):
    _second_pv(lun, '"MISSING"')


@refused(5, "MissingPV", MISSING % "{pv_id}")
def this_pv_is_missing(lun):
    lun.text('status = ["ALLOCATABLE"]\nflags = []', 'status = ["ALLOCATABLE"]\nflags = ["MISSING"]')


@refused(5, "ForeignField", FOREIGN % ("the VG", "status", "PARTIAL"))
def vg_is_partial(lun):
    lun.text('"WRITE"]', '"WRITE", "PARTIAL"]')


EXPORTED = "the VG {vg} is exported. Somebody ran vgexport on it: run vgimport {vg} on the original, and make a new clone."


@refused(6, "Exported", EXPORTED)
def exported(lun):
    lun.text('"WRITE"]', '"WRITE", "EXPORTED"]')


@refused(6, "Exported", EXPORTED)
def exported_as_vgexport_does_it(lun):
    lun.text('"WRITE"]', '"WRITE", "EXPORTED"]')
    lun.text('"ALLOCATABLE"]', '"ALLOCATABLE", "EXPORTED"]')


@refused(7, "LvmSetting", SETTING % ("the VG", "status", "CLUSTERED", "vgchange -cn VG"))
def clustered(lun):
    lun.text('"WRITE"]', '"WRITE", "CLUSTERED"]')


@refused(7, "LvmSetting", SETTING % ("the VG", "lock_type", "sanlock", "vgchange --lock-type none VG"))
def lock_type(lun):
    lun.text("max_lv = 0", 'lock_type = "sanlock"\nmax_lv = 0')


@refused(7, "LvmSetting", SETTING % ("the VG", "lock_args", "1.0.0:lvmlock", "vgchange --lock-type none VG"))
def lock_args(lun):
    lun.text("max_lv = 0", 'lock_args = "1.0.0:lvmlock"\nmax_lv = 0')


@refused(7, "LvmSetting", SETTING % ("the VG", "system_id", "otherhost", "vgchange --systemid \"\" VG"))
def system_id(lun):
    lun.text("max_lv = 0", 'system_id = "otherhost"\nmax_lv = 0')


@refused(7, "ForeignField", FOREIGN % ("the VG", "format", "lvm1"))
def format_of_lvm1(lun):
    lun.text('format = "lvm2"', 'format = "lvm1"')


@refused(7, "ForeignField", FOREIGN % ("the VG", "flags", "SHARED, x"))
def unknown_flags(lun):
    lun.text("flags = []", 'flags = ["SHARED", "x"]')


@refused(7, "ForeignField", FOREIGN % ("the VG", "status", "RESIZEABLE, READ, but not WRITE"))
def vg_is_read_only(lun):
    lun.text('status = ["RESIZEABLE", "READ", "WRITE"]', 'status = ["RESIZEABLE", "READ"]')


@accepted(7, [], model=luns.plain)
def system_id_is_empty(lun):
    """LVM writes the field, without a value, when a VG's owner was taken away."""
    lun.text("max_lv = 0", 'system_id = ""\nlock_type = "none"\nmax_lv = 0')


def _segment_type(kind):
    def spoil(lun):
        lun.lv(lun.sr.named["disk"].volume.name, 'type = "striped"', 'type = "%s"' % kind)
    spoil.__name__ = str("segment_" + kind.replace("-", "_"))
    refused(8, "UnknownSegment", SEGMENT % kind)(spoil)


for _kind in ("mirror", "raid1", "raid5_ls", "raid10", "thin", "thin-pool", "cache", "cache-pool", "writecache", "snapshot", "vdo",
              "vdo-pool", "error", "zero", "integrity", "era"):
    _segment_type(_kind)


@refused(8, "UnknownSegment", SEGMENT % "striped over several PVs")
def two_stripes(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "stripe_count = 1", "stripe_count = 2")


@refused(8, "LvmSetting", SETTING % ("the LV {disk}", "status", "PVMOVE", "pvmove --abort"))
def pvmove(lun):
    lun.lv(lun.sr.named["disk"].volume.name, '"VISIBLE"]', '"VISIBLE", "PVMOVE"]')


@refused(8, "ForeignField", FOREIGN % ("the LV {disk}", "status", "READ, WRITE, but not VISIBLE"))
def invisible_lv(lun):
    """A part of another LV: LVM shows such volumes to nobody."""
    lun.lv(lun.sr.named["disk"].volume.name, ', "VISIBLE"]', "]")


@refused(8, "LvmSetting", SETTING % ("the LV {disk}", "flags", "LOCKED", "pvmove --abort"))
def flags_of_an_lv(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "flags = []", 'flags = ["LOCKED"]')


@refused(8, "ForeignField", FOREIGN % ("the VG", "historical_logical_volumes", "a section"))
def historical_volumes(lun):
    lun.text("\nlogical_volumes {", '\nhistorical_logical_volumes {\nold {\nid = "%s"\n}\n}\nlogical_volumes {' % OTHER_PV_ID)


@refused(36, "NoRoomInRing", NO_ROOM % (60928, 49152), model=lambda: luns.snapshot(area_size=112 * 1024))
def no_gap_in_the_ring(lun):
    """The live text takes more than half of its area."""
    lun.text("max_lv = 0", "# " + "x" * 58000 + "\nmax_lv = 0")


@accepted(36, [], model=lambda: luns.plain(free_extents=0))
def full_vg(lun):
    pass


@refused(45, "TooSmall", TOO_SMALL % (7602176, "PV label", 1 << 40))
def label_says_more_than_the_lun_has(lun):
    lun.label(lambda raw: put(raw, 64, "<Q", 1 << 40))


@refused(45, "TooSmall", TOO_SMALL % (7602176, "VG", 1048576 + (1 << 30) * 262144))
def vg_says_more_than_the_lun_has(lun):
    lun.text("pe_count = 25", "pe_count = %d" % (1 << 30))


@refused(45, "TooSmall", TOO_SMALL % (7602176, "VG", (1 << 63) - 512))
def dev_size_says_more_than_the_lun_has(lun):
    lun.text("dev_size = 14848", "dev_size = %d" % ((1 << 54) - 1))


@refused(46, "ManyLabels", LABELS % "0")
def label_in_sector_0(lun):
    lun.medium.write(0, label_sector(lun.sr, sector=0))
    lun.medium.write(SECTOR, b"\0" * SECTOR)


@refused(46, "ManyLabels", LABELS % "3")
def label_in_sector_3(lun):
    lun.medium.write(3 * SECTOR, label_sector(lun.sr, sector=3))
    lun.medium.write(SECTOR, b"\0" * SECTOR)


@refused(46, "ManyLabels", LABELS % "1, 2")
def two_labels(lun):
    lun.medium.write(2 * SECTOR, label_sector(lun.sr, sector=2))


@refused(46, "ManyLabels", LABELS % "0, 1")
def a_damaged_second_label(lun):
    lun.medium.write(0, b"LABELONE")


@refused(NEW, "BadLabel", LABEL % "wrong checksum")
def label_checksum(lun):
    lun.label(lambda raw: put(raw, 64, "<Q", 0), sum_right=False)


@refused(NEW, "BadLabel", LABEL % "it says that it is in another sector")
def label_of_another_sector(lun):
    lun.label(lambda raw: put(raw, 8, "<Q", 0))


@refused(NEW, "BadLabel", LABEL % "type 'LVM1 001'")
def label_of_another_type(lun):
    lun.label(lambda raw: put(raw, 24, "<8s", b"LVM1 001"))


@refused(NEW, "BadLabel", LABEL % "PV header at offset 4294967295")
def pv_header_elsewhere(lun):
    lun.label(lambda raw: put(raw, 20, "<I", 0xffffffff))


@refused(NEW, "BadLabel", LABEL % "its PV UUID has characters that LVM does not write")
def odd_pv_uuid(lun):
    lun.label(lambda raw: put(raw, 32, "<32s", b"\x1b]0;rm -rf\x07" + b"a" * 21))


def _second_area(lun, header):
    """As pvcreate --pvmetadatacopies 2 makes it: at the end of the PV."""
    end = lun.sr.pv_size - 65536
    lun.medium.write(end, header(end))
    lun.label(lambda raw: put(raw, 104, "<QQQQQQ", 4096, lun.sr.area_size, end, 65536, 0, 0))


@refused(NEW, "AreasDiffer", "the second LVM metadata area, at offset 4718592, does not say what the first one says. " +
         advice("AreasDiffer") + ".", model=lambda: luns.plain(slack=65536))
def two_metadata_areas_that_differ(lun):
    _second_area(lun, lambda end: area_header(end, 65536, []))


@refused(NEW, "BadLabel", LABEL % "3 metadata areas; one or two are expected")
def three_metadata_areas(lun):
    lun.label(lambda raw: put(raw, 104, "<8Q", 4096, lun.sr.area_size, 1 << 30, 65536, 1 << 31, 65536, 0, 0))


def _with_one_area(lun, before):
    assert lun.medium.read(512 + 120, 16) == b"\0" * 16


@accepted(NEW, [], model=lambda: luns.plain(slack=65536), after=_with_one_area)
def two_metadata_areas(lun):
    data = lun.read_text().rstrip(b"\0") + b"\0"
    _second_area(lun, lambda end: area_header(end, 65536, [(512, len(data), crc(data))]) + data)


@accepted(NEW, [], model=lambda: luns.plain(slack=65536), after=_with_one_area)
def a_metadata_area_that_is_ignored(lun):
    header = bytearray(512)
    header[60] = 1
    _second_area(lun, lambda end: bytes(header))


@refused(NEW, "BadLabel", LABEL % "a list of areas has no end")
def endless_list_of_areas(lun):
    def change(raw):
        for offset in range(72, SECTOR - 16, 16):
            put(raw, offset, "<QQ", 4096, 4096)
    lun.label(change)


@refused(NEW, "BadLabel", LABEL % "2 data areas")
def two_data_areas(lun):
    lun.label(lambda raw: put(raw, 72, "<10Q", lun.sr.pe_start, 0, 1 << 30, 0, 0, 0, 4096, lun.sr.area_size, 0, 0))


@refused(NEW, "BadLabel", LABEL % "its data area is at 2097152, that of the metadata text at 1048576")
def another_data_area(lun):
    lun.label(lambda raw: put(raw, 72, "<Q", 2097152))


@refused(NEW, "WrongPV", "the label says PV {pv}, the metadata text says " + OTHER_PV_ID + ". " + NEW_CLONE + ".")
def text_of_another_pv(lun):
    lun.text(lun.sr.pv_id, OTHER_PV_ID)


def _moved_area(lun, offset, size):
    lun.label(lambda raw: put(raw, 104, "<QQ", offset, size))


@refused(47, "BadArea", AREA % (8192, "it says that it is at 4096 with size 1044480"))
def label_points_elsewhere(lun):
    lun.medium.write(8192, lun.medium.read(4096, SECTOR))
    _moved_area(lun, 8192, lun.sr.area_size)


def _area_elsewhere(lun, exported):
    if exported:
        lun.text('"WRITE"]', '"WRITE", "EXPORTED"]')
    data = lun.read_text() + b"\0"
    lun.medium.write(65536, area_header(65536, 65536, [(512, len(data), crc(data))]) + data)
    _moved_area(lun, 65536, 65536)


@refused(47, "UnknownTool", ELSEWHERE % (65536, "the VG there is not locked"))
def a_sound_area_elsewhere(lun):
    _area_elsewhere(lun, False)


@refused(47, "UnknownTool", ELSEWHERE % (65536, "the log of the resign that did this is missing or damaged"))
def locked_without_a_log(lun):
    _area_elsewhere(lun, True)


@refused(NEW, "BadArea", AREA % (4096, "size 18446744073709551104 on a device of 7602176"))
def area_of_all_address_space(lun):
    _moved_area(lun, 4096, (1 << 64) - 512)


@refused(NEW, "BadArea", AREA % (18446744073709551104, "size 1044480 on a device of 7602176"))
def area_at_the_end_of_all_address_space(lun):
    _moved_area(lun, (1 << 64) - 512, lun.sr.area_size)


@refused(NEW, "BadArea", AREA % (4096, "size 512 on a device of 7602176"))
def area_without_a_ring(lun):
    _moved_area(lun, 4096, 512)


@refused(NEW, "BadArea", AREA % (4096, "it overlaps the extents of the VG"))
def area_over_the_extents(lun):
    size = lun.sr.area_size + 512
    lun.area(lambda raw: put(raw, 32, "<Q", size))
    _moved_area(lun, 4096, size)


@refused(NEW, "BadArea", AREA % (4096, "wrong header checksum"))
def area_header_checksum(lun):
    lun.area(lambda raw: put(raw, 100, "<Q", 1), sum_right=False)


@refused(NEW, "BadArea", AREA % (4096, "magic or version"))
def area_magic(lun):
    lun.area(lambda raw: put(raw, 4, "<4s", b"LVM3"))


@refused(NEW, "BadArea", AREA % (4096, "magic or version"))
def area_version(lun):
    lun.area(lambda raw: put(raw, 20, "<I", 2))


@refused(NEW, "BadArea", AREA % (4096, "its text is marked as ignored"))
def ignored_area(lun):
    """vgchange --metadatacopies, pvchange --metadataignore y"""
    lun.area(lambda raw: put(raw, 60, "<I", 1))


@accepted(25, ["the LUN was cloned in the middle of an LVM command; what it was about to change is not part of the copy"],
          model=luns.plain)
def pre_committed_text(lun):
    def change(raw):
        raw[64:88] = raw[40:64]
    lun.area(change)


@refused(NEW, "BadArea", AREA % (4096, "text at 1044480 with size 100"))
def text_behind_the_area(lun):
    lun.area(lambda raw: put(raw, 40, "<QQ", lun.sr.area_size, 100))


@refused(NEW, "BadArea", AREA % (4096, "text at 512 with size 18446744073709551615"))
def text_of_all_address_space(lun):
    lun.area(lambda raw: put(raw, 40, "<QQ", 512, (1 << 64) - 1))


@refused(NEW, "BadArea", AREA % (4096, "text at 512 with size 1043969"))
def text_longer_than_the_ring(lun):
    lun.area(lambda raw: put(raw, 40, "<QQ", 512, lun.sr.area_size - 511))


@refused(NEW, "BadArea", AREA % (4096, "a text of 4194305 bytes; 4194304 are read at most"),
         model=lambda: luns.snapshot(pe_start=32768 * SECTOR))
def text_longer_than_is_read(lun):
    lun.area(lambda raw: put(raw, 40, "<QQ", 512, (4 << 20) + 1))


@refused(NEW, "BadArea", AREA % (4096, "wrong checksum of the text"))
def text_checksum(lun):
    lun.write_text(lun.read_text(), sum_right=False)
    lun.write_text(lun.read_text().replace(b"seqno", b"seqmo"), sum_right=False)


@refused(NEW, "BadText", TEXT % "it does not end in one NUL")
def text_without_nul(lun):
    lun.write_text(lun.read_text(), ending=b"")


@refused(NEW, "BadText", TEXT % "it does not end in one NUL")
def garbage_behind_the_text(lun):
    lun.write_text(lun.read_text(), ending=b"\0garbage\0")


@refused(NEW, "BadText", TEXT % "it does not end in one NUL")
def two_nuls(lun):
    lun.write_text(lun.read_text(), ending=b"\0\0")


@refused(NEW, "BadText", TEXT % ("unexpected " + "\\xff\\xfe\\x80" * 13 + "\\xff at byte 0"))
def text_of_binary_data(lun):
    lun.write_text(b"\xff\xfe\x80" * 100)


@refused(NEW, "BadText", TEXT % "0 VGs in one text")
def text_without_a_vg(lun):
    lun.write_text(b"# nothing\n")


@refused(NEW, "BadText", TEXT % "2 VGs in one text")
def text_with_two_vgs(lun):
    lun.write_text(lun.read_text() + b"\nother {\n}\n")


@refused(NEW, "BadText", TEXT % "the section logical_volumes is not closed")
def unclosed_section(lun):
    data = lun.read_text()
    lun.write_text(data[:data.index(b"logical_volumes {") + 17])


@refused(NEW, "BadText", TEXT % "sections are nested more than 8 deep")
def deep_nesting(lun):
    lun.write_text(b"a {" * 100000)


@refused(NEW, "BadText", TEXT % "contents or version")
def version_of_the_text(lun):
    lun.text("\nversion = 1", "\nversion = 2")


@refused(NEW, "ForeignField", FOREIGN % ("the text", "comment", "x"))
def unknown_field_of_the_text(lun):
    lun.text("\nversion = 1", '\nversion = 1\ncomment = "x"')


@refused(NEW, "ForeignField", FOREIGN % ("the PV", "ignored", "1"))
def unknown_field_of_the_pv(lun):
    lun.text("pe_start = ", "ignored = 1\npe_start = ")


@refused(NEW, "LvmSetting", SETTING % ("the LV {disk}", "profile", "thin-performance", "lvchange --detachprofile VG/{disk}"))
def unknown_field_of_an_lv(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "segment_count", 'profile = "thin-performance"\nsegment_count')


@refused(NEW, "ForeignField", FOREIGN % ("the LV {disk}", "chunk_size", "8"))
def unknown_field_of_a_segment(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "stripe_count = 1", "stripe_count = 1\nchunk_size = 8")


@refused(NEW, "BadText", TEXT % "extent_size 0")
def extent_size_0(lun):
    lun.text("extent_size = 512", "extent_size = 0")


@refused(NEW, "BadText", TEXT % "extent_size 4722366482869645213184")
def extent_size_of_all_address_space(lun):
    lun.text("extent_size = 512", "extent_size = 9223372036854775807")


@refused(NEW, "BadText", TEXT % "unexpected extent_size = 99999999999999999999\\x0amax_l at byte 177")
def number_of_more_than_64_bits(lun):
    lun.text("extent_size = 512", "extent_size = 99999999999999999999")


@refused(NEW, "BadText", TEXT % "VG_XenStorage-{sr} has no number extent_size")
def extent_size_as_a_string(lun):
    lun.text("extent_size = 512", 'extent_size = "512"')


@refused(NEW, "BadText", TEXT % "VG_XenStorage-{sr} has no number seqno")
def negative_seqno(lun):
    lun.text("seqno = ", "seqno = -")


@refused(NEW, "BadText", TEXT % "seqno 4294967294")
def seqno_near_its_end(lun):
    """Two more commits would wrap LVM's 32 bits, and LVM takes the smaller number for the older text."""
    lun.text("seqno = ", "seqno = 4294967294\n#")


@refused(NEW, "TooSmall", TOO_SMALL % (7602176, "VG", 9223372036854775807 * 512 + 25 * 262144))
def huge_pe_start(lun):
    lun.text("pe_start = 2048", "pe_start = 9223372036854775807")


@refused(NEW, "BadArea", AREA % (4096, "it overlaps the extents of the VG"))
def pe_start_0(lun):
    lun.text("pe_start = 2048", "pe_start = 0")


@refused(NEW, "BadText", TEXT % "MGT appears twice in logical_volumes")
def two_mgts(lun):
    data = lun.read_text().decode("ascii")
    start = data.index("MGT {")
    end = data.index("}\n}\n", start) + 4
    lun.text(data[start:end], data[start:end] * 2)


@refused(NEW, "BadText", TEXT % "the LVs MGT and {disk} have the same id")
def two_lvs_of_one_id(lun):
    lun.text(lun.sr.named["disk"].volume.id, lun.sr.mgt_volume.id)


@refused(NEW, "BadText", TEXT % "the LV {disk} has the id ../../../etc/passwd")
def lv_id_as_a_path(lun):
    lun.text(lun.sr.named["disk"].volume.id, "../../../etc/passwd")


@refused(NEW, "BadText", TEXT % "it does not begin with the name of its VG")
def comment_before_the_vg(lun):
    """The parser takes it, but LVM looks for the name in the first bytes and sees no VG."""
    lun.write_text(b"# comment\n" + lun.read_text())


@refused(NEW, "BadText", TEXT % "VG_XenStorage-{sr} has no number max_pv")
def no_max_pv(lun):
    lun.text("max_pv = 0\n", "")


@refused(NEW, "BadText", TEXT % "logical_volumes has more than sections")
def value_among_the_lvs(lun):
    lun.text("logical_volumes {", 'logical_volumes {\ntype = "striped"')


@refused(NEW, "BadText", TEXT % "physical_volumes has more than sections")
def value_among_the_pvs(lun):
    lun.text("physical_volumes {", "physical_volumes {\nid = 1")


@refused(NEW, "BadText", TEXT % "the LV MGT has one of creation_time and creation_host")
def creation_time_without_host(lun):
    lun.text('creation_host = "guest"\n', "")


@refused(NEW, "BadText", TEXT % "the PV has no status")
def pv_without_status(lun):
    lun.text('status = ["ALLOCATABLE"]\n', "")


def _lv_name(name, title):
    def spoil(lun):
        lun.text("\n%s {" % lun.sr.named["raw"].volume.name, "\n%s {" % name)
    spoil.__name__ = str("lv_name_" + title)
    refused(NEW, "BadText", TEXT % ("the LV name " + name))(spoil)


_lv_name(".", "dot")
_lv_name("..", "dots")
_lv_name("-x", "option")
_lv_name("a" * 128, "of_128_characters")


@refused(NEW, "BadText", TEXT % "unexpected ../../etc {{\\x0aid = \"DbBPz7-o5mP-Y72B-1cXY- at byte 1710")
def lv_name_with_a_slash(lun):
    lun.text("\n%s {" % lun.sr.named["raw"].volume.name, "\n../../etc {")


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "1 segments, 9223372036854775807 said"))
def segment_count_of_63_bits(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "segment_count = 1", "segment_count = 9223372036854775807")


@refused(NEW, "BadExtents", EXTENTS % ("MGT", "it has no segment"))
def lv_without_segments(lun):
    data = lun.read_text().decode("ascii")
    start = data.index("segment1 {")
    end = data.index("}\n", start) + 2
    lun.text("segment_count = 1\n\n" + data[start:end], "segment_count = 0\n")


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "a gap or overlap at its extent 1"))
def segment_that_starts_late(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "start_extent = 0", "start_extent = 1")


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "a gap or overlap at its extent 0"))
def segment_of_no_extents(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "extent_count = ", "extent_count = 0 #")


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "PV extent 9223372036854775807 of 25"))
def segment_of_63_bits(lun):
    lun.lv(lun.sr.named["disk"].volume.name, "extent_count = ", "extent_count = 9223372036854775807 #")


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "PV extent 0 belongs to two LVs"))
def overlapping_extents(lun):
    lun.lv(lun.sr.named["disk"].volume.name, '"pv0", 1', '"pv0", 0')


@refused(NEW, "BadExtents", EXTENTS % ("{raw}", "PV extent 25 of 25"))
def extent_behind_the_end(lun):
    lun.lv(lun.sr.named["raw"].volume.name, '"pv0", 20', '"pv0", 25')


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "a segment outside the PV"))
def negative_extent(lun):
    lun.lv(lun.sr.named["disk"].volume.name, '"pv0", 1', '"pv0", -1')


@refused(NEW, "BadExtents", EXTENTS % ("{disk}", "a segment outside the PV"))
def segment_on_another_pv(lun):
    lun.lv(lun.sr.named["disk"].volume.name, '"pv0", 1', '"pv1", 1')


@refused(24, "UnknownVolume", UNKNOWN % "VHD-backup")
def vhd_without_uuid(lun):
    lun.text("\n%s {" % lun.sr.named["raw"].volume.name, "\nVHD-backup {")


def _tag(tag, title, reason, text):
    def spoil(lun):
        lun.lv(lun.sr.named["disk"].volume.name, "flags = []", 'flags = []\ntags = ["%s"]' % tag)
    spoil.__name__ = str("vdi_tagged_" + title)
    refused(NEW, reason, text)(spoil)


_tag("journaler", "as_a_journal", "UnknownVolume", UNKNOWN % "{disk}")
_tag("jvhd", "as_a_resize_journal", "UnknownVolume", UNKNOWN % "{disk}")
_tag("cbtlog", "as_a_cbt_log", "UnknownVolume", UNKNOWN % "{disk}")


def _with_volume(title, number, name, tags):
    def model():
        sr = luns.plain()
        sr.volumes.append(Volume(name, tags=tags))
        return sr

    def spoil(lun):
        pass
    spoil.__name__ = str(title)
    return model, spoil


def _add_names():
    vdi, other = "12345678-1234-4123-8123-123456789abc", "22345678-1234-4123-8123-123456789abc"
    for title, name in (("a_later_kind", "mirror_%s_1" % vdi), ("without_a_value", "leaf_" + vdi), ("without_a_uuid", "clone_of_db_1")):
        model, spoil = _with_volume("journal_" + title, 25, name, ["journaler"])
        refused(25, "UnknownVolume", UNKNOWN % name, model=model)(spoil)
    for title, name in (("a_clone", "clone_%s_%s" % (vdi, other)), ("a_resize", "jvhd_" + vdi), ("a_merged_leaf", "OLD_" + vdi),
                        ("a_trim", "%s_trim_lv" % vdi), ("old_mgt", "OLD_MGT"), ("zero", "zero_fill_test")):
        model, spoil = _with_volume("named_like_%s_without_its_tag" % title, 24, name, [])
        accepted(24, [KEPT % name], model=model)(spoil)
    model, spoil = _with_volume("merged_leaf_that_is_raw", 24, "LV-OLD_" + vdi, [])
    refused(24, "UnknownVolume", UNKNOWN % ("LV-OLD_" + vdi), model=model)(spoil)


_add_names()


def _admin():
    sr = luns.plain()
    sr.volumes = [Volume("scratch", tags=["owner"]), Volume("backup.2020-01-28+x", read_only=True)]
    return sr


@accepted(24, [KEPT % "scratch", KEPT % "backup.2020-01-28+x"], model=_admin)
def admin_lvs(lun):
    pass


def _admin_named_after_a_vdi():
    sr = luns.plain()
    sr.volumes = [Volume("backup-of-" + sr.named["disk"].uuid), Volume("of-12345678-1234-4123-8123-123456789abc")]
    return sr


def _one_is_renamed(lun, before):
    text = lun.read_text().decode("ascii")
    assert "\nof-12345678-1234-4123-8123-123456789abc {" in text
    assert "\nbackup-of-" in text and lun.sr.named["disk"].uuid not in text


@accepted(24, [KEPT % "backup-of-{disk_uuid}", KEPT % "of-{new}", "the LV backup-of-{disk_uuid} has an old uuid in its name; it will be "
               "backup-of-{new}"], model=_admin_named_after_a_vdi, after=_one_is_renamed)
def admin_lvs_named_after_vdis(lun):
    pass


def _qcow2():
    sr = luns.snapshot()
    sr.volumes = [Volume("QCOW2-12345678-1234-4123-8123-123456789abc",
                         content=[(0, b"QFI\xfb\0\0\0\2" + b"\0" * 16 + b"\0\0\0\0\0\x20\0\0")])]
    return sr


@refused(33, "BadQcow2", QCOW2 % ("QCOW2-12345678-1234-4123-8123-123456789abc", "it has version 2"), model=_qcow2)
def qcow2(lun):
    pass


@accepted(51, [], model=lambda: luns.plain(beyond=5 * 1024 * 1024 + 512))
def lun_larger_than_the_pv(lun):
    pass


@refused(NEW, "UuidOfSR", OF_SR % "the LV VHD-{sr}")
def lv_with_the_uuid_of_the_sr(lun):
    lun.text(lun.sr.named["disk"].volume.name, "VHD-" + lun.sr.uuid)


@refused(22, "DuplicateVDI", DUPLICATE % "the LVs {disk} and LV-{disk_uuid}")
def vhd_and_raw_lv_of_one_uuid(lun):
    lun.text(lun.sr.named["raw"].volume.name, "LV-" + lun.sr.named["disk"].uuid)


def _mgt_of_two_segments():
    sr = luns.snapshot(mgt_extents=2)
    sr.mgt_volume.fragments = 2
    return sr


@refused(NEW, "BadExtents", EXTENTS % ("MGT", "2 segments; one is expected"), model=_mgt_of_two_segments)
def mgt_in_two_segments(lun):
    pass


@accepted(35, [], model=lambda: luns.plain(tags=["pool_7"], pv_tags=["array"]))
def tags_and_permissions(lun):
    pass
