# SPDX-License-Identifier: LGPL-2.1-only
"""What readers that know nothing of the engine find on a LUN.  An image is a path or a seekable binary file object."""
from __future__ import absolute_import, division, print_function, unicode_literals

import hashlib
import re

from lvhd import reader

SECTOR = 512
MIB = 1 << 20
VG_PREFIX = 'VG_XenStorage-'
OLD, LOCKED, NEW = 'old', 'locked', 'new'
LVM_ID = re.compile('[0-9A-Za-z]{6}(?:-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}')
LOST = 'records without a volume'
# Fields of a VDI record that a resign changes on purpose
REWRITTEN = ('uuid', 'snapshot_of', 'metadata_of_pool', 'offset', 'vdi_type')


class Wrong(Exception):
    """A LUN is not what it has to be; the text says how."""


def the_vg(image):
    """(SR uuid, exported) of the one VG that a host sees.  Raises Wrong when it sees none, several, or another kind."""
    seen = reader.observe(image)
    if len(seen) != 1 or seen[0].vg_name is None or not seen[0].vg_name.startswith(VG_PREFIX):
        raise Wrong('a host sees the VGs %s' % [each.vg_name for each in seen])
    return str(seen[0].vg_name[len(VG_PREFIX):]), seen[0].exported


class Sight(object):
    """One SR as the readers see it, read once.

    sr_uuid; inventory: what a resign has to keep, see `_inventory`; identities: every uuid of the SR and of all VDIs, records and
    volumes, and every LVM id; live: every uuid and LVM id in a live structure, whatever its encoding.
    Raises Wrong and reader.BadImage.
    """

    def __init__(self, image):
        with reader.Lun(image) as lun:
            self._layers = {}
            self._mgt = lun.mgt()
            self.sr_uuid = str(lun.vg_name[len(VG_PREFIX):])
            if self._mgt.uuid != self.sr_uuid:
                raise Wrong('MGT says SR %s, the VG is %s' % (self._mgt.uuid, lun.vg_name))
            self.inventory = self._inventory(lun)
            self.identities = self._identities(lun)
            self.live = self._live(lun)

    def _inventory(self, lun):
        """What is in the extents of each LV: {segments: entry}; uuids are not in it.

        For a VDI: kind, size, hidden, names and other fields of its record, and for each node of its chain the segments and a
        hash of what this layer holds: when these are the same, a guest reads the same.  For another LV: its name.  Under LOST:
        records that have no volume.
        """
        found = {}
        records = self._mgt.live()
        vdis = dict((lun.vdi_volume(uuid).name, uuid) for uuid in lun.vdi_uuids())
        for name, volume in lun.volumes.items():
            entry = {'name': name, 'status': volume.status, 'tags': len(volume.tags)}
            if name in vdis:
                entry.update(self._vdi(lun, vdis[name], name, records.get(vdis[name])))
            found[tuple(volume.segments)] = entry
        found[LOST] = [uuid for uuid in records if not [prefix for prefix in reader.PREFIXES if prefix + uuid in lun.volumes]]
        return found

    def _vdi(self, lun, uuid, name, record):
        entry = {'name': name.split('-')[0], 'size': lun.virtual_size(uuid),
                 'chain': [(node.segments, self._layer(lun, node)) for node in lun.chain(uuid)]}
        if name.startswith('VHD-'):
            footer = lun.vhd(name).footer
            entry.update(hidden=footer.hidden, footer=footer.bytes)
        if name.startswith('QCOW2-'):
            disk = lun.qcow2(name)
            # what stands behind the header's fields is the parent's name
            entry.update(hidden=disk.hidden, header=disk.head[:disk.name_at or len(disk.head)])
        if record is not None:
            entry.update(label=record.label, description=record.description, vdi_type=record.fields['vdi_type'],
                         record=sorted((tag, value) for tag, value in record.fields.items() if tag not in REWRITTEN))
        return entry

    def _layer(self, lun, volume):
        """Hash of what one node of a chain holds."""
        if volume.name not in self._layers:
            digest = hashlib.sha256()
            disk = lun.disk(volume.name)
            if disk is not None:
                pieces = sorted(disk.sectors().items())
            else:
                pieces = ((offset, volume.read(offset, min(MIB, volume.size - offset))) for offset in range(0, volume.size, MIB))
            for number, data in pieces:
                digest.update(('%d:' % number).encode('ascii'))
                digest.update(data)
            self._layers[volume.name] = digest.hexdigest()
        return self._layers[volume.name]

    def _identities(self, lun):
        found = set(reader.UUID.findall(' '.join([lun.vg_name] + list(lun.volumes))))
        found.update([lun.label.pv_id, lun.vg['id']])
        found.update(volume.id for volume in lun.volumes.values())
        found.update(record.fields['uuid'] for record in self._mgt.records)
        return found

    def _live(self, lun):
        pieces = [lun.label.bytes, lun.area.bytes, lun.text, self._mgt.bytes]
        for name in lun.volumes:
            if name.startswith('VHD-'):
                disk = lun.vhd(name)
                pieces.extend([disk.backup_bytes, disk.footer.bytes, disk.header_bytes])
                pieces.extend(locator.data for locator in disk.locators)
            elif name.startswith('QCOW2-'):
                pieces.append(lun.qcow2(name).head)
        found = set([reader.dashed(lun.label.bytes[32:64].decode('ascii'))])
        found.update(LVM_ID.findall(lun.text.decode('latin-1')))
        for piece in pieces:
            text = piece.decode('latin-1')
            forms = [text]
            if '\0' in text:
                forms.append(text.replace('\0', ''))
            forms.extend([form.replace('--', '-') for form in forms if '--' in form])
            for form in forms:
                found.update(reader.UUID.findall(form.lower()))
        return found


def compare(wanted, found):
    """Raises Wrong where two inventories differ."""
    if wanted == found:
        return
    for segments in sorted(set(wanted) | set(found), key=str):
        one, other = wanted.get(segments), found.get(segments)
        if one == other:
            continue
        if one is None or other is None or segments == LOST:
            raise Wrong('extents %s: %s was expected, %s is there' % (segments, one, other))
        for field in sorted(set(one) | set(other)):
            if one.get(field) != other.get(field):
                raise Wrong('extents %s, %s: %r was expected, %r is there' % (segments, field, one.get(field), other.get(field)))


def spare_sectors(image):
    """A function from a sector's number to True when nobody reads it: MGT behind its used part, the ring outside the live text."""
    with reader.Lun(image) as lun:
        spans = []
        mgt = lun.volumes['MGT']
        used = -(-lun.mgt().length // SECTOR) * SECTOR
        spans.extend((start // SECTOR, (start + length) // SECTOR) for start, length in mgt.pieces(used, mgt.size - used))
        ring = (lun.area.offset // SECTOR + 1, (lun.area.offset + lun.area.size) // SECTOR)
        live = [(start // SECTOR, -(-(start + length) // SECTOR)) for start, length in lun.text_pieces]

    def spare(number):
        if any(first <= number < last for first, last in spans):
            return True
        return ring[0] <= number < ring[1] and not any(first <= number < last for first, last in live)
    return spare
