# SPDX-License-Identifier: LGPL-2.1-only
"""New identities: UUIDs as sm uses them and ids as LVM uses them, from the kernel's random source or following from others."""

import binascii
import os
import re

from relvm.octets import octets
from relvm.octets import text

try:
    _sha1 = __import__('hashlib').sha1
except ImportError:
    # Python 2.4
    _sha1 = __import__('sha').new

UUID = re.compile('[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}')


# lib/uuid/uuid.c of LVM2: 32 characters of this alphabet, grouped 6-4-4-4-4-4-6 in texts
LVM_ID_ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
LVM_ID_GROUPS = (6, 4, 4, 4, 4, 4, 6)
# What a random byte stands for. 248 = 4 * 62: the others are thrown away, so that every character is equally likely
_LVM_ID_CHARACTERS = dict([(chr(byte), LVM_ID_ALPHABET[byte % 62]) for byte in range(248)])
LVM_ID = re.compile('[0-9a-zA-Z!#]{6}-(?:[0-9a-zA-Z!#]{4}-){5}[0-9a-zA-Z!#]{6}')

# In names of device-mapper devices
DOUBLED_UUID = re.compile(UUID.pattern.replace('}-', '}--'))
_DOUBLED_ID = re.compile(LVM_ID.pattern.replace('}-', '}--'))

# The same in a label, without dashes
PV_UUID = re.compile('[0-9a-zA-Z!#]{32}\\Z')


def is_uuid(string):
    """True for a whole lower-case UUID, as sm writes them."""
    return len(string) == 36 and UUID.match(string) is not None


def new_uuid():
    """A random (version 4) UUID."""
    digits = text(binascii.hexlify(os.urandom(16)))
    return _dashed(digits[:12] + '4' + digits[13:16] + '89ab'[int(digits[16], 16) & 3] + digits[17:])


def uuid5(namespace, name):
    """The UUID that follows from another and a name (version 5; RFC 4122, section 4.3): always the same for the same two.

    namespace: a UUID; name: ASCII text.
    """
    digits = text(binascii.hexlify(_sha1(packed(namespace) + octets(str(name))).digest()[:16]))
    return _dashed(digits[:12] + '5' + digits[13:16] + '89ab'[int(digits[16], 16) & 3] + digits[17:])


def packed(uuid):
    """The 16 bytes of a UUID."""
    return binascii.unhexlify(octets(uuid.replace('-', '')))


def unpacked(data):
    """The UUID that these 16 bytes are."""
    return _dashed(text(binascii.hexlify(data)))


def _dashed(digits):
    return '-'.join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def unused_uuid(used):
    """A random UUID that is not in `used` (a dict or set); the caller adds it there."""
    uuid = new_uuid()
    while uuid in used:
        uuid = new_uuid()
    return uuid


def new_lvm_id():
    """A random LVM id with its dashes."""
    characters = ''
    while len(characters) < 32:
        characters += ''.join([_LVM_ID_CHARACTERS.get(byte, '') for byte in text(os.urandom(40))])
    parts = []
    start = 0
    for length in LVM_ID_GROUPS:
        parts.append(characters[start:start + length])
        start += length
    return '-'.join(parts)


def substitute(string, uuids, pattern=UUID):
    """`string` with every UUID that is a key of `uuids` replaced by its value; others stay, and hide none that begins inside them.
    pattern: of the keys."""
    parts = []
    done = 0
    match = pattern.search(string)
    while match:
        if match.group(0) in uuids:
            parts.extend([string[done:match.start()], uuids[match.group(0)]])
            done = match.end()
            match = pattern.search(string, done)
        else:
            match = pattern.search(string, match.start() + 1)
    return ''.join(parts + [string[done:]])


def renamed(string, uuids, ids):
    """`string`, which keeps its length, with UUIDs replaced (also in device-mapper's form with doubled dashes) and LVM ids.

    uuids {old: new}; ids {old: new}, with dashes
    """
    string = substitute(string, uuids)
    if '--' in string:
        doubled = dict([(old.replace('-', '--'), new.replace('-', '--')) for old, new in uuids.items()])
        string = substitute(string, doubled, DOUBLED_UUID)
        doubled = dict([(old.replace('-', '--'), new.replace('-', '--')) for old, new in ids.items()])
        string = substitute(string, doubled, _DOUBLED_ID)
    return substitute(string, ids, LVM_ID)
