# SPDX-License-Identifier: LGPL-2.1-only
"""vhd-util, as far as sm calls it for LVHD: scan, query, read, check, create, snapshot, set, modify, key.

Independent of the engine and of the test suite's image writer. Structures, all big-endian (VHD specification 1.0;
blktap include/libvhd.h): footer of 512 bytes at 0 and in the last sector, header of 1024 bytes at 512, BAT at 1536, then
vhd-util's batmap, then up to three parent locators of one sector. Exit codes are errno values, as vhd-util's.
"""

import errno
import fnmatch
import os
import random
import stat
import struct
import subprocess
import sys
import time

from dom0.state import STATE_DIR, State

SECTOR = 512
BLOCK = 2 * 1024 * 1024
EPOCH = 946684800
UNUSED = 0xffffffff
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
TYPES = {FIXED: "Fixed hard disk", DYNAMIC: "Dynamic hard disk", DIFFERENCING: "Differencing hard disk"}
FOOTER = ">8sIIQI4sIIQQIII16sBB"
HEADER = ">8sQQIIII16sII512s"
LOCATOR = ">4sIIIQ"
BATMAP = ">8sQIIIB"
MACX, W2KU, W2RU = b"MacX", b"W2ku", b"W2ru"
CODE_NAMES = {MACX: "PLAT_CODE_MACX", W2KU: "PLAT_CODE_W2KU", W2RU: "PLAT_CODE_W2RU"}


class VhdError(Exception):
    """Carries the errno value that becomes the exit code."""

    def __init__(self, code, text):
        Exception.__init__(self, text)
        self.code = code


def checksum(data, at):
    """The complement of the sum of all bytes but the four of the checksum at `at`."""
    values = bytearray(data)
    return ~(sum(values) - sum(values[at:at + 4])) & 0xffffffff


class Footer(object):
    """The 512 bytes that end (and, copied, start) a VHD."""

    def __init__(self, data):
        fields = struct.unpack(FOOTER, data[:struct.calcsize(FOOTER)])
        (self.cookie, self.features, self.version, self.data_offset, self.time, self.creator, self.creator_version,
         self.creator_os, self.orig_size, self.curr_size, self.geometry, self.type, self.checksum, self.uuid, self.saved,
         self.hidden) = fields
        self.good = self.checksum == checksum(data, 64)

    def pack(self):
        """The 512 bytes, with a fresh checksum."""
        fields = [self.cookie, self.features, self.version, self.data_offset, self.time, self.creator, self.creator_version,
                  self.creator_os, self.orig_size, self.curr_size, self.geometry, self.type, 0, self.uuid, self.saved, self.hidden]
        fields[12] = checksum(struct.pack(FOOTER, *fields).ljust(SECTOR, b"\0"), 64)
        return struct.pack(FOOTER, *fields).ljust(SECTOR, b"\0")


class Header(object):
    """The 1024 bytes that describe a dynamic VHD; `locators` are [code, space, length, offset]."""

    def __init__(self, data):
        fields = struct.unpack(HEADER, data[:576])
        (self.cookie, self.data_offset, self.table_offset, self.version, self.entries, self.block_size, self.checksum,
         self.parent_uuid, self.parent_time, self.reserved, name) = fields
        self.parent_name = name.decode("utf-16-be", "replace").split(u"\0")[0]
        self.locators = []
        for index in range(8):
            code, space, length, _, offset = struct.unpack(LOCATOR, data[576 + 24 * index:600 + 24 * index])
            self.locators.append([code, space, length, offset])
        self.good = self.checksum == checksum(data, 36)

    def pack(self):
        """The 1024 bytes, with a fresh checksum."""
        def packed(check):
            name = self.parent_name.encode("utf-16-be")[:512]
            data = struct.pack(HEADER, self.cookie, self.data_offset, self.table_offset, self.version, self.entries,
                               self.block_size, check, self.parent_uuid, self.parent_time, self.reserved, name)
            for code, space, length, offset in self.locators:
                data += struct.pack(LOCATOR, code, space, length, 0, offset)
            return data.ljust(1024, b"\0")
        return packed(checksum(packed(0), 36))


