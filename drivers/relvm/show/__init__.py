# SPDX-License-Identifier: LGPL-2.1-only
"""What people and programs see of it: previews as data, text, JSON and the XML of sr-probe."""
