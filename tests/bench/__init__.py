# SPDX-License-Identifier: LGPL-2.1-only
"""The benchmark: what a resign costs beside what LVM's own tools cost, on the same images, in one run.

* ``run``: the program; ``targets``: what the figures have to be; ``table`` and ``plot``: how they are shown;
* ``contestants``: what is compared, as command lines; ``lvmtools``: LVM's side of it;
* ``measure``: one timed run and one traced run of a contestant; ``launcher`` and ``engine`` are started by it;
* ``medium``: images on a tmpfs, and loop devices on them.
"""
