# SPDX-License-Identifier: LGPL-2.1-only
"""What the kernel and the daemons of a double know: targets, sessions, disks, device-mapper tables.

The state is one JSON file below the double's root, so that stand-in commands, which are processes of
their own, share it with the test. Open it with ``with State(root) as state:``; it is locked for that
time and written back on leaving.

Layout (sizes in bytes, device-mapper tables in sectors of 512 bytes):

``mode``      'file': a disk is a link to its image file; 'loop': a block device node over a loop device
``native``    True when commands see the tree as the real root (private mount namespace)
``targets``   IQN -> {'portals': ['ip:port'], 'tpgt': 1, 'chap': [user, password] or None,
              'luns': {'0': {'image', 'scsi_id', 'vendor', 'serial'}}}
``nodes``     iscsiadm's node records: [{'iqn', 'portal', 'tpgt', 'settings': {}}]
``sessions``  [{'sid', 'iqn', 'portal', 'host'}]
``hbas``      [{'sid': 'hba0', 'iqn': name of the array among the targets, 'portal': '', 'host', 'driver'}]
``disks``     name (sda) -> {'iqn', 'portal', 'lun', 'sid', 'host', 'scsi_id', 'image', 'size', 'loop', 'dev': [major, minor]}
``udev_waits``  None, or while udev is busy the names of the disks that it has not listed yet
``udev_halts``  whether it then has made all their links but /dev/disk/by-id/scsi-<SCSI id>
``dm``        name -> {'uuid', 'minor', 'kind': 'lv' or 'mpath', 'table': [[start, length, major, minor, offset]],
              'readonly', 'loop', 'slaves': [disk names]}
"""

import errno
import fcntl
import json
import os

STATE_DIR = "/var/lib/dom0"


class State(object):
    """The double's state, locked while open. Not re-entrant."""

    def __init__(self, root, readonly=False):
        self.root = root
        self.readonly = readonly
        self.directory = root + STATE_DIR
        self.data = None
        self._lock = None

    def __enter__(self):
        self._lock = open(os.path.join(self.directory, "lock"), "a")
        fcntl.flock(self._lock, fcntl.LOCK_SH if self.readonly else fcntl.LOCK_EX)
        with open(os.path.join(self.directory, "state.json")) as f:
            self.data = json.load(f)
        return self

    def __exit__(self, kind, value, trace):
        try:
            if not self.readonly and kind is None:
                write_state(self.root, self.data)
        finally:
            self._lock.close()
            self._lock = None

    def __getitem__(self, key):
        return self.data[key]

    def __setitem__(self, key, value):
        self.data[key] = value

    def next_number(self, what):
        """A number that was not given out before for `what`."""
        number = self.data["next"].get(what, 0)
        self.data["next"][what] = number + 1
        return number

    def path(self, name):
        """`name`, an absolute path of dom0, as a path of this machine."""
        return self.root + name


def write_state(root, data):
    """Write `data` as the state of the double at `root`: in one piece over what is there, since a file that replaces another is waited
    for by some file systems."""
    fd = os.open(os.path.join(root + STATE_DIR, "state.json"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        text = json.dumps(data, sort_keys=True).encode("utf-8")
        os.write(fd, text + b" " * (os.fstat(fd).st_size - len(text)))
    finally:
        os.close(fd)


def new_state(root, mode):
    """Create an empty state for a double at `root`; `mode` is 'file' or 'loop'."""
    make_directory(root + STATE_DIR)
    write_state(root, {
        "mode": mode, "native": False, "targets": {}, "udev_waits": None, "udev_halts": False,
        "nodes": [], "sessions": [], "hbas": [], "disks": {}, "dm": {},
        "initiator": "", "services": {"iscsid": True, "multipathd": False}, "mpath_blacklist": [],
        "next": {"sid": 1, "host": 2},
    })


def make_directory(path):
    """os.makedirs that is content with an existing directory."""
    try:
        os.makedirs(path)
    except OSError as e:
        if e.errno != errno.EEXIST:
            raise


def write_file(path, text):
    """Write `text` into the file `path`, making its directory."""
    make_directory(os.path.dirname(path))
    with open(path, "w") as f:
        f.write(text)


def remove_file(path):
    """Remove `path` if it is there."""
    try:
        os.unlink(path)
    except OSError as e:
        if e.errno != errno.ENOENT:
            raise


def make_link(target, path):
    """Make `path` a symbolic link to `target`, replacing what is there."""
    make_directory(os.path.dirname(path))
    remove_file(path)
    os.symlink(target, path)
