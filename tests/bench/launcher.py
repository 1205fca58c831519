# SPDX-License-Identifier: LGPL-2.1-only
"""Runs commands one after the other and says what they took: a JSON object on stdout.

    python3 -I -S launcher.py OUTPUT < commands.json

commands.json: {"commands": [[word]], "environment": {name: value}}. What they say goes into the file OUTPUT. Answer:

    wall    seconds from the start of the first one to the end of the last one
    cpu     seconds of user and system time of all
    peak    resident bytes of the largest of them
    status  exit status of the last one; a command that fails ends the run

A program of its own, because Linux counts the memory of whoever starts a process among what that process has ever used.
"""

import json
import os
import sys
import time


def main(output):
    job = json.load(sys.stdin)
    redirect = [(os.POSIX_SPAWN_OPEN, 0, '/dev/null', os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2)]
    cpu = peak = status = 0
    start = time.perf_counter()
    for command in job['commands']:
        pid = os.posix_spawnp(command[0], command, job['environment'], file_actions=redirect)
        _, status, usage = os.wait4(pid, 0)
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss * 1024)
        if status:
            break
    wall = time.perf_counter() - start
    json.dump({'wall': wall, 'cpu': cpu, 'peak': peak, 'status': os.waitstatus_to_exitcode(status)}, sys.stdout)


main(sys.argv[1])
