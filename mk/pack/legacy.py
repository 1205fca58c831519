# SPDX-License-Identifier: LGPL-2.1-only
"""The supplemental pack of XenServer 6.x and 7.0: XS-REPOSITORY, XS-PACKAGES, an installer and RPMs side by side."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from . import iso, rpms, template
from .targets import Target
from .tree import Tree

ORIGINATOR = 'relvm'
NAME = 'relvmoiscsi'
DESCRIPTION = 'Resigning of cloned LVM over iSCSI storage repositories'


def element(tag: str, attributes: dict[str, str], content: str = '') -> str:
    """One XML element; `content` is XML already."""
    words = ' '.join([tag, *(f'{name}={quoteattr(value)}' for name, value in attributes.items())])
    return f'<{words}>{content}</{tag}>' if content else f'<{words}/>'


def repository(version: str) -> str:
    """XS-REPOSITORY. The description is the first child, with nothing before it: xapi takes the first child's text.

    Product XCP is the platform of 6.5 (1.9.0) and of everything newer.
    """
    attributes = {'originator': ORIGINATOR, 'name': NAME, 'product': 'XCP', 'version': version, 'build': rpms.RELEASE}
    needed = {'originator': 'xcp', 'name': 'main', 'test': 'ge', 'product': 'XCP', 'version': '1.9.0'}
    description = element('description', {}, escape(DESCRIPTION))
    return element('repository', attributes, f'{description}\n  {element("requires", needed)}\n') + '\n'


def packages(rpm: Path) -> str:
    """XS-PACKAGES. Type `rpm`: a `driver-rpm` is a kernel module."""
    data = rpm.read_bytes()
    attributes = {'label': NAME, 'size': str(len(data)), 'md5': hashlib.md5(data).hexdigest(), 'type': 'rpm', 'options': '-U'}
    return element('packages', {}, f'\n  {element("package", attributes, escape(rpm.name))}\n') + '\n'


def write(tree: Tree, target: Target, rpm: Path, image: Path) -> None:
    """Makes the ISO image of the pack that holds `rpm`."""
    with tempfile.TemporaryDirectory(prefix='relvmoiscsi-iso-') as scratch:
        directory = Path(scratch) / 'pack'
        directory.mkdir()
        shutil.copy(rpm, directory)
        (directory / 'XS-REPOSITORY').write_text(repository(tree.version()))
        (directory / 'XS-PACKAGES').write_text(packages(rpm))
        for name, content in (('install.sh', tree.install_script()), ('install', template.fill('install').encode())):
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o755)
        iso.write(directory, image, f'relvmoiscsi {tree.version()}', 'relvmoiscsi project', tree.epoch())
