# SPDX-License-Identifier: LGPL-2.1-only
"""The SR metadata volume, MGT, as sm's srmetadata.py writes it.

512-byte sectors of XML text, padded with spaces:

    0       'XSSM:' used bytes as '%-10d' ':' major ':' minor
    512     XML declaration, <uuid>, <allocation>
    1024    <name_label>     1536   <name_description>     (of the SR)
    2048    one record of two sectors per VDI: names; then the other tags and </vdi>

The used bytes count from 0 to the end of the last record.  Only names are escaped.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

from lvhd.model import SECTOR, Vdi

XML_DECLARATION = b'<?xml version="1.0" ?>'
RECORDS = 2048
RECORD = 1024
# srmetadata.MAX_VDI_NAME_LABEL_DESC_LENGTH; either name is cut to half of it when both together are longer.
NAMES_LIMIT = SECTOR - 2 * len("name_label") - 2 * len("name_description") - len("vdi") - 12


class DoesNotFit(ValueError):
    """The text is longer than its sector: sm would shift all that follows."""


def escape(text):
    """UTF-8 bytes of a name, escaped as xml.sax.saxutils.escape does."""
    return text.replace("&", "&amp;").replace(">", "&gt;").replace("<", "&lt;").encode("utf-8")


def cut(data, limit):
    """The longest prefix of UTF-8 bytes that is whole characters and at most `limit` long (sm util.unictrunc)."""
    return data[:limit].decode("utf-8", "ignore").encode("utf-8") if len(data) > limit else data


def stored_names(label, description):
    """The escaped bytes of a VDI's names as they end up in its record."""
    label, description = escape(label), escape(description)
    if len(label) + len(description) > NAMES_LIMIT:
        label, description = cut(label, NAMES_LIMIT // 2), cut(description, NAMES_LIMIT // 2)
    return label, description


def _sector(data):
    if len(data) > SECTOR:
        raise DoesNotFit("%d bytes: %r" % (len(data), data))
    return data.ljust(SECTOR, b" ")


def _sr_name(tag, text):
    room = SECTOR - 2 * len(tag) - 5
    return _sector(("<%s>" % tag).encode("ascii") + cut(escape(text), room) + ("</%s>" % tag).encode("ascii"))


def record(vdi, offset):
    """The 1024 bytes of a VDI's record; offset is the (stale) number for its offset tag."""
    label, description = stored_names(vdi.name_label, vdi.name_description)
    label = label if vdi.label_bytes is None else vdi.label_bytes
    description = description if vdi.description_bytes is None else vdi.description_bytes
    snapshot_of = vdi.snapshot_of.uuid if isinstance(vdi.snapshot_of, Vdi) else vdi.snapshot_of
    values = {
        "uuid": vdi.uuid, "is_a_snapshot": int(vdi.is_a_snapshot), "snapshot_of": snapshot_of, "type": vdi.type,
        "vdi_type": vdi.record_vdi_type, "read_only": int(vdi.read_only), "managed": int(vdi.managed),
        "metadata_of_pool": vdi.metadata_of_pool, "snapshot_time": vdi.snapshot_time, "deleted": int(vdi.deleted),
        "offset": offset,
    }
    names = b"<vdi><name_label>" + label + b"</name_label><name_description>" + description + b"</name_description>"
    rest = "".join("<%s>%s</%s>" % (tag, values[tag], tag) for tag in vdi.record_tags) + "</vdi>"
    return _sector(names) + _sector(rest.encode("utf-8"))


def used(sr):
    """The used part of the MGT volume of an SR, as bytes."""
    vdis = [vdi for vdi in sr.vdis if vdi.recorded]
    length = RECORDS + RECORD * len(vdis)
    parts = [
        _sector(("XSSM:%-10d:%d:%d" % ((length,) + tuple(sr.mgt_version))).encode("ascii")),
        _sector(XML_DECLARATION +
                ("<uuid>%s</uuid><allocation>%s</allocation>%s" % (sr.uuid, sr.allocation, sr.more_fields)).encode("ascii")),
        _sr_name("name_label", sr.name_label),
        _sr_name("name_description", sr.name_description),
    ]
    parts.extend(record(vdi, RECORDS + RECORD * index) for index, vdi in enumerate(vdis))
    return b"".join(parts)
