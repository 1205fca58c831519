# SPDX-License-Identifier: LGPL-2.1-only
"""The SR metadata volume: the LV `MGT`, text in sectors of 512 bytes that are padded with spaces.

Sources: sm's srmetadata.py and metadata.py, the same in every release.

    0       "XSSM:%-10s:1:2": magic, bytes in use (decimal), major and minor version
    512     <?xml version="1.0" ?><uuid>SR</uuid><allocation>thick or thin</allocation>
              sm of the XenServer 7.0 era adds <initial_allocation> and <allocation_quantum>, empty unless the SR was thin in its
              own way (`xlvhd`, which no other release reads), and every later release keeps them
    1024    <name_label>SR name</name_label>
    1536    <name_description>...</name_description>
    2048    VDI records of two sectors each, up to the end that the header says
              A  <vdi><name_label>...</name_label><name_description>...</name_description>
              B  one <tag>value</tag> for each other field, in any order, then </vdi>

Only names are escaped (& < >). A record whose `deleted` is 1 is free for the next VDI. sm's reader gives up on the whole
volume at the first record that it cannot parse, and then looks as if there were no VDIs, so one such record is refused here.

Before 6.0 the header was binary: "XSSM", length, major (2 bytes) and minor version, little-endian, and one XML document behind it.

Names are kept byte for byte, but for names of blanks alone: sm's reader takes them for a dict, and cannot list such an SR. No XML
parser sees this text: what does not have the shape above is refused.
"""

import re
import struct

from relvm import errors
from relvm import identity
from relvm.octets import for_user
from relvm.octets import is_utf8
from relvm.octets import octets
from relvm.octets import text

SECTOR = 512
LV_NAME = 'MGT'
VERSION = (1, 2)
SR_SECTORS = 4
RECORDS_AT = SR_SECTORS * SECTOR
RECORD_SIZE = 2 * SECTOR
XML_HEADER = '<?xml version="1.0" ?>'
# VDI types that are never copied: a second heartbeat, a second redo log, a foreign pool database, a stale map of changed blocks
DROPPED_TYPES = ('ha_statefile', 'redo_log', 'metadata', 'cbt_metadata')
# The other types that xapi knows (idl/datamodel.ml, vdi_type)
KEPT_TYPES = ('system', 'user', 'ephemeral', 'suspend', 'crashdump', 'rrd', 'pvs_cache')
# What the field vdi_type says of a disk: by the kind of its image (lvhdutil.py; vditype.py of XCP-ng 8.3)
VDI_TYPES = {'raw': 'aio', 'vhd': 'vhd', 'qcow2': 'qcow2'}
NO_POOL = ('', 'OpaqueRef:NULL')
# Records of 16,000 VDIs; sm's limit is a thousand. Reading costs memory
MAX_USED = 1 << 24

_HEADER = re.compile(r'XSSM:([0-9]{1,10}) *:([0-9]+):([0-9]+)[ \0]*\Z')
# Fields of the SR record; those of the XenServer 7.0 era are there in pairs
SR_FIELDS = ('uuid', 'allocation')
THIN_FIELDS = ('initial_allocation', 'allocation_quantum')
_BINARY_HEADER = '<4sIHH'
_SR = re.compile(re.escape(XML_HEADER) + r'((?:<[a-z_]+>[^<>]*</[a-z_]+>)*)[ \0]*\Z')
_LABEL = re.compile(r'<name_label>([^<>]*)</name_label>[ \0]*\Z')
_DESCRIPTION = re.compile(r'<name_description>([^<>]*)</name_description>[ \0]*\Z')
_RECORD_A = re.compile(r'<vdi><name_label>([^<>]*)</name_label><name_description>([^<>]*)</name_description>[ \0]*\Z')
_RECORD_B = re.compile(r'((?:<[a-z_]+>[^<>]*</[a-z_]+>)*)</vdi>[ \0]*\Z')
# Whose record it is, also when it has not the known form
_RECORD_UUID = re.compile('<uuid>(%s)</uuid>' % identity.UUID.pattern)
_FIELD = re.compile(r'<([a-z_]+)>([^<>]*)</([a-z_]+)>')
_FLAG = re.compile(r'[0-9]{1,9}\Z')
# Characters that need no closer look: nearly every record has no others
_PLAIN = re.compile(r"[\t\n\r -%'-~]*\Z")
_ENTITY = re.compile(r'&(?!(?:amp|lt|gt|quot|apos);)')
_CONTROL = re.compile(r'[\x00-\x08\x0b\x0c\x0e-\x1f]')
# U+FFFE and U+FFFF, which XML does not have; sm's parser ends at them
_NONCHARACTER = re.compile('\xef\xbf[\xbe\xbf]')
# One character that XML has, in UTF-8. Group 1: the first byte of what is none.
_CHARACTER = re.compile('[\t\n\r -\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]|'
                        '\xef(?!\xbf[\xbe\xbf])[\x80-\xbf]{2}|[\xe1-\xec\xee][\x80-\xbf]{2}|'
                        '\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}|'
                        '([\x00-\xff])[\x80-\xbf]*')
