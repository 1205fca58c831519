# SPDX-License-Identifier: LGPL-2.1-only
"""What is on a LUN: label, metadata area, VG, MGT, VDIs and their chains, all read and understood, or refused; settled (engine.settle).

What a look costs is bounded, whatever the LUN says. It reads the first 4 KiB, the metadata area's header and text (4 MiB at most), the
used part of MGT (16 MiB), of each VHD 36 KiB of structures and the entries that a block table needs (4 MiB), and of each QCOW2 image its
header (64 KiB at most, 4 KiB as sm makes them). Time is linear in what is read; so is memory, with at most 80 bytes for each byte of
text and 8 for each of MGT. Block tables are not kept.
"""

import re

from relvm import errors
from relvm import identity
from relvm.engine import ahead
from relvm.engine import foreign
from relvm.engine import leaving
from relvm.engine import settle
from relvm.engine.vdi import KINDS
from relvm.engine.vdi import Vdi
from relvm.formats import journals
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.formats import mgt
from relvm.formats import qcow2
from relvm.formats import vhd
from relvm.octets import octets

TAG_CBT = 'cbtlog'
CBT_SUFFIX = '.cbtlog'

# By the LV's prefix: the module that reads the image, and its kind
_FORMATS = {'VHD': vhd, 'QCOW2': qcow2}
MAX_CHAIN = settle.MAX_CHAIN

_VDI = re.compile(r'(VHD|QCOW2|LV)-(' + identity.UUID.pattern + r')\Z')
_OLD = re.compile(r'(VHD|QCOW2)-' + journals.OLD_PREFIX + '(' + identity.UUID.pattern + r')\Z')
_CBT = re.compile(identity.UUID.pattern + re.escape(CBT_SUFFIX) + r'\Z')


class Placement(object):
    """Where the label says the metadata is. That alone decides what a run does (section 5 of the design).

    label, area (lvmlabel.Area with a live text), staged (True when it is not the standard place), head (the first 4 KiB)
    """

    _group = None

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

    def group(self):
        """The lvmgroup.VolumeGroup of the text, which is parsed once."""
        if self._group is None:
            self._group = lvmgroup.VolumeGroup(self.area.text)
        return self._group


