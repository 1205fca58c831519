# SPDX-License-Identifier: LGPL-2.1-only
"""Which VDIs a resign leaves behind because the administrator named them (drop=<VDI uuid>,...), and what goes with them.

A VDI is named by the uuid that it has on the LUN, or, on a LUN that was resigned, by the one that it had before the first resign: the
second follows from the first (engine.origins), so that the same words mean the same disk before and after. An LV that cannot be read
may also be named by the uuid in its own name, which is what a refusal says.

With a VDI goes what cannot be read without it: all whose images name it as their parent, and so on. Its journals go, and hidden nodes
that nothing refers to any more (engine.plan). A snapshot has data of its own; it stays or goes as other snapshots do.
"""

from relvm import errors
from relvm import identity

NAMED = 'left behind, as drop= says'


def parse(value):
    """[uuid] of the value of drop=, with commas between them. Raises errors.BadDrop."""
    if not value:
        return []
    uuids = value.split(',')
    for uuid in uuids:
        if not identity.is_uuid(uuid):
            raise errors.BadDrop(uuid=uuid)
    return uuids


class Leaving(object):
    """What is to be left behind of one LUN.

    gone     [uuid] as they were named, of what is on the LUN and goes; known when mark() was called, as is
    missing  [uuid] of what is not there
    """

    def __init__(self, uuids, sr_uuid, volumes):
        """uuids: as the administrator named them; sr_uuid: of the SR on the LUN; volumes: names of its LVs."""
        self.gone = []
        self.missing = []
        self._named = {}
        present = dict.fromkeys([name[-36:] for name in volumes])
        for uuid in uuids:
            self._named[uuid] = uuid
            if uuid not in present:
                self._named[identity.uuid5(sr_uuid, uuid)] = uuid

    def __contains__(self, uuid):
        return uuid in self._named

    def has(self, node):
        """True when this Vdi was named."""
        return node.uuid in self._named or node.error is not None and node.lv.name[-36:] in self._named

    def mark(self, nodes, others):
        """Sets left_behind of each Vdi that goes: those that were named, and those that depend on one. Fills in `missing`.

        nodes: [Vdi] of all that would stay; others: [uuid] of what the LUN speaks of beside them.
        """
        if not self._named:
            return
        children = {}
        stored = dict.fromkeys([node.stored() for node in nodes])
        found = dict([(self._named[uuid], None) for uuid in others if uuid in self._named])
        for node in nodes:
            for name in _parents(node):
                children.setdefault(name, []).append(node)
        waiting = []
        for node in nodes:
            if self.has(node):
                node.left_behind = NAMED
                if node.error is not None:
                    node.left_behind = '%s: %s' % (NAMED, node.error.sentence())
                waiting.append(node.stored())
                for uuid in (node.uuid, node.lv.name[-36:]):
                    found[self._named.get(uuid)] = None
        for name in children:
            if name[1] in self._named and name not in stored:
                # an LV that is not there
                waiting.append(name)
                found[self._named[name[1]]] = None
        named = sorted(dict.fromkeys(self._named.values()))
        self.gone = [uuid for uuid in named if uuid in found]
        self.missing = [uuid for uuid in named if uuid not in found]
        while waiting:
            name = waiting.pop()
            for node in children.get(name, ()):
                if not node.left_behind:
                    node.left_behind = 'its parent %s-%s is left behind' % name
                    waiting.append(node.stored())


def _parents(node):
    """[(prefix, uuid)] of what the image will name as its parent."""
    if node.disk is None:
        return []
    if node.moved_to is not None:
        return [node.moved_to.stored()]
    return node.disk.parents