_REPLACEMENT = '\xef\xbf\xbd'
_NUMBER = re.compile(r'[0-9]*\Z')
_ANY = re.compile('')
# The fields of sector B and what they hold; sm's scan fails without the needed ones
_FIELDS = {
    'uuid': _ANY,
    'is_a_snapshot': _FLAG,
    'read_only': _FLAG,
    'managed': _FLAG,
    'deleted': _FLAG,
    'type': re.compile('(?:%s)\\Z' % '|'.join(DROPPED_TYPES + KEPT_TYPES)),
    'vdi_type': _ANY,
    'snapshot_of': _ANY,
    'snapshot_time': re.compile(r'[0-9TZ:.-]*\Z'),
    'metadata_of_pool': _ANY,
    'offset': _NUMBER,
}
# What takes the place of a record that is not understood, with the fields that sm writes; for a uuid and a vdi_type
_DELETED = ('<uuid>%s</uuid><is_a_snapshot>0</is_a_snapshot><snapshot_of></snapshot_of><type>user</type><vdi_type>%s</vdi_type>'
            '<read_only>0</read_only><managed>0</managed><snapshot_time></snapshot_time><metadata_of_pool></metadata_of_pool>'
            '<deleted>1</deleted></vdi>')
_NEEDED = ('is_a_snapshot', 'read_only', 'managed', 'type')


