# SPDX-License-Identifier: LGPL-2.1-only
"""What is built once for all tests of the packages, and the hosts that they install on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from host import Host  # noqa: E402
from providers import Providers  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
EPOCH = '1750000000'
# The targets whose image is an update.
UPDATES = ['el7', 'xs8', 'xs9']


# program -> Debian package
TOOLS = {
    'rpmbuild': 'rpm', 'createrepo_c': 'createrepo-c', 'xorriso': 'xorriso', 'gpg': 'gnupg', 'dnf': 'dnf', 'xmllint': 'libxml2-utils',
    'rpmlint': 'rpmlint', 'shellcheck': 'shellcheck', 'busybox': 'busybox-static',
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
    """What mk/build made in `out`."""

    out: Path
    source: Path

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
    for name in ('drivers', 'plugins', 'mk'):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns('__pycache__'), symlinks=True)
    for name in ('install.sh', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, place)
    return place


@pytest.fixture(scope='session')
def pack(tmp_path_factory) -> Pack:
    """Everything, unsigned."""
    out = tmp_path_factory.mktemp('pack')
    build(ROOT, 'iso', out)
    return Pack(out, ROOT)


@pytest.fixture(scope='session')
def newer(tmp_path_factory, pack) -> Pack:
    """The next version, which knows that the first one was published: one module more, one less."""
    source = copy_tree(tmp_path_factory.mktemp('newer') / 'tree')
    init = source / 'drivers/relvm/__init__.py'
    init.write_text(init.read_text().replace("'1.0.0'", "'1.0.1'"))
    (source / 'drivers/relvm/jsontext.py').rename(source / 'drivers/relvm/jsontext2.py')
    with open(source / 'mk/releases', 'a') as releases:
        releases.writelines(f'{key} 1.0.0 {volume(pack.iso(key))[1].lower()}\n' for key in UPDATES)
    out = tmp_path_factory.mktemp('newer-pack')
    build(source, 'iso', out)
    return Pack(out, source)


@pytest.fixture(scope='session')
def providers(tmp_path_factory) -> Providers:
    return Providers(tmp_path_factory.mktemp('providers'))


def new_host(shell: str = '') -> Host:
    """A Host, or a visible skip where mount namespaces or overlays are not to be had."""
    needs('rpmbuild')
    probe = ['unshare', '--mount'] + (['--map-root-user'] if os.geteuid() else []) + ['true']
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip('no mount namespaces here: neither root nor user namespaces')
    return Host(shell)


@pytest.fixture
def host():
    made = new_host()
    yield made
    made.close()


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
