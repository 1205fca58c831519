# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.pool.discard on a double of a pool of two hosts: nothing is left on either, whatever is in use is refused before anything is done,
and every step fails once, in every way, and the repeated call finishes the job."""
from __future__ import unicode_literals

import json

import pytest

from relvm import errors
from relvm.pool import attach, discard, vdimap
from relvm.show import jsontext
from test_attach import CLONE_LUN, CONFIG, ERRORS, ORIGINAL_LUN, Failure, LostConnection, Pool, new_srs

OTHER = 'ffffffff-ffff-4fff-8fff-ffffffffff00'


class ClonedPool(Pool):
    """A clone that fn=attach has attached on both hosts, and what the hosts see of the LUNs."""

    def __init__(self):
        Pool.__init__(self)
        self.pool = {'master': 'master', 'default_SR': 'NULL', 'suspend_image_SR': 'NULL', 'crash_dump_SR': 'NULL'}
        self.records = dict((host, {'name_label': 'name of ' + host, 'metrics': 'of ' + host, 'suspend_image_sr': 'NULL',
                                    'crash_dump_sr': 'NULL', 'local_cache_sr': 'NULL'}) for host in self.hosts)
        self.vms = {'dom0': {'uuid': 'dom0', 'name_label': 'Control domain', 'power_state': 'Running', 'is_control_domain': True,
                             'suspend_VDI': 'NULL', 'current_operations': {}},
                    'vm': {'uuid': 'the vm', 'name_label': 'test vm', 'power_state': 'Halted', 'is_control_domain': False,
                           'suspend_VDI': 'NULL', 'current_operations': {}}}
        self.vbds = {}
        answer = attach.attach(self, CONFIG, self.history)
        self.uuid = answer['sr']
        self.sr = [ref for ref in self.srs if self.srs[ref]['uuid'] == self.uuid][0]
        self.vdi = self.SR_get_VDIs(self.sr)[0]
        self.vdis[self.vdi].update(type='user', current_operations={})
        self.vbds['vbd'] = {'VM': 'vm', 'VDI': self.vdi, 'currently_attached': False, 'reserved': False, 'current_operations': {}}
        # one session serves both LUNs, so that the clone's disk stays when its PBD is unplugged
        self.devices = dict((host, {ORIGINAL_LUN: ['sda'], CLONE_LUN: ['sdb']}) for host in self.hosts)
        self.refusing = {}
        self.done = []
        self.calls, self.failing = [], {}

    def pool_get_all_records(self):
        return {'the pool': dict(self.pool)}

    def host_get_all_records(self):
        return self.records

    def host_metrics_get_record(self, ref):
        return {'live': ref[3:] not in self.offline}

    def SR_get_by_uuid(self, uuid):
        found = [ref for ref in self.srs if self.srs[ref]['uuid'] == uuid]
        if not found:
            raise Failure('UUID_INVALID', 'SR', uuid)
        return found[0]

    def VM_get_all_records(self):
        return self.vms

    def VBD_get_all_records(self):
        return self.vbds

    def PBD_unplug(self, ref):
        record = self.pbds[ref]
        if record['host'] == 'master':
            others = [pbd for pbd in self.pbds.values() if pbd['SR'] == record['SR'] and pbd['host'] != 'master']
            assert [pbd for pbd in others if pbd['currently_attached']] == [], 'the master before a slave'
        record['currently_attached'] = False
        self.done.append(('unplug', record['host']))

    def host_call_plugin(self, host, plugin, function, arguments):
        if function == 'refresh':
            return Pool.host_call_plugin(self, host, plugin, function, arguments)
        assert (plugin, function) == ('relvmoiscsi', 'release')
        assert (arguments['SCSIid'], arguments['sr']) == (CLONE_LUN, self.uuid)
        if host in self.refusing:
            raise self.refusing[host]
        found = ' '.join(self.devices[host].get(CLONE_LUN, []))
        if arguments.get('check') != 'true':
            assert [pbd for pbd in self.pbds.values() if pbd['SR'] == self.sr and pbd['currently_attached']] == []
            self.devices[host].pop(CLONE_LUN, None)
            self.done.append(('release', host))
        return found

    def SR_forget(self, sr):
        assert [host for host in self.devices if host not in self.offline and CLONE_LUN in self.devices[host]] == [], 'forgotten too early'
        for ref in self.SR_get_PBDs(sr):
            if self.pbds[ref]['currently_attached']:
                raise Failure('SR_HAS_PBD', sr)
            del self.pbds[ref]
        for ref in self.SR_get_VDIs(sr):
            del self.vdis[ref]
        del self.srs[sr]

    def nothing_done(self):
        return not self.done and self.sr in self.srs and [pbd for pbd in self.pbds.values() if not pbd['currently_attached']] == []


def run(pool, uuid=None):
    return discard.discard(pool, uuid or pool.uuid, 'master')


def refused(pool, cls, *words):
    with pytest.raises(cls) as caught:
        run(pool)
    for word in words:
        assert word in str(caught.value)
    assert pool.nothing_done()


def assert_gone(pool):
    """The clone's records and devices are gone everywhere, the original's are as they were."""
    assert new_srs(pool) == [] and pool.vdis == {}
    assert pool.devices == dict((host, {ORIGINAL_LUN: ['sda']}) for host in pool.hosts)
    assert sorted(record['host'] for record in pool.pbds.values() if record['currently_attached']) == ['master', 'slave']


def test_nothing_is_left_on_any_host():
    pool = ClonedPool()
    answer = run(pool)
    assert_gone(pool)
    assert pool.done == [('unplug', 'slave'), ('unplug', 'master'), ('release', 'slave'), ('release', 'master')]
    assert json.loads(jsontext.dumps(answer)) == {
        'sr': pool.uuid, 'SCSIid': CLONE_LUN, 'known': True, 'away': [], 'vms': ['test vm'], 'vdis': 1,
        'hosts': [{'host': 'name of slave', 'unplugged': True, 'devices': ['sdb']},
                  {'host': 'name of master', 'unplugged': True, 'devices': ['sdb']}]}


def test_once_more_finds_nothing_to_do():
    pool = ClonedPool()
    run(pool)
    calls = len(pool.calls)
    answer = run(pool)
    assert (answer['known'], answer['hosts']) == (False, [])
    assert pool.calls[calls:] == ['SR.get_all_records']


def count_of_calls():
    pool = ClonedPool()
    run(pool)
    return len(pool.calls)


POINTS = [(number, when, error) for number in range(count_of_calls()) for when in ('before', 'after') for error in ERRORS]


@pytest.mark.parametrize('number,when,error', POINTS,
                         ids=['%d-%s-%s' % (number, when, type(error).__name__) for number, when, error in POINTS])
def test_interrupted_at_any_step_and_repeated(number, when, error):
    pool = ClonedPool()
    pool.failing = {number: (when, error)}
    try:
        run(pool)
    except (Failure, LostConnection, errors.Refused):
        run(pool)
    assert_gone(pool)


@pytest.mark.parametrize('field,role', discard.POOL_ROLES)
def test_an_sr_with_a_role_in_the_pool(field, role):
    pool = ClonedPool()
    pool.pool[field] = pool.sr
    refused(pool, errors.HasRole, role)


@pytest.mark.parametrize('field,role', discard.HOST_ROLES)
def test_an_sr_with_a_role_of_a_host(field, role):
    pool = ClonedPool()
    pool.records['slave'][field] = pool.sr
    refused(pool, errors.HasRole, role % 'name of slave')


@pytest.mark.parametrize('kind', sorted(discard.POOL_DATA))
def test_database_replication_and_other_data_of_the_pool(kind):
    pool = ClonedPool()
    pool.vdis[pool.vdi]['type'] = kind
    refused(pool, errors.PoolDataOnSR, pool.vdis[pool.vdi]['uuid'], discard.POOL_DATA[kind])


def vm_is(state):
    return lambda pool: pool.vms['vm'].update(power_state=state)


def vbd_of_dom0(**values):
    def change(pool):
        pool.vbds['vbd'].update(VM='dom0', **values)
    return change


USES = {
    'running': vm_is('Running'), 'paused': vm_is('Paused'), 'suspended': vm_is('Suspended'),
    'starting': lambda pool: pool.vms['vm'].update(current_operations={'task': 'start'}),
    'plugged into dom0': vbd_of_dom0(currently_attached=True),
    'being plugged into dom0': vbd_of_dom0(current_operations={'task': 'plug'}),
    'reserved': vbd_of_dom0(reserved=True),
    'memory of a suspended VM': lambda pool: (pool.vbds.clear(), pool.vms['vm'].update(suspend_VDI=pool.vdi, power_state='Suspended')),
    'xapi copies it': lambda pool: pool.vdis[pool.vdi].update(current_operations={'task': 'copy'}),
}


@pytest.mark.parametrize('use', sorted(USES))
def test_a_disk_in_use(use):
    pool = ClonedPool()
    USES[use](pool)
    refused(pool, errors.DisksInUse, pool.vdis[pool.vdi]['uuid'])


def test_a_vm_of_another_sr_is_no_use():
    pool = ClonedPool()
    pool.vms['vm']['power_state'] = 'Running'
    pool.vbds['vbd']['VDI'] = 'of the original'
    assert run(pool)['vms'] == []
    assert_gone(pool)


def test_an_sr_without_our_mark():
    pool = ClonedPool()
    with pytest.raises(errors.NotOurs):
        run(pool, pool.original)
    del pool.srs[pool.sr]['other_config'][vdimap.MARK]
    refused(pool, errors.NotOurs)


def test_an_sr_of_another_type():
    pool = ClonedPool()
    pool.srs[pool.sr]['type'] = 'nfs'
    refused(pool, errors.NotOurs, 'nfs')


def test_a_pbd_that_names_another_lun():
    pool = ClonedPool()
    for pbd in pool.pbds.values():
        if pbd['SR'] == pool.sr:
            pbd['device_config'] = dict(CONFIG, SCSIid=ORIGINAL_LUN)
    refused(pool, errors.NotOurs, CLONE_LUN)


@pytest.mark.parametrize('how', ['PBD', 'mark'])
def test_a_lun_of_two_srs(how):
    pool = ClonedPool()
    ref = pool.introduce(OTHER, 'other', '', 'lvmoiscsi', 'user', True, {})
    if how == 'PBD':
        pool.pbds['other'] = {'uuid': 'x', 'host': 'slave', 'SR': ref, 'currently_attached': True, 'device_config': dict(CONFIG)}
    else:
        pool.srs[ref]['other_config'][vdimap.MARK] = CLONE_LUN
    refused(pool, errors.SharedLUN, OTHER)


@pytest.mark.parametrize('uuid', ['', 'x', OTHER.upper(), '../x'])
def test_what_is_no_uuid(uuid):
    with pytest.raises(errors.NoSuchSR):
        discard.discard(ClonedPool(), uuid, 'master')


def test_a_host_without_this_version():
    pool = ClonedPool()
    pool.refusing['slave'] = Failure('XENAPI_PLUGIN_FAILURE', 'release', 'KeyError', 'release')
    refused(pool, errors.HostAway, 'name of slave', 'KeyError')


def test_a_host_that_finds_another_sr_on_the_lun():
    pool = ClonedPool()
    pool.refusing['slave'] = Failure(discard.REFUSED, 'OtherContent', 'it carries something else.')
    refused(pool, errors.LUNStays, 'name of slave', 'something else')


def test_a_host_that_is_away():
    pool = ClonedPool()
    pool.offline.add('slave')
    refused(pool, errors.HostAway, 'name of slave')
    for pbd in pool.pbds.values():
        if pbd['host'] == 'slave':
            pbd['currently_attached'] = False
    answer = run(pool)
    assert answer['away'] == ['name of slave'] and [host['host'] for host in answer['hosts']] == ['name of master']
    assert new_srs(pool) == [] and 'sdb' in pool.devices['slave'][CLONE_LUN]


def test_what_xapi_refuses_comes_through_and_nothing_is_forgotten():
    pool = ClonedPool()
    pool.PBD_unplug = lambda ref: (_ for _ in ()).throw(Failure('VDI_IN_USE', 'vdi'))
    with pytest.raises(Failure) as caught:
        run(pool)
    assert caught.value.details == ['VDI_IN_USE', 'vdi']
    assert pool.nothing_done()


def test_an_sr_that_somebody_plugs_meanwhile():
    pool = ClonedPool()
    unplug = pool.PBD_unplug

    def plugged_again(ref):
        unplug(ref)
        if pool.pbds[ref]['host'] == 'master':
            [pbd for pbd in pool.pbds.values() if pbd['SR'] == pool.sr and pbd['host'] == 'slave'][0]['currently_attached'] = True
    pool.PBD_unplug = plugged_again
    with pytest.raises(errors.LUNStays) as caught:
        run(pool)
    assert 'plugged the SR again' in str(caught.value) and CLONE_LUN in pool.devices['slave']
    pool.PBD_unplug = unplug
    run(pool)
    assert_gone(pool)
