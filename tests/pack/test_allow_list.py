# SPDX-License-Identifier: LGPL-2.1-only
"""The scriptlets' list of allowed plugins (shell) and the plugin's (Python), against a reader written after xapi's own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import ROOT, needs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(ROOT / 'drivers'))

from relvm.install import allowlist  # noqa: E402

SHELLS = [['dash'], ['bash', '--posix'], ['busybox', 'ash']]
# All that a scriptlet may use: coreutils. Nothing else is on its PATH.
PROGRAMS = ['ls', 'sort', 'cat', 'mkdir', 'chmod', 'mv', 'rm', 'tail']
OWN = 'zz-relvmoiscsi.conf'
TYPES = ['relvmoiscsi', 'relvmohba']
# The regular expression of xapi's configuration files (xcp_service.ml), unanchored.
KEY_AND_VALUE = re.compile(r'([^=\\ \t]+)[\\ \t]*=[\\ \t]*(.*)')


def xapi_reads(etc: Path) -> tuple[list[str] | None, str]:
    """The list of plugins that xapi has after it started with this /etc, and the file that it is from; None if nothing
    defines one."""
    found, last = None, ''
    directory = etc / 'xapi.conf.d'
    # OCaml compares strings byte by byte.
    names = sorted((path.name.encode(), path) for path in directory.iterdir()) if directory.is_dir() else []
    for path in [etc / 'xapi.conf'] + [path for _, path in names]:
        if not path.is_file():
            continue
        for line in path.read_bytes().decode('latin-1').split('\n'):
            match = KEY_AND_VALUE.search(line.split('#')[0].rstrip(' \t'))
            if match and match[1] == 'sm-plugins':
                value = match[2]
                if len(value) >= 2 and value[0] == value[-1] and value[0] in '\'"':
                    value = value[1:-1]
                found, last = value.split(), path.name
    return found, last


def run_script(etc: Path, shell: list[str]) -> str:
    """The scriptlets' part with /etc elsewhere; what it says on stderr."""
    script = (ROOT / 'mk/templates/allow-list.sh').read_text()
    assert '/etc/' in script
    needs(*(['busybox'] if 'busybox' in shell else []))
    programs = etc.parent / 'programs'
    if not programs.exists():
        programs.mkdir()
        for name in PROGRAMS:
            (programs / name).symlink_to(shutil.which(name))
    done = subprocess.run([shutil.which(shell[0]), *shell[1:], '-c', script.replace('/etc/', f'{etc}/')],
                          env={'PATH': str(programs)}, capture_output=True, text=True, check=True)
    assert done.stdout == ''
    return done.stderr


def write(etc: Path, main: str | None, files: dict[str, str]) -> None:
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir(parents=True)
    if main is not None:
        (etc / 'xapi.conf').write_bytes(main.encode('latin-1'))
    if files:
        (etc / 'xapi.conf.d').mkdir()
    for name, content in files.items():
        (etc / 'xapi.conf.d' / name).write_bytes(content.encode('latin-1'))


def judge(etc: Path, shell: list[str]) -> None:
    """Runs the script and holds its drop-in and the plugin's opinion against what xapi reads."""
    own = etc / 'xapi.conf.d' / OWN
    before = own.read_bytes() if own.exists() else None
    if before is not None:
        own.unlink()
    without, last = xapi_reads(etc)
    if before is not None:
        own.write_bytes(before)
    complaint = run_script(etc, shell)
    now, _ = xapi_reads(etc)
    assert list(etc.glob('.*')) == [], 'a temporary file is left'
    problem = allowlist.problem('relvmoiscsi', str(etc / 'xapi.conf'), str(etc / 'xapi.conf.d'))
    if without is None or '*' in without:
        assert not own.exists()
        assert (complaint, problem) == ('', None)
        return
    expected = [word for word in without if word.lower() not in TYPES] + TYPES
    lines = [line for line in own.read_bytes().decode('latin-1').splitlines() if not line.startswith('#')]
    assert lines == ['sm-plugins=' + ' '.join(expected)]
    if last > OWN:
        assert last in complaint
        assert (problem is None) == ('relvmoiscsi' in [word.lower() for word in without])
    else:
        assert (complaint, problem) == ('', None)
        assert now == expected
    again = own.stat()
    run_script(etc, shell)
    assert own.stat().st_ino == again.st_ino, 'written again without a change'


LISTS = [
    '', 'sm-plugins=', 'sm-plugins=ext nfs', 'sm-plugins = ext  nfs \t', '  sm-plugins\t=\t"ext nfs" # why', "sm-plugins='ext nfs'",
    '# sm-plugins=ext', 'sm-plugins=ext#nfs', 'sm-plugins=*', 'sm-plugins=ext *', 'sm-plugins=*ext', 'sm-plugins=ReLVMoISCSI ext',
    'sm-plugins=ext\r', 'sm-plugins="ext nfs', 'sm-plugins="', "sm-plugins=\"ext'", 'other=1', 'sm-plugins', '=ext',
    'sm-plugins=a\nsm-plugins=b c', 'sm-plugins=a=b', 'xsm-plugins=a', 'word sm-plugins=a', 'sm-plugins=a b\n\n', 'sm-plugins=\xe9',
    'sm-plugins=$(touch x) `id` ; & | > x \\', 'sm-plugins=[a-z]* ? ~', 'sm-plugins=a\x0bb\x0cc', "sm-plugins=''", 'sm-plugins=-n -e',
]
FILES = ['a.conf', '.hidden', '00', 'zz-relvmoiscsi.conf.rpmsave', 'zz-a', 'zzz.conf', 'Z', 'with space', '~', '-x', OWN]


@pytest.fixture
def etc(tmp_path):
    return tmp_path / 'etc'


@pytest.mark.parametrize('shell', SHELLS, ids=lambda shell: shell[0])
def test_each_way_to_write_the_list(etc, shell):
    for main in [None, *LISTS]:
        write(etc, main, {})
        judge(etc, shell)


@pytest.mark.parametrize('shell', SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize('name', FILES)
def test_each_name_of_a_file(etc, shell, name):
    write(etc, 'sm-plugins=ext', {name: 'sm-plugins=ext more\n', 'b.conf': 'sm-plugins=b\n'})
    judge(etc, shell)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(main=st.one_of(st.none(), st.sampled_from(LISTS)), shell=st.sampled_from(SHELLS),
       files=st.dictionaries(st.sampled_from(FILES), st.lists(st.sampled_from(LISTS), max_size=3).map('\n'.join), max_size=5))
def test_any_combination(etc, main, files, shell):
    write(etc, main, files)
    judge(etc, shell)


def test_a_directory_among_the_files(etc):
    write(etc, 'sm-plugins=ext', {'a': ''})
    (etc / 'xapi.conf.d/zz.d').mkdir()
    judge(etc, ['dash'])
