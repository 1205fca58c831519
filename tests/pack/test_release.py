# SPDX-License-Identifier: LGPL-2.1-only
"""mk/release on a clone of this repository, and %changelog of what it makes."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from built import ROOT, copy_tree, needs

sys.path.insert(0, str(ROOT / 'mk'))

from pack import changes  # noqa: E402
from pack.command import BuildError  # noqa: E402

EPOCH = 1800000000
LOG = '''# Changes

## 2.0.0 (unreleased)

* One thing
  in two lines, 100 %.
* Another.

## 1.0.0 (2026-11-30)

* The first.
'''


def written(directory, text):
    (directory / 'docs').mkdir(parents=True, exist_ok=True)
    (directory / 'docs/CHANGELOG.md').write_text(text)
    return directory


def test_the_changelog_is_read_as_it_is_described(tmp_path):
    found = changes.sections(written(tmp_path, LOG))
    assert [(section.version, section.date) for section in found] == [('2.0.0', None), ('1.0.0', datetime.date(2026, 11, 30))]
    assert found[0].points == ['One thing in two lines, 100 %.', 'Another.']
    assert found[0].text() == '* One thing in two lines, 100 %.\n* Another.\n'


@pytest.mark.parametrize('text, what', [(LOG.replace('2026-11-30', '30.11.2026'), 'line 9: 30.11.2026'),
                                        (LOG.replace('* Another.', 'Another.'), 'line 7: neither')])
def test_a_changelog_of_another_form_is_refused(tmp_path, text, what):
    with pytest.raises(BuildError, match=what):
        changes.sections(written(tmp_path, text))


def test_the_changelog_of_a_package(tmp_path):
    root = written(tmp_path, LOG)
    assert changes.spec(root, '2.0.0', '1.el7', EPOCH) == (
        '* Fri Jan 15 2027 relvmoiscsi project - 2.0.0-1.el7\n- One thing in two lines, 100 %%.\n- Another.\n\n'
        '* Mon Nov 30 2026 relvmoiscsi project - 1.0.0-1.el7\n- The first.\n')
    assert changes.spec(root, '1.0.0', '1.el7', EPOCH).count('* ') == 1
    assert changes.spec(root, '2.0.1', '1.el7', EPOCH).startswith('* Fri Jan 15 2027 relvmoiscsi project - 2.0.1-1.el7\n- Version 2.0.1\n')


def test_the_package_has_it(pack):
    said = subprocess.run(['rpm', '-qp', '--changelog', pack.rpm('el7')], capture_output=True, text=True, check=True).stdout
    first = changes.sections(ROOT)[0]
    assert first.version in said.splitlines()[0]
    assert '- ' + first.points[0] in said


@pytest.fixture
def clone(tmp_path):
    """A repository with everything committed, and a section that has its day."""
    root = copy_tree(tmp_path / 'tree')
    log = root / 'docs/CHANGELOG.md'
    log.write_text(log.read_text().replace('(unreleased)', '(2026-12-24)'))
    for words in (['init', '-q'], ['config', 'user.name', 'Vendor'], ['config', 'user.email', 'vendor@example.com'], ['add', '-A'],
                  ['commit', '-q', '-m', 'All']):
        subprocess.run(['git', '-C', root, *words], check=True)
    return root


def released(root, home, *words):
    return subprocess.run([sys.executable, root / 'mk/release', *words], capture_output=True, text=True, check=False,
                          env={**os.environ, 'GNUPGHOME': str(home)}, cwd='/')


@pytest.fixture
def ring():
    """(key ring, fingerprint of the key in it)"""
    needs('gpg')
    home = Path(tempfile.mkdtemp(prefix='gpg-', dir='/tmp'))
    home.chmod(0o700)
    words = ['gpg', '--homedir', home, '--batch']
    subprocess.run([*words, '--faked-system-time', '1700000000!', '--passphrase', '',
                    '--quick-generate-key', 'Vendor <vendor@example.com>', 'rsa2048',
                    'sign', 'never'], check=True, capture_output=True)
    listed = subprocess.run([*words, '--with-colons', '--list-secret-keys'], check=True, capture_output=True, text=True).stdout
    yield home, next(line.split(':')[9] for line in listed.splitlines() if line.startswith('fpr'))
    subprocess.run(['gpgconf', '--homedir', home, '--kill', 'gpg-agent'], check=False, capture_output=True)
    shutil.rmtree(home)


def test_a_release(clone, ring, tmp_path):
    home, key = ring
    out = tmp_path / 'out'
    done = released(clone, home, f'OUT={out}', f'GPG_KEY={key}')
    assert (done.returncode, 'v1.1.0' in done.stdout) == (0, True), done.stderr
    environment = {**os.environ, 'GNUPGHOME': str(home)}
    subprocess.run(['git', '-C', clone, 'verify-tag', 'v1.1.0'], check=True, env=environment, capture_output=True)
    text = subprocess.run(['git', '-C', clone, 'tag', '-l', '--format=%(contents:subject)%(contents:body)', 'v1.1.0'],
                          check=True, capture_output=True, text=True).stdout
    assert changes.sections(clone)[0].points[0][:20] in text
    subprocess.run(['sha256sum', '--quiet', '-c', 'SHA256SUMS'], cwd=out, check=True)
    subprocess.run(['gpg', '--verify', 'SHA256SUMS.asc', 'SHA256SUMS'], cwd=out, check=True, env=environment, capture_output=True)
    summed = {line.split('  ')[1] for line in (out / 'SHA256SUMS').read_text().splitlines()}
    there = {str(path.relative_to(out)) for path in out.rglob('*') if path.is_file()}
    assert there - summed == {'SHA256SUMS', 'SHA256SUMS.asc'}
    for path in [*out.glob('rpm/*.rpm'), *out.glob('*.iso')]:
        assert (out / 'files' / f'{path.name}.txt').read_text()
    listed = next(out.glob('files/relvmoiscsi-*.el7.noarch.rpm.txt')).read_text()
    assert '-rwxr-xr-x root root /opt/xensource/sm/RELVMoISCSISR.py' in listed
    again = released(clone, home, f'OUT={tmp_path / "again"}', f'GPG_KEY={key}')
    assert (again.returncode, 'there already' in again.stderr) == (1, True)


def test_what_is_not_released(clone, ring, tmp_path):
    home, key = ring
    words = (f'OUT={tmp_path / "out"}', f'GPG_KEY={key}')
    assert released(clone, home).returncode == 2
    (clone / 'README.md').write_text('changed')
    assert 'not everything is committed' in released(clone, home, *words).stderr
    subprocess.run(['git', '-C', clone, 'checkout', '-q', 'README.md'], check=True)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/old').write_text('')
    assert 'is not empty' in released(clone, home, *words).stderr
    log = clone / 'docs/CHANGELOG.md'
    whole = log.read_text()
    for text, what in ((whole.replace('(2026-12-24)', '(unreleased)'), 'has no day'),
                       (whole.replace('## 1.1.0', '## 1.2.0'), 'does not begin')):
        log.write_text(text)
        assert what in released(clone, home, *words).stderr
    assert subprocess.run(['git', '-C', clone, 'tag'], capture_output=True, text=True, check=True).stdout == ''
