# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's cleanup: what of the garbage collector others touch (sm-api, section 9)."""

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
    util.SMlog("=== GC for %s (double: nothing is collected) ===" % srUuid)


def gc_force(session, srUuid, force=False, dryRun=False, lockSR=False):
    gc(session, srUuid, False)


def start_gc_service(sr_uuid, wait=False):
    util.SMlog("Kicking SMGC@%s" % sr_uuid)


def abort(srUuid, soft=False):
    return True


def abort_optional_reenable(srUuid):
    pass


def should_preempt(session, srUuid):
    return False
