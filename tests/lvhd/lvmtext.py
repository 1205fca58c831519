# SPDX-License-Identifier: LGPL-2.1-only
"""The metadata text of a volume group, as LVM writes it.

What the versions that XenServer and its successors ship put into it (LVM2 lib/format_text/export.c):

* 2.02.84 (XenServer 6.5): no `format`, no creation time of LVs, empty description;
* 2.02.130 (7.x and later, 8.x): `format`; creation host before creation time; empty description;
* 2.03.16: creation time before creation host, a further blank line before the end, the command as description.

On disk each of them writes one item a line without indentation.  The indented and commented form is that of archive files;
the parser is the same.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import time

SECTOR = 512
VERSION_LINES = {
    "2.02.84": "2.02.84(2) (2011-02-09)",
    "2.02.130": "2.02.130(2)-RHEL7 (2015-10-14)",
    "2.03.16": "2.03.16(2) (2022-05-18)",
}


class _Lines(object):
    """Collects lines; with comments and tabs when indented."""

    def __init__(self, indented):
        self._indented = indented
        self._depth = 0
        self._lines = []

    def put(self, text, comment=None):
        if self._indented:
            text = "\t" * min(self._depth, 5) + text
            if comment:
                text += "\t# " + comment
        self._lines.append(text)

    def blank(self):
        self._lines.append("")

    def open(self, name):
        self.put(name + " {")
        self._depth += 1

    def close(self):
        self._depth -= 1
        self.put("}")

    def text(self):
        return "".join(line + "\n" for line in self._lines)


def quoted(text):
    """A string of the text: backslashes and double quotes are escaped."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _strings(items):
    return "[" + ", ".join(quoted(item) for item in items) + "]"


def _size(sectors):
    size, units = sectors / 2.0, ["Kilobytes", "Megabytes", "Gigabytes", "Terabytes"]
    while size > 1024.0 and len(units) > 1:
        size /= 1024.0
        units.pop(0)
    return "%g %s" % (size, units[0])


def description(sr):
    if sr.description is not None:
        return sr.description
    if sr.lvm == "2.03.16":
        return "Write from /sbin/lvchange -ay /dev/%s/MGT." % sr.vg_name
    return ""


def render(sr, volumes, seqno):
    """The text of the VG of `sr` with these volumes (their ids and segments are set), as bytes ending in NUL."""
    out = _Lines(sr.indented)
    extent = sr.extent_size // SECTOR
    out.open(sr.vg_name)
    out.put('id = "%s"' % sr.vg_id)
    out.put("seqno = %d" % seqno)
    if sr.lvm != "2.02.84":
        out.put('format = "lvm2"', "informational")
    out.put("status = " + _strings(sr.status))
    out.put("flags = []")
    if sr.tags:
        out.put("tags = " + _strings(sr.tags))
    out.put("extent_size = %d" % extent, _size(extent))
    out.put("max_lv = 0")
    out.put("max_pv = 0")
    out.put("metadata_copies = 0")
    out.blank()
    _physical_volume(out, sr, extent)
    out.blank()
    if volumes:
        out.open("logical_volumes")
        for volume in volumes:
            _logical_volume(out, sr, volume, extent)
        out.close()
    if sr.lvm == "2.03.16":
        out.blank()
    out.close()
    _trailer(out, sr)
    return out.text().encode("utf-8") + b"\0"


def _physical_volume(out, sr, extent):
    out.open("physical_volumes")
    out.blank()
    out.open("pv0")
    out.put('id = "%s"' % sr.pv_id)
    out.put("device = " + quoted(sr.device), "Hint only")
    out.blank()
    out.put('status = ["ALLOCATABLE"]')
    out.put("flags = []")
    if sr.pv_tags:
        out.put("tags = " + _strings(sr.pv_tags))
    out.put("dev_size = %d" % (sr.pv_size // SECTOR), _size(sr.pv_size // SECTOR))
    out.put("pe_start = %d" % (sr.pe_start // SECTOR))
    count = (sr.pv_size - sr.pe_start) // sr.extent_size
    out.put("pe_count = %d" % count, _size(count * extent))
    out.close()
    out.close()


def _logical_volume(out, sr, volume, extent):
    out.blank()
    out.open(volume.name)
    out.put('id = "%s"' % volume.id)
    out.put("status = " + _strings(["READ", "VISIBLE"] if volume.read_only else ["READ", "WRITE", "VISIBLE"]))
    out.put("flags = []")
    if volume.tags:
        out.put("tags = " + _strings(volume.tags))
    if sr.lvm != "2.02.84":
        stamp = ["creation_time = %d" % volume.creation_time, "creation_host = " + quoted(volume.creation_host)]
        for line in stamp if sr.lvm == "2.03.16" else reversed(stamp):
            out.put(line)
    for line in volume.lines:
        out.put(line)
    out.put("segment_count = %d" % len(volume.segments))
    out.blank()
    start = 0
    for index, (first, count) in enumerate(volume.segments):
        out.open("segment%d" % (index + 1))
        out.put("start_extent = %d" % start)
        out.put("extent_count = %d" % count, _size(count * extent))
        out.blank()
        out.put('type = "striped"')
        out.put("stripe_count = 1", "linear")
        out.blank()
        out.put("stripes = [")
        out.put('"pv0", %d' % first)
        out.put("]")
        out.close()
        start += count
    out.close()


def _trailer(out, sr):
    when = time.asctime(time.gmtime(sr.time))
    out.put("# Generated by LVM2 version %s: %s" % (sr.lvm_version or VERSION_LINES[sr.lvm], when))
    out.blank()
    out.put('contents = "Text Format Volume Group"')
    out.put("version = 1")
    out.blank()
    out.put("description = " + quoted(description(sr)))
    out.blank()
    out.put("creation_host = %s\t# %s" % (quoted(sr.host), sr.kernel))
    out.put("creation_time = %d\t# %s" % (sr.time, when))
    out.blank()
