# SPDX-License-Identifier: LGPL-2.1-only
"""The LVM2 metadata text: parsed with the place of every value, edited by splicing.

Grammar (libdm/libdm-config.c of LVM2):

    file    := entry*
    entry   := name "{" entry* "}"  |  name "=" value
    value   := integer | float | "string" | "[" [ value { "," value } [","] ] "]"
    comment := "#" to the end of the line

Names are letters, digits and `_ . + -`; strings escape `"` and `\\` with a backslash. LVM ends the text with a NUL. A parsed
entry remembers where it starts and ends, so an edit changes exactly its own characters and everything else, comments and
white space included, stays as LVM wrote it.

Texts are native str, one character per byte (see relvm.octets).
"""

import re

from relvm import errors

# White space as C's isspace has it: \s takes more on Python 3, whose native str of LUN bytes is Unicode
_TOKEN = re.compile(r'[ \t-\r]*(?:#[^\n]*\n[ \t-\r]*)*(?:'
                    r'("[^"\\]*(?:\\.[^"\\]*)*")'          # 1 string
                    r'|([{}\[\]=,])'                        # 2 punctuation
                    r'|([A-Za-z0-9_.+-]+)'                  # 3 name or number
                    r'|(\0*\Z|#[^\n]*\Z))')                 # 4 end
_INTEGER = re.compile(r'-?[0-9]{1,19}\Z')
_FLOAT = re.compile(r'-?[0-9]+\.[0-9]*\Z')
_ESCAPED = re.compile(r'\\(.)')

MAX_DEPTH = 8


class Value(object):
    """`name = value`: `start` and `end` enclose the value itself, `data` is an int, a float, a str or a list of these."""

    def __init__(self, start, end, data):
        self.start = start
        self.end = end
        self.data = data


class Section(object):
    """`name { ... }`: `start` is where the name starts, `name_end` where it ends, `body` the place after `{`, `end` after `}`."""

    def __init__(self, name, start):
        self.name = name
        self.start = start
        self.name_end = start + len(name)
        self.body = self.name_end
        self.end = start
        self.order = []
        self.entries = {}

    def add(self, name, entry):
        if name in self.entries:
            raise errors.BadText(what='%s appears twice in %s' % (name, self.name or 'the text'))
        self.order.append(name)
        self.entries[name] = entry

    def sections(self):
        """The sub-sections, in order."""
        return [self.entries[name] for name in self.order if isinstance(self.entries[name], Section)]

    def section(self, name):
        entry = self.entries.get(name)
        if not isinstance(entry, Section):
            raise errors.BadText(what='%s has no section %s' % (self.name or 'the text', name))
        return entry

    def value(self, name):
        """The Value called `name`, or None."""
        entry = self.entries.get(name)
        if entry is not None and not isinstance(entry, Value):
            raise errors.BadText(what='%s in %s is a section' % (name, self.name))
        return entry

    def number(self, name):
        """The non-negative integer called `name`; refused when missing."""
        entry = self.value(name)
        if entry is None or isinstance(entry.data, (str, list, float)) or entry.data < 0:
            raise errors.BadText(what='%s has no number %s' % (self.name or 'the text', name))
        return entry.data

    def string(self, name):
        """The string called `name`; refused when missing."""
        entry = self.value(name)
        if entry is None or not isinstance(entry.data, str):
            raise errors.BadText(what='%s has no string %s' % (self.name or 'the text', name))
        return entry.data

    def strings(self, name):
        """The list of strings called `name`; [] when missing."""
        entry = self.value(name)
        if entry is None:
            return []
        data = entry.data
        if isinstance(data, str):
            return [data]
        if not isinstance(data, list):
            raise errors.BadText(what='%s in %s is no list' % (name, self.name))
        for item in data:
            if not isinstance(item, str):
                raise errors.BadText(what='%s in %s is no list of strings' % (name, self.name))
        return data


class _Tokens(object):
    """The tokens of a text, one at a time: `kind` is 's'tring, 'p'unctuation, 'w'ord or 'e'nd."""

    def __init__(self, string):
        self.string = string
        self.position = 0
        self.next()

    def next(self):
        match = _TOKEN.match(self.string, self.position)
        if match is None:
            raise errors.BadText(what='unexpected characters at byte %d' % self.position)
        group = match.lastindex
        self.kind = ' spwe'[group]
        self.start = match.start(group)
        self.position = match.end(group)
        self.token = match.group(group)

    def fail(self):
        raise errors.BadText(what='unexpected %s at byte %d' % (self.token[:40] or 'end', self.start))


def parse(string):
    """The whole text as a nameless Section.

    string: native str, with or without the final NUL. Raises errors.BadText. Time and memory are linear in its length.
    """
    tokens = _Tokens(string)
    root = Section('', 0)
    stack = [root]
    while tokens.kind != 'e':
        if tokens.kind == 'p' and tokens.token == '}' and len(stack) > 1:
            stack.pop().end = tokens.position
            tokens.next()
            continue
        if tokens.kind != 'w':
            tokens.fail()
        name = tokens.token
        start = tokens.start
        tokens.next()
        if tokens.token == '{' and tokens.kind == 'p':
            section = Section(name, start)
            section.body = tokens.position
            stack[-1].add(name, section)
            stack.append(section)
            if len(stack) > MAX_DEPTH:
                raise errors.BadText(what='sections are nested more than %d deep' % MAX_DEPTH)
            tokens.next()
        elif tokens.token == '=' and tokens.kind == 'p':
            tokens.next()
            stack[-1].add(name, _value(tokens))
        else:
            tokens.fail()
    if len(stack) > 1:
        raise errors.BadText(what='the section %s is not closed' % stack[-1].name)
    root.end = len(string)
    return root


def _value(tokens):
    start = tokens.start
    if tokens.kind == 'p' and tokens.token == '[':
        items = []
        tokens.next()
        while not (tokens.kind == 'p' and tokens.token == ']'):
            items.append(_scalar(tokens))
            tokens.next()
            if tokens.kind == 'p' and tokens.token == ',':
                tokens.next()
            elif not (tokens.kind == 'p' and tokens.token == ']'):
                tokens.fail()
        result = Value(start, tokens.position, items)
    else:
        result = Value(start, tokens.position, _scalar(tokens))
    tokens.next()
    return result


def _scalar(tokens):
    token = tokens.token
    if tokens.kind == 's':
        token = token[1:-1]
        if '\\' in token:
            token = _ESCAPED.sub(r'\1', token)
        return token
    if tokens.kind == 'w':
        if _INTEGER.match(token):
            return int(token)
        if _FLOAT.match(token):
            return float(token)
    return tokens.fail()


def quote(string):
    """`string` as LVM writes it."""
    return '"%s"' % string.replace('\\', '\\\\').replace('"', '\\"')


class Edits(object):
    """Replacements in one text, applied together in one pass."""

    def __init__(self):
        self._edits = []

    def replace(self, start, end, new):
        self._edits.append((start, end, new))

    def remove(self, section):
        self.replace(section.start, section.end, '')

    def apply(self, string):
        """The edited text. Edits must not overlap."""
        self._edits.sort()
        pieces = []
        position = 0
        for start, end, new in self._edits:
            if start < position:
                raise ValueError('overlapping edits at %d' % start)
            pieces.append(string[position:start])
            pieces.append(new)
            position = end
        pieces.append(string[position:])
        return ''.join(pieces)
