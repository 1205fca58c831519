# SPDX-License-Identifier: LGPL-2.1-only
"""Is this host ready to resign: is the driver there, does it run against this host's sm, does xapi know it?

Each point is a function that returns None or one sentence saying what is wrong and what to do about it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

from relvm import __version__
from relvm.install import allowlist

TYPE = 'relvmoiscsi'
ENTRY = 'RELVMoISCSISR'
SM_DIR = '/opt/xensource/sm'
# What CloudStack looks for in `xe sm-list`.
CLOUDSTACK_TEXT = 'resigning of duplicates'
SECONDS_TO_ANSWER = 60
REINSTALL = 'install the package again'
RESTART = 'restart the toolstack of this host (xe-toolstack-restart)'


def _xmlrpclib():
    """xmlrpclib under the name that it has in this Python."""
    name = 'xmlrpclib'
    if sys.version_info[0] >= 3:
        name = 'xmlrpc.client'
    __import__(name)
    return sys.modules[name]


class Host:
    """Where things are on this host; a test points it elsewhere."""

    def __init__(self, sm_dir=SM_DIR, config=allowlist.CONFIG, directory=allowlist.DIRECTORY):
        self.sm_dir = sm_dir
        self.config = config
        self.directory = directory

    def drivers(self):
        """The directory that xapi searches for drivers."""
        found = allowlist.definitions('sm-dir', self.config, self.directory)
        if found:
            return found[-1][1]
        return self.sm_dir

    def entry(self):
        """What xapi starts."""
        return os.path.join(self.drivers(), ENTRY)


def check(session, host):
    """The state of this host as a dict that JSON can say:

        ok        true if nothing is wrong
        version   of the installed package
        failures  one sentence for each point that fails
        points    name of each point -> "ok" or its sentence

    `session` is a XenAPI session, `host` a Host.
    """
    points = {
        'driver': driver_present(host),
        'executable': entry_executable(host),
        'single': registered_once(host),
        'allowed': allowlist.problem(TYPE, host.config, host.directory),
    }
    if points['executable'] is None:
        points['answers'] = driver_answers(host)
    points['registered'] = known_to_xapi(session)
    failures = [points[name] for name in ('driver', 'executable', 'answers', 'single', 'allowed', 'registered')
                if points.get(name)]
    states = {}
    for name, sentence in points.items():
        states[name] = sentence or 'ok'
    return {'ok': not failures, 'version': __version__, 'failures': failures, 'points': states}


def driver_present(host):
    """The driver's own file."""
    path = os.path.join(host.sm_dir, ENTRY + '.py')
    if not os.path.isfile(path):
        return '%s is missing: %s' % (path, REINSTALL)
    return None


def entry_executable(host):
    """What xapi starts must exist, through links too, and be executable."""
    path = host.entry()
    if not os.path.exists(path):
        return '%s is missing: %s' % (path, REINSTALL)
    if not os.access(path, os.X_OK):
        return '%s is not executable: %s' % (path, REINSTALL)
    return None


def registered_once(host):
    """xapi takes any name that ends in SR, in any case; of two with the same type a random one wins."""
    if not os.path.isdir(host.drivers()):
        return '%s is missing: this host has no storage manager where xapi looks for it' % host.drivers()
    names = [name for name in os.listdir(host.drivers())
             if name.endswith('SR') and name[:-2].lower() == TYPE and name != ENTRY]
    if names:
        names.sort()
        return '%s also holds %s, which is the same type to xapi: remove it' % (host.drivers(), ' '.join(names))
    return None


def driver_answers(host):
    """Starts the driver as xapi does at its own start. That imports this host's sm modules."""
    xmlrpclib = _xmlrpclib()
    call = xmlrpclib.dumps(({'command': 'sr_get_driver_info', 'args': [], 'device_config': {}, 'host_ref': ''},),
                           'sr_get_driver_info')
    failed = '%s does not answer xapi: ' % host.entry()
    try:
        status, out, err = _run([host.entry(), call])
    except OSError:
        return failed + str(sys.exc_info()[1])
    if status or err:
        lines = err.strip().split('\n')
        return failed + 'exit status %d, %s' % (status, lines[-1] or 'no message')
    try:
        info = xmlrpclib.loads(out)[0][0]
        version, name = info['driver_version'], info['name']
    except xmlrpclib.Fault:
        return failed + str(sys.exc_info()[1])
    except Exception:
        # Whatever a parser may raise on what is not XML-RPC.
        return failed + 'what it prints is no answer'
    if version != __version__:
        return 'the driver is version %s, the package %s: %s' % (version, __version__, REINSTALL)
    if CLOUDSTACK_TEXT not in name:
        return 'the driver calls itself "%s" without "%s": %s' % (name, CLOUDSTACK_TEXT, REINSTALL)
    return None


def _run(argv):
    """(exit status, stdout, stderr as str) of a program that gets SECONDS_TO_ANSWER seconds."""
    environment = dict(os.environ)
    environment['PYTHONDONTWRITEBYTECODE'] = '1'
    nothing = open(os.devnull, 'r+b')
    out = tempfile.TemporaryFile()
    err = tempfile.TemporaryFile()
    try:
        process = subprocess.Popen(argv, stdin=nothing, stdout=out, stderr=err, close_fds=True, env=environment)
        end = time.time() + SECONDS_TO_ANSWER
        while process.poll() is None:
            if time.time() > end:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                raise OSError('killed, since it took more than %d seconds' % SECONDS_TO_ANSWER)
            time.sleep(0.02)
        answers = []
        for stream in (out, err):
            stream.seek(0)
            data = stream.read()
            if not isinstance(data, str):
                data = data.decode('utf-8', 'replace')
            answers.append(data)
        return process.returncode, answers[0], answers[1]
    finally:
        nothing.close()
        out.close()
        err.close()


def known_to_xapi(session):
    """The type's record in xapi's database. xapi makes it when it starts, on any host of the pool."""
    records = session.xenapi.SM.get_all_records()
    found = [records[ref] for ref in records if records[ref]['type'] == TYPE]
    if not found:
        return 'xapi does not know the type %s: %s' % (TYPE, RESTART)
    if found[0]['version'] != __version__:
        return 'xapi knows version %s, not %s: %s' % (found[0]['version'], __version__, RESTART)
    return None
