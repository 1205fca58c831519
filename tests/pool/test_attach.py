# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.pool.attach on a double of a pool: every step fails once, in every way, and the repeated command finishes the job."""
from __future__ import unicode_literals

import itertools
import sys
import uuid

import pytest

from relvm import identity
from relvm.formats import redolog
from relvm.pool import attach, vdimap

ORIGINAL_LUN = '36001405original'
CLONE_LUN = '36001405clone'
SOURCE = '00000000-0000-4000-8000-000000000001'
CONFIG = {'target': '192.0.2.1', 'targetIQN': 'iqn.2026-11.example:array', 'SCSIid': CLONE_LUN}
HBA_CONFIG = {'SCSIid': CLONE_LUN}
SUCCESS = ('Error reporting error, unknown key The SR has been successfully resigned. '
           'Use the lvmoiscsi type to attach it')


class Failure(Exception):
    """As XenAPI.Failure."""

    def __init__(self, *details):
        Exception.__init__(self, *details)
        self.details = list(details)


class LostConnection(Exception):
    """xapi went away: no `details`."""


class Pool(object):
    """Two hosts, an SR that is plugged on both, and an array's clone of its LUN that nobody has looked at yet."""

    TYPES = ('relvmoiscsi', 'lvmoiscsi')
    # whom to ask what is on the LUN
    SEES = 'lvmoiscsi'

    def __init__(self, hosts=('master', 'slave')):
        self.hosts = list(hosts)
        self.offline = set()
        self.srs = {}
        self.pbds = {}
        self.vdis = {}
        self.original = str(uuid.uuid4())
        self.luns = {ORIGINAL_LUN: self.original, CLONE_LUN: self.original}
        self.calls = []
        self.failing = {}
        self.resigned = []
        self.refreshed = []
        self.messages = []
        self.xenapi = Endpoint(self, '')
        sr = self.introduce(self.original, 'Original', '', 'lvmoiscsi', 'user', True, {})
        for host in self.hosts:
            self.pbds['PBD original ' + host] = {
                'uuid': str(uuid.uuid4()), 'host': host, 'SR': sr, 'currently_attached': True,
                'device_config': dict(CONFIG, SCSIid=ORIGINAL_LUN)}

    def call(self, name, arguments):
        number = len(self.calls)
        self.calls.append(name)
        when, error = self.failing.get(number, (None, None))
        if when == 'before':
            raise error
        answer = None
        try:
            answer = getattr(self, name.replace('.', '_'))(*arguments)
        except Failure:
            if when == 'after':
                raise error
            raise
        if when == 'after':
            raise error
        return answer

    def pool_get_all_records(self):
        return {'the pool': {'master': self.hosts[0]}}

    def host_get_all(self):
        return list(reversed(self.hosts))

    def host_get_name_label(self, host):
        return 'name of ' + host

    def SR_get_all_records(self):
        return dict([(ref, dict(record)) for ref, record in self.srs.items()])

    def PBD_get_all_records(self):
        return dict([(ref, dict(record)) for ref, record in self.pbds.items()])

    def SR_get_record(self, ref):
        return dict(self.srs[ref])

    def SR_get_uuid(self, ref):
        return self.srs[ref]['uuid']

    def SR_get_PBDs(self, ref):
        return [pbd for pbd, record in self.pbds.items() if record['SR'] == ref]

    def SR_get_VDIs(self, ref):
        return [vdi for vdi, record in self.vdis.items() if record['SR'] == ref]

    def PBD_get_record(self, ref):
        return dict(self.pbds[ref])

    def VDI_get_record(self, ref):
        return dict(self.vdis[ref])

    def SR_create(self, host, config, size, label, description, kind, content, shared, sm_config):
        assert (host, size, kind, shared) == (self.hosts[0], '0', self.TYPES[0], True)
        lun = config['SCSIid']
        known = [record['uuid'] for ref, record in self.srs.items()
                 if [pbd for pbd in self.pbds.values() if pbd['SR'] == ref and pbd['device_config']['SCSIid'] == lun]]
        if known:
            raise Failure('SR_BACKEND_FAILURE_47', '', 'The SR is not available [opterr=in use]', '')
        carried = [record for record in self.srs.values()
                   if record['uuid'] == self.luns[lun] and record['uuid'] != self.original]
        assert not carried, 'a LUN that was introduced is resigned'
        self.luns[lun] = str(uuid.uuid4())
        self.resigned.append(self.luns[lun])
        raise Failure('SR_BACKEND_FAILURE_1', '', SUCCESS, '')

    def SR_probe(self, host, config, kind, sm_config):
        assert (host, kind) == (self.hosts[0], self.SEES)
        assert 'force' not in config
        return ('<?xml version="1.0" ?>\n<SRlist>\n\t<SR>\n\t\t<UUID>\n\t\t\t%s\n\t\t</UUID>\n\t\t<Devlist>\n\t\t\t'
                '/dev/sdb\n\t\t</Devlist>\n\t\t<size>\n\t\t\t1073741824\n\t\t</size>\n\t\t<name_label>\n\t\t\tOn the LUN'
                '\n\t\t</name_label>\n\t\t<name_description/>\n\t</SR>\n</SRlist>\n' % self.luns[config['SCSIid']])

    def introduce(self, sr_uuid, label, description, kind, content, shared, sm_config):
        if [record for record in self.srs.values() if record['uuid'] == sr_uuid]:
            raise Failure('SR_UUID_EXISTS', sr_uuid)
        ref = 'SR %d' % len(self.srs)
        self.srs[ref] = {'uuid': sr_uuid, 'name_label': label, 'name_description': description, 'type': kind,
                         'shared': shared, 'sm_config': sm_config, 'other_config': {}}
        return ref

    def SR_introduce(self, *arguments):
        return self.introduce(*arguments)

    def PBD_create(self, record):
        for pbd in self.pbds.values():
            if (pbd['SR'], pbd['host']) == (record['SR'], record['host']):
                raise Failure('PBD_EXISTS')
        ref = 'PBD %d' % len(self.pbds)
        self.pbds[ref] = dict(record, uuid=str(uuid.uuid4()), currently_attached=False)
        return ref

    def PBD_plug(self, ref):
        pbd = self.pbds[ref]
        if pbd['host'] in self.offline:
            raise Failure('HOST_OFFLINE', pbd['host'])
        assert pbd['host'] == self.hosts[0] or [
            other for other in self.pbds.values()
            if (other['SR'], other['host']) == (pbd['SR'], self.hosts[0]) and other['currently_attached']], 'a slave before the master'
        if self.luns[pbd['device_config']['SCSIid']] != self.srs[pbd['SR']]['uuid']:
            raise Failure('SR_BACKEND_FAILURE_47', '', 'no such volume group', '')
        pbd['currently_attached'] = True
        if pbd['host'] == self.hosts[0]:
            # LVHDSR._synchSmConfigWithMetaData of every release: what MGT says, and nothing else
            self.srs[pbd['SR']]['sm_config'] = {'allocation': 'thick', 'use_vhd': 'true'}

    def history(self, scsi_id):
        """What the clone says of itself."""
        assert scsi_id == CLONE_LUN
        return redolog.History(self.original, [SOURCE], (0, 0), (0, 0), scsi_id, True)

    def message_create(self, name, priority, kind, obj_uuid, body):
        assert (name, priority, kind) == ('SR_RESIGNED', '5', 'SR')
        self.messages.append((obj_uuid, body))

    def SR_remove_from_other_config(self, ref, key):
        self.srs[ref]['other_config'].pop(key, None)

    def VDI_remove_from_other_config(self, ref, key):
        self.vdis[ref]['other_config'].pop(key, None)

    def VDI_add_to_other_config(self, ref, key, value):
        if key in self.vdis[ref]['other_config']:
            raise Failure('MAP_DUPLICATE_KEY', 'VDI', 'other_config', ref, key)
        self.vdis[ref]['other_config'][key] = value

    def SR_add_to_other_config(self, ref, key, value):
        if key in self.srs[ref]['other_config']:
            raise Failure('MAP_DUPLICATE_KEY', 'SR', 'other_config', ref, key)
        self.srs[ref]['other_config'][key] = value

    def host_call_plugin(self, host, plugin, function, arguments):
        assert (plugin, function, arguments) == ('relvmoiscsi', 'refresh', {'SCSIid': CLONE_LUN})
        self.refreshed.append(host)
        return '{}'

    def SR_scan(self, ref):
        assert [pbd for pbd in self.pbds.values()
                if pbd['SR'] == ref and pbd['host'] == self.hosts[0] and pbd['currently_attached']]
        if not self.SR_get_VDIs(ref):
            self.vdis['VDI of ' + ref] = {'uuid': identity.uuid5(self.srs[ref]['uuid'], SOURCE), 'SR': ref, 'name_label': 'disk',
                                          'other_config': {}, 'virtual_size': '8589934592', 'is_a_snapshot': False}


