# SPDX-License-Identifier: LGPL-2.1-only
"""What is done to a LUN: read, plan, rehearse, resign, verify. Knows no host; works on an image file as well."""
