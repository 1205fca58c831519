# SPDX-License-Identifier: LGPL-2.1-only
"""Does a resign work on this host: with its own LVM, vhd-util, sm and Python, on a small SR in a file.

An SR is made, copied, and the copy resigned: a run is killed in the middle and repeated. Then this host's tools read the result, and every
disk is compared with the original. Nothing of the pool is touched:

* LVM runs with a configuration, locks, caches and archives of its own, sees one loop device and nothing else, and activates nothing: there
  is never a device-mapper device;
* original and copy are never loop devices at the same time, so that nobody sees a duplicate; the resign works on the file;
* all is in one directory, whose room is taken before anything is done, and which is removed at the end. What a killed selftest left
  is removed by the next one, and by `sweep()`.
"""

import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time

from relvm import __version__
from relvm import errors
from relvm import identity
from relvm.engine import blockdev
from relvm.engine import resign
from relvm.engine import verify
from relvm.engine.lun import Lun
from relvm.engine.lun import Placement
from relvm.install import smallsr
from relvm.install import tools

PLACE = '/var/tmp'
PREFIX = 'relvmoiscsi-selftest.'
LOCK = '/var/run/relvmoiscsi/selftest.lock'
ROOM = 500 << 20
KILLED_AT = ('switch 1', 'apply', 'switch 2')


class Failed(Exception):
    """A point is not as it should be; the sentence says how."""


