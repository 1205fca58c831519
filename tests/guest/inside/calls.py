# SPDX-License-Identifier: LGPL-2.1-only
"""Calls to xapi that run at the same time."""

import threading

from dom0.stopped import is_stopped
from inside.command import wait_until


class Call(threading.Thread):
    """A call in a thread of its own, started at once; `answer()` waits for it, and raises what it raised."""

    def __init__(self, function, *arguments, **options):
        super().__init__(daemon=True)
        self._function = function
        self._arguments = arguments
        self._options = options
        self._answer = None
        self._error = None
        self.start()

    def run(self):
        try:
            self._answer = self._function(*self._arguments, **self._options)
        except BaseException as error:  # raised again where the answer is asked for
            self._error = error

    def answer(self):
        self.join()
        if self._error is not None:
            raise self._error
        return self._answer


def wait_until_stopped(process, call):
    """Until a thread of the subprocess that a Call runs has halted (dom0.stopped); AssertionError with the answer if it ended instead."""

    def stopped():
        if not call.is_alive():
            raise AssertionError(f"not stopped, but ended: {call.answer()}")
        return is_stopped(process)

    wait_until(stopped, f"stop of process {process.pid}", 300)
