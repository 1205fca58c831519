# SPDX-License-Identifier: LGPL-2.1-only
"""Signatures that make LVM pass over a disk, label or not: a LUN that has one would be rewritten and then be seen by nobody.

LVM reads them before it looks for a label, each release its own selection; what any release from 2.02.84 to 2.03.39 heeds counts here.

    offset                            what is there                          source in LVM2
    510                               0x55 0xaa, and of the four entries of  _has_partition_table in lib/device/device.c,
                                      16 bytes from 446 on one with sectors  later in dev-type.c
                                      (u32 at 12); none of them may have
                                      more than the top bit in byte 0
    512                               "EFI PART": GPT (over the LVM label)   _has_gpt_partition_table
    0                                 "HM" and u16 1 or 2: label of LVM 1    dev-lvm1-pool.c, format1/disk-rep.c
    0                                 u64 0x11670, and at 272 the version,   dev-lvm1-pool.c, format_pool/disk_rep.c
                                      u32 0x401xx, big-endian: GFS pool
    0, 4096                           u32 0xa92b4efc, of either byte order:  dev-md.c
                                      md 1.1, 1.2
    from 64 KiB on before the end,    the same: md 0.90
    a multiple of 64 KiB
    from 8 KiB on before the end,     the same: md 1.0
    a multiple of 4 KiB
    1024 before the end               "Intel Raid ISM Cfg Sig. "             dev-md.c (2.03)
    512 and 128.5 KiB before the end  u32 0xde11de11, of either byte order,  dev-md.c (2.03)
                                      and its CRC: DDF

Two reads, whatever is there.
"""

import struct
import zlib

from relvm import errors
from relvm.octets import octets

SECTOR = 512
HEAD = 8192
MBR_MAGIC_AT = 510
MBR_ENTRIES = (446, 462, 478, 494)
MD_MAGIC = 0xa92b4efc
MD_RESERVED = 64 * 1024
DDF_MAGIC = 0xde11de11
DDF_PLACES = (512, 257 * SECTOR)
IMSM = octets('Intel Raid ISM Cfg Sig. ')
IMSM_PLACE = 1024
POOL_MAGIC = 0x11670
POOL_VERSION = 0x401
# All that is looked at before the end
TAIL = 2 * MD_RESERVED + SECTOR


def check(device):
    """Raises errors.ForeignSignature when a blockdev.Device has such a signature. Smaller than 256 KiB it is not looked at."""
    if device.size < 2 * TAIL:
        return
    found = _at_start(device.read(0, HEAD)) or _at_end(device.read(device.size - TAIL, TAIL), device.size)
    if found:
        what, offset = found
        raise errors.ForeignSignature(what=what, offset=offset)


def _at_start(head):
    if head[MBR_MAGIC_AT:MBR_MAGIC_AT + 2] == octets('\x55\xaa') and _has_partitions(head):
        return 'a partition table', MBR_MAGIC_AT
    if head[SECTOR:SECTOR + 8] == octets('EFI PART'):
        return 'a GPT partition table', SECTOR
    if head[:2] == octets('HM') and struct.unpack('<H', head[2:4])[0] in (1, 2):
        return 'a label of LVM 1', 0
    if struct.unpack('>Q', head[:8])[0] == POOL_MAGIC and struct.unpack('>I', head[272:276])[0] >> 8 == POOL_VERSION:
        return 'a label of a GFS pool', 0
    for version, offset in (('1.1', 0), ('1.2', 4096)):
        if _has_magic(head, offset, MD_MAGIC):
            return 'an md RAID superblock (%s)' % version, offset
    return None


def _has_partitions(head):
    entries = [struct.unpack('<B11xI', head[place:place + 16]) for place in MBR_ENTRIES]
    if [boot for boot, _ in entries if boot & 0x7f]:
        return False
    return [sectors for _, sectors in entries if sectors] != []


def _at_end(tail, size):
    start = size - TAIL
    places = [('0.90', size // MD_RESERVED * MD_RESERVED - MD_RESERVED),
              ('1.0', (size // SECTOR - 16) // 8 * 8 * SECTOR)]
    for version, offset in places:
        if _has_magic(tail, offset - start, MD_MAGIC):
            return 'an md RAID superblock (%s)' % version, offset
    at = TAIL - IMSM_PLACE
    if tail[at:at + len(IMSM)] == IMSM:
        return 'a RAID superblock of Intel firmware', start + at
    for place in DDF_PLACES:
        at = TAIL - place
        if _has_magic(tail, at, DDF_MAGIC) and _is_ddf(tail[at:at + SECTOR]):
            return 'a DDF RAID header', start + at
    return None


def _has_magic(data, at, magic):
    return data[at:at + 4] in (struct.pack('<I', magic), struct.pack('>I', magic))


def _is_ddf(header):
    """CRC-32 over the sector with all ones in the place of the CRC; LVM's has neither initial value nor final inversion."""
    blank = header[:4] + octets('\xff') * 4 + header[8:]
    for found in (zlib.crc32(blank) & 0xffffffff, (zlib.crc32(blank, 0xffffffff) ^ 0xffffffff) & 0xffffffff):
        if header[4:8] in (struct.pack('<I', found), struct.pack('>I', found)):
            return True
    return False
