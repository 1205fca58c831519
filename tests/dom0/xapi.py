# SPDX-License-Identifier: LGPL-2.1-only
"""The toolstack of a dom0 double: xapi's database behind its unix socket, and how xapi runs SR drivers.

    with Xapi(world) as xapi:
        uuid = xapi.sr_introduce("lvmoiscsi", sr_uuid, name_label="SR")
        pbd = xapi.pbd_create(uuid, world.device_config(iqn, scsi_id))
        xapi.pbd_plug(pbd)

Facts: ocaml/xapi/sm_exec.ml, xapi_sr.ml, message_forwarding.ml (packaging notes, sections 3 and 6). A driver gets one argument,
an XML-RPC call of one struct; it answers on stdout. What a call raises is an `XapiError` with xapi's error code and
parameters; ``error.xe()`` is the text that `xe` prints. Every run of a driver is kept in ``xapi.runs``.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import uuid as uuids

try:
    from xmlrpc import client as xmlrpc_client
    from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler
    from socketserver import ThreadingMixIn, UnixStreamServer
except ImportError:
    import xmlrpclib as xmlrpc_client
    from SimpleXMLRPCServer import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler
    from SocketServer import ThreadingMixIn, UnixStreamServer

SOCKET = "/var/lib/xcp/xapi"
DRIVER_DIRECTORY = "/opt/xensource/sm"
NULL = "OpaqueRef:NULL"

MAPS = {
    "host": ["other_config"],
    "SR": ["sm_config", "other_config", "blobs"],
    "PBD": ["device_config", "other_config"],
    "VDI": ["sm_config", "other_config", "xenstore_data"],
}
TYPED_FAULTS = {24: "VDI_IN_USE", 16: "SR_DEVICE_IN_USE", 38: "SR_OPERATION_NOT_SUPPORTED", 39: "SR_NOT_EMPTY", 144: "VDI_MISSING"}


class XapiError(Exception):
    """A XenAPI failure: `code` and `params`."""

    def __init__(self, code, *params):
        Exception.__init__(self, code, *params)
        self.code = code
        self.params = [param if isinstance(param, type(u"")) else str(param) for param in params]

    def xe(self):
        """What xe prints on stderr."""
        if self.code == "SR_BACKEND_FAILURE":
            names = ("status", "stdout", "stderr")
            return "There was an SR backend failure.\n" + "".join("%s: %s\n" % pair for pair in zip(names, self.params))
        return "Error code: %s\nError parameters: %s\n" % (self.code, ", ".join(self.params))

    def __str__(self):
        text = u"%s(%s)" % (self.code, u", ".join(self.params))
        return text if isinstance(text, str) else text.encode("utf-8")


class XapiCrashed(Exception):
    """xapi was killed in the middle of a call (`Xapi.crash_next`); `error` is what the driver had answered."""

    def __init__(self, error):
        Exception.__init__(self, str(error))
        self.error = error


class Run(object):
    """One run of a driver: `command` (sr_create, ...), `argument` (the XML), exit `status`, `stdout`, `stderr`, `sr_uuid`."""

    def __init__(self, command, argument, status, stdout, stderr, sr_uuid):
        self.command = command
        self.argument = argument
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        self.sr_uuid = sr_uuid


class Database(object):
    """The pool's records. References are 'OpaqueRef:' and a uuid of their own."""

    def __init__(self):
        self.lock = threading.RLock()
        self.tables = {}
        self.sessions = {}

    def insert(self, table, record):
        """Add `record` to `table`; its reference."""
        with self.lock:
            record.setdefault("uuid", str(uuids.uuid4()))
            for other in self.tables.setdefault(table, {}).values():
                if other["uuid"] == record["uuid"]:
                    raise XapiError("INTERNAL_ERROR", "Db_exn.Uniqueness_constraint_violation(%s, uuid, %s)" % (table, record["uuid"]))
            ref = "OpaqueRef:" + str(uuids.uuid4())
            self.tables[table][ref] = record
            return ref

    def get(self, table, ref):
        """The record; XapiError HANDLE_INVALID."""
        with self.lock:
            try:
                return self.tables.get(table, {})[ref]
            except KeyError:
                raise XapiError("HANDLE_INVALID", table, ref)

    def find(self, table, uuid):
        """The reference of the record with this uuid; XapiError UUID_INVALID."""
        with self.lock:
            for ref, record in self.tables.get(table, {}).items():
                if record["uuid"] == uuid:
                    return ref
        raise XapiError("UUID_INVALID", table, uuid)

    def delete(self, table, ref):
        """Remove the record."""
        with self.lock:
            self.get(table, ref)
            del self.tables[table][ref]

    def all(self, table):
        """Reference -> record."""
        with self.lock:
            return dict(self.tables.get(table, {}))


