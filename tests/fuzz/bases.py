# SPDX-License-Identifier: LGPL-2.1-only
"""The sound LUNs that are mutated: a handful of small SRs, each also as an interrupted resign left it."""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz import luns, media
from fuzz.locked import Locked
from fuzz.mutate import Target, plain
from lvhd import image, shapes
from lvhd.leftovers import journal
from lvhd.model import RAW, Volume


def _mixed():
    """Everything that an SR may hold."""
    sr = luns.snapshot(3, lvm="2.02.130", tags=["pool_7"])
    luns.disk(sr, "fragments", fragments=3)
    luns.disk(sr, "garbage", hidden=True, managed=False, sectors=())
    luns.disk(sr, "unrecorded", recorded=False, sectors=())
    sr.add("no volume", stored=False)
    sr.volumes = [Volume("admin"), shapes.cbt_log(sr.named["disk"].uuid)]
    return sr


def _busy():
    """A disk that is being snapshot, another that is enlarged, a third whose end is to be zeroed; a volume without an image."""
    sr = luns.snapshotting()
    grown = luns.disk(sr, "grown")
    zeroed = luns.disk(sr, "zeroed", vdi_type=RAW)
    sr.volumes += [journal("inflate", grown.uuid, "262144"), journal("zero", zeroed.uuid, "65536"),
                   Volume("VHD-12345678-1234-4123-8123-123456789abc")]
    return sr


MODELS = (luns.plain, luns.cloned, luns.snapshot, luns.raw_parent, luns.qcow2, _mixed, lambda: luns.chain(5),
          lambda: luns.snapshot(4, lvm="2.02.84", text_offset=900 * 512, area_size=901 * 512 + 512),
          _busy, luns.merging, luns.relinking)


def plain_targets():
    found = []
    for model in MODELS:
        sr = image.settle(model())
        found.append(plain(sr, media.Pages.of_chunks(image.size(sr), image.chunks(sr))))
    return found


def locked_targets():
    return [Target(Locked(model())) for model in MODELS]
