# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.install.hostcheck on directories that look like a host's, with drivers that are really started."""
from __future__ import unicode_literals

import os
import sys

import pytest

from relvm import __version__
from relvm.install import allowlist, hostcheck

DRIVER = '''#!%(python)s
import sys
try:
    import xmlrpclib
except ImportError:
    import xmlrpc.client as xmlrpclib
params, method = xmlrpclib.loads(sys.argv[1])
assert method == 'sr_get_driver_info' == params[0]['command'], method
assert 'device_config' in params[0] and 'session_ref' not in params[0]
info = {'name': %(name)r, 'driver_version': %(version)r}
%(more)s
sys.stdout.write(xmlrpclib.dumps((info,), None, True))
'''


class Session(object):
    """A XenAPI session on a pool whose xapi has started with `records` in its SM table."""

    def __init__(self, *records):
        self.xenapi = self.SM = self
        self.records = dict(enumerate(records))

    def get_all_records(self):
        return self.records


KNOWN = {'type': 'relvmoiscsi', 'version': str(__version__)}
KNOWN_HBA = dict(KNOWN, type='relvmohba')
POINTS = ['driver', 'executable', 'answers', 'single', 'allowed', 'registered']
OTHER = {'type': 'lvmoiscsi', 'version': '1.0'}


@pytest.fixture
def host(tmpdir):
    tmpdir.mkdir('sm')
    tmpdir.mkdir('conf.d')
    tmpdir.join('xapi.conf').write('# plugins\nsm-plugins=ext nfs\n')
    tmpdir.join('conf.d', allowlist.OWN).write('sm-plugins=ext nfs relvmoiscsi relvmohba\n')
    found = hostcheck.Host(str(tmpdir.join('sm')), str(tmpdir.join('xapi.conf')), str(tmpdir.join('conf.d')))
    write_driver(found)
    write_driver(found, name='LVHD over FC', entry='RELVMoHBASR')
    for entry in ('RELVMoISCSISR', 'RELVMoHBASR'):
        os.symlink(entry + '.py', os.path.join(found.sm_dir, entry))
    return found


def write_driver(host, version=__version__, name='LVHD over iSCSI with resigning of duplicates', more='', entry='RELVMoISCSISR'):
    path = os.path.join(host.sm_dir, entry + '.py')
    with open(path, 'w') as out:
        out.write(DRIVER % {'python': sys.executable, 'version': str(version), 'name': str(name), 'more': more})
    os.chmod(path, 0o755)


def failures(host, *records):
    answer = hostcheck.check(Session(*(records or (OTHER, KNOWN, KNOWN_HBA))), host)
    assert answer['ok'] == (answer['failures'] == [])
    assert set(answer['failures']) == {state for state in answer['points'].values() if state != 'ok'}
    return answer['failures']


def test_a_host_that_is_ready(host):
    answer = hostcheck.check(Session(OTHER, KNOWN, KNOWN_HBA), host)
    assert answer == {'ok': True, 'version': __version__, 'failures': [], 'points': dict.fromkeys(
        ['%s %s' % (kind, point) for kind in ('relvmoiscsi', 'relvmohba') for point in POINTS], 'ok')}


@pytest.mark.parametrize('damage, words', [
    (lambda host: os.unlink(os.path.join(host.sm_dir, 'RELVMoHBASR.py')), 'RELVMoHBASR.py is missing'),
    (lambda host: write_driver(host, more='import no_such_module_of_sm', entry='RELVMoHBASR'), 'no_such_module_of_sm'),
    (lambda host: os.symlink('/nowhere', os.path.join(host.sm_dir, 'ReLVMoHBASR')), 'also holds ReLVMoHBASR'),
    (lambda host: os.unlink(os.path.join(host.directory, allowlist.OWN)), 'does not list relvmohba'),
])
def test_the_other_driver_is_looked_at_as_well(host, damage, words):
    damage(host)
    assert [sentence for sentence in failures(host) if words in sentence]


