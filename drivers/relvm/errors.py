# SPDX-License-Identifier: LGPL-2.1-only
"""Why a LUN is not resigned: one class per reason, with its data as fields.

Two families:

* `Refused`: nothing that anybody reads was changed on the LUN.
* `Interrupted`: the run ended in the middle. The LUN is the untouched old SR, or locked, or the finished new SR;
  the same command, given again, finishes the job.

Every class has a `text` (what is wrong, on which object; `%(field)s` are the fields), an `advice` (what the
administrator can do) and `sm_error`, the name of the sm error that carries the sentence to xapi. xapi drops the text
of the codes 16, 24, 38, 39 and 144, so none of those is used.
"""

import sys


class ResignError(Exception):
    """Base of everything the engine raises knowingly. `fields` holds the data of the sentence."""

    text = 'resign failed'
    advice = ''
    sm_error = 'SRUnavailable'

    def __init__(self, **fields):
        Exception.__init__(self, self.text)
        self.fields = fields

    def code(self):
        """The reason's name, for programs: the name of the class."""
        return self.__class__.__name__

    def sentence(self):
        """What is wrong, without the advice. Printable ASCII whatever was on the LUN."""
        return printable(self.text % self._words())

    def __str__(self):
        if self.advice:
            return '%s. %s.' % (self.sentence(), printable(self.advice % self._words()))
        return self.sentence() + '.'

    def _words(self):
        # each field by itself: on Python 2 bytes and Unicode do not mix
        return dict([(name, printable(value)) for name, value in self.fields.items()])


class Refused(ResignError):
    """The LUN stays as it is."""


# Advice that several reasons share.
NEW_CLONE = 'Make a new clone. If that one is refused as well, the original has the same fault'
RENAME_MGT = ('sm makes this volume anew from the records of xapi: on the pool master of the original rename the LV MGT (lvrename '
              'VG_XenStorage-<SR uuid> MGT MGT_old; from 7.0 on with LVM_SYSTEM_DIR=/etc/lvm/master), unplug and plug the PBDs of '
              'the SR, and clone again')
LEAVE = 'If the original is gone, device-config:drop=<uuid of the VDI> (--drop) leaves it behind, with all that depends on it'
# vhd-util repair writes the footer at the end again, and nothing else: no VHD that is refused is taken after it
REMOVE_VDI = ('Copy what can still be read of this VDI (xe vdi-copy), or restore it from a backup. Then delete it on the original (xe '
              'vdi-destroy); where sm cannot read it either, so that its scan fails, remove the LV %(lv)s on the pool master (lvremove; '
              'from 7.0 on with LVM_SYSTEM_DIR=/etc/lvm/master) and forget the VDI (xe vdi-forget). Then clone again. ') + LEAVE
# fn=pack and fn=selftest are functions of the xapi plugin
REPORT = 'report this, with the file of fn=pack and the answer of fn=selftest'
UDEV = 'The device links of this host are out of date or two LUNs have one id: rescan the bus, and compare with the array'


class Interrupted(ResignError):
    """The run ended in the middle; repeating it finishes the job."""

    advice = ('The LUN is safe: it has its old identity, or is locked, or has its new identity. '
              'Repeat the command to finish')


def printable(value):
    """`value` as a str of printable ASCII characters, others as \\xNN, at most 2000 long: LUNs are hostile and the
    sentence goes into logs and XML."""
    # not str(): on Python 2 that cannot take Unicode, which is what XML-RPC gives
    value = '%s' % (value,)
    if len(value) > 2000:
        value = value[:2000] + '...'
    out = []
    for char in value:
        if ' ' <= char <= '~':
            out.append(str(char))
        elif ord(char) < 256:
            out.append('\\x%02x' % ord(char))
        else:
            out.append('\\u%04x' % ord(char))
    return ''.join(out)


# The device.

class DeviceMissing(Refused):
    text = 'cannot open %(device)s: %(cause)s'
    advice = 'Check the path, and that the LUN is attached to this host'


class DeviceBusy(Refused):
    text = '%(device)s is in use on this host'
    advice = 'Detach what uses it (an SR, a mounted file system, a device-mapper map) first'


class DeviceReadOnly(Refused):
    text = '%(device)s is read-only'
    advice = 'Let the array present the clone writable'