class Selftest(object):
    """One run. host: tools.Host."""

    def __init__(self, host, place=PLACE):
        self.host = host
        self.place = place
        self.points = []
        self.versions = {}
        self.directory = ''

    def run(self):
        """The answer, for JSON: {ok, version, versions {name: text}, points [{name, ok, sentence, seconds}], failures [sentence],
        seconds}. Raises nothing: what goes wrong is a failure."""
        start = time.time()
        try:
            try:
                self._steps()
            except Failed:
                # said already; what comes behind it needs it
                pass
        finally:
            self._judge('clean up', self._clean_up)
        failures = ['%s: %s' % (point['name'], point['sentence']) for point in self.points if not point['ok']]
        return {'ok': not failures, 'version': __version__, 'versions': self.versions, 'points': self.points, 'failures': failures,
                'seconds': round(time.time() - start, 1)}

    def _steps(self):
        for name, step in (('leftovers', self._sweep), ('room', self._room), ('tools', self._tools), ('make', self._make),
                           ('copy', self._copy), ('preview', self._preview), ('resign', self._resign), ('sound', self._sound)):
            self._point(name, step)
        for name, step in (('LVM', self._lvm), ('vhd-util', self._vhd_util), ('qcow2_helper', self._qcow2_helper), ('sm', self._sm),
                           ('contents', self._contents)):
            self._judge(name, step)

    def _judge(self, name, step):
        """A point that others do not depend on."""
        try:
            self._point(name, step)
        except Failed:
            pass

    def _point(self, name, step):
        start = time.time()
        point = {'name': name, 'ok': False, 'sentence': ''}
        self.points.append(point)
        try:
            try:
                point['sentence'] = step() or 'ok'
                point['ok'] = True
            except (Failed, errors.ResignError, EnvironmentError, tools.CommandFailed):
                point['sentence'] = errors.printable(errors.current())
                raise Failed(point['sentence'])
        finally:
            point['seconds'] = round(time.time() - start, 2)

    # the steps

    def _sweep(self):
        found = sweep(self.host, self.place)
        if found:
            return 'removed what an earlier run left: %s' % ', '.join(found)
        return None

    def _room(self):
        found = os.statvfs(self.place)
        free = found.f_bavail * found.f_frsize
        if free < ROOM:
            raise Failed('%s has %d MiB free; %d are needed' % (self.place, free >> 20, ROOM >> 20))
        self.directory = tempfile.mkdtemp('', PREFIX, self.place)
        # says to sweep() of another run that this one is alive
        self._alive = open(os.path.join(self.directory, 'lock'), 'w')
        fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.original = os.path.join(self.directory, 'original')
        self.clone = os.path.join(self.directory, 'clone')
        for path in (self.original, self.clone):
            _allocate(path, smallsr.SIZE)

    def _tools(self):
        self.lvm = tools.Lvm(self.host, self.directory)
        self.versions.update(self.host.versions())
        self.versions['LVM'] = self.lvm.version()
        missing = [name for name in ('vhd-util', 'losetup') if not self.host.find(name)]
        if missing:
            raise Failed('%s: not found' % ', '.join(missing))

    def _make(self):
        self.sr = smallsr.SmallSR(self.host, self.lvm, self.directory)
        self.sr.make(self.original)

    def _copy(self):
        source = open(self.original, 'rb')
        target = open(self.clone, 'r+b')
        try:
            shutil.copyfileobj(source, target, 1 << 20)
        finally:
            source.close()
            target.close()

    def _preview(self):
        self.new = identity.new_uuid()
        device = blockdev.Device(self.clone, False)
        try:
            plan, locked = resign.preview(device, self.new)
        finally:
            device.close()
        kept = sorted([vdi.uuid for vdi in plan.kept])
        if locked or kept != sorted(self.sr.kept) or [vdi.uuid for vdi, _ in plan.dropped] != [self.sr.snapshot]:
            raise Failed('the plan keeps %s' % ', '.join(kept))

    def _resign(self):
        """Killed three times, each time in another step, and finished by the same command."""
        for step in KILLED_AT:
            _killed(self.clone, self.new, step)
        if self._seen() != 1:
            raise Failed('LVM sees %d VGs on the clone in the middle of a resign' % self._seen())
        device = blockdev.Device(self.clone)
        try:
            result = resign.resign(device, self.new)
        finally:
            device.close()
        if not result.recovered:
            raise Failed('a run that was killed in the middle left nothing to be finished')
        self.plan = result.plan

    def _seen(self):
        loop = self.host.attach(self.clone)
        try:
            return len([line for line in self.lvm.run(loop, ['vgs', '--noheadings', '-o', 'vg_name']).split('\n')
                        if 'VG_XenStorage-' in line])
        finally:
            self.host.detach(loop)

    def _sound(self):
        self.lun = _read(self.clone)
        found = verify.problems(self.lun) + verify.leftovers(self.lun, verify.identities(_read(self.original)))
        if self.lun.vg.sr_uuid != self.new:
            found.append('the SR is %s, not %s' % (self.lun.vg.sr_uuid, self.new))
        if found:
            raise Failed('; '.join(found[:5]))

    def _lvm(self):
        """This host's LVM reads what was written, and goes on working with it."""
        vg = self.lun.vg
        loop = self.host.attach(self.clone)
        try:
            fields = self.lvm.fields(loop, ['pvs', '-o', 'pv_uuid,vg_name,vg_uuid', loop])
            if fields != [[vg.pv_id, vg.name, vg.id]]:
                raise Failed('pvs says %s' % fields)
            fields = self.lvm.fields(loop, ['lvs', '--units', 'b', '--nosuffix', '-o', 'lv_name,lv_uuid,lv_size', vg.name])
            if sorted(fields) != sorted([[lv.name, lv.id, '%d' % vg.lv_size(lv)] for lv in vg.order]):
                raise Failed('lvs says %s' % fields)
            self.lvm.run(loop, ['vgck', vg.name])
        finally:
            self.host.detach(loop)

    def _vhd_util(self):
        loop = self.host.attach(self.clone)
        try:
            found = self.lvm.scan_vhds(loop, self.lun.vg.name)
        finally:
            self.host.detach(loop)
        expected = {}
        for vdi in self.lun.order:
            if vdi.disk is not None:
                expected[vdi.lv.name] = ''
                if vdi.parent is not None:
                    expected[vdi.lv.name] = vdi.parent.lv.name
        if found != expected:
            raise Failed('vhd-util scan says %s, not %s' % (found, expected))

    def _qcow2_helper(self):
        if not self.host.find('qcow2_helper'):
            return 'not on this host'
        loop = self.host.attach(self.clone)
        try:
            return self.lvm.scan_qcow2(loop, self.lun.vg.name)
        finally:
            self.host.detach(loop)

    def _sm(self):
        path = os.path.join(self.directory, 'mgt')
        stream = open(path, 'wb')
        try:
            stream.write(self.lun.reader(self.lun.mgt_lv)(0, self.lun.mgt.used))
        finally:
            stream.close()
        sr_uuid, vdis = self.host.read_metadata(path)
        if (sr_uuid, vdis) != (self.lun.vg.sr_uuid, sorted(self.lun.mgt.live())):
            raise Failed('sm reads SR %s with the VDIs %s' % (sr_uuid, ' '.join(vdis)))

    def _contents(self):
        """Every byte of every disk that was kept, but for the names of parents."""
        original = _read(self.original)
        old, new = original.reader, self.lun.reader
        count = 0
        for uuid in self.sr.kept:
            was, now = original.vdis[uuid], self.lun.vdis[self._new_uuid(uuid)]
            changed = []
            if was.disk is not None:
                changed = [(place, len(data)) for place, data, _ in was.disk.rewritten(self._uuids())]
            size = original.vg.lv_size(was.lv)
            before, after = old(was.lv)(0, size), new(now.lv)(0, size)
            for place, length in sorted(changed):
                before = before[:place] + after[place:place + length] + before[place + length:]
            if before != after:
                raise Failed('the contents of %s changed' % was.lv.name)
            count += size
        return '%d bytes of %d disks are the same' % (count, len(self.sr.kept))

    def _uuids(self):
        """{uuid of the original: uuid now}. The clone was resigned several times, so no plan has it; extents and order stay."""
        original = _read(self.original)
        found = {original.vg.sr_uuid: self.lun.vg.sr_uuid}
        places = dict([(vdi.lv.segments[0][2], vdi.uuid) for vdi in self.lun.order])
        for vdi in original.order:
            if vdi.lv.segments[0][2] in places:
                found[vdi.uuid] = places[vdi.lv.segments[0][2]]
        return found

    def _new_uuid(self, uuid):
        return self._uuids()[uuid]

    def _clean_up(self):
        if self.directory:
            _remove(self.host, self.directory)


