# SPDX-License-Identifier: LGPL-2.1-only
"""One case: decisions in, an outcome out, whatever engine makes the decisions."""
from __future__ import absolute_import, division, print_function, unicode_literals

from fuzz import bases, mutate, oracle, parts


class Cases(object):
    """Runs cases on the sound LUNs of fuzz.bases, which are made once."""

    def __init__(self):
        self.plain = bases.plain_targets()
        self.locked = bases.locked_targets()

    def lun(self, choices):
        """A whole LUN: a preview, a preview in all its forms, or a resign. The reason's name, or 'accepted'."""
        kind = choices.below(8)
        base = choices.pick(self.locked if kind >= 5 else self.plain)
        pages = mutate.mutate(base, choices).editor.medium
        drop = ()
        if choices.one_in(3):
            # whatever is wrong with them is no reason any more
            vdis = base.editor.sr.vdis
            drop = [str(choices.pick(vdis).uuid) for _ in range(1 + choices.below(2))]
        if kind == 0:
            data = oracle.show(pages, drop)
            return data["reasons"][0]["code"] if data["reasons"] else "accepted"
        reason = oracle.look(pages, drop=drop) if kind in (1, 2, 5) else oracle.run(pages, kind >= 5, drop)
        return "accepted" if reason is None else reason.code()

    def part(self, choices):
        """One structure and its reader."""
        number = choices.below(len(parts.PARTS) + len(parts.LOCKED_PARTS))
        if number < len(parts.PARTS):
            reason = parts.PARTS[number](choices.pick(self.plain).copy(), choices)
        else:
            reason = parts.LOCKED_PARTS[number - len(parts.PARTS)](choices.pick(self.locked).copy(), choices)
        return "accepted" if reason is None else reason.code()
