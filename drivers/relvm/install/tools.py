# SPDX-License-Identifier: LGPL-2.1-only
"""The programs of this host that a selftest starts, and how: LVM with a configuration of its own, loop devices, vhd-util, sm's reader."""

import os
import re
import sys
import time

from relvm.install import programs

SECONDS = 20
DIRECTORIES = ('/usr/sbin', '/sbin', '/usr/bin', '/bin', '/opt/xensource/libexec', '/opt/xensource/bin')
SM_DIR = '/opt/xensource/sm'
INVENTORY = '/etc/xensource-inventory'
PACKAGES = ('sm', 'lvm2', 'blktap', 'vhd-tool', 'kernel')

# Every key is there for every LVM from 2.02.84 on; those that a release does not know it passes over
CONFIG = '''config { checks = 0 abort_on_errors = 0 }
devices {
    dir = "/dev"
    scan = [ "/dev" ]
    filter = [ "a|^%(loop)s$|", "r|.*|" ]
    global_filter = [ "a|^%(loop)s$|", "r|.*|" ]
    cache_dir = "%(here)s/cache"
    cache_file_prefix = ""
    write_cache_state = 0
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    md_component_detection = 0
    multipath_component_detection = 0
    use_devicesfile = 0
    hints = "none"
    ignore_suspended_devices = 1
}
backup {
    backup = 0
    backup_dir = "%(here)s/backup"
    archive = 0
    archive_dir = "%(here)s/archive"
}
global {
    activation = 0
    locking_type = 1
    locking_dir = "%(here)s/lock"
    wait_for_locks = 1
    use_lvmetad = 0
    use_lvmpolld = 0
    use_lvmlockd = 0
    event_activation = 0
    metadata_read_only = 0
    proc = "/proc"
}
activation { monitoring = 0 udev_sync = 0 udev_rules = 0 }
log { verbose = 0 syslog = 0 overwrite = 0 level = 0 }
'''


class CommandFailed(Exception):
    """A program of this host did not do what it was asked."""


class Host(object):
    """Where the programs are; a test points it elsewhere."""

    def __init__(self, directories=DIRECTORIES, sm_dir=SM_DIR):
        self.directories = directories
        self.sm_dir = sm_dir

    def find(self, name):
        """The path of a program, or ''."""
        for directory in self.directories:
            path = os.path.join(directory, name)
            if os.access(path, os.X_OK):
                return path
        return ''

    def run(self, argv, environment=None):
        """stdout of a program that gets SECONDS seconds. Raises CommandFailed with its last words."""
        program = self.find(argv[0])
        if not program:
            raise CommandFailed('%s: not found' % argv[0])
        used = {'PATH': os.pathsep.join(self.directories), 'LC_ALL': 'C'}
        used.update(environment or {})
        status, out, err = _ended([program] + list(argv[1:]), used)
        if status:
            words = (err.strip() or out.strip() or 'no message').split('\n')
            raise CommandFailed('%s ended with status %d: %s' % (' '.join(argv[:2]), status, words[-1]))
        return out

    def attach(self, path):
        """A loop device on a file."""
        for count in range(20):
            loop = self.run(['losetup', '-f']).strip()
            try:
                self.run(['losetup', loop, path])
                return loop
            except CommandFailed:
                # somebody else took it meanwhile
                if count == 19:
                    raise
                time.sleep(0.25)

    def detach(self, loop):
        """udev may look at it just now."""
        for count in range(20):
            try:
                self.run(['losetup', '-d', loop])
                return
            except CommandFailed:
                if count == 19:
                    raise
                time.sleep(0.25)

    def loops_in(self, directory):
        """Loop devices on files in a directory, deleted ones too."""
        found = []
        for line in self.run(['losetup', '-a']).split('\n'):
            match = re.match(r'(/dev/loop[0-9]+):.*\((.*)\)', line)
            if match and match.group(2).startswith(directory + '/'):
                found.append(match.group(1))
        return found

    def versions(self):
        """{name: version} of what a report needs."""
        found = {'Python': sys.version.split()[0], 'kernel': os.uname()[2]}
        try:
            for line in open(INVENTORY).read().split('\n'):
                match = re.match("(PRODUCT_BRAND|PRODUCT_VERSION|BUILD_NUMBER)='(.*)'", line)
                if match:
                    found[match.group(1)] = match.group(2)
        except IOError:
            pass
        for name in PACKAGES:
            try:
                found[name] = self.run(['rpm', '-q', '--qf', '%{VERSION}-%{RELEASE} ', name]).strip()
            except CommandFailed:
                # no RPM here, or no such package
                pass
        return found

    def read_metadata(self, path):
        """(SR uuid, [VDI uuid]) as sm's own reader finds them in the copy of an MGT volume, in a process of its own."""
        code = ('import sys; sys.path[:0] = sys.argv[1].split(":")\n'
                'from relvm.host import smcompat\n'
                'found = smcompat.read_metadata(sys.argv[2])\n'
                'sys.stdout.write("read " + " ".join([found[0]] + found[1]))\n')
        ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        status, out, err = _ended([sys.executable, '-c', code, ':'.join((self.sm_dir, ours)), path], dict(os.environ))
        words = out.split('read ')
        if status or len(words) != 2:
            raise CommandFailed('sm cannot read it: %s' % (err.strip() or out.strip() or 'no message').split('\n')[-1])
        words = words[1].split(' ')
        return words[0], words[1:]


