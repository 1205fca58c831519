# SPDX-License-Identifier: LGPL-2.1-only
"""The next run as an administrator starts it: the command line, in an interpreter of its own, on an image file."""
from __future__ import absolute_import, division, print_function, unicode_literals

import functools
import os
import subprocess
import sys

from crash import pool, scenes
from relvm import identity

DRIVERS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'drivers')


class CommandFailed(Exception):
    """The command line ended with another status than 0."""


def command(*arguments):
    """Run `python -m relvm` with these arguments; raises CommandFailed."""
    environment = dict(os.environ, PYTHONPATH=str(DRIVERS))
    process = subprocess.Popen([sys.executable, '-m', 'relvm'] + list(arguments), env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    output = process.communicate()[0]
    if process.returncode:
        raise CommandFailed('%s: status %d: %s' % (arguments, process.returncode, output.decode('utf-8', 'replace')))


def finish(rules, medium, path):
    """Write a Medium to `path` and finish it twice from there.  Raises CommandFailed and witness.Wrong."""
    subprocess.check_call(['cp', '--sparse=always', medium.base.path, path])
    try:
        medium.write_to(path)
        stale = dict(rules.stale)
        words = ['--keep-snapshots'] * ('keep_snapshots' in rules.scene.options)
        if 'drop' in rules.scene.options:
            words.extend(['--drop', ','.join(rules.scene.options['drop']), '--scsi-id', scenes.SCSI_ID])
        for _ in range(2):
            sr_uuid = identity.new_uuid()
            command('resign', path, '--sr-uuid', sr_uuid, *words)
            command('verify', path)
            stale[sr_uuid] = rules.sound(path, sr_uuid, stale).identities
    finally:
        os.unlink(path)


def explore(rules, starts, directory):
    """Yield (name, None or pool.JobDied) for each (what, Medium) of `starts`."""
    return pool.run(('%s: a new process after %s' % (rules.scene.name, what),
                     functools.partial(finish, rules, medium, os.path.join(str(directory), 'fresh-%d.img' % number)))
                    for number, (what, medium) in enumerate(starts))
