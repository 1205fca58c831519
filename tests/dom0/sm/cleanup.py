# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's cleanup: what of the garbage collector others touch (sm-api, section 9)."""

import journaler
import lvhdutil
import lvmcache
import util

LOCK_TYPE_RUNNING = "running"
JRN_LEAF = "leaf"
DRIVERS_OF_LVHD = ("lvm", "lvmoiscsi", "lvmohba", "lvmofcoe", "lvhd", "lvhdoiscsi", "lvhdohba", "lvhdofcoe")


class VDI(object):
    """Names that others use."""

    JRN_LEAF = JRN_LEAF


class SR(object):
    """Names that others use."""

    TMP_RENAME_PREFIX = "OLD_"


def normalizeType(type):
    if type in DRIVERS_OF_LVHD:
        return "lvhd"
    raise util.SMException("Unsupported SR type: %s" % type)


def gc(session, srUuid, inBackground, dryRun=False):
    ref = session.xenapi.SR.get_by_uuid(srUuid)
    normalizeType(session.xenapi.SR.get_record(ref)["type"])
    util.SMlog("=== GC for %s (double: nothing is merged) ===" % srUuid)


def gc_force(session, srUuid, force=False, dryRun=False, lockSR=False):
    gc(session, srUuid, False)
    lvmCache = lvmcache.LVMCache(lvhdutil.VG_PREFIX + srUuid)
    # a merge that was under way comes first, and there is no double of it
    if not journaler.Journaler(lvmCache).getAll(JRN_LEAF):
        _removeUnused(lvmCache)


def _removeUnused(lvmCache):
    """Takes away hidden images that are nobody's parent, until there is none."""
    while True:
        vdis = lvhdutil.getVDIInfo(lvmCache).values()
        parents = [vdi.parentUuid for vdi in vdis]
        unused = [vdi for vdi in vdis if vdi.hidden and not vdi.scanError and vdi.uuid not in parents]
        if not unused:
            return
        for vdi in unused:
            lvmCache.remove(vdi.lvName)


def start_gc_service(sr_uuid, wait=False):
    util.SMlog("Kicking SMGC@%s" % sr_uuid)


def abort(srUuid, soft=False):
    return True


def abort_optional_reenable(srUuid):
    pass


def should_preempt(session, srUuid):
    return False
