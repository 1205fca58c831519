# SPDX-License-Identifier: LGPL-2.1-only
"""The rest of a toolstack, for whoever comes from outside with `xe` alone: that command, the plugin as xapi starts it, disks of the
control domain.

    with Xapi(world) as xapi:
        Toolstack(xapi)
        world.run("xe", "sr-list", "--minimal")

Only what an administrator needs is there. Listings are of the --minimal kind.
"""
from __future__ import absolute_import, division, print_function

import os
import shutil
import subprocess
import threading

from dom0.profile import SUPPORT
from dom0.state import make_directory, write_file
from dom0.vdisks import Disk
from dom0.world import DRIVER_DIRECTORY, REPOSITORY, SCRIPT, TESTS
from dom0.xapi import NULL, XapiError, outgoing, xmlrpc_client

PLUGIN = "relvmoiscsi"
PLUGINS = "/etc/xapi.d/plugins"
XE = "/usr/bin/xe"


class Toolstack(object):
    """What xe and the plugin need of `xapi`."""

    def __init__(self, xapi):
        self.xapi = xapi
        self.db = xapi.db
        self.world = xapi.world
        self._lock = threading.Lock()
        self.disks = {}
        self.world._write_script(XE, SCRIPT.format(python=self.world.python, tests=TESTS, module="xe", root=self.world.root.rstrip("/")))
        place = self.world.path(PLUGINS)
        make_directory(place)
        with open(os.path.join(REPOSITORY, "plugins", PLUGIN)) as stream:
            text = stream.read()
        # where it looks for sm; the rest of its paths XenAPIPlugin changes
        assert DRIVER_DIRECTORY in text
        text = text.replace("'%s'" % DRIVER_DIRECTORY, repr(self.world.path(DRIVER_DIRECTORY)))
        write_file(os.path.join(place, PLUGIN), text)
        shutil.copy(os.path.join(SUPPORT, "XenAPIPlugin.py"), place)
        for name in ("SR_create", "SR_probe", "SR_introduce", "SR_scan", "SR_forget", "SR_destroy", "PBD_create", "PBD_plug", "PBD_unplug",
                     "PBD_destroy"):
            xapi.more_calls[name.replace("_", ".")] = getattr(self, name)
        xapi.more_calls["xe.command"] = self.command
        self._plugin_of_others = dict(xapi.plugin_answers)
        for function in ("version", "check", "selftest", "preview", "holders", "refresh", "pack", "dump", "attach", "map", "discard",
                         "release"):
            xapi.plugin_answers[PLUGIN, function] = self._answering(function)
        for record in self.db.all("VM").values():
            record.update(power_state="Running", current_operations={}, suspend_VDI=NULL)

    # XenAPI, as the plugin calls it

    def SR_create(self, session, host, config, size, label, description, kind, content, shared, sm_config):
        return self.db.find("SR", self.xapi.sr_create(kind, config, label, description, shared, int(size), sm_config))

    def SR_probe(self, session, host, config, kind, sm_config):
        return self.xapi.sr_probe(kind, config, sm_config)

    def SR_introduce(self, session, uuid, label, description, kind, content, shared, sm_config):
        self.xapi.sr_introduce(kind, uuid, label, description, shared)
        sr = self.db.find("SR", uuid)
        self.db.get("SR", sr)["sm_config"].update(sm_config)
        return sr

    def SR_scan(self, session, sr):
        self.xapi.sr_scan(self.db.get("SR", sr)["uuid"])

    def SR_forget(self, session, sr):
        self.xapi.sr_forget(self.db.get("SR", sr)["uuid"])

    def SR_destroy(self, session, sr):
        """As Storage_access.destroy_sr: attached for the time of it; the records go."""
        pbd, = [ref for ref, record in self.db.all("PBD").items() if record["SR"] == sr and record["host"] == self.xapi.host]
        if [record for record in self.db.all("PBD").values() if record["SR"] == sr and record["currently_attached"]]:
            raise XapiError("SR_HAS_PBD", sr)
        uuid = self.db.get("SR", sr)["uuid"]
        self.xapi.pbd_plug(pbd)
        try:
            self.xapi.sr_delete(uuid)
        finally:
            self.db.get("PBD", pbd)["currently_attached"] = False
        self.xapi.sr_forget(uuid)

    def PBD_create(self, session, record):
        return self.xapi.pbd_create(self.db.get("SR", record["SR"])["uuid"], record["device_config"], record["host"])

    def PBD_plug(self, session, pbd):
        self.xapi.pbd_plug(pbd)

    def PBD_unplug(self, session, pbd):
        self.xapi.pbd_unplug(pbd)

    def PBD_destroy(self, session, pbd):
        self.db.delete("PBD", pbd)

    # the plugin

    def _answering(self, function):
        def answer(host, arguments):
            if host != self.xapi.host and (PLUGIN, function) in self._plugin_of_others:
                return self._plugin_of_others[PLUGIN, function](host, arguments)
            return self.call_plugin(function, arguments)
        return answer

    def call_plugin(self, function, arguments):
        """What the plugin answers on this host. Raises XapiError."""
        argument = xmlrpc_client.dumps((self.xapi.new_session(None), arguments), function)
        command, environment = self.world.driver_command(self.world.path(os.path.join(PLUGINS, PLUGIN)))
        environment["PYTHONPATH"] = ":".join([self.world.path(PLUGINS), self.world.path(DRIVER_DIRECTORY)] +
                                             [name for name in [environment.get("PYTHONPATH")] if name])
        process = subprocess.Popen(command + [argument], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.world.root, close_fds=True)
        out, err = process.communicate()
        try:
            answer = xmlrpc_client.loads(out)[0][0]
        except Exception:
            raise XapiError("XENAPI_PLUGIN_FAILURE", "non-zero exit", out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))
        if answer["Status"] != "Success":
            raise XapiError(*answer["ErrorDescription"])
        return answer["Value"]

    # xe

    def command(self, session, words):
        """One command line: {status, out, err}."""
        given, maps = {}, {}
        for word in words[1:]:
            key, _, value = word.lstrip("-").partition("=")
            if ":" in key:
                name, _, key = key.partition(":")
                maps.setdefault(name, {})[key] = value
            else:
                given[key] = value
        try:
            name = words[0].replace("-", "_")
            special = getattr(self, "_xe_" + name, None)
            if special is not None:
                out = special(given, maps)
            elif name.endswith(("_list", "_param_get")):
                table = words[0].split("-")[0]
                table = table if table in ("host", "pool") else table.upper()
                out = self._listed(table, given) if name.endswith("_list") else self._parameter(table, given)
            else:
                raise XapiError("UNKNOWN_COMMAND", words[0])
        except XapiError as error:
            return {"status": 1, "out": "", "err": error.xe()}
        return {"status": 0, "out": "" if out is None else out + "\n", "err": ""}

    def _field(self, table, record, name):
        """A field as xe names it, as text."""
        if name in ("sr-uuid", "host-uuid", "vdi-uuid", "vm-uuid"):
            other = name[:-len("-uuid")]
            other = other if other == "host" else other.upper()
            return self.db.get(other, record[other])["uuid"]
        if name in ("master", "resident-on"):
            return self.db.get("host", record[name.replace("-", "_")])["uuid"]
        value = outgoing(record[name.replace("-", "_")])
        return str(value).lower() if isinstance(value, bool) else value

    def _listed(self, table, given):
        wanted = given.get("params", "uuid")
        filters = [(key, value) for key, value in given.items() if key not in ("params", "minimal")]
        return ",".join(self._field(table, record, wanted) for record in self.db.all(table).values()
                        if all(self._field(table, record, key) == value for key, value in filters))

    def _parameter(self, table, given):
        record = self.db.get(table, self.db.find(table, given["uuid"]))
        value = self._field(table, record, given["param-name"])
        if "param-key" in given:
            return value.get(given["param-key"], "")
        return value

    def _xe_host_call_plugin(self, given, maps):
        host = self.db.find("host", given["host-uuid"])
        answer = self.xapi.plugin_answers.get((given["plugin"], given["fn"]))
        if answer is None:
            raise XapiError("UNKNOWN_XENAPI_PLUGIN_FUNCTION", given["fn"])
        return answer(host, maps.get("args", {})) if callable(answer) else answer

    def _xe_sr_create(self, given, maps):
        return self.xapi.sr_create(given["type"], maps.get("device-config", {}), given["name-label"], given.get("name-description", ""),
                                   given.get("shared") == "true", int(given.get("physical-size", 0)), maps.get("sm-config"))

    def _xe_sr_probe(self, given, maps):
        return self.xapi.sr_probe(given["type"], maps.get("device-config", {}), maps.get("sm-config"))

    def _xe_sr_introduce(self, given, maps):
        return self.xapi.sr_introduce(given["type"], given["uuid"], given["name-label"], shared=given.get("shared") == "true")

    def _xe_sr_scan(self, given, maps):
        self.xapi.sr_scan(given["uuid"])

    def _xe_sr_forget(self, given, maps):
        self.xapi.sr_forget(given["uuid"])

    def _xe_sr_destroy(self, given, maps):
        self.SR_destroy(None, self.db.find("SR", given["uuid"]))

    def _xe_pbd_create(self, given, maps):
        ref = self.xapi.pbd_create(given["sr-uuid"], maps.get("device-config", {}), self.db.find("host", given["host-uuid"]))
        return self.db.get("PBD", ref)["uuid"]

    def _xe_pbd_plug(self, given, maps):
        self.xapi.pbd_plug(self.db.find("PBD", given["uuid"]))

    def _xe_pbd_unplug(self, given, maps):
        self.xapi.pbd_unplug(self.db.find("PBD", given["uuid"]))

    def _xe_vdi_create(self, given, maps):
        return self.xapi.vdi_create(given["sr-uuid"], int(given["virtual-size"]), given["name-label"], sm_config=maps.get("sm-config"))

    def _xe_vdi_snapshot(self, given, maps):
        return self.xapi.vdi_snapshot(given["uuid"])

    def _xe_vdi_destroy(self, given, maps):
        self.xapi.vdi_delete(given["uuid"])

    def _xe_vbd_create(self, given, maps):
        with self._lock:
            taken = [record["device"] for record in self.db.all("VBD").values()]
            letter = [letter for letter in "abcdefghijkl" if not [name for name in taken if name.endswith("xvd" + letter)]][0]
            # below /dev for whoever looks from outside
            name = os.path.relpath(self.world.path("/dev/xvd" + letter), "/dev")
            ref = self.db.insert("VBD", {"VM": self.db.find("VM", given["vm-uuid"]), "VDI": self.db.find("VDI", given["vdi-uuid"]),
                                         "device": name, "mode": given["mode"], "currently_attached": False})
        return self.db.get("VBD", ref)["uuid"]

    def _xe_vbd_plug(self, given, maps):
        record = self.db.get("VBD", self.db.find("VBD", given["uuid"]))
        vdi = self.db.get("VDI", record["VDI"])
        writable = record["mode"] == "RW"
        if self.world.sm_tree:
            # a real sm would look for the tapdisk that it starts
            self.xapi._vdi_call(vdi["uuid"], "vdi_attach", [str(writable).lower()])
        else:
            self.xapi.vdi_attach(vdi["uuid"], writable)
        directory = self.world.path("/dev/VG_XenStorage-" + self.db.get("SR", vdi["SR"])["uuid"])
        name, = [name for name in os.listdir(directory) if name in ("VHD-" + vdi["uuid"], "LV-" + vdi["uuid"])]
        self.disks[given["uuid"]] = Disk(os.path.join("/dev", record["device"]), directory, name)
        record["currently_attached"] = True

    def _xe_vbd_unplug(self, given, maps):
        record = self.db.get("VBD", self.db.find("VBD", given["uuid"]))
        if given["uuid"] not in self.disks:
            raise XapiError("DEVICE_ALREADY_DETACHED", given["uuid"])
        self.disks.pop(given["uuid"]).close(record["mode"] == "RW")
        uuid = self.db.get("VDI", record["VDI"])["uuid"]
        if self.world.sm_tree:
            self.xapi._vdi_call(uuid, "vdi_detach")
        else:
            self.xapi.vdi_detach(uuid)
        record["currently_attached"] = False

    def _xe_vbd_destroy(self, given, maps):
        self.db.delete("VBD", self.db.find("VBD", given["uuid"]))
