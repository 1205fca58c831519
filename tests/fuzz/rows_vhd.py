# SPDX-License-Identifier: LGPL-2.1-only
"""Bad VHDs: footers, headers, block tables, parent locators and chains."""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz import luns
from fuzz.edit import put
from fuzz.rows import BASES, LEAVE, NEW, REMOVE, VDI, Table, advice
from lvhd import shapes
from lvhd.model import SECTOR

table = Table()
refused, accepted = table.refused, table.accepted

VHD = "the VHD in LV {disk} is not understood: %s. " + VDI + "."
POISONED = ("the VHD in LV {disk} was in the middle of a resize that moves its block table (one of its footers says v_poison). " +
            advice("Poisoned") + ".")
FOOTERS = ("the two footers of {disk} differ: an operation of sm had begun and is undone; the footer at the start, which sm goes by, is "
           "taken")
LOCATOR = "the VHD in LV {disk} has a parent name or locator that is not understood: %s. " + VDI + "."
MISSING = ("the parent of LV {disk}, %s, is not on this LUN. The original cannot read this VDI either; remove it there and clone again. " +
           LEAVE + ".")
MISMATCH = "LV {disk} names %s as its parent, but carries the unique id of another VHD. " + VDI + "."
CHAIN = "the chain of LV {%s} %s. " + REMOVE % "{%s}" + "."
UNSOUND = ("the resigned LUN would not be a sound SR: %s. The LUN is unchanged. Let the original be scanned, clone it again; if it "
           "comes back, report this, with the file of fn=pack and the answer of fn=selftest.")
ABSENT = "12345678-1234-4123-8123-123456789abc"


def disk(lun):
    return lun.sr.named["disk"].volume.name


def mapper(sr, lv):
    return sr.vg_name.replace("-", "--") + "-" + lv.replace("-", "--")


@accepted(26, ["the footer at the end of {disk} is damaged, its copy at the start is good"], model=luns.plain)
def footer_at_the_end_is_zeros(lun):
    lun.footer(disk(lun), lambda raw: raw.__setitem__(slice(None), bytearray(SECTOR)), copy=False, sum_right=False)


@accepted(26, ["the footer at the end of {disk} is damaged, its copy at the start is good"], model=luns.plain)
def footer_at_the_end_has_a_wrong_sum(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 48, ">Q", 1 << 40), copy=False, sum_right=False)


@accepted(26, ["the footer at the start of {disk} is damaged, the one at its end is good; the first is mended"], model=luns.plain)
def footer_copy_is_zeros(lun):
    lun.footer(disk(lun), lambda raw: raw.__setitem__(slice(None), bytearray(SECTOR)), end=False, sum_right=False)


def _poison(title, **which):
    def spoil(lun):
        lun.footer(disk(lun), lambda raw: put(raw, 0, "8s", b"v_poison"), **which)
    spoil.__name__ = str(title)
    refused(26, "Poisoned", POISONED)(spoil)


_poison("footer_copy_is_poisoned", end=False)
_poison("footer_at_the_end_is_poisoned", copy=False)
_poison("both_footers_are_poisoned")


@refused(26, "BadVHD", VHD % "both its footers are damaged")
def both_footers_are_damaged(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 16, ">Q", 1024), sum_right=False)


@accepted(26, [FOOTERS], model=luns.plain)
def footers_of_different_sizes(lun):
    """vhd-util resize, cloned between its two footers: xapi was not told yet."""
    lun.footer(disk(lun), lambda raw: put(raw, 48, ">Q", 1 << 20), copy=False)


@accepted(26, [FOOTERS], model=luns.plain)
def footers_that_differ_in_hidden(lun):
    """vdi_delete, cloned between its two footers."""
    lun.footer(disk(lun), lambda raw: put(raw, 85, "B", 1), copy=False)


