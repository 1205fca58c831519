# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's xs_errors (sm-api, section 8.2)."""

import os
import xml.dom.minidom

import generation

ROOT = os.environ.get("DOM0_ROOT", "")
XML_DEFS = ROOT + "/opt/xensource/sm/XE_SR_ERRORCODES.xml"
if generation.LAYOUT == "package":
    XML_DEFS = ROOT + "/usr/share/sm/XE_SR_ERRORCODES.xml"

if generation.ERRORS_IN == "xs_errors":
    import errno
    try:
        import xmlrpc.client as xmlrpclib
    except ImportError:
        import xmlrpclib

    class SRException(Exception):
        """What a driver raises; becomes an XML-RPC fault."""

        errno = errno.EINVAL

        def __init__(self, reason):
            Exception.__init__(self, reason)

        def toxml(self):
            return xmlrpclib.dumps(xmlrpclib.Fault(int(self.errno), str(self)), "", True)

    class SROSError(SRException):
        """An error with a number."""

        def __init__(self, errno, reason):
            self.errno = errno
            self.reason = reason
            Exception.__init__(self, reason)


def _error(key, opterr):
    """The exception for `key`."""
    if generation.ERRORS_IN == "xs_errors":
        error_class = SROSError
    else:
        import SR
        error_class = SR.SROSError
    if not os.path.exists(XML_DEFS):
        raise Exception("No XML def file found")
    codes = {}
    for node in xml.dom.minidom.parse(XML_DEFS).getElementsByTagName("code"):
        entry = {}
        for tag in ("name", "description", "value"):
            entry[tag] = node.getElementsByTagName(tag)[0].firstChild.data
        codes[entry["name"]] = entry
    if key not in codes:
        return error_class(1, "Error reporting error, unknown key %s" % key)
    code, text = int(codes[key]["value"]), codes[key]["description"]
    if opterr is not None:
        text += " [opterr=%s]" % opterr
    import util
    util.SMlog("Raising exception [%d, %s]" % (code, text))
    return error_class(code, text)


if generation.XENERROR_RAISES:
    class XenError(Exception):
        """Creating one raises the error."""

        def __init__(self, key, opterr=None):
            raise _error(key, opterr)
else:
    class XenError(Exception):
        """Creating one gives the error, to be raised."""

        def __new__(cls, key, opterr=None):
            return _error(key, opterr)
