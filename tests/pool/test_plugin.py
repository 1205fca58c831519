# SPDX-License-Identifier: LGPL-2.1-only
"""The xapi plugin, started as xapi starts it: one XML-RPC call in argv, the answer on stdout."""
from __future__ import unicode_literals

import json
import os
import shutil
import subprocess
import sys

import pytest

from dom0.profile import SUPPORT

try:
    from xmlrpc import client as xmlrpclib
except ImportError:
    import xmlrpclib

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
sys.path.insert(0, os.path.join(ROOT, 'drivers'))

from relvm import MAINTAINER, __version__, identity  # noqa: E402
from relvm.engine import blockdev  # noqa: E402
from relvm.show import pack  # noqa: E402

# A session that replays answers, in the place of the one that XenAPI makes
SESSION = '''
import json
import os


class Failure(Exception):
    def __init__(self, details):
        Exception.__init__(self)
        self.details = details


class Session:
    def __init__(self, name=''):
        self.name = name

    @property
    def xenapi(self):
        return self

    def __getattr__(self, name):
        return Session((self.name + '.' + name).lstrip('.'))

    def __call__(self, *arguments):
        with open(os.environ['CALLS'], 'a') as calls:
            calls.write(json.dumps([self.name, arguments]) + '\\n')
        answer = json.loads(os.environ['ANSWERS'])[self.name]
        if isinstance(answer, dict) and 'failure' in answer:
            raise Failure(answer['failure'])
        return answer


xapi_local = Session
'''


PATHS = '''
from relvm.host import locks
calls.INVENTORY = %r
locks.RUN_DIR = %r
'''


class Host(object):
    """A directory that stands for a host, with the plugin in it and paths that point there."""

    def __init__(self, directory):
        self.directory = directory
        self.calls = str(directory.join('calls'))
        self.answers = {'host.get_by_uuid': 'this host', 'pool.get_all_records': {'pool': {'master': 'this host'}}}
        directory.join('inventory').write("PRODUCT_BRAND='XenServer'\nINSTALLATION_UUID='uuid-of-this-host'\n")
        shutil.copy(os.path.join(SUPPORT, 'XenAPIPlugin.py'), str(directory))
        directory.join('XenAPI.py').write(SESSION)
        with open(os.path.join(ROOT, 'plugins', 'relvmoiscsi')) as source:
            text = source.read()
        # its paths are those of a host
        imported = 'import XenAPIPlugin  # noqa: E402\n'
        assert imported in text
        text = text.replace(imported, imported + PATHS % (str(directory.join('inventory')), str(directory.join('run'))))
        directory.join('plugin').write(text)

    def run(self, function, **arguments):
        """(answer's value, None) or (None, failure's words)."""
        call = xmlrpclib.dumps(('OpaqueRef:session', arguments), str(function))
        environment = dict(os.environ, CALLS=self.calls, ANSWERS=json.dumps(self.answers),
                           PYTHONPATH=os.pathsep.join([str(self.directory), os.path.join(ROOT, 'drivers')]))
        environment = dict((str(key), str(value)) for key, value in environment.items())
        process = subprocess.Popen([sys.executable, str(self.directory.join('plugin')), call], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment)
        out, err = process.communicate()
        assert (process.returncode, err) == (0, b'')
        answer = xmlrpclib.loads(out)[0][0]
        if answer['Status'] == 'Success':
            return answer['Value'], None
        return None, answer['ErrorDescription']

    def called(self):
        if not os.path.exists(self.calls):
            return []
        with open(self.calls) as source:
            return [json.loads(line) for line in source]


@pytest.fixture
def host(tmpdir):
    return Host(tmpdir)


def test_version(host):
    assert host.run('version') == ('%s (reports to: %s)' % (__version__, MAINTAINER), None)


def test_holders_and_refresh_of_a_lun_that_is_not_there(host):
    assert json.loads(host.run('holders', SCSIid='36001405clone')[0]) == {'SCSIid': '36001405clone', 'holders': [], 'visible': False}
    assert host.run('refresh', SCSIid='36001405clone') == ('{}', None)
    for scsi_id in ('', '..', '/dev/sda'):
        value, failure = host.run('holders', SCSIid=scsi_id)
        assert value is None and failure[0] == 'RELVMOISCSI_ARGUMENTS'
        assert host.run('refresh', SCSIid=scsi_id) == ('{}', None)
    assert host.called() == []


def test_preview_of_a_lun_behind_hbas_asks_the_other_driver(host):
    host.answers['SR.probe'] = '<SRlist/>'
    host.run('preview', SCSIid='36001405clone')
    assert host.called()[-1] == ['SR.probe', ['this host', {'SCSIid': '36001405clone'}, 'relvmohba', {}]]


