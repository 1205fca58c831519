# SPDX-License-Identifier: LGPL-2.1-only
"""Images of LUNs that XenServer's own storage manager made; see tests/data/README.md."""
from __future__ import absolute_import, division, print_function, unicode_literals

import io
import json
import os
import subprocess

from lvhd.model import PATTERN_SECTORS, SECTOR, pattern

NAMES = ("one", "snaps", "chain5", "xs70")
DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data")


def unpack(name, directory):
    """Unpack a sample into `directory`, sparse; returns the path of its image."""
    subprocess.check_call(["tar", "-xzSf", os.path.join(DATA, name + ".tgz"), "-C", str(directory), "--no-same-owner"])
    return os.path.join(str(directory), "img-%s.img" % name)


def about(name):
    """What the sample's JSON says: uuid, and vdis by uuid with name, raw, snap, mb and expect."""
    with io.open(os.path.join(DATA, name + ".json"), encoding="utf-8") as stream:
        return json.load(stream)


def expected_sectors(vdi):
    """Sector number to 512 bytes, from a VDI of `about`; all other sectors are zero."""
    sectors = {}
    for start, seed in vdi["expect"].items():
        data = pattern(seed, int(start))
        for index in range(PATTERN_SECTORS):
            sectors[int(start) + index] = data[index * SECTOR:(index + 1) * SECTOR]
    return sectors
