# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: does the rig give what a dom0 and its array have? Run by test_boot.py, one boot for all."""

import json
import os

import pytest
from inside import devices, initiator, lvmconf, multipath, target
from inside.command import Failed, attempt, run
from inside.reporting import record
from inside.target import Target, Volume

MIB = 1 << 20
ORIGINAL = "iqn.2024-01.test.array:original"
CLONE = "iqn.2024-01.test.array:clone"
LOCKED = "iqn.2024-01.test.array:chap"
VG = "VG_XenStorage-0c5b6f8e-2f0a-4ab3-9a53-6e1d2ff0c9a1"
LV = "VHD-d1b2c3a4-55aa-4e3d-8bd0-7c3c6f0c1e2f"
PORTALS = ("127.0.0.1:3260", "127.0.0.2:3260")


def lvm(*arguments):
    return run(*arguments, env=dict(os.environ, **lvmconf.MASTER))


@pytest.fixture(scope="module")
def iscsid():
    lvmconf.write()
    target.start()
    daemon = initiator.start()
    yield daemon
    daemon.kill()
    daemon.wait()


@pytest.fixture(scope="module")
def original(iscsid):
    """The original's LUN, logged in over one portal, with a VG and one inactive LV as sm makes them."""
    lun = Volume("original", "/srv/original", size=256 * MIB)
    lun.target = Target(ORIGINAL, PORTALS)
    lun.target.show(lun)
    initiator.discover()
    initiator.login(ORIGINAL, PORTALS[0])
    device = devices.wait_for(devices.by_id(lun.scsi_id))
    lvm("pvcreate", "-q", "--metadatasize", "10M", device)
    lvm("vgcreate", "-q", VG, device)
    lvm("lvcreate", "-q", "-an", "-Zn", "-L", "8M", "-n", LV, VG)
    return lun


def test_login_shows_the_lun_under_its_scsi_id(original):
    device = devices.by_id(original.scsi_id)
    assert devices.scsi_id_of(device) == original.scsi_id
    assert original.scsi_id.startswith("3600")
    assert [iqn for _, iqn in initiator.sessions().values()] == [ORIGINAL]


def test_dom0_links(original):
    disk = os.path.realpath(devices.by_id(original.scsi_id))
    assert os.path.realpath(f"/dev/disk/by-scsid/{original.scsi_id}/{os.path.basename(disk)}") == disk
    assert os.path.realpath(f"/dev/iscsi/{ORIGINAL}/{PORTALS[0]}/LUN0") == disk


def test_nothing_is_activated_by_itself(original):
    assert devices.lv_luns(VG) == {}


def test_lvm_reads_the_dom0_configurations(original):
    setting = "global/metadata_read_only"
    assert run("lvmconfig", setting).strip() == "metadata_read_only=1"
    assert lvm("lvmconfig", setting).strip() == "metadata_read_only=0"


def test_device_mapper_table_leads_to_the_lun(original):
    lvm("lvchange", "-ay", f"{VG}/{LV}")
    mapped = devices.lv_luns(VG)
    lvm("lvchange", "-an", f"{VG}/{LV}")
    assert mapped == {devices.dm_name(VG, LV): {original.scsi_id}}
    assert devices.lv_luns(VG) == {}


@pytest.fixture(scope="module")
def clone(original):
    """An array's clone of the original behind an IQN of its own."""
    lun = original.clone("clone", "/srv/clone")
    Target(CLONE, PORTALS).show(lun)
    assert initiator.discover()[CLONE] == list(PORTALS)
    return lun


