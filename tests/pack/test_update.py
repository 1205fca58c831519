# SPDX-License-Identifier: LGPL-2.1-only
"""The update image applied as xapi applies it: the control package and its check, then the group `update`, by a real dnf."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from built import Pack, build, copy_tree, needs, unpack

# As xapi writes it for an update without a key (xapi_pool_update.ml).
CONFIG = '''[main]
keepcache=0
reposdir=/dev/null
gpgcheck=0
repo_gpgcheck=0
installonlypkgs=
group_command=compat

[{label}]
name={label}
baseurl=file://{place}
'''
PLACE = '/root/packages/update'


class Pool:
    """The one host, and how xapi treats it."""

    def __init__(self, host):
        needs('dnf')
        self.host = host
        self.number = 0

    def insert(self, image: Path) -> ElementTree.Element:
        """Attaches an image. Returns update.xml."""
        self.number += 1
        place = f'{PLACE}{self.number}'
        directory = unpack(image, self.host.path(place))
        self.update = ElementTree.parse(directory / 'update.xml').getroot()
        self.text = (directory / 'update.xml').read_text()
        label = self.update.get('name-label')
        self.host.write('/root/packages/yum.conf', CONFIG.format(place=place, label=label))
        self.dnf('clean', 'all')
        return self.update

    def dnf(self, command: str, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.host.run('dnf', command, '-y', '--noplugins', '--releasever=8', '-c', '/root/packages/yum.conf', *words, check=check)

    def precheck(self) -> subprocess.CompletedProcess:
        """pool_update.precheck after its first half, the installation of the control package."""
        self.dnf('install', self.update.get('control'))
        return self.host.run(f'/var/update/{self.update.get("uuid")}/precheck', check=False)

    def apply(self) -> None:
        assert self.precheck().returncode == 0
        self.dnf('install', '@update')

    def applied(self) -> dict[str, str]:
        """What xapi finds in /var/update/applied when it looks for applied updates."""
        return {path.name: path.read_text() for path in self.host.path('/var/update/applied').iterdir()}


@pytest.fixture
def pool(host):
    return Pool(host)


def prepared(host, providers, release):
    host.rpm('-U', *providers.host(release))
    host.path('/var/update/applied').mkdir(parents=True)
    return host.files()


@pytest.mark.parametrize('key,release', [('el7', '8.2'), ('xs8', '8.3'), ('xs9', 'sm4')])
def test_apply_upgrade_and_erase(host, pool, providers, pack, newer, key, release):
    before = prepared(host, providers, release)
    update = pool.insert(pack.iso(key))
    pool.apply()
    assert host.run('rpm', '-q', 'relvmoiscsi').stdout == f'relvmoiscsi-1.1.0-1.{key}.noarch\n'
    first = update.get('uuid')
    assert pool.applied() == {first: pool.text}
    assert host.read('/etc/xapi.conf.d/zz-relvmoiscsi.conf')

    second = pool.insert(newer.iso(key)).get('uuid')
    pool.apply()
    assert host.run('rpm', '-q', 'relvmoiscsi').stdout == f'relvmoiscsi-1.1.1-1.{key}.noarch\n'
    assert pool.applied() == {second: pool.text}
    assert not host.path(f'/var/update/{first}').exists()
    assert [node.get('uuid') for node in pool.update.iter('rollsup')] == [first]

    host.rpm('-e', *host.run('rpm', '-qa', '*relvmoiscsi*').stdout.split())
    assert host.files() == before


@pytest.mark.parametrize('key,release,bound', [('el7', '8.3', 'sm < 3'), ('xs8', '8.2', 'sm >= 3'), ('xs9', '8.3', 'sm >= 4')])
def test_the_wrong_image_is_refused_with_what_xapi_looks_for(host, pool, providers, pack, key, release, bound):
    """xapi makes UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION of these words, or of yum's `Requires: ... Installed: ...`."""
    before = prepared(host, providers, release)
    pool.insert(pack.iso(key))
    refused = pool.dnf('install', 'control-relvmoiscsi-1_1_0', check=False)
    assert refused.returncode
    assert re.search(f'nothing provides {bound} needed by control-relvmoiscsi-1_1_0', refused.stdout + refused.stderr)
    assert host.files() == before


@pytest.mark.parametrize('key,entry,found', [
    ('el7', '#!/usr/bin/python3\n', '3'), ('xs8', '#!/usr/bin/python\n', '2'), ('xs8', '#!/usr/bin/env python2\n', '2'),
    ('xs8', None, 'none'), ('xs8', '\x7fELF', 'none'),
])
def test_the_precheck_looks_at_the_hosts_own_driver(host, pool, providers, pack, key, entry, found):
    prepared(host, providers, '8.2' if key == 'el7' else '8.3')
    pool.insert(pack.iso(key))
    assert pool.precheck().returncode == 0
    host.remove('/opt/xensource/sm/LVMoISCSISR')
    if entry is not None:
        host.write('/opt/xensource/sm/LVMoISCSISR', entry, 0o755)
    failed = pool.precheck()
    assert failed.returncode
    # How xapi's extension cuts the error out of whatever else is printed.
    error = ElementTree.fromstring(re.search('<error errorcode=.+</error>', failed.stdout, re.DOTALL)[0])
    assert error.get('errorcode') == 'UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION'
    assert error.find('found').text == f'storage manager in Python {found}'
    assert error.find('required').text


def test_an_update_beside_one_that_it_does_not_know(host, pool, providers, pack, tmp_path):
    """Both stay recorded; the newer payload is in place; everything goes when it is told to."""
    before = prepared(host, providers, '8.3')
    source = copy_tree(tmp_path / 'tree')
    init = source / 'drivers/relvm/__init__.py'
    init.write_text(init.read_text().replace("'1.1.0'", "'1.2.0'"))
    build(source, 'iso', tmp_path / 'out')
    pool.insert(pack.iso('xs8'))
    pool.apply()
    pool.insert(Pack(tmp_path / 'out', source).iso('xs8'))
    pool.apply()
    assert host.run('rpm', '-q', 'relvmoiscsi').stdout == 'relvmoiscsi-1.2.0-1.xs8.noarch\n'
    assert len(pool.applied()) == 2
    host.rpm('-e', *host.run('rpm', '-qa', '*relvmoiscsi*').stdout.split())
    assert host.files() == before


def test_groups_as_dnf_lists_them(host, pool, providers, pack):
    prepared(host, providers, '8.3')
    pool.insert(pack.iso('xs8'))
    assert 'update-relvmoiscsi-1_1_0 (update)' in pool.dnf('group', 'list', '--hidden', '-v').stdout
    assert pool.dnf('group', 'info', 'update').stdout.split('Mandatory Packages:')[1].split() == ['update-relvmoiscsi-1_1_0']
    names = pool.dnf('repoquery', '--disablerepo=@System', '--qf', '%{name} %{evr}').stdout.split('\n')
    assert {f'{name} 1.1.0-1.xs8' for name in ('relvmoiscsi', 'update-relvmoiscsi-1_1_0', 'control-relvmoiscsi-1_1_0')} <= set(names)
