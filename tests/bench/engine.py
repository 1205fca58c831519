# SPDX-License-Identifier: LGPL-2.1-only
"""The engine in a process that has it already: `engine.py DRIVERS LUN SR_UUID ANSWER` writes a JSON object into the file ANSWER.

    wall       seconds of resign.resign(), as an sm driver calls it
    cpu        seconds of processor time of that, of the process and of the system for it
    fsync      how much of that was spent in fsync
    writes     {step of the run: number of writes}, as the engine made them
    in_lvm     number of writes in front of the first extent: label and metadata area
    flushes, reads, bytes_read, bytes_written
    log        bytes of the redo log; text  bytes of the metadata text
"""

import json
import os
import sys
import time

DRIVERS, LUN, SR_UUID, ANSWER = sys.argv[1:]
sys.path.insert(0, DRIVERS)

from relvm.engine import blockdev, resign  # noqa: E402

fsync = os.fsync
waited = []


def timed_fsync(fd):
    start = time.perf_counter()
    try:
        fsync(fd)
    finally:
        waited.append(time.perf_counter() - start)


class Recorded(blockdev.Device):
    """Remembers where it wrote."""

    made = ()

    def write(self, offset, data):
        self.made += ((self.step, offset),)
        blockdev.Device.write(self, offset, data)


os.fsync = timed_fsync
device = Recorded(LUN)
try:
    start, used = time.perf_counter(), time.process_time()
    plan = resign.resign(device, SR_UUID).plan
    wall, cpu = time.perf_counter() - start, time.process_time() - used
finally:
    device.close()
steps = [step for step, _ in device.made]
with open(ANSWER, 'w') as stream:
    json.dump({'wall': wall, 'cpu': cpu, 'fsync': sum(waited), 'writes': {step: steps.count(step) for step in steps},
               'in_lvm': len([offset for _, offset in device.made if offset < plan.lun.vg.pe_start]),
               'flushes': device.flushes, 'reads': device.reads, 'bytes_read': device.bytes_read,
               'bytes_written': device.bytes_written, 'log': len(plan.log_bytes), 'text': len(plan.final_text)}, stream)
