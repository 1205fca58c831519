# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a contestant on a fresh LUN: timed, or traced to count processes and the time spent in fsync."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import typing

from bench import lvmtools, medium
from bench.contestants import Job

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'launcher.py')
SYNCS = ('fsync', 'fdatasync', 'syncfs', 'sync', 'sync_file_range', 'msync')
_SYNC = re.compile(r'(?:%s)(?:\(| resumed).*<([0-9.]+)>$' % '|'.join(SYNCS))
_PROGRAM = re.compile(r'^\d+ +(?:execve\(|<\.\.\. execve resumed).* = 0 <[0-9.]+>$')


class Failed(RuntimeError):
    """A contestant did not do its work."""


@dataclasses.dataclass
class Timed:
    """Seconds and bytes of one run; requests: medium.Requests, or None on an image file; engine: engine.py's answer, or None."""
    wall: float
    cpu: float
    peak: int
    requests: typing.Optional[medium.Requests]
    engine: typing.Optional[dict]


@dataclasses.dataclass
class Traced:
    """processes: programs that were started, the first one included; fsyncs: their number; fsync_wait: seconds in them."""
    processes: int
    fsyncs: int
    fsync_wait: float


@contextlib.contextmanager
def fresh(contestant, original, scratch):
    """A Job on a fresh copy of the image `original`. scratch: a directory with the drivers in it."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory, contextlib.ExitStack() as stack:
        lun = os.path.join(directory, 'lun.img')
        medium.copy(original, lun)
        environ = dict(os.environ)
        if contestant.loop:
            lun = stack.enter_context(medium.loop(lun))
        if contestant.lvm:
            environ = lvmtools.environment(lun, directory)
        yield Job(lun, os.path.join(scratch, contestant.drivers), directory, environ, os.path.join(directory, 'answer.json'))


def timed(contestant, original, scratch):
    """One Timed run. Raises Failed."""
    with fresh(contestant, original, scratch) as job:
        commands = contestant.commands(job)
        before = medium.requests(job.lun) if contestant.loop else None
        took = launch(commands, job.environ, job.directory, contestant.title)
        counted = medium.requests(job.lun) - before if contestant.loop else None
        answer = None
        if os.path.exists(job.answer):
            with open(job.answer) as stream:
                answer = json.load(stream)
        return Timed(took['wall'], took['cpu'], took['peak'], counted, answer)


def launch(commands, environ, directory, title):
    """What launcher.py answers. Raises Failed with the output of the command that failed."""
    output = os.path.join(directory, 'output')
    done = subprocess.run([sys.executable, '-I', '-S', LAUNCHER, output], stdout=subprocess.PIPE, text=True, check=True,
                          input=json.dumps({'commands': commands, 'environment': environ}))
    took = json.loads(done.stdout)
    if took['status']:
        with open(output) as stream:
            raise Failed('%s: exit status %d\n%s' % (title, took['status'], stream.read()[-2000:]))
    return took


def traced(contestant, original, scratch):
    """One Traced run, or None where there is no strace. Raises Failed."""
    if shutil.which('strace') is None:
        return None
    result = Traced(0, 0, 0.0)
    with fresh(contestant, original, scratch) as job:
        trace = os.path.join(job.directory, 'trace')
        for command in contestant.commands(job):
            launch([['strace', '-f', '-T', '-s', '0', '-e', 'trace=execve,' + ','.join(SYNCS), '-o', trace] + command],
                   job.environ, job.directory, contestant.title)
            with open(trace) as lines:
                _count(lines, result)
    return result


def _count(lines, result):
    for line in lines:
        line = line.rstrip()
        if _PROGRAM.match(line):
            result.processes += 1
            continue
        found = _SYNC.search(line)
        if found:
            result.fsyncs += 1
            result.fsync_wait += float(found.group(1))
