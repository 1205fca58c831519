# SPDX-License-Identifier: LGPL-2.1-only
"""A small SR in a file, made as sm makes one: a raw disk, and a VHD with a snapshot, so a base copy with two children.

LVM makes PV, VG and LVs. vhd-util makes the images in files, which have the names of device-mapper so that the parent's name in a child is
what it is in an SR; they are copied into their extents.
"""

import os
import struct

from relvm import identity
from relvm.engine import blockdev
from relvm.engine.lun import Placement
from relvm.formats import lvmgroup
from relvm.formats import mgt
from relvm.formats import vhd
from relvm.octets import octets

MIB = 1 << 20
SIZE = 80 * MIB
EXTENT = 4 * MIB
DISK = 4
HEAD = '<vdi><name_label>selftest</name_label><name_description></name_description>'
FIELDS = ('<uuid>%s</uuid><is_a_snapshot>%d</is_a_snapshot><snapshot_of>%s</snapshot_of><snapshot_time></snapshot_time><type>user</type>'
          '<vdi_type>%s</vdi_type><read_only>0</read_only><managed>1</managed><metadata_of_pool></metadata_of_pool>'
          '<deleted>0</deleted></vdi>')


class SmallSR(object):
    """uuid; raw, base, leaf, snapshot (uuids of VDIs); kept: what a resign keeps."""

    def __init__(self, host, lvm, directory):
        self._host = host
        self._lvm = lvm
        self._directory = directory
        self.uuid, self.raw, self.base, self.leaf, self.snapshot = [identity.new_uuid() for _ in range(5)]
        self.kept = [self.raw, self.base, self.leaf]
        self.vg_name = lvmgroup.VG_PREFIX + self.uuid

    def make(self, path):
        """Writes the SR into the file `path` of SIZE bytes. Raises tools.CommandFailed or errors.Refused."""
        loop = self._host.attach(path)
        try:
            self._lvm.run(loop, ['pvcreate', '-ff', '-y', '--metadatasize', '10M', loop])
            self._lvm.run(loop, ['vgcreate', '-s', '4M', self.vg_name, loop])
            self._lvm.create(loop, self.vg_name, mgt.LV_NAME, 1)
            self._lvm.create(loop, self.vg_name, 'LV-' + self.raw, DISK * MIB // EXTENT)
            for uuid in (self.base, self.leaf, self.snapshot):
                self._lvm.create(loop, self.vg_name, 'VHD-' + uuid, 3)
        finally:
            self._host.detach(loop)
        self._make_images()
        device = blockdev.Device(path)
        try:
            self._device = device
            self._vg = Placement(device).group()
            self._write(mgt.LV_NAME, 0, self._metadata())
            self._write('LV-' + self.raw, 0, _pattern('raw', DISK * MIB))
            for uuid in (self.base, self.leaf, self.snapshot):
                self._copy_image(uuid)
            device.flush()
        finally:
            device.close()

    def _image(self, uuid):
        return os.path.join(self._directory, '%s-VHD--%s' % (self.vg_name.replace('-', '--'), uuid.replace('-', '--')))

    def _make_images(self):
        base = self._image(self.base)
        self._host.run(['vhd-util', 'create', '-n', base, '-s', str(DISK)])
        _add_block(base)
        for uuid in (self.leaf, self.snapshot):
            self._host.run(['vhd-util', 'snapshot', '-n', self._image(uuid), '-p', base])
        self._host.run(['vhd-util', 'set', '-n', base, '-f', 'hidden', '-v', '1'])
        for uuid in (self.base, self.leaf, self.snapshot):
            self._host.run(['vhd-util', 'check', '-n', self._image(uuid)])

    def _copy_image(self, uuid):
        """The file at the beginning of the LV, and its footer at the end of it."""
        stream = open(self._image(uuid), 'rb')
        try:
            data = stream.read()
        finally:
            stream.close()
        name = 'VHD-' + uuid
        self._write(name, 0, data[:-vhd.FOOTER_SIZE])
        self._write(name, self._vg.lv_size(self._vg.lvs[name]) - vhd.FOOTER_SIZE, data[-vhd.FOOTER_SIZE:])

    def _write(self, name, offset, data):
        data += octets('\0') * (-len(data) % blockdev.SECTOR)
        position = 0
        for start, length in self._vg.runs(self._vg.lvs[name], offset, len(data)):
            self._device.write(start, data[position:position + length])
            position += length

    def _metadata(self):
        """MGT as sm writes it."""
        sectors = ['%s<uuid>%s</uuid><allocation>thick</allocation>' % (mgt.XML_HEADER, self.uuid),
                   '<name_label>selftest</name_label>', '<name_description></name_description>']
        for uuid, is_a_snapshot, of, kind in ((self.raw, 0, '', 'aio'), (self.leaf, 0, '', 'vhd'), (self.snapshot, 1, self.leaf, 'vhd'),
                                              (self.base, 0, '', 'vhd')):
            sectors.extend([HEAD, FIELDS % (uuid, is_a_snapshot, of, kind)])
        header = 'XSSM:%-10d:1:2' % ((len(sectors) + 1) * mgt.SECTOR)
        return octets(''.join([sector.ljust(mgt.SECTOR) for sector in [header] + sectors]))


def _pattern(name, length):
    unit = octets('relvmoiscsi selftest, disk %s; ' % name)
    return (unit * (length // len(unit) + 1))[:length]


def _add_block(path):
    """One block of data at the end of a dynamic VHD, as tapdisk adds it: bitmap, data, and the footer behind them."""
    stream = open(path, 'r+b')
    try:
        data = stream.read()
        footer = data[-vhd.FOOTER_SIZE:]
        bat_at = struct.unpack('>Q', data[vhd.HEADER_AT + 16:vhd.HEADER_AT + 24])[0]
        at = len(data) - vhd.FOOTER_SIZE
        stream.seek(bat_at)
        stream.write(struct.pack('>I', at // vhd.SECTOR))
        stream.seek(at)
        stream.write(octets('\xff') * vhd.SECTOR + _pattern('VHD', vhd.MAX_BLOCK) + footer)
    finally:
        stream.close()
