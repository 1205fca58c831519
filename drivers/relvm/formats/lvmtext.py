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

# Comments in a row, escapes in a string, items of a list: the regular expressions keep a kilobyte for each that they are in
_MOST = '{0,4096}'
# White space as C's isspace has it: \s takes more on Python 3, whose native str of LUN bytes is Unicode
_SPACE = r'[ \t-\r]*(?:#[^\n]*\n[ \t-\r]*)' + _MOST
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)%s"' % _MOST
_NUMBER = r'-?[0-9]{1,19}(?:\.[0-9]*)?(?![A-Za-z0-9_.+-])'
_SCALAR = '(?:%s|%s)' % (_STRING, _NUMBER)
_LIST = r'\[(?:%s%s%s(?:,|(?=\])))%s%s\]' % (_SPACE, _SCALAR, _SPACE, _MOST, _SPACE)
# One match is a whole entry or the brace that ends a section. The last alternative is any character that begins neither: so
# matches follow each other without a gap, and the time is linear for rubbish too.
_ENTRY = re.compile('%s(?:'
                    '([A-Za-z0-9_.+-]+)%s(?:=%s(%s|%s)|({))'  # 1 name, 2 value or 3 start of a section
                    '|(})'                                      # 4 its end
                    r'|(\0*\Z|#[^\n]*\Z)'                       # 5 end of the text
                    r'|([^\0]|\0))' %                           # 6 anything else
                    (_SPACE, _SPACE, _SPACE, _SCALAR, _LIST))
NAME, VALUE, OPEN, CLOSE, END = range(1, 6)
_ITEM = re.compile('%s|%s' % (_SCALAR, '#[^\n]*'))
_ESCAPED = re.compile(r'\\(.)')

MAX_DEPTH = 8


class Value(object):
    """`name = value`: `start` and `end` enclose the value itself, `data` is an int, a float, a str or a list of these."""

    __slots__ = ('start', 'end', 'data')

    def __init__(self, start, end, data):
        self.start = start
        self.end = end
        self.data = data


class Section(object):
    """`name { ... }`: `start` is where the name starts, `name_end` where it ends, `body` the place after `{`, `end` after `}`."""

    __slots__ = ('name', 'start', 'name_end', 'body', 'end', 'order', 'entries')

    def __init__(self, name, start):
        self.name = name
        self.start = start
        self.name_end = start + len(name)
        self.body = self.name_end
        self.end = start
        self.order = []
        self.entries = {}

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


def parse(string):
    """The whole text as a nameless Section.

    string: native str, with or without the final NUL. Raises errors.BadText. Time and memory are linear in its length.
    """
    section = root = Section('', 0)
    outer = []
    # the same values stand in every LV: each is converted once
    known = {}
    for match in _ENTRY.finditer(string):
        kind = match.lastindex
        if kind == VALUE or kind == OPEN:
            name, source = match.group(NAME, VALUE)
            if name in section.entries:
                raise errors.BadText(what='%s appears twice in %s' % (name, section.name or 'the text'))
            section.order.append(name)
            if source:
                if source not in known:
                    known[source] = _value(source)
                start, end = match.span(VALUE)
                section.entries[name] = Value(start, end, known[source])
            else:
                section.entries[name] = inner = Section(name, match.start(NAME))
                inner.body = match.end()
                outer.append(section)
                section = inner
                if len(outer) == MAX_DEPTH:
                    raise errors.BadText(what='sections are nested more than %d deep' % MAX_DEPTH)
        elif kind == CLOSE and outer:
            section.end = match.end()
            section = outer.pop()
        elif kind == END:
            break
        else:
            start = match.start(kind)
            raise errors.BadText(what='unexpected %s at byte %d' % (string[start:start + 40], start))
    if outer:
        raise errors.BadText(what='the section %s is not closed' % section.name)
    root.end = len(string)
    return root


def _value(source):
    """The int, float, str or list that a value stands for."""
    if source[0] == '[':
        return [_value(item) for item in _ITEM.findall(source) if item[0] != '#']
    if source[0] == '"':
        if '\\' in source:
            source = _ESCAPED.sub(r'\1', source)
        return source[1:-1]
    if '.' in source:
        return float(source)
    return int(source)


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