class Record(object):
    """One VDI record.

    offset       bytes from the start of the volume
    name_label, name_description   escaped, as stored
    fields       {tag: value} of sector B; order  the tags in order
    """

    def __init__(self, offset, raw):
        self.offset = offset
        self.raw = raw
        head = _RECORD_A.match(raw[:SECTOR])
        tail = _RECORD_B.match(raw[SECTOR:])
        if head is None or tail is None:
            self._bad('is not of the known form')
        self.name_label, self.name_description = head.groups()
        found = _FIELD.findall(tail.group(1))
        self.order = [name for name, _, _ in found]
        self.fields = dict([(name, value) for name, value, closing in found if name == closing])
        if len(self.fields) != len(found):
            wrong = [name for name, _, closing in found if name != closing or self.order.count(name) > 1]
            self._bad('has the field %s wrong or twice' % wrong[0])
        if not _PLAIN.match(self.name_label + self.name_description + tail.group(1)):
            self._check_values()
        self.uuid = self.fields.get('uuid', '')
        if self.fields.get('deleted') not in ('0', '1'):
            self._bad('has no field deleted, or another value than 0 or 1')
        self.deleted = self.fields['deleted'] == '1'
        if not self.deleted:
            if not identity.is_uuid(self.uuid):
                self._bad('has the uuid %s' % self.uuid)
            if self.fields.get('vdi_type') not in VDI_TYPES.values():
                self._bad('has the vdi_type %s' % self.fields.get('vdi_type'))
            if not _FLAG.match(self.fields.get('is_a_snapshot', '0')):
                self._bad('has is_a_snapshot %s' % self.fields['is_a_snapshot'])

    def _check_values(self):
        whose = self._whose()
        _checked_name(self.name_label, 'the name of %s' % whose, errors.BadVDIName)
        _checked_name(self.name_description, 'the description of %s' % whose, errors.BadVDIName)
        for name in self.order:
            wrong = _wrong(self.fields[name])
            if wrong:
                self._bad('has a field %s that %s' % (name, wrong))

    def _whose(self):
        """The VDI and the place of its record."""
        match = _RECORD_UUID.search(self.raw)
        if match:
            return 'VDI %s (record at offset %d)' % (match.group(1), self.offset)
        return 'the VDI record at offset %d' % self.offset

    def _bad(self, what):
        error = errors.BadMGT
        if _RECORD_UUID.search(self.raw):
            error = errors.BadRecord
        raise error(what='%s %s' % (self._whose(), what))

    def check(self, right):
        """Raises BadMGT unless a VDI's record has all that sm's scan asks of it, and nothing that is not known here.

        right: {(field, value): None} of what was found right before; nearly all records have the same values.
        """
        for name in self.order:
            value = self.fields[name]
            if (name, value) in right:
                continue
            if name not in _FIELDS:
                self._bad('has the unknown field %s' % name)
            if not _FIELDS[name].match(value):
                self._bad('has %s %s' % (name, value))
            right[name, value] = None
        for name in _NEEDED:
            if name not in self.fields:
                self._bad('has no %s' % name)

    def blank(self):
        """Which names are nothing but white space: 'name', 'description', both or none."""
        names = (('name', self.name_label), ('description', self.name_description))
        return [what for what, value in names if is_blank(value)]

    def is_snapshot(self):
        return int(self.fields.get('is_a_snapshot') or '0') != 0

    def dropped_type(self):
        """Why a VDI of this type is never kept, or ''."""
        kind = self.fields.get('type', '')
        if kind in DROPPED_TYPES:
            return 'its type is %s' % kind
        if self.fields.get('metadata_of_pool', '') not in NO_POOL:
            return 'it holds the metadata of a pool'
        return ''

    def rewritten(self, uuids, drop, vdi_type):
        """The record's 1024 bytes (native str) with new uuids, marked as deleted when `drop`; names of blanks are emptied.
        vdi_type: what the LV is.

        snapshot_of is emptied when it names no VDI of this SR (a reference of xapi means nothing in another SR), and so is
        metadata_of_pool.
        """
        fields = dict(self.fields)
        if 'uuid' in fields:
            fields['uuid'] = uuids.get(self.uuid, self.uuid)
        if 'snapshot_of' in fields:
            fields['snapshot_of'] = uuids.get(fields['snapshot_of'], '')
        if 'metadata_of_pool' in fields:
            fields['metadata_of_pool'] = ''
        if 'vdi_type' in fields:
            fields['vdi_type'] = vdi_type
        if drop:
            fields['deleted'] = '1'
        tail = ''.join(['<%s>%s</%s>' % (name, fields[name], name) for name in self.order]) + '</vdi>'
        if len(tail) > SECTOR:
            self._bad('has no room for its new fields')
        head = self.raw[:SECTOR]
        if self.blank():
            names = [{True: '', False: name}[is_blank(name)] for name in (self.name_label, self.name_description)]
            head = ('<vdi><name_label>%s</name_label><name_description>%s</name_description>' % tuple(names)).ljust(SECTOR)
        return head + tail.ljust(SECTOR)


class Spoilt(object):
    """A record that is not understood, of a VDI that is left behind: a deleted record takes its place. As Record, as far as that goes."""

    deleted = False
    name_label = name_description = ''

    def __init__(self, offset, raw, uuid):
        self.offset = offset
        self.raw = raw
        self.uuid = uuid
        self.fields = {'uuid': uuid, 'vdi_type': VDI_TYPES['vhd']}

    def check(self, right):
        """Nothing is wrong with what goes."""

    def blank(self):
        """As Record.blank()."""
        return []

    def is_snapshot(self):
        """As Record.is_snapshot()."""
        return False

    def dropped_type(self):
        """As Record.dropped_type()."""
        return ''

    def rewritten(self, uuids, drop, vdi_type):
        """The 1024 bytes of a deleted record, native str."""
        tail = _DELETED % (uuids[self.uuid], vdi_type)
        return '<vdi><name_label></name_label><name_description></name_description>'.ljust(SECTOR) + tail.ljust(SECTOR)


