# SPDX-License-Identifier: LGPL-2.1-only
"""Bad metadata volumes (MGT), and what they say of VDIs."""
from __future__ import absolute_import, division, print_function, unicode_literals

import struct

from fuzz import luns
from fuzz.rows import BASES, NEW, NEW_CLONE, Table, advice
from lvhd import mgt, shapes
from lvhd.model import SECTOR, Volume

table = Table()
refused, accepted = table.refused, table.accepted

MGT = "the SR metadata volume (MGT) is not understood: %s. " + advice("BadMGT") + "."
NAME = "the SR metadata volume (MGT) is not understood: %s. " + advice("BadName") + "."
VDI_NAME = "the SR metadata volume (MGT) is not understood: %s. " + advice("BadVDIName") + "."
DISK = "the name of VDI {disk_uuid} (record at offset 2048) "
HEADER = MGT % "its header is %s"
VERSION = "the SR metadata volume (MGT) has version %s; 1:2 is expected. "
RECORD = ("the SR metadata volume (MGT) is not understood: VDI {disk_uuid} (record at offset 2048) %s. " + advice("BadRecord") + ".")
SHAPELESS = RECORD % "is not of the known form"
USED = MGT % "its header says that %d of 262144 bytes are in use"
DUPLICATE = ("two objects carry the uuid {disk_uuid}: %s. Remove one of them on the original and clone again. If the original is gone, "
             "device-config:drop={disk_uuid} (--drop) leaves both behind.")
OF_SR = "the uuid of the SR, {sr}, is also that of %s. Remove that VDI on the original and clone again."
DROPPED = "the VDI %s would be dropped (%s), but %s depend on it. Make them independent of it on the original and " + (
    "clone again, or keep snapshots (device-config:snapshots=keep). Or device-config:drop={snap_uuid} (--drop) leaves all of them behind.")
NOTHING_LEFT = "no VDI would be left: %s. device-config:snapshots=keep resigns an SR that holds only snapshots; or make VDIs of them " + (
    "first.")


@refused(17, "NoMGT", "the SR has no metadata volume (MGT). " + advice("NoMGT") + ".", model=lambda: luns.snapshot(mgt=False))
def no_mgt(lun):
    pass


def _header(number, title, data, shown):
    def spoil(lun):
        lun.write("MGT", 0, data.ljust(SECTOR))
    spoil.__name__ = str("header_" + title)
    refused(number, "BadMGT", HEADER % shown)(spoil)


_header(18, "of_zeros", b"\0" * SECTOR, "empty")
_header(18, "of_spaces", b"", "empty")
_header(18, "of_garbage", b"\x93\x10PKgarbage", "\\x93\\x10PKgarbage")
_header(18, "of_another_magic", b"XSSX:4096      :1:2", "XSSX:4096      :1:2")
_header(18, "without_a_version", b"XSSM:4096      ", "XSSM:4096")
_header(18, "of_the_binary_format", b"MGT\0\0\0\1\0", "MGT\\x00\\x00\\x00\\x01")
_header(18, "with_a_version_that_sm_does_not_write", b"XSSM:4096      :01:2", "XSSM:4096      :01:2")
_header(18, "with_more_behind", b"XSSM:4096      :1:2 and more", "XSSM:4096      :1:2 and more")
_header(18, "with_a_negative_length", b"XSSM:-4096     :1:2", "XSSM:-4096     :1:2")
_header(18, "with_a_hexadecimal_length", b"XSSM:0x1000    :1:2", "XSSM:0x1000    :1:2")


def _version(version):
    def spoil(lun):
        lun.mgt(b":1:2", (":" + version).encode("ascii"))
    spoil.__name__ = str("version_" + version.replace(":", "_"))[:40]
    reason = "OldMGT" if version < "1:2" else "NewMGT"
    refused(19, reason, VERSION % version + advice(reason) + ".")(spoil)


for _number in ("1:0", "1:1", "1:3", "2:0", "0:0", "9" * 100 + ":2"):
    _version(_number)


@refused(19, "OldMGT", VERSION % "1:1 in the binary form from before 6.0" + advice("OldMGT") + ".")
def binary_header(lun):
    lun.write("MGT", 0, struct.pack("<4sIHH", b"XSSM", 400, 1, 1) + b'<?xml version="1.0" ?>'.ljust(SECTOR - 12))


def _used(title, used):
    def spoil(lun):
        lun.write("MGT", 0, (b"XSSM:%-10d:1:2" % used).ljust(SECTOR))
    spoil.__name__ = str("used_length_" + title)
    refused(NEW, "BadMGT", USED % used)(spoil)


