# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's srmetadata: the MGT volume (sm-api, section 5)."""

import os
import sys
import xml.sax.saxutils

import generation
import lvutil
import metadata
import util
import xs_errors

SECTOR_SIZE = METADATA_BLK_SIZE = 512
XML_HEADER = '<?xml version="1.0" ?>'
HDR_STRING = "XSSM"
MD_MAJOR = 1
MD_MINOR = 2
SR_INFO_SIZE_IN_SECTORS = 4
MAX_VDI_NAME_LABEL_DESC_LENGTH = SECTOR_SIZE - 2 * len("name_label") - 2 * len("name_description") - 3 - 12
ALLOCATION_TAG = "allocation"
NAME_LABEL_TAG = "name_label"
NAME_DESCRIPTION_TAG = "name_description"
VDI_TAG = "vdi"
VDI_DELETED_TAG = "deleted"
UUID_TAG = "uuid"
IS_A_SNAPSHOT_TAG = "is_a_snapshot"
SNAPSHOT_OF_TAG = "snapshot_of"
TYPE_TAG = "type"
VDI_TYPE_TAG = "vdi_type"
READ_ONLY_TAG = "read_only"
MANAGED_TAG = "managed"
SNAPSHOT_TIME_TAG = "snapshot_time"
METADATA_OF_POOL_TAG = "metadata_of_pool"
SVID_TAG = "svid"
LUN_LABEL_TAG = "ll"
OFFSET_TAG = "offset"
METADATA_UPDATE_OBJECT_TYPE_TAG = "objtype"
METADATA_OBJECT_TYPE_SR = "sr"
METADATA_OBJECT_TYPE_VDI = "vdi"
NAMES = (NAME_LABEL_TAG, NAME_DESCRIPTION_TAG)


def to_bytes(text):
    """Text as it goes to disk."""
    return text if isinstance(text, bytes) else text.encode("utf-8")


def sector(text):
    """`text` padded with spaces to a sector, or to several."""
    data = to_bytes(text)
    return data + b" " * (-len(data) % SECTOR_SIZE)


def element(tag, value):
    """<tag>value</tag>"""
    return b"<" + to_bytes(tag) + b">" + to_bytes(value if util.is_string(value) else str(value)) + b"</" + to_bytes(tag) + b">"


def cut(text, limit):
    """As much of `text` as sm lets into `limit` bytes."""
    data = to_bytes(text)
    if len(data) <= limit:
        return text
    if sys.version_info[0] < 3:
        return text[:util.unictrunc(text, limit)]
    return data[:util.unictrunc(data, limit)].decode("utf-8")


def open_file(path, write=False):
    return os.open(path, os.O_RDWR if write else os.O_RDONLY)


def close(fd):
    os.close(fd)


def requiresUpgrade(path):
    """Whether the header's version is older than 1.2."""
    try:
        with open(path, "rb") as f:
            parts = f.read(SECTOR_SIZE).decode("ascii").strip().split(":")
        major, minor = int(parts[2]), int(parts[3])
    except (IndexError, ValueError):
        return True
    return (major, minor) < (MD_MAJOR, MD_MINOR)


