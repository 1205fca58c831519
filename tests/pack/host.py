# SPDX-License-Identifier: LGPL-2.1-only
"""A host to install on: this machine's own files under an overlay, in a mount namespace, with an rpm database of its own.

Whatever is installed lands in the overlay's upper directory; the machine is left alone. rpm, dnf and /bin/sh are the real
ones and scriptlets really run, as root. (A user's own namespace does not do: an overlay on / needs the mounts of the machine.)
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

# mount the overlay, bind what programs need, and become the program; $1 upper $2 work $3 merged $4 shell, then the program.
ENTER = '''
set -e
upper=$1 work=$2 merged=$3 shell=$4
shift 4
mount -t overlay overlay -o "lowerdir=/,upperdir=$upper,workdir=$work" "$merged"
mount --rbind /dev "$merged/dev"
mount --rbind /proc "$merged/proc"
[ -z "$shell" ] || mount --bind "$shell" "$merged/bin/sh"
cd /
exec chroot "$merged" "$@"
'''
# Debian's rpm wants to be asked twice.
RPM = '#!/bin/sh\nexec /usr/bin/rpm --force-debian "$@"\n'
# Starts another program in a mount namespace of its own. Whatever it leaves running (dnf: a gpg-agent) ends with it.
UNSHARE = ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child']


def scratch() -> Path:
    """A new directory that may hold an overlay's upper directory: in memory if possible, since an overlay does not stand on
    another one."""
    base = Path(tempfile.mkdtemp(prefix='relvmoiscsi-host-', dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None))
    for name in ('upper', 'work', 'merged'):
        (base / name).mkdir()
    return base


def clear(base: Path) -> None:
    """Removes what `scratch` made."""
    if (base / 'work/work').exists():
        # overlayfs leaves a directory without permissions in its work directory.
        os.chmod(base / 'work/work', 0o700)
    shutil.rmtree(base)


@functools.lru_cache
def why_not() -> str:
    """Why there can be no Host on this machine, '' if there can."""
    if os.geteuid():
        return 'installing packages on an overlay of this machine needs root'
    base = scratch()
    try:
        done = subprocess.run([*UNSHARE, 'sh', '-c', ENTER, 'enter', base / 'upper', base / 'work', base / 'merged', '', 'true'],
                              capture_output=True, text=True, check=False)
    finally:
        clear(base)
    return f'no overlay in a mount namespace here: {done.stderr.strip()}' if done.returncode else ''


class Host:
    """One such host. `shell`: the program to have as /bin/sh instead of this machine's."""

    def __init__(self, shell: str = ''):
        self.base = scratch()
        self.shell = shell
        self.write('/usr/local/bin/rpm', RPM, 0o755)
        self.write('/etc/rpm/macros.place', '%_dbpath /var/lib/rpm\n')
        self.run('sh', '-c', 'rm -rf /var/lib/rpm && mkdir -p /var/lib/rpm && /usr/bin/rpm --initdb')

    def close(self) -> None:
        clear(self.base)

    def run(self, *argv: object, check: bool = True, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess:
        """Runs a program on the host. Its output is text; with `check` a failure is one of the test."""
        settings = {'PATH': '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LC_ALL': 'C', **environment}
        command = [*UNSHARE, 'sh', '-c', ENTER, 'enter', self.base / 'upper', self.base / 'work', self.base / 'merged',
                   self.shell, 'env', '-i', *(f'{name}={value}' for name, value in settings.items()), *argv]
        done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, check=False,
                              stdin=None if stdin is not None else subprocess.DEVNULL)
        if check and done.returncode:
            raise AssertionError(f'{argv} exit status {done.returncode}\n{done.stdout}{done.stderr}')
        return done

    def path(self, name: str) -> Path:
        """Where the host's file `name` lies, if it was written since the host began."""
        return self.base / 'upper' / name.lstrip('/')

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def read(self, name: str) -> str | None:
        """A file's text, None if there is none."""
        path = self.path(name)
        return path.read_text() if path.is_file() else None

    def remove(self, name: str) -> None:
        self.path(name).unlink()

    def put(self, *packages: Path) -> list[str]:
        """Copies files to the host; their names there."""
        names = []
        for package in packages:
            name = f'/root/packages/{package.name}'
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(package, self.path(name))
            names.append(name)
        return names

    def rpm(self, *words: object, check: bool = True) -> subprocess.CompletedProcess:
        """rpm, with every Path among the words put on the host first. Scriptlets must be silent unless they fail."""
        return self.run('rpm', *(self.put(word)[0] if isinstance(word, Path) else word for word in words), check=check)

    def files(self) -> dict[str, str]:
        """Everything that was added, changed or removed since the host began, except packages that lie about and rpm's
        own database: path -> what it is. A directory that this machine has too does not count."""
        found = {}
        upper = self.base / 'upper'
        for directory, names, others in os.walk(upper):
            for name in names + others:
                path = Path(directory, name)
                inside = '/' + str(path.relative_to(upper))
                if inside.startswith(('/root/packages', '/var/lib/rpm', '/usr/local/bin', '/var/cache', '/var/log', '/var/lib/dnf')):
                    continue
                mode = path.lstat().st_mode
                if stat.S_ISLNK(mode):
                    found[inside] = f'link to {os.readlink(path)}'
                elif stat.S_ISREG(mode):
                    found[inside] = f'{stat.S_IMODE(mode):o} {hashlib.sha256(path.read_bytes()).hexdigest()}'
                elif stat.S_ISCHR(mode):
                    # what a test beside this one has in there at the moment is nothing to this host
                    if inside != '/run/relvmoiscsi':
                        found[inside] = 'removed'
                elif not Path(inside).is_dir():
                    found[inside] = 'directory'
        return found