_used("0", 0)
_used("of_the_header_alone", 512)
_used("of_half_a_record", 2048 + 512)
_used("odd", 2048 + 1024 + 1)
_used("of_more_than_the_volume", 262144 + 2048)
_used("of_9_gigabytes", 9999999999)


@refused(NEW, "BadMGT", MGT % "the VDI record at offset 7168 is not of the known form")
def used_length_of_one_record_too_many(lun):
    lun.write("MGT", 0, (b"XSSM:%-10d:1:2" % (mgt.RECORDS + 6 * mgt.RECORD)).ljust(SECTOR))


@refused(NEW, "BadMGT", MGT % "its header says that 16779264 bytes are in use; 16777216 are read at most",
         model=lambda: luns.plain(mgt_extents=80))
def used_length_of_more_than_is_read(lun):
    lun.write("MGT", 0, (b"XSSM:%-10d:1:2" % ((16 << 20) + 2048)).ljust(SECTOR))


@accepted(NEW, ["the LV {disk} has no record in the metadata volume"], model=luns.plain)
def used_length_of_no_records(lun):
    lun.write("MGT", 0, (b"XSSM:%-10d:1:2" % mgt.RECORDS).ljust(SECTOR))


def _mgt_edit(number, title, text, old, new, model=luns.snapshot):
    def spoil(lun):
        lun.mgt(old, new)
    spoil.__name__ = str(title)
    reason = "BadName" if advice("BadName") in text else "BadMGT"
    if "VDI {disk_uuid}" in text:
        reason = {"BadName": "BadVDIName", "BadMGT": "BadRecord"}[reason]
    refused(number, reason, text, model=model)(spoil)


THIN = b"<initial_allocation>%s</initial_allocation><allocation_quantum>%s</allocation_quantum>"
_mgt_edit(NEW, "half_of_what_xenserver_7_0_adds", MGT % "the SR record has the fields allocation, initial_allocation, uuid",
          b"</allocation>", b"</allocation><initial_allocation></initial_allocation>")
_mgt_edit(NEW, "quantum_that_is_no_number", MGT % "the allocation_quantum is 1x", b"</allocation>", b"</allocation>" + THIN % (b"", b"1x"))


@accepted(NEW, [], model=luns.plain, after=lambda lun, before: _thin_stays(lun, b""))
def sr_record_of_xenserver_7_0(lun):
    lun.mgt(b"</allocation>", b"</allocation>" + THIN % (b"", b""))


@accepted(NEW, [], model=luns.plain, after=lambda lun, before: _thin_stays(lun, b"16777216"))
def sr_record_of_xenserver_7_0_with_numbers(lun):
    lun.mgt(b"</allocation>", b"</allocation>" + THIN % (b"16777216", b"16777216"))


def _thin_stays(lun, number):
    assert lun.read("MGT", SECTOR, SECTOR).rstrip().endswith(b"</allocation>" + THIN % (number, number))


@refused(NEW, "ThinDaemon", "the SR was made with allocation=xlvhd: a daemon of XenServer 7.0 keeps the places of its volumes in a form "
         "of its own. " + advice("ThinDaemon") + ".")
def sr_of_the_thin_daemon(lun):
    lun.mgt(b"<allocation>thick</allocation>", b"<allocation>xlvhd</allocation>" + THIN % (b"16777216", b"16777216"))


_BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
_mgt_edit(20, "dtd_in_the_sr_record", MGT % "the SR record is not of the known form", b"<uuid>", _BOMB + b"<uuid>")
_mgt_edit(20, "dtd_before_a_vdi_record", SHAPELESS, b"<vdi>", _BOMB + b"<vdi>")
_mgt_edit(20, "entity_in_a_name", VDI_NAME % (DISK + "has an entity that sm does not write"), b"<name_label>disk",
          b"<name_label>&bomb;")
