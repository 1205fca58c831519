# SPDX-License-Identifier: LGPL-2.1-only
"""The source tree: what is packaged, under which version, and when it was last changed."""

from __future__ import annotations

import ast
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .targets import Target

SM_DIR = '/opt/xensource/sm'
PLUGIN_DIR = '/etc/xapi.d/plugins'
DRIVERS = ('RELVMoISCSISR', 'RELVMoHBASR')
DOCUMENTS = ('README.md', 'LICENSE')
MAN_PAGE = 'docs/relvmoiscsi.8'


@dataclass(frozen=True)
class File:
    """One path of the package: content and mode of a file, or where a symbolic link points to."""

    path: str
    content: bytes = b''
    mode: int = 0o644
    link: str | None = None


class Tree:
    """The project's files below `root`."""

    def __init__(self, root: Path):
        self.root = root

    def version(self) -> str:
        """`__version__` of the relvm package."""
        return self._constant('__version__')

    def maintainer(self) -> str:
        """Who gets reports."""
        return self._constant('MAINTAINER')

    def _constant(self, name: str) -> str:
        """A constant of the relvm package, read without running it."""
        source = (self.root / 'drivers/relvm/__init__.py').read_text()
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == name:
                return ast.literal_eval(node.value)
        raise ValueError(f'drivers/relvm/__init__.py has no {name}')

    def epoch(self) -> int:
        """Seconds since 1970 for every date in what is built: SOURCE_DATE_EPOCH, else that of the last commit, else
        that of the newest file."""
        given = os.environ.get('SOURCE_DATE_EPOCH')
        if given:
            return int(given)
        git = subprocess.run(['git', '-C', self.root, 'log', '-1', '--format=%ct'], capture_output=True, text=True, check=False)
        if git.returncode == 0 and git.stdout.strip():
            return int(git.stdout)
        return int(max(os.stat(self.root / name).st_mtime for name in self._names()))

    def _modules(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in (self.root / 'drivers/relvm').rglob('*.py'))

    def _documents(self) -> list[str]:
        return [*DOCUMENTS, *sorted(str(path.relative_to(self.root)) for path in (self.root / 'docs').glob('*.md'))]

    def _names(self) -> list[str]:
        return [*[f'drivers/{driver}.py' for driver in DRIVERS], 'plugins/relvmoiscsi', *self._modules(), *self._documents(), MAN_PAGE]

    def files(self, target: Target) -> list[File]:
        """What the package for `target` owns, in the order of the paths. Directories are not listed."""
        found = [File(f'{PLUGIN_DIR}/relvmoiscsi', self._script('plugins/relvmoiscsi', target), 0o755)]
        for driver in DRIVERS:
            found.append(File(f'{SM_DIR}/{driver}.py', self._script(f'drivers/{driver}.py', target), 0o755))
            for directory in target.sm_entries:
                found.append(File(f'{directory}/{driver}', link=os.path.relpath(f'{SM_DIR}/{driver}.py', directory)))
        for name in self._modules():
            found.append(File(f'{SM_DIR}/{Path(name).relative_to("drivers")}', (self.root / name).read_bytes()))
        for name in self._documents():
            found.append(File(f'/usr/share/doc/relvmoiscsi/{name}', (self.root / name).read_bytes()))
        found.append(File(f'/usr/share/man/man8/{Path(MAN_PAGE).name}', (self.root / MAN_PAGE).read_bytes()))
        return sorted(found, key=lambda file: file.path)

    def _script(self, name: str, target: Target) -> bytes:
        """A program's text with the target's interpreter in its first line."""
        first, rest = (self.root / name).read_bytes().split(b'\n', 1)
        if not first.startswith(b'#!'):
            raise ValueError(f'{name} does not begin with #!')
        return b'#!' + target.python.encode() + b'\n' + rest

    def install_script(self) -> bytes:
        """The top-level install.sh."""
        return (self.root / 'install.sh').read_bytes()
