# SPDX-License-Identifier: LGPL-2.1-only
"""The three operations of sm that give LVs other names or parents, decided from how far they had come.

Snapshot and clone (LVHDVDI._snapshot): journal; <orig> is renamed to <base>; a new leaf <orig> and perhaps <clon> is made on it; base is
hidden and made read-only; the journal goes; MGT gets the records of clon and base. The VM is paused meanwhile. A leaf on a base that is
empty is made on the base's own parent ("linked past"), and base is dropped.

Leaf-coalesce (cleanup._doCoalesceLeaf): journal; <parent> is shown and made writable; <child> is copied to it; <child> is renamed to
OLD_<child>, <parent> to <child>; OLD_ is hidden, the journal goes, OLD_ is deleted. Until the second rename the child has all its data,
whatever was copied; from the copy on the parent has it too.

Relink (cleanup._relinkCoalesced...): the data of <X> is in its parent; each child of X is hung there, names first in its locators, then
in its header; then X is deleted.

Each rule gets the settle.Settled, the journals.Journal and its LV, and leaves the journal to be dropped.
"""

from relvm import errors

RAW = 'LV'
QCOW2 = 'QCOW2'


def _refuse(journal, what):
    raise errors.Journals(lv=journal.lv, what=what)


def clone(model, journal, _):
    """Completes a snapshot or clone, undoes it, or finds that it had not begun."""
    orig = model.at(journal.uuid)
    not_begun = 'sm had prepared a snapshot or clone of VDI %s and not begun; that is dropped' % journal.uuid
    if journal.values is None:
        if orig is None:
            _refuse(journal, 'its block is damaged and the VDI is not there')
        model.say(not_begun)
        return
    base = model.at(journal.values[0])
    new = None
    if journal.values[1]:
        new = model.at(journal.values[1])
    if base is None:
        if orig is None:
            _refuse(journal, 'and neither the VDI nor its base copy is there')
        model.say(not_begun)
        return
    beyond = orig is not None and not orig.sits_on(base) and \
        (new is not None or not journal.values[1]) and _linked_past(model, base, orig)
    sits = orig is not None and (orig.sits_on(base) or beyond)
    others = [child for child in model.children(base) if child not in (orig, new)]
    if others or [uuid for uuid in journal.values if uuid in model.records]:
        # no new VDIs: the block still says what an older journal said
        if orig is None:
            _refuse(journal, 'the VDI is not there, but others depend on its base copy')
        model.say(not_begun)
        return
    written = new is not None and new.sits_on(base) and not new.is_empty()
    if not sits and written:
        _refuse(journal, 'only the new VDI of the two has been made')
    if not sits or orig.is_empty() and not written:
        _undo_clone(model, journal, base, orig, new)
        return
    if beyond:
        if not model.children(base):
            model.drop(base, 'an unused base copy of an unfinished snapshot')
    else:
        base.set_hidden(True)
        base.writable = False
    if new is not None and not written:
        model.drop(new, 'the new leaf of an unfinished snapshot')
    model.say('sm had begun a snapshot or clone of VDI %s, which has been written to since; it is finished, and an empty new VDI is '
              'dropped' % journal.uuid)


def _linked_past(model, base, orig):
    """True if orig was made on the nearest ancestor of base that is not reached through empty VHDs alone."""
    node = base
    seen = []
    while node is not None and node not in seen and node.disk is not None and node.is_empty():
        seen.append(node)
        above = [other for other in model.staying() if node.sits_on(other)]
        if not above:
            return False
        node = above[0]
        if orig.sits_on(node):
            return True
    return False


def _undo_clone(model, journal, base, orig, new):
    for node in (orig, new):
        if node is not None:
            model.drop(node, 'the new leaf of an unfinished snapshot')
    base.become(base.prefix, journal.uuid)
    base.set_hidden(False)
    base.writable = True
    model.say('sm had begun a snapshot or clone of VDI %s; it is undone, the VDI has all its data in the LV %s' %
              (journal.uuid, base.lv.name))