_mgt_edit(20, "external_entity", SHAPELESS, b"<vdi>",
          b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><vdi>')
_mgt_edit(20, "numeric_entity", VDI_NAME % (DISK + "has an entity that sm does not write"), b"<name_label>disk",
          b"<name_label>&#0;")
_mgt_edit(20, "bare_ampersand", VDI_NAME % (DISK + "has an entity that sm does not write"), b"<name_label>disk",
          b"<name_label>a & b")
_mgt_edit(20, "processing_instruction", SHAPELESS, b"<vdi>", b"<?php x?><vdi>")
_mgt_edit(20, "comment", SHAPELESS, b"<vdi>", b"<!-- x --><vdi>")
_mgt_edit(20, "cdata", SHAPELESS, b"<name_label>disk", b"<name_label><![CDATA[disk]]>")
_mgt_edit(20, "latin_1", VDI_NAME % (DISK + "is not UTF-8"), b"<name_label>disk", b"<name_label>d\xefsk")
_mgt_edit(20, "name_cut_within_a_character", VDI_NAME % (DISK + "is not UTF-8"), b"<name_label>disk",
          b"<name_label>dis\xe2\x82")
_mgt_edit(20, "overlong_utf_8", VDI_NAME % (DISK + "is not UTF-8"), b"<name_label>disk",
          b"<name_label>\xc0\xbcvdi\xc0\xbe")
_mgt_edit(20, "surrogate_in_utf_8", VDI_NAME % (DISK + "is not UTF-8"), b"<name_label>disk",
          b"<name_label>\xed\xa0\x80")
_mgt_edit(20, "noncharacter", VDI_NAME % (DISK + "has a character that XML does not have"), b"<name_label>disk",
          b"<name_label>\xef\xbf\xbf")
_mgt_edit(20, "nul_in_a_name", VDI_NAME % (DISK + "has control characters"), b"<name_label>disk",
          b"<name_label>di\0sk")
_mgt_edit(20, "escape_in_a_name", VDI_NAME % (DISK + "has control characters"), b"<name_label>disk",
          b"<name_label>\x1b[2Jdisk")
_mgt_edit(20, "control_in_the_name_of_the_sr", NAME % "the name of the SR has control characters", b"<name_label>iSCSI",
          b"<name_label>\x07iSCSI")
_mgt_edit(20, "latin_1_in_the_description_of_the_sr", NAME % "the description of the SR is not UTF-8", b"<name_description>",
          b"<name_description>\xe9")
_mgt_edit(20, "name_that_runs_over_its_sector", SHAPELESS,
          b"disk</name_label><name_description></name_description>",
          b"x" * 490)
_mgt_edit(20, "markup_in_a_name", SHAPELESS, b"<name_label>disk", b"<name_label><b>disk</b>")
_mgt_edit(NEW, "sr_record_without_allocation", MGT % "the SR record has the fields uuid", b"<allocation>thick</allocation>", b"")
_mgt_edit(NEW, "allocation_unknown", MGT % "the allocation is thinner", b"<allocation>thick", b"<allocation>thinner")
_mgt_edit(NEW, "allocation_of_nothing", MGT % "the allocation is empty", b"<allocation>thick", b"<allocation>")
_mgt_edit(NEW, "uuid_of_the_sr_twice", MGT % "the SR record has the fields allocation, uuid, uuid", b"<allocation>",
          b"<uuid>12345678-1234-4123-8123-123456789abc</uuid><allocation>")
_mgt_edit(NEW, "closing_tag_of_another_field", MGT % "the SR record has the fields allocation, uuid", b"</allocation>", b"</allocations>")
_mgt_edit(NEW, "name_of_the_sr_in_no_element", MGT % "the name of the SR is not of the known form", b"<name_label>iSCSI", b"iSCSI")


@refused(NEW, "WrongSRUuid", "the metadata volume says SR 12345678-1234-4123-8123-123456789abc, the VG name says {sr}. " + NEW_CLONE + ".")
def mgt_of_another_sr(lun):
    lun.mgt(lun.sr.uuid.encode("ascii"), b"12345678-1234-4123-8123-123456789abc")


def _blank(title, name, what="name"):
    def spoil(lun):
        lun.record(lun.sr.named["disk"], b"<name_label>disk</name_label><name_description></name_description>",
                   (b"<name_label>%s</name_label><name_description>x</name_description>" if what == "name" else
                    b"<name_label>x</name_label><name_description>%s</name_description>") % name.encode("utf-8"))
    spoil.__name__ = str("blank_" + title)
    accepted(NEW, ["the %s of VDI {disk_uuid} is nothing but white space, which sm cannot read back; it is empty on the clone" % what],
             model=luns.plain)(spoil)


_blank("name", " ")
_blank("name_of_line_ends", "\n\r\t")
_blank("name_of_wide_spaces", "\u3000\u00a0\u2028")
_blank("description", " ", "description")


@accepted(20, [], model=luns.plain)
def names_with_blanks_at_their_ends(lun):
    lun.record(lun.sr.named["disk"], b"<name_label>disk", b"<name_label> disk \t")


def _record(number, title, what, old, new, model=luns.snapshot):
    def spoil(lun):
        lun.record(lun.sr.named["disk"], old, new)
    spoil.__name__ = str("record_" + title)
    reason, text = "BadRecord", RECORD % what
    if "../" in what:
        reason, text = "BadMGT", MGT % ("the VDI record at offset 2048 %s" % what)
    refused(number, reason, text, model=model)(spoil)


_record(NEW, "without_deleted", "has no field deleted, or another value than 0 or 1", b"<deleted>0</deleted>", b"")
_record(NEW, "deleted_in_part", "has no field deleted, or another value than 0 or 1", b"<deleted>0", b"<deleted>2")
_record(NEW, "with_a_path_as_uuid", "has the uuid ../{disk_uuid}", b"<uuid>", b"<uuid>../")
_record(NEW, "of_an_unknown_vdi_type", "has the vdi_type vdi", b"<vdi_type>vhd", b"<vdi_type>vdi")
_record(NEW, "without_vdi_type", "has the vdi_type None", b"<vdi_type>vhd</vdi_type>", b"")
_record(NEW, "without_is_a_snapshot", "has no is_a_snapshot", b"<is_a_snapshot>0</is_a_snapshot>", b"")
_record(NEW, "with_a_word_for_is_a_snapshot", "has is_a_snapshot no", b"<is_a_snapshot>0", b"<is_a_snapshot>no")
_record(NEW, "without_managed", "has no managed", b"<managed>1</managed>", b"")
_record(NEW, "without_read_only", "has no read_only", b"<read_only>0</read_only>", b"")
_record(NEW, "without_type", "has no type", b"<type>user</type>", b"")
_record(NEW, "of_an_unknown_type", "has type heartbeat", b"<type>user", b"<type>heartbeat")
_record(NEW, "with_an_odd_snapshot_time", "has snapshot_time yesterday", b"<snapshot_time>", b"<snapshot_time>yesterday")
_record(NEW, "with_a_field_twice", "has the field deleted wrong or twice", b"<deleted>0</deleted>",
        b"<deleted>1</deleted><deleted>0</deleted>")
_record(NEW, "with_a_field_closed_by_another", "has the field managed wrong or twice", b"</managed>", b"</manager>")
_record(NEW, "with_an_unknown_field", "has the unknown field svid", b"<deleted>", b"<svid>1</svid><deleted>")
_record(NEW, "without_its_end", "is not of the known form", b"</vdi>", b"")


@refused(22, "DuplicateVDI", DUPLICATE % "two records of the metadata volume")
def two_records_of_one_uuid(lun):
    lun.record(lun.sr.named["raw"], lun.sr.named["raw"].uuid.encode("ascii"), lun.sr.named["disk"].uuid.encode("ascii"))


@refused(NEW, "UuidOfSR", OF_SR % "the VDI record at offset 2048")
def record_with_the_uuid_of_the_sr(lun):
    lun.record(lun.sr.named["disk"], lun.sr.named["disk"].uuid.encode("ascii"), lun.sr.uuid.encode("ascii"))


def _deleted_slots():
    sr = luns.empty()
    sr.add("gone", deleted=True)
    luns.disk(sr, "disk")
    sr.add("gone too", deleted=True, is_a_snapshot=True, snapshot_of=sr.named["disk"].uuid)
    return sr


def _slots_stay(lun, before):
    """Deleted slots stay where they are, so that the next VDI finds them."""
    assert [offset for offset in (2048, 3072, 4096) if b"<deleted>1</deleted>" in lun.read("MGT", offset, 1024)] == [2048, 4096]
    assert lun.read("MGT", 0, SECTOR) == before.read("MGT", 0, SECTOR)


@accepted(22, [], model=_deleted_slots, after=_slots_stay)
def deleted_slots(lun):
    pass


def _strays():
    sr = luns.empty()
    luns.disk(sr, "disk")
    luns.disk(sr, "unrecorded", recorded=False)
    sr.named["lost"] = sr.add("no volume", stored=False)
    return sr


@accepted(21, ["the LV {unrecorded} has no record in the metadata volume", "the record of VDI {lost_uuid} has no LV; it is "
               "removed"], model=_strays)
def strays(lun):
    pass


def _wrong_type():
    sr = luns.empty()
    luns.disk(sr, "disk", record_vdi_type="aio")
    return sr


def _type_is_right(lun, before):
    assert b"<vdi_type>vhd</vdi_type>" in lun.read("MGT", 2048, 1024)


@accepted(23, ["the record of {disk} says type aio; the record is set right"], model=_wrong_type, after=_type_is_right)
def record_of_the_wrong_type(lun):
    pass


def _system(kind, **fields):
    def model():
        sr = luns.empty()
        luns.disk(sr, "disk")
        luns.disk(sr, "other", type=kind, **fields)
        return sr
    return model


def _other_is_dropped(lun, before):
    records = lun.read("MGT", 2048, 2048)
    assert records.count(b"<deleted>1</deleted>") == 1
    assert lun.sr.named["other"].uuid.encode("ascii") not in records
    text = lun.read_text().decode("ascii")
    assert text.count("\nVHD-") == 1 and text.count("\nLV-") == 0


def _dropped_types():
    for kind, why, fields in (
            ("ha_statefile", "its type is ha_statefile", {"vdi_type": "aio", "size": luns.EXTENT}),
            ("redo_log", "its type is redo_log", {"vdi_type": "aio", "size": luns.EXTENT}),
            ("metadata", "its type is metadata", {}),
            ("cbt_metadata", "its type is cbt_metadata", {}),
            ("user", "it holds the metadata of a pool", {"metadata_of_pool": "12345678-1234-4123-8123-123456789abc"}),
            ("user", "it holds the metadata of a pool", {"metadata_of_pool": "OpaqueRef:12345678-1234-4123-8123-123456789abc"})):
        def spoil(lun):
            pass
        spoil.__name__ = str("vdi_of_type_%s_%s" % (kind, fields.get("metadata_of_pool", "")[:6]))
        accepted(31, ["the VDI {other_uuid} is dropped: " + why], model=_system(kind, **fields), after=_other_is_dropped)(spoil)


_dropped_types()


@accepted(31, [], model=_system("suspend", metadata_of_pool="OpaqueRef:NULL"))
def vdi_of_no_pool(lun):
    pass


def _cbt():
    sr = luns.plain()
    sr.volumes = [shapes.cbt_log(sr.named["disk"].uuid), Volume("12345678-1234-4123-8123-123456789abc.cbtlog")]
    return sr


def _logs_are_dropped(lun, before):
    assert b".cbtlog" not in lun.read_text()


@accepted(32, ["the LV {disk_uuid}.cbtlog is dropped: a log of changed blocks, which would corrupt the next incremental backup",
               "the LV 12345678-1234-4123-8123-123456789abc.cbtlog is dropped: a log of changed blocks, which would corrupt the "
               "next incremental backup"], model=_cbt, after=_logs_are_dropped)
def cbt_logs(lun):
    pass


@accepted(48, [BASES % 1, "the VDI {snap_uuid} is dropped: a snapshot"])
def snapshot_is_dropped(lun):
    pass


def _snapshot_with_children(hidden):
    def model():
        sr = luns.snapshot()
        snap = sr.named["snap"]
        snap.hidden = hidden
        luns.disk(sr, "child", sectors=())
        sr.named["child"].parent = snap
        return sr
    return model


@refused(48, "DroppedHasChildren", DROPPED % ("{snap_uuid}", "a snapshot", "{child}"), model=_snapshot_with_children(True))
def snapshot_with_children(lun):
    pass


@refused(48, "DroppedHasChildren", DROPPED % ("{snap_uuid}", "a snapshot", "{child}"), model=_snapshot_with_children(False))
def visible_snapshot_with_children(lun):
    pass


def _only_a_snapshot():
    sr = luns.empty()
    luns.disk(sr, "snap", is_a_snapshot=True, snapshot_of="12345678-1234-4123-8123-123456789abc", snapshot_time="20200128T12:00:00Z")
    return sr


@refused(48, "NothingLeft", NOTHING_LEFT % "{snap_uuid} (a snapshot)", model=_only_a_snapshot)
def only_a_snapshot(lun):
    pass


@refused(48, "EmptySR", "the SR on this LUN has no VDIs: there is nothing to resign. " + advice("EmptySR") + ".",
         model=lambda: _named(luns.empty()))
def empty_sr(lun):
    pass


def _named(sr):
    sr.named = {}
    return sr


def _only_hidden():
    sr = luns.empty()
    luns.disk(sr, "base", hidden=True)
    return sr


@refused(48, "NothingLeft", NOTHING_LEFT % "{base_uuid} (a hidden node that nothing refers to)", model=_only_hidden)
def only_a_hidden_node(lun):
    pass


def _full_mgt():
    sr = luns.plain()
    for _ in range((luns.EXTENT - mgt.RECORDS) // mgt.RECORD - 5):
        sr.add("", deleted=True)
    return sr


@refused(NEW, "NoRoomForLog", "the metadata volume (MGT) has 0 unused bytes; the log of this resign needs 16384. Remove VDIs from "
         "the original and clone again.", model=_full_mgt)
def no_room_for_the_log(lun):
    pass
