# SPDX-License-Identifier: LGPL-2.1-only
"""Disks whose every byte is known: lines of text, written at places that are told, compared as a whole in the control domain."""

import shlex

from lab.dom0 import Failed

# Below the disk's size, in pieces of 256 KiB: (where, how many)
PIECE = 256 << 10


class Disk:
    """A VDI and what was written to it. writes: [(first piece, pieces, text)]; later ones lie above earlier ones."""

    def __init__(self, name, uuid, size, raw=False):
        self.name = name
        self.uuid = uuid
        self.size = size
        self.raw = raw
        self.writes = []

    def frozen(self, name, uuid):
        """A snapshot: the same contents under another uuid."""
        copy = Disk(name, uuid, self.size, self.raw)
        copy.writes = list(self.writes)
        return copy

    def expected(self):
        """Shell that makes the contents in the file $F out of nothing."""
        return "\n".join([f"dd if=/dev/null of=$F bs=1 seek={self.size} 2>/dev/null"] + [_write(*write, "$F", "") for write in self.writes])


def _write(first, pieces, text, target, flags):
    return (f"yes {shlex.quote(text)} | head -c {pieces * PIECE} > $F.piece && "
            f"dd if=$F.piece of={target} bs={PIECE} seek={first} conv=notrunc{flags} 2>/dev/null && rm -f $F.piece")


class Plugged:
    """A VDI as a block device of the master's control domain, while the block runs; `path` there."""

    def __init__(self, lab, uuid, writable=False):
        self.lab = lab
        self.uuid = uuid
        self.mode = "RW" if writable else "RO"

    def __enter__(self):
        xe = self.lab.dom0.xe
        self.vbd = xe("vbd-create", "vm-uuid=" + self.lab.dom0.control_domain(self.lab.master), "vdi-uuid=" + self.uuid,
                      "device=autodetect", "bootable=false", "mode=" + self.mode, "type=Disk")
        self.lab.vbds.append(self.vbd)
        xe("vbd-plug", "uuid=" + self.vbd)
        self.path = "/dev/" + xe("vbd-param-get", "uuid=" + self.vbd, "param-name=device")
        return self

    def __exit__(self, *_):
        xe = self.lab.dom0.xe
        xe("vbd-unplug", "uuid=" + self.vbd)
        xe("vbd-destroy", "uuid=" + self.vbd)
        self.lab.vbds.remove(self.vbd)


def write(lab, disk, *writes):
    """Writes text to a disk, as its VM would."""
    with Plugged(lab, disk.uuid, True) as plugged:
        for first, pieces, text in writes:
            lab.dom0.run(f"set -e; F={lab.scratch}/text; " + _write(first, pieces, text, shlex.quote(plugged.path), ",fsync"))
            disk.writes.append((first, pieces, text))


def compare(lab, disk, uuid):
    """'' when the VDI `uuid` reads as `disk` was written, to the last byte; else how they differ."""
    with Plugged(lab, uuid) as plugged:
        try:
            lab.dom0.run(f"set -e; F={lab.scratch}/expected; rm -f $F; {disk.expected()}; "
                         f"cmp -n {disk.size} $F {shlex.quote(plugged.path)}; rm -f $F")
        except Failed as error:
            return str(error)
    return ""
