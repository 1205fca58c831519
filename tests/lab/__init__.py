# SPDX-License-Identifier: LGPL-2.1-only
"""The lab kit: a resign on a real host with a real array, from outside, and a report that can be published. See docs/testing.md."""
