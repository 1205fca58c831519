# SPDX-License-Identifier: LGPL-2.1-only
"""The texts in mk/templates, with @NAME@ for what the builder fills in."""

from __future__ import annotations

import re
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent.parent / 'templates'


def fill(name: str, **values: str) -> str:
    """The template `name` with every @KEY@ replaced. KeyError for one that has no value; a value may hold @KEY@ again."""
    text = (DIRECTORY / name).read_text()
    while True:
        text, count = re.subn('@([A-Z_]+)@', lambda match: values[match[1]].rstrip('\n'), text)
        if not count:
            return text


def script(name: str) -> str:
    """A shell script for a scriptlet: rpm expands % in spec files."""
    return (DIRECTORY / name).read_text().replace('%', '%%')
