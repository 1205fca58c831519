# SPDX-License-Identifier: LGPL-2.1-only
"""The VG of an SR as the metadata text describes it: one PV, linear LVs; and the same text with another identity.

Sizes in a text are in sectors of 512 bytes, places and lengths of segments in extents. Sources: LVM2's
lib/format_text/import_vsn1.c, export.c and flags.c. The grammar of the text is the matter of lvmtext.
"""

import re

from relvm import errors
from relvm import identity
from relvm.formats import lvmtext
from relvm.formats.lvmlabel import SECTOR

# LVM counts in 32 bits, a resign adds 2, and the smaller number is the older text
MAX_SEQNO = (1 << 32) - 3
VG_PREFIX = 'VG_XenStorage-'
EXPORTED = 'EXPORTED'

_VG_NAME = re.compile(VG_PREFIX + identity.UUID.pattern + r'\Z')
_LV_NAME = re.compile(r'[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,126}\Z')
# As udev's links have them: sm replaces white space only
_SCSI_ID = '([!-,0-~-][!-.0-~]*)'

# What an SR's metadata may hold. Anything else is somebody else's, or of an LVM that came after us.
_ROOT_KEYS = frozenset(('contents', 'version', 'description', 'creation_host', 'creation_host_system_id', 'creation_time'))
_VG_KEYS = frozenset(('id', 'seqno', 'format', 'status', 'flags', 'tags', 'extent_size', 'max_lv', 'max_pv', 'metadata_copies',
                      'allocation_policy', 'physical_volumes', 'logical_volumes'))
_PV_KEYS = frozenset(('id', 'device', 'device_id', 'device_id_type', 'status', 'flags', 'tags', 'dev_size', 'pe_start', 'pe_count',
                      'ba_start', 'ba_size'))
_LV_KEYS = frozenset(('id', 'status', 'flags', 'tags', 'creation_time', 'creation_host', 'allocation_policy', 'read_ahead',
                      'segment_count'))
_SEGMENT_KEYS = frozenset(('start_extent', 'extent_count', 'type', 'stripe_count', 'stripe_size', 'stripes', 'tags'))
_VG_STATUS = ('RESIZEABLE', 'READ', 'WRITE', EXPORTED)
_PV_STATUS = ('ALLOCATABLE', EXPORTED)
# What an administrator's LVM command adds, and the command that takes it back; %s is the VG or LV
_SETTINGS = {
    'system_id': 'vgchange --systemid "" %s', 'WRITE_LOCKED': 'vgchange --systemid "" %s', 'CLUSTERED': 'vgchange -cn %s',
    'lock_type': 'vgchange --lock-type none %s', 'lock_args': 'vgchange --lock-type none %s', 'pr': 'vgchange --setpersist n %s',
    'PVMOVE': 'pvmove --abort', 'LOCKED': 'pvmove --abort'}
_VG_SETTINGS = {'NOAUTOACTIVATE': 'vgchange --setautoactivation y %s', 'profile': 'vgchange --detachprofile %s'}
_LV_SETTINGS = {
    'NOAUTOACTIVATE': 'lvchange --setautoactivation y %s', 'profile': 'lvchange --detachprofile %s', 'ACTIVATION_SKIP': 'lvchange -kn %s',
    'FIXED_MINOR': 'lvchange -Mn %s', 'major': 'lvchange -Mn %s', 'minor': 'lvchange -Mn %s'}
_PV_MISSING = 'MISSING'
_LV_STATUS = ('READ', 'WRITE', 'VISIBLE')
_LV_NEEDS = ('READ', 'VISIBLE')
_WRITABLE = 'WRITE'


