# SPDX-License-Identifier: LGPL-2.1-only
"""Is this host fit?"""
