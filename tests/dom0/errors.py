# SPDX-License-Identifier: LGPL-2.1-only
"""sm's error codes (sm-api, section 8.2), and the file in which sm keeps them.

The texts are sm's own only where something depends on them (38, 47 and the login failure that BaseISCSI looks for).
"""

from xml.sax.saxutils import escape

CODES = {
    "InvalidArg": (1, "Invalid argument"), "SRInUse": (16, "The SR device is currently in use"), "InvalidDev": (19, "No such device"),
    "InvalidSecret": (20, "Invalid secret"), "Unimplemented": (38, "The requested method is not supported/implemented"),
    "SRNotEmpty": (39, "The SR is not empty"), "SRScan": (40, "The SR scan failed"), "SRExists": (42, "The SR already exists"),
    "VDIExists": (43, "The VDI already exists"), "SRNoSpace": (44, "There is insufficient space"), "VDIUnavailable": (46, "The VDI is not available"),
    "SRUnavailable": (47, "The SR is not available"), "SRUnknownType": (48, "Unknown repository type"), "SRBadXML": (49, "Malformed XML string"),
    "LVMCreate": (50, "Logical Volume creation error"), "LVMDelete": (51, "Logical Volume deletion error"),
    "LVMMount": (52, "Logical Volume mount error"), "LVMUnMount": (53, "Logical Volume unmount error"),
    "LVMWrite": (54, "Logical Volume write error"), "LVMPartCreate": (55, "Partition creation error"), "LVMPartInUse": (56, "Partition in use"),
    "LVMMaster": (58, "The request is missing SRmaster"), "LVMResize": (59, "Logical Volume resize error"), "VDILoad": (65, "Failed to load VDI"),
    "ISCSIDevice": (67, "iSCSI device did not come up"), "ISCSILogin": (68, "ISCSI login failed"), "ISCSILogout": (69, "ISCSI logout failed"),
    "ISCSIInitiator": (70, "Failed to set ISCSI initiator"), "LVMGroupCreate": (77, "Volume Group creation error"),
    "VDICreate": (78, "VDI creation failed"), "VDISize": (79, "VDI invalid size"), "VDIDelete": (80, "VDI deletion failed"),
    "VDISnapshot": (82, "VDI snapshot failed"), "VDIClone": (81, "VDI clone failed"), "VDIResize": (84, "VDI resize failed"),
    "ISCSIDiscovery": (83, "ISCSI discovery failed"), "ISCSIQueryDaemon": (86, "ISCSI daemon query failed"),
    "ConfigLUNMissing": (87, "The request is missing the LUNid parameter"), "ConfigDeviceMissing": (90, "The request is missing the device parameter"),
    "ConfigDeviceInvalid": (91, "The device is not a valid path"), "VolNotFound": (92, "The volume cannot be found"), "PVSfailed": (93, "pvs failed"),
    "ConfigTargetMissing": (95, "The request is missing the target parameter"),
    "ConfigTargetIQNMissing": (96, "The request is missing or has an incorrect target IQN parameter"),
    "ConfigISCSIIQNMissing": (97, "Unable to retrieve the host configuration ISCSI IQN parameter"), "LVMOneLUN": (99, "Only one LUN may be used"),
    "LVMNoVolume": (100, "Unable to find LVM volume"), "LVMRefCount": (104, "Unable to open the refcount file"),
    "Rootdev": (105, "Root system device, cannot be used for VM storage"),
    "ConfigSCSIid": (107, "The SCSIid parameter is missing or incorrect"), "ConfigParamsMissing": (115, "A required parameter is missing"),
    "LVMRead": (117, "Logical Volume read error"), "PVMultiIDs": (119, "PVs found with multiple SCSI IDs"),
    "DNSError": (140, "DNS lookup failed"), "ISCSITarget": (141, "Unable to connect to ISCSI service on target"),
    "ISCSIPort": (142, "Incorrect value for iSCSI port"), "BadRequest": (143, "Failed to parse the request"), "APISession": (150, "Failed to initialize XMLRPC connection"),
    "APILocalhost": (151, "Failed to query Local Control Domain"), "APIPBDQuery": (152, "A Failure occurred querying the PBD entries"),
    "APIFailure": (153, "A Failure occurred accessing an API object"), "APIProtocolError": (154, "A protocol error was encountered when accessing the API"),
    "MetadataError": (181, "Error in Metadata volume operation for SR."), "ISCSIDelete": (182, "ISCSI delete failed"), "EIO": (200, "General IO error"),
    "SMGeneral": (202, "General backend error"), "UnsupportedKernel": (448, "Unsupported kernel"),
    "MultipathDeviceNotAppeared": (429, "Device has not appeared"), "MultipathMapperPathMissing": (434, "Mapper path is missing"),
    "MultipathdCommsFailure": (430, "Failed to communicate with the multipath daemon"), "MultipathDeviceNoScsiid": (431, "No SCSI id given"),
    "GenericException": (1200, "Generic exception"),
}


def write(path):
    """Write the file that xs_errors reads."""
    with open(path, "w") as f:
        f.write('<?xml version="1.0" ?>\n<SM-errorcodes>\n')
        for name in sorted(CODES):
            value, text = CODES[name]
            f.write("<code><name>%s</name><description>%s</description><value>%d</value></code>\n" % (name, escape(text), value))
        f.write("</SM-errorcodes>\n")
