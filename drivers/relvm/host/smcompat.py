# SPDX-License-Identifier: LGPL-2.1-only
"""Everything that differs between the generations of sm, and the only module of this package that imports sm.

No version is compared; what is there is used. Releases in which a feature has the given form:

    feature                     6.5       7.0-7.1    7.6-8.2         XS 8, XCP-ng 8.3   8.3 of 2026   sm 4
    modules                     flat      flat       flat            flat               flat          package `sm`
    drivers to derive from      LVHDoISCSISR, LVHDoHBASR .....................         LVMo...       LVHDo...
    XenError(...)               raises .............  is returned .....................................
    SROSError is in             SR .............................     SR, xs_errors      xs_errors .............
    LVM commands run by         util.pread2, lvutil.cmd_lvm (7.0 on)
    _attach_LUN_bySCSIid        answers a bool .................     bool, or raises (3.0.9 on) .............
    a LUN that is not there     OSError (up to 8.2), or ConfigSCSIid
    VHD scan                    vhdutil.getAllVHDs ............................        cowutil       vhdutil
    QCOW2                       unknown .......................................        qcow2util     unknown
    CHAP values                 str ............................     bytes ..................................

The drivers for HBAs (LVHDoHBASR, from 8.3 of 2026 on LVMoHBASR; HBASR, devscan, scsiutil, mpath_dmp):

    dconf['device'] at load     the whole load again (6.5), the path alone (7.0 to 8.2), not at load (8.2 CU1 on)
    no SCSIid at load           code 107, with HBASR.print_devs on stderr, which scans every HBA
    hosts that are no HBA       ata, sata and pata drivers, ahci, pdc_adma, iscsi_tcp; usb-storage (8.2 on)
    LUNs over FCoE              as any other (6.5, 7.0); left to type lvmofcoe (7.1 on)
    scan of an HBA              "- - -" to its `scan`; then, by REPORT LUNS, disks that are gone or changed are taken away and others added
    making a map (refresh)      multipathd's add path (6.5, 7.0); multipath -r unless there is one (7.1 on); a LUN may go without (7.6 on)
    removing it (reset)         with its paths in multipathd (6.5, 7.0); multipath -f and -W (7.1 on). Nothing asks who made it
    path of a map               /dev/disk/mpInuse/<SCSI id>, a link that only refresh makes
    multipathing off            /dev/disk/by-id/scsi-<SCSI id>, which is the map if there is one all the same
    probe                       code 16 when there is a map; ends with a reset, as create and delete do
    delete                      takes the disks off the host as well (8.2 CU1 on)
    attach on another host      makes the map, and scans when the LUN is not there

So of these the product calls load, and refresh and reset for a map that was not there before.
"""

import os
import re
import sys

from relvm import errors


def _module(name):
    """A module by its dotted name."""
    __import__(name)
    return sys.modules[name]


def _first(names):
    """The first of several modules that is there. Otherwise the error is that of the first name, since a module that is there may
    miss one of its own."""
    error = None
    for name in names:
        try:
            return _module(name)
        except ImportError:
            error = error or errors.current()
    raise error


# The package `sm` is taken only when it has drivers: earlier releases had a namespace of the same name for a few core modules
try:
    _PACKAGED = bool(_module('sm.drivers'))
except ImportError:
    _PACKAGED = False


def _sm(name, place='sm.'):
    if _PACKAGED:
        return _module(place + name)
    return _module(name)


SR = _sm('SR')
SRCommand = _sm('SRCommand')
util = _sm('util', 'sm.core.')
xs_errors = _sm('xs_errors', 'sm.core.')
scsiutil = _sm('scsiutil', 'sm.core.')
lvutil = _sm('lvutil')
vhdutil = _sm('vhdutil')
srmetadata = _sm('srmetadata')

SROSError = getattr(xs_errors, 'SROSError', None) or SR.SROSError

# Records of these types are no users of a LUN: they exist during every call and stay behind when xapi crashes
OWN_TYPES = ('relvmoiscsi', 'relvmohba')

# xapi gives these codes words of its own and drops the text
DROPPED_CODES = (16, 24, 38, 39, 144)


def base_driver(transport):
    """The class that attaches an ordinary SR over a transport, 'ISCSI' or 'HBA', in whichever module this release has it."""
    names = ['LVHDo%sSR' % transport, 'LVMo%sSR' % transport]
    if _PACKAGED:
        module = _module('sm.drivers.' + names[0])
    else:
        module = _first(names)
    return getattr(module, names[0], None) or getattr(module, names[1])


def log(message):
    """One line in the SM log."""
    util.SMlog('relvmoiscsi: ' + message)


def lvm(arguments):
    """Runs an LVM command that only reads ([name, argument, ...]) and returns its stdout."""
    if hasattr(lvutil, 'cmd_lvm') and arguments[0] in getattr(lvutil, 'LVM_COMMANDS', ()):
        return lvutil.cmd_lvm(list(arguments))
    return util.pread2([os.path.join(lvutil.LVM_BIN, arguments[0])] + list(arguments[1:]))


