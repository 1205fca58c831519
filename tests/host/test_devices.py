# SPDX-License-Identifier: LGPL-2.1-only
"""What sysfs says while devices come and go: volumes of others do so all the time."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from relvm.host import devices

# Its reading ends in EINVAL, as that of the attributes of a device-mapper device that is being removed (dm_attr_show in the kernel)
NOTHING_TO_READ = "/proc/self/clear_refs"


def test_an_attribute_of_a_device_that_goes_says_nothing():
    assert devices.read_line(NOTHING_TO_READ) == ""


def test_an_attribute_that_cannot_be_read_for_another_reason_is_no_silence(tmpdir):
    with pytest.raises(EnvironmentError):
        # EIO: nothing is mapped at 0
        devices.read_line("/proc/self/mem")


def test_a_map_is_found_beside_a_volume_that_goes(tmpdir, monkeypatch):
    monkeypatch.setattr(devices, "SYS", str(tmpdir))
    for name in ("dm-0", "dm-1", "dm-2"):
        os.makedirs(str(tmpdir.join("block", name, "dm")))
    for name in ("dm-0", "dm-2"):
        os.symlink(NOTHING_TO_READ, str(tmpdir.join("block", name, "dm", "uuid")))
    tmpdir.join("block", "dm-1", "dm", "uuid").write("mpath-3600\n")
    assert devices.multipath_map("3600") == "dm-1"
    assert devices.multipath_map("3601") == ""


def test_holders_of_a_disk_that_has_gone_are_none(tmpdir, monkeypatch):
    monkeypatch.setattr(devices, "SYS", str(tmpdir))
    assert devices.holders("sdz") == []
