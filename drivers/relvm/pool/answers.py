# SPDX-License-Identifier: LGPL-2.1-only
"""What SR.probe answers, XML with SRlist at the top, as data."""

from xml.dom import minidom


class NotAnAnswer(Exception):
    """The text is not what a driver's sr_probe returns."""


def found(xml):
    """[{uuid, name_label, name_description, size}] for each SR in the answer to a probe of any LVM type. `size` in bytes,
    None where it is not told."""
    return [_identity(node) for node in _children(_top(xml), 'SR')]


def preview(xml):
    """The answer to a probe of type relvmoiscsi for a full device config:

        uuid, name_label, name_description, size    of the SR that is on the LUN now
        device                                      where the LUN was seen
        possible        whether it can be resigned
        reasons         [{code, sentence}] why not
        copy_of         uuid of the pool's SR that it is a copy of, '' if none
        report          [sentence] worth knowing
        vdis            [{uuid, name_label, action, reason, type, size}], action keep or drop
        pack            path of the file of `relvm pack` on that host, where one was asked for

    Where no SR could be read, uuid is '' and the reasons say why. Raises NotAnAnswer if there is not exactly one `resign` part.
    """
    top = _top(xml)
    nodes = [node for node in _children(top, 'SR') + [top] if _children(node, 'resign')]
    if len(nodes) != 1 or len(_children(top, 'SR')) > 1:
        raise NotAnAnswer('%d SRs' % len(_children(top, 'SR')))
    answer = _identity(nodes[0])
    answer['device'] = _text(nodes[0], 'Devlist')
    resign = _children(nodes[0], 'resign')[0]
    answer['possible'] = _text(resign, 'possible') == 'true'
    answer['reasons'] = _reasons(resign)
    answer['copy_of'] = _text(resign, 'copy_of')
    answer['report'] = [_words(node) for node in _children(resign, 'report')]
    if _children(resign, 'pack'):
        answer['pack'] = _text(resign, 'pack')
    answer['vdis'] = []
    for node in _children(resign, 'vdi'):
        vdi = {'size': _number(node, 'size')}
        for name in ('uuid', 'name_label', 'action', 'reason', 'type'):
            vdi[name] = _text(node, name)
        answer['vdis'].append(vdi)
    return answer


def discovered(xml):
    """The answer to a probe with discover=true: [{field: text; locked, visible and possible: bool; size: bytes or None; reasons [{code,
    sentence}]}], the fields as show.lunlist has them. Raises NotAnAnswer."""
    top = _top(xml, ('iscsi-target', 'Devlist'))
    luns = []
    for node in _children(top, 'LUN') + _children(top, 'BlockDevice'):
        lun = {}
        for child in node.childNodes:
            if child.nodeType == child.ELEMENT_NODE and child.tagName != 'reason':
                lun[child.tagName] = _words(child)
        for name in ('locked', 'visible', 'possible'):
            lun[name] = lun.get(name) == 'true'
        lun['size'] = _number(node, 'size')
        lun['reasons'] = _reasons(node)
        luns.append(lun)
    return luns


def _reasons(node):
    return [{'code': reason.getAttribute('code'), 'sentence': _words(reason)} for reason in _children(node, 'reason')]


def _top(xml, names=('SRlist',)):
    try:
        top = minidom.parseString(xml).documentElement
    except Exception:
        # expat's errors have another class in each Python.
        raise NotAnAnswer('not XML')
    if top.tagName not in names:
        raise NotAnAnswer('<%s>' % top.tagName)
    return top


def _identity(node):
    return {'uuid': _text(node, 'UUID'), 'name_label': _text(node, 'name_label'),
            'name_description': _text(node, 'name_description'), 'size': _number(node, 'size')}


def _children(node, name):
    return [child for child in node.childNodes if child.nodeType == child.ELEMENT_NODE and child.tagName == name]


def _words(node):
    return ''.join([child.data for child in node.childNodes
                    if child.nodeType in (child.TEXT_NODE, child.CDATA_SECTION_NODE)]).strip()


def _text(node, name):
    for child in _children(node, name):
        return _words(child)
    return ''


def _number(node, name):
    value = _text(node, name)
    if value.isdigit():
        return int(value)
    return None
