# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: relvmohba and lvmohba on LUNs behind HBAs (the kernel's loopback fabric), the original attached and in use throughout.

First one path per LUN, then two under multipath, where the clone has a map before anybody resigns it.
"""

import os
import signal

import pytest
from inside import clones, devices, loopback, multipath, pool
from inside.command import attempt, run
from inside.reporting import record
from inside.target import Volume
from lvhd import image, reader, shapes

TYPE, ATTACHED = "relvmohba", "lvmohba"
KILLS = (2, 4)


class Host:
    """The original, attached as an SR of type lvmohba with a VM on its disk, and what is done with clones of it."""

    def __init__(self, world, toolstack, name, paths, seed):
        self.world = world
        self.toolstack = toolstack
        self.paths = paths
        path = f"/srv/{name}"
        image.write(path, shapes.one(seed, free_extents=20))
        self.volume = Volume(name, path)
        self.scsi_id = self.volume.scsi_id
        loopback.show(self.volume, paths)
        if paths > 1:
            multipath.wait_for_map(self.scsi_id, paths)
        with reader.Lun(path) as lun:
            self.vg = lun.vg_name
        self.sr = self.vg[len("VG_XenStorage-"):]
        toolstack.sr_introduce(ATTACHED, self.sr, name_label=name)
        toolstack.pbd_plug(toolstack.pbd_create(self.sr, {"SCSIid": self.scsi_id}))
        toolstack.sr_scan(self.sr)
        # what sm made of it; a clone is a copy of that
        self.pristine = path + ".pristine"
        run("cp", "--sparse=always", path, self.pristine)
        self.vdi = pool.disks(toolstack, self.sr)[0]
        toolstack.vdi_attach(self.vdi)

    def clone(self, name, hidden=False, change=None):
        """A clone that the array presents; change(path) alters it first."""
        path = f"/srv/{name}"
        run("cp", "--sparse=always", self.pristine, path)
        if change:
            change(path)
        volume = Volume(name, path)
        loopback.show(volume, self.paths, hidden)
        if self.paths > 1 and not hidden:
            multipath.wait_for_map(volume.scsi_id, self.paths)
        return volume

    def resign(self, volume, *wrapper):
        """sr-create type=relvmohba; the XapiError it ends in."""
        self.toolstack.wrapper = list(wrapper)
        try:
            return pool.resign(self.toolstack, {"SCSIid": volume.scsi_id}, kind=TYPE)
        finally:
            self.toolstack.wrapper = []

    def killed(self, volume, number):
        """A run that dies instead of doing its write `number`."""
        self.resign(volume, "/usr/bin/python3", clones.KILLED, "write", str(number))
        assert self.toolstack.runs[-1].status == -signal.SIGKILL, self.toolstack.runs[-1].stdout

    def kept(self, volume):
        """True when every disk of the clone reads as one of the original's."""
        found = reader.virtual_digests(volume.path).values()
        return bool(found) and set(found) <= set(reader.virtual_digests(self.pristine).values())

    def adopt(self, volume, sr):
        """The clone's SR attached beside the original, and detached: the SCSI ids that its disk and the original's lie on."""
        pbd = pool.attach(self.toolstack, sr, {"SCSIid": volume.scsi_id}, kind=ATTACHED)
        vdi = pool.disks(self.toolstack, sr)[0]
        self.toolstack.vdi_attach(vdi)
        vg = pool.vg_name(sr)
        mapped = [devices.lv_luns(name)[devices.dm_name(name, "VHD-" + disk)] for name, disk in ((vg, vdi), (self.vg, self.vdi))]
        self.toolstack.vdi_detach(vdi)
        pool.detach(self.toolstack, sr, pbd)
        return mapped

    def problems(self):
        """What the runs did to the original, as sentences."""
        found = []
        luns = set().union(*devices.lv_luns(self.vg).values(), set())
        if luns != {self.scsi_id}:
            found.append(f"the original's volumes lie on {luns}")
        if not clones.same(self.pristine, self.volume.path):
            found.append("bytes of the original have changed")
        if len(devices.paths_of(self.scsi_id)) != self.paths:
            found.append(f"the original's paths are {devices.paths_of(self.scsi_id)}")
        return found