def _early_tapdisk(lun):
    """An early tapdisk set `hidden` without a new checksum."""
    lun.footer(lun.sr.named["base"].volume.name, lambda raw: put(raw, 28, ">4sI", b"tap\0", 0x00010001))
    for which in ({"copy": False}, {"end": False}):
        lun.footer(lun.sr.named["base"].volume.name, lambda raw: put(raw, 85, "B", 0), **which)
        lun.footer(lun.sr.named["base"].volume.name, lambda raw: put(raw, 85, "B", 1), sum_right=False, **which)


@accepted(26, [BASES % 1, "the VDI {snap_uuid} is dropped: a snapshot"])
def hidden_footer_of_an_early_tapdisk(lun):
    _early_tapdisk(lun)


@refused(26, "BadVHD", "the VHD in LV {base} is not understood: both its footers are damaged. " + REMOVE % "{base}" + ".")
def hidden_footer_without_its_sum(lun):
    lun.footer(lun.sr.named["base"].volume.name, lambda raw: put(raw, 85, "B", 2), sum_right=False)


@refused(NEW, "FixedVHD", "the VHD in LV {disk} is a fixed one, as Hyper-V makes them, copied into the LV as it is; sm reads dynamic ones "
         "only. " + advice("FixedVHD") + ".")
def fixed_vhd(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 60, ">I", 2))


@refused(NEW, "BadVHD", VHD % "its header is at offset 18446744073709551615")
def header_elsewhere(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 16, ">Q", (1 << 64) - 1))


@refused(NEW, "BadVHD", VHD % "it is no differencing disk, but names a parent")
def dynamic_vhd_with_a_parent(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 60, ">I", 3))


@refused(27, "BadLocator", LOCATOR % "the name is empty", model=luns.plain)
def differencing_vhd_without_a_parent(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 60, ">I", 4))


def _header(title, what, offset, form, value):
    def spoil(lun):
        lun.header(disk(lun), lambda raw: put(raw, offset, form, value))
    spoil.__name__ = str("header_" + title)
    refused(NEW, "BadVHD", VHD % what)(spoil)


_header("cookie", "its header is damaged", 0, "8s", b"cxparsed")
_header("version", "its header has version 0x00020000", 24, ">I", 0x00020000)
_header("data_offset", "its header has version 0x00010000", 8, ">Q", 0)
_header("block_size_0", "blocks of 0 bytes", 32, ">I", 0)
_header("block_size_256", "blocks of 256 bytes", 32, ">I", 256)
_header("block_size_4_mebibytes", "blocks of 4194304 bytes", 32, ">I", 1 << 22)
_header("block_size_odd", "blocks of 2097153 bytes", 32, ">I", 2097153)
_header("block_size_2_gigabytes", "blocks of 2147483648 bytes", 32, ">I", 1 << 31)
_header("bat_of_4_gi_entries", "a BAT of 4294967295 entries at offset 1536", 28, ">I", 0xffffffff)
_header("bat_of_more_than_2_tib", "a BAT of 1048577 entries at offset 1536", 28, ">I", (1 << 20) + 1)
_header("bat_beyond_the_lv", "a BAT of 1000000 entries at offset 1536", 28, ">I", 1000000)
_header("bat_in_the_header", "a BAT of 1 entries at offset 512", 16, ">Q", 512)
_header("bat_unaligned", "a BAT of 1 entries at offset 1537", 16, ">Q", 1537)
_header("bat_at_the_end_of_all_address_space", "a BAT of 1 entries at offset 18446744073709551104", 16, ">Q", (1 << 64) - 512)
_header("bat_of_no_entries", "its size is more than its BAT can hold", 28, ">I", 0)


@refused(NEW, "BadVHD", VHD % "its header is damaged")
def header_checksum(lun):
    lun.header(disk(lun), lambda raw: put(raw, 300, "B", 1), sum_right=False)


@refused(NEW, "BadVHD", VHD % "its size is more than its BAT can hold")
def virtual_size_of_63_bits(lun):
    lun.footer(disk(lun), lambda raw: put(raw, 48, ">Q", 1 << 63))


