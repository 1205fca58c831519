# SPDX-License-Identifier: LGPL-2.1-only
"""Runs of this product get a lock in the order in which they came for it.

Whoever wants a lock has a ticket until he has given the lock back: a file `<lock>.<number>` in a directory of its own, locked (flock)
by its run, so that the ticket of a run that died is known by its being free. Numbers grow; a new one is drawn under `.lock`.
"""

import errno
import fcntl
import os

from relvm import errors
from relvm.engine.descriptor import CLOSE_ON_EXEC

DIGITS = 12


class Ticket(object):
    """One place in the line for the lock `name`. directory: of the tickets; made when it is not there."""

    def __init__(self, directory, name):
        """Raises EnvironmentError when the directory cannot be written."""
        self.directory = directory
        self._prefix = name + '.'
        if not os.path.isdir(directory):
            _make_directory(directory)
        drawing = _open(os.path.join(directory, '.lock'))
        try:
            fcntl.flock(drawing, fcntl.LOCK_EX)
            numbers = [int(other[len(self._prefix):]) for other in self._others()]
            self._name = '%s%0*d' % (self._prefix, DIGITS, max(numbers + [0]) + 1)
            self._fd = _open(os.path.join(directory, self._name))
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        finally:
            os.close(drawing)

    def _others(self):
        return sorted([name for name in os.listdir(self.directory)
                       if name.startswith(self._prefix) and name[len(self._prefix):].isdigit()])

    def ahead(self):
        """The line before this ticket, as something to compare: it changes when somebody leaves the line, and when the first in it
        shows that he is alive. Empty when it is this ticket's turn."""
        before = [name for name in self._others() if name < self._name]
        while before and self._is_dead(before[-1]):
            before.pop()
        if not before:
            return ()
        return tuple(before) + (_modified(os.path.join(self.directory, before[0])),)

    def _is_dead(self, name):
        """True, and the ticket is gone, when its run does not live any more."""
        path = os.path.join(self.directory, name)
        try:
            fd = os.open(path, os.O_RDWR | CLOSE_ON_EXEC)
        except OSError:
            return True
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except IOError:
                return False
            _unlink(path)
            return True
        finally:
            os.close(fd)

    def touch(self):
        """Shows those behind that the work goes on."""
        if self._fd >= 0:
            os.utime(os.path.join(self.directory, self._name), None)

    def leave(self):
        """The next one's turn. No error when it was called before."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            _unlink(os.path.join(self.directory, self._name))
            unlock(fd)


def unlock(fd):
    """Gives back a flock and closes its file. A process that another thread is starting may still have a copy of the descriptor, and
    the lock would be held until that is closed as well."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _open(path):
    return os.open(path, os.O_CREAT | os.O_RDWR | CLOSE_ON_EXEC, 384)


def _make_directory(path):
    try:
        os.makedirs(path, 448)
    except OSError:
        if errors.current().errno != errno.EEXIST:
            raise


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        if errors.current().errno != errno.ENOENT:
            raise


def _modified(path):
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0