def test_check_on_a_host_without_the_driver_has_one_line_for_each_point_that_fails(host):
    host.answers['SM.get_all_records'] = {}
    value, failure = host.run('check')
    assert failure is None
    answer = json.loads(value)
    assert answer['ok'] is False
    assert answer['version'] == __version__
    assert answer['failures']
    lines = value.split('\n')
    for sentence in answer['failures']:
        assert [line for line in lines if sentence in line] != []
    assert '"ok": false' in value


def test_preview_asks_the_driver_and_answers_json(host):
    host.answers['SR.probe'] = ('<SRlist><SR><UUID>u</UUID><resign><possible>true</possible><copy_of>o</copy_of>'
                                '</resign></SR></SRlist>')
    value, failure = host.run('preview', SCSIid='3600', target='192.0.2.1')
    assert failure is None
    answer = json.loads(value)
    assert (answer['uuid'], answer['possible'], answer['copy_of']) == ('u', True, 'o')
    assert host.called()[-1] == ['SR.probe', ['this host', {'SCSIid': '3600', 'target': '192.0.2.1'}, 'relvmoiscsi', {}]]
    assert ['host.get_by_uuid', ['uuid-of-this-host']] in host.called()


@pytest.mark.parametrize('function, call', [('preview', 'SR.probe'), ('attach', 'SR.create')])
def test_what_is_left_behind_is_handed_on_to_the_resign_alone(host, function, call):
    attachable(host)
    if function == 'preview':
        host.answers['SR.probe'] = '<SRlist><SR><UUID>u</UUID><resign><possible>true</possible></resign></SR></SRlist>'
    _, failure = host.run(function, SCSIid='3600', drop='a,b')
    assert failure is None
    configs = [arguments[1] for name, arguments in host.called() if name == call]
    assert configs[0] == {'SCSIid': '3600', 'drop': 'a,b'}
    assert not [arguments for name, arguments in host.called() if name != call and 'a,b' in repr(arguments)]


def packed(host, shape):
    """The driver's answer with a file that it made."""
    path = host.directory.join('made')
    if not path.check():
        device = blockdev.Device(shape.path, False)
        pack.pack(device, str(path))
        device.close()
    host.answers['SR.probe'] = '<SRlist><SR><UUID>u</UUID><resign><pack>%s</pack></resign></SR></SRlist>' % path
    return path


def test_pack_says_where_the_file_is(host, shape_called):
    path = packed(host, shape_called('one'))
    value, failure = host.run('pack', SCSIid='3600', target='192.0.2.1')
    assert failure is None
    assert json.loads(value) == {'file': str(path), 'bytes': path.size()}
    assert host.called()[-1] == ['SR.probe', ['this host', {'SCSIid': '3600', 'target': '192.0.2.1', 'pack': 'true'}, 'relvmoiscsi', {}]]
    assert path.check()


def test_dump_answers_text_and_leaves_no_file(host, shape_called):
    path = packed(host, shape_called('one'))
    value, failure = host.run('dump', SCSIid='3600', target='192.0.2.1')
    assert failure is None
    assert 'label: id                    LABELONE' in value and 'xxxx' in value
    assert not path.check()


@pytest.mark.parametrize('function', ['pack', 'dump'])
def test_a_lun_that_is_not_looked_at_is_not_packed(host, function):
    host.answers['SR.probe'] = '<SRlist><resign><possible>false</possible><reason code="InUse">it is used</reason></resign></SRlist>'
    assert host.run(function, SCSIid='3600', target='192.0.2.1') == (None, ['RELVMOISCSI_PACK', 'it is used'])


def test_preview_hands_on_the_drivers_own_failure(host):
    details = ['SR_BACKEND_FAILURE_107', '', 'The SCSIid parameter is missing or incorrect', '<iscsi-target/>']
    host.answers['SR.probe'] = {'failure': details}
    assert host.run('preview', target='192.0.2.1') == (None, details)


def test_preview_of_what_is_no_answer(host):
    host.answers['SR.probe'] = '<other/>'
    value, failure = host.run('preview', SCSIid='3600')
    assert failure[0] == 'RELVMOISCSI_PROBE'


@pytest.mark.parametrize('function', ['preview', 'attach'])
def test_a_password_is_refused_and_shows_up_nowhere(host, function):
    value, failure = host.run(function, SCSIid='3600', chappassword='MARKER')
    assert failure[0] == 'RELVMOISCSI_ARGUMENTS'
    assert 'chappassword_secret' in failure[1]
    assert 'MARKER' not in repr(failure) + repr(host.called())


def test_attach_on_a_slave_is_done_by_the_master(host):
    host.answers['pool.get_all_records'] = {'pool': {'master': 'another host'}}
    host.answers['host.call_plugin'] = '{"sr": "new"}'
    assert host.run('attach', SCSIid='3600') == ('{"sr": "new"}', None)
    assert host.called()[-1] == ['host.call_plugin', ['another host', 'relvmoiscsi', 'attach', {'SCSIid': '3600'}]]
    assert 'SR.create' not in [name for name, _ in host.called()]


