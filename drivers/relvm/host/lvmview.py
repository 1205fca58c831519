# SPDX-License-Identifier: LGPL-2.1-only
"""Would this host's LVM see the LUN at all? Asked before anything is written, since a LUN that LVM passes over (a filter in lvm.conf, a
devices file, what engine.foreign does not know) would be rewritten, and then be seen by nobody.

pvs runs as a process of ours, never through sm, which would take its locks, and can neither write nor wait: --readonly takes no lock and
repairs nothing. LVM before 2.02.107 does not know that option (status 3) and gets locking_type 4 instead. No cache, hints or backups are
written. What it says of a LUN that it does not use:

    2.03.10 on          Cannot use /dev/sdb: device is rejected by filter config.   Failed to find device "/dev/sdb".
    2.02.98 to 2.03.9   Failed to find device for physical volume "/dev/sdb".   Failed to find physical volume "/dev/sdb".
    before              Failed to read physical volume "/dev/sdb"

Beside its original, the answer may be about the original: LVM says so ("duplicate", "prefers device"), and then nothing follows from it.
"""

import errno
import fcntl
import os
import re
import select
import signal
import time

from relvm import errors
from relvm.octets import text

TIMEOUT = 10
# A disk that has only just appeared may not be in udev's database, from which LVM has its list
LOOKS = 4
PAUSE = 0.5
UNKNOWN_OPTION = 3
CANNOT_RUN = 127
# sm sets it to have LVM look at one LUN first; what is wanted is what every LVM of the host sees
HINT = 'LVM_DEVICE'
_CONFIG = 'config{checks=0} global{metadata_read_only=1 %s} devices{write_cache_state=0 hints="none"} backup{backup=0 archive=0}'
_FIELDS = ['--noheadings', '-o', 'pv_name,pv_uuid', '--config']
_REASON = re.compile(r'Cannot use \S+: [^\n]+|Failed to (?:find|read) (?:device|(?:device for )?physical volume) "[^"\n]*"')
_DUPLICATE = re.compile('duplicate|Not using device|prefers device')


class Question(object):
    """pvs, asked about the device at `path`. It works while this process does something else, until check() wants its answer.

    pvs: the program
    """

    def __init__(self, path, pvs='pvs'):
        self.path = path
        self._pvs = pvs
        self._answered = False
        self._first = self._ask('--readonly')

    def _ask(self, *option):
        return _Program([self._pvs] + list(option) + _FIELDS + [_CONFIG % {True: '', False: 'locking_type=4'}[bool(option)], self.path])

    def _answer(self):
        program, self._first = self._first or self._ask('--readonly'), None
        status, answer = program.answer()
        if status == UNKNOWN_OPTION:
            status, answer = self._ask().answer()
        return status, answer

    def check(self, log):
        """Raises errors.HostPassesOver when this host's LVM does not use the device. log: function (line), for answers that say nothing
        about it. It is asked once."""
        if self._answered:
            return
        self._answered = True
        for look in range(LOOKS):
            status, answer = self._answer()
            if status == 0:
                return
            match = _REASON.search(answer)
            if not match or _DUPLICATE.search(answer):
                break
            if look == LOOKS - 1:
                raise errors.HostPassesOver(device=self.path, reason=match.group(0))
            time.sleep(PAUSE)
        log('whether LVM sees %s is not known: pvs ended with status %s: %s' % (self.path, status, errors.printable(answer.strip())))

    def end(self):
        """Nobody wants the answer any more. No error when somebody had it."""
        program, self._first = self._first, None
        if program is not None:
            program.end()


class _Program(object):
    """A program that was started. No `subprocess`: this is called by a thread, and that of older Pythons reaps the children of others."""

    def __init__(self, arguments):
        self._reader, writer = os.pipe()
        for fd in (self._reader, writer):
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            _become(arguments, self._reader, writer)
        os.close(writer)

    def answer(self):
        """(exit status, what went to stdout and stderr); status None when it did not end within TIMEOUT."""
        answer = None
        try:
            answer = _read(self._reader, time.time() + TIMEOUT)
        finally:
            status = self._reap(answer is None)
        if answer is None or not os.WIFEXITED(status):
            return None, ''
        return os.WEXITSTATUS(status), text(answer)

    def end(self):
        self._reap(True)

    def _reap(self, kill):
        os.close(self._reader)
        if kill:
            os.kill(self._pid, signal.SIGKILL)
        return os.waitpid(self._pid, 0)[1]


def _become(arguments, reader, writer):
    """The child: the program with the pipe as stdout and stderr. Does not return."""
    try:
        null = os.open('/dev/null', os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        for fd in (reader, writer, null):
            if fd > 2:
                os.close(fd)
        environment = dict([(name, value) for name, value in os.environ.items() if name != HINT])
        environment['LVM_SUPPRESS_FD_WARNINGS'] = '1'
        os.execvpe(arguments[0], arguments, environment)
    finally:
        os._exit(CANNOT_RUN)


def _read(reader, end):
    """All that comes until the pipe is closed, as bytes; None when it is not before `end`."""
    parts = []
    while True:
        try:
            if not select.select([reader], [], [], max(0, end - time.time()))[0]:
                return None
            part = os.read(reader, 65536)
        except (OSError, select.error):
            if errors.current().args[0] != errno.EINTR:
                raise
            continue
        if not part:
            return part.join(parts)
        parts.append(part)