class Metadata(object):
    """The whole volume.

    used          bytes in use
    raw           those bytes, native str
    sr_uuid, allocation, name_label, name_description (escaped)
    records       [Record]
    """

    def __init__(self, read, size, head_only=False, leaving=()):
        """read: function (offset, length) -> bytes in the volume; size: of the volume; head_only: the SR's own sectors, and no records;
        leaving: uuids of VDIs that are left behind, whatever their records say. Raises BadMGT, BadName, OldMGT, NewMGT."""
        self.leaving = leaving
        if size < RECORDS_AT:
            raise errors.BadMGT(what='it has %d bytes' % size)
        head = text(read(0, SECTOR))
        match = _HEADER.match(head)
        if match is None:
            self._refuse_header(head)
        version = tuple([int(number) for number in match.group(2, 3)])
        if version < VERSION:
            raise errors.OldMGT(version='%d:%d' % version)
        if version > VERSION:
            raise errors.NewMGT(version='%d:%d' % version)
        if '%s:%s' % match.group(2, 3) != '%d:%d' % version:
            self._refuse_header(head)
        self.size = size
        self.used = int(match.group(1))
        if self.used < RECORDS_AT or self.used > size or (self.used - RECORDS_AT) % RECORD_SIZE:
            raise errors.BadMGT(what='its header says that %d of %d bytes are in use' % (self.used, size))
        if self.used > MAX_USED:
            raise errors.BadMGT(what='its header says that %d bytes are in use; %d are read at most' % (self.used, MAX_USED))
        end = {True: RECORDS_AT, False: self.used}[head_only]
        self.raw = raw = head + text(read(SECTOR, end - SECTOR))
        match = _SR.match(raw[SECTOR:2 * SECTOR])
        if match is None:
            raise errors.BadMGT(what='the SR record is not of the known form')
        fields = _FIELD.findall(match.group(1))
        names = sorted([name for name, _, _ in fields])
        if names not in (sorted(SR_FIELDS), sorted(SR_FIELDS + THIN_FIELDS)) or \
                [name for name, _, closing in fields if name != closing]:
            raise errors.BadMGT(what='the SR record has the fields %s' % ', '.join(names))
        values = dict([(name, value) for name, value, _ in fields])
        self.sr_uuid, self.allocation = values['uuid'], values['allocation']
        if not identity.is_uuid(self.sr_uuid):
            raise errors.BadMGT(what='the SR uuid is %s' % self.sr_uuid)
        for name in THIN_FIELDS:
            if not _NUMBER.match(values.get(name, '')):
                raise errors.BadMGT(what='the %s is %s' % (name, values[name]))
        if self.allocation == 'xlvhd':
            raise errors.ThinDaemon()
        if self.allocation not in ('thick', 'thin'):
            raise errors.BadMGT(what='the allocation is %s' % (self.allocation or 'empty'))
        label = _LABEL.match(raw[2 * SECTOR:3 * SECTOR])
        description = _DESCRIPTION.match(raw[3 * SECTOR:4 * SECTOR])
        if label is None or description is None:
            raise errors.BadMGT(what='the name of the SR is not of the known form')
        self.name_label = _checked_name(label.group(1), 'the name of the SR')
        self.name_description = _checked_name(description.group(1), 'the description of the SR')
        self.records = []
        for offset in range(RECORDS_AT, end, RECORD_SIZE):
            self.records.append(self._record(offset, raw[offset:offset + RECORD_SIZE]))

    def _refuse_header(self, head):
        magic, _, major, minor = struct.unpack(_BINARY_HEADER, octets(head[:struct.calcsize(_BINARY_HEADER)]))
        if magic == octets('XSSM') and head[4:5] != ':' and (major, minor) <= VERSION:
            raise errors.OldMGT(version='%d:%d in the binary form from before 6.0' % (major, minor))
        raise errors.BadMGT(what='its header is %s' % (head[:32].rstrip(' \0') or 'empty'))

    def _record(self, offset, raw):
        try:
            record = Record(offset, raw)
            if record.uuid in self.leaving and not record.deleted:
                record.check({})
            return record
        except errors.BadMGT:
            # sector B is the fields; a name cannot hold a tag
            named = dict.fromkeys(_RECORD_UUID.findall(raw[SECTOR:]))
            if len(named) != 1 or list(named)[0] not in self.leaving:
                raise
            return Spoilt(offset, raw, list(named)[0])

    def blank(self):
        """Which names of the SR are nothing but white space, as Record.blank()."""
        names = (('name', self.name_label), ('description', self.name_description))
        return [what for what, value in names if is_blank(value)]

    def live(self):
        """The records of VDIs that exist: {uuid: Record}. Raises DuplicateVDI."""
        found = {}
        right = {}
        for record in self.records:
            if record.deleted:
                continue
            record.check(right)
            if record.uuid in found and record.uuid not in self.leaving:
                raise errors.DuplicateVDI(what='two records of the metadata volume', uuid=record.uuid)
            if record.uuid == self.sr_uuid:
                raise errors.UuidOfSR(what='the VDI record at offset %d' % record.offset, uuid=record.uuid)
            found[record.uuid] = record
        return found

    def rewritten(self, uuids, dropped, types, name_label=None, name_description=None):
        """The used part with a new identity, native str of the same length.

        dropped: {uuid: anything} of records to mark as deleted. types: {uuid: vdi_type} as the LVs have it, which is what sm
        writes into a record that says otherwise (LVHDSR.syncMetadataAndStorage). Names: native str of UTF-8, unescaped; None
        keeps the old.
        """
        parts = [self.raw[:SECTOR],
                 self.raw[SECTOR:2 * SECTOR].replace(self.sr_uuid, uuids[self.sr_uuid]),
                 self.raw[2 * SECTOR:3 * SECTOR],
                 self.raw[3 * SECTOR:4 * SECTOR]]
        if name_label is None and is_blank(self.name_label):
            name_label = ''
        if name_description is None and is_blank(self.name_description):
            name_description = ''
        if name_label is not None:
            parts[2] = _name_sector('name_label', name_label)
        if name_description is not None:
            parts[3] = _name_sector('name_description', name_description)
        for record in self.records:
            parts.append(record.rewritten(uuids, record.deleted or record.uuid in dropped,
                                          types.get(record.uuid, record.fields.get('vdi_type'))))
        return ''.join(parts)

    def identity_fields(self):
        """[(where, text)] of everything but names: where an old uuid must not be left."""
        found = [('the SR record', self.raw[SECTOR:2 * SECTOR].rstrip(' \0'))]
        for record in self.records:
            found.append(('the VDI record at offset %d' % record.offset, record.raw[SECTOR:].rstrip(' \0')))
        return found