class Dispatcher(object):
    """XenAPI calls as sm makes them, over the database."""

    def __init__(self, xapi):
        self.xapi = xapi
        self.db = xapi.db

    def _dispatch(self, method, params):
        try:
            value = self.call(method, list(params))
        except XapiError as e:
            return {"Status": "Failure", "ErrorDescription": [e.code] + e.params}
        except Exception as e:
            return {"Status": "Failure", "ErrorDescription": ["INTERNAL_ERROR", repr(e)]}
        return {"Status": "Success", "Value": "" if value is None else value}

    def call(self, method, params):
        """One call; `params` begins with the session except for logins."""
        self.xapi.calls.append((method, params[1:]))
        table, name = method.split(".", 1)
        if method == "session.login_with_password":
            return self.xapi.new_session(None)
        if table == "Async":
            # done before the answer: what the call itself says is thrown away, as is what a task would say
            return self.asynchronous(name, params)
        session = params.pop(0)
        if session not in self.db.sessions:
            raise XapiError("SESSION_INVALID", session)
        if method == "session.logout":
            del self.db.sessions[session]
            return ""
        special = getattr(self, "%s_%s" % (table, name), None) or self.xapi.more_calls.get(method)
        if special is not None:
            return special(session, *params)
        return self.generic(session, table, name, params)

    def asynchronous(self, name, params):
        """Async.SR.update and the like: the reference of a task that has ended."""
        try:
            self.call(name, params)
            status = "success"
        except XapiError as error:
            status = "success" if error.code == "MESSAGE_METHOD_UNKNOWN" else "failure"
        return self.db.insert("task", {"status": status, "result": "", "error_info": [], "progress": "1.0"})

    def generic(self, session, table, name, params):
        """get_all..., get_by_uuid, get_FIELD, set_FIELD, add_to_MAP, remove_from_MAP."""
        db = self.db
        if name == "get_all":
            return sorted(db.all(table))
        if name == "get_all_records":
            return dict((ref, outgoing(record)) for ref, record in db.all(table).items())
        if name == "get_all_records_where":
            return dict((ref, outgoing(record)) for ref, record in db.all(table).items() if matches(record, params[0]))
        if name == "get_by_uuid":
            return db.find(table, params[0])
        if name == "get_by_name_label":
            return [ref for ref, record in db.all(table).items() if record.get("name_label") == params[0]]
        ref = params[0]
        with db.lock:
            record = db.get(table, ref)
            if name == "get_record":
                return outgoing(record)
            if name.startswith("get_"):
                if name[4:] not in record:
                    raise XapiError("MESSAGE_METHOD_UNKNOWN", "%s.%s" % (table, name))
                return outgoing(record[name[4:]])
            self.permit(session, table, record, ref)
            if name.startswith("set_") and name[4:] in record:
                record[name[4:]] = params[1]
                return ""
            if name.startswith("add_to_") and name[7:] in MAPS.get(table, []):
                if params[1] in record[name[7:]]:
                    raise XapiError("MAP_DUPLICATE_KEY", table, name[7:], ref, params[1])
                record[name[7:]][params[1]] = params[2]
                return ""
            if name.startswith("remove_from_") and name[12:] in MAPS.get(table, []):
                record[name[12:]].pop(params[1], None)
                return ""
        raise XapiError("MESSAGE_METHOD_UNKNOWN", "%s.%s" % (table, name))

    def permit(self, session, table, record, ref):
        """A driver's session may change its own SR and that SR's VDIs only."""
        mine = self.db.sessions[session]
        other = ref if table == "SR" else record.get("SR") if table == "VDI" else None
        if mine is not None and other is not None and other != mine:
            raise XapiError("PERMISSION_DENIED", "%s %s" % (table, ref))

    def pool_get_master(self, session, pool):
        return self.db.get("pool", pool)["master"]

    def host_call_plugin(self, session, host, plugin, function, args):
        self.db.get("host", host)
        self.xapi.plugin_calls.append((host, plugin, function, args))
        answer = self.xapi.plugin_answers.get((plugin, function), "True")
        if callable(answer):
            answer = answer(host, args)
        return answer

    def task_create(self, session, label, description):
        return self.db.insert("task", {"name_label": label, "name_description": description, "status": "pending", "progress": 0.0,
                                       "result": "", "error_info": [], "other_config": {}})

    def task_destroy(self, session, task):
        self.db.delete("task", task)
        return ""

    def task_cancel(self, session, task):
        return ""

    def message_create(self, session, name, priority, kind, uuid, body):
        return self.db.insert("message", {"name": name, "priority": priority, "cls": kind, "obj_uuid": uuid, "body": body})

    def secret_create(self, session, record):
        return self.db.insert("secret", {"value": record["value"], "other_config": {}})

    def VDI_db_introduce(self, session, uuid, label, description, sr, kind, sharable, read_only, other_config, location,
                         xenstore_data, sm_config, *more):
        mine = self.db.sessions[session]
        if mine is not None and mine != sr:
            raise XapiError("PERMISSION_DENIED", "VDI.db_introduce for SR %s" % sr)
        self.db.get("SR", sr)
        record = new_vdi(uuid=uuid, name_label=label, name_description=description, SR=sr, type=kind, sharable=sharable,
                         read_only=read_only, other_config=other_config, location=location, xenstore_data=xenstore_data,
                         sm_config=sm_config)
        names = ("managed", "virtual_size", "physical_utilisation", "metadata_of_pool", "is_a_snapshot", "snapshot_time",
                 "snapshot_of", "cbt_enabled")
        record.update(zip(names, more))
        return self.db.insert("VDI", record)

    def VDI_db_forget(self, session, vdi):
        self.permit(session, "VDI", self.db.get("VDI", vdi), vdi)
        self.db.delete("VDI", vdi)
        return ""

    VDI_forget = VDI_db_forget

    def VDI_snapshot(self, session, vdi, driver_params):
        """What sm's garbage collector asks for before it coalesces a leaf with much in it; the reference of what the driver answers, which
        is the same VDI when no second one was wanted (type internal)."""
        answer = self.xapi._vdi_call(self.db.get("VDI", vdi)["uuid"], "vdi_snapshot", driver_params=driver_params)
        return self.db.find("VDI", answer["uuid"])

    def SR_get_VDIs(self, session, sr):
        self.db.get("SR", sr)
        return sorted(ref for ref, record in self.db.all("VDI").items() if record["SR"] == sr)

    def SR_get_PBDs(self, session, sr):
        self.db.get("SR", sr)
        return sorted(ref for ref, record in self.db.all("PBD").items() if record["SR"] == sr)


