# SPDX-License-Identifier: LGPL-2.1-only
"""What is done through xapi with a resigned SR."""
