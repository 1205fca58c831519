# SPDX-License-Identifier: LGPL-2.1-only
"""A reader's LVM for doubles without root: pvs, vgs, lvs, lvdisplay, vgck, and activation as a copy.

It reads the metadata of the disks (dom0.lvmeta) and prints it in LVM's formats. It answers as LVM 2.03 does where the
resign job depends on it: rc 5 for what is not found or exported, duplicate PVs named on stderr and hidden, LVM's own
lock files, the filter of --config, LVM_DEVICE. Commands that change metadata are refused: that needs real LVM.
"""

import fcntl
import json
import os
import re
import sys

from dom0 import lvmeta
from dom0.devices import Devices
from dom0.lvnames import mapper_name, strip_dev
from dom0.state import State, make_directory, make_link, remove_file

UNITS = {"b": 1, "s": 512, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
         "B": 1, "S": 512, "K": 10 ** 3, "M": 10 ** 6, "G": 10 ** 9, "T": 10 ** 12}
DEFAULT_FIELDS = {
    "pvs": "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free",
    "vgs": "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free",
    "lvs": "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv",
}
PREFIXES = {"pvs": "pv_", "vgs": "vg_", "lvs": "lv_"}
HEADINGS = {
    "pv_name": "PV", "vg_name": "VG", "pv_fmt": "Fmt", "pv_attr": "Attr", "pv_size": "PSize", "pv_free": "PFree",
    "pv_count": "#PV", "lv_count": "#LV", "snap_count": "#SN", "vg_attr": "Attr", "vg_size": "VSize", "vg_free": "VFree",
    "lv_name": "LV", "lv_attr": "Attr", "lv_size": "LSize", "pv_uuid": "PV UUID", "vg_uuid": "VG UUID", "lv_uuid": "LV UUID",
    "lv_tags": "LV Tags", "vg_tags": "VG Tags", "devices": "Devices",
}
NUMERIC = ("pv_count", "lv_count", "seg_count", "snap_count", "vg_seqno", "vg_extent_count", "vg_free_count", "vg_mda_count",
           "pv_mda_count", "vg_mda_used_count", "pv_mda_used_count", "pv_pe_count", "pv_pe_alloc_count", "lv_kernel_major",
           "lv_kernel_minor")
FLAGS = ("--noheadings", "--nosuffix", "--unbuffered", "--readonly", "-a", "--all", "--segments", "-v", "--verbose", "-c",
         "--colon", "--nolocking", "--ignorelockingfailure", "-P", "--partial", "--aligned", "--unquoted", "--nameprefixes",
         "-q", "--quiet", "--no-headings", "--refresh", "-f", "--force", "-y", "--yes", "-K", "--shared", "--reportformat")


class Failed(Exception):
    """The command fails with LVM's rc 5 and this text."""


class Call(object):
    """One command line, taken apart."""

    def __init__(self, args):
        self.args = args
        self.names = []
        self.flags = set()
        self.values = {}
        index = 0
        while index < len(args):
            arg = args[index]
            index += 1
            if not arg.startswith("-"):
                self.names.append(arg)
            elif "=" in arg and arg.startswith("--"):
                key, value = arg.split("=", 1)
                self.values[key] = value
            elif re.match(r"-a[elyn]+$", arg):
                self.values["-a"] = arg[2:]
            elif arg in FLAGS and arg != "--reportformat":
                self.flags.add(arg)
            else:
                self.values[arg] = args[index]
                index += 1

    def value(self, *names):
        """The value of the first given of the options `names`; None if absent."""
        for name in names:
            if name in self.values:
                return self.values[name]
        return None


