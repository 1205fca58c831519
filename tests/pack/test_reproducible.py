# SPDX-License-Identifier: LGPL-2.1-only
"""The same input gives the same bytes, whoever builds where and when; other input does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from built import EPOCH, ROOT, build, copy_tree


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob('*')) if path.is_file()}


def test_another_directory_user_setting_and_time(pack, tmp_path):
    source = copy_tree(tmp_path / 'a copy with a space')
    for number, path in enumerate(sorted(source.rglob('*'))):
        if path.is_file():
            os.utime(path, (1600000000 + number, 1600000000 + number))
    home = tmp_path / 'home'
    home.mkdir()
    (home / '.rpmmacros').write_text('%packager Somebody\n%vendor Someone\n%_binary_payload w1.xzdio\n%dist .mine\n')
    # SOURCE_DATE_EPOCH lies ahead of files and behind of others; umask, time zone and locale differ.
    build(source, 'iso', tmp_path / 'out', HOME=str(home), TZ='Asia/Kathmandu', LC_ALL='POSIX', LANG='de_DE.UTF-8')
    old = os.umask(0o077)
    try:
        build(source, 'iso', tmp_path / 'again', HOME=str(home))
    finally:
        os.umask(old)
    first = contents(pack.out)
    assert contents(tmp_path / 'out') == first
    assert contents(tmp_path / 'again') == first


def test_another_date_gives_other_bytes(pack, tmp_path):
    build(ROOT, 'rpm', tmp_path, SOURCE_DATE_EPOCH=str(int(EPOCH) + 1))
    for name, data in contents(tmp_path).items():
        assert data != (pack.out / name).read_bytes()


def test_nothing_of_an_earlier_build_stays(tmp_path):
    build(ROOT, 'iso', tmp_path)
    build(ROOT, 'rpm', tmp_path)
    assert all(str(name).endswith('.rpm') for name in contents(tmp_path))


def test_without_a_date_the_last_commits_counts(tmp_path):
    source = copy_tree(tmp_path / 'tree')
    git = ['git', '-C', source, '-c', 'user.name=x', '-c', 'user.email=x']
    subprocess.run([*git, 'init', '-q'], check=True)
    subprocess.run([*git, 'add', '-A'], check=True)
    subprocess.run([*git, 'commit', '-q', '-m', 'x', '--date', '@1700000000'], check=True,
                   env={**os.environ, 'GIT_COMMITTER_DATE': '@1700000000 +0000'})
    build(source, 'rpm', tmp_path / 'out', SOURCE_DATE_EPOCH='')
    times = {subprocess.run(['rpm', '-qp', '--qf', '%{BUILDTIME}', path], capture_output=True, text=True, check=True).stdout
             for path in (tmp_path / 'out').rglob('*.rpm')}
    assert times == {'1700000000'}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / 'mk/build', *words], capture_output=True, text=True, check=False,
                          env={**os.environ, 'GPG_KEY': '', **environment})


def test_usage():
    for words in ((), ('all',), ('rpm', 'OUTPUT=x'), ('rpm', '--help')):
        done = run(*words)
        assert done.returncode == 2
        assert 'usage: mk/build rpm|iso' in done.stderr


def test_a_missing_tool_is_named_with_its_package(tmp_path):
    for tool in ('git', 'rpm', 'rpmbuild'):
        os.symlink(subprocess.run(['which', tool], capture_output=True, text=True, check=True).stdout.strip(), tmp_path / tool)
    done = run('iso', f'OUT={tmp_path}/out', PATH=str(tmp_path))
    assert done.returncode == 1
    assert 'missing: createrepo_c, xorriso. On Debian or Ubuntu: apt-get install createrepo-c xorriso' in done.stderr


def test_unsigned_images_are_warned_about(pack):
    assert pack.complaints.startswith('warning: no GPG_KEY given')
    assert 'Invalid signature' in pack.complaints