def attachable(host):
    host.answers.update({
        'SR.get_all_records': {}, 'PBD.get_all_records': {},
        'SR.create': {'failure': ['SR_BACKEND_FAILURE_1', '', 'The SR has been successfully resigned. Use', '']},
        'SR.probe': '<SRlist><SR><UUID>new</UUID></SR></SRlist>', 'SR.introduce': 'ref', 'SR.get_PBDs': [],
        'SR.get_uuid': 'new', 'host.get_all': ['this host'], 'PBD.create': 'pbd', 'PBD.plug': '', 'SR.scan': '',
        'SR.get_record': {'uuid': 'new', 'name_label': 'Clone', 'other_config': {}}, 'SR.add_to_other_config': '',
        'SR.get_VDIs': ['vdi'],
        'VDI.get_record': {'uuid': 'v', 'name_label': 'disk', 'virtual_size': '5', 'is_a_snapshot': False, 'other_config': {}},
    })


def test_attach_on_the_master(host):
    attachable(host)
    value, failure = host.run('attach', SCSIid='3600')
    assert failure is None
    answer = json.loads(value)
    assert (answer['sr'], answer['resigned'], [vdi['uuid'] for vdi in answer['vdis']]) == ('new', True, ['v'])


def mapped(host):
    source = '00000000-0000-4000-8000-000000000001'
    sr = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
    new = identity.uuid5(sr, source)
    host.answers.update({
        'SR.get_by_uuid': 'sr', 'SR.get_VDIs': ['vdi'], 'SR.get_record': {'uuid': sr, 'other_config': {'relvmoiscsi:from': 'old'}},
        'VDI.get_record': {'uuid': new, 'name_label': 'disk', 'SR': 'sr',
                           'other_config': {'relvmoiscsi:from': source}},
        'SR.get_all_records': {'sr': {'uuid': sr, 'sm_config': {}, 'other_config': {}}},
        'host.get_software_version': {'xapi_build': '23.1'},
        'VM.get_by_uuid': 'vm', 'VM.get_record': {'uuid': 'vm', 'VBDs': ['vbd'], 'snapshots': []},
        'VBD.get_record': {'type': 'Disk', 'VDI': 'vdi'},
    })
    return sr, source, new


def test_map(host):
    sr, source, new = mapped(host)
    value, failure = host.run('map', sr=sr)
    assert failure is None
    assert json.loads(value) == {'srs': [{'sr': sr, 'from': 'old', 'vdis': [{'uuid': new, 'from': source, 'name_label': 'disk'}]}]}
    assert host.run('map', sr=sr, format='vm-import') == ('vdi:%s=%s' % (source, new), None)


def test_map_check(host):
    sr, _, new = mapped(host)
    value, failure = host.run('map', check='vm')
    assert value is None and failure[0] == 'RELVMOISCSI_MAP' and 'DO NOT START' in failure[1] and new in failure[1]
    value, failure = host.run('map', check='vm', sr=sr)
    assert failure is None and json.loads(value) == {'vm': 'vm', 'disks': 1}


@pytest.mark.parametrize('arguments', [{}, {'sr': ''}, {'sr': 'x', 'format': 'csv'}])
def test_map_of_nothing(host, arguments):
    assert host.run('map', **arguments)[1][0] == 'RELVMOISCSI_ARGUMENTS'


def test_a_failed_step_is_named(host):
    attachable(host)
    host.answers['SR.probe'] = '<SRlist/>'
    value, failure = host.run('attach', SCSIid='3600')
    assert failure[0] == 'RELVMOISCSI_PROBE'
    assert 'same command again' in failure[1]


def test_a_refusal_comes_through_as_it_is(host):
    attachable(host)
    details = ['SR_BACKEND_FAILURE_47', '', 'The SR is not available [opterr=/dev/sdb has open journals]', '']
    host.answers['SR.create'] = {'failure': details}
    assert host.run('attach', SCSIid='3600') == (None, details)


