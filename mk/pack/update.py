# SPDX-License-Identifier: LGPL-2.1-only
"""The update ISO of XenServer 7.1 and later: update.xml and a repository with payload, update and control RPMs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from pathlib import Path
from xml.sax.saxutils import escape

from . import iso, legacy, rpms, template
from .command import run
from .signing import Key
from .targets import Target
from .tree import File, Tree

# A package suffix, a yum repository id and a group: letters, digits, - and _ only.
LABEL = 'relvmoiscsi'
NAMESPACE = uuid.UUID('5a1b8a0e-6f0c-4c55-9a6e-0d4d2f6f3f0b')
RELEASES = Path(__file__).resolve().parent.parent / 'releases'


def update_uuid(rpm: Path) -> str:
    """The update's uuid. It names one content for ever, so it is made from that of the (unsigned) payload."""
    return str(uuid.uuid5(NAMESPACE, f'{rpm.name} {hashlib.sha256(rpm.read_bytes()).hexdigest()}'))


def rolled_up(target: Target, current: str) -> list[str]:
    """uuids of the published updates for `target` that this one replaces: mk/releases, lines of `target uuid`."""
    lines = [line.split('#')[0].split() for line in RELEASES.read_text().splitlines()]
    return [words[1] for words in lines if words and words[0] == target.key and words[1] != current]


def update_xml(version: str, identity: str, size: int, replaced: list[str], key: str | None) -> str:
    """update.xml, as one line for the record that the update RPM leaves on a host."""
    attributes = {
        'name-label': LABEL, 'version': version, 'uuid': identity, 'installation-size': str(size),
        'after-apply-guidance': 'restartXAPI', 'control': f'control-{LABEL}',
    }
    if key:
        attributes['key'] = key
    children = [legacy.element('name-description', {}, escape(legacy.DESCRIPTION))]
    children += [legacy.element('rollsup', {'name-label': LABEL, 'uuid': old}) for old in replaced]
    return legacy.element('update', attributes, ''.join(children))


def groups() -> str:
    """The comps file: xapi applies the group `update`."""
    required = legacy.element('packagereq', {'type': 'mandatory'}, f'update-{LABEL}')
    parts = ''.join([
        '<id>update</id>', f'<name>update-{LABEL}</name>', f'<description>{escape(legacy.DESCRIPTION)}</description>',
        '<default>true</default>', '<uservisible>true</uservisible>', f'<packagelist>{required}</packagelist>',
    ])
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<comps><group>{parts}</group></comps>\n'


def write(tree: Tree, target: Target, rpm: Path, image: Path, key: Key | None) -> None:
    """Makes the ISO image of the update that brings `rpm`, signed if there is a `key`."""
    epoch, version = tree.epoch(), tree.version()
    with tempfile.TemporaryDirectory(prefix='relvmoiscsi-iso-') as scratch:
        directory = Path(scratch) / 'update'
        packages = directory / 'Packages'
        packages.mkdir(parents=True)
        shutil.copy(rpm, packages)
        identity = update_uuid(rpm)
        xml = update_xml(version, identity, rpms.installed_size(rpm), rolled_up(target, identity), key and key.file_name)
        values = {
            'LABEL': LABEL, 'VERSION': version, 'RELEASE': rpms.release(target), 'UUID': identity, 'UPDATE_XML': xml,
            'REQUIRES_SM': target.sm, 'PYTHON_MAJOR': target.python_major, 'TITLE': target.title,
        }
        precheck = File(f'/var/update/{identity}/precheck', template.fill('precheck.sh', **values).encode(), 0o755)
        rpms.build(template.fill('update.spec', **values), [], target, epoch, packages)
        rpms.build(template.fill('control.spec', **values), [precheck], target, epoch, packages)
        (directory / 'update.xml').write_text(xml + '\n')
        (directory / 'install.sh').write_bytes(tree.install_script())
        (directory / 'install.sh').chmod(0o755)
        if key:
            for package in sorted(packages.iterdir()):
                key.sign_rpm(package)
        for package in packages.iterdir():
            os.utime(package, (epoch, epoch))
        comps = Path(scratch) / 'groups.xml'
        comps.write_text(groups())
        os.utime(comps, (epoch, epoch))
        # gzip and SHA-256 are what the host installer and yum of 7.1 read; newer createrepo_c has other defaults.
        run('createrepo_c', '--quiet', '--no-database', '--checksum', 'sha256', '--general-compress-type', 'gz',
            '--groupfile', comps, '--revision', str(epoch), '--set-timestamp-to-revision', directory,
            SOURCE_DATE_EPOCH=str(epoch))
        if key:
            key.sign_file(directory / 'update.xml')
            key.sign_file(directory / 'repodata/repomd.xml')
        iso.write(directory, image, LABEL, identity, epoch)