class Endpoint(object):
    """session.xenapi: SR.create(...) becomes Pool.call('SR.create', ...)."""

    def __init__(self, pool, name):
        self._double = pool
        self._path = name

    def __getattr__(self, name):
        return Endpoint(self._double, (self._path + '.' + name).lstrip('.'))

    def __call__(self, *arguments):
        return self._double.call(self._path, arguments)


def new_srs(pool):
    return [record for record in pool.srs.values() if record['uuid'] != pool.original]


def assert_attached(pool, answer):
    """One SR more, which carries what is on the LUN, plugged everywhere; the original as it was."""
    assert len(new_srs(pool)) == 1
    record = new_srs(pool)[0]
    assert record['uuid'] == pool.luns[CLONE_LUN] == answer['sr'] == pool.resigned[-1]
    assert (record['type'], record['shared']) == ('lvmoiscsi', True)
    assert pool.luns[ORIGINAL_LUN] == pool.original
    assert sorted(pbd['host'] for pbd in answer['pbds']) == sorted('name of ' + host for host in pool.hosts)
    assert [pbd for pbd in answer['pbds'] if not pbd['attached']] == []
    assert [pbd for pbd in pool.pbds.values() if not pbd['currently_attached']] == []
    assert [(vdi['name_label'], vdi['virtual_size'], vdi['from']) for vdi in answer['vdis']] == [('disk', 8589934592, SOURCE)]
    assert answer['from'] == pool.original == record['other_config'][vdimap.FROM]


