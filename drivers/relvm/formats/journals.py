# SPDX-License-Identifier: LGPL-2.1-only
"""The journals of sm: LVs that say what was being done to a VDI, and what the LVs that belong to one may be called.

Sources: sm's journaler.py, lvhdutil.py (lvmcowutil.py), cleanup.py, LVHDSR.py and trim_util.py, from XenServer 6.5 to 9.

A journal is an LV with the tag `journaler` (`jvhd` for the last row); without the tag, a name means nothing. Names:

    clone_<orig>_<base>_<clon>       a snapshot or clone: the disk <orig> becomes <base>, with the new leaves <orig> and <clon>
    leaf_<child>_<parent>            a leaf that is merged into its parent, which takes its place
    inflate_<vdi>_<bytes>            an LV that is enlarged; its size before
    relink_<vdi>_1                   the children of <vdi> are hung to its parent
    coalesce_<vdi>_1                 the data of <vdi> is being copied to its parent
    zero_<vdi>_<offset>              a raw <vdi> was enlarged; from <offset> on it is not zeroed yet
    jvhd_<vdi>                       libvhd's own journal of a resize that moves block tables

6.5 has all of it in the name. Since then a value that would make the device-mapper name longer than 127 characters is in the LV's
first block instead, and 1 in its place in the name; that is so for each clone_ and each leaf_, and for no other.

Block, 512 bytes, text:

    0  n  length of the value in bytes, decimal
    n  1  space
       .  the value: "<base>_<clon>", where <clon> may be empty, or "<parent>"; anything behind it, spaces as a rule

An LV is made first, then its first 4 KiB are zeroed, then the block is written. So the block may be zeros or what the extents held
before, the valid text of an older journal among it: what it says counts as far as the LVs bear it out.

Other LVs of sm's work: <prefix>-OLD_<vdi>, the leaf that was merged, until it is deleted; <SR uuid>_trim_lv, all free space, to be
discarded.
"""

import re

from relvm import identity
from relvm.octets import text

TAG = 'journaler'
TAG_RESIZE = 'jvhd'
CLONE = 'clone'
LEAF = 'leaf'
INFLATE = 'inflate'
RELINK = 'relink'
COALESCE = 'coalesce'
ZERO = 'zero'
RESIZE = 'jvhd'
BLOCK_SIZE = 512
OLD_PREFIX = 'OLD_'
TRIM_SUFFIX = '_trim_lv'

_ID = '(%s)' % identity.UUID.pattern
_IN_BLOCK = (CLONE, LEAF)
_NAME = re.compile(r'(clone|leaf|inflate|relink|coalesce|zero)_%s_(.*)\Z' % _ID)
_RESIZE_NAME = re.compile(r'jvhd_%s\Z' % _ID)
_BLOCK = re.compile(r'([0-9]{1,4}) (.*)\Z', re.DOTALL)
_VALUES = {
    CLONE: re.compile(r'%s_(?:%s)?\Z' % (_ID, _ID)),
    LEAF: re.compile(_ID + r'\Z'),
    INFLATE: re.compile(r'([0-9]{1,18})\Z'),
    RELINK: re.compile(r'(1)\Z'),
    COALESCE: re.compile(r'(1)\Z'),
    ZERO: re.compile(r'([0-9]{1,18})\Z'),
}


class Journal(object):
    """kind (one of the constants above), uuid, lv (name of the LV), values (tuple of str; None when its block says nothing)

    values: CLONE (base, clon or ''), LEAF (parent,), INFLATE (bytes,), ZERO (offset,), others ('1',) or ().
    """

    def __init__(self, kind, uuid, lv, values):
        self.kind = kind
        self.uuid = uuid
        self.lv = lv
        self.values = values


def in_block(name):
    """True if the value of the journal of this name has to be read from its first block."""
    match = _NAME.match(name)
    return match is not None and match.group(1) in _IN_BLOCK and match.group(3) == '1'


def parse(name, tags, block):
    """The Journal in an LV with one of the tags, or None when sm makes none of this name.

    block: the LV's first BLOCK_SIZE bytes where in_block() asks for them, else anything.
    """
    if TAG_RESIZE in tags:
        match = _RESIZE_NAME.match(name)
        if match is None:
            return None
        return Journal(RESIZE, match.group(1), name, ())
    match = _NAME.match(name)
    if match is None:
        return None
    kind, uuid, value = match.groups()
    if in_block(name):
        value = _value_in(text(block))
        if value is None or _VALUES[kind].match(value) is None:
            return Journal(kind, uuid, name, None)
    found = _VALUES[kind].match(value)
    if found is None:
        return None
    return Journal(kind, uuid, name, tuple([part or '' for part in found.groups()]))


def _value_in(block):
    """What a block says, or None."""
    match = _BLOCK.match(block)
    if match is None:
        return None
    length = int(match.group(1))
    if length > len(match.group(2)):
        return None
    return match.group(2)[:length]
