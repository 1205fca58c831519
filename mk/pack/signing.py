# SPDX-License-Identifier: LGPL-2.1-only
"""Signatures made with gpg: update.xml and repomd.xml for xapi, the RPMs for rpm and yum."""

from __future__ import annotations

import shutil
from pathlib import Path

from .command import BuildError, run


class Key:
    """The secret key that `name` (key id, fingerprint or user id) selects in gpg's key ring.

    `file_name` is what the public key's file is called, on the build host and in /etc/pki/rpm-gpg of a host.
    """

    file_name = 'RPM-GPG-KEY-relvmoiscsi'
    RSA = '1'

    def __init__(self, name: str, epoch: int):
        records = [line.split(':') for line in run('gpg', '--batch', '--with-colons', '--list-secret-keys', name).splitlines()]
        keys = [record for record in records if record[0] == 'sec']
        if len(keys) != 1:
            raise BuildError(f'GPG_KEY={name} selects {len(keys)} secret keys; give the fingerprint of one')
        if keys[0][3] != self.RSA:
            raise BuildError(f'GPG_KEY={name} is not an RSA key, and rpm and gpg of XenServer 7 know no newer kind')
        self.fingerprint = next(record[9] for record in records if record[0] == 'fpr')
        # The same signature each time; a date before that of the key would not be believed.
        self._time = f'{max(epoch, int(keys[0][5]) + 1)}!'

    def sign_file(self, path: Path) -> None:
        """Writes the detached signature `path`.asc."""
        run('gpg', '--batch', '--yes', '--faked-system-time', self._time, '--digest-algo', 'SHA256', '--armor',
            '--local-user', self.fingerprint, '--output', f'{path}.asc', '--detach-sign', path)

    def sign_rpm(self, path: Path) -> None:
        """Signs an RPM in place."""
        defines = {
            '__gpg': shutil.which('gpg'), '_gpg_name': self.fingerprint, '_gpg_digest_algo': 'sha256',
            '_gpg_sign_cmd_extra_args': f'--batch --faked-system-time {self._time}',
        }
        words = [word for name, value in defines.items() for word in ('--define', f'{name} {value}')]
        run('rpmsign', '--addsign', *words, path)

    def export(self, directory: Path) -> Path:
        """Writes the public key to a file in `directory` and returns its path."""
        path = directory / self.file_name
        path.write_text(run('gpg', '--batch', '--armor', '--export-options', 'export-minimal', '--export', self.fingerprint))
        return path
