# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: a real sm works on an attached SR while a VM writes; clones of it, taken at random moments, are resigned and attached.

The array keeps the order of writes and can give a clone of any moment: the LUN is on dm-log-writes, and a clone is what had been written so
far. What was recorded is left in /results as a trace (tests/recovery/traces.py), for more moments than a guest has time for.
GUEST_CLONES: how many; GUEST_SEED: of the moments.
"""

import os
import pathlib
import random
import sys
import threading
import time

import pytest
from dom0.xapi import XapiError
from inside import disk, lvmconf, pool, recorded
from inside.command import attempt
from inside.reporting import record
from inside.target import Target, Volume
from lvhd.model import pattern

sys.path[:0] = ["/opt/relvmoiscsi/drivers"]

from recovery import judge, traces  # noqa: E402  (shipped with the job)

ORIGINAL = "iqn.2024-01.test.array:original"
CLONE = "iqn.2024-01.test.array:clone"
NAME = "busy"
CLONES = int(os.environ.get("GUEST_CLONES", "50"))
SEED = int(os.environ.get("GUEST_SEED", "1"))
VHD = {"type": "vhd"}
LUN_SIZE = 256 * pool.MIB
LOG_SIZE = 512 * pool.MIB
PAUSE = 0.2


class Machine(threading.Thread):
    """A VM that writes into a disk all the time."""

    def __init__(self, vg, vdi):
        super().__init__(daemon=True)
        self.name = f"{vg}/VHD-{vdi}"
        self.ended = threading.Event()
        self.writes = 0
        assert pool.lvm("lvchange", "-ay", self.name).returncode == 0

    def run(self):
        place = random.Random(SEED)
        while not self.ended.wait(PAUSE):
            sector = 8 * place.randrange(2047)
            disk.write("/dev/" + self.name, pattern(f"live{self.writes}", sector), sector)
            self.writes += 1

    def stop(self):
        self.ended.set()
        self.join()
        pool.lvm("lvchange", "-an", self.name)


class Work:
    """What sm is asked to do, with the facts of a trace. `expect`: {uuid: {sector: seed}} of every disk but the VM's."""

    def __init__(self, world, toolstack, recorder):
        self.world = world
        self.toolstack = toolstack
        self.recorder = recorder
        self.operations = []
        self.expect = {}
        self.live = None

    def make(self):
        toolstack = self.toolstack
        self.sr = toolstack.sr_create("lvmoiscsi", self.config, name_label="original")
        self.vg = pool.vg_name(self.sr)
        self.a = self.create("A")
        self.live = toolstack.vdi_create(self.sr, 8 * pool.MIB, name_label="live", sm_config=VHD)

    def create(self, name):
        uuid = self.toolstack.vdi_create(self.sr, 8 * pool.MIB, name_label=name, sm_config=VHD)
        self.expect[uuid] = {}
        return uuid

    def vdis(self):
        """The VDIs as a trace's facts list them. The VM's disk has no `expect`."""
        self.toolstack.sr_scan(self.sr)
        records = self.toolstack.vdis(self.sr)
        refs = {self.toolstack.db.find("VDI", uuid): uuid for uuid in records}
        found = []
        for uuid, vdi in sorted(records.items()):
            entry = {"uuid": uuid, "name": vdi["name_label"], "hidden": not vdi["managed"], "size": int(vdi["virtual_size"]), "type": "vhd",
                     "parent": vdi["sm_config"].get("vhd-parent", ""), "snapshot": vdi["is_a_snapshot"],
                     "snapshot_of": refs.get(vdi["snapshot_of"], "")}
            if uuid in self.expect:
                entry["expect"] = {str(sector): seed for sector, seed in self.expect[uuid].items()}
            found.append(entry)
        return found

    def operation(self, name, function, *arguments):
        os.sync()
        before = self.vdis()
        self.recorder.mark("begin " + name)
        answer = function(*arguments)
        os.sync()
        self.recorder.mark("end " + name)
        self.operations.append({"name": name, "what": name, "before": before, "after": self.vdis()})
        return answer

    def write(self, uuid, seed, *sectors):
        name = f"{self.vg}/VHD-{uuid}"
        assert pool.lvm("lvchange", "-ay", name).returncode == 0
        for sector in sectors:
            disk.write("/dev/" + name, pattern(seed, sector), sector)
            self.expect[uuid][sector] = seed
        assert pool.lvm("lvchange", "-an", name).returncode == 0

    def snapshot(self, uuid):
        taken = self.toolstack.vdi_snapshot(uuid)
        self.expect[taken] = dict(self.expect[uuid])
        return taken

    def clone(self, uuid):
        answer = self.toolstack._vdi_call(uuid, "vdi_clone")
        self.expect[answer["uuid"]] = dict(self.expect[uuid])
        return answer["uuid"]

    def collect(self):
        pool.collect_garbage(self.world, self.toolstack, self.sr)

    def all(self):
        do, a = self.operation, self.a
        do("write_A", self.write, a, "A0", 0, 4096, 8192)
        first = do("snapshot_A_1", self.snapshot, a)
        do("write_A_1", self.write, a, "A1", 0, 12288)
        second = do("snapshot_A_2", self.snapshot, a)
        do("write_A_2", self.write, a, "A2", 4096)
        do("delete_1", self.toolstack.vdi_delete, first)
        do("gc_coalesce", self.collect)
        do("delete_2", self.toolstack.vdi_delete, second)
        do("gc_leaf_coalesce", self.collect)
        new = do("create_N", self.create, "N")
        do("write_N", self.write, new, "N0", 0, 8192)
        do("clone_N", self.clone, new)
        do("delete_N", self.toolstack.vdi_delete, new)
        do("gc_leaf_of_clone", self.collect)