class BlockSize(Refused):
    text = '%(device)s has logical blocks of %(size)s bytes; only 512 are supported'
    advice = 'Let the array present the LUN with 512-byte blocks (512n or 512e)'


class ReadFailed(Refused):
    text = 'reading %(length)s bytes at offset %(offset)s of %(device)s failed: %(cause)s'
    advice = "Look for errors of this disk in the host's kernel log and on the array"


class UnreadableVDI(ReadFailed):
    text = 'the image in LV %(lv)s cannot be read: ' + ReadFailed.text
    advice = ReadFailed.advice + '. ' + LEAVE


class HolderPresent(Refused):
    text = 'device-mapper devices on %(host)s use %(device)s: %(holders)s'
    advice = 'Deactivate them there first; the logical volumes of an original may be mapped onto its clone'


class NotADisk(Refused):
    text = '%(device)s is not a whole disk but %(kind)s'
    advice = 'Name the LUN itself'


class BadExcerpt(Refused):
    text = '%(path)s is no file of relvm pack: %(what)s'
    advice = 'Pack the LUN again'


class FileExists(Refused):
    text = '%(path)s is there already'
    advice = 'Give another name: nothing is overwritten'


class FileFailed(Refused):
    text = 'cannot write %(path)s: %(cause)s'
    advice = 'Name a place with enough room'


class WriteFailed(Interrupted):
    text = '%(step)s: writing %(length)s bytes at offset %(offset)s of %(device)s failed: %(cause)s'


class FlushFailed(Interrupted):
    text = '%(step)s: flushing %(device)s failed: %(cause)s'


class ReadBackFailed(Interrupted):
    text = '%(step)s: reading %(length)s bytes at offset %(offset)s of %(device)s failed: %(cause)s'


# LVM.

class NoLabel(Refused):
    text = 'no SR on this LUN: it has no LVM label'
    advice = 'Check that this is the LUN you mean and that the array has copied all of it'
    sm_error = 'LVMNoVolume'


class ManyLabels(Refused):
    text = 'LVM labels in sectors %(sectors)s of the first four; one label, in sector 1, is expected'
    advice = 'Another tool was here; make a new clone'
    sm_error = 'LVMNoVolume'


class ForeignSignature(Refused):
    text = 'the LUN has %(what)s at offset %(offset)s, for which LVM passes over it'
    advice = ('Somebody else uses the LUN, or a tool was run on it by mistake, and LVM of some releases does not see the original either. '
              'If it was a mistake, take the signature off the original (wipefs -o %(offset)s <device>) and make a new clone')


class BadLabel(Refused):
    text = 'the LVM label is not understood: %(what)s'
    advice = NEW_CLONE
    sm_error = 'LVMNoVolume'


class BadArea(Refused):
    text = 'the LVM metadata area at offset %(offset)s is not understood: %(what)s'
    advice = NEW_CLONE
    sm_error = 'LVMNoVolume'


class AreasDiffer(Refused):
    text = 'the second LVM metadata area, at offset %(offset)s, does not say what the first one says'
    advice = 'Change something on the original (create and delete a VDI), so that LVM writes both, and make a new clone'
    sm_error = 'LVMNoVolume'


class NoVolumeGroup(Refused):
    text = 'no SR on this LUN: PV %(pv)s belongs to no VG%(though)s'
    advice = ('An LVM command that was interrupted (one, in the life of an SR, at its first change by a newer LVM) can leave a clone like '
              'this: make a new clone, and do not format this one')
    sm_error = 'LVMNoVolume'


class BadText(Refused):
    text = 'the LVM metadata text is not understood: %(what)s'
    advice = NEW_CLONE
    sm_error = 'LVMNoVolume'


class NotAnSR(Refused):
    text = 'the VG on this LUN is %(vg)s, which is not an LVHD SR (VG_XenStorage-<uuid>)'
    advice = 'It belongs to somebody else and is left alone; check that this is the LUN you mean'
    sm_error = 'LVMNoVolume'


class ManyPVs(Refused):
    text = 'the VG %(vg)s spans %(count)s PVs (%(pvs)s); an SR on one LUN is expected'
    advice = 'An SR on several LUNs cannot be resigned'
    sm_error = 'LVMOneLUN'


class MissingPV(Refused):
    text = 'the VG %(vg)s has lost PVs: %(pvs)s'
    advice = "Half an SR cannot be resigned; bring the original's PVs back (vgextend --restoremissing) and clone again"
    sm_error = 'LVMOneLUN'


