# SPDX-License-Identifier: LGPL-2.1-only
"""From what a LUN held at the instant of the clone to the SR that sm would make of it: journals and half-done operations, settled.

An array clones a LUN that is in use, so it may hold what a power cut leaves behind. sm would finish, undo or drop that at the next
attach, with the help of what xapi knows of the VDIs; xapi does not know those of a clone. So it is decided here, on the model of what
was read: which LV is which VDI, what is hidden, which LVs go, which footers and names are written. Nothing is written here, and the
plan made from the result need not know that there are journals. In doubt a disk is kept. What is decided is a sentence in the
report.

The order matters: inflate, then what is only dropped, then snapshots, leaf-coalesce and relink (engine.interrupted), then LVs without an
image; then the chains, and with them the leaves of unfinished snapshots.
"""

from relvm import errors
from relvm.engine import interrupted
from relvm.engine import vdi as vdis
from relvm.formats import journals

MAX_CHAIN = 30


class Settled(object):
    """What settle() makes of a lun.Lun.

    order     [vdi.Vdi] of what stays; vdis {uuid: Vdi}
    left_out  [(LV name, why)] of LVs of sm that go and are no VDI of the SR
    carried   [(LogicalVolume, Vdi)] of journals that sm still needs, and whose they are
    decided   [sentence] of what was settled; report [sentence] of what is odd beside that
    uuids     {uuid: None} of all that an LV that sm made mentions
    leaving   leaving.Leaving; VDIs that it takes away are in `order`, with their left_behind set
    """

    def __init__(self, sr_uuid, nodes, records, left):
        self.sr_uuid = sr_uuid
        self.nodes = nodes
        self.records = records
        self.leaving = left
        self.left_out = []
        self.carried = []
        self.decided = []
        self.report = []
        self.uuids = {}
        self.gone = {}

    def at(self, uuid):
        """The Vdi whose LV has this uuid in its own name, or None."""
        for node in self.nodes:
            stored = node.stored()
            if stored is not None and stored[1] == uuid and node.lv.name not in self.gone:
                return node
        return None

    def old(self, uuid):
        """The Vdi whose LV is called OLD_<uuid>, or None."""
        for node in self.nodes:
            if node.stored() is None and node.lv.name.endswith(uuid) and node.lv.name not in self.gone:
                return node
        return None

    def children(self, parent):
        """Whose images name this Vdi as a parent, in any place."""
        stored = parent.stored()
        return [node for node in self.nodes if node.disk is not None and stored in node.disk.parents and node.lv.name not in self.gone]

    def staying(self):
        return [node for node in self.nodes if node.lv.name not in self.gone]

    def drop(self, node, why):
        """The LV of a Vdi goes."""
        self.gone[node.lv.name] = why
        self.left_out.append((node.lv.name, why))

    def say(self, sentence):
        self.decided.append(sentence)


def settle(sr_uuid, nodes, found, trims, records, left):
    """The Settled of one LUN.

    sr_uuid  of the VG
    nodes    [vdi.Vdi] for every LV that is or was a VDI
    found    [(journals.Journal, LogicalVolume)]
    trims    [LogicalVolume] of sr-trim
    records  {uuid: mgt.Record} of MGT
    left     leaving.Leaving; what is wrong with such a VDI, or its journals, is no reason to refuse

    Raises a subclass of errors.Refused for what cannot be decided.
    """
    model = Settled(sr_uuid, nodes, records, left)
    for node in nodes:
        model.uuids[node.uuid] = None
    found = _singular(model, found)
    _each(model, found, journals.INFLATE, _inflate)
    _each(model, found, journals.RESIZE, _resize)
    _each(model, found, journals.COALESCE, _coalesce)
    for lv in trims:
        model.left_out.append((lv.name, 'all free space, which sm was discarding'))
        model.say('sm had begun to trim the SR; the LV %s is dropped' % lv.name)
    _each(model, found, journals.CLONE, interrupted.clone)
    _each(model, found, journals.LEAF, interrupted.leaf)
    _each(model, found, journals.RELINK, interrupted.relink)
    _merged(model)
    _unmade(model)
    _finish(model, found)
    _link(model)
    _unfinished(model)
    _each(model, found, journals.ZERO, _zero)
    return model


def _singular(model, found):
    """The journals; of a VDI that is left behind, none of which there are two."""
    seen = {}
    for journal, lv in found:
        seen.setdefault((journal.kind, journal.uuid), []).append(lv.name)
        model.uuids[journal.uuid] = None
    twice = [key for key in seen if len(seen[key]) > 1]
    for journal, lv in found:
        if (journal.kind, journal.uuid) in twice:
            if journal.uuid not in model.leaving:
                raise errors.Journals(lv=seen[(journal.kind, journal.uuid)][1], what='the second one of its kind for this VDI')
            _forget(model, journal, lv)
    return [(journal, lv) for journal, lv in found if (journal.kind, journal.uuid) not in twice]


def _each(model, found, kind, rule):
    for journal, lv in found:
        if journal.kind == kind:
            try:
                if rule(model, journal, lv):
                    continue
            except errors.Refused:
                # the rules refuse before they change anything
                if journal.uuid not in model.leaving:
                    raise
                _forget(model, journal, lv)
                continue
            model.left_out.append((lv.name, 'a journal of sm'))


def _forget(model, journal, lv):
    model.left_out.append((lv.name, 'a journal of sm'))
    model.say('the journal %s cannot be carried out; VDI %s is left behind, and it is dropped' % (lv.name, journal.uuid))


