# SPDX-License-Identifier: LGPL-2.1-only
"""sm's error names and numbers (sm-api, section 8.2), and the file in which sm keeps them.

A description is the name spelled out, but for the few that something depends on.
"""

import re

CODES = {
    "InvalidArg": 1, "SRInUse": 16, "InvalidDev": 19, "InvalidSecret": 20, "Unimplemented": 38, "SRNotEmpty": 39,
    "SRScan": 40, "SRExists": 42, "VDIExists": 43, "SRNoSpace": 44, "VDIUnavailable": 46, "SRUnavailable": 47,
    "SRUnknownType": 48, "SRBadXML": 49, "LVMCreate": 50, "LVMDelete": 51, "LVMMount": 52, "LVMUnMount": 53,
    "LVMWrite": 54, "LVMPartCreate": 55, "LVMPartInUse": 56, "LVMMaster": 58, "LVMResize": 59, "VDILoad": 65,
    "ISCSIDevice": 67, "ISCSILogin": 68, "ISCSILogout": 69, "ISCSIInitiator": 70, "LVMGroupCreate": 77, "VDICreate": 78,
    "VDISize": 79, "VDIDelete": 80, "VDIClone": 81, "VDISnapshot": 82, "ISCSIDiscovery": 83, "VDIResize": 84,
    "ISCSIQueryDaemon": 86, "ConfigLUNMissing": 87, "ConfigDeviceMissing": 90, "ConfigDeviceInvalid": 91,
    "VolNotFound": 92, "PVSfailed": 93, "ConfigTargetMissing": 95, "ConfigTargetIQNMissing": 96,
    "ConfigISCSIIQNMissing": 97, "LVMOneLUN": 99, "LVMNoVolume": 100, "LVMRefCount": 104, "Rootdev": 105,
    "ConfigSCSIid": 107, "ConfigParamsMissing": 115, "LVMRead": 117, "PVMultiIDs": 119, "DNSError": 140,
    "ISCSITarget": 141, "ISCSIPort": 142, "BadRequest": 143, "APISession": 150, "APILocalhost": 151, "APIPBDQuery": 152,
    "APIFailure": 153, "APIProtocolError": 154, "MetadataError": 181, "ISCSIDelete": 182, "EIO": 200, "SMGeneral": 202,
    "MultipathDeviceNotAppeared": 429, "MultipathdCommsFailure": 430, "MultipathDeviceNoScsiid": 431,
    "MultipathMapperPathMissing": 434, "UnsupportedKernel": 448, "GenericException": 1200,
}

TEXTS = {
    "Unimplemented": "The requested method is not supported/implemented",
    "SRUnavailable": "The SR is not available",
    # BaseISCSI looks for its beginning
    "ISCSILogin": "ISCSI login failed",
}


def text(name):
    """The description of an error."""
    return TEXTS.get(name) or re.sub("(?<=[a-z])(?=[A-Z])", " ", name)


def write(path):
    """Write the file that xs_errors reads."""
    with open(path, "w") as f:
        f.write('<?xml version="1.0" ?>\n<SM-errorcodes>\n')
        for name in sorted(CODES):
            f.write("<code><name>%s</name><description>%s</description><value>%d</value></code>\n" % (name, text(name), CODES[name]))
        f.write("</SM-errorcodes>\n")