class WrongPV(Refused):
    text = 'the label says PV %(label)s, the metadata text says %(text)s'
    advice = NEW_CLONE
    sm_error = 'LVMNoVolume'


class Exported(Refused):
    text = 'the VG %(vg)s is exported'
    advice = 'Somebody ran vgexport on it: run vgimport %(vg)s on the original, and make a new clone'


class ForeignField(Refused):
    text = '%(place)s has %(field)s = %(value)s, which an SR does not have'
    advice = 'Somebody else owns this VG, or a newer LVM wrote it; detach it there, or make a new clone'


class LvmSetting(ForeignField):
    advice = 'An LVM setting that sm never makes: undo it on the original (%(command)s), and make a new clone'


class UnknownSegment(Refused):
    text = 'the LV %(lv)s has a segment of type %(type)s; only linear LVs are supported'
    advice = 'Remove the LV from the original, or make it linear, and clone again'


class BadExtents(Refused):
    text = 'the extents of LV %(lv)s are not understood: %(what)s'
    advice = NEW_CLONE


class TooSmall(Refused):
    text = 'the LUN has %(size)s bytes, but its %(what)s needs %(needed)s'
    advice = 'The clone is truncated; make a new one'


class NoRoomInRing(Refused):
    text = 'the LVM metadata area has no free run of %(needed)s bytes for a second text; the largest has %(free)s'
    advice = 'Remove some VDIs from the original and clone again'


class UnknownTool(Refused):
    text = 'the LVM label points to a metadata area at offset %(offset)s, and %(what)s'
    advice = 'Another tool was here, or the log of an interrupted resign is damaged; make a new clone'


class Changing(Refused):
    text = 'the LUN is being changed by somebody else: %(what)s'
    advice = 'Detach the LUN everywhere, also in other pools'


class ChangedWhileLocked(Interrupted):
    text = '%(step)s: the LUN is not what this run left: %(what)s'


class RecoveredOnly(Interrupted):
    text = ('an interrupted resign was finished, and the LUN is now SR %(sr_uuid)s; giving it the SR uuid of this command failed: '
            '%(what)s')
    advice = 'The LUN is safe. Repeat the command to finish'


class CheckFailed(Interrupted):
    text = 'the rewritten LUN does not pass its check: %(what)s'
    advice = 'The LUN is locked and cannot be attached. Repeat the command; if it fails again, ' + REPORT


# The SR's contents.

class NoMGT(Refused):
    text = 'the SR has no metadata volume (MGT)'
    advice = ('An SR from before XenServer 5.5, or one whose volume somebody removed. Run xe-lvm-upgrade <SR uuid> on the '
              'original, or, where it holds VHDs, unplug and plug its PBDs: either makes one. Then clone again')
    sm_error = 'MetadataError'


class BadMGT(Refused):
    text = 'the SR metadata volume (MGT) is not understood: %(what)s'
    advice = 'If a new clone is refused as well, the original has the same fault: ' + RENAME_MGT
    sm_error = 'MetadataError'


class BadRecord(BadMGT):
    advice = BadMGT.advice + '. ' + LEAVE


class BadName(BadMGT):
    """sm's reader gives up on the whole volume at such a name, and lists no VDI at all."""

    text = 'the SR metadata volume (MGT) is not understood: %(what)s %(wrong)s'
    advice = ('The original has the same fault, and a long name is cut the same way again. Give it a short plain name there (xe '
              'vdi-param-set, sr-param-set; do not mind that it ends in an error). Then ' + RENAME_MGT)


class BadVDIName(BadName):
    advice = BadName.advice + '. ' + LEAVE


class OldMGT(Refused):
    text = 'the SR metadata volume (MGT) has version %(version)s; 1:2 is expected'
    advice = ('Attach the original once with a XenServer from 6.0 to 8.2, which brings it up to date (later ones do not any more), '
              'and clone again')
    sm_error = 'MetadataError'


class NewMGT(Refused):
    text = 'the SR metadata volume (MGT) has version %(version)s; 1:2 is expected'
    advice = 'An sm that is newer than this package wrote it; look for a newer package'
    sm_error = 'MetadataError'


