# SPDX-License-Identifier: LGPL-2.1-only
"""What is on a LUN: label, metadata area, VG, MGT, VDIs and their chains, all read and understood, or refused.

What a look costs is bounded, whatever the LUN says. It reads the first 4 KiB, the metadata area's header and text (4 MiB at most), the
used part of MGT (16 MiB), of each VHD 36 KiB of structures and the entries that a block table needs (4 MiB), and of each QCOW2 image its
header (64 KiB at most, 4 KiB as sm makes them). Time is linear in what is read; so is memory, with at most 80 bytes for each byte of
text and 8 for each of MGT. Block tables are not kept.
"""

import re

from relvm.engine import blockdev
from relvm.engine import foreign
from relvm import errors
from relvm import identity
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import qcow2
from relvm.formats import vhd
from relvm.octets import octets

TAG_HIDDEN = 'hidden'
TAG_JOURNAL = 'journaler'
TAG_RESIZE_JOURNAL = 'jvhd'
TAG_CBT = 'cbtlog'
CBT_SUFFIX = '.cbtlog'

MAX_CHAIN = 30
# By the LV's prefix: the module that reads the image, and its kind
_FORMATS = {'VHD': vhd, 'QCOW2': qcow2}
_KINDS = {'VHD': 'vhd', 'QCOW2': 'qcow2', 'LV': 'raw'}

_VDI = re.compile(r'(VHD|QCOW2|LV)-(' + identity.UUID.pattern + r')\Z')
# journaler.py, lvhdutil.py, cleanup.py (TMP_RENAME_PREFIX) and trim_util.py of sm
_JOURNAL = re.compile(r'(?:clone|leaf|inflate|relink|zero|coalesce)_|jvhd_|(?:VHD-|QCOW2-|LV-)?OLD_|.*_trim_lv\Z')
_CBT = re.compile(identity.UUID.pattern + re.escape(CBT_SUFFIX) + r'\Z')


class Vdi(object):
    """One VDI or inner node.

    uuid, lv (lvmgroup.LogicalVolume), disk (vhd.Disk, qcow2.Disk, None when raw), record (mgt.Record or None), hidden,
    parent (Vdi or None), children [Vdi]
    """

    def __init__(self, uuid, lv, disk, record):
        self.uuid = uuid
        self.lv = lv
        self.disk = disk
        self.record = record
        self.parent = None
        self.children = []
        if disk is None:
            self.hidden = TAG_HIDDEN in lv.tags
        else:
            self.hidden = disk.hidden

    def size(self, vg):
        """Virtual size in bytes."""
        if self.disk is None:
            return vg.lv_size(self.lv)
        return self.disk.virtual_size

    def kind(self):
        """raw, vhd or qcow2"""
        if self.disk is None:
            return 'raw'
        return self.disk.KIND

    def name_label(self):
        """As stored: UTF-8, escaped."""
        if self.record is None:
            return ''
        return self.record.name_label


class Placement(object):
    """Where the label says the metadata is. That alone decides what a run does (section 5 of the design).

    label, area (lvmlabel.Area with a live text), staged (True when it is not the standard place), head (the first 4 KiB)
    """

    def __init__(self, device):
        try:
            self._read(device)
        except errors.Refused:
            # what is not understood may have a name
            error = errors.current()
            foreign.check(device)
            raise error

    def _read(self, device):
        if device.size < 2 * lvmlabel.AREA_OFFSET:
            raise errors.NoLabel()
        self.head = device.read(0, lvmlabel.AREA_OFFSET)
        self.label = lvmlabel.find_label(self.head)
        offset, size = self.label.area
        self.staged = offset != lvmlabel.AREA_OFFSET
        self.area = lvmlabel.Area(device, offset, size)
        if self.area.empty:
            raise errors.NoVolumeGroup(pv=self.label.pv_uuid, though={True: ', though its label says so', False: ''}[self.label.used])
        for place in self.label.spare:
            lvmlabel.check_spare(device, place, self.area)
        if self.area.text.find('\0') != len(self.area.text) - 1:
            raise errors.BadText(what='it does not end in one NUL')


