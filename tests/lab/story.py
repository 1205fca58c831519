# SPDX-License-Identifier: LGPL-2.1-only
"""What is done in the lab, point by point.

An SR is made on an empty LUN, with disks of every kind: one with two snapshots and writes between them, a plain one, a raw one, one that
nobody wrote to. It stays attached, one of its disks stays in use. The array clones its LUN three times:

1. "create": sr-create type=relvmo..., then what an administrator does by hand: probe, introduce, plug, scan;
2. "killed": fn=attach, whose driver is killed at a step of its own, again at a later one, and then is left to finish;
3. "attach": fn=attach, undisturbed, and once more, which has to change nothing.

After each, every disk of the copy is read to the last byte and compared with what had been written to the original, the copy is used (a
snapshot), and given up. At the end the original and its snapshots are compared too. Everything is removed, also after a failure.
"""

import json
import shlex
import time

from lab import array, disks
from lab.dom0 import Failed, Killer, plugin_words, version_of, xe_line

LABEL = "relvmoiscsi-lab"
RESIGNED = "successfully resigned"
TYPES = {"iSCSI": ("lvmoiscsi", "relvmoiscsi"), "HBA": ("lvmohba", "relvmohba")}
# What the SM log says when the next step begins: switch 1, apply, switch 2, verify
KILLED_AFTER = ("log", "switch 1", "apply", "switch 2")


class Wrong(Exception):
    """A point is not as it should be; the text says how."""


class NotDone(Exception):
    """A point could not be tried; the text says why."""