def map_of(scsi_id):
    """Kernel name of a LUN's multipath map, or ''."""
    path = "/dev/mapper/" + scsi_id
    return os.path.basename(os.path.realpath(path)) if os.path.exists(path) else ""


def newer(path):
    """Makes the LUN at `path` one that LVM has written to in the original's place."""
    image.write(path, shapes.one(1, seqno=5000, free_extents=20))


def broken(path):
    """Damages the header of the first VHD."""
    with reader.Lun(path) as lun:
        volume = next(volume for name, volume in sorted(lun.volumes.items()) if name.startswith("VHD-"))
        place = volume.pieces(0, 4096)[0][0]
    with open(path, "r+b") as lun:
        lun.seek(place + 512 + 100)
        lun.write(b"\xff" * 16)


@pytest.fixture(scope="module")
def single(world, toolstack):
    loopback.start()
    return Host(world, toolstack, "single", 1, 1)


@pytest.fixture(scope="module")
def double(world, toolstack, single):
    """The host with multipathing, which it gets now; the single original stays attached where it is."""
    settings = toolstack.db.get("host", toolstack.host)
    settings["other_config"].update({"multipathing": "true", "multipathhandle": "dmp"})
    settings["multipathing"] = True
    daemon = multipath.start()
    yield Host(world, toolstack, "double", 2, 2)
    multipath.stop(daemon)


class Result:
    """What was seen of one clone, before, during and after."""


@pytest.fixture(scope="module")
def plain(single):
    """A clone that nobody has looked for, resigned and attached beside its original."""
    seen = Result()
    volume = single.clone("plain", hidden=True)
    seen.preview = single.toolstack.sr_probe(TYPE, {"SCSIid": volume.scsi_id})
    seen.after_preview = devices.paths_of(volume.scsi_id)
    seen.untouched = clones.same(single.pristine, volume.path)
    seen.answer = single.resign(volume)
    seen.left_over = single.world.left_over(volume.scsi_id)
    seen.kept = single.kept(volume)
    sr = single.toolstack.runs[-1].sr_uuid
    seen.shown = pool.probe(single.toolstack, {"SCSIid": volume.scsi_id}, ATTACHED) == [sr]
    seen.mapped = single.adopt(volume, sr)
    seen.problems = single.problems()
    seen.volume = volume
    return seen


def test_a_preview_writes_nothing_and_leaves_no_device(plain, single):
    assert single.sr in plain.preview
    assert plain.untouched
    assert plain.after_preview == []


def test_a_clone_with_one_path_is_resigned(plain):
    assert pool.says_resigned(plain.answer, ATTACHED), plain.answer
    assert plain.left_over == []
    assert plain.kept


def test_it_is_attached_beside_its_original(plain, single):
    assert plain.shown
    assert plain.mapped == [{plain.volume.scsi_id}, {single.scsi_id}]
    assert plain.problems == []


@pytest.mark.parametrize(("change", "says"), [(newer, "is newer than that of its original"), (broken, "VHD")])
def test_a_refused_clone_leaves_no_device(single, plain, change, says):
    volume = single.clone(change.__name__, hidden=True, change=change)
    before = volume.path + ".before"
    run("cp", "--sparse=always", volume.path, before)
    answer = single.resign(volume)
    assert not pool.says_resigned(answer, ATTACHED) and says in answer.params[1], answer
    assert devices.paths_of(volume.scsi_id) == []
    assert single.world.left_over(volume.scsi_id) == []
    assert clones.same(before, volume.path)
    assert single.problems() == []
    loopback.withdraw(volume)


def test_another_duplicate_that_comes_up_goes_again(single, plain):
    other = single.clone("other", hidden=True)
    wanted = single.clone("wanted", hidden=True)
    answer = single.resign(wanted)
    assert pool.says_resigned(answer, ATTACHED), answer
    assert devices.paths_of(other.scsi_id) == []
    assert clones.same(single.pristine, other.path)
    assert f"{other.scsi_id} came up with the LUN {wanted.scsi_id}" in single.world.log()
    loopback.withdraw(other)


def mapped_onto(host, volume, device):
    """Activates a volume of the original's group on the clone's device, as LVM does when it takes the one for the other; its name."""
    name = devices.dm_name(host.vg, "MGT")
    attempt("dmsetup", "remove", name)
    only = f'devices{{filter=["a|^{device}$|","r|.*|"] global_filter=["a|^{device}$|","r|.*|"]}}'
    done = pool.lvm("lvchange", "-ay", "--config", only, f"{host.vg}/MGT")
    assert devices.lv_luns(host.vg)[name] == {volume.scsi_id}, done.stderr
    return name


