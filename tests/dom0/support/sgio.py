# SPDX-License-Identifier: LGPL-2.1-only
"""The kernel of a double answers INQUIRY: ioctl(SG_IO) on one of its disks gives page 0x83 with the disk's NAA id.

Loaded into the drivers of a double. The other requests, and those for other devices, are the machine's own.
"""

import binascii
import ctypes
import errno
import fcntl
import os
import stat
import struct

SG_IO = 0x2285
HEADER = "@iiBBHIPPPIIiPBBBBHHiII0P"
_ioctl = fcntl.ioctl


def wwid(root, fd):
    """The hexadecimal NAA id of the open disk `fd`; None when it is no disk of the double."""
    status = os.fstat(fd)
    if not stat.S_ISBLK(status.st_mode):
        return None
    path = "%s/sys/dev/block/%d:%d/device/wwid" % (root, os.major(status.st_rdev), os.minor(status.st_rdev))
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return f.read().strip()[len("naa."):]


def install(root):
    """Let fcntl.ioctl of this process answer for the double at `root`."""
    def ioctl(fd, request, argument=0, *more):
        if request != SG_IO:
            return _ioctl(fd, request, argument, *more)
        found = wwid(root, fd)
        if found is None:
            raise IOError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        fields = list(struct.unpack(HEADER, argument))
        naa = binascii.unhexlify(found)
        # first the id of the port, which is not the LUN's; then the LUN's
        other = b"\x01\x13\x00\x08" + b"\x50" + b"\x00" * 7
        page = other + b"\x01\x03\x00" + struct.pack("B", len(naa)) + naa
        page = b"\x00\x83" + struct.pack(">H", len(page)) + page
        ctypes.memmove(fields[7 - 1], page, len(page))
        return struct.pack(HEADER, *fields)

    fcntl.ioctl = ioctl
