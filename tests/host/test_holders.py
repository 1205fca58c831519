# SPDX-License-Identifier: LGPL-2.1-only
"""What sits on a LUN on this host, as the kernel lists it, and what is made of the answers of the others."""
from __future__ import absolute_import, division, print_function

import json
import os

import pytest

from relvm import errors
from relvm.host import devices, holders
from relvm.show import jsontext

LUN = '36001405clone'


@pytest.fixture
def tree(tmpdir, monkeypatch):
    """A /dev and a /sys of which a test makes what it needs."""
    monkeypatch.setattr(devices, 'DEV', str(tmpdir.mkdir('dev')))
    monkeypatch.setattr(devices, 'SYS', str(tmpdir.mkdir('sys')))
    return Tree(tmpdir)


class Tree(object):

    def __init__(self, root):
        self.root = root

    def disk(self, name, scsi_id=LUN):
        self.root.join('dev', name).write('')
        self.root.ensure('dev', 'disk', 'by-scsid', scsi_id, dir=True)
        os.symlink('../../../' + name, str(self.root.join('dev', 'disk', 'by-scsid', scsi_id, name)))
        self.root.ensure('sys', 'block', name, 'holders', dir=True)

    def mapped(self, name, called, uuid, below):
        """A device-mapper device on others."""
        self.root.ensure('sys', 'block', name, 'holders', dir=True)
        self.root.ensure('sys', 'block', name, 'dm', 'name').write(called + '\n')
        self.root.ensure('sys', 'block', name, 'dm', 'uuid').write(uuid + '\n')
        for lower in below:
            self.root.ensure('sys', 'block', name, 'slaves', os.path.basename(lower))
            self.root.ensure('sys', 'block', lower, 'holders', name)


def answer(visible, found):
    return {'SCSIid': LUN, 'visible': visible, 'holders': found}


def test_a_lun_that_is_not_there(tree):
    tree.disk('sda', 'another')
    assert holders.on_this_host(LUN) == answer(False, [])


def test_nothing_on_two_paths_and_their_map(tree):
    tree.disk('sda')
    tree.disk('sdb')
    tree.mapped('dm-0', LUN, 'mpath-' + LUN, ['sda', 'sdb'])
    assert holders.on_this_host(LUN) == answer(True, [])


@pytest.mark.parametrize('below', ['sdb', 'dm-0', 'sdb/sdb1'])
def test_a_volume_on_a_path_on_the_map_or_on_a_partition(tree, below):
    tree.disk('sda')
    tree.disk('sdb')
    tree.mapped('dm-0', LUN, 'mpath-' + LUN, ['sda', 'sdb'])
    tree.mapped('dm-7', 'VG_XenStorage--x-VHD--y', 'LVM-xy', [below])
    assert holders.on_this_host(LUN) == answer(True, ['VG_XenStorage--x-VHD--y'])


def test_somebody_elses_map_on_one_of_the_paths(tree):
    tree.disk('sda')
    tree.mapped('dm-0', 'other', 'mpath-other', ['sda'])
    assert holders.on_this_host(LUN) == answer(True, ['other'])


@pytest.mark.parametrize('scsi_id', ['', '..', 'a/b'])
def test_what_cannot_be_a_scsi_id_is_no_path(tree, scsi_id):
    with pytest.raises(errors.BadSCSIid):
        holders.on_this_host(scsi_id)


class Pool(object):
    """session and session.xenapi of a pool with a master and other hosts, each with what its plugin answers."""

    def __init__(self, **others):
        self.xenapi = self.host = self.host_metrics = self
        self.others = others
        self.dead = []
        self.asked = []

    def get_all_records(self):
        return dict([(name, {'name_label': 'name of ' + name, 'metrics': name}) for name in list(self.others) + ['master']])

    def get_record(self, metrics):
        return {'live': metrics not in self.dead}

    def call_plugin(self, host, plugin, function, arguments):
        assert (plugin, function, arguments) == ('relvmoiscsi', 'holders', {'SCSIid': LUN})
        self.asked.append(host)
        if isinstance(self.others[host], Exception):
            raise self.others[host]
        return self.others[host]


class Failure(Exception):
    """As XenAPI.Failure."""

    def __init__(self, *details):
        Exception.__init__(self, *details)
        self.details = list(details)


FREE = jsontext.dumps(answer(True, []), 1)


def ask(pool, forced=False):
    log = []
    holders.refuse_used(pool, 'master', LUN, forced, log.append)
    return log


def test_every_other_live_host_is_asked():
    pool = Pool(one=FREE, two=FREE, three=Failure('HOST_OFFLINE'))
    pool.dead = ['three']
    assert ask(pool) == []
    assert sorted(pool.asked) == ['one', 'two']


def test_the_plugins_own_answer_is_understood(tree):
    tree.disk('sda')
    tree.mapped('dm-7', 'VG_XenStorage--x-VHD--y', 'LVM-xy', ['sda'])
    text = jsontext.dumps(holders.on_this_host(LUN), 1)
    assert json.loads(text)['holders'] == ['VG_XenStorage--x-VHD--y']
    for forced in (False, True):
        with pytest.raises(errors.HolderPresent) as caught:
            ask(Pool(one=FREE, two=text), forced)
        assert 'on host name of two use the LUN %s: VG_XenStorage--x-VHD--y' % LUN in str(caught.value)


SILENT = [Failure('XENAPI_MISSING_PLUGIN', 'relvmoiscsi'), Failure('UNKNOWN_XENAPI_PLUGIN_FUNCTION', 'holders'), EnvironmentError('lost'),
          '', 'True', '{}', FREE.replace(LUN, 'another'), FREE + 'x', '{"SCSIid": "%s", "holders": []}' % LUN]


@pytest.mark.parametrize('said', SILENT)
def test_a_host_that_does_not_answer(said):
    with pytest.raises(errors.HostSilent) as caught:
        ask(Pool(one=FREE, two=said))
    assert 'the host name of two of this pool is live' in str(caught.value) and 'force=true' in str(caught.value)
    log = ask(Pool(one=FREE, two=said), True)
    assert len(log) == 1 and 'name of two' in log[0]
