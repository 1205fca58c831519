# SPDX-License-Identifier: LGPL-2.1-only
"""Is this host ready to resign: are the drivers there, do they run against this host's sm, does xapi know them?

Each point is a function that returns None or one sentence saying what is wrong and what to do about it.
"""

import os
import sys

from relvm import __version__
from relvm.install import allowlist, programs

# Type -> what xapi starts for it
ENTRIES = {'relvmoiscsi': 'RELVMoISCSISR', 'relvmohba': 'RELVMoHBASR'}
CLOUDSTACK_TYPE = 'relvmoiscsi'
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

    def entry(self, kind):
        """What xapi starts for a type."""
        return os.path.join(self.drivers(), ENTRIES[kind])


def check(session, host):
    """The state of this host as a dict that JSON can say:

        ok        true if nothing is wrong
        version   of the installed package
        failures  one sentence for each point that fails
        points    name of each point, "TYPE NAME" -> "ok" or its sentence

    `session` is a XenAPI session, `host` a Host.
    """
    points = {}
    failures = []
    kinds = list(ENTRIES)
    kinds.sort()
    kinds.reverse()
    for kind in kinds:
        found = _of_type(session, host, kind)
        for name, sentence in found:
            points['%s %s' % (kind, name)] = sentence or 'ok'
            if sentence and sentence not in failures:
                failures.append(sentence)
    return {'ok': not failures, 'version': __version__, 'failures': failures, 'points': points}


def _of_type(session, host, kind):
    """[(name of the point, None or its sentence)] for one type."""
    executable = entry_executable(host, kind)
    found = [('driver', driver_present(host, kind)), ('executable', executable)]
    if executable is None:
        found.append(('answers', driver_answers(host, kind)))
    found.append(('single', registered_once(host, kind)))
    found.append(('allowed', allowlist.problem(kind, host.config, host.directory)))
    found.append(('registered', known_to_xapi(session, kind)))
    return found


def driver_present(host, kind):
    """The driver's own file."""
    path = os.path.join(host.sm_dir, ENTRIES[kind] + '.py')
    if not os.path.isfile(path):
        return '%s is missing: %s' % (path, REINSTALL)
    return None


def entry_executable(host, kind):
    """What xapi starts must exist, through links too, and be executable."""
    path = host.entry(kind)
    if not os.path.exists(path):
        return '%s is missing: %s' % (path, REINSTALL)
    if not os.access(path, os.X_OK):
        return '%s is not executable: %s' % (path, REINSTALL)
    return None


def registered_once(host, kind):
    """xapi takes any name that ends in SR, in any case; of two with the same type a random one wins."""
    if not os.path.isdir(host.drivers()):
        return '%s is missing: this host has no storage manager where xapi looks for it' % host.drivers()
    names = [name for name in os.listdir(host.drivers())
             if name.endswith('SR') and name[:-2].lower() == kind and name != ENTRIES[kind]]
    if names:
        names.sort()
        return '%s also holds %s, which is the same type to xapi: remove it' % (host.drivers(), ' '.join(names))
    return None


def driver_answers(host, kind):
    """Starts the driver as xapi does at its own start. That imports this host's sm modules."""
    xmlrpclib = _xmlrpclib()
    call = xmlrpclib.dumps(({'command': 'sr_get_driver_info', 'args': [], 'device_config': {}, 'host_ref': ''},),
                           'sr_get_driver_info')
    failed = '%s does not answer xapi: ' % host.entry(kind)
    try:
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
        status, out, err = programs.run([host.entry(kind), call], environment, SECONDS_TO_ANSWER)
    except (OSError, programs.Killed):
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
    if kind == CLOUDSTACK_TYPE and CLOUDSTACK_TEXT not in name:
        return 'the driver calls itself "%s" without "%s": %s' % (name, CLOUDSTACK_TEXT, REINSTALL)
    return None


def known_to_xapi(session, kind):
    """The type's record in xapi's database. xapi makes it when it starts, on any host of the pool."""
    records = session.xenapi.SM.get_all_records()
    found = [records[ref] for ref in records if records[ref]['type'] == kind]
    if not found:
        return 'xapi does not know the type %s: %s' % (kind, RESTART)
    if found[0]['version'] != __version__:
        return 'xapi knows version %s of type %s, not %s: %s' % (found[0]['version'], kind, __version__, RESTART)
    return None
