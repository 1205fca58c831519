# SPDX-License-Identifier: LGPL-2.1-only
"""iscsiadm: discovery, node records, login, logout, session list, in open-iscsi's formats.

Exit codes are open-iscsi's (include/iscsi_err.h): 4 connection failed, 6 invalid, 7 not found,
8 no such value, 15 session exists, 21 no records/sessions found, 24 login refused by authentication.
"""

import sys

from dom0.devices import Devices
from dom0.state import State

ERR_TRANSPORT = 4
ERR_INVALID = 7
ERR_SESSION_EXISTS = 15
ERR_NO_OBJECTS = 21
ERR_LOGIN_AUTH = 24

DEFAULT_SETTINGS = {
    "node.session.auth.authmethod": "None",
    "node.session.auth.username": "",
    "node.session.auth.password": "",
    "node.session.timeo.replacement_timeout": "120",
}


class Options(object):
    """The options of one call; names and values are kept in pairs as they come."""

    flags = {"-l": "login", "--login": "login", "-u": "logout", "--logout": "logout", "-S": "show",
             "-D": "discover", "--discover": "discover", "-R": "rescan", "--rescan": "rescan", "-h": "help",
             "--help": "help", "-s": "stats"}
    values = {"-m": "mode", "--mode": "mode", "-t": "type", "--type": "type", "-p": "portal", "--portal": "portal",
              "-T": "target", "--targetname": "target", "-I": "interface", "--interface": "interface",
              "-o": "op", "--op": "op", "-n": "name", "--name": "name", "-v": "value", "--value": "value",
              "-X": "chapuser", "-x": "chappass", "-P": "print", "-r": "sid", "-d": "debug", "-L": "all"}

    def __init__(self, args):
        self.pairs = []
        self.found = {}
        index = 0
        while index < len(args):
            arg = args[index]
            index += 1
            if arg in self.flags:
                self.found[self.flags[arg]] = True
                continue
            if arg not in self.values:
                raise ValueError("unknown option %s" % arg)
            value = args[index]
            index += 1
            key = self.values[arg]
            if key == "name":
                self.pairs.append([value, None])
            elif key == "value":
                self.pairs[-1][1] = value
            else:
                self.found[key] = value

    def __getattr__(self, key):
        return self.found.get(key)


def reachable(portal):
    """Whether something listens at `portal`."""
    import socket       # slow to import, and most calls do without

    ip, port = portal.rsplit(":", 1)
    try:
        socket.create_connection((ip, int(port)), timeout=5).close()
    except (IOError, OSError):
        return False
    return True


def full_portal(portal):
    """`portal` with the default port if it has none, without tpgt."""
    portal = portal.split(",")[0]
    if ":" not in portal:
        portal += ":3260"
    return portal


def complain(text, code):
    """Print `text` as iscsiadm does; returns `code`."""
    sys.stderr.write("iscsiadm: %s\n" % text)
    return code


def main(root, argv):
    """Run one iscsiadm call."""
    try:
        options = Options(argv[1:])
    except (ValueError, IndexError) as e:
        return complain(str(e), ERR_INVALID)
    if options.help:
        sys.stdout.write("iscsiadm -m discoverydb ...\niscsiadm -m discovery ...\niscsiadm -m node ...\n")
        return 0
    with State(root) as state:
        Devices(state).settle()
        run = {"discovery": discovery, "discoverydb": discovery, "node": node, "session": session,
               "iface": interfaces}.get(options.mode)
        if run is None:
            return complain("invalid mode", ERR_INVALID)
        if not state["services"]["iscsid"]:
            return complain("can not connect to iSCSI daemon (111)!", 20)
        return run(state, options)


def interfaces(state, options):
    """iscsiadm -m iface"""
    sys.stdout.write("default tcp,<empty>,<empty>,<empty>,<empty>\niser iser,<empty>,<empty>,<empty>,<empty>\n")
    return 0


def discovery(state, options):
    """iscsiadm -m discovery[db] -t st -p PORTAL: SendTargets; makes node records."""
    if options.mode == "discoverydb" and not options.discover:
        records = state.data.setdefault("discovery", {})
        records.setdefault(full_portal(options.portal), {}).update(dict(options.pairs))
        return 0
    portal = full_portal(options.portal)
    if not reachable(portal):
        return complain("cannot make connection to %s: Connection refused" % portal, ERR_TRANSPORT)
    found = []
    for iqn in sorted(state["targets"]):
        target = state["targets"][iqn]
        if portal in target["portals"]:
            found += [(address, target["tpgt"], iqn) for address in target["portals"]]
    if not found:
        return complain("No portals found", ERR_NO_OBJECTS)
    kept = []
    for record in state["nodes"]:
        if (record["portal"], record["tpgt"], record["iqn"]) not in found:
            kept.append(record)
    for address, tpgt, iqn in found:
        kept.append({"iqn": iqn, "portal": address, "tpgt": tpgt, "settings": dict(DEFAULT_SETTINGS)})
        sys.stdout.write("%s,%d %s\n" % (address, tpgt, iqn))
    state["nodes"] = kept
    return 0


