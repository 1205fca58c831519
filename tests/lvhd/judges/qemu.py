# SPDX-License-Identifier: LGPL-2.1-only
"""qemu-img as a judge of a single VHD file.

Its 'vpc' format knows no parents: of a differencing disk it reads that layer alone, absent sectors as zeros.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import json

from lvhd.judges import command

Verdict = collections.namedtuple("Verdict", "result size cluster")
# result: command.Result of `info`; size: virtual bytes; cluster: bytes of a block.


def missing():
    """None when qemu-img can judge here, else what is not there."""
    if command.find("qemu-img") is None:
        return "qemu-img is not installed (Debian package qemu-utils)"
    return None


def info(path):
    """What qemu-img says about a VHD file."""
    result = command.run(["qemu-img", "info", "-f", "vpc", "--output=json", path])
    said = json.loads(result.out) if result.status == 0 else {}
    return Verdict(result, said.get("virtual-size"), said.get("cluster-size"))


def convert(path, target):
    """Have qemu-img write the disk's contents to the raw file `target`."""
    return command.run(["qemu-img", "convert", "-f", "vpc", "-O", "raw", path, target])
