# SPDX-License-Identifier: LGPL-2.1-only
"""docs/CHANGELOG.md: sections `## VERSION (YYYY-MM-DD)`, the newest first, of points `* ...`. `(unreleased)` until it is."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

from .command import BuildError

FILE = 'docs/CHANGELOG.md'
UNRELEASED = 'unreleased'
HEADING = re.compile(r'## (\S+)(?: \(([^)]*)\))?$')


@dataclass(frozen=True)
class Section:
    """`date` is None for what is not released."""

    version: str
    date: datetime.date | None
    points: list[str]

    def text(self) -> str:
        """The points as they stand, for a tag or an announcement."""
        return ''.join(f'* {point}\n' for point in self.points)


def sections(root: Path) -> list[Section]:
    """All of the file below `root`. Raises BuildError for what has another form."""
    found: list[Section] = []
    for number, line in enumerate((root / FILE).read_text(encoding='utf-8').splitlines(), 1):
        heading = HEADING.match(line)
        if heading:
            found.append(Section(heading.group(1), _date(heading.group(2), number), []))
        elif line.startswith('* ') and found:
            found[-1].points.append(line[2:].strip())
        elif line.startswith('  ') and found and found[-1].points:
            found[-1].points[-1] += ' ' + line.strip()
        elif line.strip() and found:
            raise BuildError(f'{FILE}, line {number}: neither a heading nor a point')
    return found


def _date(text: str | None, number: int) -> datetime.date | None:
    if text in (None, UNRELEASED):
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise BuildError(f'{FILE}, line {number}: {text} is neither a day (YYYY-MM-DD) nor "{UNRELEASED}"') from None


def spec(root: Path, version: str, release: str, epoch: int) -> str:
    """%changelog of the RPM `version`-`release`, built from what was committed at `epoch`: its own section and those of earlier
    releases."""
    known = sections(root)
    names = [section.version for section in known]
    if version in names:
        known = known[names.index(version):]
    else:
        known = [Section(version, None, [f'Version {version}']), *known]
    day = datetime.datetime.fromtimestamp(epoch, datetime.timezone.utc).date()
    entries = []
    for section in known:
        # rpm wants them in order, and what is released later cannot be older
        day = min(day, section.date or day)
        points = '\n'.join('- ' + point.replace('%', '%%') for point in section.points) or '- Released'
        entries.append(f'* {day.strftime("%a %b %d %Y")} relvmoiscsi project - {section.version}-{release}\n{points}\n')
    return '\n'.join(entries)
