# SPDX-License-Identifier: LGPL-2.1-only
"""RPMs, through rpmbuild, the same bytes for the same input."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from . import changes, template
from .command import BuildError, run
from .targets import LIST_OWNERS, Target
from .tree import SM_DIR, File, Tree

RELEASE = '1'


def release(target: Target) -> str:
    """The RPM release for a target, such as `1.el7`."""
    return f'{RELEASE}.{target.key}'


def changelog_date(epoch: int) -> str:
    """The day of `epoch` (UTC) as %changelog wants it, such as Sun Nov 22 2026."""
    return time.strftime('%a %b %d %Y', time.gmtime(epoch))


def stage(files: list[File], root: Path, epoch: int) -> None:
    """Writes `files` below `root`, dated `epoch`."""
    for file in files:
        path = root / file.path.lstrip('/')
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.link:
            path.symlink_to(file.link)
        else:
            path.write_bytes(file.content)
            path.chmod(file.mode)
        os.utime(path, (epoch, epoch), follow_symlinks=False)
    for path in root.rglob('*'):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def build(spec: str, files: list[File], target: Target, epoch: int, out: Path, maintainer: str) -> Path:
    """Builds one noarch RPM from the text of a spec file and puts it into `out`. Returns its path."""
    with tempfile.TemporaryDirectory(prefix='relvmoiscsi-rpm-') as scratch:
        top = Path(scratch)
        (top / 'root').mkdir()
        stage(files, top / 'root', epoch)
        (top / 'package.spec').write_text(spec)
        defines = {
            '_topdir': top / 'build', '_sourcedir': top, '_rpmdir': top / 'rpms', '_dbpath': top / 'db',
            '_build_name_fmt': '%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
            # The same bytes on every day and every machine.
            'use_source_date_epoch_as_buildtime': 1, 'clamp_mtime_to_source_date_epoch': 1,
            'build_mtime_policy': 'clamp_to_source_date_epoch', 'source_date_epoch_from_changelog': 0,
            '_buildhost': 'localhost',
            # What the oldest rpm of the target can read: gzip everywhere, and nothing made by the build host's helpers.
            '_binary_payload': 'w9.gzdio', '_binary_filedigest_algorithm': target.digest,
            '_source_filedigest_algorithm': target.digest, '_build_id_links': 'none',
            '__os_install_post': '%{nil}', 'debug_package': '%{nil}',
            'vendor': 'relvmoiscsi project', 'packager': maintainer,
        }
        words = [word for name, value in defines.items() for word in ('--define', f'{name} {value}')]
        run('rpmbuild', '-bb', '--quiet', '--nodeps', '--target', 'noarch', *words, top / 'package.spec',
            home=scratch, SOURCE_DATE_EPOCH=str(epoch))
        built = list((top / 'rpms').glob('*.rpm'))
        if len(built) != 1:
            raise BuildError(f'rpmbuild made {len(built)} packages of one')
        out.mkdir(parents=True, exist_ok=True)
        place = out / built[0].name
        place.write_bytes(built[0].read_bytes())
        os.utime(place, (epoch, epoch))
        return place


def payload(tree: Tree, target: Target, out: Path) -> Path:
    """The RPM with the driver itself."""
    files = tree.files(target)
    values = {
        'CHANGES': changes.spec(tree.root, tree.version(), release(target), tree.epoch()),
        'VERSION': tree.version(), 'RELEASE': release(target),
        'TITLE': target.title, 'REQUIRES_SM': target.sm,
        'TRIGGERS': ', '.join(LIST_OWNERS), 'FILES': _file_list(files),
        'ALLOW_LIST': template.script('allow-list.sh'), 'BYTECODE': template.script('bytecode.sh'), 'FILE_TRIGGERS': '',
    }
    if target.file_triggers:
        values['FILE_TRIGGERS'] = template.fill('file-triggers.spec', **values)
    return build(template.fill('relvmoiscsi.spec', **values), files, target, tree.epoch(), out, tree.maintainer())


def _file_list(files: list[File]) -> str:
    """The %files section: every path by name, and the directories that no other package owns."""
    package = f'{SM_DIR}/relvm'
    wings = {os.path.dirname(file.path) for file in files if file.path.startswith(f'{package}/')}
    owned = [*sorted(wings | {package}), '/usr/share/doc/relvmoiscsi', '/usr/share/doc/relvmoiscsi/docs']
    lines = [f'%dir {place}' for place in owned]
    for file in files:
        lines.append(f'%doc {file.path}' if file.path.startswith(('/usr/share/doc/', '/usr/share/man/')) else file.path)
    return '\n'.join(lines)


def installed_size(rpm: Path) -> int:
    """Bytes that the RPM's files take on the host."""
    with tempfile.TemporaryDirectory(prefix='relvmoiscsi-rpm-') as scratch:
        return int(run('rpm', '--dbpath', scratch, '-qp', '--qf', '%{SIZE}', rpm, home=scratch))
