# SPDX-License-Identifier: LGPL-2.1-only
"""LVHD storage repositories on LUN images, for tests.

A witness that shares no code with the engine under test:

* ``model``: what an SR holds, as plain objects (`Sr`, `Vdi`, `Volume`);
* ``image``: writes a model as the image of a LUN (``lvmtext``, ``lvmdisk``, ``mgt`` and ``vhd`` encode its parts);
* ``shapes``, ``leftovers`` and ``generate``: named models that can be resigned, named ones that must be refused, random ones;
* ``policy``: what a resign keeps of a model;
* ``reader``: reads an image, with parsers of its own (``vgtext`` for the LVM text); ``remodel`` turns an image back into a model;
* ``samples``: images that XenServer's own storage manager made;
* ``judges``: what real LVM, qemu-img and libvhdi say about an image.

Runs on Python 2.7 and 3.6 or newer.  The same model and seed give the same bytes on each of them.
"""
