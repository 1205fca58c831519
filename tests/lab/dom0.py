# SPDX-License-Identifier: LGPL-2.1-only
"""A pool's master, reached by one command that takes a line for its shell (ssh, say), and by xe there.

Nothing is copied to the host. What runs there is what every release has: a shell, dd, cmp, head, yes, a Python from 2.4 on, xe.
"""

import json
import re
import shlex
import subprocess
import threading
import time

# 7.x keeps xe where a shell that is not a login's does not look
PATH = "PATH=$PATH:/opt/xensource/bin; "


class Failed(Exception):
    """A command on the host failed; the text is what it said."""


class Dom0:
    """transport: the words before the line, as ["ssh", "root@host"]; say: a function (line) that gets every command and its duration."""

    def __init__(self, transport, say):
        self.transport = list(transport)
        self.say = say
        self._dom0 = None

    def start(self, line):
        """A process on the host, with pipes."""
        return subprocess.Popen([*self.transport, PATH + line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, errors="replace")

    def attempt(self, line):
        """(status, stdout, stderr) of a line for the host's shell."""
        begin = time.monotonic()
        out, err, status = "", "", None
        process = self.start(line)
        try:
            out, err = process.communicate()
            status = process.returncode
        finally:
            if status is None:
                process.kill()
            self.say(f"[{time.monotonic() - begin:.1f} s, status {status}] {line}\n{out[-2000:]}{err[-2000:]}")
        return status, out, err

    def run(self, line):
        """stdout. Raises Failed."""
        status, out, err = self.attempt(line)
        if status:
            raise Failed((err.strip() or out.strip() or f"status {status}")[-1500:])
        return out.strip()

    def xe(self, *words):
        """stdout of xe. Raises Failed."""
        return self.run(xe_line(words))

    def listed(self, *words):
        """The values of a listing (params=... says which)."""
        return [value for value in self.xe(*words, "--minimal").split(",") if value]

    def plugin(self, host, function, **arguments):
        """The answer of a function of the plugin, as text."""
        return self.xe(*plugin_words(host, function, arguments))

    def asked(self, host, function, **arguments):
        """The same where it is JSON."""
        return json.loads(self.plugin(host, function, **arguments))

    def control_domain(self, host):
        """uuid of a host's control domain."""
        if self._dom0 is None:
            self._dom0 = self.listed("vm-list", "is-control-domain=true", "resident-on=" + host, "params=uuid")[0]
        return self._dom0


def xe_line(words):
    return "xe " + " ".join(shlex.quote(word) for word in words)


def plugin_words(host, function, arguments):
    words = ["host-call-plugin", "host-uuid=" + host, "plugin=relvmoiscsi", "fn=" + function]
    return words + [f"args:{key.replace('_', '-') if key == 'name_label' else key}={value}" for key, value in arguments.items()]


# Reads the SM log from its end on, and kills the process that writes a line with the given words. Ends when nobody listens any more.
WATCH = r"""
import os, re, select, signal, sys, time
log, words = sys.argv[1], sys.argv[2]
stream = open(log, "rb")
stream.seek(0, 2)
sys.stdout.write("ready\n")
sys.stdout.flush()
while not select.select([sys.stdin], [], [], 0)[0]:
    place = stream.tell()
    line = stream.readline().decode("latin-1")
    if not line.endswith("\n"):
        # not written to its end yet; Python 2 remembers that a file ended, until it is told a place
        stream.seek(place)
        time.sleep(0.0005)
        continue
    found = re.search(r"\[([0-9]+)\]", line)
    if found and words in line:
        pid = int(found.group(1))
        command = open("/proc/%d/cmdline" % pid, "rb").read().decode("latin-1")
        if "RELVMo" in command:
            os.kill(pid, signal.SIGKILL)
            sys.stdout.write("killed\n")
            sys.stdout.flush()
            break
"""


class Killer:
    """Kills the driver that says `words` in the SM log, while the block runs; `killed` says whether it did."""

    def __init__(self, dom0, log, words):
        self.killed = False
        self._process = dom0.start("$(command -v python3 || command -v python || command -v python2) -c %s %s %s" %
                                   (shlex.quote(WATCH), shlex.quote(log), shlex.quote(words)))

    def __enter__(self):
        if self._process.stdout.readline().strip() != "ready":
            raise Failed("no watch on the SM log: " + self._process.communicate()[1][-500:])
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self):
        for line in self._process.stdout:
            self.killed = self.killed or line.strip() == "killed"

    def __exit__(self, *_):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._process.stderr.close()


def version_of(text):
    """The words of fn=version without the address of the maintainer."""
    return re.sub(r"\s*\(.*", "", text)
