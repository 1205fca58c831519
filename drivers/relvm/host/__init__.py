# SPDX-License-Identifier: LGPL-2.1-only
"""The dom0 that it runs on: its devices, locks, LVM and sm."""
