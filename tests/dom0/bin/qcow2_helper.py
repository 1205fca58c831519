# SPDX-License-Identifier: LGPL-2.1-only
"""qcow2_helper, as far as sm of XCP-ng 8.3 calls it: allocated, bitmap, scan.

Up to sm 3.2.12-21.1 it takes a command and a file; from 21.2 on the file comes behind -f, and scan reads the headers of LVs straight from
the PV, active or not. A volume without a QCOW2 header ends the scan, as it ends the real one.
"""

import fnmatch
import os
import struct
import sys

from dom0.bin import vhd_util
from dom0.state import State

MAGIC = b"QFI\xfb"
HIDDEN = 0x76617465
OFFSET = 0x00fffffffffffe00


class NoImage(Exception):
    """There is no QCOW2 header."""


class Image(object):
    """size, hidden, parent (path or ""), cluster, of the header `data`."""

    def __init__(self, data):
        (magic, _, name_at, length, bits, self.size, _, self.l1_entries, self.l1_at) = struct.unpack(">4sIQIIQIIQ", data[:48])
        if magic != MAGIC:
            raise NoImage()
        self.cluster = 1 << bits
        self.parent = data[name_at:name_at + length].decode("utf-8") if name_at else ""
        self.hidden = False
        at = struct.unpack(">I", data[100:104])[0]
        while True:
            kind, size = struct.unpack(">II", data[at:at + 8])
            if kind == HIDDEN:
                self.hidden = data[at + 8:at + 16] != b"\0" * 8
            if kind == 0 or at > len(data) - 16:
                break
            at += 8 + (size + 7) // 8 * 8


def read_at(path, offset, length):
    """So many bytes of a file or device, as they are on the medium."""
    fd = os.open(path, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)
    finally:
        os.close(fd)


def allocated(path):
    """Bytes of the clusters that are there."""
    image = Image(read_at(path, 0, 4096))
    total = 0
    for table in entries(path, image.l1_at, image.l1_entries):
        if table & OFFSET:
            total += len([entry for entry in entries(path, table & OFFSET, image.cluster // 8) if entry & OFFSET])
    return total * image.cluster


def entries(path, place, count):
    """The u64 of a table."""
    return struct.unpack(">%dQ" % count, read_at(path, place, 8 * count))


def scan(arguments):
    """scan -l VG -m PATTERN [-a]: one line for every volume."""
    wanted = vhd_util.options(arguments, "a", "lm")
    volumes = vhd_util.volumes_of(wanted["l"])
    for name in sorted(volumes):
        if fnmatch.fnmatchcase(name, wanted["m"]):
            size, _, device, start = volumes[name]
            image = Image(read_at(device, start, 4096))
            print("qcow2=%s capacity=%d size=%d hidden=%d parent=%s" % (name, image.size, size, image.hidden,
                                                                       image.parent.split("/")[-1] or "none"))


def main(root, argv):
    """Returns the exit code."""
    with State(root) as state:
        scans = state["qcow2_scan"]
    arguments = argv[1:]
    if scans and arguments[1:2] == ["-f"]:
        del arguments[1]
    elif scans and arguments[:1] == ["scan"]:
        try:
            scan(arguments[1:])
        except NoImage:
            # the real one reads through a null pointer
            return 139
        return 0
    if len(arguments) != 2:
        sys.stderr.write("Need an argument\n")
        return 1
    if arguments[0] != "allocated":
        sys.stderr.write("not doubled: %s\n" % arguments[0])
        return 1
    print(allocated(arguments[1]))
    return 0
