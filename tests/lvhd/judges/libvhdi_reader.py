# SPDX-License-Identifier: LGPL-2.1-only
"""Run by `libvhdi`: a list of jobs as JSON on stdin, a list of answers as JSON on stdout."""
import hashlib
import json
import sys

import pyvhdi

WHOLE_DISK_LIMIT = 256 * 1024 * 1024
STEP = 1024 * 1024


def answer(paths, sectors):
    said = {"error": None, "size": None, "sha256": None, "identifier": None, "parent_identifier": None, "parent_name": None,
            "sectors": {}}
    files = []
    try:
        for path in paths:
            disk = pyvhdi.file()
            disk.open(path)
            files.append(disk)
        for child, parent in zip(files, files[1:]):
            child.set_parent(parent)
        leaf = files[0]
        said["size"] = leaf.get_media_size()
        said["identifier"] = leaf.get_identifier()
        said["parent_identifier"] = leaf.get_parent_identifier()
        said["parent_name"] = leaf.get_parent_filename()
        for number in sectors:
            said["sectors"][number] = leaf.read_buffer_at_offset(512, number * 512).hex()
        if said["size"] <= WHOLE_DISK_LIMIT:
            digest = hashlib.sha256()
            for offset in range(0, said["size"], STEP):
                digest.update(leaf.read_buffer_at_offset(min(STEP, said["size"] - offset), offset))
            said["sha256"] = digest.hexdigest()
    except (OSError, ValueError, MemoryError) as error:
        said["error"] = str(error)
    finally:
        for disk in reversed(files):
            disk.close()
    return said


if __name__ == "__main__":
    json.dump([answer(job["paths"], job["sectors"]) for job in json.load(sys.stdin)], sys.stdout)
