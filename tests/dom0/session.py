# SPDX-License-Identifier: LGPL-2.1-only
"""XenAPI's session, as the plugin of this product gets one, over the records and SR calls of the toolstack of a dom0 double (dom0.xapi)."""
from __future__ import absolute_import, division, print_function

from dom0.xapi import XapiError


class Failure(Exception):
    """As XenAPI.Failure."""

    def __init__(self, error):
        Exception.__init__(self, str(error))
        self.details = [error.code] + error.params


class Calls(object):
    """session.xenapi over the double's records and its SR calls."""

    def __init__(self, xapi, table=None):
        self._xapi = xapi
        self._table = table

    def __getattr__(self, name):
        if self._table is None:
            return self.__class__(self._xapi, name)

        def call(*arguments):
            try:
                special = getattr(type(self), "_%s_%s" % (self._table, name), None)
                if special is not None:
                    return special(self, *arguments)
                return self._generic(name)(*arguments)
            except XapiError as error:
                raise Failure(error)
        return call

    def _generic(self, name):
        def call(*arguments):
            records = self._xapi.db.all(self._table)
            if name == "get_all_records":
                return dict((ref, dict(record)) for ref, record in records.items())
            if name == "get_all":
                return sorted(records)
            record = self._xapi.db.get(self._table, arguments[0])
            if name.startswith("add_to_"):
                record[name[len("add_to_"):]][arguments[1]] = arguments[2]
                return ""
            if name.startswith("remove_from_"):
                record[name[len("remove_from_"):]].pop(arguments[1], None)
                return ""
            return dict(record) if name == "get_record" else record[name[len("get_"):]]
        return call

    def _related(self, table, sr):
        return sorted(ref for ref, record in self._xapi.db.all(table).items() if record["SR"] == sr)

    def _SR_get_PBDs(self, sr):
        return self._related("PBD", sr)

    def _SR_get_VDIs(self, sr):
        return self._related("VDI", sr)

    def _SR_create(self, host, config, size, label, description, kind, content, shared, sm_config):
        return self._xapi.sr_create(kind, config, label, description, shared, int(size), sm_config)

    def _SR_probe(self, host, config, kind, sm_config):
        return self._xapi.sr_probe(kind, config, sm_config)

    def _SR_introduce(self, uuid, label, description, kind, content, shared, sm_config):
        self._xapi.sr_introduce(kind, uuid, label, description, shared)
        ref = self._xapi.db.find("SR", uuid)
        self._xapi.db.get("SR", ref)["sm_config"].update(sm_config)
        return ref

    def _SR_scan(self, sr):
        self._xapi.sr_scan(self._xapi.db.get("SR", sr)["uuid"])

    def _PBD_create(self, record):
        return self._xapi.pbd_create(self._xapi.db.get("SR", record["SR"])["uuid"], record["device_config"], record["host"])

    def _PBD_plug(self, pbd):
        self._xapi.pbd_plug(pbd)

    def _PBD_unplug(self, pbd):
        self._xapi.pbd_unplug(pbd)

    def _SR_forget(self, sr):
        self._xapi.sr_forget(self._xapi.db.get("SR", sr)["uuid"])

    def _get_by_uuid(self, uuid):
        return self._xapi.db.find(self._table, uuid)

    _SR_get_by_uuid = _VM_get_by_uuid = _get_by_uuid

    def _host_call_plugin(self, host, plugin, function, arguments):
        """plugins: {function: (host, arguments) -> text}; what is not among them answers nothing."""
        return self.plugins.get(function, lambda host, arguments: "{}")(host, arguments)

    plugins = {}

    def _message_create(self, name, priority, kind, uuid, body):
        return self._xapi.db.insert("message", {"name": name, "priority": priority, "cls": kind, "obj_uuid": uuid, "body": body})


class Session(object):
    """As the plugin gets it. calls: the class that carries the calls out."""

    def __init__(self, xapi, calls=Calls):
        self.xenapi = calls(xapi)
