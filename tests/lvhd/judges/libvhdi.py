# SPDX-License-Identifier: LGPL-2.1-only
"""libvhdi as a judge of VHD chains.

Its binding belongs to the distribution's python3, so it runs there, in a process of its own.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import json
import os

from lvhd.judges import command

PYTHON = "/usr/bin/python3"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libvhdi_reader.py")

Disk = collections.namedtuple("Disk", "error size sha256 identifier parent_identifier parent_name sectors")
# error: None or text; size: virtual bytes; sha256: of the whole disk, None above 256 MiB; sectors: number to bytes, as asked.


def missing():
    """None when libvhdi can judge here, else what is not there."""
    if not os.access(PYTHON, os.X_OK) or command.run([PYTHON, "-c", "import pyvhdi"]).status != 0:
        return "libvhdi's Python binding is not installed (Debian package python3-libvhdi)"
    return None


def read(chains):
    """Read disks through their chains.

    chains: list of (paths from the leaf to the root, sector numbers to return).  Returns a `Disk` for each.
    """
    jobs = [{"paths": [str(path) for path in paths], "sectors": list(sectors)} for paths, sectors in chains]
    result = command.run([PYTHON, SCRIPT], stdin=json.dumps(jobs))
    if result.status != 0:
        raise RuntimeError(result.err)
    disks = []
    for answer in json.loads(result.out):
        sectors = dict((int(number), bytes(bytearray.fromhex(data))) for number, data in answer.pop("sectors").items())
        disks.append(Disk(sectors=sectors, **answer))
    return disks
