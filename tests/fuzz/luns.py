# SPDX-License-Identifier: LGPL-2.1-only
"""The SRs that hostile LUNs are made from: small ones, so that thousands can be read in a minute."""
from __future__ import absolute_import, division, print_function, unicode_literals

from lvhd import shapes
from lvhd.leftovers import journal
from lvhd.model import MIB, QCOW2, RAW, SECTOR, Sr

EXTENT = 256 * 1024
SIZE = 2 * MIB


def empty(seed=0, **fields):
    """An SR without VDIs; extents of 256 KiB and 1 MiB in front of them."""
    settings = {"extent_size": EXTENT, "pe_start": 2048 * SECTOR, "free_extents": 4, "slack": 0, "older_texts": 1}
    settings.update(fields)
    return Sr(seed, **settings)


def disk(sr, name, **fields):
    """A VDI of 2 MiB with data at its start; `sr.named` remembers it."""
    fields.setdefault("size", SIZE)
    vdi = shapes.disk(sr, name, sectors=fields.pop("sectors", (0,)), **fields)
    sr.__dict__.setdefault("named", {})[name] = vdi
    return vdi


def plain(seed=0, **fields):
    """disk: one VDI."""
    sr = empty(seed, **fields)
    disk(sr, "disk")
    return sr


def cloned(seed=0, **fields):
    """disk and twin: VDIs with a common hidden parent, base."""
    sr = empty(seed, **fields)
    vdi = disk(sr, "disk")
    sr.named["twin"] = shapes.clone(sr, vdi, "twin")
    sr.named["base"] = vdi.parent
    return sr


def snapshot(seed=0, **fields):
    """disk, its snapshot snap and their hidden parent base; a raw VDI; a deleted slot."""
    sr = empty(seed, **fields)
    vdi = disk(sr, "disk")
    sr.named["snap"] = shapes.snapshot(sr, vdi)
    sr.named["base"] = vdi.parent
    disk(sr, "raw", vdi_type=RAW, size=EXTENT)
    sr.add("gone", deleted=True)
    return sr


def raw_parent(seed=0, **fields):
    """disk, whose hidden parent base is raw, and snap."""
    sr = empty(seed, **fields)
    vdi = disk(sr, "disk", vdi_type=RAW)
    sr.named["snap"] = shapes.snapshot(sr, vdi)
    sr.named["base"] = vdi.parent
    return sr


def qcow2(seed=0, **fields):
    """disk, its snapshot snap and their hidden parent base, which are QCOW2 images; small, which has small clusters, on the raw base of
    its own; vhd."""
    sr = empty(seed, **fields)
    vdi = disk(sr, "disk", vdi_type=QCOW2, inflated=False)
    sr.named["snap"] = shapes.snapshot(sr, vdi)
    sr.named["base"] = vdi.parent
    small = disk(sr, "small", vdi_type=RAW, cluster_bits=14)
    sr.vdis.append(shapes.base_copy(sr, small, QCOW2))
    disk(sr, "vhd")
    return sr


def chain(depth, seed=0, **fields):
    """disk on `depth` - 1 hidden parents."""
    sr = empty(seed, **fields)
    vdi = disk(sr, "disk", inflated=False)
    shapes.hidden_chain(sr, vdi, depth)
    return sr


def snapshotting(clon=True, vdi_type="vhd", written=False):
    """A snapshot at its end, just before its journal goes: disk and perhaps new on base, which alone has data. No record but disk's."""
    sr = empty()
    leaf = disk(sr, "disk", vdi_type=vdi_type)
    disk(sr, "other")
    base = shapes.base_copy(sr, leaf, recorded=False)
    sr.vdis.append(base)
    sr.named["base"] = base
    if vdi_type == RAW:
        leaf.record_vdi_type = RAW
    if clon:
        sr.named["new"] = sr.add("new", size=leaf.size, parent=base, recorded=False)
    if written:
        shapes.write(leaf, 8, "later")
    sr.volumes.append(journal("clone", leaf.uuid, "%s_%s" % (base.uuid, sr.named["new"].uuid if clon else "")))
    return sr


def merging(child=True, old=False, vdi_type="vhd"):
    """A leaf-coalesce of disk into parent, which is shown already; child and old: under which names the leaf is there, if it is."""
    sr = empty()
    leaf = disk(sr, "disk", vdi_type=vdi_type)
    disk(sr, "other")
    top = shapes.base_copy(sr, leaf, recorded=True)
    sr.vdis.append(top)
    sr.named["parent"] = top
    shapes.write(leaf, 8, "later")
    top.hidden = top.volume.read_only = False
    top.volume.tags = []
    sr.volumes.append(journal("leaf", leaf.uuid, top.uuid))
    if old:
        leaf.volume.name = "VHD-OLD_" + leaf.uuid
    elif not child:
        leaf.stored = False
    return sr


def relinking(top_type="vhd"):
    """disk and twin on x, which is on top and has been copied there; the journal is there."""
    sr = empty()
    leaf = disk(sr, "disk", vdi_type=top_type)
    top = shapes.base_copy(sr, leaf)
    sr.vdis.append(top)
    shapes.write(leaf, 8, "middle")
    sr.named["twin"] = shapes.clone(sr, leaf, "twin")
    sr.named.update({"x": leaf.parent, "top": top})
    top.contents.update(leaf.parent.contents)
    shapes.write(sr.named["twin"], 16, "twin")
    sr.volumes.append(journal("relink", leaf.parent.uuid, "1"))
    return sr
