# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a program and keeps what it said."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import os
import subprocess

# LVM_BIN_DIR: a directory with another LVM than the machine's
SEARCH = tuple([os.environ["LVM_BIN_DIR"]] if os.environ.get("LVM_BIN_DIR") else []) + ("/usr/sbin", "/usr/bin", "/sbin", "/bin")

Result = collections.namedtuple("Result", "status out err")
# status: exit status; out and err: text.


def find(program):
    """The program's path in the system's directories, None if it is not installed."""
    for directory in SEARCH:
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK):
            return path
    return None


def run(arguments, environment=None, stdin=None):
    """Run a program with exactly this environment (default: PATH and C locale) and this text on stdin."""
    variables = {"PATH": ":".join(SEARCH), "LC_ALL": "C", "TZ": "UTC"}
    variables.update(environment or {})
    process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, close_fds=True,
                               env=dict((str(name), str(value)) for name, value in variables.items()))
    out, err = process.communicate((stdin or "").encode("utf-8"))
    return Result(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
