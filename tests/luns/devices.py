# SPDX-License-Identifier: LGPL-2.1-only
"""The engine's own device on a real file, with an ear on what it is told."""
from __future__ import absolute_import, division, print_function

import collections

from relvm.engine import blockdev, resign

Write = collections.namedtuple('Write', 'step offset data')
FLUSH = 'flush'


class Killed(Exception):
    """The run ends here, as if the host had gone."""


class Recording(blockdev.Device):
    """events: `Write`s and FLUSHes in order. stop_after: the next write after so many raises Killed and is not done."""

    def __init__(self, path, writable=True, stop_after=None):
        self.events = []
        self.stop_after = stop_after
        blockdev.Device.__init__(self, path, writable)

    def write(self, offset, data):
        if self.writes == self.stop_after:
            raise Killed()
        blockdev.Device.write(self, offset, data)
        self.events.append(Write(self.step, offset, data))

    def flush(self):
        blockdev.Device.flush(self)
        self.events.append(FLUSH)

    def written(self):
        return [event for event in self.events if event != FLUSH]


class At(resign.Progress):
    """Calls a function when a step begins, to interfere right there."""

    def __init__(self, name, function):
        self.name = name
        self.function = function
        self.steps = []

    def step(self, name):
        self.steps.append(name)
        if name == self.name:
            self.function()

    def switched(self):
        self.steps.append('switched')


def run(path, sr_uuid, stop_after=None, device_class=Recording, **options):
    """One resign on a fresh device: (Result, device), the device closed. Raises what resign raises."""
    device = device_class(path, stop_after=stop_after)
    try:
        return resign.resign(device, sr_uuid, **options), device
    finally:
        device.close()


def killed(path, sr_uuid, writes, **options):
    """A run that ends after so many writes."""
    try:
        run(path, sr_uuid, stop_after=writes, **options)
    except Killed:
        return
    raise AssertionError('the run ended before its write %d' % (writes + 1))
