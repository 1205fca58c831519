# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.host.inquiry: the SCSI ids in page 0x83. Pages as real targets give them."""
from __future__ import absolute_import, division, print_function

import os
import struct

import pytest

from relvm.host import devices, inquiry

NAA = b"\x01\x03\x00\x10" + b"\x60\x01\x40\x5e\x2d\xb7\x1b\x9f\xc6\x84\xae\xca\x9a\x6d\x2c\x11"
PORT = b"\x01\x13\x00\x08" + b"\x50\x01\x40\x5e\x00\x00\x00\x01"
VENDOR = b"\x02\x01\x00\x10" + b"LIO-ORG disk:12\0"
EUI = b"\x01\x02\x00\x08" + b"\x00\x14\x2d\x31\x00\x00\x00\x07"
TEXT = b"\x02\x03\x00\x08" + b"60014055"


def page(*designators):
    content = b"".join(designators)
    return b"\x00\x83" + struct.pack(">H", len(content)) + content + b"\0" * 100


@pytest.mark.parametrize("data, expected", [
    (page(NAA), ["36001405e2db71b9fc684aeca9a6d2c11"]),
    (page(VENDOR, PORT, NAA), ["36001405e2db71b9fc684aeca9a6d2c11"]),
    (page(EUI, NAA), ["200142d3100000007", "36001405e2db71b9fc684aeca9a6d2c11"]),
    (page(TEXT), []),
    (page(), []),
    (b"", []),
    (b"\x00\x80\x00\x14" + NAA, []),
    (page(NAA)[:20], []),
    (b"\x00\x83\x00\x06" + NAA, []),
])
def test_the_ids_of_a_page(data, expected):
    assert inquiry.scsi_ids(data) == expected


def test_what_is_no_scsi_disk_does_not_answer(tmpdir):
    path = tmpdir.join("file")
    path.write("x")
    fd = os.open(str(path), os.O_RDONLY)
    try:
        with pytest.raises(EnvironmentError):
            inquiry.identification(fd)
    finally:
        os.close(fd)


def test_the_request_has_the_size_that_the_kernel_reads():
    """sizeof(struct sg_io_hdr) is 64 with four-byte pointers and 88 with eight."""
    assert struct.calcsize(inquiry._HEADER) == {4: 64, 8: 88}[struct.calcsize("P")]


def test_a_host_whose_disks_do_not_all_answer(tmpdir, monkeypatch):
    monkeypatch.setattr(devices, "SYS", str(tmpdir))
    monkeypatch.setattr(devices, "DEV", str(tmpdir))
    tmpdir.mkdir("block")
    assert inquiry.disks_reporting("3600") == []
    device = tmpdir.join("block", "sda", "device")
    device.ensure(dir=True)
    device.join("state").write("transport-offline\n")
    assert inquiry.disks_reporting("3600") is None
