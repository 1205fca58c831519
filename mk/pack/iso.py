# SPDX-License-Identifier: LGPL-2.1-only
"""ISO 9660 images with Rock Ridge and Joliet names, through xorriso."""

from __future__ import annotations

import os
from pathlib import Path

from .command import run


def write(directory: Path, image: Path, volume: str, application: str, epoch: int) -> None:
    """Makes `image` of everything below `directory`, dated `epoch`.

    `volume` is the volume id (at most 32 characters), `application` the application id (at most 128).
    """
    for path in sorted(directory.rglob('*'), reverse=True):
        os.utime(path, (epoch, epoch))
    os.utime(directory, (epoch, epoch))
    image.parent.mkdir(parents=True, exist_ok=True)
    run('xorriso', '-as', 'mkisofs', '-quiet', '-A', application, '-V', volume, '-J', '-joliet-long', '-r',
        '-o', image, directory, SOURCE_DATE_EPOCH=str(epoch))