def test_xapi_does_not_know_the_other_type(host):
    only(failures(host, OTHER, KNOWN), 'does not know the type relvmohba')


def test_a_drop_in_of_the_version_with_one_type(host):
    with open(os.path.join(host.directory, allowlist.OWN), 'w') as out:
        out.write('sm-plugins=ext nfs relvmoiscsi\n')
    only(failures(host), 'does not list relvmohba', 'run install.sh again')


def test_nothing_is_written_beside_the_driver(host):
    before = sorted(os.listdir(host.sm_dir))
    hostcheck.check(Session(KNOWN), host)
    assert sorted(os.listdir(host.sm_dir)) == before


def only(found, *words):
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


def test_the_driver_is_missing_behind_its_link(host):
    os.unlink(os.path.join(host.sm_dir, 'RELVMoISCSISR.py'))
    found = failures(host)
    assert len(found) == 2
    assert 'RELVMoISCSISR.py is missing' in found[0]
    assert 'RELVMoISCSISR is missing' in found[1]


def test_the_entry_is_missing(host):
    os.unlink(host.entry('relvmoiscsi'))
    only(failures(host), 'RELVMoISCSISR is missing', 'install')


def test_the_entry_is_not_executable(host):
    os.chmod(os.path.join(host.sm_dir, 'RELVMoISCSISR.py'), 0o644)
    if os.access(host.entry('relvmoiscsi'), os.X_OK):
        pytest.fail('this user may execute files without x')
    only(failures(host), 'not executable')


@pytest.mark.parametrize('more,words', [
    ('import no_such_module_of_sm', 'no_such_module_of_sm'),
    ('sys.stderr.write("a word on stderr\\n")', 'a word on stderr'),
    ('sys.exit(3)', 'exit status 3'),
    ('sys.stdout.write("talk")', 'no answer'),
    ('sys.stdout.write(xmlrpclib.dumps(xmlrpclib.Fault(1, "Error reporting error"), None, True)); sys.exit(0)',
     'Error reporting error'),
    ('del info["driver_version"]', 'no answer'),
])
def test_the_driver_does_not_answer(host, more, words):
    write_driver(host, more=more)
    only(failures(host), 'does not answer xapi', words)


def test_the_drivers_interpreter_is_missing(host):
    path = os.path.join(host.sm_dir, 'RELVMoISCSISR.py')
    with open(path, 'w') as out:
        out.write('#!/no/such/python\n')
    os.chmod(path, 0o755)
    only(failures(host), 'does not answer xapi', 'No such file')


def test_a_driver_that_hangs_is_killed(host, monkeypatch):
    monkeypatch.setattr(hostcheck, 'SECONDS_TO_ANSWER', 0.3)
    write_driver(host, more='import time; time.sleep(1000)')
    # the other driver may be as slow as this on a busy machine
    only([failure for failure in failures(host) if 'RELVMoISCSISR' in failure], 'does not answer xapi', 'killed')


def test_driver_and_package_of_different_versions(host):
    write_driver(host, version='0.9')
    only(failures(host), 'version 0.9')


def test_cloudstack_would_not_recognise_the_driver(host):
    write_driver(host, name='LVHD over iSCSI')
    only(failures(host), 'resigning of duplicates')


def test_the_type_has_a_second_entry(host):
    os.symlink('/nowhere', os.path.join(host.sm_dir, 'ReLVMoISCSISR'))
    only(failures(host), 'ReLVMoISCSISR')


def test_xapi_does_not_know_the_type(host):
    only(failures(host, OTHER, KNOWN_HBA), 'does not know the type relvmoiscsi', 'xe-toolstack-restart')


def test_xapi_knows_an_older_version(host):
    only(failures(host, dict(KNOWN, version='0.9'), KNOWN_HBA), 'knows version 0.9 of type relvmoiscsi', 'xe-toolstack-restart')


