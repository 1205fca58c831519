# SPDX-License-Identifier: LGPL-2.1-only
"""In the guest: what reaches the array during a resign, and up to a kill, is what the engine believes it wrote and flushed, in that order.

The LUN is on dm-log-writes, behind the iSCSI target; the crash explorer's states are made from what the engine's device was told. Between
two flushes an array may write in any order, so what is compared is the sectors of each such span.
"""

import json
import os

import pytest
from inside import devices, initiator, lvmconf, recorded, target
from inside.command import attempt, run, wait_until
from inside.reporting import record
from inside.target import Target, Volume
from lvhd import samples

PRODUCT = "/opt/relvmoiscsi"
IQN = "iqn.2024-01.test.array:below"
SAMPLE = "snaps"
NEW_SR = "6f3a1f0e-6a52-4a0c-9b0c-3f1f3c2b7d11"
SECTOR = 512
LOG_SIZE = 256 << 20
TOLD = "/tmp/told"
# The run as a whole, and killed before its second, fourth and fifth write: staged, switched, applied
KILLS = (None, 1, 3, 4)

RUN = """
import json, os, signal, sys
sys.path[:0] = [{product!r} + "/drivers", {product!r} + "/tests"]
from luns import devices
path, sr, stop = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
told = open({told!r}, "a")


def tell(event):
    told.write(json.dumps(event) + "\\n")
    told.flush()


class Telling(devices.Recording):
    def write(self, offset, data):
        if self.writes == stop:
            os.kill(os.getpid(), signal.SIGKILL)
        devices.Recording.write(self, offset, data)
        tell([offset, data.hex()])

    def flush(self):
        devices.Recording.flush(self)
        tell("flush")


devices.run(path, sr, device_class=Telling)
"""


def spans(events):
    """[{sector: 512 bytes}] between flushes, without empty ones; events: "F" or (offset, bytes)."""
    found = [{}]
    for event in events:
        if event == "F":
            found.append({})
            continue
        offset, data = event
        for at in range(0, len(data), SECTOR):
            found[-1][(offset + at) // SECTOR] = data[at : at + SECTOR]
    return [span for span in found if span]


@pytest.fixture(scope="module")
def sample():
    lvmconf.write(lvmconf.MULTIPATH_MAPS)
    target.start()
    initiator.start()
    return samples.unpack(SAMPLE, "/srv")


@pytest.fixture(params=KILLS, ids=str)
def both(request, sample):
    """(what the engine was told, what the array got): spans."""
    recorder = recorded.Recorder("array-below", os.path.getsize(sample), LOG_SIZE)
    volume = Volume("below", recorder.path, block=True)
    array = Target(IQN)
    # before anybody sees it
    run("dd", f"if={sample}", f"of={recorder.path}", "bs=1M", "conv=sparse,fsync", "oflag=direct")
    recorder.mark("begin")
    array.show(volume)
    initiator.discover()
    initiator.login(IQN)
    disk = devices.wait_for(devices.by_id(volume.scsi_id))
    if os.path.exists(TOLD):
        os.unlink(TOLD)
    program = RUN.format(product=PRODUCT, told=TOLD)
    done = attempt("python3", "-c", program, os.path.realpath(disk), NEW_SR, json.dumps(request.param))
    assert done.returncode == (0 if request.param is None else -9), done.stderr
    initiator.logout(IQN)
    array.remove()
    volume.remove()
    wait_until(lambda: attempt("dmsetup", "info", "-c", "--noheadings", "-o", "open", recorder.name).stdout.strip() == "0", "the LUN's end")
    records = recorder.end()
    for path in recorder.files:
        os.unlink(path)
    start = records.index(("M", 0, "begin"))
    got = spans("F" if kind == "F" else (offset, data) for kind, offset, data in records[start:] if kind in "WF")
    with open(TOLD) as lines:
        told = [json.loads(line) for line in lines]
    return spans("F" if event == "flush" else (event[0], bytes.fromhex(event[1])) for event in told), got


def test_the_array_gets_what_the_engine_wrote_in_that_order(both):
    told, got = both
    record("spans", {"told": [len(span) for span in told], "got": [len(span) for span in got]})
    assert len(told) > 0
    assert [sorted(span) for span in got] == [sorted(span) for span in told]
    assert got == told