def refused_while_mapped(host, name, paths):
    """A clone on which a volume of the original's group is active: (the answer, and that after the volume is gone)."""
    volume = host.clone(name)
    device = "/dev/mapper/" + volume.scsi_id if paths > 1 else os.path.realpath(devices.by_id(volume.scsi_id))
    mapped = mapped_onto(host, volume, device)
    answer = host.resign(volume)
    assert answer.code == "SR_BACKEND_FAILURE_47" and mapped in answer.params[1], answer
    assert clones.same(host.pristine, volume.path)
    assert devices.lv_luns(host.vg)[mapped] == {volume.scsi_id}
    run("dmsetup", "remove", mapped)
    return volume, host.resign(volume)


def test_a_volume_of_the_original_on_the_clone_is_found_and_refused(single, plain):
    volume, answer = refused_while_mapped(single, "held", 1)
    assert pool.says_resigned(answer, ATTACHED), answer
    assert single.kept(volume)
    assert single.problems() == []


@pytest.mark.parametrize("number", KILLS)
def test_killed_and_repeated_with_one_path(single, plain, number):
    volume = single.clone(f"killed{number}", hidden=True)
    single.killed(volume, number)
    assert len(reader.vg_names(volume.path)) == 1
    answer = single.resign(volume)
    assert pool.says_resigned(answer, ATTACHED), answer
    assert reader.vg_names(volume.path) == [pool.vg_name(single.toolstack.runs[-1].sr_uuid)]
    assert single.kept(volume)
    assert single.world.left_over(volume.scsi_id) == []
    assert single.problems() == []


@pytest.fixture(scope="module")
def under_map(double):
    """A clone with two paths and a map that was there before."""
    seen = Result()
    volume = double.clone("under-map")
    seen.map = map_of(volume.scsi_id)
    seen.answer = double.resign(volume)
    seen.map_afterwards = map_of(volume.scsi_id)
    seen.left_over = double.world.left_over(volume.scsi_id)
    seen.kept = double.kept(volume)
    seen.paths = len(devices.paths_of(volume.scsi_id))
    # sm's own probe refuses a LUN that has a map
    seen.mapped = double.adopt(volume, double.toolstack.runs[-1].sr_uuid)
    seen.problems = double.problems()
    seen.volume = volume
    record("under a map", {"map": seen.map, "afterwards": seen.map_afterwards})
    return seen


def test_a_clone_under_a_map_is_resigned_and_the_map_stays(under_map):
    assert pool.says_resigned(under_map.answer, ATTACHED), under_map.answer
    assert under_map.map and under_map.map_afterwards == under_map.map
    assert under_map.paths == 2
    assert under_map.left_over == []
    assert under_map.kept


def test_it_is_attached_over_two_paths_beside_its_original(under_map, double):
    assert under_map.mapped == [{under_map.volume.scsi_id}, {double.scsi_id}]
    assert under_map.problems == []


def test_a_refused_clone_with_two_paths_leaves_neither_device_nor_map(double, under_map):
    volume = double.clone("newer-double", hidden=True, change=lambda path: image.write(path, shapes.one(2, seqno=5000, free_extents=20)))
    answer = double.resign(volume)
    assert "is newer than that of its original" in answer.params[1], answer
    assert map_of(volume.scsi_id) == ""
    assert devices.paths_of(volume.scsi_id) == []
    assert double.problems() == []
    loopback.withdraw(volume)


def test_a_volume_of_the_original_on_the_clones_map_is_refused(double, under_map):
    volume, answer = refused_while_mapped(double, "held-double", 2)
    assert pool.says_resigned(answer, ATTACHED), answer
    assert map_of(volume.scsi_id)
    assert double.problems() == []


def test_killed_and_repeated_under_a_map(double, under_map):
    volume = double.clone("killed-double")
    before = map_of(volume.scsi_id)
    double.killed(volume, KILLS[-1])
    answer = double.resign(volume)
    assert pool.says_resigned(answer, ATTACHED), answer
    assert map_of(volume.scsi_id) == before
    assert double.kept(volume)
    assert double.problems() == []
