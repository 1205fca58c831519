# SPDX-License-Identifier: LGPL-2.1-only
"""What must be true of a LUN in one crash state, and of the runs that follow."""
from __future__ import absolute_import, division, print_function, unicode_literals

import collections
import traceback
import uuid as uuids

from crash import recorder, scenes, witness
from lvhd import reader
from relvm import identity
from relvm.engine import lun, resign, verify

# phase: witness.OLD, LOCKED or NEW, '' when no VG is visible; visible, finished: bool; trouble: what went wrong, or ''
Verdict = collections.namedtuple('Verdict', 'phase visible finished trouble')


class Trial(object):
    """One scene's rules.

    scene: scenes.Scene; stale: {SR uuid of an interrupted run: every identity it would have given}.
    """

    def __init__(self, scene, stale):
        self.scene = scene
        self.stale = stale

    def phase(self, medium):
        """Which state the LUN is in; raises witness.Wrong when a host sees anything but one VG, or half a change.

        The old state is the SR as it was, with nothing but spare sectors written; the new one has everything that is kept, and
        nothing of the old identity.
        """
        sr_uuid, exported = witness.the_vg(medium.file())
        if sr_uuid == self.scene.sr_uuid:
            if exported:
                raise witness.Wrong('the old VG is exported')
            written = [number for number in medium.sectors if not self.scene.spare(number)]
            if written:
                raise witness.Wrong('old, but the sectors %s in use were written' % written[:5])
            return witness.OLD
        if sr_uuid not in self.stale:
            raise witness.Wrong('the SR uuid %s is nobody\'s' % sr_uuid)
        if exported:
            return witness.LOCKED
        self.sound(medium.file(), sr_uuid, {})
        return witness.NEW

    def sound(self, image, sr_uuid, stale, hashes=False):
        """The LUN is a whole SR with this uuid and without the old identity and those of `stale`; returns its witness.Sight.

        hashes: have the readers hash every byte a guest would read, besides comparing what is not zero.
        """
        found = witness.the_vg(image)
        if found != (sr_uuid, False):
            raise witness.Wrong('the VG is that of SR %s (exported: %s), not %s' % (found + (sr_uuid,)))
        sight = witness.Sight(image)
        witness.compare(self.scene.expected, sight.inventory)
        gone = set(self.scene.identities)
        for identities in stale.values():
            gone.update(identities)
        left = sorted(gone & sight.live)
        if hashes and not left:
            left = reader.traces(image, gone)
        if left:
            raise witness.Wrong('still there: %s' % left[:5])
        if hashes:
            self._hash(image)
        return sight

    def _hash(self, image):
        with reader.Lun(image) as whole:
            places = dict((tuple(whole.vdi_volume(uuid).segments), uuid) for uuid in whole.vdi_uuids())
        for segments, digest in self.scene.hashes.items():
            if reader.virtual_sha256(image, places[segments]) != digest:
                raise witness.Wrong('%s does not read as before' % places[segments])

    def run(self, medium, recovers, hashes=False):
        """One whole resign of the medium, which must succeed; returns its witness.Sight.  recovers: it must finish another first."""
        sr_uuid = identity.new_uuid()
        device = recorder.Recorder(medium)
        try:
            result = resign.resign(device, sr_uuid, scsi_id=scenes.SCSI_ID, **{True: self.scene.other, False: self.scene.options}[recovers])
            found = lun.Lun(device, lun.Placement(device))
        finally:
            device.close()
        if result.recovered != recovers or result.plan.sr_uuid != sr_uuid:
            raise witness.Wrong('it says recovered: %s, SR %s' % (result.recovered, result.plan.sr_uuid))
        promised = [(source, str(uuids.uuid5(uuids.UUID(sr_uuid), str(source)))) for source in self.scene.sources]
        if result.map.vdis != promised or set(found.vdis) != set(uuid for _, uuid in promised):
            raise witness.Wrong('the map is %s, the preview said %s' % (result.map.vdis, promised))
        problems = verify.problems(found) + verify.leftovers(found, self.scene.identities)
        if problems:
            raise witness.Wrong('verify: %s' % problems[:5])
        return self.sound(medium.file(), sr_uuid, self.stale, hashes)

    def judge(self, medium, hashes=False):
        """Verdict on one crash state: what a host sees, a run that finishes, and another one after it.  Uses the medium up."""
        phase = ''
        visible = False
        try:
            phase = self.phase(medium)
            visible = True
            sight = self.run(medium, phase == witness.LOCKED, hashes)
            again = Trial(self.scene, dict(self.stale))
            again.stale[sight.sr_uuid] = sight.identities
            again.run(medium, False)
        except Exception:
            # Whatever it is, it is the answer; the caller counts and shows it
            return Verdict(phase, visible, False, traceback.format_exc())
        return Verdict(phase, visible, True, '')