class LogicalVolume(object):
    """name, id, tags (list), writable, segments [(first extent of the LV, count, first extent of the PV)], `section`."""

    def __init__(self, section, pv_name):
        self.section = section
        self.name = section.name
        place = 'the LV %s' % self.name
        if not _LV_NAME.match(self.name) or self.name in ('.', '..'):
            raise errors.BadText(what='the LV name %s' % self.name)
        self.id = _lvm_id(section, place)
        _check_keys(section, place, _LV_KEYS, 'segment')
        status = _check_status(section, place, _LV_STATUS, _LV_NEEDS)
        self.writable = _WRITABLE in status
        if ('creation_time' in section.entries) != ('creation_host' in section.entries):
            raise errors.BadText(what='%s has one of creation_time and creation_host' % place)
        self.tags = section.strings('tags')
        self.segments = []
        count = section.number('segment_count')
        subs = section.sections()
        if count != len(subs):
            raise errors.BadExtents(lv=self.name, what='%d segments, %d said' % (len(subs), count))
        if not subs:
            raise errors.BadExtents(lv=self.name, what='it has no segment')
        for number in range(count):
            self.segments.append(self._segment(section.section('segment%d' % (number + 1)), pv_name))
        self.segments.sort()
        self.extents = 0
        for start, count, _ in self.segments:
            if start != self.extents or count < 1:
                raise errors.BadExtents(lv=self.name, what='a gap or overlap at its extent %d' % start)
            self.extents += count

    def _segment(self, segment, pv_name):
        kind = segment.string('type')
        if kind not in ('striped', 'linear'):
            raise errors.UnknownSegment(lv=self.name, type=kind)
        _check_keys(segment, 'the LV %s' % self.name, _SEGMENT_KEYS)
        stripes = segment.value('stripes')
        if segment.number('stripe_count') != 1 or stripes is None or not isinstance(stripes.data, list) or \
                len(stripes.data) != 2:
            raise errors.UnknownSegment(lv=self.name, type='striped over several PVs')
        if stripes.data[0] != pv_name or isinstance(stripes.data[1], (str, float)) or stripes.data[1] < 0:
            raise errors.BadExtents(lv=self.name, what='a segment outside the PV')
        return segment.number('start_extent'), segment.number('extent_count'), stripes.data[1]


class VolumeGroup(object):
    """The VG of a metadata text, with everything checked that the engine relies on.

    name, sr_uuid, id, seqno, exported, extent_size (bytes), pe_start (bytes), pv_id (with dashes), pv_device (the hint),
    lvs {name: LogicalVolume}, order [LogicalVolume]
    """

    def __init__(self, string):
        self.text = string
        self.root = lvmtext.parse(string)
        sections = self.root.sections()
        if len(sections) != 1:
            raise errors.BadText(what='%d VGs in one text' % len(sections))
        self.section = section = sections[0]
        self.name = section.name
        if section.start:
            # LVM takes the name from the first bytes (vgname_from_mda)
            raise errors.BadText(what='it does not begin with the name of its VG')
        _check_keys(self.root, 'the text', _ROOT_KEYS.union((self.name,)))
        if self.root.number('version') != 1 or self.root.string('contents') != 'Text Format Volume Group':
            raise errors.BadText(what='contents or version')
        if not _VG_NAME.match(self.name):
            raise errors.NotAnSR(vg=self.name)
        self.sr_uuid = self.name[len(VG_PREFIX):]
        place = 'the VG'
        for name in ('system_id', 'lock_type', 'lock_args'):
            entry = section.value(name)
            if entry is not None and entry.data not in ('', 'none'):
                _foreign(place, name, entry.data)
        _check_keys(section, place, _VG_KEYS.union(('system_id', 'lock_type', 'lock_args')))
        self.id = _lvm_id(section, place)
        self.seqno = section.number('seqno')
        for name in ('max_lv', 'max_pv'):
            section.number(name)
        if self.seqno > MAX_SEQNO:
            raise errors.BadText(what='seqno %d' % self.seqno)
        entry = section.value('format')
        if entry is not None and entry.data != 'lvm2':
            raise errors.ForeignField(place=place, field='format', value=entry.data)
        self.exported = EXPORTED in _check_status(section, place, _VG_STATUS, ())
        self.extent_size = section.number('extent_size') * SECTOR
        if not SECTOR <= self.extent_size <= 1 << 40:
            raise errors.BadText(what='extent_size %d' % self.extent_size)
        self._read_pv()
        self.order = []
        self.lvs = {}
        if 'logical_volumes' in section.entries:
            for sub in _sections(section, 'logical_volumes'):
                lv = LogicalVolume(sub, self.pv.name)
                self.order.append(lv)
                self.lvs[lv.name] = lv
        self._check_extents()

    def _read_pv(self):
        pvs = _sections(self.section, 'physical_volumes')
        missing = [pv.string('id') for pv in pvs if _PV_MISSING in pv.strings('flags') + pv.strings('status')]
        if missing:
            raise errors.MissingPV(vg=self.name, pvs=', '.join(missing))
        if len(pvs) != 1:
            ids = [pv.string('id') for pv in pvs]
            raise errors.ManyPVs(vg=self.name, count=len(pvs), pvs=', '.join(ids))
        self.pv = pv = pvs[0]
        place = 'the PV'
        _check_keys(pv, place, _PV_KEYS)
        if EXPORTED in _check_status(pv, place, _PV_STATUS, ()):
            # vgexport says it of both; what a resign locks, of the VG alone
            self.exported = True
        if pv.value('status') is None:
            raise errors.BadText(what='the PV has no status')
        self.pv_id = _lvm_id(pv, place)
        self.pv_device = ''
        if pv.value('device') is not None:
            self.pv_device = pv.string('device')
        self.pe_start = pv.number('pe_start') * SECTOR
        self.pe_count = pv.number('pe_count')
        self.dev_size = self.pe_start + self.pe_count * self.extent_size
        if pv.value('dev_size') is not None:
            self.dev_size = max(self.dev_size, pv.number('dev_size') * SECTOR)

    def _check_extents(self):
        runs = []
        ids = {}
        for lv in self.order:
            if lv.id in ids:
                raise errors.BadText(what='the LVs %s and %s have the same id' % (ids[lv.id], lv.name))
            ids[lv.id] = lv.name
            for _, count, place in lv.segments:
                runs.append((place, count, lv.name))
        runs.sort()
        position = 0
        for place, count, name in runs:
            if place < position:
                raise errors.BadExtents(lv=name, what='PV extent %d belongs to two LVs' % place)
            position = place + count
            if position > self.pe_count:
                raise errors.BadExtents(lv=name, what='PV extent %d of %d' % (position - 1, self.pe_count))

    def lv_size(self, lv):
        """Bytes."""
        return lv.extents * self.extent_size

    def runs(self, lv, offset, length):
        """[(offset on the device, length)] of `length` bytes at `offset` of the LV, split at segment borders."""
        if offset < 0 or length < 0 or offset + length > self.lv_size(lv):
            raise errors.BadExtents(lv=lv.name, what='%d bytes at offset %d of %d' % (length, offset, self.lv_size(lv)))
        found = []
        for start, count, place in lv.segments:
            first = start * self.extent_size
            last = first + count * self.extent_size
            if offset < last and length:
                part = min(length, last - offset)
                found.append((self.pe_start + place * self.extent_size + offset - first, part))
                offset += part
                length -= part
        return found


