# SPDX-License-Identifier: LGPL-2.1-only
"""An engine device over a medium.  It keeps every write and flush in order, and can fail any single operation."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import errno
import os

from relvm.engine import blockdev

Write = collections.namedtuple('Write', 'offset data step')
FLUSH = 'flush'

# What becomes of a write that fails.
NOTHING, HALF, ALL = 'nothing', 'half', 'all'

# operation: 'read', 'write' or 'flush'; number: the how manieth of them fails, from 1; written: for a write, see above.
Fault = collections.namedtuple('Fault', 'operation number written')


class Recorder(blockdev.Device):
    """The engine's own device, alignment checks, chunks and errors included, with other ends to its reads and writes.

    events: `Write`s and FLUSHes in order.  counts: {operation: how many there were}.  The base image is opened read-only.
    """

    SHARED = False

    def __init__(self, medium, fault=None):
        self.medium = medium
        self.fault = fault
        self.events = []
        self.counts = dict.fromkeys(('read', 'write', 'flush'), 0)
        blockdev.Device.__init__(self, medium.base.path, writable=False)
        self.writable = True

    def _fails(self, operation):
        self.counts[operation] += 1
        return self.fault is not None and (operation, self.counts[operation]) == self.fault[:2]

    def _read(self, length):
        if self._fails('read'):
            raise OSError(errno.EIO, 'Input/output error')
        position = os.lseek(self.fd, 0, os.SEEK_CUR)
        data = self.medium.read(position, length)
        os.lseek(self.fd, len(data), os.SEEK_CUR)
        return data

    def _write(self, data):
        position = os.lseek(self.fd, 0, os.SEEK_CUR)
        if self._fails('write'):
            half = len(data) // 2 // blockdev.SECTOR * blockdev.SECTOR
            self._put(position, data[:{NOTHING: 0, HALF: half, ALL: len(data)}[self.fault.written]])
            raise OSError(errno.EIO, 'Input/output error')
        self._put(position, data)
        os.lseek(self.fd, len(data), os.SEEK_CUR)
        return len(data)

    def _put(self, position, data):
        if data:
            self.events.append(Write(position, bytes(data), self.step))
            self.medium.write(position, data)

    def _sync(self):
        if self._fails('flush'):
            raise OSError(errno.EIO, 'Input/output error')
        self.events.append(FLUSH)

    def flush(self):
        # The engine asks its descriptor to sync; that of the base has nothing to write, so the medium is asked behind it
        self._forget_cache, kept = self._sync, self._forget_cache
        try:
            blockdev.Device.flush(self)
        finally:
            self._forget_cache = kept


def stretches(events):
    """The writes between flushes: a list of lists; the last one was not flushed."""
    found = [[]]
    for event in events:
        if event == FLUSH:
            found.append([])
        else:
            found[-1].append(event)
    return found


def unflushed(events):
    """The writes after the last flush."""
    return stretches(events)[-1]
