# SPDX-License-Identifier: LGPL-2.1-only
"""Reads that do not depend on each other, at once: on an array it is the round trip that costs, and not the bytes.

A few threads share the places, each with a descriptor of its own, opened for this and closed after it. The LUN is open already, so
that they need no exclusive open, and that what they open is the same device is looked at.
"""

import os
import threading

from relvm import errors
from relvm.engine import descriptor
from relvm.octets import octets

# As many as an iSCSI session takes commands at a time (node.session.queue_depth of open-iscsi)
READERS = 32
# A thread for less than so many reads costs more than it saves
SHARE = 2


class Reader(object):
    """One more descriptor of an open blockdev.Device. Raises EnvironmentError."""

    def __init__(self, device):
        flags = os.O_RDONLY | descriptor.CLOSE_ON_EXEC
        if device.direct:
            flags |= os.O_DIRECT
        self.fd = os.open(device.path, flags)
        self._file = None
        try:
            if descriptor.identity(self.fd) != descriptor.identity(device.fd):
                raise EnvironmentError('%s is another device now' % device.path)
            if device.direct:
                self._file = os.fdopen(self.fd, 'rb', 0)
        except Exception:
            os.close(self.fd)
            raise

    def read(self, offset, length):
        """`length` bytes at `offset`, multiples of 512. Raises EnvironmentError, also when the device ends."""
        os.lseek(self.fd, offset, 0)
        data = octets('')
        while len(data) < length:
            if self._file is None:
                part = os.read(self.fd, length - len(data))
            else:
                buffer = descriptor.aligned(length - len(data))
                part = buffer[:self._file.readinto(buffer)]
                buffer.close()
            if not part:
                raise EnvironmentError('it ends there')
            data += part
        return data

    def close(self):
        if self._file is not None:
            self._file.close()
        else:
            os.close(self.fd)


def read(device, places):
    """[bytes] of [(offset, length)] of an open blockdev.Device, and how many round trips that took one after the other. None where not
    one more descriptor of the same device is to be had. Without threads one descriptor reads all.

    Raises errors.ReadFailed for the first place that cannot be read.
    """
    found = [None] * len(places)
    waiting = list(range(len(places)))
    waiting.reverse()
    readers = _readers(device, min(READERS, len(places) // SHARE) or 1)
    if not readers:
        return None
    threads = []
    try:
        for reader in readers[1:]:
            thread = threading.Thread(target=_work, args=(reader, places, waiting, found))
            try:
                thread.start()
            except Exception:
                # this host gives no more: those that run do the work
                break
            threads.append(thread)
        _work(readers[0], places, waiting, found)
    finally:
        for thread in threads:
            thread.join()
        for reader in readers:
            reader.close()
    for place, data in zip(places, found):
        if isinstance(data, Exception):
            raise errors.ReadFailed(device=device.path, offset=place[0], length=place[1], cause=data.args[-1])
    return found, -(-len(places) // (len(threads) + 1))


def _readers(device, count):
    readers = []
    try:
        while len(readers) < count:
            readers.append(Reader(device))
    except EnvironmentError:
        pass
    return readers


def _work(reader, places, waiting, found):
    """Reads places until none is left. list.pop() gives a number to one thread alone."""
    while True:
        try:
            number = waiting.pop()
        except IndexError:
            return
        try:
            found[number] = reader.read(*places[number])
        except Exception:
            found[number] = errors.current()