@refused(25, "BadVHD", VHD % "both its footers are damaged")
def volume_that_was_zeroed(lun):
    """It has a record, so it is no new one."""
    lun.write(disk(lun), 0, b"\0" * lun.size(disk(lun)))


def _just_created():
    sr = luns.plain()
    luns.disk(sr, "other", recorded=False)
    return sr


@accepted(25, ["sm had begun to make VDI {other_uuid}; its LV {other} has no image yet and is dropped",
               "the LV {other} is dropped: an LV for a new VDI, without an image yet"], model=_just_created)
def volume_that_was_just_created(lun):
    """vdi_create, cloned between lvcreate and vhd-util create."""
    name = lun.sr.named["other"].volume.name
    lun.write(name, 0, b"\0" * 4096)


@accepted(25, ["the LV {other} has no record in the metadata volume"], model=_just_created)
def volume_without_a_record_yet(lun):
    """It cannot be told from a disk that lost its record."""


def _half_deleted():
    sr = luns.plain()
    luns.disk(sr, "other", hidden=True, managed=False)
    sr.named["other"].recorded = False
    return sr


@accepted(25, ["the LV {other} has no record in the metadata volume",
               "the VDI {other_uuid} is dropped: a hidden node that nothing refers to"], model=_half_deleted)
def volume_that_was_just_deleted(lun):
    """vdi_delete, cloned before the garbage collector came: the record is gone and the VHD hidden."""


@refused(27, "ParentMissing", MISSING % ("VHD-" + ABSENT))
def parent_that_is_not_here(lun):
    lun.names(disk(lun), mapper(lun.sr, lun.sr.named["base"].volume.name), mapper(lun.sr, "VHD-" + ABSENT))


@refused(27, "ParentMissing", MISSING % "{base}")
def parent_of_the_other_kind(lun):
    """The VG has LV-<uuid>, the child wants VHD-<uuid>."""
    lun.text(lun.sr.named["base"].volume.name, "LV-" + lun.sr.named["base"].uuid)


@refused(27, "ParentMismatch", MISMATCH % "{base}")
def parent_with_another_unique_id(lun):
    lun.header(disk(lun), lambda raw: put(raw, 40, "16s", b"x" * 16))


@refused(27, "ParentMismatch", MISMATCH % "{base}", model=luns.raw_parent)
def raw_parent_with_a_unique_id(lun):
    lun.header(disk(lun), lambda raw: put(raw, 40, "16s", b"x" * 16))


@refused(28, "BadLocator", LOCATOR % ("it names SR " + ABSENT))
def parent_in_another_sr(lun):
    lun.names(disk(lun), lun.sr.vg_name.replace("-", "--"), "VG_XenStorage--" + ABSENT.replace("-", "--"))


def _locator(title, what, number=28, **fields):
    def spoil(lun):
        words = dict(fields)
        if "text" in words:
            name = mapper(lun.sr, lun.sr.named["base"].volume.name)
            words["text"] = words["text"](name)
        lun.locator(disk(lun), 0, **words)
    spoil.__name__ = str("locator_" + title)
    refused(number, "BadLocator", LOCATOR % what)(spoil)


_locator("absolute", "file:///dev/mapper/{base_mapper}", text=lambda name: ("file:///dev/mapper/" + name).encode("ascii"))
_locator("absolute_without_scheme", "/dev/mapper/{base_mapper}", text=lambda name: ("/dev/mapper/" + name).encode("ascii"))
_locator("with_dots", "file://./../{base_mapper}", text=lambda name: ("file://./../" + name).encode("ascii"))
_locator("of_etc_shadow", "file:///etc/shadow", text=lambda name: b"file:///etc/shadow")
_locator("of_another_vg", "file://./VG_other-VHD", text=lambda name: b"file://./VG_other-VHD")
_locator("with_a_nul", "file://./{base_mapper}\\x00/x", text=lambda name: ("file://./" + name + "\0/x").encode("ascii"))
_locator("with_a_newline", "file://./{base_mapper}\\x0a", text=lambda name: ("file://./" + name + "\n").encode("ascii"))
_locator("twice_relative", "file://././{base_mapper}", text=lambda name: ("file://././" + name).encode("ascii"))
_locator("with_single_dashes", "file://./VG_XenStorage-{sr}-{base}",
         text=lambda name: ("file://./" + name.replace("--", "-")).encode("ascii"))
