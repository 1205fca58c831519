# SPDX-License-Identifier: LGPL-2.1-only
"""install.sh on a host: by itself, as the installer of the supplemental pack, from an update image, for a pool."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from built import ROOT, unpack

MEDIA = '/root/packages/media'
RECORD = '/etc/xensource/installed-repos/relvm:relvmoiscsi'
READY, NOT_READY = '{\n "ok": true\n}', '{\n "failures": [\n  "xapi does not know the type"\n ],\n "ok": false\n}'
SELFTEST = ['host-list --minimal', 'host-call-plugin host-uuid=uuid-of-this-host plugin=relvmoiscsi fn=selftest']
FAILED = '{\n "failures": [\n  "sm: it does not"\n ],\n "ok": false,\n "points": [\n  {\n   "ok": true,\n  }\n ]\n}'
COMMANDS_65 = ['host-list', 'sr-create', 'patch-upload', 'patch-pool-apply']
COMMANDS_71 = ['host-list', 'update-upload', 'update-pool-apply', 'update-pool-clean']


class Site:
    """A host of a release, with a double of xe, a toolstack to restart and the packages' medium."""

    def __init__(self, host, providers, release):
        self.host = host
        self.state = {'up': True, 'hosts': [
            {'uuid': 'uuid-of-this-host', 'name-label': 'alpha', 'address': '192.0.2.1', 'check': READY},
            {'uuid': 'uuid-of-another', 'name-label': 'beta', 'address': '192.0.2.2', 'check': READY}],
            'commands': COMMANDS_65 if release in ('6.5', '7.0') else COMMANDS_71}
        host.rpm('-U', *providers.host(release))
        host.write('/etc/xensource-inventory', "PRODUCT_BRAND='XenServer'\nINSTALLATION_UUID='uuid-of-this-host'\n")
        host.path('/etc/xensource/installed-repos').mkdir(parents=True)
        xe = (ROOT / 'tests/pack/xe.py').read_text()
        # The system's Python if there is one: what lies on another file system than / is not on the host.
        python = '/usr/bin/python3' if os.path.exists('/usr/bin/python3') else os.path.realpath(sys.executable)
        host.write('/usr/local/bin/xe', f'#!{python}\n{xe}', 0o755)
        host.write('/usr/local/bin/xe-toolstack-restart', '#!/bin/sh\necho restart-here >> /root/xe.log\n', 0o755)
        host.write('/usr/local/bin/sleep', '#!/bin/sh\n', 0o755)
        host.write('/root/xe.json', '')
        host.write('/root/xe.log', '')
        self.clean = self.files()

    def files(self):
        return {name: kind for name, kind in self.host.files().items() if not name.startswith('/root')}

    def media(self, pack, key):
        """Inserts a target's ISO image. Returns its directory."""
        return unpack(pack.iso(key), self.host.path(MEDIA))

    def run(self, *words, program='install.sh', **environment):
        """Starts an installer on the medium."""
        self.host.write('/root/xe.json', json.dumps(self.state))
        return self.host.run(f'{MEDIA}/{program}', *words, check=False, **environment)

    def log(self):
        """What xe and the toolstack were told since the last time."""
        lines = self.host.read('/root/xe.log').splitlines()
        self.host.write('/root/xe.log', '')
        return lines

    def version(self):
        return self.host.run('rpm', '-q', '--qf', '%{VERSION}-%{RELEASE}', 'relvmoiscsi', check=False).stdout


@pytest.fixture
def site(host, providers, request):
    return Site(host, providers, request.param)


on = lambda *releases: pytest.mark.parametrize('site', releases, indirect=True)  # noqa: E731


@on('6.5', '7.0')
@pytest.mark.parametrize('program,words', [('install', ()), ('install', ('-b',)), ('install', ('--batch',)), ('install.sh', ())])
def test_the_supplemental_pack_installs_itself(site, pack, program, words):
    media = site.media(pack, 'el5')
    done = site.run(*words, program=program)
    assert (done.returncode, done.stderr) == (0, '')
    assert site.version() == '1.1.0-1.el5'
    assert 'xe-toolstack-restart' in done.stdout
    for name in ('XS-REPOSITORY', 'XS-PACKAGES'):
        assert site.host.read(f'{RECORD}/{name}') == (media / name).read_text()
    assert site.log() == ['host-refresh-pack-info host-uuid=uuid-of-this-host', *SELFTEST]

    installed = site.files()
    again = site.run(*words, program=program)
    assert (again.returncode, again.stderr) == (0, '')
    assert site.files() == installed
    site.log()

    removed = site.run('--uninstall')
    assert (removed.returncode, removed.stderr) == (0, '')
    assert site.files() == site.clean
    assert site.log() == ['host-refresh-pack-info host-uuid=uuid-of-this-host']
    nothing = site.run('--uninstall')
    assert (nothing.returncode, nothing.stdout) == (0, 'relvmoiscsi is not installed.\n')
    assert site.log() == []