def _sections(section, name):
    """The sub-sections of the section called `name`, which has nothing else."""
    inner = section.section(name)
    found = inner.sections()
    if len(found) != len(inner.order):
        raise errors.BadText(what='%s has more than sections' % name)
    return found


def _lvm_id(section, place):
    value = section.string('id')
    if len(value) != 38 or not identity.LVM_ID.match(value):
        raise errors.BadText(what='%s has the id %s' % (place, value))
    return value


def _check_keys(section, place, allowed, numbered=None):
    for name in section.order:
        if name in allowed:
            continue
        if numbered and name.startswith(numbered) and isinstance(section.entries[name], lvmtext.Section):
            continue
        value = 'a section'
        if isinstance(section.entries[name], lvmtext.Value):
            value = section.entries[name].data
        _foreign(place, name, value)


def _foreign(place, field, value, word=None):
    """Refuses a field: with the command that undoes it, where it is a known setting of LVM. word: the flag of a list of flags."""
    word = word or field
    commands = dict(_SETTINGS)
    what = 'VG'
    if place.startswith('the LV '):
        commands.update(_LV_SETTINGS)
        what = 'VG/%s' % place[7:]
    elif place == 'the VG':
        commands.update(_VG_SETTINGS)
    if word not in commands:
        raise errors.ForeignField(place=place, field=field, value=value)
    command = commands[word]
    if '%s' in command:
        if command.startswith('vg'):
            what = 'VG'
        command = command % what
    raise errors.LvmSetting(place=place, field=field, value=value, command=command)


def _check_status(section, place, allowed, needed):
    status = section.strings('status')
    for name in status:
        if name not in allowed:
            _foreign(place, 'status', name, name)
    for name in needed:
        if name not in status:
            raise errors.ForeignField(place=place, field='status', value='%s, but not %s' % (', '.join(status), name))
    flags = section.strings('flags')
    if flags:
        _foreign(place, 'flags', ', '.join(flags), flags[0])
    return status


