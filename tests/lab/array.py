# SPDX-License-Identifier: LGPL-2.1-only
"""The array's part: a program that makes clones of the LUN and takes them away, or a person who is asked to.

HOOK clone NUMBER SCSIID      makes a clone and presents it to the master, and prints its device config: SCSIid=..., and target=...
                              and targetIQN=... where they are not the original's
HOOK remove NUMBER SCSIID     takes that clone (its own SCSI id) away; its output and status do not matter
"""

import shlex
import subprocess
import sys


class NoClone(Exception):
    """The array did not make one."""


class Array:
    """hook: a program, or '' to ask at the terminal."""

    def __init__(self, hook, config):
        self.hook = hook
        self.original = config
        self.clones = {}

    def clone(self, number):
        """Device config of a new clone."""
        if self.hook:
            done = subprocess.run([*shlex.split(self.hook), "clone", str(number), self.original["SCSIid"]],
                                  stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise NoClone(f"the hook ended with status {done.returncode}")
            words = done.stdout
        else:
            print(f"\nNow make clone {number} of LUN {self.original['SCSIid']} on the array and present it to the pool's master.\n"
                  "Then give its SCSIid=..., and its target=... and targetIQN=... if they are not the original's:", flush=True)
            words = sys.stdin.readline()
        found = dict(word.split("=", 1) for word in words.split() if "=" in word)
        if not found.get("SCSIid") or found["SCSIid"] == self.original["SCSIid"]:
            raise NoClone("no SCSI id of a clone was given")
        self.clones[number] = dict(self.original, **found)
        return dict(self.clones[number])

    def remove(self):
        """Takes every clone away."""
        for number, config in self.clones.items():
            if self.hook:
                subprocess.run([*shlex.split(self.hook), "remove", str(number), config["SCSIid"]], stdout=subprocess.DEVNULL)
            else:
                print(f"Clone {number} ({config['SCSIid']}) is not needed any more: remove it on the array.", flush=True)
        self.clones = {}
