# SPDX-License-Identifier: LGPL-2.1-only
"""The small commands: pidof, service, systemctl, udevadm, udevsettle, uuidgen, lsof, cgclassify."""

import os
import random
import sys

from dom0.devices import Devices
from dom0.state import State

DAEMONS = ("iscsid", "multipathd")


def main(root, argv):
    """Run the command that argv[0] names."""
    command = os.path.basename(argv[0])
    if command == "uuidgen":
        return uuidgen()
    if command in ("lsof", "cgclassify"):
        return 0
    with State(root) as state:
        Devices(state).settle()
        if command == "pidof":
            daemon = os.path.basename(argv[-1])
            if not state["services"].get(daemon):
                return 1
            sys.stdout.write("4711\n")
        elif command in ("service", "systemctl"):
            words = [word.replace(".service", "") for word in argv[1:] if not word.startswith("-")]
            action = "start" if "start" in words or "restart" in words else "stop" if "stop" in words else None
            for daemon in DAEMONS:
                if daemon in words and action:
                    state["services"][daemon] = action == "start"
    return 0


def uuidgen():
    """A random (version 4) UUID."""
    digits = "%032x" % random.SystemRandom().getrandbits(128)
    variant = "89ab"[int(digits[16], 16) % 4]
    sys.stdout.write("%s-%s-4%s-%s%s-%s\n" % (digits[:8], digits[8:12], digits[13:16], variant, digits[17:20], digits[20:]))
    return 0
