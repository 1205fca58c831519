# SPDX-License-Identifier: LGPL-2.1-only
"""A LUN as a plan would leave it, to be read and checked before anything is written.

What the check behind switch 1 finds can no longer be refused: the LUN is locked then, and stays so if the next run finds the same.
So the same check is made on this first. Whatever is odd in an SR and is not understood ends in a refusal, and behind switch 1
only a disk that did not do what it was told can fail. What the check has looked at is known then: if all of that is on the medium
byte for byte, the check has been made.
"""

import bisect

from relvm.engine import blockdev
from relvm import errors
from relvm.formats import lvmlabel
from relvm.formats import redolog
from relvm.engine import verify
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.engine.plan import padded
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
        first = max(0, bisect.bisect_right(self._starts, offset) - 1)
        last = bisect.bisect_left(self._starts, end)
        if first >= last:
            return data
        parts = []
        position = offset
        for start, new in self._pieces[first:last]:
            low = max(start, offset)
            high = min(start + len(new), end)
            if low < high:
                parts.append(data[position - offset:low - offset])
                parts.append(new[low - start:high - start])
                position = high
        parts.append(data[position - offset:])
        return octets('').join(parts)


class Recorded(object):
    """Reads like the Rehearsal `view`, and remembers what it was asked for: places {(offset, length): None}."""

    def __init__(self, view):
        self.view = view
        self.size = view.size
        self.places = {}

    def read(self, offset, length):
        """As Device.read."""
        self.places[offset, length] = None
        return self.view.read(offset, length)

    def read_any(self, offset, length):
        """As Device.read_any."""
        self.places[offset, length] = None
        return self.view.read_any(offset, length)

    def read_all(self, places):
        """As Device.read_all."""
        self.places.update(dict.fromkeys(places))
        return self.view.read_all(places)


class Rehearsed(object):
    """A rehearsal that found nothing wrong. lun: the lun.Lun in its locked state; places: [(offset, length)] that it looked at."""

    def __init__(self, lun, recorded):
        self.lun = lun
        self._view = recorded.view
        self.places = sorted(recorded.places)

    def is_on(self, device):
        """True if a blockdev.Device has all that the rehearsal looked at, byte for byte: it is read anew. Raises errors.ReadFailed."""
        for places in blockdev.groups(self.places):
            found = blockdev.read_places(device, [blockdev.whole_sectors(*place) for place in places])
            for offset, length in places:
                start, size = blockdev.whole_sectors(offset, length)
                if found[start, size][offset - start:offset - start + length] != self._view.read_any(offset, length):
                    return False
        return True


def rehearse(device, plan):
    """The Rehearsed of the locked state of `plan`. Raises errors.Unsound when the LUN would not pass its check there."""
    label = plan.lun.label
    pieces = plan.runs + [(label.sector * lvmlabel.SECTOR, label.switched(plan.pv_uuid, plan.staged)),
                          (plan.staged[0], padded(plan.staged_bytes))]
    recorded = Recorded(Rehearsal(device, pieces))
    locked = Lun(recorded, Placement(recorded))
    found = verify.problems(locked, True) + verify.deviations(locked, plan)
    if not redolog.in_force(plan.log, locked.placement):
        found.append('its log would not be taken for the one of this resign')
    if redolog.strays(plan.log, locked.vg, locked.mgt_lv):
        # a run that is killed would have to be finished from this log, and would not take it
        found.append('its log would change something twice, or more than volumes')
    if found:
        raise errors.Unsound(what='; '.join(found[:5]))
    return Rehearsed(locked, recorded)
