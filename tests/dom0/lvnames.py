# SPDX-License-Identifier: LGPL-2.1-only
"""Names of logical volumes: as LVM, as device-mapper and as the directories of /dev spell them."""

import re


def strip_dev(root, name):
    """A VG or LV argument without /dev/ before it."""
    for prefix in (root + "/dev/mapper/", "/dev/mapper/"):
        if name.startswith(prefix):
            return "/".join(names_of_mapper(name[len(prefix):]))
    for prefix in (root + "/dev/", "/dev/"):
        if name.startswith(prefix):
            return name[len(prefix):].rstrip("/")
    return name.rstrip("/")


def mapper_name(lv):
    """The device-mapper name of an LV: dashes doubled, one dash between VG and LV."""
    return lv["vg"].replace("-", "--") + "-" + lv["name"].replace("-", "--")


def names_of_mapper(name):
    """(VG, LV) of a device-mapper name; LV '' when it is not an LV's."""
    parts = re.split(r"(?<!-)-(?!-)", name, maxsplit=1)
    return tuple(part.replace("--", "-") for part in parts) if len(parts) == 2 else (name, "")
