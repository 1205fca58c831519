# SPDX-License-Identifier: LGPL-2.1-only
"""Which SCSI ids a block device has, as far as this host can tell, with no help of sm.

    the path itself and the links of udev     /dev/disk/by-id/scsi-<id>, /dev/disk/by-scsid/<id>/..., /dev/mapper/<id>
    sysfs                                     of a multipath map dm/uuid, "mpath-<id>"; of a disk device/wwid, "naa.<hexadecimal digits>"
                                              or "eui.<...>", which udev writes as 3<...> and 2<...>
    the disk                                  INQUIRY, as scsi_id asks it
"""

import os

from relvm import errors
from relvm.engine.descriptor import CLOSE_ON_EXEC
from relvm.formats import lvmgroup
from relvm.host import devices
from relvm.host import inquiry

_WWID = (('naa.', '3'), ('eui.', '2'))
_MAP = 'mpath-'


def of(path):
    """Sorted SCSI ids of the device at `path`; [] when nothing tells. A file has none but the one that its path may say."""
    real = os.path.realpath(path)
    if os.path.isfile(real):
        return [name for name in [_named(path)] if name]
    name = os.path.basename(real)
    found = {}
    for link in [path] + _links(real):
        found[_named(link)] = None
    uuid = devices.read_line('%s/block/%s/dm/uuid' % (devices.SYS, name))
    if uuid.startswith(_MAP):
        found[uuid[len(_MAP):]] = None
    wwid = devices.read_line('%s/block/%s/device/wwid' % (devices.SYS, name))
    for prefix, digit in _WWID:
        if wwid.startswith(prefix):
            found[digit + wwid[len(prefix):]] = None
    for scsi_id in _reported(real):
        found[scsi_id] = None
    found.pop('', None)
    return sorted(found)


def the_one(path):
    """The SCSI id by which sm would name the device at `path`, '' when that is not known: of several the one below by-scsid."""
    found = of(path)
    if len(found) > 1:
        real = os.path.realpath(path)
        found = [scsi_id for scsi_id in found if real in devices.scsi_paths(scsi_id)]
    if len(found) == 1:
        return found[0]
    return ''


def _named(path):
    return lvmgroup.copied_from(path.replace(devices.DEV, '/dev', 1))


def _links(real):
    """The links below by-id and by-scsid that lead there."""
    found = []
    for top in ('by-id', 'by-scsid'):
        for directory, _, names in os.walk(os.path.join(devices.DEV, 'disk', top)):
            for name in names:
                link = os.path.join(directory, name)
                if os.path.realpath(link) == real:
                    found.append(link)
    return found


def _reported(real):
    if not os.path.basename(real).startswith('sd'):
        return []
    try:
        fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | CLOSE_ON_EXEC)
        try:
            return inquiry.scsi_ids(inquiry.identification(fd))
        finally:
            os.close(fd)
    except EnvironmentError:
        return []


def refuse_original(path, hint, known=''):
    """Raises errors.Original when `hint`, the path in the LUN's LVM metadata, names the device at `path` by one of its SCSI ids.
    known: a SCSI id that it has whatever this host says."""
    named = lvmgroup.copied_from(hint)
    if named and (named == known or named in of(path)):
        raise errors.Original(how='was last used on this very LUN (%s)' % named)