class Lun(object):
    """Everything on one LUN.

    device, label, area, vg, mgt (mgt.Metadata), mgt_lv, vdis {uuid: Vdi}, order [Vdi],
    carried [(lvmgroup.LogicalVolume, Vdi)] (journals that sm still needs), left_out [(LV name, why)] (what sm no longer needs),
    decided [sentence] (what was settled), uuids {uuid: None} (all that an LV that sm made mentions),
    leaving (leaving.Leaving),
    cbt_logs [lvmgroup.LogicalVolume], others [lvmgroup.LogicalVolume] (an administrator's), lost [mgt.Record] (records without an LV),
    report [sentence]
    """

    def __init__(self, device, placement, drop=()):
        """Reads all. Raises a subclass of errors.Refused for whatever is not understood, unless it is about a VDI that is left behind.

        drop: uuids of VDIs to leave behind, as engine.leaving has it.
        """
        self.device = device
        self.placement = placement
        self.label = placement.label
        self.area = placement.area
        self.report = list(placement.area.report)
        self.vg = placement.group()
        self._check_volume_group()
        self.leaving = leaving.Leaving(drop, self.vg.sr_uuid, self.vg.lvs)
        self._sort_volumes()
        self._read_mgt()
        self._settle(self._read_disks())

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
        self.journals = []
        self._trims = []
        for lv in self.vg.order:
            match = _VDI.match(lv.name) or _OLD.match(lv.name)
            if journals.TAG in lv.tags or journals.TAG_RESIZE in lv.tags:
                self.journals.append((self._journal(lv), lv))
            elif lv.name == self.vg.sr_uuid + journals.TRIM_SUFFIX:
                self._trims.append(lv)
            elif _CBT.match(lv.name):
                self.cbt_logs.append(lv)
            elif TAG_CBT in lv.tags:
                raise errors.UnknownVolume(lv=lv.name)
            elif match:
                self._vdi_lvs.append((match.group(1), match.group(2), lv))
            elif lv.name.split('-')[0] in KINDS and '-' in lv.name:
                raise errors.UnknownVolume(lv=lv.name)
            elif lv.name != mgt.LV_NAME:
                self.others.append(lv)
                self.report.append('the LV %s is not of an SR; it is kept' % lv.name)

    def _journal(self, lv):
        block = octets('')
        if journals.in_block(lv.name):
            block = self.reader(lv)(0, journals.BLOCK_SIZE)
        journal = journals.parse(lv.name, lv.tags, block)
        if journal is None:
            raise errors.UnknownVolume(lv=lv.name)
        return journal

    def reader(self, lv, seen=None):
        """A function (offset, length) -> bytes of one LV. seen: what ahead.read() has read before."""
        if seen is None:
            seen = {}

        def read(offset, length):
            places = self.vg.runs(lv, offset, length)
            return octets('').join([seen.get(place) or self.device.read(*place) for place in places])
        return read

    def _read_mgt(self):
        if mgt.LV_NAME not in self.vg.lvs:
            raise errors.NoMGT()
        self.mgt_lv = self.vg.lvs[mgt.LV_NAME]
        self.mgt = mgt.Metadata(self.reader(self.mgt_lv), self.vg.lv_size(self.mgt_lv), leaving=self.leaving)
        if self.mgt.sr_uuid != self.vg.sr_uuid and not self.placement.staged:
            raise errors.WrongSRUuid(mgt=self.mgt.sr_uuid, vg=self.vg.sr_uuid)

    def _read_disks(self):
        """[Vdi] of every LV that is or was one."""
        seen, failed = self._read_ahead()
        nodes = []
        for prefix, uuid, lv in self._vdi_lvs:
            if uuid == self.vg.sr_uuid:
                raise errors.UuidOfSR(what='the LV %s' % lv.name, uuid=uuid)
            read = self.reader(lv, seen)
            disk = error = None
            if prefix in _FORMATS:
                try:
                    disk = _FORMATS[prefix].Disk(lv.name, self.vg.lv_size(lv), read)
                except errors.ReadFailed:
                    error = errors.UnreadableVDI(lv=lv.name, **errors.current().fields)
                    if uuid not in self.leaving:
                        raise error
                except errors.Refused:
                    error = errors.current()
            node = Vdi(prefix, uuid, lv, disk, error)
            if error is not None and uuid not in self.leaving:
                node.unmade = not isinstance(error, errors.FixedVHD) and _FORMATS[prefix].unmade(self.vg.lv_size(lv), read)
            nodes.append(node)
        if failed is not None:
            # it was not to be found again; a disk that fails once is not trusted
            raise failed
        return nodes

    def _read_ahead(self):
        """(what ahead.read() answers for all images but those that are left behind, which may be on bad sectors, None); or ({}, its
        errors.ReadFailed), for each to be read by itself: that tells which VDI it is about."""
        try:
            return ahead.read(self.device, self.vg, [(_FORMATS[kind], lv) for kind, uuid, lv in self._vdi_lvs
                                                     if kind in _FORMATS and uuid not in self.leaving]), None
        except errors.ReadFailed:
            return {}, errors.current()

    def _settle(self, nodes):
        records = self.mgt.live()
        settled = settle.settle(self.vg.sr_uuid, nodes, self.journals, self._trims, records, self.leaving)
        self.order, self.vdis, self.carried, self.left_out = settled.order, settled.vdis, settled.carried, settled.left_out
        self.decided, self.uuids = settled.decided, settled.uuids
        self.report.extend(settled.decided + settled.report)
        for vdi in self.order:
            if vdi.disk is not None:
                self.report.extend(vdi.disk.report)
            if vdi.left_behind:
                continue
            if vdi.record is None:
                self.report.append('the LV %s has no record in the metadata volume' % vdi.lv.name)
            elif vdi.record.fields['vdi_type'] != mgt.VDI_TYPES[KINDS[vdi.prefix]]:
                self.report.append('the record of %s says type %s; the record is set right' % (vdi.lv.name, vdi.record.fields['vdi_type']))
        self.lost = [record for record in self.mgt.records
                     if record.uuid in records and record.uuid not in self.vdis and not record.deleted]
        for record in self.lost:
            self.report.append('the record of VDI %s has no LV; it is removed' % record.uuid)
