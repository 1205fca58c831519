# SPDX-License-Identifier: LGPL-2.1-only
"""The guest's iSCSI initiator: open-iscsi."""

import os
import re
import subprocess

from inside.command import attempt, run, wait_until

INITIATOR_NAME = "iqn.2024-01.test.guest:initiator"


def start(name=INITIATOR_NAME):
    """Starts iscsid under this initiator name; returns its Popen."""
    os.makedirs("/run/lock/iscsi", exist_ok=True)
    with open("/etc/iscsi/initiatorname.iscsi", "w") as config:
        config.write(f"InitiatorName={name}\n")
    with open("/etc/iscsi/iscsid.conf", "a") as config:
        # an emulated host on a busy machine may not answer for longer than a ping may take
        config.write("node.conn[0].timeo.noop_out_interval = 0\nnode.conn[0].timeo.noop_out_timeout = 0\n")
    # In a session of its own: when told to end, it ends its whole process group.
    daemon = subprocess.Popen(["iscsid", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    # 21 is "no objects found": the daemon is there and has no session.
    wait_until(lambda: attempt("iscsiadm", "-m", "session").returncode in (0, 21), "iscsid")
    return daemon


def discover(portal="127.0.0.1:3260"):
    """Asks a portal for its targets, which become node records; {IQN: [portal, ...]}."""
    found = {}
    for line in run("iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", portal).splitlines():
        address, iqn = line.split()
        found.setdefault(iqn, []).append(address.split(",")[0])
    return found


def set_chap(iqn, user, secret, incoming=None):
    """Puts CHAP credentials into the node records of a target; `incoming` is what the target must prove."""
    values = [("authmethod", "CHAP"), ("username", user), ("password", secret)]
    if incoming:
        values += [("username_in", incoming[0]), ("password_in", incoming[1])]
    for name, value in values:
        run("iscsiadm", "-m", "node", "-T", iqn, "-o", "update", "-n", "node.session.auth." + name, "-v", value)


def login(iqn, portal=None):
    """Logs in to one portal of a target, or to all that were discovered, and waits for udev."""
    run("iscsiadm", "-m", "node", "-T", iqn, *(("-p", portal) if portal else ()), "--login")
    settle()


def logout(iqn, portal=None):
    """Ends the sessions with a target (and waits for udev)."""
    run("iscsiadm", "-m", "node", "-T", iqn, *(("-p", portal) if portal else ()), "--logout")
    settle()


def forget(iqn):
    """Deletes the node records of a target."""
    run("iscsiadm", "-m", "node", "-T", iqn, "-o", "delete")


def rescan():
    """Looks for new LUNs in all sessions."""
    run("iscsiadm", "-m", "session", "--rescan")
    settle()


def sessions():
    """{session id: (portal, IQN)} of the sessions that exist."""
    done = attempt("iscsiadm", "-m", "session")
    pattern = re.compile(r"tcp: \[(\d+)\] ([^,]+),\d+ (\S+)")
    return {int(sid): (portal, iqn) for sid, portal, iqn in pattern.findall(done.stdout)}


def settle():
    run("udevadm", "settle", "--timeout=300")
