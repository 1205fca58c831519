# SPDX-License-Identifier: LGPL-2.1-only
"""What is on a LUN: one module a format, each opening with its format byte by byte. Knows no device."""