@on('6.5')
def test_started_from_elsewhere_and_under_another_shell(site, pack):
    site.media(pack, 'el5')
    site.host.write('/root/xe.json', json.dumps(site.state))
    for shell in ('bash', 'dash'):
        done = site.host.run('sh', '-c', f'cd /usr && {shell} {MEDIA}/install.sh')
        assert (done.stderr, site.version()) == ('', '1.1.0-1.el5')


@on('6.5')
def test_xapi_need_not_run(site, pack):
    site.media(pack, 'el5')
    site.state['up'] = False
    done = site.run()
    assert done.returncode == 0
    assert 'it will notice the pack when it starts' in done.stdout
    assert 'Later: install.sh --selftest' in done.stdout
    assert site.run('--uninstall').returncode == 0


@on('6.5')
def test_a_failed_selftest_undoes_nothing(site, pack):
    site.media(pack, 'el5')
    site.state['selftest'] = FAILED
    done = site.run('--restart-toolstack')
    assert (done.returncode, site.version()) == (5, '1.1.0-1.el5')
    assert FAILED in done.stderr and 'restart-here' in site.log()
    alone = site.run('--selftest')
    assert (alone.returncode, alone.stdout) == (5, FAILED + '\n')
    assert site.log() == SELFTEST[1:]
    assert site.run('--no-selftest').returncode == 0
    assert SELFTEST[1] not in site.log()
    del site.state['selftest']
    alone = site.run('--selftest')
    assert (alone.returncode, '"ok": true' in alone.stdout) == (0, True)
    assert 'Selftest: passed' in site.run().stdout


@on('6.5')
def test_what_a_killed_selftest_left_is_removed_with_the_package(site, pack):
    site.media(pack, 'el5')
    assert site.run().returncode == 0
    site.host.write('/var/tmp/relvmoiscsi-selftest.killed/original', 'x')
    site.host.write('/var/tmp/relvmoiscsi-selftest.killed/lock', '')
    assert site.run('--uninstall').returncode == 0
    assert site.files() == site.clean


@on('6.5', '8.3')
def test_the_toolstack_is_restarted_only_when_asked(site, pack):
    site.media(pack, 'el5' if site.state['commands'] is COMMANDS_65 else 'xs8')
    assert site.run().returncode == 0
    assert 'restart-here' not in site.log()
    assert site.run('--restart-toolstack').returncode == 0
    assert 'restart-here' in site.log()
    site.host.write('/usr/local/bin/xe-toolstack-restart', '#!/bin/sh\nexit 1\n', 0o755)
    assert site.run('--restart-toolstack').returncode == 1


@on('8.3')
def test_from_an_update_image(site, pack):
    site.media(pack, 'xs8')
    assert site.run().returncode == 0
    assert site.version() == '1.1.0-1.xs8'
    assert site.log() == SELFTEST
    assert site.run('--uninstall').returncode == 0
    assert site.files() == site.clean


@on('8.3')
def test_what_xapi_applied_is_removed_as_a_whole(site, pack):
    directory = site.media(pack, 'xs8')
    site.host.path('/var/update/applied').mkdir(parents=True)
    before = site.files()
    site.host.rpm('-U', *sorted(directory.glob('Packages/*.rpm')))
    assert [name for name in site.files() if name.startswith('/var/update/applied/')]
    done = site.run('--uninstall')
    assert done.returncode == 0
    for name in ('relvmoiscsi ', 'control-relvmoiscsi-1_1_0', 'update-relvmoiscsi-1_1_0'):
        assert name in done.stdout
    assert site.files() == before


@on('6.5', '7.0', '8.2', '8.3', 'sm4')
def test_the_right_package_is_chosen_from_all(site, pack, request):
    shutil.copytree(pack.out, site.host.path(MEDIA))
    shutil.copy(ROOT / 'install.sh', site.host.path(MEDIA))
    release = request.node.callspec.params['site']
    # On 7.0 both Python 2 packages fit, and the one for its rpm is preferred.
    expected = {'6.5': ('el5', 'el7'), '7.0': ('el7',), '8.2': ('el7',), '8.3': ('xs8',), 'sm4': ('xs9',)}[release]
    check = site.run('--check')
    assert (check.returncode, check.stderr) == (0, '')
    assert [key for key in expected if f'relvmoiscsi-1.1.0-1.{key}.noarch.rpm fits this host.\n' in check.stdout]
    assert 'Installed: nothing' in check.stdout
    assert site.files() == site.clean
    assert site.run().returncode == 0
    assert site.version() in [f'1.1.0-1.{key}' for key in expected]
    assert f'Installed: relvmoiscsi-{site.version()}' in site.run('--check').stdout