def untouched(pool):
    return not pool.resigned and not new_srs(pool) and len(pool.pbds) == len(pool.hosts)


def test_attaches_the_clone_beside_its_original():
    pool = Pool()
    answer = attach.attach(pool, CONFIG, pool.history)
    assert_attached(pool, answer)
    assert answer['resigned'] is True
    assert answer['name_label'] == 'On the LUN'
    (told, body), = pool.messages
    assert told == answer['sr'] and 'copy of SR %s; 1 of' % pool.original in body
    assert len(pool.resigned) == 1


def test_name_and_force_go_where_they_belong():
    pool = Pool()
    attach.attach(pool, dict(CONFIG, **{'name-label': 'Clone', 'name-description': 'of Monday', 'force': 'true'}), pool.history)
    record = new_srs(pool)[0]
    assert (record['name_label'], record['name_description']) == ('Clone', 'of Monday')
    configs = [pbd['device_config'] for pbd in pool.pbds.values() if pbd['device_config']['SCSIid'] == CLONE_LUN]
    assert configs == [CONFIG, CONFIG]


def test_repeated_after_success_changes_nothing():
    pool = Pool()
    first = attach.attach(pool, CONFIG, pool.history)
    second = attach.attach(pool, CONFIG, pool.history)
    assert second == dict(first, resigned=False)
    assert len(pool.messages) == 1
    assert len(pool.resigned) == 1


class HBAPool(Pool):
    """The same behind HBAs. sm's own probe is not asked: it takes maps away."""

    TYPES = ('relvmohba', 'lvmohba')
    SEES = 'relvmohba'

    def SR_probe(self, host, config, kind, sm_config):
        known = [record['uuid'] for record in self.srs.values() if record['uuid'] == self.luns[config['SCSIid']]]
        assert config.get('introduced', '') in [''] + [record['uuid'] for record in self.srs.values()]
        assert 'introduced' in config or not known
        return Pool.SR_probe(self, host, config, kind, sm_config)


@pytest.mark.parametrize('config', [HBA_CONFIG, dict(HBA_CONFIG, type='lvmohba')])
def test_attaches_a_clone_behind_hbas(config):
    pool = HBAPool()
    answer = attach.attach(pool, config, pool.history)
    record = new_srs(pool)[0]
    assert (record['uuid'], record['type'], record['shared']) == (answer['sr'], 'lvmohba', True)
    assert [pbd['device_config'] for pbd in pool.pbds.values() if pbd['SR'] not in ('SR 0',)] == [HBA_CONFIG, HBA_CONFIG]
    # every host's udev looks again before the host plugs it
    assert pool.refreshed[0] == 'master' and sorted(pool.refreshed) == ['master', 'slave']
    assert attach.attach(pool, config, pool.history) == dict(answer, resigned=False)
    assert len(pool.resigned) == 1


