# SPDX-License-Identifier: LGPL-2.1-only
"""One VDI, or inner node, of an SR: what its LV is, and what it becomes."""

TAG_HIDDEN = 'hidden'
RAW = 'LV'
KINDS = {'VHD': 'vhd', 'QCOW2': 'qcow2', RAW: 'raw'}


class Vdi(object):
    """An LV <prefix>-<uuid>.

    uuid      of the VDI; prefix VHD, QCOW2 or LV
    lv        lvmgroup.LogicalVolume, as it is
    disk      vhd.Disk or qcow2.Disk, None when raw or not understood
    error     the errors.Refused that says why it cannot stay, or None; unmade  no image was ever finished in it
    record    mgt.Record or None
    left_behind  why it goes although nothing else says so (engine.leaving), or ''
    parent    Vdi or None; children [Vdi]

    What it becomes, which is what it is unless settle() found an operation of sm that was cut off:

    name      of the LV, in old uuids
    hidden, writable, tags (list)
    moved_to  Vdi that becomes its parent in place of the one that its names say, or None
    mend_end  the footer at its end has to be written
    """

    def __init__(self, prefix, uuid, lv, disk, error):
        self.prefix = prefix
        self.uuid = uuid
        self.lv = lv
        self.disk = disk
        self.error = error
        self.unmade = False
        self.left_behind = ''
        self.record = None
        self.parent = None
        self.children = []
        self.name = lv.name
        self.writable = lv.writable
        self.tags = list(lv.tags)
        self.moved_to = None
        self.mend_end = False
        self._stored = tuple(lv.name.split('-', 1))
        if len(self._stored[1]) != len(uuid):
            self._stored = None
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
        return KINDS[self.prefix]

    def name_label(self):
        """As stored: UTF-8, escaped."""
        if self.record is None:
            return ''
        return self.record.name_label

    def never_kept(self):
        """Why a resign drops it whatever depends on it, or ''."""
        if self.record is None:
            return ''
        if self.record.is_snapshot():
            return 'a snapshot'
        return self.record.dropped_type()

    def stored(self):
        """(prefix, uuid) as the names of its children have it; None for a leaf that is called OLD_."""
        return self._stored

    def sits_on(self, other):
        """True if its image names `other`, and no one else, as its parent."""
        if self.disk is None or self.disk.parents != [other.stored()]:
            return False
        return other.error is None and self.disk.fits(other.disk)

    def is_empty(self):
        """True if nothing was ever written to this layer. Raises errors.ReadFailed."""
        return self.disk is not None and self.disk.empty()

    def become(self, prefix, uuid):
        """Gives the LV another identity."""
        self.uuid = uuid
        self.name = '%s-%s' % (prefix, uuid)

    def set_hidden(self, hidden):
        self.hidden = hidden
        if self.prefix == RAW:
            self.tags = [tag for tag in self.tags if tag != TAG_HIDDEN]
            if hidden:
                self.tags.append(TAG_HIDDEN)

    def new_parent(self):
        """(kind, uuid, unique id) for vhd.Disk.rewritten(), or None when it keeps the parent that its names say."""
        if self.moved_to is None:
            return None
        return self.moved_to.prefix, self.moved_to.uuid, self.disk.id_of(self.moved_to.disk)

    def changes(self, uuids):
        """[(offset in the LV, old bytes, new bytes)] that make the image what it becomes, with other uuids."""
        if self.disk is None:
            return []
        return self.disk.rewritten(uuids, self.hidden, self.new_parent(), self.mend_end)
