# SPDX-License-Identifier: LGPL-2.1-only
"""Runs the tools that do the work, and says which package has a missing one."""

from __future__ import annotations

import os
import shutil
import subprocess

DEBIAN_PACKAGES = {
    'rpmbuild': 'rpm', 'rpmsign': 'rpm', 'rpm': 'rpm', 'createrepo_c': 'createrepo-c', 'xorriso': 'xorriso', 'gpg': 'gnupg',
}


class BuildError(Exception):
    """The build stops; the text says why, for the person who called it."""


def require(*tools: str) -> None:
    """Raises BuildError naming every tool that is not installed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        packages = ' '.join(sorted({DEBIAN_PACKAGES[tool] for tool in missing}))
        raise BuildError(f'missing: {", ".join(missing)}. On Debian or Ubuntu: apt-get install {packages}')


def run(*argv: object, home: str | None = None, **environment: str) -> str:
    """Runs a tool and returns its standard output. The environment is fixed, since locale, time zone and dot files show
    up in what is built; GNUPGHOME passes. Raises BuildError with the tool's own words when it fails."""
    clean = {name: os.environ[name] for name in ('PATH', 'GNUPGHOME', 'TMPDIR') if name in os.environ}
    clean.update(LC_ALL='C.UTF-8', TZ='UTC', HOME=home or os.environ.get('HOME', '/'), **environment)
    done = subprocess.run([str(word) for word in argv], env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise BuildError(f'{" ".join(map(str, argv))}: exit status {done.returncode}\n{done.stdout}{done.stderr}')
    return done.stdout
