# SPDX-License-Identifier: LGPL-2.1-only
"""RPMs of everybody else, as far as ours has to do with them: names, versions and the few files that matter."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

SPEC = '''
%define __os_install_post %{{nil}}
Name: {name}
Version: {version}
Release: 1
Summary: stand-in
License: none
BuildArch: noarch
AutoReqProv: no
{provides}
%description
stand-in
%install
cp -a %{{_sourcedir}}/root/. %{{buildroot}}/
{post}
%files
{files}
'''

LIST_70 = 'ext nfs iscsi lvmoiscsi dummy file hba rawhba udev iso lvm lvmohba lvmofcoe shm smb'
LIST_83 = LIST_70 + ' cephfs glusterfs xfs zfs largeblock'


def make(out: Path, name: str, version: str, files: dict[str, str] | None = None, post: str = '', provides: str = '') -> Path:
    """Builds an RPM with `files` (path -> content, `link:TARGET` for a link, `dir:` for a directory). What lies in /etc is
    a configuration file that upgrades replace, as xapi.conf is. `post` is a script for after the installation."""
    files = files or {}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, 'root')
        root.mkdir()
        lines = []
        for path, content in files.items():
            place = root / path.lstrip('/')
            place.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith('dir:'):
                place.mkdir()
                lines.append(f'%dir {path}')
            elif content.startswith('link:'):
                place.symlink_to(content.removeprefix('link:'))
                lines.append(path)
            else:
                place.write_text(content)
                place.chmod(0o755 if content.startswith('#!') else 0o644)
                lines.append(f'%config {path}' if path.startswith('/etc') else path)
        Path(scratch, 'x.spec').write_text(SPEC.format(
            name=name, version=version, files='\n'.join(lines), post=f'%post\n{post}' if post else '',
            provides=f'Provides: {provides}' if provides else ''))
        subprocess.run(['rpmbuild', '-bb', '--quiet', '--nodeps', '--target', 'noarch', '--define', f'_topdir {scratch}/build',
                        '--define', f'_sourcedir {scratch}', '--define', f'_rpmdir {scratch}/rpms', f'{scratch}/x.spec'],
                       check=True, capture_output=True)
        built = next(Path(scratch, 'rpms').rglob('*.rpm'))
        return Path(built.replace(out / built.name))


class Providers:
    """The packages, built when first asked for."""

    def __init__(self, out: Path):
        self.out = out
        self.made: dict[tuple, Path] = {}

    def get(self, name: str, version: str, files: dict[str, str] | None = None, post: str = '', provides: str = '') -> Path:
        key = (name, version)
        if key not in self.made:
            self.made[key] = make(self.out, name, version, files, post, provides)
        return self.made[key]

    def shell(self) -> Path:
        return self.get('bash', '4', provides='/bin/sh')

    def sm(self, version: str) -> Path:
        """The storage manager: the entry of its own LVM over iSCSI driver, in the Python of that version."""
        python = '/usr/bin/python' if int(version.split('.')[0]) < 3 else '/usr/bin/python3'
        files = {'/opt/xensource/sm/LVHDoISCSISR.py': f'#!{python}\n'}
        if version.startswith('4'):
            files['/usr/libexec/sm/drivers/LVMoISCSISR'] = f'#!{python}\n'
            files['/opt/xensource/sm/LVMoISCSISR'] = 'link:/usr/libexec/sm/drivers/LVMoISCSISR'
        else:
            files['/opt/xensource/sm/LVMoISCSISR'] = 'link:LVHDoISCSISR.py'
        return self.get('sm', version, files)

    def xapi(self, version: str, plugins: str | None) -> Path:
        """xapi-core with this list of storage plugins, or, with None, as in 6.5."""
        files = {'/etc/xapi.d/plugins/echo': '#!/bin/sh\n'}
        if plugins is None:
            files['/etc/xapi.conf'] = '# no list\nuse-switch = false\n'
        else:
            files['/etc/xapi.conf'] = f'use-switch = false\n# Whitelist of SM plugins\nsm-plugins={plugins}\n'
            files['/etc/xapi.conf.d'] = 'dir:'
        return self.get('xapi-core', version, files)

    def host(self, key: str) -> list[Path]:
        """A shell, sm and xapi-core of a release: '6.5', '7.0', '8.2', '8.3', 'sm4'."""
        return [self.shell()] + {
            '6.5': lambda: [self.sm('0.9.9'), self.xapi('0.2', None)],
            '7.0': lambda: [self.sm('1.13.0'), self.xapi('1.9', LIST_70)],
            '8.2': lambda: [self.sm('2.30.8'), self.xapi('1.249', LIST_70 + ' zfs')],
            '8.3': lambda: [self.sm('3.2.12'), self.xapi('24.19', LIST_83)],
            'sm4': lambda: [self.sm('4.1.9'), self.xapi('26.1', LIST_83)],
        }[key]()