def scan_vhds(vg_name):
    """{VDI uuid: parent's uuid or ''} of every VHD that sm sees in a VG; needs no active LV. Raises SROSError or CommandException,
    and errors.JudgeDisagrees never: an image with an error has the parent None."""
    if hasattr(vhdutil, 'getAllVHDs'):
        if _PACKAGED:
            extract = _module('sm.lvhdutil').extractUuid
        else:
            extract = _module('lvhdutil').extractUuid
        found = vhdutil.getAllVHDs('VHD-*', extract, vg_name)
    else:
        cow = _module('cowutil').getCowUtil('vhd')
        found = cow.getAllInfoFromVG('VHD-*', _module('lvmcowutil').LvmCowUtil.extractUuid, vg_name)
    return _parents(found)


def _parents(found):
    parents = {}
    for uuid, info in found.items():
        parents[uuid] = info.parentUuid or ''
        if info.error:
            parents[uuid] = None
    return parents


def knows_qcow2():
    """Whether this sm has what serves QCOW2 disks in LVs. One that has not deletes their records."""
    return _qcow2_scanner() is not None


def refuse_images(names):
    """Raises errors.Qcow2Host when this host's sm would lose disks that are in LVs of these names. A locked LUN waits for a host that
    would not."""
    found = [name for name in names if name.startswith('QCOW2-')]
    if found and not knows_qcow2():
        raise errors.Qcow2Host(lvs=', '.join(found))


def _qcow2_scanner():
    try:
        _sm('qcow2util')
        _sm('lvmcowutil')
        return _sm('cowutil').getCowUtil('qcow2')
    except ImportError:
        return None


def scan_qcow2s(vg_name):
    """The same as scan_vhds() for QCOW2 images; None where sm would have to activate every LV for it (up to 3.2.12-21.1)."""
    cow = _qcow2_scanner()
    if not hasattr(cow, '_getAllInfoFromLVM'):
        return None
    return _parents(cow.getAllInfoFromVG('QCOW2-*', _sm('lvmcowutil').LvmCowUtil.extractUuid, vg_name))


def read_metadata(path):
    """(SR uuid, [VDI uuid]) as sm's own reader finds them in a copy of MGT's used part. ('', []) when it cannot read it."""
    handler = srmetadata.LVMMetadataHandler(path, False)
    sr_info, vdi_info = handler.getMetadata()
    del handler
    return str(sr_info.get('uuid', '')), sorted([str(vdi['uuid']) for vdi in vdi_info.values()])


def iscsi_session(srcmd, sr_uuid):
    """sm's object for the sessions to one target. srcmd: an SRCommand with the device config; without targetIQN it raises what lists
    those."""
    try:
        driver = _sm('BaseISCSI').BaseISCSISR
    except ImportError:
        driver = SR.driver('iscsi')
    return driver(srcmd, sr_uuid)


def look_again_for_session(iscsi):
    """With several targets sm logs in and out while it reads the device config. From 7.6 on it remembers the session that it then
    saw, and would not log in any more; earlier releases looked before they did so."""
    if isinstance(getattr(iscsi.__class__, 'attached', None), property):
        iscsi.attached = False


def attach_lun(iscsi, scsi_id):
    """Waits until the LUN is there. Raises errors.LUNMissing."""
    if iscsi._attach_LUN_bySCSIid(scsi_id) is False:
        raise errors.LUNMissing(scsi_id=scsi_id)


def multipathing(sr):
    """True when sm is to use its LUNs through multipath maps."""
    return getattr(sr, 'mpath', 'true') != 'false'


def without_map(iscsi):
    """To be called before a detach when the LUN has no multipath map, as one that multipath's configuration leaves out.

    With multipathing on, sm flushes the map of any LUN, and stops at one that is not there with the session still open.
    """
    iscsi.mpathmodule = _sm('mpath_null', 'sm.core.')


def flush_map(name, scsi_id):
    """Has sm take a LUN's multipath map away; its name. What queues for paths that go would never go itself."""
    try:
        util.pread2(['/sbin/dmsetup', 'message', name, '0', 'fail_if_no_path'])
    except util.CommandException:
        log('the map %s goes on queueing: %s' % (name, describe(errors.current())))
    _sm('mpath_dmp', 'sm.core.').reset(scsi_id, True)


def drop_reference(iqn, sr_uuid):
    """Takes one SR out of sm's references to an iSCSI session; how many are left. The session itself is not touched."""
    return util._decr_iscsiSR_refcount(iqn, sr_uuid)


def as_text(value):
    """A CHAP value or IQN, which newer releases keep as bytes, as native str."""
    if isinstance(value, str):
        return value
    if hasattr(value, 'decode') and not hasattr(value, 'encode'):
        return value.decode('utf-8', 'replace')
    return value.encode('utf-8')


