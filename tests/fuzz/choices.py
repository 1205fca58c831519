# SPDX-License-Identifier: LGPL-2.1-only
"""Where a mutation's decisions come from: a seed, hypothesis, or a coverage-guided fuzzer's bytes."""
from __future__ import absolute_import, division, print_function, unicode_literals

import random


class Choices(object):
    """below(limit): a number from 0 to limit - 1; everything else is made of that."""

    def __init__(self, below):
        self.below = below

    def pick(self, items):
        return items[self.below(len(items))]

    def one_in(self, number):
        return self.below(number) == 0

    def raw(self, length):
        return bytes(bytearray(self.below(256) for _ in range(length)))


def seeded(seed):
    """The same decisions for a seed on every Python."""
    source = random.Random(seed)

    def below(limit):
        # getrandbits is the one method that gives the same on Python 2 and 3
        return source.getrandbits(32) * limit >> 32
    return Choices(below)


def of_bytes(data):
    """Decisions out of bytes; when they are used up, always the first."""
    source = bytearray(data)
    position = [0]

    def below(limit):
        size = 1 if limit <= 256 else 2 if limit <= 65536 else 4
        piece = source[position[0]:position[0] + size]
        position[0] += size
        number = 0
        for byte in piece:
            number = number << 8 | byte
        return number % limit
    return Choices(below)
