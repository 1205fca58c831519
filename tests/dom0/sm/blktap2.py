# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's blktap2: attach and activate without a tapdisk; the LVs of the chain are activated all the same."""

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import util


class TapdiskFailed(Exception):
    """Never raised here."""


class TapdiskExists(Exception):
    """Never raised here."""


class VDI(object):
    """Wraps a driver's VDI for attach, detach, activate and deactivate."""

    CONF_KEY_ALLOW_CACHING = "vdi_allow_caching"
    CONF_KEY_MODE_ON_BOOT = "vdi_on_boot"
    CONF_KEY_CACHE_SR = "local_cache_sr"
    CONF_KEY_O_DIRECT = "o_direct"

    def __init__(self, uuid, target, driver_info):
        self.uuid = uuid
        self.target = target

    def attach(self, sr_uuid, vdi_uuid, writable, activate=False, caching_params=None):
        session = self.target.session
        ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        key = "host_" + util.get_this_host_ref(session)
        session.xenapi.VDI.remove_from_sm_config(ref, key)
        session.xenapi.VDI.add_to_sm_config(ref, key, "RW" if writable else "RO")
        self.target.attach(sr_uuid, vdi_uuid)
        return xmlrpclib.dumps(({"params": self.target.path, "xenstore_data": {}, "o_direct": False},), "", True)

    def activate(self, sr_uuid, vdi_uuid, writable, caching_params=None):
        util.SMlog("activated %s" % vdi_uuid)

    def deactivate(self, sr_uuid, vdi_uuid, caching_params=None):
        util.SMlog("deactivated %s" % vdi_uuid)

    def detach(self, sr_uuid, vdi_uuid, deactivate=False, caching_params=None):
        self.target.detach(sr_uuid, vdi_uuid)
        session = self.target.session
        session.xenapi.VDI.remove_from_sm_config(session.xenapi.VDI.get_by_uuid(vdi_uuid), "host_" + util.get_this_host_ref(session))