class MetadataHandler(object):
    """One open MGT volume (or a file with its content)."""

    VDI_INFO_SIZE_IN_SECTORS = 2

    def __init__(self, path=None, write=True):
        self.path = path
        self.fd = None
        if path is not None:
            if generation.BUFFERED_MGT:
                # on a device wb+ truncates nothing; a file-mode double's copy of an LV would lose its content
                writing = "r+b" if os.path.realpath(path).endswith(".copy") else "wb+"
                self.fd = open(path, writing if write else "rb")
            else:
                self.fd = os.fdopen(open_file(path, write), "r+b" if write else "rb", 0)

    def __del__(self):
        if getattr(self, "fd", None) is not None:
            self.fd.close()

    # the device

    def _read(self, offset, length):
        self.fd.seek(offset)
        data = b""
        while len(data) < length:
            chunk = self.fd.read(length - len(data))
            if not chunk:
                break
            data += chunk
        return data

    def _write(self, offset, data):
        self.fd.seek(offset)
        self.fd.write(data)

    def _length(self):
        """The used length, from the header; raises on a header that is none."""
        header = self._read(0, SECTOR_SIZE).decode("ascii")
        parts = header.strip().split(":")
        if generation.STRICT_MGT_HEADER and (len(parts) != 4 or parts[0] != HDR_STRING):
            raise Exception("Bad header" if header.strip() else "Empty header")
        return int(parts[1])

    def _set_length(self, length):
        self._write(0, self._header(length))

    @staticmethod
    def _header(length):
        return sector("%s:%-10s:%d:%d" % (HDR_STRING, length, MD_MAJOR, MD_MINOR))

    # reading

    def getMetadata(self, params=()):
        """(sr_info, vdi_info); ({}, {}) for whatever goes wrong."""
        try:
            found = self.getMetadataInternal(params)
        except Exception:
            return {}, {}
        return found["sr_info"], found["vdi_info"]

    def getMetadataInternal(self, params=()):
        params = dict(params)
        length = self._length()
        text = self._read(SECTOR_SIZE, (SR_INFO_SIZE_IN_SECTORS - 1) * SECTOR_SIZE)
        body = text[len(XML_HEADER):]
        sr_info = metadata._parseXML(to_bytes(XML_HEADER + "<SRMetadata>") + body.replace(b"\0", b"") + b"</SRMetadata>")
        found = {"sr_info": sr_info, "vdi_info": {}}
        size = self.VDI_INFO_SIZE_IN_SECTORS * SECTOR_SIZE
        for offset in range(SR_INFO_SIZE_IN_SECTORS * SECTOR_SIZE, length, size):
            record = self._record(offset, size)
            if params.get("firstDeleted"):
                if record.get(VDI_DELETED_TAG) == "1":
                    found["offset"] = offset
                    break
                continue
            if record.get(VDI_DELETED_TAG) == "1" and not params.get("includeDeletedVdis"):
                continue
            key = record[UUID_TAG] if params.get("indexByUuid") else offset
            found["vdi_info"][key] = record
            if params.get("vdi_uuid") == record[UUID_TAG]:
                found["offset"] = offset
                break
        return found

    def _record(self, offset, size):
        data = self._read(offset, size).replace(b"\0", b"")
        record = metadata._parseXML(to_bytes(XML_HEADER + "<SRMetadata>") + data + b"</SRMetadata>")[VDI_TAG]
        record[OFFSET_TAG] = offset
        return record

    def findMetadataVDI(self):
        for record in self.getMetadata()[1].values():
            if record[TYPE_TAG] == "metadata" and record[IS_A_SNAPSHOT_TAG] == "0":
                return record[UUID_TAG]
        return None

    # writing

    def _guarded(self, action, *args):
        try:
            return action(*args)
        except Exception:
            problem = sys.exc_info()[1]
            util.SMlog("MGT: %s failed: %s" % (action.__name__, problem))
            raise xs_errors.XenError("MetadataError", opterr="%s" % problem)

    def writeMetadata(self, sr_info, vdi_info):
        self._guarded(self._write_all, sr_info, vdi_info)

    def _write_all(self, sr_info, vdi_info):
        data = self.sr_sectors(sr_info)
        for record in vdi_info.values():
            data += self.getVdiInfo(record)
        self._write(0, data)
        self._set_length(len(data))

    def updateMetadata(self, update_map):
        self._guarded(self._update, update_map)

    def _update(self, update_map):
        kind = update_map.pop(METADATA_UPDATE_OBJECT_TYPE_TAG)
        if kind == METADATA_OBJECT_TYPE_VDI:
            self._update_vdi(update_map)
            return
        if set(update_map) - set(NAMES):
            raise Exception("SR Update operation not supported for parameters: %s" % (set(update_map) - set(NAMES)))
        sr_info = self.getMetadataInternal()["sr_info"]
        sr_info.update(update_map)
        self._write(SECTOR_SIZE, self.sr_sectors(sr_info)[SECTOR_SIZE:])

    def _update_vdi(self, changes):
        found = self.getMetadataInternal({"vdi_uuid": changes[UUID_TAG]})
        record = found["vdi_info"][found["offset"]]
        record.update(changes)
        self._write(found["offset"], self.getVdiInfo(record))

    def deleteVdiFromMetadata(self, vdi_uuid):
        self._guarded(self._delete, vdi_uuid)

    def _delete(self, vdi_uuid):
        found = self.getMetadataInternal({"vdi_uuid": vdi_uuid})
        if "offset" not in found:
            return
        offset = found["offset"]
        record = found["vdi_info"][offset]
        record[VDI_DELETED_TAG] = "1"
        self._write(offset, self.getVdiInfo(record))
        if self._length() - offset == self.VDI_INFO_SIZE_IN_SECTORS * SECTOR_SIZE:
            self._set_length(offset)

    def addVdi(self, vdi_info):
        self._guarded(self._add, vdi_info)

    def _add(self, vdi_info):
        vdi_info[VDI_DELETED_TAG] = "0"
        length = self._length()
        offset = self.getMetadataInternal({"firstDeleted": 1}).get("offset", length)
        self._write(offset, self.getVdiInfo(vdi_info))
        if offset == length:
            self._set_length(length + self.VDI_INFO_SIZE_IN_SECTORS * SECTOR_SIZE)

    def ensureSpaceIsAvailableForVdis(self, count):
        dummy = {UUID_TAG: util.gen_uuid(), NAME_LABEL_TAG: "dummy", NAME_DESCRIPTION_TAG: "dummy", IS_A_SNAPSHOT_TAG: 0,
                 SNAPSHOT_OF_TAG: "", SNAPSHOT_TIME_TAG: "", TYPE_TAG: "user", VDI_TYPE_TAG: "vhd", READ_ONLY_TAG: 0, MANAGED_TAG: 0,
                 METADATA_OF_POOL_TAG: ""}
        self._guarded(self._add, dummy)
        self._guarded(self._delete, dummy[UUID_TAG])

    # encoding

    def sr_sectors(self, sr_info):
        """Header and the three sectors of the SR."""
        data = self._header(SECTOR_SIZE)
        data += sector(to_bytes(XML_HEADER) + element(UUID_TAG, sr_info[UUID_TAG]) + element(ALLOCATION_TAG, sr_info[ALLOCATION_TAG]))
        for tag in NAMES:
            room = SECTOR_SIZE - 2 * len(tag) - 5
            data += sector(element(tag, cut(xml.sax.saxutils.escape(sr_info[tag]), room)))
        return data

    def getVdiInfo(self, Dict, generateSector=0):
        """The two sectors of a record (or one of them). Leaves escaped names and 'deleted' in `Dict`, as sm does."""
        data = b""
        if generateSector in (0, 1):
            for tag in NAMES:
                Dict[tag] = xml.sax.saxutils.escape(util.to_plain_string(Dict[tag] or ""))
            if sum(len(to_bytes(Dict[tag])) for tag in NAMES) > MAX_VDI_NAME_LABEL_DESC_LENGTH:
                for tag in NAMES:
                    Dict[tag] = cut(Dict[tag], MAX_VDI_NAME_LABEL_DESC_LENGTH // 2)
            data += sector(b"<" + to_bytes(VDI_TAG) + b">" + element(NAME_LABEL_TAG, Dict[NAME_LABEL_TAG])
                           + element(NAME_DESCRIPTION_TAG, Dict[NAME_DESCRIPTION_TAG]))
        if generateSector in (0, 2):
            Dict.setdefault(VDI_DELETED_TAG, "0")
            rest = b"".join(element(tag, Dict[tag]) for tag in Dict if tag not in NAMES)
            data += sector(rest + b"</" + to_bytes(VDI_TAG) + b">")
        return data


class LVMMetadataHandler(MetadataHandler):
    """MGT of an LVM SR: its LV is activated where its node is missing."""

    def __init__(self, path=None, write=True):
        lvutil.ensurePathExists(path)
        MetadataHandler.__init__(self, path, write)
