# SPDX-License-Identifier: LGPL-2.1-only
"""A fixed VHD, as Hyper-V makes them, copied into an LV as it is.

    0     the disk, as a guest sees it
    ...   a footer of 512 bytes (relvm.formats.vhd) of type 2, behind the last byte of the disk

The LV is made of whole extents, so that the file, and its footer, end somewhere in the last one. sm does not read such VHDs.
"""

from relvm.octets import octets

SECTOR = 512
FIXED = 2
COOKIE = octets('conectix')
# An extent, as sm makes them, and the footer of a file that fills it but for that
LAST = (1 << 22) + SECTOR


def has_footer(size, read, parse):
    """True when the last extent of an LV of `size` bytes has the footer of a fixed VHD.

    read: function (offset, length) -> bytes of the LV, 512-aligned; parse: vhd.parse_footer
    """
    start = max(0, size - LAST)
    data = read(start, size - start)
    at = data.find(COOKIE)
    while at >= 0:
        if at % SECTOR == 0:
            footer = parse(data[at:at + SECTOR])
            if footer is not None and footer.type == FIXED:
                return True
        at = data.find(COOKIE, at + 1)
    return False
