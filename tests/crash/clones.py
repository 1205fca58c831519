# SPDX-License-Identifier: LGPL-2.1-only
"""The array clones a LUN in mid-resign, and both copies are finished, each by itself."""
from __future__ import absolute_import, division, print_function, unicode_literals

import functools

from crash import pool, witness

def part(rules, medium):
    """Finish two copies of a Medium; every identity of the one must differ from every one of the other.  Raises witness.Wrong."""
    copies = []
    for _ in range(2):
        copies.append(pool.alone(functools.partial(_finish, rules, medium.copy())))
    shared = copies[0] & copies[1]
    if shared:
        raise witness.Wrong('both copies have %s' % sorted(shared)[:5])


def _finish(rules, medium):
    sight = rules.run(medium, True)
    # uuids that are no identity of the SR, such as those in an administrator's tags, stay in both
    return sight.identities | sight.live - (rules.scene.sight.live - rules.scene.identities)


def explore(rules, starts):
    """Yield (name, None or pool.JobDied) for each (what, Medium) of `starts`."""
    return pool.run(('%s: two copies of %s' % (rules.scene.name, what), functools.partial(part, rules, medium))
                    for what, medium in starts)
