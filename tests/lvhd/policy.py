# SPDX-License-Identifier: LGPL-2.1-only
"""What a resign keeps of a model, stated independently of the engine.

Dropped are snapshots, CBT logs, VDIs of HA, redo log and pool metadata, and every hidden node that no kept VDI descends from.
"""
from __future__ import absolute_import, division, print_function, unicode_literals

SYSTEM_TYPES = ("ha_statefile", "redo_log", "metadata", "cbt_metadata")


def kept_leaves(sr, left=()):
    """The VDIs a user sees afterwards. left: uuids that go with all that depends on them."""
    return [vdi for vdi in sr.vdis
            if vdi.stored and not vdi.hidden and not vdi.is_a_snapshot and vdi.type not in SYSTEM_TYPES and
            not [node for node in vdi.chain() if node.uuid in left]]


def kept(sr, left=()):
    """Every VDI whose volume remains: the kept leaves and their ancestors, in the order of the model."""
    remaining = set()
    for leaf in kept_leaves(sr, left):
        remaining.update(id(node) for node in leaf.chain())
    return [vdi for vdi in sr.vdis if id(vdi) in remaining]


def kept_volumes(sr):
    """Volumes that are no VDIs and remain: all but CBT logs."""
    return [volume for volume in sr.volumes if "cbtlog" not in volume.tags]