def nothing_on_it(host, args):
    """What the plugin of a host answers to fn=holders that does not see the LUN."""
    return json.dumps({"SCSIid": args["SCSIid"], "holders": [], "visible": False}, sort_keys=True)


def outgoing(value):
    """A value as XenAPI marshals it: integers as text, everything else as it is."""
    if isinstance(value, dict):
        return dict((key, outgoing(item)) for key, item in value.items())
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return str(value)


def matches(record, expression):
    """XenAPI's filter language, as far as sm uses it: 'field "A" = "B"', joined by and; true."""
    for part in re.split(r"\band(?=\s|field|\()", expression):
        part = part.strip()
        if part == "true":
            continue
        match = re.match(r'(not\s+)?\(?\s*field\s+"([^"]+)"\s*=\s*"([^"]*)"\s*\)?$', part)
        if not match:
            raise XapiError("INVALID_VALUE", "expr", expression)
        same = str(record.get(match.group(2), "")) == match.group(3)
        if same == bool(match.group(1)):
            return False
    return True


def new_vdi(**fields):
    """A VDI record with every field sm asks for."""
    record = {"name_label": "", "name_description": "", "type": "user", "sharable": False, "read_only": False, "other_config": {},
              "location": "", "xenstore_data": {}, "sm_config": {}, "managed": True, "virtual_size": "0", "physical_utilisation": "0",
              "metadata_of_pool": NULL, "is_a_snapshot": False, "snapshot_time": xmlrpc_client.DateTime("19700101T00:00:00Z"),
              "snapshot_of": NULL, "cbt_enabled": False, "missing": False, "on_boot": "persist", "allow_caching": False, "parent": NULL,
              "is_tools_iso": False, "snapshots": [], "VBDs": [], "storage_lock": False}
    record.update(fields)
    return record


