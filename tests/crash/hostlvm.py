# SPDX-License-Identifier: LGPL-2.1-only
"""What the real LVM of this machine, or that in LVM_BIN_DIR, sees and does on crash states, on a loop device, without device-mapper."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import errno
import hashlib
import io
import os
import subprocess

from crash import witness
from crash.medium import SECTOR
from lvhd.judges import lvm

SEEK_DATA = 3
SEEK_HOLE = 4
PAGE = 4096

# name: of the command; status; message: its last line; changed: whether the image is another one afterwards
Attempt = collections.namedtuple('Attempt', 'name status message changed')

# What a host does or an administrator types: name to arguments.  %(vg)s, %(device)s; activation is switched off by configuration
# on a machine without device-mapper, so activating is asked for in a way that fails for that reason last.
COMMANDS = collections.OrderedDict([
    ('lvchange -ay', ('lvchange', '-ay', '%(vg)s/MGT')),
    ('lvchange -pr', ('lvchange', '-pr', '%(vg)s/MGT')),
    ('lvchange --addtag', ('lvchange', '--addtag', 'x', '%(vg)s/MGT')),
    ('vgchange -ay', ('vgchange', '-ay', '%(vg)s')),
    ('vgchange --addtag', ('vgchange', '--addtag', 'x', '%(vg)s')),
    ('vgchange -u', ('vgchange', '-u', '%(vg)s')),
    ('lvcreate', ('lvcreate', '-an', '-Zn', '-Wn', '-l1', '-n', 'intruder', '%(vg)s')),
    ('lvremove', ('lvremove', '-f', '%(vg)s/MGT')),
    ('lvrename', ('lvrename', '%(vg)s', 'MGT', 'other')),
    ('lvextend', ('lvextend', '-l+1', '%(vg)s/MGT')),
    ('pvresize', ('pvresize', '%(device)s')),
    ('pvchange -u', ('pvchange', '-u', '%(device)s')),
    ('pvchange -xn', ('pvchange', '-xn', '%(device)s')),
    ('pvcreate', ('pvcreate', '-y', '%(device)s')),
    ('pvremove', ('pvremove', '-y', '%(device)s')),
    ('vgremove', ('vgremove', '-f', '%(vg)s')),
    ('vgreduce --removemissing', ('vgreduce', '--removemissing', '%(vg)s')),
    ('vgck --updatemetadata', ('vgck', '--updatemetadata', '%(vg)s')),
    ('vgrename', ('vgrename', '%(vg)s', 'VG_XenStorage-other')),
    ('vgexport', ('vgexport', '%(vg)s')),
    ('vgimport', ('vgimport', '%(vg)s')),
    ('vgimport --force', ('vgimport', '--force', '%(vg)s')),
])


# LVM 2.02 writes a new text over the staged one, which LVM 2.03 refuses for want of room.  sm runs neither.
EXCEPTIONS_OF_2_02 = ('vgrename', 'vgimport', 'vgimport --force')
# What commands say that report success without having done anything: vgrename of 2.03.16; vgreduce of 2.02, pvchange of 2.02.84
NOTHING_DONE = ('Failed to write VG',)
NOTHING_DONE_BY_2_02 = ('already consistent', '0 physical volumes changed')


def harm(attempt):
    """What an Attempt on a locked VG has done that it must not do, or ''.

    It must fail, or say that it has done nothing, and leave every byte as it was.
    """
    nothing_done = NOTHING_DONE
    if lvm.is_old():
        nothing_done += NOTHING_DONE_BY_2_02
        if attempt.name in EXCEPTIONS_OF_2_02:
            return ''
    if attempt.changed:
        return 'it changed the LUN: %s' % attempt.message
    if attempt.status == 0 and not [text for text in nothing_done if text in attempt.message]:
        return 'it succeeded: %s' % attempt.message
    return ''


class Disagreement(Exception):
    """LVM sees something else than one VG of the right name."""


class Host(object):
    """A loop device with one medium after the other on it.  A context manager."""

    def __init__(self, base, path):
        self._base = base
        self._path = str(path)
        subprocess.check_call(['cp', '--sparse=always', base.path, self._path])
        self._there = {}
        self._loop = lvm.Loop(self._path, read_only=False)

    def __enter__(self):
        self.device = self._loop.__enter__()
        return self

    def __exit__(self, *error):
        self._loop.__exit__(*error)
        os.unlink(self._path)

    def load(self, medium):
        """Put a Medium on the device."""
        with io.open(self._path, 'r+b') as stream:
            for number in set(self._there) - set(medium.sectors):
                stream.seek(number * SECTOR)
                stream.write(self._base.map[number * SECTOR:(number + 1) * SECTOR])
            for number, data in medium.sectors.items():
                if self._there.get(number) != data:
                    stream.seek(number * SECTOR)
                    stream.write(data)
            os.fsync(stream.fileno())
        self._there = dict(medium.sectors)

    def reload(self, medium):
        """Put it there again after something else has written."""
        subprocess.check_call(['cp', '--sparse=always', '--no-preserve=all', self._base.path, self._path + '.new'])
        with io.open(self._path + '.new', 'rb') as source, io.open(self._path, 'r+b') as target:
            for start, end in _data(self._path):
                for position in range(start, end, 1 << 20):
                    source.seek(position)
                    target.seek(position)
                    target.write(source.read(min(1 << 20, end - position)))
        os.unlink(self._path + '.new')
        self._there = {}
        self.load(medium)

    def see(self):
        """(VG name, exported) as pvs and vgs tell it.  Raises Disagreement."""
        listings = [lvm.listing(self.device, 'pvs', 'vg_name'), lvm.listing(self.device, 'vgs', 'vg_name vg_attr')]
        for listing in listings:
            if listing.result.status or len(listing.rows) != 1:
                raise Disagreement('%s: %s' % (listing.rows, listing.result.err.strip()))
        names = [listing.rows[0]['vg_name'] for listing in listings]
        if names[0] != names[1] or not names[0].startswith(witness.VG_PREFIX):
            raise Disagreement('pvs says %s, vgs says %s' % tuple(names))
        return names[0], listings[1].rows[0]['vg_attr'][2] == 'x'

    def judge(self, medium):
        """'' when LVM sees the same one VG as our reader, else what it sees."""
        try:
            self.agrees(medium)
        except (Disagreement, witness.Wrong) as error:
            return str(error) or 'nothing'
        return ''

    def agrees(self, medium):
        """Raises Disagreement unless LVM sees the same one VG as our reader."""
        self.load(medium)
        sr_uuid, exported = witness.the_vg(medium.file())
        seen = self.see()
        if seen != (witness.VG_PREFIX + sr_uuid, exported):
            raise Disagreement('LVM sees %s (exported: %s), our reader %s (%s)' % (seen + (sr_uuid, exported)))

    def attempts(self, medium, commands=None):
        """Attempt of each command on the medium; between two the medium is put back."""
        self.reload(medium)
        vg_name = self.see()[0]
        before = self.digest()
        found = []
        for name in commands or COMMANDS:
            arguments = [argument % {'vg': vg_name, 'device': self.device} for argument in COMMANDS[name]]
            result = lvm.run(self.device, *arguments)
            changed = self.digest() != before
            lines = [line.strip() for line in (result.out + result.err).splitlines() if 'Activation disabled' not in line]
            found.append(Attempt(name, result.status, '; '.join(lines), changed))
            if changed:
                self.reload(medium)
                if self.digest() != before:
                    raise Disagreement('the image could not be put back after %s' % name)
        return found

    def digest(self):
        """Of every byte of the image."""
        found = hashlib.sha1()
        with io.open(self._path, 'rb') as stream:
            for start, end in _data(self._path):
                for position in range(start, end, PAGE):
                    stream.seek(position)
                    data = stream.read(min(PAGE, end - position))
                    if data.strip(b'\0'):
                        found.update(('%d:' % position).encode('ascii'))
                        found.update(data)
        return found.hexdigest()


def _data(path):
    """[(start, end)] of what is no hole in a file, whole pages."""
    found = []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        position = 0
        while True:
            start = os.lseek(descriptor, position, SEEK_DATA)
            position = os.lseek(descriptor, start, SEEK_HOLE)
            found.append((start // PAGE * PAGE, position))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(descriptor)
    return found