class Vhd(object):
    """An open VHD at byte `base` of a file or device; raises VhdError when it is none."""

    def __init__(self, root, path, mode="r", base=0, size=None, need_footer=False):
        self.root = root
        self.path = path
        flags = os.O_RDONLY if mode == "r" else os.O_RDWR
        try:
            self.fd = os.open(path, flags)
        except OSError as e:
            raise VhdError(e.errno, "error opening %s: -%d" % (path, e.errno))
        self.base = base
        self.size = size or os.lseek(self.fd, 0, os.SEEK_END)
        try:
            self.read_headers(need_footer)
        except VhdError:
            self.close()
            raise

    def read_headers(self, need_footer):
        """Footer copy (or the footer), and the header of a dynamic disk."""
        ends = self.read(self.size - SECTOR, SECTOR)
        starts = self.read(0, SECTOR)
        if self.valid(ends):
            self.footer = Footer(ends)
        elif not need_footer and self.valid(starts):
            self.footer = Footer(starts)
        else:
            raise VhdError(errno.EINVAL, "%s: invalid VHD footer" % self.path)
        self.header = None
        if self.footer.type in (DYNAMIC, DIFFERENCING):
            data = self.read(self.footer.data_offset, 1024)
            if data[:8] != b"cxsparse" or not Header(data).good:
                raise VhdError(errno.EINVAL, "%s: invalid VHD header" % self.path)
            self.header = Header(data)

    @staticmethod
    def valid(data):
        """Whether `data` is a footer with a good checksum."""
        return data[:8] == b"conectix" and Footer(data).good

    def read(self, offset, length):
        """`length` bytes from `offset` of the VHD."""
        os.lseek(self.fd, self.base + offset, os.SEEK_SET)
        data = b""
        while len(data) < length:
            chunk = os.read(self.fd, length - len(data))
            if not chunk:
                raise VhdError(errno.EIO, "%s: short read at %d" % (self.path, offset))
            data += chunk
        return data

    def write(self, offset, data):
        """Write `data` at `offset` of the VHD."""
        os.lseek(self.fd, self.base + offset, os.SEEK_SET)
        if os.write(self.fd, data) != len(data):
            raise VhdError(errno.EIO, "%s: short write at %d" % (self.path, offset))

    def close(self):
        """Flush and close."""
        if self.fd is not None:
            try:
                os.fsync(self.fd)
            except OSError:
                pass
            os.close(self.fd)
            self.fd = None

    def write_footer(self):
        """Both copies of the footer."""
        self.write(0, self.footer.pack())
        self.write(self.size - SECTOR, self.footer.pack())

    def write_header(self):
        """The header."""
        self.write(self.footer.data_offset, self.header.pack())

    def bat(self):
        """The block allocation table: sector numbers."""
        count = self.header.entries
        return struct.unpack(">%dI" % count, self.read(self.header.table_offset, 4 * count))

    def end_of_data(self):
        """Where the last thing before the footer ends, in bytes."""
        end = max(self.footer.data_offset + 1024, padded(self.header.table_offset + 4 * self.header.entries))
        batmap = padded(self.header.table_offset + 4 * self.header.entries)
        data = self.read(batmap, SECTOR)
        if data[:8] == b"tdbatmap":
            offset, sectors = struct.unpack(">QI", data[8:20])
            end = max(end, offset + sectors * SECTOR)
        for code, space, _, offset in self.header.locators:
            if code.strip(b"\0"):
                end = max(end, offset + space)
        used = [entry for entry in self.bat() if entry != UNUSED]
        if used:
            end = max(end, max(used) * SECTOR + SECTOR + self.header.block_size)
        return end

    def locator_text(self, locator):
        """The parent's name in one locator."""
        code, _, length, offset = locator
        data = self.read(offset, length)
        if code == MACX:
            text = data.decode("utf-8", "replace")
            return text[len("file://"):] if text.startswith("file://") else text
        return data.decode("utf-16-le", "replace").replace("\\", "/")

    def parent_path(self):
        """The parent's path: the first locator whose file exists; raises VhdError."""
        directory = os.path.dirname(canonical(self.root, self.path))
        for locator in self.header.locators:
            if not locator[0].strip(b"\0"):
                continue
            name = self.locator_text(locator)
            path = name if name.startswith("/") else os.path.normpath(os.path.join(directory, name))
            if os.path.exists(path):
                return path
        raise VhdError(errno.ENOENT, "%s: parent not found" % self.path)

    def parent_is_raw(self):
        """Whether the parent is no VHD."""
        return self.footer.type == DIFFERENCING and self.header.parent_uuid == b"\0" * 16

    def set_parent(self, path, raw):
        """Name `path` as the parent: header, and each locator there is room in."""
        path = canonical(self.root, path)
        if raw:
            self.header.parent_uuid = b"\0" * 16
        else:
            parent = Vhd(self.root, path)
            self.header.parent_uuid = parent.footer.uuid
            parent.close()
        name = os.path.basename(path)
        self.header.parent_name = to_text(name)
        self.header.parent_time = int(os.stat(path).st_mtime) - EPOCH
        for locator in self.header.locators:
            if locator[0] in (MACX, W2KU, W2RU):
                data = locator_data(locator[0], name)
                if len(data) > locator[1]:
                    raise VhdError(errno.ENAMETOOLONG, "locator too small")
                self.write(locator[3], data.ljust(SECTOR, b"\0"))
                locator[2] = len(data)
        self.write_header()