def matching(state, options):
    """Node records that -T and -p choose."""
    wanted = []
    for record in state["nodes"]:
        if options.target and record["iqn"] != options.target:
            continue
        if options.portal and record["portal"] != full_portal(options.portal):
            continue
        wanted.append(record)
    return wanted


def node(state, options):
    """iscsiadm -m node: list, show, update, delete, login, logout."""
    records = matching(state, options)
    if not records:
        listing = len(options.found) == 1
        return complain("No records found", 0 if state.data.get("old_iscsiadm") and listing else ERR_NO_OBJECTS)
    if options.login:
        return login(state, records)
    if options.logout:
        return logout(state, records)
    if options.op == "update":
        for record in records:
            record["settings"].update(dict(options.pairs))
        return 0
    if options.op == "delete":
        for record in records:
            if any(s["iqn"] == record["iqn"] and s["portal"] == record["portal"] for s in state["sessions"]):
                return complain("This command will remove the record [...], but a session is using it.", ERR_SESSION_EXISTS)
        state["nodes"] = [record for record in state["nodes"] if record not in records]
        return 0
    if options.target and (options.show or options.op == "show" or options.portal):
        for record in records:
            sys.stdout.write("# BEGIN RECORD 2.0-873\nnode.name = %s\n" % record["iqn"])
            for key in sorted(record["settings"]):
                value = record["settings"][key]
                if "password" in key and not options.show:
                    value = value and "********"
                sys.stdout.write("%s = %s\n" % (key, value or "<empty>"))
            sys.stdout.write("# END RECORD\n")
        return 0
    for record in records:
        sys.stdout.write("%s,%d %s\n" % (record["portal"], record["tpgt"], record["iqn"]))
    return 0


def login(state, records):
    """Log in to every record; CHAP as the target wants it."""
    result = 0
    for record in records:
        if any(s["iqn"] == record["iqn"] and s["portal"] == record["portal"] for s in state["sessions"]):
            result = complain("default: 1 session requested, but 1 already present.", ERR_SESSION_EXISTS)
            continue
        where = "[iface: default, target: %s, portal: %s]" % (record["iqn"], record["portal"].replace(":", ","))
        sys.stdout.write("Logging in to %s\n" % where)
        target = state["targets"].get(record["iqn"])
        if target is None or not reachable(record["portal"]):
            result = complain("Could not login to %s." % where, 8)
            continue
        settings = record["settings"]
        if target.get("chap"):
            given = [settings.get("node.session.auth.username"), settings.get("node.session.auth.password")]
            if settings.get("node.session.auth.authmethod") != "CHAP" or given != target["chap"]:
                complain("Could not login to %s." % where, 0)
                result = complain("initiator reported error (24 - iSCSI login failed due to authorization failure)", ERR_LOGIN_AUTH)
                continue
        session_ = {"sid": state.next_number("sid"), "iqn": record["iqn"], "portal": record["portal"],
                    "host": state.next_number("host"), "tpgt": record["tpgt"]}
        state["sessions"].append(session_)
        Devices(state).add_session(session_)
        sys.stdout.write("Login to %s successful.\n" % where)
    return result


def logout(state, records):
    """Log out of every session of the records."""
    done = False
    for record in records:
        for session_ in list(state["sessions"]):
            if session_["iqn"] == record["iqn"] and session_["portal"] == record["portal"]:
                Devices(state).remove_session(session_)
                state["sessions"].remove(session_)
                sys.stdout.write("Logout of [sid: %d, target: %s, portal: %s] successful.\n"
                                 % (session_["sid"], session_["iqn"], session_["portal"].replace(":", ",")))
                done = True
    if not done:
        return complain("No matching sessions found", ERR_NO_OBJECTS)
    return 0


def session(state, options):
    """iscsiadm -m session: list, rescan."""
    sessions = state["sessions"]
    if options.sid:
        sessions = [s for s in sessions if str(s["sid"]) == options.sid.rsplit("/session", 1)[-1]]
    if not sessions:
        return complain("No active sessions.", 0 if state.data.get("old_iscsiadm") else ERR_NO_OBJECTS)
    if options.rescan:
        for session_ in sessions:
            Devices(state).rescan(session_)
        return 0
    if options.logout:
        for session_ in list(sessions):
            Devices(state).remove_session(session_)
            state["sessions"].remove(session_)
        return 0
    for session_ in sessions:
        sys.stdout.write("tcp: [%d] %s,%d %s (non-flash)\n"
                         % (session_["sid"], session_["portal"], session_["tpgt"], session_["iqn"]))
    return 0