def leaf(model, journal, _):
    """Undoes a leaf-coalesce until both renames are done, and finishes it then."""
    child = model.at(journal.uuid)
    old = model.old(journal.uuid)
    not_begun = 'sm had prepared to merge VDI %s into its parent and not begun; that is dropped' % journal.uuid
    if journal.values is None:
        if child is None or old is not None:
            _refuse(journal, 'its block is damaged, and the VDI has been renamed')
        model.say(not_begun)
        return
    parent = model.at(journal.values[0])
    if parent is not None:
        if child is not None and old is None:
            if not child.sits_on(parent):
                model.say(not_begun)
                if child.error is not None and not parent.hidden:
                    # nobody can tell whether the journal's block is its own
                    model.report.append('sm may have been merging VDI %s, which cannot be read, into the LV %s; if so, what that holds is '
                                        'of two points in time' % (child.uuid, parent.lv.name))
            elif child.prefix == QCOW2:
                # blktap lets the VM write to the parent before any of the names says so
                child.error = errors.Journals(lv=journal.lv, what='a QCOW2 disk that is merged into its parent: the LUN does not tell '
                                              'which of the two has the latest data')
                # it is nothing without the child
                parent.set_hidden(True)
            else:
                _undo_leaf(model, parent, child)
        elif child is None and old is not None:
            _renamed_once(model, journal, parent, old)
        elif child is None:
            _only_parent(model, journal, parent)
        else:
            _refuse(journal, 'and the VDI is there under both its names')
        return
    if child is not None and old is not None:
        if old.disk is None or old.disk.parents != [(child.prefix, journal.values[0])] or not old.disk.fits(child.disk):
            _refuse(journal, 'and the LV %s is not what was merged' % old.lv.name)
        child.error = child.error or _elsewhere(journal, child)
        model.drop(old, 'a leaf that sm has merged into its parent')
        child.set_hidden(False)
        child.writable = True
    elif child is None and old is not None:
        _refuse(journal, 'and the parent is not there')
    model.say('sm had merged VDI %s into its parent; that is finished' % journal.uuid)


def _elsewhere(journal, parent):
    """Why this parent has not got the data of a QCOW2 leaf that was merged, or None: blktap merges into the bottom of the chain."""
    if parent.prefix == QCOW2 and parent.disk is not None and parent.disk.parent is not None:
        return errors.Journals(lv=journal.lv, what='a QCOW2 disk that was merged into the bottom of its chain')
    return None


def _undo_leaf(model, parent, child):
    parent.set_hidden(True)
    parent.writable = False
    child.set_hidden(False)
    model.say('sm had begun to merge VDI %s into its parent; that is undone, the VDI has all its data' % child.uuid)


def _renamed_once(model, journal, parent, old):
    if not old.sits_on(parent):
        _refuse(journal, 'and the LV %s is not on the parent' % old.lv.name)
    if old.prefix != QCOW2:
        old.become(old.prefix, journal.uuid)
        _undo_leaf(model, parent, old)
    elif _elsewhere(journal, parent):
        old.error = _elsewhere(journal, parent)
        parent.set_hidden(True)
        old.become(old.prefix, journal.uuid)
    else:
        model.drop(old, 'a leaf that sm has merged into its parent')
        _take_place(journal, parent)
        model.say('sm had merged VDI %s into its parent; that is finished' % journal.uuid)


def _take_place(journal, parent):
    parent.become(parent.prefix, journal.uuid)
    parent.set_hidden(False)
    parent.writable = True


def _only_parent(model, journal, parent):
    if journal.uuid not in model.records or model.children(parent):
        _refuse(journal, 'and of the VDI only the parent is there')
    _take_place(journal, parent)
    model.say('sm had merged VDI %s into its parent, which alone is left; it becomes the VDI' % journal.uuid)


def relink(model, journal, _):
    """Finishes a relink that stopped between the names of a child, and drops any other: sm will coalesce again."""
    node = model.at(journal.uuid)
    if node is None:
        model.say('sm had hung the children of %s to its parent; that is finished' % journal.uuid)
        return
    children = model.children(node)
    if not [child for child in children if len(child.disk.parents) > 1]:
        model.say('sm had begun to hang the children of %s to its parent; sm will begin again' % node.lv.name)
        return
    above = [other for other in model.staying() if node.sits_on(other)]
    if not above:
        _refuse(journal, 'and the parent of %s is not there' % node.lv.name)
    for child in children:
        strange = [name for name in child.disk.parents if name not in (node.stored(), above[0].stored())]
        if strange or not (child.disk.fits(node.disk) or child.disk.fits(above[0].disk)):
            _refuse(journal, 'and the names of the parent in %s are not what that leaves' % child.lv.name)
    for child in children:
        child.moved_to = above[0]
    model.drop(node, 'an inner node whose data is in its parent')
    model.say('sm had begun to hang the children of %s to its parent, which has its data; that is finished, and the LV is dropped' %
              node.lv.name)
