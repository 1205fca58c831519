# SPDX-License-Identifier: LGPL-2.1-only
"""What SCSI disks say about themselves, asked of them directly: no process is started, and udev is not believed.

INQUIRY, page 0x83 (device identification; SPC-4, 7.8.6): a header of four bytes (the last two are the length of the rest), then
descriptors of four bytes and a designator:

    byte 0   bits 0-3: code set, 1 is binary
    byte 1   bits 0-3: kind of designator, 2 is EUI-64, 3 is NAA; bits 4-5: of what it is the id, 0 is the LUN
    byte 3   length of the designator

The SCSI id that udev and sm use is, for those two kinds, the digit of the kind and the designator in hexadecimal. Others are not
known here. The request is an ioctl, SG_IO of scsi/sg.h.
"""

import array
import fcntl
import os
import struct

from relvm.engine.descriptor import CLOSE_ON_EXEC
from relvm.host import devices
from relvm.octets import octets
from relvm.octets import text

SG_IO = 0x2285
# struct sg_io_hdr: interface id, direction, lengths of command and sense, iovecs, length of data, addresses of data, command and
# sense, timeout (ms), flags, pack id, user pointer, status (SCSI, masked, message), length of sense, status of host and driver,
# residual, duration (ms), info
_HEADER = '@iiBBHIPPPIIiPBBBBHHiII0P'
_STATUS = 13
_HOST_STATUS = 17
_DRIVER_STATUS = 18
FROM_DEVICE = -3
TIMEOUT = 2000
PAGE = 0x83
LENGTH = 1024
NOT_RUNNING = 'not running'


def identification(fd):
    """Page 0x83 of the open SCSI device `fd`, as bytes; empty when it has none. Raises EnvironmentError where nobody answers."""
    data = array.array('B', [0] * LENGTH)
    sense = array.array('B', [0] * 32)
    command = array.array('B', [0x12, 1, PAGE, LENGTH >> 8, LENGTH & 255, 0])
    header = struct.pack(_HEADER, ord('S'), FROM_DEVICE, len(command), len(sense), 0, LENGTH, data.buffer_info()[0],
                         command.buffer_info()[0], sense.buffer_info()[0], TIMEOUT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    answer = struct.unpack(_HEADER, fcntl.ioctl(fd, SG_IO, header))
    if answer[_HOST_STATUS]:
        raise EnvironmentError('the transport answers with status %d' % answer[_HOST_STATUS])
    if answer[_STATUS]:
        return octets('')
    return octets(''.join([chr(byte) for byte in data]))


def scsi_ids(page):
    """The SCSI ids, as udev writes them, in the bytes of page 0x83."""
    values = [ord(char) for char in text(page)]
    found = []
    if len(values) < 4 or values[1] != PAGE:
        return found
    end = min(4 + values[2] * 256 + values[3], len(values))
    position = 4
    while position + 4 <= end:
        kind = values[position + 1] & 15
        length = values[position + 3]
        binary = values[position] & 15 == 1
        of_lun = values[position + 1] >> 4 & 3 == 0
        if position + 4 + length <= end and binary and of_lun and kind in (2, 3):
            found.append('%d%s' % (kind, ''.join(['%02x' % value for value in values[position + 4:position + 4 + length]])))
        position += 4 + length
    return found


def reports(fd, scsi_id):
    """True when the open SCSI device `fd` says that this is its id."""
    return scsi_id in scsi_ids(identification(fd))


def disks_reporting(scsi_id):
    """Kernel names of the SCSI disks of this host that say that this is their id. None when that cannot be told, since one of them
    does not answer now."""
    found = []
    for name in sorted(os.listdir(devices.SYS + '/block')):
        if not name.startswith('sd'):
            continue
        try:
            if devices.read_line('%s/block/%s/device/state' % (devices.SYS, name)) != 'running':
                raise EnvironmentError(NOT_RUNNING)
            fd = os.open(os.path.join(devices.DEV, name), os.O_RDONLY | os.O_NONBLOCK | CLOSE_ON_EXEC)
            try:
                if reports(fd, scsi_id):
                    found.append(name)
            finally:
                os.close(fd)
        except EnvironmentError:
            if os.path.exists('%s/block/%s' % (devices.SYS, name)):
                return None
    return found
