# SPDX-License-Identifier: LGPL-2.1-only
"""Bytes and text in one source for Python 2.4 to 3.x.

What comes from the LUN is bytes. The engine works on it as *native str* with one character per byte (Python 2: the bytes
themselves; Python 3: decoded as Latin-1), so that one set of regular expressions serves every Python and nothing is lost.
"""

import re
import sys

# U+D800..U+DFFF as UTF-8 would have them
_SURROGATE = re.compile('\xed[\xa0-\xbf][\x80-\xbf]')

if sys.version_info[0] >= 3:
    def text(data):
        """bytes -> native str, one character per byte."""
        return data.decode('latin-1')

    def octets(string):
        """native str of characters below 256 -> bytes."""
        return string.encode('latin-1')

    def from_user(string):
        """A Unicode string from outside the LUN (sr-create's name) -> its UTF-8 bytes as native str."""
        if isinstance(string, bytes):
            return string.decode('latin-1')
        try:
            # in the C locale an argument's bytes beyond ASCII are lone surrogates
            return string.encode('utf-8', 'surrogateescape').decode('latin-1')
        except UnicodeEncodeError:
            return string.encode('utf-8', 'replace').decode('latin-1')

    def for_user(string):
        """The opposite: native str with UTF-8 bytes -> what a person reads."""
        return string.encode('latin-1').decode('utf-8', 'replace')
else:
    def text(data):
        return str(data)

    def octets(string):
        return string

    def from_user(string):
        if isinstance(string, unicode):
            # Python 2 encodes lone surrogates, which no other decoder takes back
            return _SURROGATE.sub('?', string.encode('utf-8'))
        return string

    def for_user(string):
        return string.decode('utf-8', 'replace')


def is_utf8(string):
    """True if the native str holds valid UTF-8."""
    try:
        octets(string).decode('utf-8')
    except UnicodeError:
        return False
    # Python 2 decodes them
    return _SURROGATE.search(string) is None