def _inflate(model, journal, _):
    """The LV has its new size; the footer has to stand at its end."""
    node = model.at(journal.uuid)
    if node is None or node.prefix != 'VHD':
        model.say('sm had begun to enlarge VDI %s; there is nothing left to be done' % journal.uuid)
        return
    if node.disk is not None:
        if node.disk.reaches_end():
            raise errors.BadVHD(lv=node.lv.name, what='a block lies where its footer has to be')
        node.mend_end = True
    model.say('sm had begun to enlarge the LV %s; it is finished' % node.lv.name)


def _resize(model, journal, _):
    # a VHD that it says anything about is poisoned
    model.say('sm had prepared to resize VDI %s and not begun; that is dropped' % journal.uuid)


def _coalesce(model, journal, _):
    model.say('sm had begun to copy the data of VDI %s to its parent; sm will begin again' % journal.uuid)


def _zero(model, journal, lv):
    node = model.vdis.get(journal.uuid)
    if node is None or node.prefix != vdis.RAW or node.left_behind:
        model.say('sm had enlarged VDI %s, which is gone; its journal %s is dropped' % (journal.uuid, lv.name))
        return False
    model.carried.append((lv, node))
    model.report.append('sm has enlarged the LV %s and not zeroed its new part yet; its journal goes along, and sm will do it'
                        % node.lv.name)
    return True


def _merged(model):
    """OLD_ volumes that no journal speaks of."""
    for node in model.staying():
        if node.stored() is not None or node.name != node.lv.name or model.leaving.has(node):
            continue
        if node.disk is None:
            raise node.error
        if not node.disk.hidden:
            raise errors.Journals(lv=node.lv.name, what='a leaf that sm was merging into its parent, and its journal is gone')
        model.drop(node, 'a leaf that sm has merged into its parent')
        model.say('sm had merged VDI %s into its parent and not deleted the old volume yet; that is dropped' % node.uuid)


def _unmade(model):
    """LVs whose image sm was about to make, for a VDI that nobody knows of yet."""
    for node in model.staying():
        if node.error is not None and node.unmade and node.uuid not in model.records and not model.children(node):
            model.drop(node, 'an LV for a new VDI, without an image yet')
            model.say('sm had begun to make VDI %s; its LV %s has no image yet and is dropped' % (node.uuid, node.lv.name))


def _finish(model, found):
    """What stays is understood, and each uuid is there once."""
    model.order = []
    model.vdis = {}
    gone = [node.uuid for node in model.nodes if node.lv.name in model.gone]
    model.leaving.mark(model.staying(), gone + list(model.records) + [journal.uuid for journal, _ in found])
    for node in model.staying():
        if node.error is not None and not node.left_behind:
            raise node.error
        if node.uuid in model.vdis and not (node.left_behind and model.vdis[node.uuid].left_behind):
            raise errors.DuplicateVDI(what='the LVs %s and %s' % (model.vdis[node.uuid].lv.name, node.lv.name), uuid=node.uuid)
        node.record = model.records.get(node.uuid)
        model.vdis[node.uuid] = node
        model.order.append(node)


def _link(model):
    by_name = dict([(node.stored(), node) for node in model.order if node.stored() is not None])
    for node in list(model.order):
        if node.disk is None or node.disk.parent is None:
            continue
        if node.left_behind:
            # to be shown, and no more
            node.parent = node.moved_to or by_name.get(node.disk.parent)
            if node.parent is not None:
                node.parent.children.append(node)
            continue
        parent = node.moved_to
        node.disk.check_names(model.sr_uuid, parent is not None)
        if parent is None:
            name = '%s-%s' % node.disk.parent
            parent = by_name.get(node.disk.parent)
            if parent is None and node.record is None and not model.children(node):
                # what the extents of a new LV held before
                model.drop(node, 'a VHD that nobody knows of, and whose parent is not there')
                model.order.remove(node)
                del model.vdis[node.uuid]
                model.say('the LV %s has no record and its parent %s is not on this LUN: sm had begun to make a VDI; it is dropped' %
                          (node.lv.name, name))
                continue
            if parent is None:
                raise errors.ParentMissing(lv=node.lv.name, parent=name)
            if not node.disk.fits(parent.disk):
                raise errors.ParentMismatch(lv=node.lv.name, parent=name)
        node.parent = parent
        parent.children.append(node)
    for node in [node for node in model.order if not node.left_behind]:
        depth = 1
        above = node
        while above.parent is not None:
            above = above.parent
            depth += 1
            if above is node:
                raise errors.BadChain(lv=node.lv.name, what='comes back to itself')
            if depth > MAX_CHAIN:
                raise errors.BadChain(lv=node.lv.name, what='is longer than %d' % MAX_CHAIN)


def _unfinished(model):
    """The new leaf of a snapshot or clone that had no record yet: the caller never got to know it.

    A disk without a record may be an old one as well, with all its data in its parent. So another disk has to be there that has a
    record, stays, and holds the same: the parent has no record either, or is an older one below an unused and so dropped base copy.
    """
    for node in list(model.order):
        if node.record is not None or node.hidden or node.children or node.parent is None or node.left_behind:
            continue
        others = [other for other in node.parent.children
                  if other.record is not None and not other.hidden and not other.left_behind and not other.never_kept()]
        if not others or not node.is_empty():
            continue
        if node.parent.record is None or [other for other in others if not other.children and other.is_empty()]:
            model.drop(node, 'the new leaf of an unfinished snapshot')
            node.parent.children.remove(node)
            model.order.remove(node)
            del model.vdis[node.uuid]
            model.say('sm had begun a snapshot or clone and recorded no VDI for its new leaf yet; the LV %s, which holds nothing of its '
                      'own, is dropped' % node.lv.name)
