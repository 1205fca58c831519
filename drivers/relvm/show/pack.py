# SPDX-License-Identifier: LGPL-2.1-only
"""`relvm pack` and `relvm unpack`: what a resign reads of a LUN, in a file that can be sent, and a LUN of it again.

What is packed is not listed anywhere: a preview is made on a device that keeps the places it was asked for. So a preview, a refusal
and a plan are the same on what is unpacked. Then as much of the rest as can be found is added, for who has to understand a refusal:
the heads and ends of the images, the first sectors of journals, the metadata volume. A disk's blocks are never read.
"""

import errno
import os

from relvm import __version__
from relvm import errors
from relvm import identity
from relvm.engine import blockdev
from relvm.engine import rehearsal
from relvm.engine import resign
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.formats import excerpt
from relvm.formats import mgt
from relvm.formats import qcow2
from relvm.formats import vhd
from relvm.octets import octets
from relvm.show import masking
from relvm.show import report

PIECE = 1 << 20
NOTHING = octets('')


class Recorder(object):
    """Reads like a blockdev.Device and keeps where."""

    def __init__(self, device):
        self.device = device
        self.path = device.path
        self.size = device.size
        self._places = {}

    def read(self, offset, length):
        """As Device.read."""
        data = self.device.read(offset, length)
        self._places[offset, length] = None
        return data

    def read_any(self, offset, length):
        """As Device.read_any."""
        data = self.device.read_any(offset, length)
        self._places[offset, length] = None
        return data

    def read_all(self, places):
        """As Device.read_all."""
        self._places.update(dict.fromkeys(places))
        return self.device.read_all(places)

    def places(self):
        """[(start, end)], sorted, disjoint."""
        found = []
        for offset, length in sorted(self._places):
            end = offset + length
            if found and offset <= found[-1][1]:
                found[-1][1] = max(found[-1][1], end)
            elif length:
                found.append([offset, end])
        return [(start, end) for start, end in found]


def without(places, holes):
    """[(start, end)] of `places` that lies in none of `holes`; both sorted and disjoint."""
    found = []
    for start, end in places:
        for first, last in holes:
            if last <= start or first >= end:
                continue
            if first > start:
                found.append((start, first))
            start = max(start, last)
        if start < end:
            found.append((start, end))
    return found


class View(object):
    """What of a LUN goes into the file. `places` [(start, end)]; `pieces()` gives (offset, bytes)."""

    def __init__(self, device, names):
        """device: blockdev.Device. names: leave the names of SR and VDIs, hosts and tags as they are."""
        recorder = Recorder(device)
        report.preview(recorder, identity.new_uuid())
        _look_on(recorder)
        masks = masking.Masks(device)
        # older texts of the ring, and the history of a resign that is over, are of no use to anybody
        self.places = without(recorder.places(), sorted(masks.dead))
        self._device = device
        if not names:
            self._device = rehearsal.Rehearsal(device, masks.pieces)

    def pieces(self):
        for start, end in self.places:
            while start < end:
                length = min(PIECE, end - start)
                yield start, self._device.read_any(start, length)
                start += length


def _look_on(device):
    """Reads what a run would read after a refusal or behind an interrupted run, as far as it can be found."""
    for look in (_look_behind_log, _look_at_metadata, _look_at_volumes):
        try:
            placement = Placement(device)
            look(device, placement, placement.group())
        except errors.Refused:
            pass


def _look_behind_log(device, placement, vg):
    if placement.staged:
        log = resign.find_log(device, placement)
        view = rehearsal.Rehearsal(device, log.runs)
        Lun(view, placement)


def _look_at_metadata(device, placement, vg):
    lv = vg.lvs.get(mgt.LV_NAME)
    if lv is not None:
        mgt.Metadata(_reader(device, vg, lv), vg.lv_size(lv))


def _look_at_volumes(device, placement, vg):
    for lv in vg.order:
        read = _reader(device, vg, lv)
        size = vg.lv_size(lv)
        try:
            if lv.name.startswith('VHD-'):
                for offset, length in vhd.ends(size):
                    read(offset, length)
                vhd.Disk(lv.name, size, read)
            elif lv.name.startswith('QCOW2-'):
                qcow2.Disk(lv.name, size, read)
            elif lv.tags and not lv.name.startswith('LV-'):
                read(0, vhd.FOOTER_SIZE)
        except errors.Refused:
            pass


def _reader(device, vg, lv):
    def read(offset, length):
        return NOTHING.join([device.read(*place) for place in vg.runs(lv, offset, length)])
    return read


def pack(device, path, names=False):
    """Writes the file `path`, which must not exist, of an open blockdev.Device; how many bytes it has.

    Raises errors.FileExists, FileFailed, ReadFailed; there is no file then.
    """
    view = View(device, names)
    stream = _created(path)
    try:
        try:
            excerpt.write(stream, device.size, view.pieces(), not names, __version__)
        finally:
            stream.close()
    except Exception:
        os.unlink(path)
        _explain(path)
    return os.path.getsize(path)


def unpack(path, image):
    """Makes the image file `image`, which must not exist and will be sparse, of a file of pack(). Returns the Excerpt."""
    source = excerpt.Excerpt(path)
    stream = _created(image)
    try:
        try:
            stream.truncate(source.size)
            for offset, data in source.pieces:
                stream.seek(offset)
                stream.write(data)
        finally:
            stream.close()
    except Exception:
        os.unlink(image)
        _explain(image)
    return source


def opened(path):
    """A LUN to be looked at: a blockdev.Device, or the excerpt.Excerpt that a file of pack() is. Raises what these raise."""
    device = blockdev.Device(path, False)
    if not device.is_block and _begins(path) == excerpt.MAGIC:
        device.close()
        return excerpt.Excerpt(path)
    return device


def _begins(path):
    """The first bytes of a file that may be shorter than a sector."""
    stream = open(path, 'rb')
    try:
        return stream.read(len(excerpt.MAGIC))
    finally:
        stream.close()


def _created(path):
    """A new file, for its owner alone."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, int('600', 8)), 'wb')
    except OSError:
        if errors.current().errno == errno.EEXIST:
            raise errors.FileExists(path=path)
        _explain(path)


def _explain(path):
    """Raises what the exception that is being handled means for the file `path`."""
    error = errors.current()
    if isinstance(error, EnvironmentError):
        raise errors.FileFailed(path=path, cause=error.args[-1])
    raise error
