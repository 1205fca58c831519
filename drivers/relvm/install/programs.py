# SPDX-License-Identifier: LGPL-2.1-only
"""Runs one program of this host, within a time."""

import os
import signal
import subprocess
import tempfile
import time


class Killed(Exception):
    """A program took longer than it was given."""


def run(argv, environment, seconds):
    """(exit status, stdout, stderr as str). Raises Killed, or OSError when it cannot be started."""
    nothing = open(os.devnull, 'r+b')
    out = tempfile.TemporaryFile()
    err = tempfile.TemporaryFile()
    try:
        process = subprocess.Popen(argv, stdin=nothing, stdout=out, stderr=err, close_fds=True, env=environment)
        end = time.time() + seconds
        while process.poll() is None:
            if time.time() > end:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                raise Killed('killed, since it took more than %d seconds' % seconds)
            time.sleep(0.01)
        answers = []
        for stream in (out, err):
            stream.seek(0)
            data = stream.read()
            if not isinstance(data, str):
                data = data.decode('utf-8', 'replace')
            answers.append(data)
        return process.returncode, answers[0], answers[1]
    finally:
        nothing.close()
        out.close()
        err.close()
