# SPDX-License-Identifier: LGPL-2.1-only
"""A double of XenServer's control domain (dom0).

* ``world``: a directory tree that looks like dom0's root, with iSCSI targets over image files
* ``xapi``: the pool database behind a unix socket, and the part of xapi that runs SR drivers
* ``bin``: stand-ins for the commands that sm and the drivers call
* ``sm``: doubles of sm's Python modules, one profile per generation of XenServer

Nothing here imports the resign engine.
"""
