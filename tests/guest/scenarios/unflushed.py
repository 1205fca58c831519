# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: writes one MiB and flushes it, writes a second one and does not, and waits for the power to go."""

import os
import time

from inside.reporting import report

MIB = 1 << 20

# The descriptor stays open: the last close of a block device would flush it.
disk = os.open("/dev/disk/by-id/virtio-lun", os.O_RDWR)
os.pwrite(disk, b"F" * MIB, 0)
os.fsync(disk)
os.pwrite(disk, b"C" * MIB, MIB)
report(ready=True)
time.sleep(600)
