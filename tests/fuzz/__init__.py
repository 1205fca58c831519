# SPDX-License-Identifier: LGPL-2.1-only
"""Hostile LUNs.

* ``edit``: changes one structure of a LUN and makes its checksums right again;
* ``media``: a LUN in a file, or in memory as the engine's device;
"""
