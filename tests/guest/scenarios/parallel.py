# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: eight clones of one original are resigned at once, while LVs are created and removed on the attached original."""

import os
import threading

import pytest
from inside import clones, devices, pool
from inside.calls import Call
from inside.reporting import record
from lvhd import reader, shapes

COUNT = 8
ROUNDS = 20 if os.environ.get("GUEST_LONG") == "1" else 1


class Working(threading.Thread):
    """Creates and removes an LV on the original, again and again.

    done: how often that worked; refused: how often LVM would not, as it does while it sees duplicates; mapped: the LUNs that
    the original's LVs were seen on.
    """

    def __init__(self, original):
        super().__init__()
        self.vg = original.vg
        self.done = 0
        self.refused = 0
        self.mapped = set()
        self._end = threading.Event()

    def insist(self, *command):
        while True:
            result = pool.lvm(*command)
            for luns in devices.lv_luns(self.vg).values():
                self.mapped |= luns
            if not result.returncode:
                return
            self.refused += 1
            last = result.stderr
            if self.refused > 1000:
                raise AssertionError(last)

    def once(self):
        self.insist("lvcreate", "-q", "-ay", "-Wn", "-Zn", "-L", "4M", "-n", "work", self.vg)
        self.insist("lvremove", "-q", "-f", f"{self.vg}/work")
        self.done += 1

    def run(self):
        while not self._end.is_set():
            self.once()

    def stop(self):
        self._end.set()
        self.join()


def lvs_and_seqno(path):
    with reader.Lun(path) as lun:
        return sorted((volume.name, volume.id, tuple(volume.segments)) for volume in lun.volumes.values()), lun.vg["seqno"]


class Round:
    """One round: answers, the original's LVs and seqno before and after, the worker, and per clone what is wrong."""


@pytest.fixture(scope="module")
def rounds(world, toolstack):
    original = clones.Original(world, toolstack, "original", shapes.one(5, free_extents=20))
    lv = pool.disks(toolstack, original.sr)[0]
    toolstack.vdi_attach(lv)
    luns = [clones.Clone(original, f"clone{number}", number=number + 1 if number % 2 else None) for number in range(COUNT)]
    trial = Working(original)
    before = lvs_and_seqno(original.path)[1]
    trial.once()
    commits = lvs_and_seqno(original.path)[1] - before
    with reader.Lun(original.pristine) as lun:
        cloned_seqno = lun.vg["seqno"]
    found = []
    for number in range(ROUNDS):
        one = Round()
        one.before = lvs_and_seqno(original.path)
        one.work = Working(original)
        one.work.start()
        calls = [Call(pool.resign, toolstack, clone.config, clone.volume.name) for clone in luns]
        one.answers = [call.answer() for call in calls]
        one.work.stop()
        one.after = lvs_and_seqno(original.path)
        one.commits = commits * one.work.done
        one.names = [reader.vg_names(clone.path) for clone in luns]
        one.clones = [lvs_and_seqno(clone.path) for clone in luns]
        one.cloned_seqno = cloned_seqno
        one.kept = [clone.kept_as_on_the_original() for clone in luns]
        one.left_over = [world.left_over(clone.scsi_id, clone.own_iqn) for clone in luns] + [clones.original_problems(original, world)]
        one.original = original
        found.append(one)
        record("parallel", {"round": number + 1, "worked": one.work.done, "refused": one.work.refused})
        for clone in luns:
            clone.renew()
    return found


def test_all_are_resigned(rounds):
    for one in rounds:
        assert [answer for answer in one.answers if not pool.says_resigned(answer)] == []
        assert len({names[0] for names in one.names}) == COUNT
        assert [len(names) for names in one.names] == [1] * COUNT
        assert one.kept == [True] * COUNT


def test_nothing_is_left(rounds):
    for one in rounds:
        assert one.left_over == [[]] * (COUNT + 1)


def test_the_originals_metadata_is_what_its_own_operations_made_it(rounds):
    for one in rounds:
        assert one.work.done
        assert one.after[0] == one.before[0]
        assert one.after[1] - one.before[1] == one.commits


def test_no_operation_reached_a_clone(rounds):
    for one in rounds:
        assert one.work.mapped == {one.original.scsi_id}
        for volumes, seqno in one.clones:
            assert "work" not in [name for name, _, _ in volumes]
            # the staged text and the final one
            assert seqno == one.cloned_seqno + 2
