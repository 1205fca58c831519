# SPDX-License-Identifier: LGPL-2.1-only
"""LVM's configuration as a dom0 has it: /etc/lvm/lvm.conf that only reads, /etc/lvm/master/lvm.conf that sm's commands use.

The values are those that sm's package sets; the rest keeps newer LVMs from doing what a dom0's does not.
"""

import os

TEXT = """\
devices {{
    obtain_device_list_from_udev = 0
    # The array's own disks, which hold LUNs, are not this host's.
    global_filter = [ "a|^/dev/sd|", {maps}, "r|.*|" ]
    # Newer LVMs would look at nothing but the devices listed in a file of their own.
    use_devicesfile = 0
    write_cache_state = 0
}}
activation {{
    udev_sync = 0
    udev_rules = 0
}}
backup {{
    archive = 0
}}
global {{
    metadata_read_only = {read_only}
    # Nothing is activated because a device turned up.
    event_activation = 0
    use_lvmpolld = 0
}}
"""


ANY_MAP = '"a|^/dev/dm-|", "a|^/dev/mapper/|"'
# of multipath maps alone: their names begin with a SCSI id
MULTIPATH_MAPS = '"a|^/dev/mapper/3|"'


def write(maps=ANY_MAP):
    """Writes both files. maps: which device-mapper devices LVM looks at."""
    os.makedirs("/etc/lvm/master", exist_ok=True)
    for path, read_only in (("/etc/lvm/lvm.conf", 1), ("/etc/lvm/master/lvm.conf", 0)):
        with open(path, "w") as config:
            config.write(TEXT.format(read_only=read_only, maps=maps))


MASTER = {"LVM_SYSTEM_DIR": "/etc/lvm/master"}
"""What sm adds to the environment of LVM commands that may write."""