def test_not_on_the_list_of_allowed_plugins(host):
    os.unlink(os.path.join(host.directory, allowlist.OWN))
    found = failures(host)
    assert [host.config in sentence for sentence in found] == [True, True]
    assert 'does not list relvmoiscsi' in found[0] and 'does not list relvmohba' in found[1]


def test_xapi_may_be_told_to_search_another_directory(host, tmpdir):
    tmpdir.mkdir('drivers')
    with open(os.path.join(host.directory, '00-sm4'), 'w') as out:
        out.write('sm-dir = %s\n' % tmpdir.join('drivers'))
    found = failures(host)
    for number, entry in enumerate(('RELVMoISCSISR', 'RELVMoHBASR')):
        assert os.path.join(str(tmpdir), 'drivers', entry) + ' is missing' in found[number]
        os.symlink(os.path.join(host.sm_dir, entry + '.py'), str(tmpdir.join('drivers', entry)))
    assert failures(host) == []


def test_that_directory_is_missing(host):
    with open(os.path.join(host.directory, '00-sm4'), 'w') as out:
        out.write('sm-dir=/no/such/directory\n')
    found = failures(host)
    assert [sentence for sentence in found if '/no/such/directory is missing' in sentence]


def allowed(tmpdir, main, **files):
    """allowlist.problem for xapi.conf with `main` (None: no file) and conf.d files."""
    config, directory = tmpdir.join('main'), tmpdir.ensure('d', dir=True)
    if main is not None:
        config.write(main)
    for name, content in files.items():
        directory.join(name).write(content)
    return allowlist.problem('relvmoiscsi', str(config), str(directory))


@pytest.mark.parametrize('main', [
    None, '', 'other=1\n', '# sm-plugins=ext\n', 'sm-plugins=*', 'sm-plugins=ext * nfs', 'sm-plugins=ReLVMoISCSI\n',
    '  sm-plugins = "ext relvmoiscsi" # comment\n', "sm-plugins='relvmoiscsi'", 'sm-plugins=ext\nsm-plugins=ext relvmoiscsi',
    'sm-plugins=ext\trelvmoiscsi\r\n', 'sm-plugins\t=\text relvmoiscsi',
])
def test_allowed(tmpdir, main):
    assert allowed(tmpdir, main) is None


@pytest.mark.parametrize('main', [
    'sm-plugins=', 'sm-plugins=ext', 'sm-plugins=relvmoiscsi\nsm-plugins=ext', 'sm-plugins=ext # relvmoiscsi',
    'sm-plugins=xrelvmoiscsi relvmoiscsix', 'sm-plugins="relvmoiscsi ext', 'sm-plugins=ext\nsm-plugin=relvmoiscsi',
])
def test_not_allowed(tmpdir, main):
    assert 'does not list relvmoiscsi' in allowed(tmpdir, main)


def test_the_file_read_last_has_the_last_word(tmpdir):
    assert allowed(tmpdir, 'sm-plugins=ext', a='sm-plugins=nfs relvmoiscsi') is None
    assert 'z' in allowed(tmpdir, 'sm-plugins=ext', a='sm-plugins=nfs relvmoiscsi', z='sm-plugins=nfs')


def test_hidden_files_count_and_directories_do_not(tmpdir):
    tmpdir.ensure('d', 'zzz', dir=True)
    assert allowed(tmpdir, 'sm-plugins=ext', **{'.hidden': 'sm-plugins=relvmoiscsi'}) is None


def test_our_list_hides_another_packs_driver(tmpdir):
    files = {allowlist.OWN: 'sm-plugins=ext relvmoiscsi', 'other.conf': 'sm-plugins=ext Foo bar'}
    sentence = allowed(tmpdir, 'sm-plugins=ext', **files)
    assert 'hides Foo bar' in sentence
    assert 'other.conf' in sentence
    files[allowlist.OWN] = 'sm-plugins=ext foo BAR relvmoiscsi'
    assert allowed(tmpdir, 'sm-plugins=ext', **files) is None