def test_before_the_first_plug_the_lun_is_looked_at_once_more():
    pool = HBAPool()
    pool.PBD_create = lambda record: (_ for _ in ()).throw(Failure('HOST_OFFLINE', record['host']))
    with pytest.raises(Failure):
        attach.attach(pool, HBA_CONFIG, pool.history)
    del pool.PBD_create
    answer = attach.attach(pool, HBA_CONFIG, pool.history)
    assert answer['resigned'] is False and len(pool.resigned) == 1


def test_a_type_that_is_none():
    pool = Pool()
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, dict(CONFIG, type='nfs'))
    assert caught.value.step == 'arguments' and untouched(pool)


def count_of_calls():
    pool = Pool()
    attach.attach(pool, CONFIG, pool.history)
    return len(pool.calls)


ERRORS = [Failure('INTERNAL_ERROR', 'injected'), LostConnection('injected')]
POINTS = [(number, when, error) for number in range(count_of_calls()) for when in ('before', 'after') for error in ERRORS]


def run_until_done(pool, limit):
    for attempt in range(limit):
        try:
            return attach.attach(pool, CONFIG, pool.history)
        except (Failure, LostConnection, attach.AttachError):
            assert attempt < limit - 1, sys.exc_info()[1]


@pytest.mark.parametrize('number,when,error', POINTS,
                         ids=['%d-%s-%s' % (number, when, type(error).__name__) for number, when, error in POINTS])
def test_failure_at_any_step_is_finished_by_the_next_run(number, when, error):
    pool = Pool()
    pool.failing = {number: (when, error)}
    assert_attached(pool, run_until_done(pool, 2))


def test_two_failures_anywhere_are_finished_by_the_third_run():
    steps = range(2 * count_of_calls())
    for first, second in itertools.combinations(steps, 2):
        for whens in itertools.product(('before', 'after'), repeat=2):
            pool = Pool()
            pool.failing = {first: (whens[0], ERRORS[0]), second: (whens[1], ERRORS[1])}
            assert_attached(pool, run_until_done(pool, 3))


def test_the_originals_own_lun_is_left_alone():
    pool = Pool()
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, dict(CONFIG, SCSIid=ORIGINAL_LUN), pool.history)
    assert caught.value.step == 'pool'
    assert pool.original in caught.value.sentence
    assert untouched(pool)


def test_an_unplugged_sr_of_the_pool_is_left_alone():
    pool = Pool()
    for record in pool.pbds.values():
        record['currently_attached'] = False
    with pytest.raises(attach.AttachError):
        attach.attach(pool, dict(CONFIG, SCSIid=ORIGINAL_LUN), pool.history)
    assert untouched(pool)


def test_left_over_records_of_our_own_type_do_not_count():
    pool = Pool()
    pool.srs['left over'] = {'uuid': str(uuid.uuid4()), 'name_label': '', 'type': 'relvmoiscsi', 'sm_config': {}, 'other_config': {}}
    pool.pbds['left over'] = {'uuid': 'x', 'host': 'master', 'SR': 'left over', 'currently_attached': False,
                              'device_config': dict(CONFIG)}
    assert attach.earlier(pool.xenapi, CLONE_LUN) is None


def test_a_refusal_of_the_driver_comes_through_as_it_is():
    pool = Pool()
    pool.SR_create = lambda *arguments: (_ for _ in ()).throw(Failure('SR_BACKEND_FAILURE_47', '', 'no gap', ''))
    with pytest.raises(Failure) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.details == ['SR_BACKEND_FAILURE_47', '', 'no gap', '']
    assert untouched(pool)


def test_a_driver_that_neither_resigns_nor_refuses_is_not_believed():
    pool = Pool()
    pool.SR_create = lambda *arguments: 'OpaqueRef:new'
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'resign'
    assert untouched(pool)


def test_the_originals_identity_is_never_introduced():
    pool = Pool()

    def say_only(*arguments):
        raise Failure('SR_BACKEND_FAILURE_1', '', SUCCESS, '')
    pool.SR_create = say_only
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'probe'
    assert untouched(pool)


