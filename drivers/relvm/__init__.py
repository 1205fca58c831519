# SPDX-License-Identifier: LGPL-2.1-only
"""Gives a cloned LVHD storage repository an identity of its own."""

__version__ = '1.0.0'
