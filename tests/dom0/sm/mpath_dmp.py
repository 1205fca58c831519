# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's mpath_dmp: device-mapper multipath."""

import os

import generation
import iscsilib
import mpath_cli
import scsiutil
import util
import xs_errors

ROOT = os.environ.get("DOM0_ROOT", "")
DEVMAPPERPATH = ROOT + "/dev/mapper"
DEVBYIDPATH = ROOT + "/dev/disk/by-id"
DEVBYSCSIPATH = ROOT + "/dev/disk/by-scsibus"
MP_INUSEDIR = ROOT + "/dev/disk/mpInuse"


def _is_mpath_daemon_running():
    return util.doexec(["/sbin/pidof", "-s", "/sbin/multipathd"])[0] == 0


def activate_MPdev(sid, dst):
    util.makedirs(MP_INUSEDIR)
    util.pread2(["ln", "-sf", dst, os.path.join(MP_INUSEDIR, sid)])


def deactivate_MPdev(sid):
    util.force_unlink(os.path.join(MP_INUSEDIR, sid))


def reset(sid, explicit_unmap=False, delete_nodes=False):
    util.SMlog("Resetting LUN %s" % sid)
    deactivate_MPdev(sid)
    if not _is_mpath_daemon_running():
        return
    if explicit_unmap:
        util.retry(lambda: util.pread2(["/usr/sbin/multipath", "-f", sid]), maxretry=3, period=4)
        util.retry(lambda: util.pread2(["/usr/sbin/multipath", "-W"]), maxretry=3, period=4)
    else:
        mpath_cli.ensure_map_gone(sid)
    util.wait_for_nopath(os.path.join(DEVMAPPERPATH, sid), 10)


def refresh(sid, npaths):
    util.SMlog("Refreshing LUN %s" % sid)
    if not sid:
        raise xs_errors.XenError("MultipathDeviceNoScsiid")
    if not os.path.exists(DEVBYIDPATH + "/scsi-" + sid):
        scsiutil.rescan(scsiutil._genHostList(""))
        if not util.wait_for_path(DEVBYIDPATH + "/scsi-" + sid, 60):
            raise xs_errors.XenError("MultipathDeviceNotAppeared")
    if not _is_valid_multipath_device(sid):
        return
    path = os.path.join(DEVMAPPERPATH, sid)
    if not os.path.exists(path):
        util.retry(lambda: util.pread2(["/usr/sbin/multipath", "-r", sid]), maxretry=3, period=4)
        util.wait_for_path(path, 10)
    if not os.path.exists(path):
        raise xs_errors.XenError("MultipathMapperPathMissing" if generation.MAP_IS_OPTIONAL else "DMP failed to activate mapper path")
    util.wait_for_path("%s/dev/disk/by-scsid/%s/mapper" % (ROOT, sid), 10)
    activate_MPdev(sid, path)


def _is_valid_multipath_device(sid):
    if not generation.MAP_IS_OPTIONAL:
        return True
    code, out, err = util.doexec(["/usr/sbin/multipath", "-ll", sid])
    if out + err:
        return True
    directory = os.path.join(ROOT + "/dev/disk/by-scsid", sid)
    if not os.path.isdir(directory):
        return False
    for name in os.listdir(directory):
        if util.doexec(["/usr/sbin/multipath", "-c", os.path.join(directory, name)])[0] == 0:
            return True
    return False


def activate():
    util.SMlog("MPATH: multipath activate called")
    if iscsilib.is_iscsi_daemon_running() and not iscsilib._checkAnyTGT():
        iscsilib.restart_daemon()
    if not _is_mpath_daemon_running():
        util.pread2(["service", "multipathd", "start"])
    for second in range(120):
        if mpath_cli.is_working():
            return
        util.sleep(1)
    raise xs_errors.XenError("MultipathdCommsFailure")


def deactivate():
    if _is_mpath_daemon_running():
        for sid in mpath_cli.list_maps():
            reset(sid, True)
    if iscsilib.is_iscsi_daemon_running() and not iscsilib._checkAnyTGT():
        iscsilib.restart_daemon()


def path(SCSIid):
    if _is_mpath_daemon_running() and _is_valid_multipath_device(SCSIid):
        return os.path.join(MP_INUSEDIR, SCSIid)
    return DEVBYIDPATH + "/scsi-" + SCSIid


def status(SCSIid):
    pass
