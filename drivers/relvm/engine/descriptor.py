# SPDX-License-Identifier: LGPL-2.1-only
"""What every open file of a LUN needs, whoever reads from it."""

import mmap
import os

# O_CLOEXEC and F_DUPFD_CLOEXEC of Linux, which Python 2 does not name: a program that another thread starts does not keep a LUN open
CLOSE_ON_EXEC = 0x80000
DUPLICATE = 1030


def aligned(length):
    """An empty page-aligned buffer, as O_DIRECT wants it."""
    return mmap.mmap(-1, length)


def identity(fd):
    """What two descriptors have in common if and only if they are of the same device, or of the same file."""
    status = os.fstat(fd)
    return status.st_rdev or (status.st_dev, status.st_ino)