class ThinDaemon(Refused):
    text = 'the SR was made with allocation=xlvhd: a daemon of XenServer 7.0 keeps the places of its volumes in a form of its own'
    advice = 'Such an SR cannot be resigned; copy its VDIs to another SR (xe vdi-copy)'
    sm_error = 'MetadataError'


class WrongSRUuid(Refused):
    text = 'the metadata volume says SR %(mgt)s, the VG name says %(vg)s'
    advice = NEW_CLONE
    sm_error = 'MetadataError'


class NoRoomForLog(Refused):
    text = 'the metadata volume (MGT) has %(free)s unused bytes; the log of this resign needs %(needed)s'
    advice = 'Remove VDIs from the original and clone again'


class DuplicateVDI(Refused):
    text = 'two objects carry the uuid %(uuid)s: %(what)s'
    advice = ('Remove one of them on the original and clone again. If the original is gone, device-config:drop=%(uuid)s (--drop) leaves '
              'both behind')
    sm_error = 'MetadataError'


class UuidOfSR(Refused):
    text = 'the uuid of the SR, %(uuid)s, is also that of %(what)s'
    advice = 'Remove that VDI on the original and clone again'
    sm_error = 'MetadataError'


class Journals(Refused):
    text = 'the SR was cloned in the middle of an operation that cannot be finished or undone here: %(lv)s, %(what)s'
    advice = ('If the original still has this LV when it has been scanned, sm cannot finish it either: look into /var/log/SMlog there. '
              'Otherwise clone again. ' + LEAVE)


class UnknownVolume(Refused):
    text = 'the LV %(lv)s is named or tagged like a volume of sm, but is none that sm makes'
    advice = 'Remove or rename it on the original and clone again'


class BadQcow2(Refused):
    text = 'the QCOW2 image in LV %(lv)s is not understood: %(what)s'
    advice = REMOVE_VDI


class BadVHD(Refused):
    text = 'the VHD in LV %(lv)s is not understood: %(what)s'
    advice = REMOVE_VDI


class FixedVHD(BadVHD):
    text = 'the VHD in LV %(lv)s is a fixed one, as Hyper-V makes them, copied into the LV as it is; sm reads dynamic ones only'
    advice = ('The original cannot start a VM from it either. Import the file with xe vdi-import format=vhd into a new VDI there, delete '
              'this one, and clone again. ' + LEAVE)


class Poisoned(Refused):
    text = 'the VHD in LV %(lv)s was in the middle of a resize that moves its block table (one of its footers says v_poison)'
    advice = 'Scan the SR on the original, which makes sm undo that, and clone again. ' + LEAVE


class BadLocator(Refused):
    text = 'the VHD in LV %(lv)s has a parent name or locator that is not understood: %(what)s'
    advice = REMOVE_VDI


class ParentMissing(Refused):
    text = 'the parent of LV %(lv)s, %(parent)s, is not on this LUN'
    advice = 'The original cannot read this VDI either; remove it there and clone again. ' + LEAVE


class ParentMismatch(Refused):
    text = 'LV %(lv)s names %(parent)s as its parent, but carries the unique id of another VHD'
    advice = REMOVE_VDI


class BadChain(Refused):
    text = 'the chain of LV %(lv)s %(what)s'
    advice = REMOVE_VDI


class DroppedHasChildren(Refused):
    text = 'the VDI %(uuid)s would be dropped (%(why)s), but %(children)s depend on it'
    advice = ('Make them independent of it on the original and clone again, or keep snapshots (device-config:snapshots=keep). Or '
              'device-config:drop=%(uuid)s (--drop) leaves all of them behind')


class BadDrop(Refused):
    text = 'drop=%(uuid)s names no VDI: that is no UUID in lower case'
    advice = 'Give the uuids of VDIs, with commas between them and nothing else'


class NothingToDrop(Refused):
    text = 'no VDI %(uuid)s, which drop= names, is on the LUN'
    advice = 'Give the uuid that the VDI has on the LUN: it is in the preview, and in the name of the LV that a refusal is about'


class NothingLeft(Refused):
    text = 'no VDI would be left: %(dropped)s'
    advice = 'device-config:snapshots=keep resigns an SR that holds only snapshots; or make VDIs of them first'


class EmptySR(Refused):
    text = 'the SR on this LUN has no VDIs: there is nothing to resign'
    advice = 'Make a VDI on the original and clone it again, or make a new SR on this LUN'