_locator("of_another_vdi", "it names VHD-%s, others name {base}" % ABSENT, text=lambda name: (
    "file://./" + name[:name.rindex("VHD")] + "VHD--" + ABSENT.replace("-", "--")).encode("ascii"))
_locator("empty", "0 bytes in a space of 512", length=0)
_locator("longer_than_its_space", "513 bytes in a space of 512", length=513)
_locator("of_4_gigabytes", "4294967295 bytes in a space of 4294967295", length=0xffffffff, space=0xffffffff)
_locator("in_the_header", "its text is at offset 1024", offset=1024)
_locator("beyond_the_end", "its text is at offset 9223372036854775808", offset=1 << 63)
_locator("unaligned", "its text is at offset 4097", offset=4097)
_locator("in_the_bat", "its text lies in the BAT", offset=1536, text=lambda name: ("file://./" + name).encode("ascii"))
_locator("in_the_batmap", "its text lies in the batmap", offset=2560, text=lambda name: ("file://./" + name).encode("ascii"))
_locator("of_an_unknown_code", "code Wi2k", code=b"Wi2k")
_locator("of_a_binary_code", "code \\xff\\xfe\\x00\\x1b", code=b"\xff\xfe\0\x1b")
_locator("in_utf_16_of_the_wrong_order", "a name that is not UTF-16 of plain ASCII", code=b"W2ku",
         text=lambda name: (".\\" + name).encode("utf-16-be"))
_locator("in_utf_16_with_a_byte_order_mark", "a name that is not UTF-16 of plain ASCII", code=b"W2ku",
         text=lambda name: b"\xff\xfe" + (".\\" + name).encode("utf-16-le"))
_locator("in_utf_16_of_odd_length", "a name that is not UTF-16 of plain ASCII", code=b"W2ku",
         text=lambda name: (".\\" + name).encode("utf-16-le") + b"x")
_locator("with_a_look_alike", "a name that is not UTF-16 of plain ASCII", code=b"W2ku",
         text=lambda name: (".\\" + name.replace("V", "\u2164")).encode("utf-16-le"))


@refused(28, "BadLocator", LOCATOR % "two texts overlap")
def overlapping_locators(lun):
    lun.locator(disk(lun), 2, offset=lun.read_locator(disk(lun), 1)[4])