class Handler(SimpleXMLRPCRequestHandler):
    """POST of XML-RPC on any path, over a unix socket."""

    rpc_paths = ()
    disable_nagle_algorithm = False
    wbufsize = -1

    def address_string(self):
        return "unix"

    def log_message(self, format, *args):
        pass


class Server(ThreadingMixIn, UnixStreamServer, SimpleXMLRPCDispatcher):
    """The listener on xapi's socket."""

    daemon_threads = True
    request_queue_size = 32
    logRequests = False
    _send_traceback_header = False

    def __init__(self, path):
        SimpleXMLRPCDispatcher.__init__(self, allow_none=True, encoding="utf-8")
        UnixStreamServer.__init__(self, path, Handler)


class Xapi(object):
    """xapi on the pool master of `world`, with `slaves` further hosts in the pool (records only)."""

    def __init__(self, world, slaves=0, multipath=False, driver_path=None, wrapper=None):
        """multipath: host.other_config multipathing; wrapper: an argument list put before the interpreter's, to run drivers
        in another way (a namespace, a fault injector)."""
        self.world = world
        self.db = Database()
        self.calls = []
        self.plugin_calls = []
        self.plugin_answers = {("relvmoiscsi", "holders"): nothing_on_it}
        # further methods: name -> function (session, arguments...)
        self.more_calls = {}
        self.runs = []
        self.driver_path = driver_path or DRIVER_DIRECTORY
        self.wrapper = list(wrapper or [])
        self.crash_next = False
        self.timeout = 300
        self._sm_lock = threading.Lock()
        self._server = None
        other_config = {"iscsi_iqn": world.initiator}
        if multipath:
            other_config.update({"multipathing": "true", "multipathhandle": "dmp"})
        self.host = self._add_host(world.host_uuid, "master", other_config, world.domain_uuid)
        self.hosts = [self.host]
        for number in range(slaves):
            self.hosts.append(self._add_host(str(uuids.uuid4()), "slave%d" % number, dict(other_config), str(uuids.uuid4())))
        self.pool = self.db.insert("pool", {"name_label": "pool", "master": self.host, "restrictions": {}, "other_config": {}})

    def _add_host(self, uuid, name, other_config, domain_uuid):
        metrics = self.db.insert("host_metrics", {"live": True})
        host = self.db.insert("host", {"uuid": uuid, "name_label": name, "hostname": name, "other_config": other_config, "metrics": metrics,
                                       "enabled": True, "software_version": {}, "iscsi_iqn": other_config["iscsi_iqn"],
                                       "multipathing": "multipathing" in other_config, "PBDs": []})
        self.db.insert("VM", {"uuid": domain_uuid, "resident_on": host, "is_control_domain": True, "name_label": "dom0"})
        return host

    # the server

    def start(self):
        """Listen on xapi's socket in the double."""
        path = self.world.path(SOCKET)
        if os.path.exists(path):
            os.unlink(path)
        directory, name = os.path.split(path)
        here = os.getcwd()
        if len(path) < 100:
            self._server = Server(path)
        else:
            os.chdir(directory)     # the address of a unix socket holds 107 bytes
            try:
                self._server = Server(name)
            finally:
                os.chdir(here)
        self._server._dispatch = Dispatcher(self)._dispatch
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.daemon = True
        thread.start()
        return self

    def stop(self):
        """Close the socket; the records stay."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def new_session(self, sr):
        """A session; one for a driver may change `sr` only."""
        session = "OpaqueRef:" + str(uuids.uuid4())
        self.db.sessions[session] = sr
        return session

    # running drivers

    def driver_script(self, kind):
        """Path of the script that serves SR type `kind`, as the double sees it; XapiError SR_UNKNOWN_DRIVER."""
        directory = self.world.path(self.driver_path)
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if name.endswith("SR") and name[:-2].lower() == kind and os.access(self.world.follow(path), os.X_OK):
                return path
        raise XapiError("SR_UNKNOWN_DRIVER", kind)

    def exec_driver(self, kind, command, fields, sr=None, env=None, on_start=None):
        """Run the driver of `kind` as xapi does; the Run. `on_start` gets the Popen object once the driver runs."""
        session = self.new_session(sr) if command != "sr_get_driver_info" else None
        call = {"command": command, "args": [], "device_config": {}}
        if session:
            call.update({"host_ref": self.host, "session_ref": session, "subtask_of": "DummyRef:|%s|SR.%s" % (uuids.uuid4(), command)})
        call.update(fields)
        argument = xmlrpc_client.dumps((call,), command, encoding="utf-8")
        if isinstance(argument, bytes) and sys.version_info[0] > 2:
            argument = argument.decode("utf-8")
        command_line, environment = self.world.driver_command(self.driver_script(kind))
        environment.update(env or {})
        # a wrapper starts where the driver starts: inside what a real sm is given as its root
        command_line = command_line[:-2] + self.wrapper + command_line[-2:] + [argument]
        process = subprocess.Popen(command_line, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   cwd=self.world.root, close_fds=True)
        watchdog = threading.Timer(self.timeout, process.kill)
        watchdog.start()
        try:
            if on_start is not None:
                on_start(process)
            out, err = process.communicate()
        finally:
            watchdog.cancel()
        if session:
            self.db.sessions.pop(session, None)
        if isinstance(argument, bytes):
            argument = argument.decode("utf-8")
        run = Run(command, argument, process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"),
                  fields.get("sr_uuid"))
        self.runs.append(run)
        return run

    def result(self, run):
        """What xapi makes of a driver's answer: a value, or an XapiError."""
        if run.status < 0:
            raise XapiError("SR_BACKEND_FAILURE", "received signal", run.stdout, run.stderr)
        if run.status:
            raise XapiError("SR_BACKEND_FAILURE", "non-zero exit", run.stdout, run.stderr)
        try:
            return xmlrpc_client.loads(run.stdout.encode("utf-8") if sys.version_info[0] < 3 else run.stdout)[0][0]
        except xmlrpc_client.Fault as fault:
            typed = TYPED_FAULTS.get(fault.faultCode)
            if typed:
                raise XapiError(typed, *([] if typed.startswith("SR_OP") else [run.sr_uuid or ""]))
            raise XapiError("SR_BACKEND_FAILURE_%d" % fault.faultCode, "", fault.faultString, run.stderr)
        except Exception as e:
            raise XapiError("SR_BACKEND_FAILURE", repr(e), run.stdout, run.stderr)

    def _register(self, kind):
        """Make the SM record of `kind`, which xapi makes at its start; the run is not kept."""
        if not [sm for sm in self.db.all("SM").values() if sm["type"] == kind]:
            before = list(self.runs)
            self.driver_info(kind)
            self.runs[:] = before

    def driver_info(self, kind):
        """sr_get_driver_info, as at xapi's start; also makes the SM record."""
        info = self.result(self.exec_driver(kind, "sr_get_driver_info", {}))
        for key in ("name", "description", "vendor", "copyright", "driver_version", "required_api_version"):
            if not isinstance(info[key], type(u"")) and not isinstance(info[key], str):
                raise XapiError("INTERNAL_ERROR", "Rejecting SM plugin: %s" % key)
        self.db.insert("SM", {"type": kind, "name_label": info["name"], "capabilities": info["capabilities"],
                              "driver_filename": self.driver_script(kind), "configuration": dict((entry["key"], entry["description"])
                                                                                                for entry in info["configuration"])})
        return info

    def with_secrets(self, device_config):
        """`device_config` with each ...password moved into a secret."""
        config = {}
        for key, value in device_config.items():
            if key.endswith("password"):
                ref = self.db.insert("secret", {"value": value, "other_config": {}})
                config[key + "_secret"] = self.db.get("secret", ref)["uuid"]
            else:
                config[key] = value
        return config

    # SR calls

    def sr_create(self, kind, device_config, name_label="SR", name_description="", shared=True, physical_size=0, sm_config=None,
                  env=None, on_start=None):
        """xe sr-create; the new SR's uuid. On any failure the records are destroyed and the error raised again."""
        self.driver_script(kind)
        config = self.with_secrets(device_config)
        sr = self._new_sr(str(uuids.uuid4()), kind, name_label, name_description, shared, sm_config or {})
        uuid = self.db.get("SR", sr)["uuid"]
        pbds = [self._new_pbd(sr, host, config) for host in (self.hosts if shared else [self.host])]
        fields = {"sr_ref": sr, "sr_uuid": uuid, "device_config": dict(config, SRmaster="true"), "args": [str(physical_size)]}
        try:
            self.result(self.exec_driver(kind, "sr_create", fields, sr, env, on_start))
        except XapiError as e:
            if self.crash_next:
                self.crash_next = False
                raise XapiCrashed(e)
            for pbd in pbds:
                self.db.delete("PBD", pbd)
            self.db.delete("SR", sr)
            raise
        for pbd in pbds:
            self._plug(pbd)
        return uuid

    def sr_probe(self, kind, device_config, sm_config=None, env=None):
        """xe sr-probe; the XML text."""
        fields = {"device_config": dict(self.with_secrets(device_config), SRmaster="true"), "sr_sm_config": sm_config or {}}
        with self._sm_lock:
            return self.result(self.exec_driver(kind, "sr_probe", fields, None, env))

    def sr_introduce(self, kind, uuid, name_label="SR", name_description="", shared=True):
        """xe sr-introduce; the uuid."""
        try:
            self.db.find("SR", uuid)
        except XapiError:
            self._new_sr(uuid, kind, name_label, name_description, shared, {})
            return uuid
        raise XapiError("SR_UUID_EXISTS", uuid)

    def pbd_create(self, sr_uuid, device_config, host=None):
        """xe pbd-create; the PBD's reference."""
        return self._new_pbd(self.db.find("SR", sr_uuid), host or self.host, self.with_secrets(device_config))

    def pbd_plug(self, pbd, env=None):
        """xe pbd-plug: sr_attach, then the scan that xapi starts for an SR marked dirty."""
        self._plug(pbd, env)

    def pbd_unplug(self, pbd, env=None):
        """xe pbd-unplug: sr_detach."""
        record = self.db.get("PBD", pbd)
        if record["currently_attached"]:
            sr = record["SR"]
            with self._sm_lock:
                self.result(self.exec_driver(self.db.get("SR", sr)["type"], "sr_detach", self._sr_fields(sr), sr, env))
            record["currently_attached"] = False

    def sr_scan(self, uuid, env=None):
        """xe sr-scan"""
        return self._sr_call(uuid, "sr_scan", env=env)

    def sr_update(self, uuid, env=None):
        """SR.update"""
        return self._sr_call(uuid, "sr_update", env=env)

    def sr_delete(self, uuid, env=None):
        """xe sr-destroy, the driver's part"""
        return self._sr_call(uuid, "sr_delete", env=env)

    def sr_forget(self, uuid):
        """xe sr-forget: records only."""
        sr = self.db.find("SR", uuid)
        for pbd, record in self.db.all("PBD").items():
            if record["SR"] == sr:
                if record["currently_attached"]:
                    raise XapiError("SR_HAS_PBD", sr)
                self.db.delete("PBD", pbd)
        for vdi, record in self.db.all("VDI").items():
            if record["SR"] == sr:
                self.db.delete("VDI", vdi)
        self.db.delete("SR", sr)

    # VDI calls

    def vdi_create(self, sr_uuid, size, name_label="disk", name_description="", sm_config=None, kind="user", env=None):
        """xe vdi-create; the VDI's uuid."""
        sr = self.db.find("SR", sr_uuid)
        fields = self._sr_fields(sr)
        fields.update({"args": [str(size), name_label, name_description, "", "false", "19700101T00:00:00Z", "", "false"],
                       "vdi_sm_config": sm_config or {}, "vdi_type": kind})
        answer = self.result(self.exec_driver(self.db.get("SR", sr)["type"], "vdi_create", fields, sr, env))
        ref = self.db.find("VDI", answer["uuid"])
        self.db.get("VDI", ref).update({"name_label": name_label, "name_description": name_description})
        return answer["uuid"]

    def vdi_snapshot(self, vdi_uuid, env=None):
        """xe vdi-snapshot; the snapshot's uuid."""
        answer = self._vdi_call(vdi_uuid, "vdi_snapshot", env=env)
        snapshot = self.db.get("VDI", self.db.find("VDI", answer["uuid"]))
        origin = self.db.find("VDI", vdi_uuid)
        snapshot.update({"is_a_snapshot": True, "snapshot_of": origin, "name_label": self.db.get("VDI", origin)["name_label"]})
        return answer["uuid"]

    def vdi_attach(self, vdi_uuid, writable=True, env=None):
        """vdi_attach and vdi_activate, as a VM start does; the driver's answer to the attach."""
        answer = self._vdi_call(vdi_uuid, "vdi_attach", [str(writable).lower()], env)
        self._vdi_call(vdi_uuid, "vdi_activate", [str(writable).lower()], env)
        return answer

    def vdi_detach(self, vdi_uuid, env=None):
        """vdi_deactivate and vdi_detach, as a VM stop does."""
        self._vdi_call(vdi_uuid, "vdi_deactivate", [], env)
        return self._vdi_call(vdi_uuid, "vdi_detach", [], env)

    def vdi_delete(self, vdi_uuid, env=None):
        """xe vdi-destroy"""
        return self._vdi_call(vdi_uuid, "vdi_delete", [], env)

    # records

    def srs(self):
        """uuid -> record."""
        return dict((record["uuid"], record) for record in self.db.all("SR").values())

    def pbds(self, sr_uuid=None):
        """Reference -> record, of one SR or all."""
        sr = self.db.find("SR", sr_uuid) if sr_uuid else None
        return dict((ref, record) for ref, record in self.db.all("PBD").items() if sr in (None, record["SR"]))

    def vdis(self, sr_uuid):
        """uuid -> record of the VDIs of an SR."""
        sr = self.db.find("SR", sr_uuid)
        return dict((record["uuid"], record) for record in self.db.all("VDI").values() if record["SR"] == sr)

    def messages(self):
        """Records of the messages that drivers posted."""
        return list(self.db.all("message").values())

    def _new_sr(self, uuid, kind, label, description, shared, sm_config):
        # a real sm would start its garbage collector in the background, which outlives the test
        other_config = {"gc": "false"} if self.world.sm_tree else {}
        return self.db.insert("SR", {
            "uuid": uuid, "name_label": label, "name_description": description, "type": kind, "shared": shared,
            "sm_config": dict(sm_config),
            "other_config": other_config, "content_type": "", "physical_size": "0", "physical_utilisation": "0", "virtual_allocation": "0",
            "tags": [], "is_tools_sr": False, "introduced_by": NULL, "clustered": False, "blobs": {}, "local_cache_enabled": False})

    def _new_pbd(self, sr, host, device_config):
        return self.db.insert("PBD", {"SR": sr, "host": host, "device_config": dict(device_config), "other_config": {},
                                      "currently_attached": False})

    def _sr_fields(self, sr):
        """The part of the argument that names an attached SR of this host."""
        for record in self.db.all("PBD").values():
            if record["SR"] == sr and record["host"] == self.host:
                config = dict(record["device_config"], SRmaster="true")
                return {"sr_ref": sr, "sr_uuid": self.db.get("SR", sr)["uuid"], "device_config": config}
        raise XapiError("SR_HAS_NO_PBDS", sr)

    def _plug(self, pbd, env=None):
        record = self.db.get("PBD", pbd)
        sr = record["SR"]
        if record["currently_attached"]:
            return
        if record["host"] != self.host:
            record["currently_attached"] = True
            return
        with self._sm_lock:
            self.result(self.exec_driver(self.db.get("SR", sr)["type"], "sr_attach", self._sr_fields(sr), sr, env))
        record["currently_attached"] = True

    def _sr_call(self, uuid, command, args=(), env=None):
        sr = self.db.find("SR", uuid)
        fields = dict(self._sr_fields(sr), args=list(args))
        return self.result(self.exec_driver(self.db.get("SR", sr)["type"], command, fields, sr, env))

    def _vdi_call(self, vdi_uuid, command, args=(), env=None, driver_params=None):
        vdi = self.db.find("VDI", vdi_uuid)
        record = self.db.get("VDI", vdi)
        sr = record["SR"]
        self._register(self.db.get("SR", sr)["type"])
        fields = self._sr_fields(sr)
        fields.update({"args": list(args), "vdi_ref": vdi, "vdi_uuid": vdi_uuid, "vdi_location": record["location"],
                       "vdi_sm_config": record["sm_config"], "vdi_on_boot": record["on_boot"],
                       "vdi_allow_caching": "false", "driver_params": driver_params or {}})
        return self.result(self.exec_driver(self.db.get("SR", sr)["type"], command, fields, sr, env))


def unused_socket():
    """A port of 127.0.0.1 on which nothing listens."""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    return port
