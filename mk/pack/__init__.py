# SPDX-License-Identifier: LGPL-2.1-only
"""Builds the RPMs and ISO images that administrators install, from the files of this tree."""
