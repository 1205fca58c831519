# SPDX-License-Identifier: LGPL-2.1-only
"""Parser of LVM's configuration syntax, in which metadata texts are written.

A text is a sequence of ``name = value`` and ``name { ... }``; values are integers, floats, strings in double quotes with
backslash escapes, and lists of them in brackets; ``#`` starts a comment (LVM2 libdm/libdm-config.c).
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import re


class BadText(ValueError):
    """The text does not follow the syntax."""


TOKEN = re.compile(r"""
    [ \t\r\n]+ | \#[^\n]*
  | (?P<number>-?[0-9]+)(?![A-Za-z_0-9.+/-])
  | (?P<name>[A-Za-z_0-9.+/-]+)
  | "(?P<string>(?:[^"\\]|\\.)*)"
  | (?P<mark>[{}\[\]=,])
""", re.VERBOSE | re.DOTALL)


def tokens(text):
    """(kind, value) of every token; kinds are name, number, string and mark."""
    position = 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise BadText("at %d: %r" % (position, text[position:position + 30]))
        position = match.end()
        kind = match.lastgroup
        if kind is None:
            continue
        value = match.group(kind)
        if kind == "string":
            value = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        elif kind == "number":
            value = int(value)
        yield kind, value


def parse(text):
    """The text as nested OrderedDicts; raises BadText, also for a name that occurs twice in a section."""
    stream = tokens(text)
    tree = _section(stream, top=True)
    return tree


def _section(stream, top):
    section = collections.OrderedDict()
    for kind, name in stream:
        if (kind, name) == ("mark", "}") and not top:
            return section
        if kind not in ("name", "number"):
            raise BadText("expected a name, found %r" % (name,))
        name = str(name) if kind == "number" else name
        if name in section:
            raise BadText("%s occurs twice" % name)
        mark = _next(stream)
        if mark == ("mark", "{"):
            section[name] = _section(stream, top=False)
        elif mark == ("mark", "="):
            section[name] = _value(stream)
        else:
            raise BadText("expected { or = after %s, found %r" % (name, mark[1]))
    if not top:
        raise BadText("a section is not closed")
    return section


def _next(stream):
    for token in stream:
        return token
    raise BadText("the text ends in the middle of an item")


def _value(stream):
    kind, value = _next(stream)
    if (kind, value) != ("mark", "["):
        if kind not in ("number", "string"):
            raise BadText("expected a value, found %r" % (value,))
        return value
    items = []
    for kind, value in stream:
        if (kind, value) == ("mark", "]"):
            return items
        if kind in ("number", "string"):
            items.append(value)
        elif (kind, value) != ("mark", ","):
            raise BadText("expected a list item, found %r" % (value,))
    raise BadText("a list is not closed")
