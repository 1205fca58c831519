# SPDX-License-Identifier: LGPL-2.1-only
"""A LUN as a plan would leave it, to be read and checked before anything is written.

What the check behind switch 1 finds can no longer be refused: the LUN is locked then, and stays so if the next run finds the same.
So the same check is made on this first. Whatever is odd in an SR and is not understood ends in a refusal, and behind switch 1
only a disk that did not do what it was told can fail.
"""

import bisect

from relvm import errors
from relvm.formats import lvmlabel
from relvm.formats import redolog
from relvm.engine import verify
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.octets import octets


class Once(object):
    """Reads like a blockdev.Device, but nothing twice: what a plan was made from is what it is rehearsed on."""

    def __init__(self, device):
        self.device = device
        self.size = device.size
        self._seen = {}

    def read(self, offset, length):
        """As Device.read."""
        return self._once(self.device.read, offset, length)

    def read_any(self, offset, length):
        """As Device.read_any."""
        return self._once(self.device.read_any, offset, length)

    def read_all(self, places):
        """As Device.read_all."""
        new = [place for place in places if place not in self._seen]
        for place, data in zip(new, self.device.read_all(new)):
            self._seen[place] = data
        return [self._seen[place] for place in places]

    def _once(self, read, offset, length):
        place = (offset, length)
        if place not in self._seen:
            self._seen[place] = read(offset, length)
        return self._seen[place]


class Rehearsal(object):
    """Reads like a blockdev.Device. pieces: [(offset, bytes)] that stand over what `device` has; they do not overlap."""

    def __init__(self, device, pieces):
        self.device = device
        self.size = device.size
        self._pieces = sorted(pieces)
        self._starts = [start for start, _ in self._pieces]

    def read(self, offset, length):
        """As Device.read."""
        return self._covered(offset, self.device.read(offset, length))

    def read_any(self, offset, length):
        """As Device.read_any."""
        return self._covered(offset, self.device.read_any(offset, length))

    def read_all(self, places):
        """As Device.read_all."""
        return [self._covered(place[0], data) for place, data in zip(places, self.device.read_all(places))]

    def _covered(self, offset, data):
        end = offset + len(data)
        parts = []
        position = offset
        for start, new in self._pieces[max(0, bisect.bisect_right(self._starts, offset) - 1):
                                       bisect.bisect_left(self._starts, end)]:
            low = max(start, offset)
            high = min(start + len(new), end)
            if low < high:
                parts.append(data[position - offset:low - offset])
                parts.append(new[low - start:high - start])
                position = high
        parts.append(data[position - offset:])
        return octets('').join(parts)


def rehearse(device, plan):
    """Raises errors.Unsound when the LUN would not pass its check in the locked state of `plan`."""
    label = plan.lun.label
    pieces = plan.runs + [(label.sector * lvmlabel.SECTOR, label.switched(plan.pv_uuid, plan.staged)),
                          (plan.staged[0], plan.staged_bytes)]
    view = Rehearsal(device, pieces)
    locked = Lun(view, Placement(view))
    found = verify.problems(locked, True) + verify.deviations(locked, plan)
    if redolog.strays(plan.log, locked.vg, locked.mgt_lv):
        # a run that is killed would have to be finished from this log, and would not take it
        found.append('its log would change something twice, or more than volumes')
    if found:
        raise errors.Unsound(what='; '.join(found[:5]))