class Unsound(Refused):
    text = 'the resigned LUN would not be a sound SR: %(what)s'
    advice = 'The LUN is unchanged. Let the original be scanned, clone it again; if it comes back, ' + REPORT


class SameUuid(Refused):
    text = 'the LUN already carries the uuid %(uuid)s'
    advice = 'Leave the choice of the uuid to sr-create'


class UuidTaken(Refused):
    text = 'the VDI %(vdi)s would get the uuid %(uuid)s, but that belongs to: %(what)s'
    advice = 'Resign with another SR uuid'


# The pool. Used by the driver.

class Qcow2Host(Refused):
    """At its next attach such an sm deletes the records of these disks (syncMetadataAndStorage of its LVHDSR)."""

    text = 'the SR has QCOW2 disks, and the sm of this host does not know them: %(lvs)s'
    advice = 'Resign it on a host that does: XCP-ng 8.3 with the updates of April 2026 or later'


class InUse(Refused):
    text = 'the LUN %(scsi_id)s belongs to SR %(sr)s of this pool (%(how)s)'
    advice = ('A LUN that an SR of this pool uses is never resigned. If the array has put another copy on it since, unplug the PBDs '
              'of that SR (xe pbd-unplug), forget it (xe sr-forget uuid=%(sr)s), and repeat. If it is a copy of that SR, the target '
              'must give it a SCSI id of its own')


class BadResignAs(Refused):
    text = 'resign-as=%(uuid)s cannot be the new SR uuid: %(what)s'
    advice = 'Choose a uuid that no record of the pool has, or leave the choice to sr-create'


class BadSnapshots(Refused):
    text = 'snapshots=%(value)s is neither keep nor drop'
    advice = 'Without it snapshots are dropped'


class Original(Refused):
    text = ('the SR on this LUN %(how)s: it is an original, perhaps of another pool, and not a copy, or the target gives original '
            'and copy the same SCSI id')
    advice = ('If it is a copy, let the target give it a SCSI id of its own (tgt: scsi_id and scsi_sn; LIO: unit_serial), and map it '
              'again. device-config:force=true (--force) resigns it all the same; the SR that is on it is then gone')


class HostPassesOver(Refused):
    text = "this host's LVM does not use %(device)s, and would not see the resigned SR either: %(reason)s"
    advice = 'Look at filter, global_filter and devices file in lvm.conf of this host, then repeat'


class WrongLUN(Refused):
    text = '%(device)s reports the SCSI id %(found)s, not %(wanted)s'
    advice = UDEV


class ManyDevices(Refused):
    text = 'the SCSI id %(scsi_id)s belongs to %(devices)s, which are not paths of one multipath map'
    advice = 'Turn multipathing on, or let the array present the LUN through one path'


class MapPresent(Refused):
    text = 'this host already has a multipath map of the LUN %(scsi_id)s: %(map)s'
    advice = 'Whoever made it may be using it; remove it (multipath -f) when nobody does'


class BadSCSIid(Refused):
    text = '%(scsi_id)s cannot be a SCSI id'
    advice = 'sr-probe without SCSIid lists the LUNs of the target'
    sm_error = 'ConfigSCSIid'


class LUNMissing(Refused):
    text = 'no LUN with the SCSI id %(scsi_id)s is presented to this host'
    advice = 'Map the clone to this host on the array; sr-probe without SCSIid lists what is presented'
    sm_error = 'ConfigSCSIid'


class WrongTransport(Refused):
    text = 'the LUN %(scsi_id)s comes over iSCSI (%(disk)s), not through an HBA'
    advice = 'Use type=relvmoiscsi'


class OneTarget(Refused):
    text = 'discover with login=true looks at one target at a time, not at %(target)s'
    advice = 'Give one address as target, and one targetIQN; sr-probe without targetIQN lists those of an address'


class NotLookedAt(Refused):
    text = 'the LUN %(scsi_id)s was not looked at: a look at a target takes %(seconds)s seconds at most'
    advice = 'Let the target present fewer LUNs to this host, or ask for this one alone (fn=preview)'


class HostSilent(Refused):
    text = 'the host %(host)s of this pool is live and does not say whether it uses the LUN %(scsi_id)s: %(cause)s'
    advice = ('Install this version on every host of the pool. If you know that nothing there uses the LUN, '
              'device-config:force=true goes on without its answer')