class Lun(object):
    """Everything on one LUN.

    device, label, area, vg, mgt (mgt.Metadata), mgt_lv, vdis {uuid: Vdi}, order [Vdi],
    cbt_logs [lvmgroup.LogicalVolume], others [lvmgroup.LogicalVolume] (an administrator's), lost [mgt.Record] (records without an LV),
    report [sentence]
    """

    def __init__(self, device, placement):
        """Reads all. Raises a subclass of errors.Refused for whatever is not understood."""
        self.device = device
        self.placement = placement
        self.label = placement.label
        self.area = placement.area
        self.report = list(placement.area.report)
        self.vg = lvmgroup.VolumeGroup(self.area.text)
        self._check_volume_group()
        self._sort_volumes()
        self._read_mgt()
        self._read_disks()
        self._link()

    def _check_volume_group(self):
        vg = self.vg
        if vg.pv_id.replace('-', '') != self.label.pv_uuid:
            raise errors.WrongPV(label=self.label.pv_uuid, text=vg.pv_id)
        status = vg.section.strings('status')
        for name in ('READ', 'WRITE'):
            if name not in status:
                raise errors.ForeignField(place='the VG', field='status', value='%s, but not %s' % (', '.join(status), name))
        for what, needed in (('PV label', self.label.device_size), ('VG', vg.dev_size)):
            if needed > self.device.size:
                raise errors.TooSmall(size=self.device.size, what=what, needed=needed)
        if self.area.offset + self.area.size > vg.pe_start:
            raise errors.BadArea(offset=self.area.offset, what='it overlaps the extents of the VG')
        if self.label.data_area != (vg.pe_start, 0):
            raise errors.BadLabel(what='its data area is at %d, that of the metadata text at %d' % (self.label.data_area[0], vg.pe_start))

    def _sort_volumes(self):
        self._vdi_lvs = []
        self.cbt_logs = []
        self.others = []
        journals = []
        for lv in self.vg.order:
            match = _VDI.match(lv.name)
            if TAG_JOURNAL in lv.tags or TAG_RESIZE_JOURNAL in lv.tags or _JOURNAL.match(lv.name):
                journals.append(lv.name)
            elif _CBT.match(lv.name):
                self.cbt_logs.append(lv)
            elif TAG_CBT in lv.tags:
                raise errors.UnknownVolume(lv=lv.name)
            elif match:
                self._vdi_lvs.append((match.group(1), match.group(2), lv))
            elif lv.name.split('-')[0] in _KINDS and '-' in lv.name:
                raise errors.UnknownVolume(lv=lv.name)
            elif lv.name != mgt.LV_NAME:
                self.others.append(lv)
                self.report.append('the LV %s is not of an SR; it is kept' % lv.name)
        if journals:
            raise errors.Journals(lvs=', '.join(journals))

    def reader(self, lv, ahead=None):
        """A function (offset, length) -> bytes of one LV. ahead: what blockdev.read_places() has read before."""
        if ahead is None:
            ahead = {}

        def read(offset, length):
            places = self.vg.runs(lv, offset, length)
            return octets('').join([ahead.get(place) or self.device.read(*place) for place in places])
        return read

    def _read_ends(self):
        """What blockdev.read_places() returns for the ends of every image: an LV often starts where another ends."""
        places = []
        for kind, _, lv in self._vdi_lvs:
            if kind in _FORMATS:
                for offset, length in _FORMATS[kind].ends(self.vg.lv_size(lv)):
                    places.extend(self.vg.runs(lv, offset, length))
        return blockdev.read_places(self.device, places)

    def _read_mgt(self):
        if mgt.LV_NAME not in self.vg.lvs:
            raise errors.NoMGT()
        self.mgt_lv = self.vg.lvs[mgt.LV_NAME]
        self.mgt = mgt.Metadata(self.reader(self.mgt_lv), self.vg.lv_size(self.mgt_lv))
        if self.mgt.sr_uuid != self.vg.sr_uuid and not self.placement.staged:
            raise errors.WrongSRUuid(mgt=self.mgt.sr_uuid, vg=self.vg.sr_uuid)

    def _read_disks(self):
        records = self.mgt.live()
        ahead = self._read_ends()
        self.vdis = {}
        self.order = []
        for kind, uuid, lv in self._vdi_lvs:
            if uuid in self.vdis:
                raise errors.DuplicateVDI(what='the LVs %s and %s' % (self.vdis[uuid].lv.name, lv.name), uuid=uuid)
            if uuid == self.vg.sr_uuid:
                raise errors.DuplicateVDI(what='the SR and the LV %s' % lv.name, uuid=uuid)
            disk = None
            if kind in _FORMATS:
                disk = _FORMATS[kind].Disk(lv.name, self.vg.lv_size(lv), self.reader(lv, ahead))
                self.report.extend(disk.report)
            record = records.pop(uuid, None)
            if record is None:
                self.report.append('the LV %s has no record in the metadata volume' % lv.name)
            elif record.fields['vdi_type'] != mgt.VDI_TYPES[_KINDS[kind]]:
                self.report.append('the record of %s says type %s; the record is set right' % (lv.name, record.fields['vdi_type']))
            vdi = Vdi(uuid, lv, disk, record)
            self.vdis[uuid] = vdi
            self.order.append(vdi)
        self.lost = [record for record in self.mgt.records if record.uuid in records and not record.deleted]
        for record in self.lost:
            self.report.append('the record of VDI %s has no LV; it is removed' % record.uuid)

    def _link(self):
        for vdi in self.order:
            if vdi.disk is None or vdi.disk.parent is None:
                continue
            name = '%s-%s' % vdi.disk.parent
            vdi.disk.check_names(self.vg.sr_uuid)
            parent = self.vdis.get(vdi.disk.parent[1])
            if parent is None or parent.lv.name != name:
                raise errors.ParentMissing(lv=vdi.lv.name, parent=name)
            if not vdi.disk.fits(parent.disk):
                raise errors.ParentMismatch(lv=vdi.lv.name, parent=name)
            vdi.parent = parent
            parent.children.append(vdi)
        for vdi in self.order:
            depth = 1
            node = vdi
            while node.parent is not None:
                node = node.parent
                depth += 1
                if node is vdi:
                    raise errors.BadChain(lv=vdi.lv.name, what='comes back to itself')
                if depth > MAX_CHAIN:
                    raise errors.BadChain(lv=vdi.lv.name, what='is longer than %d' % MAX_CHAIN)
