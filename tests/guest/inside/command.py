# SPDX-License-Identifier: LGPL-2.1-only
"""Runs programs and says what they said when they fail."""

import subprocess
import time


class Failed(Exception):
    """A program ended with another status than expected. Fields: argv, status, stdout, stderr."""

    def __init__(self, argv, done):
        self.argv = argv
        self.status = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr
        super().__init__(f"{' '.join(argv)}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")


def attempt(*argv, **options):
    """The subprocess.CompletedProcess (text, both outputs captured) of `argv`, whatever its status."""
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, **options)


def run(*argv, **options):
    """The standard output of `argv`. Raises Failed unless the status is 0."""
    done = attempt(*argv, **options)
    if done.returncode:
        raise Failed([str(word) for word in argv], done)
    return done.stdout


def wait_until(condition, what, seconds=300):
    """The first true answer of condition(). Raises TimeoutError naming `what` when none came; the bound is for hangs only."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds} s")
        time.sleep(0.05)
