# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's metadata: the XML of MGT as dictionaries, and the binary format of before 6.0 (which always fails here)."""

import struct
from xml.dom import Node, minidom

import generation
import util

HDR_STRING = "XSSM"
STRUCT_FMT = "4sIHH"
STRUCT_SIZE = struct.calcsize(STRUCT_FMT)
MD_MAJOR = 1
MD_MINOR = 2
XML_TAG = "SRMetadata"


def _walkXML(parent):
    if not parent.hasChildNodes():
        return ""
    found = {}
    for node in parent.childNodes:
        if node.nodeType != Node.ELEMENT_NODE:
            continue
        texts = [child.nodeValue.strip() for child in node.childNodes if child.nodeType == Node.TEXT_NODE and child.nodeValue.strip()]
        joined = ("" if generation.BUFFERED_MGT else " ").join(texts)
        found[util.to_plain_string(node.nodeName)] = util.to_plain_string(joined) if texts else _walkXML(node)
    return found


def _parseXML(text):
    return _walkXML(minidom.parseString(text).getElementsByTagName(XML_TAG)[0])


def retrieveXMLfromFile(path):
    with open(path, "rb") as f:
        header = struct.unpack(STRUCT_FMT, f.read(STRUCT_SIZE))
        if header[0] != b"XSSM" or header[2] > MD_MAJOR or header[3] > MD_MINOR:
            raise AssertionError("not the old format")
        return f.read(header[1] - STRUCT_SIZE)
