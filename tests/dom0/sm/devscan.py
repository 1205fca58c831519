# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's devscan: HBAs, and the disks behind them."""

import glob
import os
import re
import xml.dom.minidom

import generation
import scsiutil
import util

ROOT = os.environ.get("DOM0_ROOT", "")
NO_HBA = ["^(s|p|)ata_.*", "^ahci$", "^pdc_adma$", "^iscsi_tcp$"]
if generation.NO_USB_DISKS:
    NO_HBA.append("^usb-storage$")


def adapters(filterstr="any"):
    """Scan every HBA; {'adt': {host: driver}, 'devs': {disk: {...}}}."""
    found = {"adt": {}, "devs": {}}
    for path in sorted(glob.glob(ROOT + "/sys/class/scsi_host/host*/proc_name")):
        host = os.path.basename(os.path.dirname(path))
        name = util.get_single_entry(path)
        if [pattern for pattern in NO_HBA if re.search(pattern, name)]:
            continue
        if filterstr != "any" and not name.startswith(filterstr):
            continue
        found["adt"][host] = name
        scsiutil.rescan([host.replace("host", "")])
        for disk in glob.glob("%s/sys/class/scsi_disk/%s:*/device/block/*" % (ROOT, host.replace("host", ""))):
            found["devs"][os.path.basename(disk)] = {"procname": name, "host": host.replace("host", ""), "target": disk.split(":")[-1]}
    return found


def scan(srobj):
    """The list that goes with error 107: XML."""
    dom = xml.dom.minidom.Document()
    top = dom.createElement("Devlist")
    dom.appendChild(top)
    listed = {}
    for disk in sorted(srobj.hbadict):
        path = ROOT + "/dev/" + disk
        scsi_id = scsiutil.getSCSIid(path)
        if util.test_SCSIid(srobj.session, None, scsi_id):
            continue
        listed.setdefault(scsi_id, []).append(disk)
    for scsi_id, disks in sorted(listed.items()):
        entry = dom.createElement("BlockDevice")
        top.appendChild(entry)
        path = ROOT + "/dev/" + disks[0]
        for key, value in (("path", path), ("numpaths", len(disks)), ("SCSIid", scsi_id), ("vendor", scsiutil.getmanufacturer(path)),
                           ("serial", scsiutil.getserial(path)), ("size", scsiutil.getsize(path)),
                           ("hba", srobj.hbadict[disks[0]]["procname"])):
            node = dom.createElement(key)
            entry.appendChild(node)
            node.appendChild(dom.createTextNode(str(value)))
    for host, name in sorted(srobj.hbas.items()):
        entry = dom.createElement("Adapter")
        top.appendChild(entry)
        for key, value in (("host", host), ("name", name)):
            node = dom.createElement(key)
            entry.appendChild(node)
            node.appendChild(dom.createTextNode(value))
    return dom.toprettyxml()