class Lab:
    """dom0: dom0.Dom0; array: array.Array; config: device config of the empty LUN; size: of a disk, in bytes; log: the SM log;
    vdi: further words of vdi-create.

    points: [{name, verdict (ok, failed, not done), sentence, seconds}]; facts: {what: which}; selftest: its answer.
    """

    def __init__(self, dom0, array, config, size, log, say, acts=("create", "killed", "attach"), vdi=()):
        self.dom0 = dom0
        self.array = array
        self.config = config
        self.size = size
        self.log = log
        self.say = say
        self.acts = acts
        self.vdi = list(vdi)
        self.transport = "iSCSI" if config.get("target") else "HBA"
        self.type, self.resigner = TYPES[self.transport]
        self.points = []
        self.facts = {"transport": self.transport}
        self.selftest = None
        self.private = {}
        self.vbds = []
        self.srs = {}
        self.scratch = ""
        self.disks = []
        self.held = None
        # device configs of the clones, for the report's mask
        self.seen = []

    # points

    def point(self, name, step, *arguments):
        """One point; whether it is ok. What goes wrong is told in it."""
        begin = time.monotonic()
        verdict, sentence = "failed", ""
        try:
            sentence = step(*arguments) or ""
            verdict = "ok"
        except NotDone as error:
            verdict, sentence = "not done", str(error)
        except (Wrong, Failed, array.NoClone, ValueError, KeyError, IndexError) as error:
            sentence = f"{type(error).__name__}: {error}"
        except KeyboardInterrupt:
            sentence = "interrupted"
            raise
        finally:
            self.points.append({"name": name, "verdict": verdict, "sentence": sentence, "seconds": time.monotonic() - begin})
            self.say(f"== {name}: {verdict} {sentence}")
        return verdict == "ok"

    def run(self):
        """Everything. Raises nothing but what the user does."""
        try:
            if not self.point("host", self.look_at_host) or not self.point("LUN is empty", self.look_at_lun):
                return
            self.point("selftest", self.run_selftest)
            if not self.point("make the original", self.make):
                return
            for number, act in enumerate(self.acts, 1):
                self.point(f"{act}: clone of the array", self.take_clone, number)
                if number in self.array.clones:
                    getattr(self, "act_" + act)(act, self.array.clones[number])
                    self.point(f"{act}: gone again", self.give_up, act)
            self.point("original: its disk in use", self.release)
            for disk in self.disks:
                self.point(f"original: {disk.name}", self.same, disk, disk.uuid)
        finally:
            self.point("clean up", self.clean_up)

    # before anything is written

    def look_at_host(self):
        dom0 = self.dom0
        self.master = dom0.listed("pool-list", "params=master")[0]
        hosts = dom0.listed("host-list", "params=uuid")
        for host in hosts:
            self.private[dom0.xe("host-param-get", "uuid=" + host, "param-name=name-label")] = "host"
        self.facts["relvmoiscsi"] = version_of(dom0.plugin(self.master, "version"))
        self.facts["hosts"] = len(hosts)
        # an error where the key is not set
        status, out, _ = dom0.attempt(xe_line(["host-param-get", "uuid=" + self.master, "param-name=other-config",
                                               "param-key=multipathing"]))
        self.facts["multipathing"] = "on" if not status and out.strip() == "true" else "off"
        left = [label for label in dom0.listed("sr-list", "params=name-label") if label.startswith(LABEL)]
        if left:
            raise Wrong("an earlier run left %s: forget or destroy them first" % ", ".join(left))
        for host in hosts:
            check = dom0.asked(host, "check")
            if not check.get("ok", not check.get("failures")):
                raise Wrong("fn=check: " + json.dumps(check.get("failures", check))[:600])
        self.scratch = dom0.run("mktemp -d /var/tmp/relvmoiscsi-lab.XXXXXX")

    def look_at_lun(self):
        """There is no SR and no other LVM on it, as far as a host can tell."""
        answer = self.dom0.asked(self.master, "preview", **self.config)
        codes = [reason["code"] for reason in answer["reasons"]]
        if answer["uuid"] or codes != ["NoLabel"]:
            raise Wrong("this LUN is not empty, or cannot be read: %s" % [reason["sentence"] for reason in answer["reasons"]])

    def run_selftest(self):
        self.selftest = self.dom0.asked(self.master, "selftest")
        self.facts.update(self.selftest["versions"])
        if not self.selftest["ok"]:
            raise Wrong("; ".join(self.selftest["failures"]))
        return "%d points in %s s" % (len(self.selftest["points"]), self.selftest["seconds"])

    # the original

    def make(self):
        dom0 = self.dom0
        if self.transport == "HBA":
            # sm's own scan of the bus, which ends in an error that lists the LUNs; the preview has taken away what it had found
            dom0.attempt(xe_line(["sr-probe", "type=" + self.type, "host-uuid=" + self.master]))
        self.srs["original"] = dom0.xe("sr-create", "type=" + self.type, "name-label=" + LABEL + " original", "shared=true",
                                       "host-uuid=" + self.master, "content-type=user", *self._words(self.config))
        for name, raw in (("chain", False), ("plain", False), ("raw", True), ("empty", False)):
            uuid = dom0.xe("vdi-create", "sr-uuid=" + self.srs["original"], "type=user", f"virtual-size={self.size}",
                           f"name-label={LABEL} {name}", *(["sm-config:type=raw"] if raw else self.vdi))
            self.disks.append(disks.Disk(name, uuid, self.size, raw))
        chain, plain, raw, _ = self.disks
        last = self.size // disks.PIECE - 1
        disks.write(self, chain, (0, 4, "chain, before its first snapshot"), (last, 1, "the end of chain"))
        self.snapshot(chain, "first snapshot")
        disks.write(self, chain, (2, 3, "chain, between its snapshots"))
        self.snapshot(chain, "second snapshot")
        disks.write(self, chain, (1, 1, "chain, after its last snapshot"))
        disks.write(self, plain, (0, 1, "plain"), (9, 2, "plain, further on"))
        disks.write(self, raw, (3, 2, "raw"), (last, 1, "the end of raw"))
        dom0.run("sync")
        # as a running VM has it
        self.held = disks.Plugged(self, plain.uuid, True)
        self.held.__enter__()
        return "%d disks and snapshots of %d MiB" % (len(self.disks), self.size >> 20)

    def snapshot(self, disk, name):
        uuid = self.dom0.xe("vdi-snapshot", "uuid=" + disk.uuid)
        self.disks.append(disk.frozen(f"{name} of {disk.name}", uuid))

    def _words(self, config):
        return [f"device-config:{key}={value}" for key, value in config.items()]

    # the clones

    def take_clone(self, number):
        self.seen.append(self.array.clone(number))

    def kept(self):
        """The disks that a copy has."""
        return [disk for disk in self.disks if "snapshot" not in disk.name]

    def preview(self, config, known=True):
        answer = self.dom0.asked(self.master, "preview", **config)
        if not answer["possible"]:
            raise Wrong("refused: %s" % [reason["sentence"] for reason in answer["reasons"]])
        if known:
            keep = [vdi["uuid"] for vdi in answer["vdis"] if vdi["action"] == "keep"]
            missing = [disk.name for disk in self.kept() if disk.uuid not in keep]
            if answer["copy_of"] != self.srs["original"] or missing:
                raise Wrong("it is taken for a copy of %s, and keeps %s" % (answer["copy_of"], keep))

    def act_create(self, act, config):
        if not self.point(f"{act}: preview", self.preview, config) or not self.point(f"{act}: resign", self.resign, config):
            return
        if self.point(f"{act}: introduce and plug", self.adopt, act, config):
            self.look_at_copy(act)

    def resign(self, config):
        status, out, err = self.dom0.attempt(xe_line(["sr-create", "type=" + self.resigner, "name-label=" + LABEL + " resign",
                                                      "shared=true", "host-uuid=" + self.master, *self._words(config)]))
        if RESIGNED not in out + err:
            raise Wrong((err or out).strip()[-800:])
        if not status:
            raise Wrong("sr-create ended without the error that says success")

    def adopt(self, act, config):
        dom0 = self.dom0
        probe = dom0.asked(self.master, "preview", **config)
        uuid = probe["uuid"]
        if not uuid or uuid == self.srs["original"]:
            raise Wrong("the LUN carries SR %s" % uuid)
        dom0.xe("sr-introduce", "uuid=" + uuid, "type=" + self.type, f"name-label={LABEL} {act}", "shared=true", "content-type=user")
        self.srs[act] = uuid
        for host in dom0.listed("host-list", "params=uuid"):
            pbd = dom0.xe("pbd-create", "sr-uuid=" + uuid, "host-uuid=" + host, *self._words(config))
            dom0.xe("pbd-plug", "uuid=" + pbd)
        dom0.xe("sr-scan", "uuid=" + uuid)

    def act_attach(self, act, config):
        if not self.point(f"{act}: preview", self.preview, config) or not self.point(f"{act}: fn=attach", self.attach, act, config, True):
            return
        self.point(f"{act}: fn=attach once more", self.attach, act, config, False)
        self.look_at_copy(act)

    def attach(self, act, config, resigned=None):
        self._attached(act, self.dom0.asked(self.master, "attach", name_label=f"{LABEL} {act}", **config), resigned)

    def _attached(self, act, answer, resigned):
        before = self.srs.get(act, answer["sr"])
        self.srs[act] = answer["sr"]
        if answer["sr"] == self.srs["original"] or answer["sr"] != before:
            raise Wrong("fn=attach answers SR %s" % answer["sr"])
        if resigned not in (None, answer["resigned"]):
            raise Wrong("resigned: %s" % answer["resigned"])
        if answer["from"] != self.srs["original"]:
            raise Wrong("it says that the SR comes from %s" % (answer["from"] or "nowhere"))
        if [pbd for pbd in answer["pbds"] if not pbd["attached"]]:
            raise Wrong("not plugged everywhere")

    def act_killed(self, act, config):
        self.point(f"{act}: preview", self.preview, config)
        for step in KILLED_AFTER:
            if act not in self.srs:
                self.point(f"{act}: driver killed after {step}", self.kill, act, config, step)
        if act in self.srs or self.point(f"{act}: fn=attach again", self.attach, act, config):
            self.look_at_copy(act)

    def kill(self, act, config, step):
        """The call has to fail, and the LUN has to be one that the next call takes."""
        words = plugin_words(self.master, "attach", dict(config, name_label=f"{LABEL} {act}"))
        with Killer(self.dom0, self.log, f"relvmoiscsi: {config['SCSIid']}: {step} took") as killer:
            status, out, err = self.dom0.attempt(xe_line(words))
        if not status:
            self._attached(act, json.loads(out), None)
            raise NotDone("the driver had ended before it was killed")
        if not killer.killed:
            raise Wrong(err.strip()[-800:])
        self.preview(config, False)
        return "killed; the preview takes the LUN"

    # a copy

    def look_at_copy(self, act):
        begin = {}
        if not self.point(f"{act}: which disk is which", self.read_map, act, begin):
            return
        for disk in self.kept():
            self.point(f"{act}: {disk.name}", self.same, disk, begin[disk.uuid])
        self.point(f"{act}: a snapshot of the copy", self.use, begin[self.disks[0].uuid], self.disks[0])

    def read_map(self, act, found):
        """fn=map knows every disk, and the SR shows these alone."""
        maps = self.dom0.asked(self.master, "map", sr=self.srs[act])["srs"]
        found.update((vdi["from"], vdi["uuid"]) for entry in maps for vdi in entry["vdis"])
        shown = self.dom0.listed("vdi-list", "sr-uuid=" + self.srs[act], "managed=true", "params=uuid")
        wanted = [found.get(disk.uuid) for disk in self.kept()]
        if None in wanted or sorted(shown) != sorted(wanted):
            raise Wrong("it knows %d disks, the SR shows %d, and there are %d" % (len(found), len(shown), len(wanted)))

    def same(self, disk, uuid):
        differs = disks.compare(self, disk, uuid)
        if differs:
            raise Wrong(differs)
        return "%d bytes the same" % disk.size

    def use(self, uuid, disk):
        snapshot = self.dom0.xe("vdi-snapshot", "uuid=" + uuid)
        differs = disks.compare(self, disk, snapshot)
        self.dom0.xe("vdi-destroy", "uuid=" + snapshot)
        if differs:
            raise Wrong("its snapshot: " + differs)

    # the end

    def give_up(self, act):
        """As docs/dr.md says: fn=discard of what fn=attach has attached, unplug and forget by hand of what was introduced by hand."""
        sr = self.srs.get(act)
        if sr is None:
            raise NotDone("there is no copy")
        if act == "create":
            how = "unplugged and forgotten"
            self.forget(sr)
        else:
            how = "fn=discard"
            answer = self.dom0.asked(self.master, "discard", sr=sr)
            self.say(json.dumps(answer))
        del self.srs[act]
        left = self.dom0.listed("sr-list", "uuid=" + sr)
        if left:
            raise Wrong("the SR is still known")
        return how

    def forget(self, sr):
        for pbd in self.dom0.listed("pbd-list", "sr-uuid=" + sr, "params=uuid"):
            self.dom0.xe("pbd-unplug", "uuid=" + pbd)
        self.dom0.xe("sr-forget", "uuid=" + sr)

    def release(self):
        held, self.held = self.held, None
        held.__exit__(None, None, None)

    def clean_up(self):
        """As far as it can, one by one; what stayed is the sentence."""
        stayed = []

        def attempt(what, *lines):
            for line in lines:
                status, _, err = self.dom0.attempt(line)
                if status:
                    stayed.append(f"{what}: {err.strip()[-200:]}")

        for vbd in list(self.vbds):
            attempt("disk of the control domain", xe_line(["vbd-unplug", "uuid=" + vbd]), xe_line(["vbd-destroy", "uuid=" + vbd]))
        # what a failure kept from being noted
        known = {"uuid=" + sr for sr in self.srs.values()}
        if self.srs:
            for act in self.acts:
                status, out, _ = self.dom0.attempt(xe_line(["sr-list", f"name-label={LABEL} {act}", "params=uuid", "--minimal"]))
                known.update("uuid=" + sr for sr in out.strip().split(",") if sr and not status)
        original = self.srs.get("original")
        for word in sorted(known - {f"uuid={original}"}):
            attempt("copy", *self._unplug(word), xe_line(["sr-forget", word]))
        if original:
            for vdi in self._values("vdi-list", "sr-uuid=" + original, "managed=true"):
                attempt("disk of the original", xe_line(["vdi-destroy", "uuid=" + vdi]))
            attempt("original", *self._unplug("uuid=" + original), xe_line(["sr-destroy", "uuid=" + original]))
        if self.scratch:
            attempt("files", "rm -rf " + shlex.quote(self.scratch))
        self.srs = {}
        self.array.remove()
        if stayed:
            raise Wrong("; ".join(stayed))

    def _values(self, *words):
        status, out, _ = self.dom0.attempt(xe_line([*words, "params=uuid", "--minimal"]))
        return [value for value in out.strip().split(",") if value and not status]

    def _unplug(self, word):
        return [xe_line(["pbd-unplug", "uuid=" + pbd]) for pbd in self._values("pbd-list", "sr-" + word)]