class Moment:
    """One clone: when it was taken, and what came of it."""

    def __init__(self, operation, state):
        self.operation = operation["name"]
        self.state = state
        self.refused = ""
        self.sentence = ""
        self.trouble = ""
        self.shown = []
        self.seconds = 0.0


class Story:
    def __init__(self, world, toolstack):
        self.world = world
        self.toolstack = toolstack
        self.moments = []
        lvmconf.write(lvmconf.MULTIPATH_MAPS)
        self.record()
        self.choose()
        for number, (operation, state) in enumerate(self.chosen):
            self.moments.append(self.take(number, operation, state))
            record("moment", vars(self.moments[-1]))

    def record(self):
        """sm's work on the original, as a trace."""
        recorder = recorded.Recorder("array-lun", LUN_SIZE, LOG_SIZE)
        work = self.work = Work(self.world, self.toolstack, recorder)
        volume = Volume("original", recorder.path, block=True)
        target = Target(ORIGINAL)
        target.show(volume)
        work.config = self.world.device_config(ORIGINAL, volume.scsi_id)
        work.make()
        machine = Machine(work.vg, work.live)
        machine.start()
        try:
            work.all()
        finally:
            machine.stop()
        record("work", {"operations": [operation["name"] for operation in work.operations], "writes of the VM": machine.writes})
        self.original_pbds = list(self.toolstack.pbds(work.sr))
        self.toolstack.pbd_unplug(self.original_pbds[0])
        target.remove()
        volume.remove()
        records = recorder.end()
        first = next(index for index, (kind, _, data) in enumerate(records) if kind == "M")
        base = "/srv/base.img"
        with open(base, "w+b") as image:
            image.truncate(LUN_SIZE)
            traces.Trace.apply_to(image, records[:first])
        facts = {"sr": work.sr, "size": LUN_SIZE, "base": work.operations[0]["before"], "records": len(records) - first,
                 "operations": work.operations}
        recorded.write_trace("/results/" + NAME, records[first:], base, facts)
        for path in [*recorder.files, base]:
            os.unlink(path)
        self.trace = traces.Trace("/results/" + NAME)
        # the original is in use again while its clones are resigned
        film = traces.Film(self.trace, "/srv")
        self.original = Volume("again", film.wind(len(self.trace.records)), serial=volume.serial)
        Target(ORIGINAL).show(self.original)
        self.toolstack.pbd_plug(self.original_pbds[0])

    def choose(self):
        """Random moments, in order; every write is as likely as the next."""
        instants = [(operation, state) for operation in self.trace.operations for state in self.trace.instants(operation)]
        chosen = random.Random(SEED).sample(range(len(instants)), min(CLONES, len(instants)))
        self.chosen = [instants[index] for index in sorted(chosen)]
        os.mkdir("/srv/film")
        self.film = traces.Film(self.trace, "/srv/film")
        record("chosen", [len(instants), [(operation["name"], state) for operation, state in self.chosen]])

    def take(self, number, operation, state):
        """One clone, resigned, attached, scanned and detached."""
        moment = Moment(operation, state)
        started = time.time()
        path = f"/srv/clone{number}"
        attempt("cp", "--sparse=always", self.film.wind(state), path)
        volume = Volume(f"clone{number}", path)
        target = Target(f"{CLONE}{number}")
        target.show(volume)
        config = self.world.device_config(target.iqn, volume.scsi_id)
        try:
            answer = pool.resign(self.toolstack, config, "clone")
            if pool.says_resigned(answer):
                self.adopt(moment, operation, self.toolstack.runs[-1].sr_uuid, config, path)
            else:
                moment.refused, moment.sentence = answer.code, answer.params[1]
            left = self.world.left_over(volume.scsi_id, target.iqn)
            if left:
                moment.trouble += f"; left over: {left}"
        except XapiError as error:
            moment.trouble += f"; {error} {self.toolstack.runs[-1].stderr[-500:]}"
        finally:
            target.remove()
            volume.remove()
            os.unlink(path)
        moment.seconds = round(time.time() - started, 1)
        return moment

    def adopt(self, moment, operation, sr, config, path):
        """The SR attached once. Every disk that lasts, by its name, must be there and read as before or as after the operation."""
        pbd = pool.attach(self.toolstack, sr, config)
        records = self.toolstack.vdis(sr)
        moment.shown = sorted(found["name_label"] for found in records.values() if found["managed"])
        lasting = {facts["name"]: facts["uuid"] for facts in operation["before"]
                   if "expect" in facts and facts["uuid"] in judge.facts(operation)}
        for name, uuid in lasting.items():
            mine = [found["uuid"] for found in records.values() if found["managed"] and found["name_label"] == name]
            if not mine:
                moment.trouble += f"; {name} is missing"
                continue
            wrong = [judge.as_the_facts_say(sectors, *judge.facts(operation)[uuid]) for sectors in judge.contents(path, mine).values()]
            if all(wrong):
                moment.trouble += f"; {name}: {wrong[0]}"
        if "live" not in moment.shown:
            moment.trouble += "; the VM's disk is missing"
        pool.detach(self.toolstack, sr, pbd)


@pytest.fixture(scope="module")
def story(world, toolstack):
    return Story(world, toolstack)


def test_every_clone_is_resigned_or_refused(story):
    assert len(story.moments) == len(story.chosen) > 0
    assert [vars(moment) for moment in story.moments if moment.refused] == []


def test_every_resigned_clone_attaches_and_reads_as_it_has_to(story):
    assert [vars(moment) for moment in story.moments if moment.trouble] == []


def test_the_original_is_still_attached(story):
    shown = story.toolstack.vdis(story.work.sr)
    story.toolstack.sr_scan(story.work.sr)
    assert set(shown) == set(story.toolstack.vdis(story.work.sr))
    pathlib.Path("/results/SMlog-busy").write_text(story.world.log(), errors="surrogateescape")
