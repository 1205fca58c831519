# SPDX-License-Identifier: LGPL-2.1-only
"""Each job in a process of its own, a few at a time.

A job is forked from a process that has never run the engine, does its one thing and is gone: what it finds it can know from the
LUN alone.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import multiprocessing
import os
import pickle
import select
import signal
import sys
import traceback


class JobDied(Exception):
    """A job ended without an answer; the text says how."""


def run(jobs, width=None):
    """Yield (name, result) of each (name, function) of the iterable `jobs`, in the order in which they finish.

    A result is what the function returns; JobDied, returned and not raised, holds the traceback of one that raised.
    """
    width = width or multiprocessing.cpu_count()
    jobs = iter(jobs)
    running = {}
    more = True
    try:
        while more or running:
            while more and len(running) < width:
                try:
                    name, function = next(jobs)
                except StopIteration:
                    more = False
                    break
                job = _Job(name, function)
                running[job.pipe] = job
            if not running:
                break
            for pipe in select.select(list(running), [], [])[0]:
                if running[pipe].receive():
                    job = running.pop(pipe)
                    yield job.name, job.finish()
    finally:
        for job in running.values():
            os.kill(job.pid, signal.SIGTERM)
            os.waitpid(job.pid, 0)


def alone(function):
    """The result of one function in a process of its own; raises JobDied."""
    for _, result in run([('', function)], 1):
        if isinstance(result, JobDied):
            raise result
        return result


class _Job(object):
    def __init__(self, name, function):
        self.name = name
        self._received = []
        self.pipe, answer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(answer)
            return
        os.close(self.pipe)
        code = 1
        try:
            _answer(answer, function)
            code = 0
        finally:
            os._exit(code)

    def receive(self):
        """True when the job has said all."""
        data = os.read(self.pipe, 1 << 16)
        self._received.append(data)
        return not data

    def finish(self):
        os.close(self.pipe)
        status = os.waitpid(self.pid, 0)[1]
        data = b''.join(self._received)
        if status or not data:
            return JobDied('ended with status %#x and no answer' % status)
        return pickle.loads(data)


def _answer(pipe, function):
    try:
        result = function()
    except Exception:
        result = JobDied(traceback.format_exc())
    with os.fdopen(pipe, 'wb') as stream:
        stream.write(pickle.dumps(result, 2))
