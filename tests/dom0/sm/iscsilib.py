# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's iscsilib: open-iscsi through iscsiadm (sm-api, section 7)."""

import glob
import os
import shutil
import sys

import generation
import lock
import util
import xs_errors
from cleanup import LOCK_TYPE_RUNNING

ROOT = os.environ.get("DOM0_ROOT", "")
INITIATORNAME_FILE = ROOT + "/etc/iscsi/initiatorname.iscsi"
ISCSI_DB = ROOT + "/var/lib/iscsi"
AUTH = ("authmethod", "username", "password", "username_in", "password_in")


def doexec_locked(cmd):
    running = lock.Lock(LOCK_TYPE_RUNNING, "iscsiadm")
    running.acquire()
    try:
        return util.doexec(cmd)
    finally:
        running.release()


def exn_on_failure(cmd, message):
    code, out, err = doexec_locked(cmd)
    if code:
        raise xs_errors.XenError("SMGeneral", opterr="rc: %d, stdout: %s, stderr: %s" % (code, out, err))
    return out, err


def text_of(value):
    """A CHAP value as an argument of a command."""
    return value.decode("utf-8") if isinstance(value, bytes) and sys.version_info[0] > 2 else value


def parse_IP_port(portal):
    address, port = portal.split(",")[0].rsplit(":", 1)
    return address.strip("[]"), port


def parse_node_output(text, targetIQN):
    found = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        record, iqn = line.split()[:2]
        portal, tpgt = record.split(",")
        if targetIQN in ("any", iqn) and (portal, tpgt, iqn) not in found:
            found.append((portal, tpgt, iqn))
    return found


def discovery(target, port, chapuser, chappass, targetIQN="any", interfaceArray=("default",)):
    where = ["-t", "st", "-p", "%s:%s" % (target, port)]
    for interface in interfaceArray:
        where += ["-I", interface]
    try:
        if chapuser and chappass:
            database = ["iscsiadm", "-m", "discoverydb"] + where
            exn_on_failure(database + ["-o", "new"], "Discovery failed")
            prefix = "discovery.sendtargets.auth."
            exn_on_failure(database + ["-o", "update", "-n", prefix + "authmethod", "-v", "CHAP", "-n", prefix + "username", "-v",
                                       text_of(chapuser), "-n", prefix + "password", "-v", text_of(chappass)], "Discovery failed")
            out = exn_on_failure(database + ["--discover"], "Discovery failed")[0]
        else:
            out = exn_on_failure(["iscsiadm", "-m", "discovery"] + where, "Discovery failed")[0]
    except Exception:
        raise xs_errors.XenError("ISCSILogin")
    return parse_node_output(out, targetIQN)


def get_node_records(targetIQN="any"):
    return parse_node_output(exn_on_failure(["iscsiadm", "-m", "node"], "Failed to obtain node records")[0], targetIQN)


def _set_chap(portal, target, values):
    for key, value in zip(AUTH, values):
        if value is not None:
            exn_on_failure(["iscsiadm", "-m", "node", "-p", portal, "-T", target, "--op", "update", "-n", "node.session.auth." + key,
                            "-v", text_of(value)], "Failed to set CHAP settings")


def login(portal, target, username, password, username_in="", password_in="", multipath=False):
    if username and password:
        _set_chap(portal, target, ["CHAP", username, password, username_in or None, password_in or None])
    else:
        _set_chap(portal, target, ["None", "", "", "", ""])
    timeout = "15" if multipath else "144"
    exn_on_failure(["iscsiadm", "-m", "node", "-T", target, "--op", "update", "-n", "node.session.timeo.replacement_timeout", "-v",
                    timeout], "Failed to set replacement timeout")
    try:
        exn_on_failure(["iscsiadm", "-m", "node", "-p", portal, "-T", target, "-l"], "Failed to login to target.")
    except Exception:
        raise xs_errors.XenError("ISCSILogin")


def logout(portal, target, all=False):
    where = [] if all else ["-p", portal]
    try:
        exn_on_failure(["iscsiadm", "-m", "node"] + where + ["-T", target, "-u"], "Failed to log out of target")
    except Exception:
        raise xs_errors.XenError("ISCSILogout")


