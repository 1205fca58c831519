# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's SRCommand (sm-api, section 2.4)."""

import os
import sys

try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib

import SR
import XenAPI
import blktap2
import generation
import resetvdis
import util
import xs_errors

NEEDS_VDI_OBJECT = ("vdi_create", "vdi_update", "vdi_introduce", "vdi_delete", "vdi_attach", "vdi_detach", "vdi_snapshot", "vdi_clone",
                    "vdi_resize", "vdi_resize_online", "vdi_activate", "vdi_deactivate", "vdi_attach_from_config",
                    "vdi_detach_from_config", "vdi_generate_config", "vdi_compose", "vdi_epoch_begin", "vdi_epoch_end",
                    "vdi_enable_cbt", "vdi_disable_cbt", "vdi_data_destroy", "vdi_list_changed_blocks")
EXCEPTION_TYPE = {
    "sr_scan": "SRScan", "vdi_init": "VDILoad", "vdi_create": "VDICreate", "vdi_delete": "VDIDelete", "vdi_attach": "VDIUnavailable",
    "vdi_detach": "VDIUnavailable", "vdi_activate": "VDIUnavailable", "vdi_deactivate": "VDIUnavailable", "vdi_resize": "VDIResize",
    "vdi_resize_online": "VDIResize", "vdi_snapshot": "VDISnapshot", "vdi_clone": "VDIClone",
}

if generation.ERRORS_IN == "SR":
    SRException = SR.SRException
else:
    SRException = xs_errors.SRException


class SRCommand(object):
    """One call of a driver, parsed."""

    def __init__(self, driver_info):
        self.dconf = ""
        self.type = ""
        self.sr_uuid = ""
        self.cmdname = ""
        self.cmdtype = ""
        self.cmd = None
        self.args = None
        self.driver_info = driver_info

    def parse(self):
        if len(sys.argv) != 2:
            raise xs_errors.XenError("BadRequest")
        try:
            params, self.cmd = xmlrpclib.loads(sys.argv[1])
            self.params = params[0]
            self.dconf = self.params["device_config"]
            if "sr_uuid" in self.params:
                self.sr_uuid = self.params["sr_uuid"]
            if "vdi_uuid" in self.params:
                self.vdi_uuid = self.params["vdi_uuid"]
            elif self.cmd == "vdi_create":
                self.vdi_uuid = util.gen_uuid()
        except Exception:
            util.SMlog("Failed to parse commandline; exception = %s" % sys.exc_info()[1])
            raise xs_errors.XenError("BadRequest")

    def run_statics(self):
        if self.params["command"] == "sr_get_driver_info":
            sys.stdout.write(util.sr_get_driver_info(self.driver_info) + "\n")
            sys.exit(0)

    def run(self, sr):
        try:
            return self._run_locked(sr)
        except (util.SMException, XenAPI.Failure):
            problem = sys.exc_info()[1]
            util.logException(self.cmd)
            text = str(problem)
            if isinstance(problem, util.CommandException):
                text = "Command %s failed (%s): %s" % (problem.cmd, problem.reason, os.strerror(abs(problem.code)))
            raise xs_errors.XenError(EXCEPTION_TYPE.get(self.cmd) or "SMGeneral", opterr=text)
        except Exception:
            util.logException("generic exception: %s" % self.cmd)
            raise

    def _run_locked(self, sr):
        target = None
        failed = True
        locked = self.cmd in sr.ops_exclusive
        if locked:
            sr.lock.acquire()
        try:
            if self.cmd in NEEDS_VDI_OBJECT:
                target = sr.vdi(self.vdi_uuid)
            answer = self._run(sr, target)
            failed = False
        finally:
            if locked:
                sr.lock.release()
            try:
                sr.cleanup()
            except Exception:
                util.SMlog("failed to clean up SR: %s" % sys.exc_info()[1])
                if not failed:
                    raise
        return answer

    def _run(self, sr, target):
        util.SMlog("%s %s" % (self.cmd, util.hidePasswdInParams(self.params, "device_config")))
        params, args = self.params, self.params.get("args", [])
        sr_uuid = params.get("sr_uuid")
        cmd = self.cmd
        if cmd == "sr_create":
            return sr.create(sr_uuid, int(args[0]))
        if cmd in ("sr_delete", "sr_update", "sr_detach", "sr_content_type", "sr_scan"):
            return getattr(sr, cmd[3:])(sr_uuid)
        if cmd == "sr_probe":
            text = sr.probe()
            util.SMlog("sr_probe result: %s" % text)
            return xmlrpclib.dumps((text,), "", True)
        if cmd == "sr_attach":
            master = sr.dconf.get("SRmaster") == "true"
            resetvdis.reset_sr(sr.session, util.get_this_host(), sr_uuid, master)
            if master:
                util.set_dirty(sr.session, params["sr_ref"])
            try:
                return sr.attach(sr_uuid)
            finally:
                if master and generation.AFTER_MASTER_ATTACH != "none":
                    sr.after_master_attach(sr_uuid)
        if cmd == "vdi_create":
            target.label, target.description, target.ty = args[1], args[2], params["vdi_type"]
            target.metadata_of_pool, target.is_a_snapshot = args[3], args[4] == "true"
            target.snapshot_time, target.snapshot_of, target.read_only = args[5], args[6], args[7] == "true"
            return target.create(sr_uuid, self.vdi_uuid, int(args[0]))
        if cmd in ("vdi_attach", "vdi_activate", "vdi_detach", "vdi_deactivate"):
            method = getattr(blktap2.VDI(self.vdi_uuid, target, self.driver_info), cmd[4:])
            if cmd in ("vdi_detach", "vdi_deactivate"):
                return method(sr_uuid, self.vdi_uuid, caching_params={})
            return method(sr_uuid, self.vdi_uuid, args[0] == "true", caching_params={})
        if cmd in ("vdi_snapshot", "vdi_clone", "vdi_delete", "vdi_update"):
            return getattr(target, cmd[4:])(sr_uuid, self.vdi_uuid)
        if cmd in ("vdi_epoch_begin", "vdi_epoch_end"):
            return None
        util.SMlog("Unknown command: %s" % cmd)
        raise xs_errors.XenError("BadRequest")


def run(driver, driver_info):
    command = SRCommand(driver_info)
    try:
        command.parse()
        command.run_statics()
        sr = driver(command, command.sr_uuid)
        sr.direct = True
        answer = command.run(sr)
        sys.stdout.write((util.return_nil() if answer is None else answer) + "\n")
        sys.exit(0)
    except SRException:
        problem = sys.exc_info()[1]
        if generation.FOREIGN_EXCEPTIONS != "uncaught":
            util.logException(driver_info["name"])
        sys.stdout.write(problem.toxml() + "\n")
        sys.exit(0)
    except Exception:
        if generation.FOREIGN_EXCEPTIONS == "uncaught":
            raise
        util.logException(driver_info["name"])
        if generation.FOREIGN_EXCEPTIONS == "reraised":
            raise
        sys.stdout.write(xmlrpclib.dumps(xmlrpclib.Fault(1200, str(sys.exc_info()[1])), "", True) + "\n")
        sys.exit(0)