class AheadOfOriginal(Refused):
    text = ('the LVM metadata of the LUN %(scsi_id)s (seqno %(seqno)s) is newer than that of its original %(original)s '
            '(seqno %(behind)s): LVM has written to the clone in the place of its original')
    advice = 'Keep this clone until the original was looked through: what was changed there last is on the clone only. Then make a new one'


class NotMaster(Refused):
    text = 'a LUN is resigned on the pool master only'
    advice = 'Use shared=true, or address the master'
    sm_error = 'LVMMaster'


class HostUnusable(Refused):
    text = 'cannot use %(path)s on this host: %(cause)s'
    advice = 'Nothing was changed on the LUN. Make room or make the file system writable'


class LockTimeout(Refused):
    text = 'waited %(seconds)s seconds for %(what)s'
    advice = 'Another operation on this LUN or its original is running; repeat the command when it is over'


# The end of a test (fn=discard). Nothing was taken off any host yet, unless a sentence says so.

class NoSuchSR(Refused):
    text = '%(sr)s is no uuid'
    advice = 'Name the SR by its uuid, in lower case (xe sr-list)'


class NotOurs(Refused):
    text = 'SR %(sr)s is none that fn=attach has attached: %(what)s'
    advice = 'Only such an SR is discarded. Any other one is ended by hand: xe pbd-unplug for each of its PBDs, then xe sr-forget'


class SharedLUN(Refused):
    text = 'SR %(other)s of this pool uses the LUN %(scsi_id)s of SR %(sr)s as well (%(how)s)'
    advice = 'Find out which of the two is on the LUN (sr-probe), and forget the other one (xe sr-forget)'


class HasRole(Refused):
    text = 'SR %(sr)s is %(role)s'
    advice = 'Name another SR for that first (xe pool-param-set, xe host-param-set, xe host-disable-local-storage-caching)'


class DisksInUse(Refused):
    text = 'disks of SR %(sr)s are in use: %(what)s'
    advice = ('Shut the VMs down (a suspended one has its memory there: resume it first, or xe vm-shutdown force=true), unplug other users '
              '(xe vbd-unplug), and repeat')


class PoolDataOnSR(Refused):
    text = 'SR %(sr)s holds data of a pool: %(what)s'
    advice = ('End what writes them (xe sr-disable-database-replication, xe pool-disable-redo-log, xe pool-ha-disable), destroy what is '
              'left of them (xe vdi-destroy), and repeat')


class HostAway(Refused):
    text = 'the host %(host)s cannot take the LUN %(scsi_id)s off itself: %(cause)s'
    advice = ('Install this version on every host of the pool. A host that is gone for good is forgotten first (xe host-forget). '
              'What was unplugged already stays unplugged: repeat')


class OtherContent(Refused):
    text = '%(device)s (LUN %(scsi_id)s) carries %(found)s, not SR %(sr)s'
    advice = ('The array has changed what is on the LUN, or does not answer any more: nothing of it is taken away. Present the LUN as it '
              'was and repeat, or end it by hand: xe pbd-unplug for each PBD, xe sr-forget, then take the disks off the hosts')


class LUNStays(Refused):
    text = 'the LUN %(scsi_id)s is still on %(host)s: %(what)s'
    advice = 'The SR is unplugged as far as it went, and known to the pool. Repeat; nothing is forgotten before the LUN is gone everywhere'


class JudgeDisagrees(ResignError):
    """After the whole job: somebody else on this host reads another result."""

    text = 'resigned as %(uuid)s, but %(judge)s reads it differently: %(what)s'
    advice = 'Do not attach it, and ' + REPORT


class Unjudged(ResignError):
    """After the whole job: something else failed before this host's LVM and sm were asked."""

    text = 'the LUN now carries SR %(uuid)s, not judged, since this failed: %(what)s'
    advice = 'The LUN is safe. Repeat the command'


def reasons():
    """Every class of this module that has a sentence of its own, sorted by name: for the documentation."""
    found = []
    for name, value in globals().items():
        if isinstance(value, type(ResignError)) and name not in ('ResignError', 'Refused', 'Interrupted'):
            if value is not type and issubclass(value, ResignError):
                found.append(value)
    found.sort(key=_name)
    return found


def _name(cls):
    return cls.__name__


def current():
    """The exception that is being handled: `except X as error` in every Python."""
    return sys.exc_info()[1]
