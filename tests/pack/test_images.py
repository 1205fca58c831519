# SPDX-License-Identifier: LGPL-2.1-only
"""The ISO images as such: layout, descriptions against their schemas, checksums, repository data as dnf reads it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from built import ROOT, UPDATES, needs, unpack, volume

SCHEMAS = ROOT / 'tests/pack/schema'


@pytest.fixture(scope='module')
def unpacked(pack, tmp_path_factory):
    """target -> directory with the files of its image."""
    place = tmp_path_factory.mktemp('unpacked')
    return {key: unpack(pack.iso(key), place / key) for key in ['el5', *UPDATES]}


def validate(schema: str, path: Path) -> None:
    needs('xmllint')
    done = subprocess.run(['xmllint', '--noout', '--relaxng', SCHEMAS / schema, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob('*') if path.is_file())


def test_layout_of_the_pack(pack, unpacked):
    rpm = pack.rpm('el5').name
    assert names(unpacked['el5']) == sorted(['XS-PACKAGES', 'XS-REPOSITORY', 'install', 'install.sh', rpm])
    for name in ('install', 'install.sh'):
        assert os.access(unpacked['el5'] / name, os.X_OK)
    assert (unpacked['el5'] / rpm).read_bytes() == pack.rpm('el5').read_bytes()
    assert volume(pack.iso('el5')) == ('relvmoiscsi 1.1.0', 'RELVMOISCSI PROJECT')


def test_descriptions_of_the_pack(pack, unpacked):
    validate('xs-repository.rng', unpacked['el5'] / 'XS-REPOSITORY')
    validate('xs-packages.rng', unpacked['el5'] / 'XS-PACKAGES')
    # xapi takes the text of the very first child.
    assert b'><description>' in (unpacked['el5'] / 'XS-REPOSITORY').read_bytes().split(b'\n')[0]
    repository = ElementTree.parse(unpacked['el5'] / 'XS-REPOSITORY').getroot()
    assert f'relvm:{repository.get("name")}' == 'relvm:relvmoiscsi'
    assert repository.get('originator') == 'relvm'
    assert repository.find('requires').attrib == {
        'originator': 'xcp', 'name': 'main', 'test': 'ge', 'product': 'XCP', 'version': '1.9.0'}
    package = ElementTree.parse(unpacked['el5'] / 'XS-PACKAGES').getroot().find('package')
    data = (unpacked['el5'] / package.text).read_bytes()
    assert (package.get('md5'), package.get('size')) == (hashlib.md5(data).hexdigest(), str(len(data)))
    label = subprocess.run(['rpm', '-qp', '--qf', '%{NAME}', unpacked['el5'] / package.text], capture_output=True, text=True,
                           check=True).stdout
    assert package.get('label') == label


def test_install_script_knows_the_packs_name(unpacked):
    repository = ElementTree.parse(unpacked['el5'] / 'XS-REPOSITORY').getroot()
    record = f'/etc/xensource/installed-repos/{repository.get("originator")}:{repository.get("name")}'
    assert f'record={record}\n' in (ROOT / 'install.sh').read_text()


@pytest.mark.parametrize('key', UPDATES)
def test_layout_of_the_update(pack, unpacked, key):
    files = names(unpacked[key])
    assert [name for name in files if name.endswith('.rpm')] == [
        f'Packages/{name}-1.1.0-1.{key}.noarch.rpm'
        for name in ('control-relvmoiscsi-1_1_0', 'relvmoiscsi', 'update-relvmoiscsi-1_1_0')]
    rest = [name for name in files if not name.startswith(('Packages/', 'repodata/'))]
    assert rest == ['install.sh', 'update.xml']
    identity = ElementTree.parse(unpacked[key] / 'update.xml').getroot().get('uuid')
    assert volume(pack.iso(key)) == ('relvmoiscsi-1_1_0', identity.upper())
    assert (unpacked[key] / 'Packages' / pack.rpm(key).name).read_bytes() == pack.rpm(key).read_bytes()


@pytest.mark.parametrize('key', UPDATES)
def test_description_of_the_update(pack, unpacked, key):
    validate('update.rng', unpacked[key] / 'update.xml')
    update = ElementTree.parse(unpacked[key] / 'update.xml').getroot()
    assert update.get('after-apply-guidance') == 'restartXAPI'
    assert update.get('control') == 'control-relvmoiscsi-1_1_0'
    assert update.get('key') is None
    size = subprocess.run(['rpm', '-qp', '--qf', '%{SIZE}', pack.rpm(key)], capture_output=True, text=True, check=True).stdout
    assert update.get('installation-size') == size


def test_each_update_has_an_identity_of_its_own(pack, newer, tmp_path):
    images = [built.iso(key) for built in (pack, newer) for key in UPDATES]
    assert len({volume(image)[1] for image in images}) == len(images)


@pytest.mark.parametrize('key', UPDATES)
def test_repository_data(unpacked, key):
    directory = unpacked[key]
    space = '{http://linux.duke.edu/metadata/repo}'
    found = {}
    for data in ElementTree.parse(directory / 'repodata/repomd.xml').getroot().iter(f'{space}data'):
        path = directory / data.find(f'{space}location').get('href')
        checksum = data.find(f'{space}checksum')
        assert checksum.get('type') == 'sha256'
        assert checksum.text == hashlib.sha256(path.read_bytes()).hexdigest()
        found[data.get('type')] = path
    assert {'primary', 'filelists', 'other', 'group', 'group_gz'} <= set(found)
    for kind in ('primary', 'filelists', 'other'):
        assert found[kind].read_bytes()[:2] == b'\x1f\x8b', f'{kind} is not gzip'
    validate('groups.rng', found['group'])
    primary = subprocess.run(['gzip', '-dc', found['primary']], capture_output=True, check=True).stdout
    checksums = [node.text for node in ElementTree.fromstring(primary).iter('{http://linux.duke.edu/metadata/common}checksum')
                 if node.get('type') == 'sha256']
    assert sorted(checksums) == sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.glob('Packages/*.rpm'))


def test_sums_are_those_of_the_files(pack):
    done = subprocess.run(['sha256sum', '--check', '--strict', 'SHA256SUMS'], cwd=pack.out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 8
