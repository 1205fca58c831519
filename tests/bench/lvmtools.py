# SPDX-License-Identifier: LGPL-2.1-only
"""LVM's own tools on one loop device, with nothing of this machine's LVM in the way."""

import os
import random
import re
import shutil
import subprocess
import uuid

# Each tool looks at nothing but the device, keeps its backups and locks on the tmpfs, and does not talk to device-mapper, udev or
# daemons, which a benchmark machine may lack and which would only cost it time. Everything else is LVM's default; so archive and
# backup of the metadata are on, as on a host.
CONFIG = '''
devices {
    scan = ["/dev"]
    filter = ["a|^%(device)s$|", "r|.*|"]
    global_filter = ["a|^%(device)s$|", "r|.*|"]
    use_devicesfile = 0
    hints = "none"
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
}
global {
    activation = 0
    use_lvmpolld = 0
    event_activation = 0
    locking_dir = "%(directory)s/lock"
}
backup {
    backup_dir = "%(directory)s/backup"
    archive_dir = "%(directory)s/archive"
}
'''

_LVM_ID = re.compile(r'(?<=id = ")[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{4}-){5}[0-9A-Za-z]{6}(?=")')
_UUID = re.compile('[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}')
_PV = re.compile(r'physical_volumes \{\s*pv0 \{\s*id = "([^"]+)"')
_ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'


def missing():
    """Why LVM's tools cannot be measured here, or None."""
    for program in ('lvm', 'vgimportclone'):
        if shutil.which(program) is None:
            return '%s is not installed (Debian package lvm2)' % program
    return None


def version():
    """'2.03.16(2) (2022-05-18)'"""
    done = subprocess.run(['lvm', 'version'], capture_output=True, text=True)
    return done.stdout.split('LVM version:')[1].split('\n')[0].strip()


def environment(device, directory):
    """What the tools need in their environment to see `device` alone. directory: an empty one, for their files."""
    for name in ('lock', 'backup', 'archive'):
        os.mkdir(os.path.join(directory, name))
    with open(os.path.join(directory, 'lvm.conf'), 'w') as stream:
        stream.write(CONFIG % {'device': device, 'directory': directory})
    return dict(os.environ, LVM_SYSTEM_DIR=directory, LVM_SUPPRESS_FD_WARNINGS='1')


def run(environ, *words):
    """The output of one LVM command; CalledProcessError when it fails."""
    return subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout


def vg_name(environ):
    return run(environ, 'vgs', '--noheadings', '-o', 'vg_name').strip()


def new_lvm_id():
    word = ''.join(random.choice(_ALPHABET) for _ in range(32))
    return '-'.join((word[:6], word[6:10], word[10:14], word[14:18], word[18:22], word[22:26], word[26:]))


def resigned_backup(environ, path):
    """Writes what vgcfgrestore is to restore: a backup of the VG with new names and ids. Returns (PV id, VG name).

    An administrator would use an editor or sed for this; no figure includes it.
    """
    run(environ, 'vgcfgbackup', '-f', path, vg_name(environ))
    with open(path) as stream:
        text = stream.read()
    uuids = {}
    text = _UUID.sub(lambda match: uuids.setdefault(match.group(), str(uuid.uuid4())), text)
    text = _LVM_ID.sub(lambda match: new_lvm_id(), text)
    with open(path, 'w') as stream:
        stream.write(text)
    return _PV.search(text).group(1), re.search(r'^(VG_XenStorage-\S+) \{', text, re.MULTILINE).group(1)