class Host(object):
    """What this call sees: PVs on the devices that filter and LVM_DEVICE let through, duplicates sorted out."""

    def __init__(self, root, call):
        self.root = root
        self.call = call
        self.pvs = []
        self.hidden = []
        self.warnings = []
        self.active = {}
        self.open = set()
        with State(root, readonly=True) as state:
            devices = Devices(state)
            self.refuses_duplicates = state["refuses_duplicates"]
            for name, mapping in state["dm"].items():
                self.active[name] = mapping
                if devices.is_open(name):
                    self.open.add(name)
            for name, image, number in self.visible(state):
                self.add(name, image, number)

    def visible(self, state):
        """(path, image, [major, minor]) of each device that this call may scan."""
        mapped, found = set(), []
        for mapping in state["dm"].values():
            if mapping["kind"] == "mpath":
                mapped.update(mapping["slaves"])
                disk = state["disks"].get(mapping["slaves"][0])
                if disk:
                    found.append(("dm-%d" % mapping["minor"], disk["image"], mapping["dev"]))
        found += [(name, disk["image"], disk["dev"]) for name, disk in sorted(state["disks"].items()) if name not in mapped]
        only = os.environ.get("LVM_DEVICE")
        if only:
            directory = only if only.startswith(self.root) else self.root + only
            entries = os.listdir(directory) if os.path.isdir(directory) else []
            inside = [Devices(state).disk_of_path(os.path.join(directory, entry)) for entry in entries]
            found = [entry for entry in found if entry[0] in inside]
        result = []
        for name, image, number in found:
            if self.accepted([self.root + "/dev/" + name] + self.aliases(state, name)):
                result.append((self.root + "/dev/" + name, image, number))
        return result

    def aliases(self, state, name):
        """Other names that udev gives the device."""
        found = []
        for directory, _, files in os.walk(self.root + "/dev"):
            for entry in files:
                path = os.path.join(directory, entry)
                if os.path.islink(path) and Devices(state).disk_of_path(path) == name:
                    found.append(path)
        return found

    def accepted(self, names):
        """Whether the filters of --config accept a device of these names: the first pattern that matches any decides."""
        config = self.call.value("--config") or ""
        for key in ("global_filter", "filter"):
            match = re.search(r"(?<![_a-z])%s\s*=\s*\[(.*?)\]\s*(?:[a-z_}]|$)" % key, config, re.S)
            if not match:
                continue
            verdict = None
            for quoted in re.findall(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'', match.group(1)):
                pattern = (quoted[0] or quoted[1]).replace("\\\\", "\\")
                expression = pattern[2:pattern.rindex(pattern[1])]
                if any(re.search(expression, name) for name in names):
                    verdict = pattern[0] == "a"
                    break
            if verdict is False:
                return False
        return True

    def add(self, path, image, number):
        """Read the device at `path`; a second PV of the same id is hidden with LVM's warning."""
        try:
            pv = lvmeta.read_pv(image, path)
        except lvmeta.NoMetadata as e:
            if "No PV label" not in str(e):
                self.warnings.append("  WARNING: %s" % e)
            return
        except (OSError, IOError) as e:
            self.warnings.append("  %s: read failed: %s" % (path, e.strerror))
            return
        pv.number = number
        if pv.error:
            self.warnings.append("  WARNING: %s" % pv.error)
        for other in self.pvs:
            if other.uuid == pv.uuid:
                self.hidden.append(pv)
                self.warnings.append("  WARNING: Not using device %s for PV %s.\n"
                                     "  WARNING: PV %s prefers device %s because device was seen first."
                                     % (path, pv.uuid, pv.uuid, other.device))
                return
        self.pvs.append(pv)

    def vgs(self):
        """[(VolumeGroup, [PhysicalVolume])] of what is visible."""
        found = {}
        for pv in self.pvs:
            if pv.vg is not None:
                found.setdefault(pv.vg.uuid, (pv.vg, []))[1].append(pv)
        return sorted(found.values(), key=lambda pair: pair[0].name)

    def vg(self, name):
        """The VG called `name`; raises Failed when there is none or more than one."""
        chosen = [pair for pair in self.vgs() if pair[0].name == name]
        if not chosen:
            raise Failed('  Volume group "%s" not found\n  Cannot process volume group %s' % (name, name))
        if len(chosen) > 1:
            raise Failed("  Multiple VGs found with the same name: skipping %s\n"
                         "  Use --select vg_uuid=<uuid> in place of the VG name." % name)
        return chosen[0]