def is_blank(value):
    """True for a stored name that has characters, all of them white space: sm's reader answers a dict for it."""
    if '!' <= value[:1] <= '~':
        return False
    return bool(value) and not for_user(unescaped(value)).strip()


def _wrong(value):
    """What sm's XML parser does not like about a value, or ''."""
    if not is_utf8(value):
        return 'is not UTF-8'
    if _ENTITY.search(value):
        return 'has an entity that sm does not write'
    if _CONTROL.search(value):
        return 'has control characters'
    if _NONCHARACTER.search(value):
        return 'has a character that XML does not have'
    return ''


def _checked_name(value, what, error=errors.BadName):
    wrong = _wrong(value)
    if wrong:
        raise error(what=what, wrong=wrong)
    return value


def _name_sector(tag, value):
    """One sector <tag>value</tag>, escaped and cut at a character so that it fits; empty where nothing but white space would stand."""
    room = SECTOR - len('<%s></%s>' % (tag, tag))
    escaped = ''
    for match in _CHARACTER.finditer(value):
        piece = match.group()
        if match.group(1) is not None:
            piece = {True: ' ', False: _REPLACEMENT}[match.group(1) < ' ']
        piece = {'&': '&amp;', '<': '&lt;', '>': '&gt;'}.get(piece, piece)
        if len(escaped) + len(piece) > room:
            break
        escaped += piece
    if is_blank(escaped):
        escaped = ''
    return ('<%s>%s</%s>' % (tag, escaped, tag)).ljust(SECTOR)


def unescaped(value):
    """A stored name as a person reads it, native str of UTF-8."""
    for entity, char in (('&lt;', '<'), ('&gt;', '>'), ('&quot;', '"'), ('&apos;', "'"), ('&amp;', '&')):
        value = value.replace(entity, char)
    return value