def delete(target):
    try:
        exn_on_failure(["iscsiadm", "-m", "node", "-o", "delete", "-T", target], "Failed to delete target")
    except Exception:
        raise xs_errors.XenError("ISCSIDelete")


def is_iscsi_daemon_running():
    return util.doexec(["/sbin/pidof", "-s", "/sbin/iscsid"])[0] == 0


def _sessions():
    """Lines of the session list."""
    try:
        return exn_on_failure(["iscsiadm", "-m", "session"], "Failure occured querying iscsi daemon")[0].split("\n")
    except Exception:
        if generation.SESSION_LIST_MUST_WORK:
            raise
        return []


def _checkTGT(tgtIQN, tgt=""):
    if not is_iscsi_daemon_running():
        return False
    for line in _sessions():
        if line.startswith("tcp:") and tgtIQN in ("any", line.split(",")[1].split()[1]) and tgt in line:
            return True
    return False


def _checkAnyTGT():
    return is_iscsi_daemon_running() and any(line.startswith("tcp:") for line in _sessions())


def get_current_initiator_name():
    try:
        with open(INITIATORNAME_FILE) as f:
            for line in f:
                if "InitiatorName" in line and not line.strip().startswith("#"):
                    return line.split("=")[1].strip()
    except IOError:
        pass
    return None


def set_current_initiator_name(localIQN):
    try:
        with open(INITIATORNAME_FILE, "w") as f:
            f.write("InitiatorName=%s\n" % localIQN)
    except IOError:
        raise xs_errors.XenError("ISCSIInitiator", opterr="Could not set initator name")


def restart_daemon():
    if is_iscsi_daemon_running():
        exn_on_failure(["service", "iscsid", "stop"], "Failed to stop iscsi daemon")
    shutil.rmtree(ISCSI_DB + "/nodes", ignore_errors=True)
    exn_on_failure(["service", "iscsid", "start"], "Failed to start iscsi daemon")


def ensure_daemon_running_ok(localiqn):
    if is_iscsi_daemon_running():
        if get_current_initiator_name() == localiqn:
            return
        if _checkAnyTGT():
            raise xs_errors.XenError("ISCSIInitiator", opterr="Daemon already running with target(s) attached using different IQN")
    set_current_initiator_name(localiqn)
    restart_daemon()


def get_IQN_paths():
    return glob.glob(ROOT + "/sys/class/iscsi_host/host*/device/session*/iscsi_session/session*/")


def get_targetIQN(iscsi_host):
    path = "%s/sys/class/iscsi_host/host%s/device/session*/iscsi_session/session*/targetname" % (ROOT, iscsi_host)
    return util.get_single_entry(glob.glob(path)[0])


def get_targetIP_and_port(iscsi_host):
    base = "%s/sys/class/iscsi_host/host%s/device/session*/connection*/iscsi_connection/connection*/persistent_" % (ROOT, iscsi_host)
    return tuple(util.get_single_entry(glob.glob(base + key)[0]) for key in ("address", "port"))


def get_iscsi_interfaces():
    found = []
    for line in exn_on_failure(["iscsiadm", "-m", "iface"], "Failure occured querying iscsi daemon")[0].split("\n"):
        if line.startswith("c_") and len(line.split(" ")) == 2:
            found.append(line.split(" ")[0])
    return found or ["default"]


def wait_for_devs(targetIQN, portal):
    return util.wait_for_path(os.path.join(ROOT + "/dev/iscsi", targetIQN, portal), 15)


def refresh_luns(targetIQN, portal):
    """Scan the host of a session."""
    wait_for_devs(targetIQN, portal)
    for path in glob.glob(ROOT + "/sys/class/iscsi_host/host*"):
        number = os.path.basename(path)[len("host"):]
        if get_targetIQN(number) == targetIQN and ":".join(get_targetIP_and_port(number)) == portal:
            with open("%s/sys/class/scsi_host/host%s/scan" % (ROOT, number), "w") as f:
                f.write("- - -\n")
            util.sleep(2)