def _read(path):
    """The Lun in an image file, which is left open for its readers."""
    device = blockdev.Device(path, False)
    return Lun(device, Placement(device))


def _allocate(path, size):
    """A file whose room is taken: a full file system shows now and not in the middle."""
    stream = open(path, 'wb')
    try:
        zeros = '\0'.encode('ascii') * (1 << 20)
        for _ in range(size >> 20):
            stream.write(zeros)
        stream.flush()
        os.fsync(stream.fileno())
    finally:
        stream.close()


class Kill(resign.Progress):
    """Ends this process, as a crash would, when a step begins."""

    def __init__(self, name):
        self._name = name

    def step(self, name):
        if name == self._name:
            os.kill(os.getpid(), signal.SIGKILL)


def _killed(path, sr_uuid, step):
    """Lets a process resign `path` and die when `step` begins."""
    pid = os.fork()
    if pid == 0:
        try:
            device = blockdev.Device(path)
            resign.resign(device, sr_uuid, progress=Kill(step))
        finally:
            # never back into the caller's own stack
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise Failed('the run that was to be killed at step "%s" failed before' % step)


def sweep(host, place=PLACE):
    """Removes what selftests that are dead left in `place`; their directories."""
    found = []
    for name in sorted(os.listdir(place)):
        path = os.path.join(place, name)
        if not name.startswith(PREFIX) or not stat.S_ISDIR(os.lstat(path)[stat.ST_MODE]) or os.lstat(path)[stat.ST_UID] != os.getuid():
            continue
        if not _alive(path):
            _remove(host, path)
            found.append(path)
    return found


def _alive(path):
    """A running selftest has a lock on a file in its directory."""
    try:
        stream = open(os.path.join(path, 'lock'))
    except IOError:
        return False
    try:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except IOError:
            return True
        return False
    finally:
        stream.close()


def _remove(host, path):
    for loop in host.loops_in(path):
        host.detach(loop)
    shutil.rmtree(path)
    if host.loops_in(path):
        raise Failed('loop devices of %s are still there' % path)


def run():
    """The answer of a Selftest on this host. One at a time."""
    directory = os.path.dirname(LOCK)
    if not os.path.isdir(directory):
        os.makedirs(directory, 448)
    lock = open(LOCK, 'w')
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except IOError:
            return {'ok': False, 'version': __version__, 'versions': {}, 'points': [], 'seconds': 0,
                    'failures': ['another selftest is running on this host']}
        return Selftest(tools.Host()).run()
    finally:
        lock.close()