def new_ids(vg):
    """{LVM id: new random one}, with dashes, of the VG, its PV and every LV."""
    return dict([(old, identity.new_lvm_id()) for old in [vg.id, vg.pv_id] + [lv.id for lv in vg.order]])


def rewrite(vg, ids, uuids, dropped, description, settled=()):
    """The metadata text with a new identity: (staged text, final text), native str with the final NUL.

    vg           VolumeGroup to start from
    ids          {old LVM id: new one}, what new_ids() returns
    uuids        {old uuid: new uuid} of the SR and every VDI. Both are replaced wherever they stand: names, tags, the PV's device
    dropped      {LV name: anything} of LVs to leave out
    description  what the text says of its origin; the old one names old LVs
    settled      {LV name: (name, writable, tags)} of LVs that become something else than they are, in old uuids

    The staged text is EXPORTED, so that no LVM activates or changes it; the final one is not and is one seqno ahead.
    """
    # they are replaced by others of the same length: every place in the text remains what it was
    base = identity.renamed(vg.text, uuids, ids)
    texts = []
    for seqno, exported in ((vg.seqno + 1, True), (vg.seqno + 2, False)):
        edits = lvmtext.Edits()
        for lv in vg.order:
            if lv.name in dropped:
                edits.remove(lv.section)
            elif lv.name in settled:
                _change(edits, lv, uuids, ids, *settled[lv.name])
        if vg.root.value('description') is not None:
            _set_string(edits, vg.root, 'description', description)
        _set_seqno_and_status(edits, vg, seqno, exported)
        texts.append(edits.apply(base))
    return tuple(texts)


def _change(edits, lv, uuids, ids, name, writable, tags):
    """Gives an LV a name, a permission and tags that need not be its own."""
    section = lv.section
    if name != lv.name:
        edits.replace(section.start, section.name_end, identity.substitute(name, uuids))
    status = section.value('status')
    new = ''
    if writable != lv.writable:
        flags = [flag for flag in section.strings('status') if flag != _WRITABLE]
        if writable:
            flags.insert(1, _WRITABLE)
        new = _list(flags)
    if tags != lv.tags:
        tags = _list([identity.renamed(tag, uuids, ids) for tag in tags])
        entry = section.value('tags')
        if entry is not None:
            edits.replace(entry.start, entry.end, tags)
        else:
            new = '%s\ntags = %s' % (new or _list(section.strings('status')), tags)
    if new:
        edits.replace(status.start, status.end, new)


def _list(strings):
    return '[%s]' % ', '.join([lvmtext.quote(string) for string in strings])


def unlocked(vg):
    """The final text that belongs to a staged one: one seqno ahead, not EXPORTED."""
    edits = lvmtext.Edits()
    _set_seqno_and_status(edits, vg, vg.seqno + 1, False)
    return edits.apply(vg.text)


def _set_string(edits, section, name, new):
    entry = section.value(name)
    edits.replace(entry.start, entry.end, lvmtext.quote(new))


def _set_seqno_and_status(edits, vg, seqno, exported):
    entry = vg.section.value('seqno')
    edits.replace(entry.start, entry.end, str(seqno))
    status = [name for name in vg.section.strings('status') if name != EXPORTED]
    if exported:
        status.append(EXPORTED)
    entry = vg.section.value('status')
    if entry is None:
        raise errors.BadText(what='the VG has no status')
    edits.replace(entry.start, entry.end, _list(status))


def copied_from(device_hint):
    """The SCSI id in the path under which the PV was last written, or '' when the path names none.

    XenServer writes /dev/disk/by-scsid/<id>/sda or .../mapper, /dev/mapper/<id>, /dev/disk/mpInuse/<id> and
    /dev/disk/by-id/scsi-<id>.
    """
    for pattern in (r'/dev/disk/by-scsid/%s(?:/[^/]+)?\Z', r'/dev/disk/mpInuse/%s\Z',
                    r'/dev/disk/by-id/(?:scsi|dm-uuid-mpath)-%s\Z', r'/dev/mapper/(?=[0-9a-fA-F]{16,}\Z)%s\Z'):
        match = re.match(pattern % _SCSI_ID, device_hint)
        if match:
            return match.group(1)
    return ''
