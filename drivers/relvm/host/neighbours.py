# SPDX-License-Identifier: LGPL-2.1-only
"""What the other disks of this host carry: which VG, and how far its metadata is.

LVM counts every change of a VG in the text's `seqno`. A clone begins with the number of its original, so a clone that is ahead of
its original has been written by LVM, which took it for the original.
"""

import os
import re

from relvm import errors
from relvm.engine import blockdev
from relvm.formats import lvmgroup
from relvm.formats import lvmlabel
from relvm.host import devices

_VG_NAME = re.compile(r'(?:^|\n)[ \t]*([A-Za-z0-9_.+-]+)[ \t]*\{')
_SEQNO = re.compile(r'\n[ \t]*seqno[ \t]*=[ \t]*([0-9]+)')
_DEVICE = re.compile(r'\n[ \t]*device[ \t]*=[ \t]*"([^"]*)"')


class Look(object):
    """What one LUN carries.

    scsi_id         of the LUN, as udev lists it
    vg_name         '' when it has none that can be read
    seqno           of the VG's text
    copied_from     the SCSI id under which LVM last wrote it, or ''
    """

    def __init__(self, scsi_id, disks):
        self.scsi_id = scsi_id
        self.vg_name = ''
        self.seqno = 0
        self.copied_from = ''
        for disk in disks:
            try:
                self._take(_text_on('%s/%s' % (devices.DEV, disk)))
                return
            except errors.ResignError:
                # a path that only stands by cannot be read
                continue

    def _take(self, text):
        name = _VG_NAME.search(text)
        seqno = _SEQNO.search(text)
        if name and seqno:
            self.vg_name = name.group(1)
            self.seqno = int(seqno.group(1))
            hint = _DEVICE.search(text)
            if hint:
                self.copied_from = lvmgroup.copied_from(hint.group(1))


def _text_on(path):
    """The live LVM text of a device. Raises errors.ResignError."""
    device = blockdev.Device(path, False)
    try:
        label = lvmlabel.find_label(device.read(0, lvmlabel.AREA_OFFSET))
        return lvmlabel.Area(device, label.area[0], label.area[1]).text or ''
    finally:
        device.close()


def luns():
    """{SCSI id: [kernel name of a disk, ...]} of every SCSI disk that udev lists under one; only disks that the kernel runs."""
    found = {}
    directory = '%s/disk/by-scsid' % devices.DEV
    if os.path.isdir(directory):
        for scsi_id in sorted(os.listdir(directory)):
            for disk in devices.scsi_disks(scsi_id):
                state = devices.read_line('%s/block/%s/device/state' % (devices.SYS, disk))
                if state in ('', 'running'):
                    found.setdefault(scsi_id, []).append(disk)
    return found


def looks(but):
    """A Look at every LUN of this host but the one with the SCSI id `but`."""
    found = []
    for scsi_id, disks in sorted(luns().items()):
        if scsi_id != but:
            found.append(Look(scsi_id, disks))
    return found


def refuse_ahead(scsi_id, vg_name, seqno, originals, seen=None):
    """The text of a clone is not newer than that of its original, where the original is visible as well.

    originals: SCSI ids of which something else says that they are the original. A LUN that says of itself that it was last written
    where it is, is one too; another clone is not. seen: what looks(None) has answered. Raises errors.AheadOfOriginal.
    """
    if seen is None:
        seen = looks(scsi_id)
    for look in seen:
        is_original = look.scsi_id in originals or look.copied_from == look.scsi_id
        if look.scsi_id != scsi_id and look.vg_name == vg_name and is_original and seqno > look.seqno:
            raise errors.AheadOfOriginal(scsi_id=scsi_id, seqno=seqno, original=look.scsi_id, behind=look.seqno)