@on('6.5')
def test_an_rpm_too_old_for_the_newer_package_takes_the_other(site, pack):
    """rpm 4.4 as this one: it says that it cannot read newer digests."""
    shutil.copytree(pack.out, site.host.path(MEDIA))
    shutil.copy(ROOT / 'install.sh', site.host.path(MEDIA))
    site.host.write('/usr/local/bin/rpm', '#!/bin/sh\ncase "$*" in *-U*.el7.*) echo "error: Failed dependencies:\n'
                    '\trpmlib(FileDigests) <= 4.6.0-1 is needed by relvmoiscsi-1.1.0-1.el7.noarch" >&2; exit 1;; esac\n'
                    'exec /usr/bin/rpm --force-debian "$@"\n', 0o755)
    assert 'relvmoiscsi-1.1.0-1.el5.noarch.rpm fits' in site.run('--check').stdout


@on('8.2', '8.3', 'sm4')
def test_the_medium_of_another_release_changes_nothing(site, pack, request):
    release = request.node.callspec.params['site']
    site.media(pack, {'8.2': 'xs8', '8.3': 'el5', 'sm4': 'el7'}[release])
    for words in ((), ('--check',), ('--pool',)):
        done = site.run(*words)
        assert done.returncode == 2
        assert 'this host cannot take it' in done.stderr
        assert 'is needed by relvmoiscsi' in done.stderr
    assert site.files() == site.clean
    assert site.log() == []


@on('8.3')
def test_no_medium_at_all(site):
    site.host.path(MEDIA).mkdir(parents=True)
    shutil.copy(ROOT / 'install.sh', site.host.path(MEDIA))
    done = site.run()
    assert done.returncode == 2
    assert 'there is no relvmoiscsi RPM beside install.sh' in done.stderr


@on('8.3')
def test_no_host_to_install_on(site, pack):
    site.media(pack, 'xs8')
    plain = site.host.run('setpriv', '--reuid=65534', '--clear-groups', f'{MEDIA}/install.sh', check=False)
    # A directory of root's that others cannot read is as good a reason.
    assert plain.returncode in (2, 127)
    site.host.remove('/etc/xensource-inventory')
    done = site.run()
    assert done.returncode == 2
    assert 'no XenServer or XCP-ng host' in done.stderr


@on('8.3')
@pytest.mark.parametrize('words', [
    ('--nonsense',), ('more',), ('--check', '--pool'), ('--uninstall', '--check'), ('--iso',), ('--iso', 'x'), ('--sr', 'x'),
    ('--pool', '--iso'), ('--check', '--sr', 'x'),
])
def test_wrong_usage(site, pack, words):
    site.media(pack, 'xs8')
    done = site.run(*words)
    assert (done.returncode, done.stdout) == (3, '')
    assert done.stderr.startswith('usage: install.sh')
    assert site.version().startswith('package relvmoiscsi is not installed')


@on('8.3')
def test_an_older_package_does_not_replace_a_newer_one(site, pack, newer):
    site.host.rpm('-U', newer.rpm('xs8'))
    site.media(pack, 'xs8')
    done = site.run()
    assert done.returncode == 1
    assert 'newer' in done.stderr
    assert site.version() == '1.1.1-1.xs8'


@on('8.3')
def test_upgrade(site, pack, newer):
    site.host.rpm('-U', pack.rpm('xs8'))
    site.media(newer, 'xs8')
    assert site.run().returncode == 0
    assert site.version() == '1.1.1-1.xs8'


@on('8.3')
def test_installing_again_repairs(site, pack):
    site.media(pack, 'xs8')
    site.run()
    installed = site.files()
    site.host.remove('/opt/xensource/sm/relvm/errors.py')
    site.host.remove('/etc/xapi.conf.d/zz-relvmoiscsi.conf')
    assert site.run().returncode == 0
    assert site.files() == installed


@on('6.5', '7.0')
def test_pool_without_updates_prints_commands_that_work(site, pack):
    site.media(pack, 'el5')
    for host in site.state['hosts']:
        del host['check']
    done = site.run('--pool')
    assert done.returncode == 4
    commands = [line for line in done.stdout.splitlines() if line.startswith(('ssh', 'scp'))]
    assert [line.split('@')[1].split()[0].split(':')[0] for line in commands] == ['192.0.2.1'] * 3 + ['192.0.2.2'] * 3
    assert site.files() == site.clean
    assert not [line for line in site.log() if 'update' in line or 'restart' in line]

    # The first host's commands, with ssh and scp to this same host.
    site.host.write('/usr/local/bin/ssh', '#!/bin/sh\nshift\nexec "$@"\n', 0o755)
    site.host.write('/usr/local/bin/scp', '#!/bin/sh\nfor last; do :; done\nplace=${last#*:}\nwhile [ $# -gt 1 ]; do\n'
                    'cp "$1" "$place"; shift\ndone\n', 0o755)
    site.host.run('sh', '-ec', '\n'.join(commands[:3]))
    assert site.version() == '1.1.0-1.el5'
    assert site.host.read(f'{RECORD}/XS-REPOSITORY')


