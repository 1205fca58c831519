# SPDX-License-Identifier: LGPL-2.1-only
"""Copies a volume of an image into a file of its own, for tools that read VHD files."""
from __future__ import absolute_import, division, print_function, unicode_literals

from lvhd.reader import Lun

STEP = 1024 * 1024


def volume(image, name, path, limit=None):
    """Write the bytes of LV `name` to `path`, leaving holes for zeros, and for all from byte `limit` on.  Returns `path`."""
    with Lun(image) as lun:
        source = lun.volumes[name]
        zeros = b"\0" * STEP
        with open(path, "wb") as target:
            for offset in range(0, min(source.size, limit or source.size), STEP):
                data = source.read(offset, min(STEP, source.size - offset))
                if data != zeros[:len(data)]:
                    target.seek(offset)
                    target.write(data)
            target.truncate(source.size)
    return path
