# SPDX-License-Identifier: LGPL-2.1-only
"""LUNs for the engine's tests.

* ``damage``: changes one thing in an image and renews the checksums around it;
* ``devices``: the engine's device that keeps what it was told, and can be stopped;
* ``expect``: what a resign must have made of a LUN, by readers that share no code with the engine.
"""
