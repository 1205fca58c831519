# SPDX-License-Identifier: LGPL-2.1-only
"""In place of the bitarray package where it is not installed: sm imports it for changed block tracking only."""


def bitarray(*arguments, **options):
    """Never needed here."""
    raise NotImplementedError("bitarray is not installed")