def test_clone_is_a_duplicate(original, clone):
    initiator.login(CLONE, PORTALS[0])
    devices.wait_for(devices.by_id(clone.scsi_id))
    names = {lun.scsi_id: os.path.realpath(devices.by_id(lun.scsi_id)) for lun in (original, clone)}
    said = {}
    for command in (
        ["pvs", "-o", "pv_name,pv_uuid,vg_name"],
        ["lvcreate", "-an", "-Zn", "-L", "4M", "-n", "other", VG],
        ["lvchange", "-ay", f"{VG}/{LV}"],
    ):
        done = attempt(*command, env=dict(os.environ, **lvmconf.MASTER))
        said[command[0]] = {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    mapped = devices.lv_luns(VG)
    attempt("lvchange", "-an", f"{VG}/{LV}", env=dict(os.environ, **lvmconf.MASTER))
    record("duplicate", {"disks": names, "commands": said, "mapped": {name: sorted(luns) for name, luns in mapped.items()}})
    initiator.logout(CLONE)
    assert len(set(names.values())) == 2
    warning = said["pvs"]["stderr"]
    assert all(name in warning for name in names.values())
    assert devices.paths_of(clone.scsi_id) == []


def test_second_lun_behind_one_target(original):
    other = Volume("other", "/srv/other", size=64 * MIB)
    original.target.show(other, number=7)
    before = initiator.sessions()
    initiator.rescan()
    disk = os.path.realpath(devices.wait_for(devices.by_id(other.scsi_id)))
    assert devices.scsi_id_of(disk) == other.scsi_id != original.scsi_id
    assert os.path.realpath(f"/dev/iscsi/{ORIGINAL}/{PORTALS[0]}/LUN7") == disk
    assert initiator.sessions() == before


def test_chap(iscsid):
    lun = Volume("locked", "/srv/locked", size=64 * MIB)
    locked = Target(LOCKED)
    locked.chap("initiator", "a secret of 14+", outgoing=("target", "another secret!"))
    locked.show(lun)
    initiator.discover()
    with pytest.raises(Failed) as refused:
        initiator.login(LOCKED)
    assert refused.value.status == 24  # ISCSI_ERR_LOGIN_AUTH_FAILED
    initiator.set_chap(LOCKED, "initiator", "a secret of 14+", incoming=("target", "another secret!"))
    initiator.login(LOCKED)
    assert devices.scsi_id_of(devices.wait_for(devices.by_id(lun.scsi_id))) == lun.scsi_id
    initiator.logout(LOCKED)


def test_dual_controller_array_shows_one_lun_twice(iscsid):
    lun = Volume("dual", "/srv/dual", size=64 * MIB)
    controllers = {"iqn.2024-01.test.array:left": PORTALS[0], "iqn.2024-01.test.array:right": "127.0.0.3:3260"}
    for iqn, portal in controllers.items():
        Target(iqn, [portal]).show(lun)
        assert initiator.discover(portal)[iqn] == [portal]
        initiator.login(iqn, portal)
    assert len(devices.paths_of(lun.scsi_id)) == 2
    for iqn in controllers:
        initiator.logout(iqn)
    assert devices.paths_of(lun.scsi_id) == []


def test_multipath_map_over_two_portals(original, clone):
    daemon = multipath.start()
    try:
        initiator.login(CLONE)
        path = multipath.wait_for_map(clone.scsi_id, paths=2)
        assert os.path.realpath(f"/dev/disk/by-scsid/{clone.scsi_id}/mapper") == os.path.realpath(path)
        with open("/sys/class/block/" + os.path.basename(os.path.realpath(path)) + "/dev") as number:
            assert devices.lun_of(number.read().strip()) == clone.scsi_id
        assert len(devices.paths_of(clone.scsi_id)) == 2
        run("multipath", "-f", clone.scsi_id)
        initiator.logout(CLONE)
    finally:
        multipath.stop(daemon)


def test_data_survives_a_new_session(original):
    device = devices.by_id(original.scsi_id)
    pattern = os.urandom(1 * MIB)
    offset = 200 * MIB
    with open(device, "r+b") as disk:
        disk.seek(offset)
        disk.write(pattern)
        disk.flush()
        os.fsync(disk.fileno())
    initiator.logout(ORIGINAL)
    assert not os.path.exists(device)
    initiator.login(ORIGINAL, PORTALS[0])
    with open(devices.wait_for(device), "rb") as disk:
        disk.seek(offset)
        assert disk.read(len(pattern)) == pattern


def test_results_come_back():
    with open("/results/facts.json", "w") as facts:
        json.dump({"kernel": os.uname().release, "lvm": run("lvm", "version").split()[2]}, facts)
