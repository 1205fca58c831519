# SPDX-License-Identifier: LGPL-2.1-only
"""Signatures: as xapi verifies them, as rpm and dnf do, and that a changed image is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from built import EPOCH, ROOT, UPDATES, Pack, build, needs, unpack


def gpg(home: Path, *words: object, check: bool = True, stdin: str = '') -> subprocess.CompletedProcess:
    return subprocess.run(['gpg', '--homedir', home, '--batch', *map(str, words)], capture_output=True, text=True, check=check, input=stdin)


def make_key(home: Path, name: str, kind: str) -> str:
    """A new secret key, older than what it signs. Its fingerprint."""
    gpg(home, '--faked-system-time', '1700000000!', '--passphrase', '', '--quick-generate-key', name, kind, 'sign', 'never')
    listed = gpg(home, '--with-colons', '--list-secret-keys', name).stdout.splitlines()
    return next(line.split(':')[9] for line in listed if line.startswith('fpr'))


@pytest.fixture(scope='module')
def home():
    """A key ring with an RSA key of the vendor's and one of another kind. In a short path: gpg's agent listens there."""
    needs('gpg')
    place = Path(tempfile.mkdtemp(prefix='gpg-', dir='/tmp'))
    place.chmod(0o700)
    yield place
    subprocess.run(['gpgconf', '--homedir', place, '--kill', 'gpg-agent'], check=False, capture_output=True)
    shutil.rmtree(place)


@pytest.fixture(scope='module')
def key(home):
    return make_key(home, 'Vendor <vendor@example.com>', 'rsa2048')


@pytest.fixture(scope='module')
def signed(home, key, tmp_path_factory):
    out = tmp_path_factory.mktemp('signed')
    done = build(ROOT, 'iso', out, GPG_KEY=key, GNUPGHOME=str(home))
    assert 'warning' not in done.stderr
    return Pack(out, ROOT)


@pytest.fixture(scope='module')
def unpacked(signed, tmp_path_factory):
    place = tmp_path_factory.mktemp('unpacked')
    return {name: unpack(signed.iso(name), place / name) for name in ['el5', *UPDATES]}


@pytest.fixture
def trusting(signed, tmp_path):
    """A host's key ring after its administrator imported the public key, as xapi's import-update-key does it."""
    ring = Path(tempfile.mkdtemp(prefix='gpg-', dir='/tmp'))
    ring.chmod(0o700)
    public = signed.out / 'RPM-GPG-KEY-relvmoiscsi'
    shown = gpg(ring, '--show-keys', '--with-fingerprint', '--with-colons', '--keyid-format', 'LONG', public).stdout
    key_id = [line.split(':')[4] for line in shown.splitlines() if line.startswith('pub')]
    assert len(key_id) == 1 and len(key_id[0]) == 16
    gpg(ring, '--import', public)
    gpg(ring, '--command-fd', '0', '--edit-key', key_id[0], stdin='trust\n5\ny\n')
    yield ring
    shutil.rmtree(ring)


def verified(ring: Path, path: Path) -> bool:
    """xapi asks for both: a good signature, by a key that is ultimately trusted (ocaml/xapi/gpg.ml)."""
    done = gpg(ring, '--status-fd', '1', '--verify', f'{path}.asc', path, check=False)
    words = done.stdout.split()
    return 'GOODSIG' in words and 'TRUST_ULTIMATE' in words and done.returncode == 0


@pytest.mark.parametrize('target', UPDATES)
def test_xapi_accepts_the_image(unpacked, trusting, target):
    for name in ('update.xml', 'repodata/repomd.xml'):
        assert verified(trusting, unpacked[target] / name)


@pytest.mark.parametrize('name', ['update.xml', 'repodata/repomd.xml'])
def test_a_changed_image_is_noticed(unpacked, trusting, tmp_path, name):
    directory = tmp_path / 'changed'
    shutil.copytree(unpacked['xs8'], directory)
    with open(directory / name, 'a') as out:
        out.write(' ')
    assert not verified(trusting, directory / name)


def test_an_unknown_key_is_not_trusted(unpacked, tmp_path):
    ring = Path(tempfile.mkdtemp(prefix='gpg-', dir='/tmp'))
    ring.chmod(0o700)
    assert not verified(ring, unpacked['xs8'] / 'update.xml')
    shutil.rmtree(ring)


def test_the_packages_of_updates_are_signed_and_that_of_the_pack_is_not(signed, unpacked, tmp_path):
    database = tmp_path / 'db'
    rpm = ['rpm', '--dbpath', database]
    subprocess.run([*rpm, '--initdb'], check=True)
    subprocess.run([*rpm, '--import', signed.out / 'RPM-GPG-KEY-relvmoiscsi'], check=True)
    for target in UPDATES:
        for package in unpacked[target].glob('Packages/*.rpm'):
            checked = subprocess.run([*rpm, '-Kv', package], capture_output=True, text=True, check=True).stdout
            assert 'RSA/SHA256 Signature' in checked and ': OK' in checked
            assert 'NOT OK' not in checked and 'NOKEY' not in checked
    legacy = subprocess.run([*rpm, '-Kv', *unpacked['el5'].glob('*.rpm')], capture_output=True, text=True, check=True).stdout
    assert 'Signature' not in legacy


def test_update_xml_names_the_key_file_that_is_delivered(signed, unpacked):
    update = ElementTree.parse(unpacked['xs8'] / 'update.xml').getroot()
    assert (signed.out / update.get('key')).read_text().startswith('-----BEGIN PGP PUBLIC KEY BLOCK-----')
    assert 'PRIVATE' not in (signed.out / update.get('key')).read_text()


def test_the_update_is_the_same_as_the_unsigned_one(pack, signed, tmp_path):
    """Signing does not make another update of it: the uuid is that of the content."""
    unsigned = ElementTree.parse(unpack(pack.iso('xs8'), tmp_path / 'a') / 'update.xml').getroot().get('uuid')
    assert ElementTree.parse(unpack(signed.iso('xs8'), tmp_path / 'b') / 'update.xml').getroot().get('uuid') == unsigned


def test_signed_twice_is_the_same(home, key, signed, tmp_path):
    build(ROOT, 'iso', tmp_path, GPG_KEY='vendor@example.com', GNUPGHOME=str(home))
    for path in signed.out.rglob('*'):
        if path.is_file():
            assert (tmp_path / path.relative_to(signed.out)).read_bytes() == path.read_bytes(), path.name


def test_dnf_checks_every_signature(host, providers, signed, unpacked):
    """As xapi configures it for an update with a key."""
    needs('dnf')
    host.rpm('-U', *providers.host('8.3'))
    shutil.copytree(unpacked['xs8'], host.path('/root/packages/update'))
    host.write('/etc/pki/rpm-gpg/RPM-GPG-KEY-relvmoiscsi', (signed.out / 'RPM-GPG-KEY-relvmoiscsi').read_bytes())
    config = '''[main]
keepcache=0
reposdir=/dev/null
gpgcheck=1
repo_gpgcheck=1
installonlypkgs=
group_command=compat

[relvmoiscsi]
name=relvmoiscsi
baseurl=file:///root/packages/update
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-relvmoiscsi
'''
    host.write('/root/packages/yum.conf', config)
    dnf = ['dnf', '-y', '--noplugins', '--releasever=8', '-c', '/root/packages/yum.conf', 'install', '@update']
    done = host.run(*dnf, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host.run('rpm', '-q', 'relvmoiscsi').returncode == 0


@pytest.mark.parametrize('kind', ['ed25519'])
def test_a_key_that_old_hosts_cannot_read_is_refused(home, tmp_path, kind):
    name = make_key(home, f'New {kind} <new@example.com>', kind)
    done = subprocess.run([ROOT / 'mk/build', 'iso', f'OUT={tmp_path}', f'GPG_KEY={name}'], capture_output=True, text=True, check=False,
                          env={**os.environ, 'GNUPGHOME': str(home), 'SOURCE_DATE_EPOCH': EPOCH})
    assert done.returncode == 1
    assert 'is not an RSA key' in done.stderr


def test_a_key_that_is_not_there(home, tmp_path):
    done = subprocess.run([ROOT / 'mk/build', 'iso', f'OUT={tmp_path}', 'GPG_KEY=nobody@example.com'], capture_output=True, text=True,
                          check=False, env={**os.environ, 'GNUPGHOME': str(home)})
    assert done.returncode == 1
    assert 'nobody@example.com' in done.stderr