@on('6.5')
def test_pool_whose_hosts_are_ready(site, pack):
    site.media(pack, 'el5')
    done = site.run('--pool')
    assert done.returncode == 0
    assert 'ready: alpha\nready: beta\n' in done.stdout


@on('8.3')
def test_pool_by_update(site, pack):
    site.media(pack, 'xs8')
    image = site.host.put(pack.iso('xs8'))[0]
    identity = re.search('uuid="([^"]*)"', (site.host.path(MEDIA) / 'update.xml').read_text())[1]
    site.state['hosts'][1]['check'] = NOT_READY
    done = site.run('--pool', '--iso', image)
    assert done.returncode == 4
    assert 'ready: alpha\nnot ready: beta\n' in done.stdout
    assert 'xapi does not know the type' in done.stdout
    assert 'xe-toolstack-restart' in done.stdout
    log = site.log()
    assert [line for line in log if line.startswith('update')] == [
        f'update-upload file-name={image}', f'update-pool-apply uuid={identity}', f'update-pool-clean uuid={identity}']
    assert not [line for line in log if 'restart' in line]
    site.state['hosts'][1]['check'] = READY
    assert site.run('--pool', '--iso', image, '--sr', 'uuid-of-sr').returncode == 0
    assert f'update-upload file-name={image} sr-uuid=uuid-of-sr' in site.log()


@on('8.2', 'sm4')
def test_pool_finds_the_image_beside_it(site, pack):
    shutil.copytree(pack.out, site.host.path(MEDIA))
    shutil.copy(ROOT / 'install.sh', site.host.path(MEDIA))
    assert site.run('--pool').returncode == 0
    key = 'el7' if '2.30' in site.host.run('rpm', '-q', 'sm').stdout else 'xs9'
    assert f'update-upload file-name={MEDIA}/{pack.iso(key).name}' in site.log()


@on('8.3')
def test_pool_with_restart(site, pack):
    site.media(pack, 'xs8')
    image = site.host.put(pack.iso('xs8'))[0]
    site.state['hosts'][1].update(check=NOT_READY, after_restart=READY)
    done = site.run('--pool', '--iso', image, '--restart-toolstack')
    assert done.returncode == 0, done.stdout
    restarts = [line for line in site.log() if 'restart' in line]
    assert restarts == ['restart-here', 'host-restart-agent uuid=uuid-of-another']


@on('8.3')
def test_pool_that_does_not_take_the_image(site, pack):
    site.media(pack, 'xs8')
    image = site.host.put(pack.iso('xs8'))[0]
    site.state['fails'] = {'update-upload': 'The uploaded update package is invalid.\ninfo: Invalid signature'}
    done = site.run('--pool', '--iso', image)
    assert done.returncode == 1
    assert 'Invalid signature' in done.stderr
    assert 'ssh root@192.0.2.2 ' in done.stdout
    assert not [line for line in site.log() if 'apply' in line]


@on('8.3')
def test_pool_repeated(site, pack):
    """The update is known and applied everywhere: uploading and applying fail, and that is all right."""
    site.media(pack, 'xs8')
    image = site.host.put(pack.iso('xs8'))[0]
    identity = re.search('uuid="([^"]*)"', (site.host.path(MEDIA) / 'update.xml').read_text())[1]
    site.state.update(updates=[identity], fails={
        'update-upload': f'The uploaded update already exists\nuuid: {identity}',
        'update-pool-apply': 'This update has already been applied to all hosts in the pool.\nupdate: relvmoiscsi'})
    done = site.run('--pool', '--iso', image)
    assert (done.returncode, done.stderr) == (0, '')
    site.state['fails']['update-pool-apply'] = 'The update failed to apply.\noutput: no space'
    done = site.run('--pool', '--iso', image)
    assert done.returncode == 1
    assert 'no space' in done.stderr


@on('8.3')
def test_pool_without_image_or_xapi(site, pack):
    site.media(pack, 'xs8')
    assert site.run('--pool').returncode == 2
    site.state['up'] = False
    done = site.run('--pool')
    assert done.returncode == 1
    assert 'xapi does not answer' in done.stderr


def test_help():
    done = subprocess.run([ROOT / 'install.sh', '--help'], capture_output=True, text=True, check=True)
    assert done.stdout.startswith('usage: install.sh')
    for option in ('--check', '--uninstall', '--selftest', '--no-selftest', '--pool', '--iso', '--sr', '--restart-toolstack',
                   'exit status'):
        assert option in done.stdout
