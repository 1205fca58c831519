# SPDX-License-Identifier: LGPL-2.1-only
"""A list of LUNs, in the form in which sm's drivers list them with error 107, which XenCenter and Xen Orchestra read:

    <iscsi-target> <LUN>          LUNid, vendor, serial, size (bytes), SCSIid                      over iSCSI
    <Devlist>      <BlockDevice>  path, numpaths, SCSIid, vendor, serial, size, hba                behind an HBA

and in each LUN what else is known: sr_uuid, sr_name, copy_of (the SR of this pool that it is a copy of), used_by (the SR of this pool
that uses it), copied_from (the SCSI id under which its SR was last used), locked, visible (false: it was here for this look only),
possible, and a <reason code="..."> for each that speaks against a resign.
"""

from relvm.show.report import element
from relvm.show.report import escape

OWN = ('sr_uuid', 'sr_name', 'copy_of', 'used_by', 'copied_from')
FLAGS = ('locked', 'visible', 'possible')
FORMS = {'iscsi': ('iscsi-target', 'LUN', ('vendor', 'serial', 'LUNid', 'size', 'SCSIid')),
         'hba': ('Devlist', 'BlockDevice', ('path', 'numpaths', 'SCSIid', 'vendor', 'serial', 'size', 'hba'))}


def as_xml(transport, luns):
    """transport: a key of FORMS; luns: [{field: text, a flag, or reasons [{code, sentence}]}]. Native str, pure ASCII."""
    top, entry, fields = FORMS[transport]
    out = ['<?xml version="1.0" ?>\n<%s>\n' % top]
    for lun in luns:
        out.append('<%s>\n' % entry)
        for name in fields + OWN:
            element(out, name, lun[name])
        for name in FLAGS:
            element(out, name, str(lun[name]).lower())
        for reason in lun['reasons']:
            out.append('<reason code="%s">%s</reason>\n' % (reason['code'], escape(reason['sentence'])))
        out.append('</%s>\n' % entry)
    out.append('</%s>\n' % top)
    return ''.join(out)
