# SPDX-License-Identifier: LGPL-2.1-only
"""From a recording to its crash states.

Between two flushes a disk may write what it was given in any order, and lose any of it.  So at each moment the medium holds all
that was flushed, and any subset of what was written since, one of which may be torn.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import itertools

from crash.medium import SECTOR
from crash.recorder import stretches

# exhaustive: a stretch of up to so many writes has all of its subsets, a longer one `subsets` random ones
# companions: in a stretch of up to so many writes a torn write is combined with all subsets of the others, otherwise with none
#             of them, with those before it and with all of them
# tears: whether writes are torn; scattered: so many further tears of a write, of random sectors instead of one border
Effort = collections.namedtuple('Effort', 'exhaustive subsets companions tears scattered')

FULL = Effort(exhaustive=10, subsets=1000, companions=4, tears=True, scattered=4)
BRIEF = Effort(exhaustive=6, subsets=20, companions=0, tears=False, scattered=0)

# what: how to name it; stretch: how many flushes came before; prefix: whether it is what a kill leaves, without a power loss
State = collections.namedtuple('State', 'what medium stretch prefix')


class Exploration(object):
    """The crash states of a recording.

    start: Medium before the first event; seed: random.Random for what is random; seen: keys of states not to give again.
    enumerated: how many there were before identical ones were left out.
    """

    def __init__(self, start, events, effort, random, seen=None):
        self._start = start
        self._events = events
        self._effort = effort
        self._random = random
        self._seen = set() if seen is None else seen
        self.enumerated = 0

    def __iter__(self):
        settled = self._start.copy()
        for number, writes in enumerate(stretches(self._events)):
            for what, chosen, prefix in itertools.chain(self._whole(writes), self._torn(writes)):
                self.enumerated += 1
                medium = settled.copy()
                for offset, data in chosen:
                    medium.write(offset, data)
                key = medium.key()
                if key not in self._seen:
                    self._seen.add(key)
                    yield State('after flush %d: %s' % (number, what), medium, number, prefix)
            for write in writes:
                settled.write(write.offset, write.data)

    def _whole(self, writes):
        """Prefixes first, then the other subsets."""
        count = len(writes)
        for length in range(count + 1):
            yield '%d of %d writes' % (length, count), _pieces(writes[:length]), True
        if count <= self._effort.exhaustive:
            masks = range(1 << count)
        else:
            masks = (self._random.getrandbits(count) for _ in range(self._effort.subsets))
        for mask in masks:
            yield 'writes %s of %d' % (_named(mask), count), _pieces(_members(writes, mask)), False

    def _torn(self, writes):
        if not self._effort.tears:
            return
        for index, write in enumerate(writes):
            for tear, pieces in self._tears(write):
                for mask in self._companions(len(writes), index):
                    before = _pieces(_members(writes[:index], mask))
                    after = _pieces(_members(writes[index + 1:], mask >> index + 1))
                    what = 'writes %s of %d, write %d (%s) %s' % (_named(mask), len(writes), index + 1, write.step, tear)
                    yield what, before + pieces + after, False

    def _companions(self, count, index):
        """Bit masks of the other writes that are on the medium."""
        others = (1 << count) - 1 & ~(1 << index)
        if count <= self._effort.companions:
            return [mask for mask in range(1 << count) if mask & ~others == 0]
        return sorted(set((0, (1 << index) - 1, others)))

    def _tears(self, write):
        sectors = len(write.data) // SECTOR
        for border in range(1, sectors):
            cut = border * SECTOR
            yield 'torn at sector %d, new before old' % border, [(write.offset, write.data[:cut])]
            yield 'torn at sector %d, old before new' % border, [(write.offset + cut, write.data[cut:])]
        if sectors < 3:
            return
        for _ in range(self._effort.scattered):
            mask = self._random.getrandbits(sectors)
            pieces = [(write.offset + number * SECTOR, write.data[number * SECTOR:(number + 1) * SECTOR])
                      for number in range(sectors) if mask >> number & 1]
            yield 'torn to sectors %x' % mask, pieces


def _pieces(writes):
    return [(write.offset, write.data) for write in writes]


def _members(writes, mask):
    return [write for number, write in enumerate(writes) if mask >> number & 1]


def _named(mask):
    names = [str(number + 1) for number in range(mask.bit_length()) if mask >> number & 1]
    return ', '.join(names) or 'none'
