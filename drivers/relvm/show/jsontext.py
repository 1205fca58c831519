# SPDX-License-Identifier: LGPL-2.1-only
"""JSON out, for programs that read what this product prints (RFC 8259).

Python 2.4 has no json module. This writes the part that is needed: None, booleans, integers, finite floats, text,
lists, tuples and dicts whose keys are text. The answer is ASCII (everything else as \\uXXXX, beyond the Basic
Multilingual Plane as a surrogate pair) with sorted keys, so equal data gives equal text on every Python.
"""

from relvm.octets import for_user, octets

INTEGERS = (int, type(1 << 80))
BYTES = type(octets(''))
TEXT = type(for_user(''))

SHORT_ESCAPES = {0x08: '\\b', 0x09: '\\t', 0x0a: '\\n', 0x0c: '\\f', 0x0d: '\\r', 0x22: '\\"', 0x5c: '\\\\'}


def dumps(value, indent=None):
    """`value` as JSON, a str of ASCII characters.

    `indent`: None for one line, or the number of spaces per level for people.
    Byte strings are taken as UTF-8; what is not UTF-8 in them becomes U+FFFD.
    Raises TypeError for what JSON has no word for (also a key that is not text) and ValueError for NaN and infinities.
    """
    return ''.join(_pieces(value, indent, 0))


def _pieces(value, indent, level):
    """The answer's parts for `value`, which stands `level` containers deep."""
    if value is None:
        return ['null']
    if value is True:
        return ['true']
    if value is False:
        return ['false']
    if isinstance(value, INTEGERS):
        return ['%d' % value]
    if isinstance(value, float):
        return [_number(value)]
    if isinstance(value, (BYTES, TEXT)):
        return [_string(value)]
    if isinstance(value, dict):
        items = [(_string(key), value[key]) for key in value]
        items.sort(key=lambda item: item[0])
        return _container('{}', [[key, ': '] + _pieces(item, indent, level + 1) for key, item in items], indent, level)
    if isinstance(value, (list, tuple)):
        return _container('[]', [_pieces(item, indent, level + 1) for item in value], indent, level)
    raise TypeError('JSON has no word for %r' % type(value))


def _container(brackets, members, indent, level):
    if not members:
        return [brackets]
    separator, start, end = ', ', '', ''
    if indent is not None:
        start = '\n' + ' ' * (indent * (level + 1))
        end = '\n' + ' ' * (indent * level)
        separator = ',' + start
    out = [brackets[0], start]
    for number, member in enumerate(members):
        if number:
            out.append(separator)
        out.extend(member)
    out.append(end)
    out.append(brackets[1])
    return out


def _number(value):
    if value != value or value - value != 0:
        raise ValueError('JSON has no word for %r' % value)
    return repr(value)


def _string(value):
    if isinstance(value, BYTES):
        value = value.decode('utf-8', 'replace')
    elif not isinstance(value, TEXT):
        raise TypeError('a JSON key is text, not %r' % type(value))
    out = ['"']
    for char in value:
        code = ord(char)
        if code in SHORT_ESCAPES:
            out.append(SHORT_ESCAPES[code])
        elif 0x20 <= code < 0x7f:
            out.append(str(char))
        elif code < 0x10000:
            out.append('\\u%04x' % code)
        else:
            code -= 0x10000
            out.append('\\u%04x\\u%04x' % (0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff)))
    out.append('"')
    return ''.join(out)