@refused(28, "BadLocator", LOCATOR % "its text lies in a data block")
def locator_in_a_data_block(lun):
    place = lun.read_locator(disk(lun), 0)[4]
    entry = bytearray(4)
    put(entry, 0, ">I", place // SECTOR)
    lun.write(disk(lun), 1536, bytes(entry))


@refused(28, "BadLocator", LOCATOR % "there is no locator")
def no_locator_at_all(lun):
    lun.header(disk(lun), lambda raw: raw.__setitem__(slice(576, 576 + 24 * 8), bytearray(24 * 8)))


@refused(28, "BadLocator", LOCATOR % "a name that is not UTF-16 of plain ASCII")
def parent_name_of_odd_characters(lun):
    lun.header(disk(lun), lambda raw: put(raw, 64, "2s", b"\x21\x64"))


@refused(28, "Unsound", UNSOUND % "the header of VHD-{new} still has {sr}")
def old_uuid_behind_the_end_of_the_parent_name(lun):
    lun.header(disk(lun), lambda raw: put(raw, 64 + 400, "76s", ("x" + lun.sr.uuid + "y").encode("utf-16-be")))


@accepted(28, [BASES % 1, "the VDI {snap_uuid} is dropped: a snapshot"])
def junk_behind_the_end_of_the_parent_name(lun):
    lun.header(disk(lun), lambda raw: put(raw, 64 + 400, "6s", b"\0x\xff\xfe\0\0"))


@refused(28, "BadLocator", LOCATOR % "{base_mapper}/../x")
def parent_name_with_a_path(lun):
    name = mapper(lun.sr, lun.sr.named["base"].volume.name) + "/../x"
    lun.header(disk(lun), lambda raw: put(raw, 64, "%ds" % (2 * len(name)), name.encode("utf-16-be")))


def _self_parent(lun):
    vdi = lun.sr.named["disk"]
    lun.names(disk(lun), mapper(lun.sr, lun.sr.named["base"].volume.name), mapper(lun.sr, vdi.volume.name))
    own = lun.read(disk(lun), 68, 16)
    lun.header(disk(lun), lambda raw: put(raw, 40, "16s", own))


@refused(29, "BadChain", CHAIN % ("disk", "comes back to itself", "disk"))
def its_own_parent(lun):
    _self_parent(lun)


def _cycle_of_hidden_nodes():
    sr = luns.empty()
    luns.disk(sr, "disk")
    luns.disk(sr, "one", hidden=True)
    luns.disk(sr, "two", hidden=True)
    luns.disk(sr, "three", hidden=True)
    sr.named["one"].parent, sr.named["two"].parent, sr.named["three"].parent = sr.named["two"], sr.named["three"], sr.named["one"]
    return sr


@refused(29, "BadChain", CHAIN % ("one", "comes back to itself", "one"), model=_cycle_of_hidden_nodes)
def cycle_of_hidden_nodes(lun):
    pass


@refused(29, "BadChain", CHAIN % ("disk", "is longer than 30", "disk"), model=lambda: luns.chain(31))
def chain_of_31(lun):
    pass


@accepted(29, [BASES % 29], model=lambda: luns.chain(30))
def chain_of_30(lun):
    pass


@accepted(30, [BASES % 1, "the VDI {snap_uuid} is dropped: a snapshot"], model=luns.raw_parent)
def raw_parent(lun):
    pass


def _visible_parent():
    sr = luns.cloned()
    sr.named["base"].hidden = sr.named["base"].volume.read_only = False
    return sr


@accepted(NEW, ["the LV {base} is not hidden, and %s depends on it: writing to the first would damage the second" % name
                for name in ("{disk}", "{twin}")], model=_visible_parent)
def visible_parent(lun):
    pass


def _encrypted(lun):
    """blktap keeps a hash of the key behind the batmap's header fields: struct dd_batmap_hdr, vhd_keyhash."""
    lun.write(disk(lun), 2048 + 64, b"\1" + b"K" * 31 + b"H" * 32)


def _key_stays(lun, before):
    name = [name for name in lun.volumes if name.startswith("VHD-")][0]
    assert before.read(name, 2048, SECTOR) == lun.read(name, 2048, SECTOR)
    assert b"K" * 31 in lun.read(name, 2048, SECTOR)


@accepted(34, [], model=luns.plain, after=_key_stays)
def encrypted(lun):
    _encrypted(lun)


def _hidden_leaf():
    sr = luns.plain()
    luns.disk(sr, "garbage", hidden=True, managed=False)
    return sr


@accepted(NEW, ["the VDI {garbage_uuid} is dropped: a hidden node that nothing refers to"], model=_hidden_leaf)
def hidden_leaf(lun):
    pass


def _ro_leaf():
    sr = luns.empty()
    luns.disk(sr, "disk", volume_read_only=True, tags=["nightly"])
    sr.named["twin"] = shapes.clone(sr, sr.named["disk"], "twin")
    sr.named["base"] = sr.named["disk"].parent
    return sr


def _permissions_stay(lun, before):
    def status(editor):
        text = editor.read_text().decode("ascii")
        return [line for line in text.split("\n") if line.startswith(("status", "tags", "start_extent", "extent_count", '"pv0"'))]
    assert status(lun) == status(before)


@accepted(35, [BASES % 1], model=_ro_leaf, after=_permissions_stay)
def permissions_tags_and_places(lun):
    pass