class Lvm(object):
    """This host's LVM, which sees one loop device and has everything else in `directory`."""

    def __init__(self, host, directory):
        self.host = host
        self.here = os.path.join(directory, 'lvm')
        for name in ('cache', 'backup', 'archive', 'lock', 'run'):
            os.makedirs(os.path.join(self.here, name))

    def _environment(self, loop):
        stream = open(os.path.join(self.here, 'lvm.conf'), 'w')
        try:
            stream.write(CONFIG % {'loop': loop, 'here': self.here})
        finally:
            stream.close()
        return {'LVM_SYSTEM_DIR': self.here, 'LVM_RUN_DIR': os.path.join(self.here, 'run'), 'LVM_SUPPRESS_FD_WARNINGS': '1',
                'HOME': self.here}

    def run(self, loop, argv):
        """stdout of an LVM command that sees `loop` alone."""
        return self.host.run(argv, self._environment(loop))

    def fields(self, loop, argv):
        """[[field]] of a report command."""
        out = self.run(loop, [argv[0], '--noheadings', '--separator', ','] + argv[1:])
        return [line.strip().split(',') for line in out.split('\n') if line.strip()]

    def version(self):
        """As LVM says it."""
        found = re.search(r'LVM version:\s*(\S+)', self.run('/dev/none', ['lvm', 'version']))
        return found and found.group(1) or ''

    def create(self, loop, vg_name, name, extents):
        """An LV that is not activated; how that is asked for depends on the release."""
        for options in (['-an', '-Zn'], ['-Zn'], ['--inactive', '-Zn']):
            try:
                return self.run(loop, ['lvcreate'] + options + ['-n', name, '-l', str(extents), vg_name])
            except CommandFailed:
                failed = sys.exc_info()[1]
        raise failed

    def scan_vhds(self, loop, vg_name):
        """{LV: parent's LV or ''} of every VHD, as vhd-util finds them in a VG; it asks LVM where they are."""
        out = self.host.run(['vhd-util', 'scan', '-f', '-m', 'VHD-*', '-l', vg_name], self._environment(loop))
        found = {}
        for line in out.split('\n'):
            words = dict([word.split('=', 1) for word in line.split() if '=' in word])
            if words.get('error', '0') != '0':
                raise CommandFailed('vhd-util scan: %s' % line)
            if 'vhd' in words:
                parent = words.get('parent', 'none')
                found[os.path.basename(words['vhd'])] = {True: '', False: os.path.basename(parent)}[parent == 'none']
        return found

    def scan_qcow2(self, loop, vg_name):
        """None, or why the helper was not asked: earlier ones cannot scan."""
        try:
            self.host.run(['qcow2_helper', 'scan', '-l', vg_name, '-m', 'QCOW2-*'], self._environment(loop))
        except CommandFailed:
            said = str(sys.exc_info()[1]).lower()
            if not [word for word in ('need an argument', 'usage', 'unknown command') if word in said]:
                raise
            return 'this one cannot scan'
        return None


def _ended(argv, environment):
    """(exit status, stdout, stderr as str) of a program that gets SECONDS seconds."""
    try:
        return programs.run(argv, environment, SECONDS)
    except programs.Killed:
        raise CommandFailed('%s: %s' % (argv[0], sys.exc_info()[1]))
