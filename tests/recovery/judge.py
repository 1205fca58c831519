# SPDX-License-Identifier: LGPL-2.1-only
"""One instant: our resign of a copy of the LUN, sm's recovery of another, and what differs."""
from __future__ import absolute_import, division, print_function

import hashlib
import struct

from lvhd import reader, samples
from relvm import errors, identity
from relvm.engine import blockdev, resign

# Differences that are meant: the sentence a report has for each
DESIGNED = {
    "undone": "the operation had not ended: sm shows the new disk that nobody was told of, the resign undoes it",
    "begun": "the operation had not ended: the resign keeps the new disk, sm does not show it",
    "kept": "the disk was being deleted: the resign keeps it while its image says so, sm does not show it",
    "lost": "sm's own recovery spoils the disk, which reads as the facts say after the resign",
    "gone": "the disk was being deleted: the resign leaves it out, sm shows it once more",
}


class Verdict(object):
    """trace, operation, state; refused: '' or the name of the reason, sentence; compared: how many VDIs; attempts: of sm on its own copy;
    recovered: whether sm got there; designed: [(word of DESIGNED, uuid)]; differences [sentence]; notes: the resign's report."""

    def __init__(self, operation, state):
        self.operation = operation
        self.state = state
        self.refused = self.sentence = ""
        self.compared = 0
        self.attempts = 0
        self.recovered = None
        self.designed = []
        self.differences = []
        self.notes = []

    def as_data(self):
        return dict(vars(self))


def user_visible(vdis):
    """{uuid: facts} of what a user has; snapshots are not part of a resigned SR."""
    return dict((vdi["uuid"], vdi) for vdi in vdis if not vdi["hidden"] and not vdi["snapshot"])


def contents(path, uuids):
    """{uuid: {sector: 512 bytes that are not zero} or the reason why it cannot be read}"""
    found = {}
    with reader.Lun(path, busy=True) as lun:
        for uuid in uuids:
            try:
                found[uuid] = lun.virtual_sectors(uuid)
            except (reader.BadImage, struct.error, KeyError) as error:
                found[uuid] = "unreadable: %s" % error
    return found


def digest(sectors):
    """Of what contents() gives for one VDI."""
    if not isinstance(sectors, dict):
        return sectors
    result = hashlib.sha256()
    for number in sorted(sectors):
        result.update(struct.pack(str(">Q"), number) + sectors[number])
    return result.hexdigest()


def as_the_facts_say(sectors, before, after, unknown=False):
    """'' if every sector is the one of before or of after, else a sentence. Both: {sector: 512 bytes}.

    unknown: nobody knows what other sectors than those of before held then; they are not looked at."""
    if not isinstance(sectors, dict):
        return sectors
    zero = b"\0" * 512
    numbers = set(before) if unknown else set(before) | set(after) | set(sectors)
    wrong = [number for number in numbers if sectors.get(number, zero) not in (before.get(number, zero), after.get(number, zero))]
    return wrong and "%d sectors are neither old nor new, the first is %d" % (len(wrong), min(wrong)) or ""


def resigned(path, verdict):
    """Resign the image. Returns the plan, or None after a refusal."""
    device = blockdev.Device(path)
    try:
        plan = resign.resign(device, identity.new_uuid()).plan
    except errors.Refused:
        error = errors.current()
        verdict.refused, verdict.sentence = error.code(), str(error)
        return None
    finally:
        device.close()
    verdict.notes.extend(plan.report)
    return plan


def records(vdis, sr_type="vhd"):
    """xapi's records of the VDIs that a trace's facts list."""
    found = []
    for vdi in vdis:
        config = {"vdi_type": {"raw": "aio"}.get(vdi["type"], vdi["type"])}
        if vdi["parent"]:
            config["vhd-parent"] = vdi["parent"]
        found.append({"uuid": vdi["uuid"], "location": vdi["uuid"], "name_label": vdi["name"], "managed": not vdi["hidden"],
                      "read_only": vdi["hidden"], "virtual_size": str(vdi["size"]), "is_a_snapshot": vdi["snapshot"],
                      "sm_config": config})
    return found


def presence(operation, ours, theirs, verdict):
    """Compare what a user sees: uuids that the resign kept, uuids that sm shows."""
    before, after = user_visible(operation["before"]), user_visible(operation["after"])
    every = dict((vdi["uuid"], vdi) for vdi in operation["before"] + operation["after"])
    for uuid in sorted(theirs - ours):
        if uuid in before and uuid in after:
            verdict.differences.append("%s is missing after the resign" % uuid)
        elif uuid in before:
            verdict.designed.append(("gone", uuid))
        elif uuid in every and every[uuid]["hidden"]:
            verdict.differences.append("sm shows %s, which is a base copy" % uuid)
        else:
            verdict.designed.append(("undone", uuid))
    for uuid in sorted(ours - theirs):
        if uuid in before and uuid in after:
            verdict.differences.append("%s is missing after sm's recovery" % uuid)
        elif uuid in before:
            verdict.designed.append(("kept", uuid))
        elif uuid in every and every[uuid]["hidden"]:
            verdict.differences.append("the resign shows %s, which is a base copy" % uuid)
        else:
            verdict.designed.append(("begun", uuid))