def main(root, argv):
    """Run one LVM command; rc 0, 3 for a bad command line, or 5."""
    command, call = argv[0], Call(argv[1:])
    run = {"pvs": report, "vgs": report, "lvs": report, "vgck": check, "lvdisplay": display, "lvchange": change,
           "vgchange": change}.get(command)
    if run is None:
        sys.stderr.write("  %s: this double has no LVM that writes (file mode)\n" % command)
        return 5
    try:
        host = Host(root, call)
        for warning in host.warnings:
            sys.stderr.write(warning + "\n")
        return run(root, command, call, host) or 0
    except Failed as e:
        sys.stderr.write("%s\n" % e)
        return 5


class VgLock(object):
    """LVM's lock file of a VG, V_<name>, as lib/locking/file_locking.c takes it."""

    def __init__(self, root, name, exclusive):
        make_directory(root + "/var/lock/lvm")
        self.path = "%s/var/lock/lvm/V_%s" % (root, name)
        self.mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        self.fd = None

    def __enter__(self):
        while True:
            self.fd = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o777)
            fcntl.flock(self.fd, self.mode)
            try:
                if os.stat(self.path).st_ino == os.fstat(self.fd).st_ino:
                    return self
            except OSError:
                pass
            os.close(self.fd)

    def __exit__(self, kind, value, trace):
        os.close(self.fd)


def check(root, command, call, host):
    """vgck: rc 5 when a VG is missing or its metadata is broken."""
    for pv in host.pvs:
        if pv.error:
            raise Failed("  Volume group metadata on %s is inconsistent" % pv.device)
    for name in call.names:
        host.vg(strip_dev(root, name))


