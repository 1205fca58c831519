# SPDX-License-Identifier: LGPL-2.1-only
"""Identities from a seed: the same seed gives the same uuids on every Python."""
from __future__ import absolute_import, division, print_function, unicode_literals

import random

# The characters of an LVM id (LVM2 lib/uuid/uuid.c; '!' and '#' are legal there but never generated).
LVM_ID_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
LVM_ID_GROUPS = (6, 4, 4, 4, 4, 4, 6)


class Ids(object):
    """A stream of uuids, LVM ids and small numbers.

    Draws with getrandbits only: it is the one method of random.Random that gives the same values on
    Python 2 and 3.
    """

    def __init__(self, seed):
        self._random = random.Random(seed)

    def bits(self, count):
        return self._random.getrandbits(count)

    def below(self, limit):
        """A number from 0 to limit - 1."""
        return self._random.getrandbits(32) * limit >> 32

    def chance(self, probability):
        return self._random.getrandbits(32) < probability * (1 << 32)

    def pick(self, items):
        return items[self.below(len(items))]

    def uuid(self):
        """A version 4 uuid as text, 36 characters."""
        number = self.bits(128)
        number = number & ~(0xf << 76) | 0x4 << 76
        number = number & ~(0x3 << 62) | 0x2 << 62
        digits = "%032x" % number
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def lvm_id(self):
        """An LVM id as the metadata text has it: 32 characters and six dashes."""
        groups = []
        for length in LVM_ID_GROUPS:
            groups.append("".join(self.pick(LVM_ID_CHARACTERS) for _ in range(length)))
        return "-".join(groups)
