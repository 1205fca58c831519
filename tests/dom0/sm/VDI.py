# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's VDI: the part of it that LVHD needs."""

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import xs_errors

SNAPSHOT_SINGLE = 1
SNAPSHOT_DOUBLE = 2
SNAPSHOT_INTERNAL = 3


class VDI(object):
    """A disk of an SR."""

    def __init__(self, sr, uuid):
        self.sr = sr
        self.uuid = uuid
        self.location = None
        self.deleted = False
        self.session = sr.session
        self.path = None
        self.size = 0
        self.utilisation = 0
        self.vdi_type = ""
        self.label = ""
        self.description = ""
        self.parent = None
        self.shareable = False
        self.read_only = False
        self.managed = True
        self.hidden = False
        self.ty = "user"
        self.metadata_of_pool = ""
        self.is_a_snapshot = False
        self.snapshot_of = ""
        self.snapshot_time = "19700101T00:00:00Z"
        self.cbt_enabled = False
        self.sm_config_override = {}
        self.load(uuid)

    def load(self, vdi_uuid):
        pass

    def create(self, sr_uuid, vdi_uuid, size):
        raise xs_errors.XenError("Unimplemented")

    def delete(self, sr_uuid, vdi_uuid, data_only=False):
        raise xs_errors.XenError("Unimplemented")

    def attach(self, sr_uuid, vdi_uuid):
        return xmlrpclib.dumps((self.path,), "", True)

    def detach(self, sr_uuid, vdi_uuid):
        raise xs_errors.XenError("Unimplemented")

    def get_params(self):
        return xmlrpclib.dumps(({"location": self.location, "uuid": self.uuid, "sm_config": getattr(self, "sm_config", {})},), "", True)

    def _override_sm_config(self, sm_config):
        for key, value in self.sm_config_override.items():
            if value is None:
                sm_config.pop(key, None)
            else:
                sm_config[key] = value

    def in_sync_with_xenapi_record(self, record):
        same = (str(record["virtual_size"]) == str(self.size) and str(record["physical_utilisation"]) == str(self.utilisation)
                and record["read_only"] == self.read_only and record["sm_config"] == self.sm_config and record["managed"] == self.managed
                and record["cbt_enabled"] == self.cbt_enabled)
        return same

    def _db_introduce(self):
        snapshot_time = xmlrpclib.DateTime(self.snapshot_time or "19700101T00:00:00Z")
        ref = self.session.xenapi.VDI.db_introduce(
            self.uuid, self.label, self.description, self.sr.sr_ref, self.ty, self.shareable, self.read_only, {}, self.location, {},
            getattr(self, "sm_config", {}), self.managed, str(self.size), str(self.utilisation), self.metadata_of_pool,
            self.is_a_snapshot, snapshot_time, self.snapshot_of, self.cbt_enabled)
        return ref

    def _db_update(self):
        ref = self.session.xenapi.VDI.get_by_uuid(self.uuid)
        api = self.session.xenapi.VDI
        api.set_virtual_size(ref, str(self.size))
        api.set_physical_utilisation(ref, str(self.utilisation))
        api.set_read_only(ref, self.read_only)
        api.set_sm_config(ref, self.sm_config)
        api.set_managed(ref, self.managed)
        api.set_cbt_enabled(ref, self.cbt_enabled)

    def _db_forget(self):
        self.sr.forget_vdi(self.uuid)
