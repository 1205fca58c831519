# SPDX-License-Identifier: LGPL-2.1-only
"""xe: hands its words to xapi's double, which answers what is printed."""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sm"))

import XenAPI  # noqa: E402


def main(root, argv):
    """Run one command."""
    XenAPI.SOCKET = root + "/var/lib/xcp/xapi"
    session = XenAPI.xapi_local()
    session.xenapi.login_with_password("root", "")
    answer = session.xenapi.xe.command(argv[1:])
    sys.stdout.write(answer["out"])
    sys.stderr.write(answer["err"])
    return int(answer["status"])