def test_also_not_when_the_originals_record_is_all_that_is_left_of_it():
    pool = Pool()
    pool.pbds.clear()
    pool.hosts = ['master']

    def say_only(*arguments):
        raise Failure('SR_BACKEND_FAILURE_1', '', SUCCESS, '')
    pool.SR_create = say_only
    with pytest.raises(attach.AttachError):
        attach.attach(pool, CONFIG, pool.history)
    assert not pool.pbds


@pytest.mark.parametrize('answer', ['<SRlist/>', '<SRlist><SR><UUID>a</UUID></SR><SR><UUID>b</UUID></SR></SRlist>'])
def test_other_than_one_sr_on_the_lun_is_not_introduced(answer):
    pool = Pool()
    pool.SR_probe = lambda *arguments: answer
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'probe'
    assert not new_srs(pool)


def test_a_host_that_is_down_is_named_and_plugged_by_a_later_run():
    pool = Pool(('master', 'slave', 'third'))
    pool.offline.add('slave')
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'plug'
    assert 'name of slave' in caught.value.sentence
    assert 'name of third' not in caught.value.sentence
    assert new_srs(pool)[0]['uuid'] in caught.value.sentence
    pool.offline.clear()
    assert_attached(pool, attach.attach(pool, CONFIG, pool.history))
    assert len(pool.resigned) == 1


def test_a_lun_that_the_array_overwrote_meanwhile_is_not_plugged_under_the_old_record():
    pool = Pool()
    pool.offline.update(pool.hosts)
    with pytest.raises(Failure):
        attach.attach(pool, CONFIG, pool.history)
    introduced = new_srs(pool)[0]['uuid']
    pool.offline.clear()
    pool.luns[CLONE_LUN] = pool.original
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'probe'
    assert 'xe sr-forget uuid=%s' % introduced in caught.value.sentence
    assert len(pool.resigned) == 1


def test_two_records_for_one_lun_are_for_the_administrator_to_sort_out():
    pool = Pool()
    for _ in range(2):
        pool.introduce(str(uuid.uuid4()), 'x', '', 'lvmoiscsi', 'user', True, {attach.MARK: CLONE_LUN})
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, CONFIG, pool.history)
    assert caught.value.step == 'pool'
    assert not pool.resigned


@pytest.mark.parametrize('key', ['chappassword', 'incoming_chappassword'])
def test_a_password_as_an_argument_is_refused_before_anything_is_called(key):
    pool = Pool()
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(pool, dict(CONFIG, **{key: 'MARKER'}), pool.history)
    assert caught.value.step == 'arguments'
    assert 'MARKER' not in str(caught.value)
    assert pool.calls == []


def test_an_incomplete_device_config_reaches_the_driver_which_lists_the_luns():
    pool = Pool()

    def list_luns(*arguments):
        raise Failure('SR_BACKEND_FAILURE_107', '', 'The SCSIid parameter is missing or incorrect', '<iscsi-target/>')
    pool.SR_create = list_luns
    with pytest.raises(Failure) as caught:
        attach.attach(pool, {'target': '192.0.2.1', 'targetIQN': 'iqn.2026-11.example:array'})
    assert caught.value.details[0] == 'SR_BACKEND_FAILURE_107'


def test_a_lun_that_tells_nothing_is_attached_all_the_same():
    """As one that release 1.0.0 resigned, or that this host cannot read."""
    pool = Pool()
    answer = attach.attach(pool, CONFIG, lambda scsi_id: None)
    assert answer['from'] == '' and [vdi['from'] for vdi in answer['vdis']] == ['']
    assert pool.messages == []


def test_a_pool_that_takes_no_message_has_its_sr():
    pool = Pool()
    pool.message_create = lambda *arguments: (_ for _ in ()).throw(Failure('MESSAGE_DEPRECATED'))
    assert_attached(pool, attach.attach(pool, CONFIG, pool.history))


def test_where_the_resigned_sr_gets_its_uuid_is_no_part_of_a_pbd():
    pool = Pool()
    attach.attach(pool, dict(CONFIG, **{'resign-as': str(uuid.uuid4()), 'snapshots': 'keep', 'drop': 'x'}), pool.history)
    configs = [pbd['device_config'] for pbd in pool.pbds.values() if pbd['device_config']['SCSIid'] == CLONE_LUN]
    assert configs == [CONFIG, CONFIG]
