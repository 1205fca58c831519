# SPDX-License-Identifier: LGPL-2.1-only
"""qemu-img as a judge of QCOW2 chains, under the paths that the images name each other by.

The volumes are copied into a directory that stands in for /dev, in a mount namespace of its own.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

import os

from lvhd import extract, reader
from lvhd.judges import command

# An image whose volume is larger ends before this; the rest of the volume is a hole
LIMIT = 64 * 1024 * 1024

# QEMU wants a null device
ENTER = ': >"$0/null" && mount --bind /dev/null "$0/null" && mount --rbind "$0" /dev && exec sh -c "$1"'


def inside(directory, script):
    """Runs a shell script with `directory` as its /dev."""
    return command.run(["unshare", "--map-root-user", "--mount", "sh", "-c", ENTER, directory, script])


def missing(directory):
    """None when qemu-img can judge here, else what is not there."""
    if command.find("qemu-img") is None:
        return "qemu-img is not installed (Debian package qemu-utils)"
    if inside(directory, "true").status:
        return "no mount namespace can be had here"
    return None


def lay_out(image, directory):
    """Copies every volume of an LUN that is a QCOW2 image or can be the parent of one; returns the VG's name."""
    with reader.Lun(image) as lun:
        vg, names = lun.vg_name, [name for name in lun.volumes if name.startswith(("QCOW2-", "LV-"))]
    os.mkdir(os.path.join(directory, vg))
    for name in names:
        extract.volume(image, name, os.path.join(directory, vg, name), LIMIT)
    return vg


def faults(directory, names):
    """What qemu-img says against images (VG/LV): their tables, and that the whole chain of each can be opened."""
    script = "for name in %s; do qemu-img check -q -f qcow2 /dev/$name && " \
        "qemu-img info --backing-chain -f qcow2 /dev/$name >/dev/null || echo $name; done" % " ".join(names)
    result = inside(directory, script)
    return (result.out + result.err).strip()


def differences(directory, pairs):
    """What qemu-img says against pairs of images (VG/LV) that should read the same through their whole chains."""
    script = "\n".join("qemu-img compare -q -f qcow2 -F qcow2 /dev/%s /dev/%s || echo %s" % (one, other, one) for one, other in pairs)
    result = inside(directory, script)
    return (result.out + result.err).strip()


def depth(directory, name):
    """How many images the chain of one (VG/LV) has, as qemu-img follows it."""
    result = inside(directory, "qemu-img info --backing-chain -f qcow2 /dev/%s" % name)
    return result.out.count("virtual size:")
