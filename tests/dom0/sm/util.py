# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's util (sm-api, section 8.1)."""

import errno
import glob
import os
import re
import socket
import subprocess
import sys
import syslog
import time
import traceback

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import generation
import XenAPI
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
ISCSI_REFDIR = ROOT + generation.RUN_DIRECTORY + "/sr-ref"
INVENTORY = ROOT + "/etc/xensource-inventory"
CMD_DD = "/bin/dd"
LOG_INFO = syslog.LOG_INFO
LOG_DEBUG = syslog.LOG_DEBUG
LOG_WARNING = syslog.LOG_WARNING
LOG_ERR = syslog.LOG_ERR
IORETRY_MAX = 20
IORETRY_PERIOD = 1.0
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
VDI_COMMANDS_WITHOUT_SR = (None, "vdi_attach", "vdi_detach", "vdi_activate", "vdi_deactivate", "vdi_epoch_begin", "vdi_epoch_end")


class SMException(Exception):
    """Base of sm's own errors."""


class CommandException(SMException):
    """A command failed: exit status `code`, the command as text, and what it wrote."""

    def __init__(self, code, cmd="", reason="exec failed"):
        self.code = code
        self.cmd = cmd
        self.reason = reason
        Exception.__init__(self, os.strerror(abs(code)))


class SRBusyException(SMException):
    """The SR is locked by someone else."""


def sleep(seconds):
    """time.sleep, shortened by DOM0_SLEEP in a double; with DOM0_SETTLE it also lasts until udev has nothing left to do."""
    time.sleep(seconds * float(os.environ.get("DOM0_SLEEP", "1")))
    if "DOM0_SETTLE" in os.environ:
        subprocess.call(["/sbin/udevadm", "settle"])


def SMlog(message, ident="SM", priority=LOG_INFO):
    for line in str(message).split("\n"):
        if ROOT:
            with open(ROOT + "/var/log/SMlog", "a") as log:
                log.write("%s: [%d] %s\n" % (ident, os.getpid(), line))
        else:
            syslog.openlog(ident, 0, syslog.LOG_LOCAL2)
            syslog.syslog(priority, "[%d] %s" % (os.getpid(), line))
            syslog.closelog()


def logException(tag):
    kind, value, trace = sys.exc_info()
    if kind is SystemExit:
        sys.exit(0)
    SMlog("***** %s: EXCEPTION %s, %s\n%s" % (tag, kind, value, "".join(traceback.format_tb(trace))))


def is_string(value):
    try:
        return isinstance(value, basestring)
    except NameError:
        return isinstance(value, str)


def to_plain_string(obj):
    if obj is None or isinstance(obj, str):
        return obj
    if sys.version_info[0] < 3 and isinstance(obj, type(u"")):
        return obj.encode("utf-8")
    return str(obj)


def unictrunc(string, max_bytes):
    """How many bytes of UTF-8 `string` fit into `max_bytes` without cutting a character."""
    data = string if isinstance(string, bytes) else string.encode("utf-8")
    if len(data) <= max_bytes:
        return len(data)
    length = max_bytes
    while length and (bytearray(data)[length] & 0xc0) == 0x80:
        length -= 1
    return length