def display(root, command, call, host):
    """lvdisplay PATH, with -c the colon form."""
    for name in call.names:
        vg_name, lv_name = split_lv(root, name)
        with VgLock(root, vg_name, False):
            vg, pvs = host.vg(vg_name)
            refuse_exported(vg)
            for lv in vg.volumes:
                if lv.name == lv_name:
                    break
            else:
                raise Failed('  Failed to find logical volume "%s/%s"' % (vg_name, lv_name))
        if "-c" in call.flags or "--colon" in call.flags:
            sys.stdout.write("  /dev/%s/%s:%s:%d:1:-1:0:%d:%d:-1:0:-1:-1:-1\n"
                             % (vg.name, lv.name, vg.name, 1 if lv.readonly else 3, lv.size // 512, lv.extents))
        else:
            sys.stdout.write("  --- Logical volume ---\n  LV Path                /dev/%s/%s\n" % (vg.name, lv.name))


def split_lv(root, name):
    """(VG, LV) of an argument; LV None when only a VG is named."""
    parts = strip_dev(root, name).split("/")
    return parts[0], parts[1] if len(parts) > 1 else None


def refuse_exported(vg):
    """Raises Failed for an exported VG."""
    if vg.exported:
        raise Failed('  Volume group "%s" is exported\n  Cannot process volume group %s' % (vg.name, vg.name))


def change(root, command, call, host):
    """lvchange/vgchange -ay, -an; nothing else is possible without writing metadata."""
    activation = call.value("-a", "--activate", "--available")
    if not activation and "--refresh" not in call.flags:
        raise Failed("  %s: this double has no LVM that writes (file mode)" % command)
    for name in call.names:
        vg_name, lv_name = split_lv(root, name)
        with VgLock(root, vg_name, True):
            vg, pvs = host.vg(vg_name)
            refuse_exported(vg)
            chosen = [lv for lv in vg.volumes if lv_name in (None, lv.name)]
            if lv_name and not chosen:
                raise Failed('  Failed to find logical volume "%s/%s"' % (vg_name, lv_name))
            twice = host.refuses_duplicates and [pv for pv in host.hidden if pv.uuid in [p.uuid for p in pvs]]
            if activation and activation[-1] == "y" and twice:
                raise Failed("  Cannot activate LVs in VG %s while PVs appear on duplicate devices." % vg_name)
            for lv in chosen:
                if activation:
                    switch(root, vg, pvs, lv, activation[-1] == "y")


def switch(root, vg, pvs, lv, on):
    """Map or unmap one LV."""
    names = {"vg": vg.name, "name": lv.name}
    name = mapper_name(names)
    uuid = "LVM-" + (vg.uuid + lv.uuid).replace("-", "")
    link = "%s/dev/%s/%s" % (root, vg.name, lv.name)
    with State(root) as state:
        devices = Devices(state)
        if on:
            if name not in state["dm"]:
                table = []
                for start, count, places in lv.segments:
                    pv = [pv for pv in pvs if pv.uuid == vg.pvs[places[0][0]]["id"]][0]
                    first = pv.pe_start + places[0][1] * vg.extent_size
                    table.append([start * vg.extent_size // 512, count * vg.extent_size // 512, pv.number[0], pv.number[1], first // 512])
                devices.add_mapping(name, uuid, "lv", table, lv.readonly)
            elif state["dm"][name]["uuid"] != uuid:
                raise Failed("  device-mapper: create ioctl on %s %s failed: Device or resource busy" % (name, uuid))
            make_link("../mapper/" + name, link)
        elif name in state["dm"]:
            if not devices.remove_mapping(name):
                raise Failed("  Logical volume %s/%s in use." % (vg.name, lv.name))
            remove_file(link)
            try:
                os.rmdir(os.path.dirname(link))
            except OSError:
                pass


def report(root, command, call, host):
    """pvs, vgs, lvs."""
    fields = []
    wanted = call.value("-o", "--options")
    if wanted is None or wanted.startswith("+"):
        fields = DEFAULT_FIELDS[command].split(",")
        wanted = (wanted or "+")[1:]
    fields += [full_name(command, field) for field in wanted.split(",") if field]
    rows = []
    for row in {"pvs": pv_rows, "vgs": vg_rows, "lvs": lv_rows}[command](root, call, host, fields):
        if selected(command, call, row):
            rows.append(row)
    write_rows(command, call, fields, rows)


def full_name(command, field):
    """A field's name with the prefix that LVM lets one leave out."""
    known = ("devices", "segtype", "seg_", "pe_start", "vg_", "pv_", "lv_", "origin", "tags", "mirror", "copy", "snap", "dev_size")
    if field in ("attr", "name", "uuid", "size", "free", "tags", "fmt", "count", "active"):
        return PREFIXES[command] + field
    return field if field.startswith(known) else field


def pv_rows(root, call, host, fields):
    """One row for each PV, or for those named."""
    chosen = host.pvs
    if call.names:
        chosen = []
        with State(root, readonly=True) as state:
            devices = Devices(state)
            for name in call.names:
                device = devices.disk_of_path(name)
                path = root + "/dev/" + device if device else name
                match = [pv for pv in host.pvs if pv.device == path]
                if not match:
                    raise Failed('  Failed to find device for physical volume "%s".' % name
                                 if device is None else '  Failed to find physical volume "%s".' % name)
                chosen += match
    for pv in chosen:
        with VgLock(root, pv.vg.name if pv.vg else "#orphans", False):
            yield row_of(host, pv.vg, [pv], pv, None, None)


def vg_rows(root, call, host, fields):
    """One row for each VG, and each PV of it where a PV field is asked for."""
    chosen = host.vgs()
    if call.names:
        chosen = [host.vg(strip_dev(root, name)) for name in call.names]
    by_pv = any(field.startswith("pv_") and field != "pv_count" or field == "pe_start" for field in fields)
    for vg, pvs in chosen:
        with VgLock(root, vg.name, False):
            for pv in pvs if by_pv else pvs[:1]:
                yield row_of(host, vg, pvs, pv, None, None)


def lv_rows(root, call, host, fields):
    """One row for each LV, or for each segment where a segment field is asked for."""
    by_segment = "--segments" in call.flags or any(
        field in ("segtype", "devices", "pe_start") or field.startswith("seg_") and field != "seg_count" for field in fields)
    if call.names:
        chosen = []
        for name in call.names:
            vg_name, lv_name = split_lv(root, name)
            vg, pvs = host.vg(vg_name)
            refuse_exported(vg)
            match = [lv for lv in vg.volumes if lv_name in (None, lv.name)]
            if lv_name and not match:
                raise Failed('  Failed to find logical volume "%s/%s"' % (vg_name, lv_name))
            chosen.append((vg, pvs, match))
    else:
        chosen = []
        for vg, pvs in host.vgs():
            if vg.exported:
                sys.stderr.write("  Volume group %s is exported\n" % vg.name)
            else:
                chosen.append((vg, pvs, vg.volumes))
    for vg, pvs, volumes in chosen:
        with VgLock(root, vg.name, False):
            for lv in sorted(volumes, key=lambda lv: lv.name):
                for segment in lv.segments if by_segment else lv.segments[:1]:
                    yield row_of(host, vg, pvs, pvs[0], lv, segment)


def row_of(host, vg, pvs, pv, lv, segment):
    """Every field that can be asked for; sizes are ints, the rest text."""
    row = {"pv_name": pv.device, "pv_uuid": pv.uuid, "pv_fmt": "lvm2", "pv_attr": "a--" if vg else "---", "dev_size": pv.size,
           "pv_size": pv.size - pv.pe_start, "pv_free": pv.size - pv.pe_start, "pe_start": pv.pe_start, "pv_mda_count": "1",
           "pv_mda_used_count": "1", "pv_in_use": "used" if vg else "", "pv_duplicate": "", "pv_mda_size": pv.area_size,
           "vg_name": "", "vg_uuid": "", "pv_tags": "", "pv_missing": "", "pv_exported": ""}
    if vg is None:
        return row
    mine = [entry for entry in vg.pvs.values() if entry["id"] == pv.uuid][0]
    used = sum(seg[1] for volume in vg.volumes for seg in volume.segments if vg.pvs[seg[2][0][0]]["id"] == pv.uuid)
    exported = "x" if vg.exported else "-"
    row.update({
        "pv_attr": "a" + exported + "-", "pv_size": mine["pe_count"] * vg.extent_size,
        "pv_free": (mine["pe_count"] - used) * vg.extent_size,
        "pv_used": used * vg.extent_size, "pv_pe_count": str(mine["pe_count"]), "pv_pe_alloc_count": str(used),
        "pv_tags": ",".join(mine.get("tags", [])), "pv_exported": "exported" if vg.exported else "",
        "vg_name": vg.name, "vg_uuid": vg.uuid, "vg_fmt": "lvm2", "vg_size": vg.extents * vg.extent_size,
        "vg_free": vg.free_extents * vg.extent_size, "vg_extent_size": vg.extent_size, "vg_extent_count": str(vg.extents),
        "vg_free_count": str(vg.free_extents), "vg_seqno": str(vg.seqno), "vg_tags": ",".join(vg.tags), "vg_mda_count": "1",
        "vg_mda_used_count": "1", "vg_missing_pv_count": str(len(vg.pvs) - len(pvs)),
        "vg_partial": "partial" if len(pvs) < len(vg.pvs) else "",
        "pv_count": str(len(vg.pvs)), "lv_count": str(len(vg.volumes)), "snap_count": "0", "vg_exported": "exported" if vg.exported else "",
        "vg_attr": ("w" if vg.writable else "r") + ("z" if "RESIZEABLE" in vg.status else "-") + ("x" if vg.exported else "-")
                   + ("p" if len(pvs) < len(vg.pvs) else "-") + "n-",
        "vg_permissions": "writeable" if vg.writable else "read-only", "vg_mda_size": pv.area_size,
    })
    if lv is None:
        return row
    name = mapper_name({"vg": vg.name, "name": lv.name})
    active = name in host.active
    row.update({
        "lv_name": lv.name, "lv_uuid": lv.uuid, "lv_size": lv.size, "lv_tags": ",".join(sorted(lv.tags)),
        "lv_full_name": vg.name + "/" + lv.name,
        "lv_path": "/dev/%s/%s" % (vg.name, lv.name), "lv_dm_path": "/dev/mapper/" + name, "seg_count": str(len(lv.segments)),
        "lv_attr": "-" + ("r" if lv.readonly else "w") + "i-" + ("a" if active else "-") + ("o" if name in host.open else "-") + "----",
        "lv_active": "active" if active else "", "lv_active_locally": "active locally" if active else "",
        "lv_device_open": "open" if name in host.open else "", "lv_permissions": "read-only" if lv.readonly else "writeable",
        "pool_lv": "", "origin": "", "data_percent": "", "metadata_percent": "", "move_pv": "", "mirror_log": "", "copy_percent": "",
        "convert_lv": "", "lv_kernel_major": str(host.active[name]["dev"][0]) if active else "-1",
        "lv_kernel_minor": str(host.active[name]["dev"][1]) if active else "-1", "lv_layout": "linear", "lv_role": "public",
    })
    start, count, places = segment
    device = [p.device for p in pvs if p.uuid == vg.pvs[places[0][0]]["id"]]
    device = device[0] if device else "[unknown]"
    first = places[0][1]
    row.update({"segtype": "linear" if len(places) == 1 else "striped", "seg_start": start * vg.extent_size,
                "seg_size": count * vg.extent_size, "devices": "%s(%d)" % (device, first),
                "seg_pe_ranges": "%s:%d-%d" % (device, first, first + count - 1), "seg_start_pe": str(start), "seg_size_pe": str(count)})
    return row


def selected(command, call, row):
    """Whether -S/--select lets the row through: field=value or field=~pattern, joined by && or ','."""
    condition = call.value("-S", "--select")
    if not condition:
        return True
    for part in re.split(r"&&|,", condition):
        match = re.match(r"\s*([a-z_]+)\s*(=~|!=|=)\s*(.*?)\s*$", part)
        if not match:
            raise Failed("  Failed to parse selection criteria")
        field, operator, value = match.groups()
        have = str(row.get(full_name(command, field), ""))
        value = value.strip("\"'")
        if operator == "=~":
            good = re.search(value.strip("{}"), have) is not None
        else:
            good = (have == value) == (operator == "=")
        if not good:
            return False
    return True


def write_rows(command, call, fields, rows):
    """Print the rows as LVM does."""
    unit = call.value("--units") or "h"
    suffix = "--nosuffix" not in call.flags
    table = []
    for row in rows:
        for field in fields:
            if field not in row:
                raise Failed('  Unrecognised field: %s' % field)
        table.append([shown(row[field], unit, suffix) for field in fields])
    if call.value("--reportformat") in ("json", "json_std"):
        key = {"pvs": "pv", "vgs": "vg", "lvs": "lv"}[command]
        entries = [dict(zip(fields, line)) for line in table]
        sys.stdout.write(json.dumps({"report": [{key: entries}]}, indent=2) + "\n")
        return
    if not ("--noheadings" in call.flags or "--no-headings" in call.flags) and table:
        table.insert(0, [HEADINGS.get(field, field) for field in fields])
    separator = call.value("--separator")
    if separator is not None:
        for line in table:
            sys.stdout.write("  " + separator.join(line) + "\n")
        return
    widths = [max([len(line[i]) for line in table] or [0]) for i in range(len(fields))]
    for line in table:
        cells = []
        for i, cell in enumerate(line):
            number = fields[i] in NUMERIC or fields[i].endswith(("_size", "_free", "_start")) or fields[i] == "pe_start"
            cells.append(cell.rjust(widths[i]) if number else cell.ljust(widths[i]))
        sys.stdout.write("  " + " ".join(cells) + "\n")


def shown(value, unit, suffix):
    """A size in the unit asked for, text as it is."""
    if not isinstance(value, int) and not type(value).__name__ == "long":
        return value
    if unit in ("h", "H", "r", "R"):
        for letter in "tgmk":
            if value >= UNITS[letter]:
                return "%.2f%s" % (float(value) / UNITS[letter], letter if suffix else "")
        return "%d%s" % (value, "B" if suffix else "")
    size = UNITS[unit[-1]]
    if size in (1, 512):
        return "%d%s" % (value // size, unit[-1].upper() if suffix else "")
    return "%.2f%s" % (float(value) / size, unit[-1] if suffix else "")
