# SPDX-License-Identifier: LGPL-2.1-only
"""Builds packages for tests, and looks into what was built."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from host import Host, why_not

ROOT = Path(__file__).resolve().parents[2]
EPOCH = '1750000000'
# The targets whose image is an update.
UPDATES = ['el7', 'xs8', 'xs9']
# program -> Debian package
TOOLS = {
    'rpmbuild': 'rpm', 'createrepo_c': 'createrepo-c', 'xorriso': 'xorriso', 'gpg': 'gnupg', 'dnf': 'dnf', 'xmllint': 'libxml2-utils',
    'rpmlint': 'rpmlint', 'shellcheck': 'shellcheck', 'busybox': 'busybox',
}


def needs(*tools: str) -> None:
    """Skips the test, with the reason, if a program is missing."""
    missing = [TOOLS[tool] for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f'not installed: {" ".join(missing)}')


def build(source: Path, what: str, out: Path, **environment: str) -> subprocess.CompletedProcess:
    """mk/build of the tree `source`; a failure is one of the test."""
    needs('rpmbuild', 'createrepo_c', 'xorriso')
    settings = {**os.environ, 'SOURCE_DATE_EPOCH': EPOCH, 'GPG_KEY': '', **environment}
    done = subprocess.run([source / 'mk/build', what, f'OUT={out}'], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@dataclass
class Pack:
    """What mk/build made in `out`, and what it said on stderr."""

    out: Path
    source: Path
    complaints: str = ''

    def rpm(self, key: str) -> Path:
        return self._one(f'rpm/relvmoiscsi-*.{key}.noarch.rpm')

    def iso(self, key: str) -> Path:
        names = {'el5': 'xenserver-6.5-7.0', 'el7': 'xenserver-7.1-8.2', 'xs8': 'xenserver-8', 'xs9': 'sm-4'}
        return self._one(f'relvmoiscsi-*-{names[key]}.iso')

    def _one(self, pattern: str) -> Path:
        found = list(self.out.glob(pattern))
        assert len(found) == 1, (pattern, found)
        return found[0]


def copy_tree(place: Path) -> Path:
    """The files that packages are made from, to be changed by a test."""
    place.mkdir()
    for name in ('drivers', 'plugins', 'mk', 'docs'):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns('__pycache__'), symlinks=True)
    for name in ('install.sh', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, place)
    return place


def new_host(shell: str = '') -> Host:
    """A Host, or a visible skip where there can be none."""
    needs('rpmbuild')
    reason = why_not()
    if reason:
        pytest.skip(reason)
    return Host(shell)


def volume(image: Path) -> tuple[str, str]:
    """(volume id, application id), read from the primary volume descriptor: sector 16, offsets 40 and 574 (ECMA-119)."""
    data = image.read_bytes()[16 * 2048:17 * 2048]
    assert data[1:6] == b'CD001'
    return data[40:72].decode().strip(), data[574:702].decode().strip()


def unpack(image: Path, place: Path) -> Path:
    """The files of an ISO image, writable."""
    subprocess.run(['xorriso', '-osirrox', 'on', '-indev', image, '-extract', '/', place], capture_output=True, check=True)
    for path in [place, *place.rglob('*')]:
        path.chmod(path.stat().st_mode | 0o200)
    return place
