# SPDX-License-Identifier: LGPL-2.1-only
"""Before success is reported, this host's own LVM and sm read the result and have to agree with the plan.

They activate nothing. At most eight processes at any size: pvs and lvs with LVM_DEVICE as sm sets it, and again without, vgck,
vhd-util scan, and qcow2_helper scan where sm has that and there is something to scan. sm's reader of MGT gets a copy of the used part.
"""

import os
import tempfile

from relvm.host import locks
from relvm import errors
from relvm import identity
from relvm.host import smcompat
from relvm.octets import octets

LVM_DEVICE = 'LVM_DEVICE'


def agree(lun, path):
    """Raises errors.JudgeDisagrees when one of them reads something else.

    lun: lun.Lun as it was read after the resign; path: of its block device, as sm names it
    """
    _lvm(lun, path)
    hint = os.environ.pop(LVM_DEVICE, None)
    try:
        _lvm(lun, path)
        _run(lun, 'vgck', ['vgck', lun.vg.name])
    finally:
        if hint is not None:
            os.environ[LVM_DEVICE] = hint
    _images(lun, 'vhd', 'vhd-util scan', smcompat.scan_vhds)
    _images(lun, 'qcow2', 'qcow2_helper scan', smcompat.scan_qcow2s)
    _metadata(lun)


def _disagree(lun, judge, what):
    raise errors.JudgeDisagrees(uuid=lun.vg.sr_uuid, judge=judge, what=what)


def _run(lun, judge, arguments):
    try:
        return smcompat.lvm(arguments)
    except Exception:
        return _disagree(lun, judge, smcompat.describe(errors.current()))


def _lvm(lun, path):
    vg = lun.vg
    out = _run(lun, 'pvs', ['pvs', '--noheadings', '--separator', ',', '-o', 'pv_uuid,vg_name,vg_uuid', path])
    expected = '%s,%s,%s' % (vg.pv_id, vg.name, vg.id)
    if expected not in [line.strip() for line in out.split('\n')]:
        _disagree(lun, 'pvs', '%s instead of %s' % (out.strip(), expected))
    out = _run(lun, 'lvs', ['lvs', '--noheadings', '--separator', ',', '--units', 'b', '--nosuffix', '-o',
                            'lv_name,lv_uuid,lv_size', vg.name])
    found = sorted([line.strip() for line in out.split('\n') if line.strip()])
    expected = sorted(['%s,%s,%d' % (lv.name, lv.id, vg.lv_size(lv)) for lv in vg.order])
    if found != expected:
        odd = [line for line in found if line not in expected] + [line for line in expected if line not in found]
        _disagree(lun, 'lvs', 'they differ in %s' % '; '.join(odd[:3]))


def _images(lun, kind, judge, scan):
    """The images of one kind and their parents. scan: function VG name -> {uuid: parent's uuid or ''}, or None."""
    expected = {}
    for vdi in lun.order:
        if vdi.kind() == kind:
            expected[vdi.uuid] = ''
            if vdi.parent is not None:
                expected[vdi.uuid] = vdi.parent.uuid
    if not expected:
        return
    try:
        found = scan(lun.vg.name)
    except Exception:
        _disagree(lun, judge, smcompat.describe(errors.current()))
    if found is None:
        smcompat.log('%s is not asked: this sm has it not' % judge)
        return
    for uuid in sorted(dict.fromkeys(list(found) + list(expected))):
        if found.get(uuid, 'nothing') != expected.get(uuid, 'nothing'):
            _disagree(lun, judge, 'VDI %s has the parent %s, not %s' %
                      (uuid, found.get(uuid, 'nothing'), expected.get(uuid, 'nothing')))


def _metadata(lun):
    try:
        fd, path = tempfile.mkstemp('.mgt', identity.new_uuid(), locks.RUN_DIR)
    except EnvironmentError:
        smcompat.log('no room for a copy of MGT: sm\'s own reader is not asked')
        return
    try:
        try:
            copy = os.fdopen(fd, 'wb')
            try:
                copy.write(octets(lun.mgt.raw))
            finally:
                copy.close()
            sr_uuid, vdis = smcompat.read_metadata(path)
        except EnvironmentError:
            smcompat.log('no room for a copy of MGT: sm\'s own reader is not asked')
            return
    finally:
        os.unlink(path)
    expected = sorted(lun.mgt.live())
    if sr_uuid != lun.mgt.sr_uuid or vdis != expected:
        _disagree(lun, 'srmetadata', 'SR %s with %d VDIs instead of %s with %d' %
                  (sr_uuid or 'nothing', len(vdis), lun.mgt.sr_uuid, len(expected)))