def roundup(divisor, value):
    value = int(value) or 1
    return -(-value // divisor) * divisor


def _standin(command):
    """A dom0 command as it is found in a double."""
    if ROOT and command.startswith("/") and not command.startswith(ROOT) and os.path.exists(ROOT + command):
        return ROOT + command
    return command


def doexec(args, inputtext=None, new_env=None, text=True):
    environment = None
    if new_env:
        environment = dict(os.environ)
        environment.update(new_env)
    args = [arg.decode("utf-8") if sys.version_info[0] > 2 and isinstance(arg, bytes) else arg for arg in args]
    process = subprocess.Popen([_standin(args[0])] + args[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               close_fds=True, env=environment)
    if inputtext is not None and not isinstance(inputtext, bytes):
        inputtext = inputtext.encode("utf-8")
    out, err = process.communicate(inputtext)
    if sys.version_info[0] > 2 and text:
        out, err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    return process.returncode, out, err


def pread(cmdlist, close_stdin=False, scramble=None, expect_rc=0, quiet=False, new_env=None, text=True):
    real, logged = [], []
    for item in cmdlist:
        if not (is_string(item) or isinstance(item, bytes)):
            item, shown = item[0], item[1]
        else:
            shown = item
        real.append(item)
        logged.append("<filtered out>" if scramble and scramble in shown else shown)
    if not quiet:
        SMlog(logged)
    code, out, err = doexec(real, new_env=new_env, text=text)
    if code != expect_rc:
        SMlog("FAILED in util.pread: (rc %d) stdout: '%s', stderr: '%s'" % (code, out, err))
        raise CommandException(code, str(cmdlist), (err or out).strip())
    if not quiet:
        SMlog("  pread SUCCESS")
    return out


def pread2(cmdlist, quiet=False, text=True):
    return pread(cmdlist, quiet=quiet, text=text)


def pread3(cmdlist, text):
    SMlog(cmdlist)
    code, out, err = doexec(cmdlist, text)
    if code:
        SMlog("FAILED in util.pread3: (errno %d) stdout: '%s', stderr: '%s'" % (code, out, err))
        raise CommandException(code, str(cmdlist), (err or out).strip())
    SMlog("  pread3 SUCCESS")
    return out


def listdir(path, quiet=False):
    try:
        text = pread2(["ls", path, "-1", "--color=never"], quiet)
    except CommandException:
        problem = sys.exc_info()[1]
        raise CommandException(errno.EIO if problem.code == errno.ENOENT else problem.code, problem.cmd, problem.reason)
    return [name for name in text.split("\n") if name]


def gen_uuid():
    return pread(["uuidgen", "-r"])[:-1]


def match_uuid(s):
    return re.match(UUID, s)


def findall_uuid(s):
    return re.findall(UUID, s)


def exactmatch_uuid(s):
    return re.match(UUID + "$", s)


def ioretry(f, errlist=(errno.EIO,), maxretry=IORETRY_MAX, period=IORETRY_PERIOD, **ignored):
    for attempt in range(maxretry):
        try:
            return f()
        except OSError:
            problem = sys.exc_info()[1]
            problem = CommandException(problem.errno, str(f), "OSError")
        except CommandException:
            problem = sys.exc_info()[1]
        if problem.code not in errlist:
            raise problem
        sleep(period)
    raise problem


def retry(f, maxretry=20, period=1.0):
    for attempt in range(maxretry):
        try:
            return f()
        except CommandException:
            if attempt == maxretry - 1:
                raise
            sleep(period)


def pathexists(path):
    return os.path.lexists(path)


def wait_for_path(path, timeout):
    for second in range(timeout):
        if glob.glob(path):
            return True
        sleep(1)
    return False


def wait_for_nopath(path, timeout):
    for second in range(timeout):
        if not os.path.exists(path):
            return True
        sleep(1)
    return False


def force_unlink(path):
    try:
        os.unlink(path)
    except OSError:
        if sys.exc_info()[1].errno != errno.ENOENT:
            raise


def makedirs(name, mode=0o777):
    try:
        os.makedirs(name, mode)
    except OSError:
        if sys.exc_info()[1].errno != errno.EEXIST:
            raise


def zeroOut(path, fromByte, length):
    try:
        with open(path, "r+b") as f:
            f.seek(fromByte)
            while length:
                chunk = min(length, 1 << 20)
                f.write(b"\0" * chunk)
                length -= chunk
    except IOError:
        return False
    return True


def get_single_entry(path):
    with open(path) as f:
        return f.readline().rstrip()


def get_real_path(path):
    while os.path.islink(path):
        path = os.path.join(os.path.dirname(path), os.readlink(path))
    return path


def extractSRFromDevMapper(path):
    """The SR uuid in a name below /dev/mapper; '' if it is not an SR's."""
    name = os.path.basename(path)
    match = re.match("(?:VG_XenStorage|VG_XenStorage-)--(" + UUID.replace("-[", "--[") + ")-(?!-)", name)
    return match.group(1).replace("--", "-") if match else ""


def doesFileHaveOpenHandles(fileName):
    target = os.path.realpath(fileName)
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(fd) == target:
                return True
        except OSError:
            continue
    return False


def _inventory(key):
    with open(INVENTORY) as f:
        for line in f:
            if line.startswith(key):
                return line.split("'")[1]
    return None


def getrootdev():
    device = _inventory("PRIMARY_DISK")
    if not device:
        raise xs_errors.XenError("Rootdev")
    return device


def dom0_disks():
    return [os.path.realpath(getrootdev())]


def diskFromPartition(partition):
    return re.sub("[0-9]+$", "", partition) if not re.match("(/dev/)?dm-", partition) else partition


def set_scheduler(dev, str):
    path = "%s/sys/block/%s/queue/scheduler" % (ROOT, dev)
    if os.path.exists(path):
        try:
            with open(path, "w") as f:
                f.write("%s\n" % str)
        except (IOError, OSError):
            SMlog("set_scheduler: %s: %s" % (path, sys.exc_info()[1]))


def get_localAPI_session():
    session = XenAPI.xapi_local()
    try:
        session.xenapi.login_with_password("root", "", "", "SM")
    except (XenAPI.Failure, socket.error):
        raise xs_errors.XenError("APISession")
    return session


def get_this_host():
    return _inventory("INSTALLATION_UUID")


def get_this_host_ref(session):
    return session.xenapi.host.get_by_uuid(get_this_host())


def is_master(session):
    pool = session.xenapi.pool.get_all()[0]
    return get_this_host_ref(session) == session.xenapi.pool.get_master(pool)


def get_localhost_ref(session):
    domain = _inventory("CONTROL_DOMAIN_UUID")
    records = session.xenapi.VM.get_all_records_where('field "uuid" = "%s"' % domain)
    for ref in records:
        return records[ref]["resident_on"]
    raise xs_errors.XenError("APILocalhost")


get_localhost_uuid = get_localhost_ref


def get_all_slaves(session):
    master = get_this_host_ref(session)
    return [ref for ref in session.xenapi.host.get_all_records() if ref != master]


def get_secret(session, uuid):
    try:
        return session.xenapi.secret.get_value(session.xenapi.secret.get_by_uuid(uuid))
    except (XenAPI.Failure, socket.error):
        raise xs_errors.XenError("InvalidSecret", opterr="Unable to look up secret [%s]" % uuid)


def find_my_pbd_record(session, host_ref, sr_ref):
    try:
        records = session.xenapi.PBD.get_all_records()
        for ref in records:
            if records[ref]["host"] == host_ref and records[ref]["SR"] == sr_ref:
                return [ref, records[ref]]
    except Exception:
        SMlog("Caught exception while looking up PBD for host %s SR %s: %s" % (host_ref, sr_ref, sys.exc_info()[1]))
    return None


def find_my_pbd(session, host_ref, sr_ref):
    found = find_my_pbd_record(session, host_ref, sr_ref)
    return found and found[0]


def set_dirty(session, sr_ref):
    try:
        session.xenapi.SR.add_to_other_config(sr_ref, "dirty", "")
    except XenAPI.Failure:
        SMlog("Failed to add other-config:dirty to SR %s" % sr_ref)


def test_SCSIid(session, sr_uuid, SCSIid):
    own = None
    if sr_uuid is not None:
        own = session.xenapi.SR.get_by_uuid(sr_uuid)
    records = session.xenapi.PBD.get_all_records()
    for ref in records:
        record = records[ref]
        if own is not None and record["SR"] == own:
            break       # sm's own bug: the records behind it are never looked at
        sm_config = session.xenapi.SR.get_sm_config(record["SR"])
        if record["device_config"].get("SCSIid") == SCSIid or sm_config.get("SCSIid") == SCSIid or "scsi-" + SCSIid in sm_config:
            return True
    return False


def test_hostPBD_devs(session, sr_uuid, devs):
    host = get_localhost_ref(session)
    own = session.xenapi.SR.get_by_uuid(sr_uuid)
    records = session.xenapi.PBD.get_all_records()
    for device in devs.split(","):
        for ref in records:
            record = records[ref]
            if record["SR"] == own:
                break
            if record["host"] == host:
                for other in record["device_config"].get("device", "").split(","):
                    if other and os.path.realpath(other) == os.path.realpath(device):
                        return True
    return False


def test_scsiserial(session, device):
    import scsiutil
    try:
        scsi_id = scsiutil.getSCSIid(device)
    except CommandException:
        return False
    records = session.xenapi.SR.get_all_records()
    for ref in records:
        for serial in records[ref]["sm_config"].get("devserial", "").split(","):
            if serial.startswith("scsi-") and re.search(scsi_id, serial):
                return True
    return False


def list_VDI_records_in_sr(sr):
    ref = sr.session.xenapi.SR.get_by_uuid(sr.uuid)
    return sr.session.xenapi.VDI.get_all_records_where('field "SR" = "%s"' % ref)


def sr_get_capability(sr_uuid):
    session = get_localAPI_session()
    record = session.xenapi.SR.get_record(session.xenapi.SR.get_by_uuid(sr_uuid))
    managers = session.xenapi.SM.get_all_records_where('field "type" = "%s"' % record["type"])
    session.xenapi.session.logout()
    for ref in managers:
        return managers[ref]["capabilities"]
    return []


def sr_get_driver_info(driver_info):
    answer = {}
    for key in ("name", "description", "vendor", "copyright", "driver_version", "required_api_version"):
        answer[key] = driver_info[key]
    capabilities = driver_info["capabilities"]
    if "ATOMIC_PAUSE" in capabilities:
        for capability in ("VDI_ACTIVATE", "VDI_DEACTIVATE"):
            if capability not in capabilities:
                capabilities.append(capability)
    answer["capabilities"] = capabilities
    answer["configuration"] = [{"key": key, "description": text} for key, text in driver_info["configuration"]]
    return xmlrpclib.dumps((answer,), "", True)


def return_nil():
    return xmlrpclib.dumps((None,), "", True, allow_none=True)


def isVDICommand(cmd):
    return cmd in VDI_COMMANDS_WITHOUT_SR


def hidePasswdInParams(params, key):
    """`params` with the passwords under `key` masked, in a copy of that part only."""
    masked = dict(params[key])
    for name in masked:
        if "password" in name and not name.endswith("_secret"):
            masked[name] = "******"
    params[key] = masked
    return repr(params)


def sessions_less_than_targets(other_config, device_config):
    if "multihomelist" in device_config and "iscsi_sessions" in other_config:
        return int(other_config["iscsi_sessions"]) < len(device_config["multihomelist"].split(","))
    return False


def _convertDNS(name):
    return socket.getaddrinfo(name, None)[0][4][0]


def _testHost(hostname, port, errstring):
    SMlog("_testHost: Testing host/port: %s,%d" % (hostname, port))
    try:
        address = socket.getaddrinfo(hostname, int(port))[0]
    except socket.error:
        raise xs_errors.XenError("DNSError")
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    sock.settimeout(5)
    try:
        try:
            sock.connect(address[4])
            sock.send(b"\n")
        except socket.error:
            SMlog("_testHost: Connect failed (%s) - %s" % (hostname, sys.exc_info()[1]))
            raise xs_errors.XenError(errstring)
    finally:
        sock.close()


def _incr_iscsiSR_refcount(targetIQN, uuid):
    """Add `uuid` to the set of SRs that use the session; the size of the set."""
    if not os.path.exists(ISCSI_REFDIR):
        os.mkdir(ISCSI_REFDIR)
    path = os.path.join(ISCSI_REFDIR, targetIQN)
    try:
        users = _users(path)
        if uuid not in users:
            with open(path, "a") as f:
                f.write("%s\n" % uuid)
            users.append(uuid)
    except IOError:
        raise xs_errors.XenError("LVMRefCount", opterr="file %s" % path)
    return len(users)


def _decr_iscsiSR_refcount(targetIQN, uuid):
    """Take `uuid` out of the set; how many are left."""
    path = os.path.join(ISCSI_REFDIR, targetIQN)
    if not os.path.exists(path):
        return 0
    users = [user for user in _users(path) if user != uuid]
    if not users:
        os.unlink(path)
        return 0
    with open(path, "w") as f:
        for user in users:
            f.write("%s\n" % user)
    return len(users)


def _users(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [line.strip() for line in f if match_uuid(line)]


def _containsVDIinuse(srobj):
    """Whether a disk of the iSCSI object is dom0's root disk or carries a VDI of LUN-per-VDI: never here."""
    return False


def remove_mpathcount_field(session, host_ref, sr_ref, SCSIid):
    pbd = find_my_pbd(session, host_ref, sr_ref)
    if pbd is not None:
        session.xenapi.PBD.remove_from_other_config(pbd, "mpath-" + SCSIid)