def to_text(name):
    """`name` as Unicode on both Pythons."""
    return name if not isinstance(name, bytes) else name.decode("utf-8")


def padded(length):
    """`length` rounded up to a sector."""
    return -(-length // SECTOR) * SECTOR


def locator_data(code, name):
    """What vhd-util writes into a locator for a parent in the same directory."""
    if code == MACX:
        return b"file://./" + to_text(name).encode("utf-8")
    return (u".\\" + to_text(name)).encode("utf-16-le")


def canonical(root, path):
    """libvhd's canonpath: names below /dev/mapper stay, /dev/VG/LV becomes one, others are resolved."""
    dev = root + "/dev/"
    if path.startswith("/dev/") and root and not os.path.exists(path):
        path = root + path
    if path.startswith(dev + "mapper/"):
        return path
    rest = path[len(dev):].split("/") if path.startswith(dev) else []
    if len(rest) == 2:
        mapper = dev + "mapper/" + "-".join(part.replace("-", "--") for part in rest)
        if os.path.exists(mapper):
            return mapper
    return os.path.realpath(path)


def uuid_text(data):
    """16 bytes as a UUID is written."""
    digits = "".join("%02x" % value for value in bytearray(data))
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def options(args, flags, values):
    """{option: value or True} of getopt-style `args`; options in `flags` may be joined. Raises VhdError 22."""
    found = {}
    index = 0
    while index < len(args):
        arg = args[index]
        index += 1
        if arg in ("--debug", "--verbose"):
            continue
        if not arg.startswith("-") or len(arg) < 2:
            raise VhdError(errno.EINVAL, "bad argument %s" % arg)
        letters = arg[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in flags:
                found[letter] = True
            elif letter in values:
                if letters:
                    found[letter], letters = letters, ""
                elif index < len(args):
                    found[letter] = args[index]
                    index += 1
                else:
                    raise VhdError(errno.EINVAL, "missing value")
            else:
                raise VhdError(errno.EINVAL, "bad option -%s" % letter)
    return found


def say(text):
    """One line of output."""
    sys.stdout.write(text + "\n")


def query(root, args):
    """vhd-util query"""
    wanted = options(args, "vspfdSma", "n")
    vhd = Vhd(root, wanted["n"])
    try:
        if "v" in wanted:
            say(str(vhd.footer.curr_size >> 20))
        if "s" in wanted:
            say(str(vhd.end_of_data() + SECTOR))
        if "p" in wanted:
            if vhd.footer.type != DIFFERENCING:
                say("%s has no parent" % wanted["n"])
            else:
                try:
                    say(vhd.parent_path())
                except VhdError:
                    say("query failed")
                    raise
        if "f" in wanted:
            say("hidden: %d" % vhd.footer.hidden)
        if "m" in wanted:
            say("marker: 0")
        if "d" in wanted:
            say("chain depth: %d" % depth(root, vhd))
        if "a" in wanted:
            say(str(len([entry for entry in vhd.bat() if entry != UNUSED])))
        if "S" in wanted:
            say(str(vhd.header.entries * 2))
    finally:
        vhd.close()


def depth(root, vhd):
    """Number of nodes from this one to the root of its chain."""
    count, current = 1, vhd
    while current.footer.type == DIFFERENCING:
        path = current.parent_path()
        raw = current.parent_is_raw()
        if current is not vhd:
            current.close()
        count += 1
        if raw:
            return count
        current = Vhd(root, path)
    if current is not vhd:
        current.close()
    return count


def read(root, args):
    """vhd-util read -p (headers) and -B (bitmap of the blocks)."""
    wanted = options(args, "pxBTMa", "nbticjdrRmSD")
    vhd = Vhd(root, wanted["n"])
    try:
        if "B" in wanted:
            bits = bytearray(-(-vhd.header.entries // 8))
            for index, entry in enumerate(vhd.bat()):
                if entry != UNUSED:
                    bits[index // 8] |= 0x80 >> index % 8
            getattr(sys.stdout, "buffer", sys.stdout).write(bytes(bits))
            return
        footer = vhd.footer
        say("VHD Footer Summary:\n-------------------")
        say("Cookie              : %s" % footer.cookie.decode("ascii"))
        say("Features            : (0x%08x)" % footer.features)
        say("File format version : Major: %d, Minor: %d" % (footer.version >> 16, footer.version & 0xffff))
        say("Data offset         : %d" % footer.data_offset)
        say("Original disk size  : %d MB (%d Bytes)" % (footer.orig_size >> 20, footer.orig_size))
        say("Current disk size   : %d MB (%d Bytes)" % (footer.curr_size >> 20, footer.curr_size))
        say("Disk type           : %s" % TYPES.get(footer.type, "Unknown type!"))
        say("Checksum            : 0x%x" % footer.checksum)
        say("UUID                : %s" % uuid_text(footer.uuid))
        say("Saved state         : %s" % ("Yes" if footer.saved else "No"))
        say("Hidden              : %d\n" % footer.hidden)
        if vhd.header is None:
            return
        header = vhd.header
        say("VHD Header Summary:\n-------------------")
        say("Cookie              : %s" % header.cookie.decode("ascii"))
        say("Table offset        : %d" % header.table_offset)
        say("Max BAT size        : %d" % header.entries)
        say("Block size          : %d (%d MB)" % (header.block_size, header.block_size >> 20))
        say("Parent name         : %s" % header.parent_name)
        say("Parent UUID         : %s\n" % uuid_text(header.parent_uuid))
        if footer.type == DIFFERENCING:
            say("VHD Parent Locators:\n--------------------")
            for index, locator in enumerate(header.locators):
                if not locator[0].strip(b"\0"):
                    continue
                say("locator:            : %d" % index)
                say("       code         : %s" % CODE_NAMES.get(locator[0], "UNKNOWN"))
                say("       data_space   : %d" % locator[1])
                say("       data_length  : %d" % locator[2])
                say("       data_offset  : %d" % locator[3])
                say("       decoded name : %s\n" % vhd.locator_text(locator))
    finally:
        vhd.close()


def check(root, args):
    """vhd-util check: footers, header, BAT, and the parent unless -B."""
    wanted = options(args, "isBpbt", "n")
    path = wanted["n"]
    try:
        vhd = Vhd(root, path, need_footer="i" not in wanted)
    except VhdError as e:
        say("%s appears invalid: %s" % (path, e))
        raise VhdError(errno.EINVAL, str(e))
    try:
        if not Vhd.valid(vhd.read(0, SECTOR)):
            say("%s appears invalid; primary footer invalid" % path)
            raise VhdError(errno.EINVAL, "")
        for entry in vhd.bat() if vhd.header else ():
            if entry != UNUSED and entry * SECTOR + SECTOR + BLOCK > vhd.size:
                say("%s appears invalid; block beyond the end" % path)
                raise VhdError(errno.EINVAL, "")
        if vhd.footer.type == DIFFERENCING and "B" not in wanted:
            parent_path = vhd.parent_path()
            if os.path.basename(parent_path) != os.path.basename(vhd.header.parent_name):
                say("%s appears invalid; parent name and locator differ" % path)
                raise VhdError(errno.EINVAL, "")
            if not vhd.parent_is_raw():
                parent = Vhd(root, parent_path)
                same = parent.footer.uuid == vhd.header.parent_uuid
                parent.close()
                if not same:
                    say("%s appears invalid; parent's uuid is another" % path)
                    raise VhdError(errno.EINVAL, "")
        say("%s is valid" % path)
    finally:
        vhd.close()


def new_footer(size, kind):
    """A fresh footer for a disk of `size` bytes."""
    footer = Footer(b"\0" * SECTOR)
    footer.cookie, footer.features, footer.version = b"conectix", 2, 0x00010000
    footer.data_offset, footer.time = SECTOR, int(time.time()) - EPOCH
    footer.creator, footer.creator_version = b"tap\0", 0x00010003
    footer.orig_size = footer.curr_size = size
    footer.type = kind
    digits = "%032x" % random.SystemRandom().getrandbits(128)
    footer.uuid = bytes(bytearray(int(digits[i:i + 2], 16) for i in range(0, 32, 2)))
    return footer


def format_vhd(root, path, size, kind, reserve):
    """Lay out an empty VHD of `size` bytes on `path`; BAT for `reserve` bytes."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    end = os.lseek(fd, 0, os.SEEK_END)
    block_device = stat.S_ISBLK(os.fstat(fd).st_mode)
    footer = new_footer(size, kind)
    header = Header(b"\0" * 1024)
    header.cookie, header.data_offset, header.table_offset = b"cxsparse", 0xffffffffffffffff, 1536
    header.version, header.block_size = 0x00010000, BLOCK
    header.entries = -(-max(size, reserve) // BLOCK)
    table = padded(4 * header.entries)
    batmap_at = 1536 + table
    sectors = max(-(-(-(-header.entries // 8)) // SECTOR), 1)
    locators_at = batmap_at + SECTOR + sectors * SECTOR
    if kind == DIFFERENCING:
        for index, code in enumerate((MACX, W2KU, W2RU)):
            header.locators[index] = [code, SECTOR, 0, locators_at + index * SECTOR]
    minimum = locators_at + 3 * SECTOR + SECTOR
    if end < minimum:
        if block_device:
            os.close(fd)
            raise VhdError(errno.ENOSPC, "%s is too small" % path)
        end = minimum
        os.ftruncate(fd, end)
    batmap = struct.pack(BATMAP, b"tdbatmap", batmap_at + SECTOR, sectors, 0x00010002, checksum_of(b"\0" * sectors * SECTOR), 0)
    pieces = [(0, footer.pack()), (SECTOR, header.pack()), (1536, (b"\xff" * (4 * header.entries)).ljust(table, b"\0")),
              (batmap_at, batmap.ljust(SECTOR, b"\0")), (batmap_at + SECTOR, b"\0" * sectors * SECTOR), (end - SECTOR, footer.pack())]
    for offset, data in pieces:
        os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def checksum_of(data):
    """The complement of the sum of `data`."""
    return ~sum(bytearray(data)) & 0xffffffff


def create(root, args):
    """vhd-util create -n NAME -s MB [-S MB]"""
    wanted = options(args, "rBt", "nsS")
    if "r" in wanted:
        raise VhdError(errno.ENOSYS, "fixed disks are not made here")
    format_vhd(root, wanted["n"], int(wanted["s"]) << 20, DYNAMIC, int(wanted.get("S", 0)) << 20)


def snapshot(root, args):
    """vhd-util snapshot -n NAME -p PARENT [-m] [-S MB] [-e]; an empty VHD child's parent is passed over unless -e."""
    wanted = options(args, "meb", "npSld")
    parent_path, raw = wanted["p"], "m" in wanted
    if raw:
        fd = os.open(canonical(root, parent_path), os.O_RDONLY)
        size = os.lseek(fd, 0, os.SEEK_END)
        os.close(fd)
    else:
        parent = Vhd(root, parent_path)
        size = parent.footer.curr_size
        empty = "e" not in wanted and parent.footer.type == DIFFERENCING and not [e for e in parent.bat() if e != UNUSED]
        if empty:
            raw = parent.parent_is_raw()
            parent_path = parent.parent_path()
        parent.close()
    format_vhd(root, wanted["n"], size, DIFFERENCING, int(wanted.get("S", 0)) << 20)
    child = Vhd(root, wanted["n"], "w")
    child.set_parent(parent_path, raw)
    child.close()


def set_field(root, args):
    """vhd-util set -n NAME -f hidden -v N"""
    wanted = options(args, "", "nfv")
    if wanted.get("f") != "hidden":
        raise VhdError(errno.EINVAL, "field %s is not known here" % wanted.get("f"))
    vhd = Vhd(root, wanted["n"], "w")
    vhd.footer.hidden = int(wanted["v"])
    vhd.write_footer()
    vhd.close()


def modify(root, args):
    """vhd-util modify -n NAME: -p PARENT [-m], -s BYTES (where the footer goes), -z (drop all data)."""
    wanted = options(args, "mz", "nps")
    vhd = Vhd(root, wanted["n"], "w")
    try:
        if "p" in wanted:
            if vhd.footer.type != DIFFERENCING:
                raise VhdError(errno.EINVAL, "would-be child is not a differencing disk")
            vhd.set_parent(wanted["p"], "m" in wanted)
        if "s" in wanted:
            size = int(wanted["s"])
            if size < vhd.end_of_data() + SECTOR:
                raise VhdError(errno.EINVAL, "too small")
            vhd.write(size - SECTOR, vhd.footer.pack())
        if "z" in wanted:
            vhd.write(vhd.header.table_offset, b"\xff" * (4 * vhd.header.entries))
    finally:
        vhd.close()


def key(root, args):
    """vhd-util key -p: no key is ever set here."""
    options(args, "ps", "nHkN")
    say("none")


def repair(root, args):
    """vhd-util repair: the footer again from its copy."""
    vhd = Vhd(root, options(args, "b", "n")["n"], "w")
    vhd.write_footer()
    vhd.close()


def scan(root, args):
    """vhd-util scan -f [-c] [-a] [-p] -m PATTERN -l VG: headers of LVs, straight from the PV, active or not."""
    wanted = options(args, "fcapvM", "ml")
    if "l" not in wanted:
        raise VhdError(errno.ENOSYS, "only volumes are scanned here")
    volumes = volumes_of(wanted["l"])
    names = sorted(name for name in volumes if fnmatch.fnmatchcase(name, wanted.get("m", "*")))
    queue = [(name, True) for name in names]
    failed = 0
    done = set()
    lines = []
    while queue:
        name, is_vhd = queue.pop(0)
        if name in done:
            continue
        done.add(name)
        parent, raw_parent, line, error = scan_volume(root, name, volumes.get(name), is_vhd, "M" in wanted)
        lines.append((name, parent, line))
        if "p" not in wanted:
            say(line)
        if error:
            failed = error
            if "c" not in wanted:
                break
        if "a" in wanted and parent and parent not in done:
            queue.append((parent, not raw_parent))
    if "p" in wanted:
        print_tree(lines)
    if failed:
        raise VhdError(errno.EAGAIN if "c" in wanted else failed, "")


def print_tree(lines):
    """The scan's lines, children indented under parents."""
    children = {}
    names = [name for name, _, _ in lines]
    for name, parent, line in lines:
        children.setdefault(parent if parent in names else None, []).append((name, line))

    def walk(parent, level):
        for name, line in sorted(children.get(parent, [])):
            say(" " * 3 * level + line)
            walk(name, level + 1)
    walk(None, 0)


def scan_volume(root, name, volume, is_vhd, markers):
    """(parent, parent is raw, line, errno) of one LV."""
    def error(code, message):
        return None, False, "vhd=%s scan-error=%d error-message='%s'" % (name, -code, message), code
    if volume is None:
        return error(errno.ENOENT, "failure scanning target")
    size, kind, device, start = volume
    if kind != "linear":
        return error(errno.ENOSYS, "failure scanning target")
    extra = "marker=0 keyhash= " if markers else ""
    if not is_vhd:
        return None, False, "vhd=%s capacity=%d size=%d hidden=1 %sparent=none" % (name, size, size, extra), 0
    try:
        fd = os.open(device, os.O_RDONLY)
    except OSError as e:
        return error(e.errno, "opening device")
    try:
        # vhd-util reads past the page cache, which does not see what is written through an LV
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(fd, start, os.SEEK_SET)
        data = os.read(fd, 3 * SECTOR)
    finally:
        os.close(fd)
    if not Vhd.valid(data[:SECTOR]):
        return error(errno.EINVAL, "invalid footer")
    footer = Footer(data[:SECTOR])
    header = Header(data[SECTOR:])
    if footer.type in (DYNAMIC, DIFFERENCING) and (header.cookie != b"cxsparse" or not header.good):
        return error(errno.EINVAL, "reading header")
    parent, raw = None, False
    if footer.type == DIFFERENCING:
        parent = volume_name(header.parent_name)
        raw = header.parent_uuid == b"\0" * 16
    line = "vhd=%s capacity=%d size=%d hidden=%d %sparent=%s" % (name, footer.curr_size, size, footer.hidden, extra, parent or "none")
    return parent, raw, line, 0


def volume_name(name):
    """The LV's name in a device-mapper name: after the last single dash, double dashes made single."""
    return name.replace("--", "\0").rsplit("-", 1)[-1].replace("\0", "-")


def volumes_of(vg):
    """LV name -> (bytes, segment type, device, first byte on it), from vgs and lvs as vhd-util calls them."""
    common = ["--noheadings", "--nosuffix", "--units=b", "--unbuffered"]
    places = {}
    extent = 0
    for line in output(["vgs", vg] + common + ["--options=vg_name,vg_extent_size,lv_count,pv_count,pv_name,pe_start"]):
        words = line.split()
        extent = int(words[1])
        places[words[4]] = int(words[5])
    volumes = {}
    for line in output(["lvs", vg] + common + ["--options=lv_name,lv_size,segtype,seg_count,seg_start,seg_size,devices"]):
        words = line.split()
        if words[4] != "0":
            continue
        device, first = words[6].rstrip(")").split("(")
        volumes[words[0]] = (int(words[1]), words[2], device, places[device] + int(first) * extent)
    return volumes


def output(command):
    """Lines that `command` prints; raises VhdError 22 when it prints none and fails."""
    with open(os.devnull, "w") as null:
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=null)
        except OSError as e:
            raise VhdError(e.errno, str(e))
        out = process.communicate()[0].decode("utf-8", "replace")
    if process.returncode and not out.strip():
        raise VhdError(errno.EINVAL, "%s failed" % command[0])
    return [line for line in out.splitlines() if line.strip()]


COMMANDS = {"query": query, "read": read, "check": check, "create": create, "snapshot": snapshot, "set": set_field,
            "modify": modify, "key": key, "repair": repair, "scan": scan}


def main(root, argv):
    """Run one vhd-util call; the exit status is an errno value."""
    args = [arg for arg in argv[1:] if arg != "--debug"]
    if not args or args[0] not in COMMANDS:
        say("usage: vhd-util COMMAND [OPTIONS]")
        return errno.EINVAL
    if os.path.exists(root + STATE_DIR):
        with State(root, readonly=True) as state:
            if state["native"]:
                root = ""
    try:
        COMMANDS[args[0]](root, args[1:])
    except VhdError as e:
        if str(e):
            say(str(e))
        return e.code
    except (KeyError, ValueError) as e:
        say("bad arguments: %s" % e)
        return errno.EINVAL
    return 0