def facts(operation):
    """{uuid: (sectors before, sectors after, whether others are unknown)} of the VDIs that exist before and after with known contents.

    sm does not clear a raw disk: where nobody wrote it shows what its extents held, and so does a disk that lies on it.
    """
    before, after = user_visible(operation["before"]), user_visible(operation["after"])
    found = {}
    for uuid in before:
        if uuid in after and "expect" in before[uuid]:
            raw = _on_raw(operation["before"], uuid) or _on_raw(operation["after"], uuid)
            found[uuid] = (samples.expected_sectors(before[uuid]), samples.expected_sectors(after[uuid]), raw)
    return found


def _on_raw(vdis, uuid):
    """Whether the chain of a VDI ends in a raw one."""
    known = dict((vdi["uuid"], vdi) for vdi in vdis)
    while known.get(uuid, {}).get("parent"):
        uuid = known[uuid]["parent"]
    return known.get(uuid, {}).get("type") == "raw"


def recovered(operation, path, sr, host, collect):
    """What sm makes of the image by itself, as plain data.

    attempts; recovered: whether it got there; shown: uuids of what a user sees; of the VDIs that last, digests: {uuid: of its contents} and
    wrong: {uuid: what is not as the facts say}; note: why it did not get there, or what its garbage collector said as it failed.
    """
    seen = host.attach(path, sr, records(operation["before"]), attempts=6, collect=collect)
    lasting = facts(operation)
    data = {"attempts": len(seen.errors) + seen.attached, "recovered": seen.attached and not seen.scanned,
            "shown": sorted(uuid for uuid, record in seen.vdis.items() if record["managed"] and not record["is_a_snapshot"]),
            "digests": {}, "wrong": {}, "note": ""}
    if not data["recovered"]:
        data["note"] = "sm: %s" % (seen.errors[-1:] or [seen.scanned])[0]
        return data
    if seen.collected:
        data["note"] = "sm's garbage collector: %s" % seen.collected
    for uuid, sectors in contents(path, [uuid for uuid in data["shown"] if uuid in lasting]).items():
        data["digests"][uuid] = digest(sectors)
        data["wrong"][uuid] = as_the_facts_say(sectors, *lasting[uuid])
    return data


def judge(operation, state, path, theirs=None, host=None, collect=False):
    """The Verdict on one instant. path: an image of it, which is changed. theirs: what recovered() said of it, or None.
    host: host.Host that attaches the resigned SR, or None."""
    verdict = Verdict(operation["name"], state)
    lasting = facts(operation)
    if theirs is not None:
        verdict.attempts, verdict.recovered = theirs["attempts"], theirs["recovered"]
        if theirs["note"]:
            verdict.notes.append(theirs["note"])
    plan = resigned(path, verdict)
    if plan is None:
        return verdict
    kept = dict((vdi.uuid, plan.uuids[vdi.uuid]) for vdi in plan.kept if not vdi.hidden)
    mine = contents(path, [kept[uuid] for uuid in lasting if uuid in kept])
    for uuid in sorted(lasting):
        if uuid not in kept:
            verdict.differences.append("%s is not kept" % uuid)
            continue
        wrong = as_the_facts_say(mine[kept[uuid]], *lasting[uuid])
        if wrong:
            verdict.differences.append("%s resigned: %s" % (uuid, wrong))
    if host is not None:
        _attach_ours(host, path, plan, kept, mine, verdict, collect)
    if theirs is None or not theirs["recovered"]:
        return verdict
    presence(operation, set(kept), set(theirs["shown"]), verdict)
    for uuid in sorted(set(theirs["digests"]) & set(kept)):
        verdict.compared += 1
        if theirs["digests"][uuid] == digest(mine[kept[uuid]]):
            continue
        if theirs["wrong"][uuid] and not as_the_facts_say(mine[kept[uuid]], *lasting[uuid]):
            verdict.designed.append(("lost", uuid))
            verdict.notes.append("sm's own recovery: %s" % theirs["wrong"][uuid])
        else:
            verdict.differences.append("%s reads differently after sm's recovery: %s" % (
                uuid, theirs["wrong"][uuid] or "that is as the facts say"))
    return verdict


def _attach_ours(host, path, plan, kept, mine, verdict, collect):
    """sm, which has never seen this SR, attaches it once; it must see and leave what the plan says."""
    seen = host.attach(path, plan.sr_uuid, collect=collect)
    if not seen.attached or seen.scanned or seen.collected:
        verdict.differences.append("sm on the resigned SR: %s" % (seen.errors[-1:] + [seen.scanned, seen.collected]))
        return
    shown = set(uuid for uuid, record in seen.vdis.items() if record["managed"])
    if shown != set(kept.values()):
        verdict.differences.append("sm shows %s of the resigned SR, the plan says %s" % (sorted(shown), sorted(kept.values())))
    now = contents(path, list(mine))
    for uuid in sorted(mine):
        if digest(now[uuid]) != digest(mine[uuid]):
            verdict.differences.append("%s changed as sm attached the resigned SR" % uuid)
