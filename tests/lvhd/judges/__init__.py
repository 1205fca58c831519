# SPDX-License-Identifier: LGPL-2.1-only
"""What independent programs say about an image.

``lvm``: the LVM commands of this machine on a loop device; ``qemu``: qemu-img; ``libvhdi``: libvhdi's Python binding.
Each has ``missing()``: None when it can be used, or a sentence that says what is not there, for the reason of a skip.
Debian packages: lvm2, qemu-utils, python3-libvhdi.
"""
