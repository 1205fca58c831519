# SPDX-License-Identifier: LGPL-2.1-only
"""The images read by the programs that will read them, where checkouts of these are at hand.

PYLIBS names checkouts of xenserver/python-libs, HOST_INSTALLER of xenserver/host-installer (each one or more, separated by
colons; 6.5's, 7.1's and newer ones all work). Each is run in the Python that it is written for.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import ROOT, unpack

JUDGES = ROOT / 'tests/pack/judges'


def checkouts(name: str) -> list:
    """One parameter per checkout that the environment names, or one that is skipped and says so."""
    found = [Path(word) for word in os.environ.get(name, '').split(':') if word]
    if found:
        return [pytest.param(path, id=path.name) for path in found]
    reason = f'{name} names no checkout of xenserver/{"python-libs" if name == "PYLIBS" else "host-installer"}'
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason))]


def interpreter_for(source: Path) -> str:
    """A Python that can run `source`: this one, or a 2.7."""
    text = source.read_bytes()
    try:
        ast.parse(text)
        if not re.search(rb'^import (md5|urllib2|ConfigParser)$', text, re.MULTILINE):
            return sys.executable
    except SyntaxError:
        pass
    candidates = [shutil.which('python2.7'), str(ROOT / 'build/venv-2.7/bin/python'),
                  *map(str, sorted(Path.home().glob('.pyenv/*/2.7*/bin/python')))]
    for candidate in candidates:
        if candidate and os.path.exists(candidate) and not subprocess.run(
                [candidate, '-c', 'import sys; sys.exit(sys.version_info[:2] != (2, 7))'], capture_output=True, check=False).returncode:
            return candidate
    pytest.skip(f'no Python 2.7 to run {source} in')


def importable(checkout: Path, place: Path) -> Path:
    """A directory from which `import xcp` gets this checkout; in old ones the top level is the package."""
    if (checkout / 'xcp').is_dir():
        return checkout
    place = place / checkout.name
    place.mkdir(parents=True, exist_ok=True)
    if not (place / 'xcp').exists():
        (place / 'xcp').symlink_to(checkout)
    return place


def judge(python: str, name: str, *arguments: object) -> object:
    environment = {**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'}
    environment.pop('PYTHONPATH', None)
    done = subprocess.run([python, JUDGES / name, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize('checkout', checkouts('PYLIBS'))
def test_python_libs_reads_the_pack(pack, tmp_path, checkout):
    directory = unpack(pack.iso('el5'), tmp_path / 'pack')
    libraries = importable(checkout, tmp_path / 'libraries')
    found = judge(interpreter_for(libraries / 'xcp/repository.py'), 'pylibs.py', libraries, directory)
    data = pack.rpm('el5').read_bytes()
    assert found['packages'] == [
        ['RPMPackage', 'relvmoiscsi', pack.rpm('el5').name, len(data), hashlib.md5(data).hexdigest(), '-U']]
    assert (found['identifier'], found['version'], found['product']) == ('relvm:relvmoiscsi', '1.1.0-1', 'XCP')
    assert found['description'] == 'Resigning of cloned LVM over iSCSI storage repositories'
    assert [(need['originator'], need['name'], need['test'], need['version']) for need in found['requires']] == [
        ('xcp', 'main', 'ge', '1.9.0')]


def installer(checkout: Path, directory: Path, tmp_path: Path) -> list[dict]:
    """The installer's judgement, with python-libs in its Python out of what PYLIBS names."""
    python = interpreter_for(checkout / 'repository.py')
    for library in (Path(word) for word in os.environ.get('PYLIBS', '').split(':') if word):
        libraries = importable(library, tmp_path / 'libraries')
        if interpreter_for(libraries / 'xcp/version.py') == python or python == sys.executable:
            return judge(python, 'installer.py', checkout, libraries, directory)
    pytest.skip(f'PYLIBS names no python-libs for the Python of {checkout}')


@pytest.mark.parametrize('checkout', checkouts('HOST_INSTALLER'))
def test_host_installer_reads_the_images(pack, tmp_path, checkout):
    source = (checkout / 'repository.py').read_text()
    if 'XS-REPOSITORY' in source:
        found = installer(checkout, unpack(pack.iso('el5'), tmp_path / 'pack'), tmp_path)
        assert len(found) == 1
        assert (found[0]['identifier'], found[0]['packages'], found[0]['types'], found[0]['problems']) == (
            'relvm:relvmoiscsi', [pack.rpm('el5').name], ['rpm'], [])
        assert found[0]['compatible'] == [True, True, False]
        assert [bool(missing) for missing in found[0]['requires']] == [True, False, False]
        return
    for key in ('el7', 'xs8', 'xs9'):
        found = installer(checkout, unpack(pack.iso(key), tmp_path / key), tmp_path)
        assert len(found) == 1
        assert (found[0]['class'], found[0]['identifier'], found[0]['problems']) == ('UpdateYumRepository', 'relvmoiscsi-1_1_0', [])
        assert found[0]['targets'] == ['control-relvmoiscsi-1_1_0', 'update-relvmoiscsi-1_1_0']
        assert sorted(found[0]['packages']) == [
            f'{name}-1.1.0-1.{key}.noarch.rpm'
            for name in ('control-relvmoiscsi-1_1_0', 'relvmoiscsi', 'update-relvmoiscsi-1_1_0')]
