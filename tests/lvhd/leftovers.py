# SPDX-License-Identifier: LGPL-2.1-only
"""Volumes that an interrupted operation of sm leaves behind; an SR that has one must not be resigned.

`LEFTOVERS` maps a name to a function from a seed to (Sr, name of the volume that is left over).
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections

from lvhd import shapes
from lvhd.model import MIB, SECTOR, Volume


def journal(kind, identity, value):
    """A journal of sm's journaler.py: a volume named <kind>_<id>_<value>; a value too long for a device-mapper name is in the first
    sector as '<length> <value>', and the name ends in 1."""
    name = "%s_%s_%s" % (kind, identity, value)
    if len(name) <= shapes.LONGEST_LV_NAME - name.count("-"):
        return Volume(name, tags=["journaler"])
    content = ("%d %s" % (len(value), value)).encode("ascii").ljust(SECTOR)
    return Volume("%s_%s_1" % (kind, identity), tags=["journaler"], content=[(0, content)])


def _with(seed, volume_of):
    sr = shapes.two_snapshots(seed)
    volume = volume_of(sr, sr.vdis[0])
    sr.volumes.append(volume)
    return sr, volume.name


def clone(seed=0):
    return _with(seed, lambda sr, vdi: journal("clone", vdi.uuid, "%s_%s" % (vdi.parent.uuid, sr.vdis[1].uuid)))


def leaf(seed=0):
    return _with(seed, lambda sr, vdi: journal("leaf", vdi.uuid, vdi.parent.uuid))


def inflate(seed=0):
    return _with(seed, lambda sr, vdi: journal("inflate", vdi.uuid, str(8 * MIB)))


def coalesce(seed=0):
    return _with(seed, lambda sr, vdi: journal("coalesce", vdi.parent.uuid, "1"))


def relink(seed=0):
    return _with(seed, lambda sr, vdi: journal("relink", vdi.parent.uuid, "1"))


def zero(seed=0):
    return _with(seed, lambda sr, vdi: journal("zero", vdi.uuid, "1"))


def resize(seed=0):
    """vhd-util's own journal while it resizes a disk."""
    return _with(seed, lambda sr, vdi: Volume("jvhd_" + vdi.uuid, extents=2, tags=["jvhd"],
                                              content=[(0, b"vjournal".ljust(SECTOR, b"\0"))]))


def renamed_leaf(seed=0):
    """A leaf that the garbage collector renamed while it coalesced it into its parent: VHD-OLD_<uuid> (sm cleanup.py)."""
    sr = shapes.two_snapshots(seed)
    renamed = sr.add(uuid="OLD_" + sr.ids.uuid(), parent=sr.vdis[0].parent, recorded=False)
    return sr, renamed.volume.name


def trim(seed=0):
    """The volume that sr-trim makes of all free space."""
    return _with(seed, lambda sr, vdi: Volume(sr.uuid + "_trim_lv", extents=3))


LEFTOVERS = collections.OrderedDict((function.__name__, function) for function in (
    clone, leaf, inflate, coalesce, relink, zero, resize, renamed_leaf, trim))
