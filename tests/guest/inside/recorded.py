# SPDX-License-Identifier: LGPL-2.1-only
"""A LUN on dm-log-writes: every write that reaches it is kept in order, and the whole becomes a trace (tests/recovery/traces.py).

The log of dm-log-writes, little-endian (linux, drivers/md/dm-log-writes.c), in sectors of 512 bytes:

    sector 0    u64 magic 0x6a736677736872, u64 version 1, u64 number of entries, u32 sector size
    entries     u64 sector, u64 sectors, u64 flags (1 flush, 2 FUA, 4 discard, 8 mark), u64 length of a mark, the mark; filled to a sector;
                then what was written

An entry stands where the device completed the write; writes without a flush between them may have been submitted in another order.
"""

import gzip
import json
import pathlib
import struct

from inside.command import run

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
TRACE_MAGIC = b"LUNTRACE1\n"


class Recorder:
    """path: the device that the array shows; base: a file with the LUN as it was at the mark that `end` is told."""

    def __init__(self, name, size, log_size, directory="/srv"):
        self.name = name
        self.size = size
        self.files = [pathlib.Path(directory, name), pathlib.Path(directory, name + ".log")]
        self.loops = []
        for file, length in zip(self.files, (size, log_size)):
            with open(file, "wb") as image:
                image.truncate(length)
            self.loops.append(run("losetup", "--find", "--show", file).strip())
        run("modprobe", "dm-log-writes")
        run("dmsetup", "create", name, "--table", f"0 {size // SECTOR} log-writes {' '.join(self.loops)}")
        self.path = "/dev/mapper/" + name

    def mark(self, text):
        run("dmsetup", "message", self.name, "0", "mark", text.replace(" ", "_"))

    def end(self):
        """Nobody may have the LUN open any more. The records, as traces.Trace has them: (kind, offset, data)."""
        run("dmsetup", "remove", "--retry", self.name)
        for loop in self.loops:
            run("losetup", "--detach", loop)
        return read_log(self.files[1])


def read_log(path):
    """[(kind, offset on the LUN, data, length of what is discarded, or text)]; a write that flushes first gives an F before it."""
    records = []
    with open(path, "rb") as log:
        magic, _, entries, sector_size = struct.unpack("<QQQI", log.read(28))
        if magic != MAGIC or sector_size != SECTOR:
            raise ValueError(f"{path} is no log of dm-log-writes")
        log.seek(SECTOR)
        for _ in range(entries):
            head = log.read(SECTOR)
            sector, count, flags, length = struct.unpack("<QQQQ", head[:32])
            if flags & MARK:
                records.append(("M", 0, head[32 : 32 + length].rstrip(b"\0").decode()))
                continue
            if flags & DISCARD:
                records.append(("D", sector * SECTOR, count * SECTOR))
                continue
            if flags & FLUSH:
                records.append(("F", 0, b""))
            if count:
                records.append(("W", sector * SECTOR, log.read(count * SECTOR)))
    return records


def write_trace(directory, records, base, facts):
    """A trace in a directory NAME. facts: operations without first and last; base: base.img, the LUN before the first of them."""
    directory, base = pathlib.Path(directory), pathlib.Path(base)
    directory.mkdir(parents=True)
    marks = {data: index for index, (kind, _, data) in enumerate(records) if kind == "M"}
    for operation in facts["operations"]:
        operation["first"], operation["last"] = (marks[f"{word}_{operation['name']}"] for word in ("begin", "end"))
    (directory / (directory.name + ".json")).write_text(json.dumps(facts, indent=1))
    with gzip.open(directory / "trace.bin.gz", "wb") as stream:
        stream.write(TRACE_MAGIC + struct.pack(">Q", facts["size"]))
        for kind, offset, data in records:
            if kind == "M":
                stream.write(b"M" + struct.pack(">I", len(data.encode())) + data.encode())
            elif kind == "F":
                stream.write(b"F")
            else:
                stream.write(kind.encode() + struct.pack(">QI", offset, data if kind == "D" else len(data)))
                stream.write(b"" if kind == "D" else data)
    run("tar", "-czSf", directory / "base.tgz", "-C", base.parent, base.name)