def secrets(sr):
    """Every CHAP secret that this process knows, as native str."""
    found = []
    for key, value in sr.dconf.items():
        if 'passw' in key and isinstance(value, str) and value:
            found.append(value)
    for iscsi in getattr(sr, 'iscsiSRs', []):
        for name in ('chappassword', 'incoming_chappassword'):
            value = getattr(iscsi, name, None)
            if value:
                found.append(as_text(value))
    return found


def masked(text, hidden):
    """`text` without any of the secrets `hidden`, in whichever way a list of arguments shows them."""
    for secret in hidden:
        for form in (secret, repr(secret)[1:-1]):
            text = text.replace(form, '******')
    return text


def describe(error):
    """A sentence about an exception of sm."""
    if isinstance(error, util.CommandException):
        # its str() is strerror(status), which says nothing, and the arguments of its command may hold a secret
        program = re.search(r'[\w./-]+', str(error.cmd))
        return '%s failed with status %s: %s' % (program and program.group(0), error.code, str(error.reason).strip())
    return '%s: %s' % (error.__class__.__name__, error)


def fault(error, hidden):
    """What to raise for an exception, so that xapi gets a number and keeps the text, and no secret goes out.

    Up to 7.1 making a XenError raises it, so callers write `raise fault(...)` and get the same either way.
    """
    if isinstance(error, errors.ResignError):
        return xs_errors.XenError(error.sm_error, opterr=masked(str(error), hidden))
    if isinstance(error, SROSError):
        text = masked(str(error), hidden)
        if error.errno not in DROPPED_CODES and text == str(error):
            return error
        return xs_errors.XenError('SRUnavailable', opterr=text)
    return xs_errors.XenError('SMGeneral', opterr=errors.printable(masked(describe(error), hidden)))


def succeed(message):
    """The numbered fault (code 1) whose text is `Error reporting error, unknown key <message>`, in every release: an error name
    that sm does not know is reported like that. Write `raise succeed(...)`."""
    return xs_errors.XenError(message)


def in_use_by(session, scsi_id, own_sr):
    """The SR of this pool that uses a LUN: (uuid, how), or None. Looks at every PBD, attached or not, on every host.

    Records of SRs of this product's types do not count.
    (util.test_SCSIid of sm stops at the first PBD of its own SR and is not enough.)
    """
    return used_in(session.xenapi.SR.get_all_records(), session.xenapi.PBD.get_all_records(), scsi_id, own_sr)


def used_in(srs, pbds, scsi_id, own_sr):
    """The same in records that were asked for before: {reference: record} of all SRs and PBDs."""
    for pbd in pbds.values():
        sr = srs.get(pbd['SR'], {})
        if pbd['SR'] != own_sr and sr.get('type') not in OWN_TYPES and pbd['device_config'].get('SCSIid') == scsi_id:
            return sr.get('uuid', pbd['SR']), 'a PBD has this SCSI id'
    for ref, sr in srs.items():
        if ref == own_sr or sr.get('type') in OWN_TYPES:
            continue
        config = sr.get('sm_config', {})
        if config.get('SCSIid') == scsi_id or 'scsi-' + scsi_id in config:
            return sr['uuid'], 'its sm-config has this SCSI id'
        # the plugin's attach marks what it has introduced, before there is a PBD
        if scsi_id in (config.get('relvmoiscsi'), sr.get('other_config', {}).get('relvmoiscsi')):
            return sr['uuid'], 'it was introduced for this SCSI id'
    return None


def luns_of_srs(session):
    """{SR uuid: [SCSI ids that its PBDs name]} of this pool."""
    uuids = dict([(ref, sr['uuid']) for ref, sr in session.xenapi.SR.get_all_records().items()])
    found = {}
    for pbd in session.xenapi.PBD.get_all_records().values():
        scsi_id = pbd['device_config'].get('SCSIid')
        if scsi_id and pbd['SR'] in uuids:
            found.setdefault(uuids[pbd['SR']], []).append(scsi_id)
    return found


def known_uuids(session):
    """{uuid: what} of every SR and VDI of the pool."""
    known = {}
    for record in session.xenapi.VDI.get_all_records().values():
        known[record['uuid']] = 'VDI'
    for record in session.xenapi.SR.get_all_records().values():
        known[record['uuid']] = 'SR'
    return known


CONFIG_SCSIID = 107
_NOT_FOUND = re.compile('No such file or directory.*by-scsid|by-scsid.*No such file or directory')


def is_missing_lun(error):
    """True for the exception by which BaseISCSI says (up to 8.2) that udev knows no LUN of this SCSI id."""
    return isinstance(error, OSError) and _NOT_FOUND.search(str(error)) is not None


def says_missing_lun(error):
    """True for that one, and for the ConfigSCSIid by which later releases say it."""
    return is_missing_lun(error) or not isinstance(error, EnvironmentError) and getattr(error, 'errno', None) == CONFIG_SCSIID
