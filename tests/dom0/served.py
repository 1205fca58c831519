# SPDX-License-Identifier: LGPL-2.1-only
"""Runs the stand-in commands in forks of one process that has imported them, since to start an interpreter takes longer than most of them.

    python -SE served.py        prints a port of 127.0.0.1, and serves until its standard input ends

A command is a shell script that connects and sends "MODULE PID ROOT\\n". The fork takes over the script's arguments, environment,
directory and standard files from /proc/PID, and answers with the exit status; it ends when the script is killed.
"""
from __future__ import absolute_import, division, print_function

import atexit
import importlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

MODULES = ("dmsetup", "iscsiadm", "lvm", "multipath", "qcow2_helper", "scsi", "system", "tapctl", "vhd_util")
SHELL = "/bin/bash"
CLIENT = """#!%s
exec 9<>/dev/tcp/127.0.0.1/{port} || exit 126
printf '%%s\\n' "{module} $$ {root}" >&9
read -r -u 9 status || exit 126
exit "$status"
""" % SHELL

_ports = {}


def port(python):
    """The port of a server that `python` runs, started once by this process and ended with it."""
    if python not in _ports:
        environment = dict(os.environ, LC_ALL="C.UTF-8")
        program = os.path.splitext(os.path.abspath(__file__))[0] + ".py"
        process = subprocess.Popen([python, "-SE", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _ports[python] = int(process.stdout.readline())
        atexit.register(process.wait)
        atexit.register(process.stdin.close)
    return _ports[python]


def serve():
    """Until standard input ends."""
    modules = dict((name, importlib.import_module("dom0.bin." + name)) for name in MODULES)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    print(listener.getsockname()[1])
    sys.stdout.flush()
    # nobody waits for the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    parent = os.getpid()
    threading.Thread(target=lambda: (sys.stdin.read(), os.kill(parent, signal.SIGKILL))).start()
    while True:
        connection = listener.accept()[0]
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _answer(modules, connection)
            finally:
                os._exit(0)
        connection.close()


def _answer(modules, connection):
    status = 1
    try:
        status = _command(modules, connection)
    except Exception:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (IOError, ValueError):
            pass
    connection.sendall(("%d\n" % status).encode("ascii"))


def _command(modules, connection):
    """Becomes the command that is at the other end; its exit status."""
    words = b""
    while not words.endswith(b"\n"):
        words += connection.recv(4096)
    module, pid, root = words.decode("utf-8").rstrip("\n").split(" ", 2)
    process = "/proc/" + pid
    with open(process + "/cmdline", "rb") as stream:
        sys.argv = [_native(word) for word in stream.read().split(b"\0")[1:-1]]
    with open(process + "/environ", "rb") as stream:
        variables = [_native(word).split("=", 1) for word in stream.read().split(b"\0") if b"=" in word]
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(process + "/cwd")
    # the shell has its standard output where it writes to us until it is done with that
    while os.readlink(process + "/fd/1") == os.readlink(process + "/fd/9"):
        time.sleep(0.0005)
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY | os.O_APPEND), (2, os.O_WRONLY | os.O_APPEND)):
        try:
            fd = os.open("%s/fd/%d" % (process, number), flags)
        except OSError:
            # a socket; none of the commands reads
            if number:
                raise
            fd = os.open(os.devnull, flags)
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
    random.seed()
    killed = threading.Thread(target=lambda: (connection.recv(1), os._exit(1)))
    killed.daemon = True
    killed.start()
    try:
        status = modules[module].main(root, sys.argv)
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:
        status = end.code
    return status if isinstance(status, int) else int(status is not None)


def _native(text):
    """An argument as `sys.argv` has it."""
    return text if str is bytes else os.fsdecode(text)


def _stream(number, mode):
    if str is bytes:
        return os.fdopen(number, mode)
    return io.open(number, mode, encoding="utf-8", errors="surrogateescape")


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    serve()
