# SPDX-License-Identifier: LGPL-2.1-only
"""The names of a parent in a VHD's header and locators: read, compared and replaced, never opened.

    header      UTF-16BE, ended by a zero
    MacX        "file://" and the path, plain
    W2ku, W2ru  UTF-16LE, with backslashes

A path is the device-mapper name of the parent's LV, alone or behind "./":

    VG_XenStorage--<SR uuid, dashes doubled>-<VHD or LV>--<VDI uuid, dashes doubled>

or the LV's own name, <VHD or LV>-<VDI uuid>. Zeros may stand behind it. Source: blktap's lib/libvhd.c (vhd_macx_encode_location and its
like). Names are native str, one character per byte as stored; `encoding` is '' for plain text.
"""

import re

from relvm import identity
from relvm.octets import text

SECTOR = 512
# Locators that lie within so many bytes are read at once
MAX_SPAN = 8 * 4096

_ASCII = re.compile(r'[\x20-\x7e]*\Z')
_DOUBLED = re.compile(identity.UUID.pattern.replace('}-', '}--'))
_NAME = re.compile(r'(?:VG_XenStorage--(' + identity.UUID.pattern.replace('}-', '}--') + r')-)?(VHD|LV)(--?)(' +
                   identity.UUID.pattern.replace('}-', '}--?') + r')\Z')
_LAST = re.compile(r'(?:VHD|LV)(--?)' + identity.UUID.pattern.replace('}-', '}--?') + r'\Z')


def trimmed(stored, encoding):
    """Without the zeros behind it."""
    width = {'': 1}.get(encoding, 2)
    while stored[-width:] == '\0' * width:
        stored = stored[:-width]
    return stored


def parsed(stored, encoding, prefix):
    """(SR uuid or None, (kind, VDI uuid)). Raises ValueError with what is wrong."""
    name = stored
    if encoding:
        name = stored.replace('\0', '')
        if not _ASCII.match(name) or encoded(name, encoding) != stored:
            raise ValueError('a name that is not UTF-16 of plain ASCII')
    if not name.startswith(prefix):
        raise ValueError(name)
    path = name[len(prefix):].replace('\\', '/')
    if path.startswith('./'):
        path = path[2:]
    match = _NAME.match(path)
    if match is None:
        raise ValueError(name or 'the name is empty')
    sr_uuid, kind, dash, uuid = match.groups()
    if len(dash) == 2:
        if len(uuid) != 40 or sr_uuid is None:
            raise ValueError(name)
        sr_uuid = sr_uuid.replace('--', '-')
    elif len(uuid) != 36 or sr_uuid is not None:
        raise ValueError(name)
    return sr_uuid, (kind, uuid.replace('--', '-'))


def read_texts(read, texts):
    """[(offset, native str, code)] of locators [(offset, length, code, number)]. vhd-util puts their texts side by side: one read then."""
    ends = [offset + (length + SECTOR - 1) // SECTOR * SECTOR for offset, length, _, _ in texts]
    if texts and max(ends) - min(texts)[0] <= MAX_SPAN:
        start = min(texts)[0]
        data = read(start, max(ends) - start)
        return [(offset, text(data[offset - start:offset - start + length]), code) for offset, length, code, _ in texts]
    return [(offset, text(read(offset, end - offset)[:length]), code) for (offset, length, code, _), end in zip(texts, ends)]


def until_zero(raw):
    """The UTF-16BE text before its zero, native str of bytes."""
    raw = text(raw)
    end = raw.find('\0\0')
    while end > 0 and end % 2:
        end = raw.find('\0\0', end + 1)
    if end < 0:
        return raw
    return raw[:end]


def encoded(name, encoding):
    """A name of plain ASCII as it is stored, native str of bytes. encoding: '' is plain text."""
    if encoding:
        return text(name.encode(encoding))
    return name


def renamed(stored, encoding, uuids):
    name = identity.substitute(stored.replace('\0', ''), uuids)
    name = _DOUBLED.sub(lambda match: _doubled(match.group(0), uuids), name)
    return encoded(name, encoding)


def hung(stored, encoding, kind, uuid):
    """A stored name, with another LV as the parent."""
    name = stored.replace('\0', '')
    match = _LAST.search(name)
    if match.group(1) == '--':
        uuid = uuid.replace('-', '--')
    return encoded(name[:match.start()] + kind + match.group(1) + uuid, encoding)


def _doubled(name, uuids):
    """A uuid with doubled dashes, replaced."""
    uuid = name.replace('--', '-')
    return uuids.get(uuid, uuid).replace('-', '--')
