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

NAMESPACE = uuid.UUID('5a1b8a0e-6f0c-4c55-9a6e-0d4d2f6f3f0b')
RELEASES = Path(__file__).resolve().parent.parent / 'releases'


def update_uuid(rpm: Path) -> str:
    """The update's uuid. It names one content for ever, so it is made from that of the (unsigned) payload."""
    return str(uuid.uuid5(NAMESPACE, f'{rpm.name} {hashlib.sha256(rpm.read_bytes()).hexdigest()}'))


def label(version: str) -> str:
    """The update's name: a package suffix and a yum repository id, so letters, digits, - and _ only.

    With the version in it, every update brings packages that no host has yet: `dnf install`, which is what newer xapi runs,
    does not upgrade a package that is there.
    """
    return f'relvmoiscsi-{version.replace(".", "_")}'


def rolled_up(target: Target, version: str) -> list[tuple[str, str]]:
    """(label, uuid) of the published updates for `target` that this one replaces: mk/releases, lines of `target version
    uuid`."""
    lines = [line.split('#')[0].split() for line in RELEASES.read_text().splitlines()]
    return [(label(words[1]), words[2]) for words in lines if words and words[0] == target.key and words[1] != version]


def update_xml(version: str, identity: str, size: int, replaced: list[tuple[str, str]], key: str | None) -> str:
    """update.xml, as one line for the record that the update RPM leaves on a host. `size` in bytes."""
    attributes = {
        'name-label': label(version), 'version': version, 'uuid': identity, 'installation-size': str(size),
        'after-apply-guidance': 'restartXAPI', 'control': f'control-{label(version)}',
    }
    if key:
        attributes['key'] = key
    children = [legacy.element('name-description', {}, escape(legacy.DESCRIPTION))]
    children += [legacy.element('rollsup', {'name-label': name, 'uuid': old}) for name, old in replaced]
    return legacy.element('update', attributes, ''.join(children))


def groups(name: str) -> str:
    """The comps file of the update `name`: xapi applies the group `update`."""
    required = legacy.element('packagereq', {'type': 'mandatory'}, f'update-{name}')
    parts = ''.join([
        '<id>update</id>', f'<name>update-{name}</name>', f'<description>{escape(legacy.DESCRIPTION)}</description>',
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
        replaced = rolled_up(target, version)
        xml = update_xml(version, identity, rpms.installed_size(rpm), replaced, key and key.file_name)
        values = {
            'DATE': rpms.changelog_date(epoch), 'LABEL': label(version), 'VERSION': version, 'RELEASE': rpms.release(target),
            'UUID': identity, 'UPDATE_XML': xml,
            'REQUIRES_SM': target.sm, 'PYTHON_MAJOR': target.python_major, 'TITLE': target.title,
            'OBSOLETES_UPDATE': '\n'.join(f'Obsoletes: update-{old}' for old, _ in replaced),
            'OBSOLETES_CONTROL': '\n'.join(f'Obsoletes: control-{old}' for old, _ in replaced),
        }
        precheck = File(f'/var/update/{identity}/precheck', template.fill('precheck.sh', **values).encode(), 0o755)
        rpms.build(template.fill('update.spec', **values), [], target, epoch, packages, tree.maintainer())
        rpms.build(template.fill('control.spec', **values), [precheck], target, epoch, packages, tree.maintainer())
        (directory / 'update.xml').write_text(xml + '\n')
        (directory / 'install.sh').write_bytes(tree.install_script())
        (directory / 'install.sh').chmod(0o755)
        if key:
            for package in sorted(packages.iterdir()):
                key.sign_rpm(package)
        for package in packages.iterdir():
            os.utime(package, (epoch, epoch))
        comps = Path(scratch) / 'groups.xml'
        comps.write_text(groups(label(version)))
        os.utime(comps, (epoch, epoch))
        # gzip and SHA-256 are what the host installer and yum of 7.1 read; newer createrepo_c has other defaults.
        run('createrepo_c', '--quiet', '--no-database', '--checksum', 'sha256', '--general-compress-type', 'gz',
            '--groupfile', comps, '--revision', str(epoch), '--set-timestamp-to-revision', directory,
            SOURCE_DATE_EPOCH=str(epoch))
        if key:
            key.sign_file(directory / 'update.xml')
            key.sign_file(directory / 'repodata/repomd.xml')
        iso.write(directory, image, label(version), identity, epoch)
