# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's vhdutil: vhd-util through its command line (sm-api, section 6.6)."""

import errno
import os
import re

import generation
import util
import xs_errors

MIN_VHD_SIZE = 2 * 1024 * 1024
MAX_VHD_SIZE = 2040 * 1024 * 1024 * 1024
MAX_CHAIN_SIZE = 30
VHD_UTIL = "/usr/bin/vhd-util"
OPT_LOG_ERR = "--debug"
VHD_BLOCK_SIZE = 2 * 1024 * 1024
VHD_FOOTER_SIZE = 512
LOCK_TYPE_SR = "sr"
VDI_TYPE_VHD = "vhd"
VDI_TYPE_RAW = "aio"
FILE_EXTN = {VDI_TYPE_VHD: ".vhd", VDI_TYPE_RAW: ".raw"}


class VHDInfo(object):
    """What vhd-util says of a VHD."""

    def __init__(self, uuid):
        self.uuid = uuid
        self.path = ""
        self.sizeVirt = -1
        self.sizePhys = -1
        self.hidden = False
        self.parentUuid = ""
        self.parentPath = ""
        self.error = 0


def calcOverheadEmpty(virtual_size):
    megabytes = virtual_size // (1024 * 1024)
    table = util.roundup(512, 3 * 1024 + megabytes // 2 * 4)
    return util.roundup(4096, table + megabytes // 2 // 8)


def calcOverheadBitmap(virtual_size):
    return -(-virtual_size // VHD_BLOCK_SIZE) * 4096


def calcOverheadFull(virtual_size):
    return calcOverheadEmpty(virtual_size) + calcOverheadBitmap(virtual_size)


def fullSizeVHD(virtual_size):
    return virtual_size + calcOverheadFull(virtual_size)


def ioretry(cmd, text=True):
    return util.ioretry(lambda: util.pread2(cmd, text=text), errlist=[errno.EIO, errno.EAGAIN], maxretry=generation.VHD_RETRIES)


def getVHDInfo(path, extractUuidFunction, includeParent=True):
    options = "-vsf" + ("p" if includeParent else "")
    lines = ioretry([VHD_UTIL, "query", OPT_LOG_ERR, options, "-n", path]).strip().split("\n")
    info = VHDInfo(extractUuidFunction(path))
    info.path = path
    info.sizeVirt, info.sizePhys = int(lines[0]) * 1024 * 1024, int(lines[1])
    rest = lines[2:]
    if includeParent:
        if "no parent" not in rest[0]:
            info.parentPath, info.parentUuid = rest[0], extractUuidFunction(rest[0])
        rest = rest[1:]
    info.hidden = int(rest[0].replace("hidden: ", ""))
    return info


def getVHDInfoLVM(lvName, extractUuidFunction, vgName):
    return _parseVHDInfo(ioretry([VHD_UTIL, "scan", "-f", "-l", vgName, "-m", lvName]), extractUuidFunction)


def getAllVHDs(pattern, extractUuidFunction, vgName=None, parentsOnly=False, exitOnError=False):
    cmd = [VHD_UTIL, "scan", "-f"]
    if generation.SCAN_NOFAIL_FIRST:
        cmd.append("-c")
    cmd += ["-m", pattern]
    if vgName:
        cmd += ["-l", vgName]
    if parentsOnly:
        cmd.append("-a")
    try:
        text = ioretry(cmd)
    except util.CommandException:
        if generation.SCAN_NOFAIL_FIRST:
            raise
        text = ioretry(cmd + ["-c"])
    found = {}
    for line in text.split("\n"):
        if not line.strip():
            continue
        info = _parseVHDInfo(line, extractUuidFunction)
        if info is None:
            util.SMlog("WARN: vhdinfo line doesn't parse correctly: %s" % line)
            continue
        if info.error and exitOnError:
            return {}
        found[info.uuid] = info
    return found


def _parseVHDInfo(line, extractUuidFunction):
    words = line.split()
    if not words or not words[0].startswith("vhd="):
        return None
    info = None
    for word in words:
        key, value = word.split("=", 1)
        if key == "vhd":
            uuid = extractUuidFunction(value)
            if not uuid:
                return None
            info = VHDInfo(uuid)
            info.path = value
        elif key == "scan-error":
            info.error = line
            util.SMlog("***** VHD scan error: %s" % line)
            break
        elif key == "capacity":
            info.sizeVirt = int(value)
        elif key == "size":
            info.sizePhys = int(value)
        elif key == "hidden":
            info.hidden = int(value)
        elif key == "parent" and value != "none":
            info.parentPath, info.parentUuid = value, extractUuidFunction(value)
    return info


def getParentChain(lvName, extractUuidFunction, vgName):
    found = getAllVHDs(lvName, extractUuidFunction, vgName, True)
    return dict((uuid, info.path) for uuid, info in found.items())


def getParent(path, extractUuidFunction):
    text = ioretry([VHD_UTIL, "query", OPT_LOG_ERR, "-p", "-n", path])
    if "query failed" in text or "Failed opening" in text:
        raise util.SMException("VHD query returned %s" % text)
    if "no parent" in text:
        return None
    return extractUuidFunction(text)


def hasParent(path):
    text = ioretry([VHD_UTIL, "read", OPT_LOG_ERR, "-p", "-n", path])
    kind = re.match(r".*Disk type\s+: (\S+) hard disk.*", text, re.S).group(1)
    if kind not in ("Differencing", "Dynamic"):
        raise AssertionError(kind)
    return kind == "Differencing"


def setParent(path, parentPath, parentRaw):
    if generation.SET_PARENT_RESOLVES:
        parentPath = util.get_real_path(parentPath)
    cmd = [VHD_UTIL, "modify", OPT_LOG_ERR, "-p", os.path.normpath(parentPath), "-n", path]
    ioretry(cmd + (["-m"] if parentRaw else []))


def getHidden(path):
    return int(ioretry([VHD_UTIL, "query", OPT_LOG_ERR, "-f", "-n", path]).split(":")[-1].strip())


def setHidden(path, hidden=True):
    ioretry([VHD_UTIL, "set", OPT_LOG_ERR, "-n", path, "-f", "hidden", "-v", "1" if hidden else "0"])


def getSizeVirt(path):
    return int(ioretry([VHD_UTIL, "query", OPT_LOG_ERR, "-v", "-n", path])) * 1024 * 1024


def getSizePhys(path):
    return int(ioretry([VHD_UTIL, "query", OPT_LOG_ERR, "-s", "-n", path]))


def setSizePhys(path, size, debug=True):
    ioretry([VHD_UTIL, "modify"] + ([OPT_LOG_ERR] if debug else []) + ["-s", str(size), "-n", path])


def getDepth(path):
    text = ioretry([VHD_UTIL, "query", OPT_LOG_ERR, "-d", "-n", path])
    return int(text.split(":")[1]) if text.startswith("chain depth:") else -1


def create(path, size, static, msize=0):
    cmd = [VHD_UTIL, "create", OPT_LOG_ERR, "-n", path, "-s", str(size // 1024 // 1024)]
    ioretry(cmd + (["-r"] if static else []) + (["-S", str(msize)] if msize else []))


def snapshot(path, parent, parentRaw, msize=0, checkEmpty=True):
    cmd = [VHD_UTIL, "snapshot", OPT_LOG_ERR, "-n", path, "-p", parent] + (["-m"] if parentRaw else [])
    ioretry(cmd + (["-S", str(msize)] if msize else []) + ([] if checkEmpty else ["-e"]))


def check(path, ignoreMissingFooter=False, fast=False):
    cmd = [VHD_UTIL, "check", OPT_LOG_ERR, "-n", path] + (["-i"] if ignoreMissingFooter else []) + (["-B"] if fast else [])
    try:
        ioretry(cmd)
    except util.CommandException:
        return False
    return True


def killData(path):
    ioretry([VHD_UTIL, "modify", OPT_LOG_ERR, "-z", "-n", path])


def validate_and_round_vhd_size(size):
    if size < 0 or size > MAX_VHD_SIZE:
        raise xs_errors.XenError("VDISize", opterr="VDI size must be between 1 MB and %d MB" % (MAX_VHD_SIZE // 1024 // 1024))
    return util.roundup(VHD_BLOCK_SIZE, max(size, MIN_VHD_SIZE))


def _getVHDParentNoCheck(path):
    for line in util.pread(["vhd-util", "read", "-p", "-n", path]).split("\n"):
        if "decoded name :" in line:
            name = line.split(":")[1].strip().replace("--", "-")[-40:]
            return name[1:] if name[1:].startswith("LV-") else name
    return None