def test_two_attaches_of_one_lun_at_once(host):
    import fcntl
    attachable(host)
    host.directory.mkdir('run')
    with open(str(host.directory.join('run', 'attach.3600')), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        value, failure = host.run('attach', SCSIid='3600')
        assert failure[0] == 'RELVMOISCSI_BUSY'
        assert host.run('attach', SCSIid='3601')[1] is None
    assert host.run('attach', SCSIid='3600')[1] is None


def test_a_scsi_id_is_no_path(host):
    attachable(host)
    assert host.run('attach', SCSIid='../../x')[1] is None
    assert sorted(entry.basename for entry in host.directory.join('run').listdir()) == ['attach.______x']


def test_discard_of_an_sr_that_the_pool_does_not_have(host):
    host.answers['SR.get_all_records'] = {}
    uuid = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
    value, failure = host.run('discard', sr=uuid)
    assert failure is None and json.loads(value)['known'] is False
    assert host.run('discard')[1][:2] == ['RELVMOISCSI_REFUSED', 'NoSuchSR']


def test_discard_on_a_slave_is_done_by_the_master_and_only_of_what_is_marked(host):
    uuid = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
    host.answers['SR.get_all_records'] = {'sr': {'uuid': uuid, 'other_config': {}}}
    value, failure = host.run('discard', sr=uuid)
    assert failure[:2] == ['RELVMOISCSI_REFUSED', 'NotOurs'] and uuid in failure[2]
    host.answers['pool.get_all_records'] = {'pool': {'master': 'another host'}}
    host.answers['host.call_plugin'] = '{}'
    assert host.run('discard', sr=uuid) == ('{}', None)
    assert host.called()[-1] == ['host.call_plugin', ['another host', 'relvmoiscsi', 'discard', {'sr': uuid}]]


@pytest.mark.parametrize('check', [{}, {'check': 'true'}])
def test_release_of_a_lun_that_is_not_there(host, check):
    uuid = 'ffffffff-ffff-4fff-8fff-ffffffffff00'
    assert host.run('release', SCSIid='36001405clone', sr=uuid, **check) == ('', None)
    assert host.run('release', SCSIid='..', sr=uuid, **check)[1][:2] == ['RELVMOISCSI_REFUSED', 'BadSCSIid']
    assert host.run('release', SCSIid='36001405clone', **check)[1][:2] == ['RELVMOISCSI_REFUSED', 'NoSuchSR']
    assert host.called() == []


LISTED = '''<?xml version="1.0" ?>
<iscsi-target><LUN><vendor>V</vendor><serial>s</serial><LUNid>3</LUNid><size>10</size><SCSIid>3600</SCSIid><sr_uuid>u</sr_uuid>
<sr_name>&#252; &amp; co</sr_name><copy_of>o</copy_of><used_by></used_by><copied_from>3601</copied_from><locked>false</locked>
<visible>true</visible><possible>false</possible><reason code="Original">it is one</reason></LUN></iscsi-target>'''
TOLD = {'vendor': 'V', 'serial': 's', 'LUNid': '3', 'size': 10, 'SCSIid': '3600', 'sr_uuid': 'u', 'sr_name': '\u00fc & co', 'copy_of': 'o',
        'used_by': '', 'copied_from': '3601', 'locked': False, 'visible': True, 'possible': False,
        'reasons': [{'code': 'Original', 'sentence': 'it is one'}]}


def probed(host):
    return [arguments for name, arguments in host.called() if name == 'SR.probe']


def test_discover_asks_both_drivers(host):
    host.answers['SR.probe'] = LISTED
    value, failure = host.run('discover')
    assert failure is None
    assert json.loads(value) == {'luns': [dict(TOLD, type='lvmoiscsi'), dict(TOLD, type='lvmohba')]}
    assert probed(host) == [['this host', {'discover': 'true'}, kind, {}] for kind in ('relvmoiscsi', 'relvmohba')]


def test_discover_of_a_target_asks_one(host):
    host.answers['SR.probe'] = LISTED
    value, failure = host.run('discover', login='true', target='192.0.2.1', targetIQN='iqn', chappassword_secret='uuid')
    assert failure is None and json.loads(value) == {'luns': [dict(TOLD, type='lvmoiscsi')]}
    assert probed(host) == [['this host', {'discover': 'true', 'login': 'true', 'target': '192.0.2.1', 'targetIQN': 'iqn',
                                           'chappassword_secret': 'uuid'}, 'relvmoiscsi', {}]]


def test_discover_as_the_list_that_sm_gives(host):
    host.answers['SR.probe'] = LISTED
    assert host.run('discover', format='xml') == (LISTED, None)
    assert host.run('discover', format='xml', type='lvmohba') == (LISTED, None)
    assert [arguments[2] for arguments in probed(host)] == ['relvmoiscsi', 'relvmohba']


@pytest.mark.parametrize('arguments, word', [({'format': 'csv'}, 'json or xml'), ({'type': 'nfs'}, 'type=nfs'),
                                             ({'login': 'true', 'chappassword': 'MARKER'}, 'chappassword_secret')])
def test_discover_refuses(host, arguments, word):
    value, failure = host.run('discover', **arguments)
    assert failure[0] == 'RELVMOISCSI_ARGUMENTS' and word in failure[1] and 'MARKER' not in failure[1]
    assert probed(host) == []


def test_discover_of_what_is_no_answer(host):
    host.answers['SR.probe'] = '<SRlist/>'
    assert host.run('discover')[1][0] == 'RELVMOISCSI_PROBE'
