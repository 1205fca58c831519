# SPDX-License-Identifier: LGPL-2.1-only
"""One contract for everything that resigns or previews a LUN: a refusal leaves the LUN byte for byte as it was, its sentence is the same
everywhere, it has the exit status or the fault that belongs there, nothing is on stderr that does not belong there, and no secret shows up.

The doors: the driver's sr_create and sr_probe, the plugin's attach and preview, the command line's resign and preview.
"""
from __future__ import absolute_import, division, print_function

import json
import re

import pytest

from luns import damage
from lvhd import reader, shapes
from relvm import errors
from relvm.pool import answers, attach
from test_attach_driver import Failure, Session
from test_cli import relvm
from test_driver import MARKER, array, pytest_generate_tests, SUCCESS  # noqa: F401 (fixtures)
from test_errors import SM_FAULTS


def no_label(path):
    damage.write(path, 512, b'\0' * 512)


def damaged_text(path):
    damage.area(path, damage.put(40 + 16, b'\1\2\3\4'))


def exported(path):
    damage.text(path, lambda text: text.replace(b'"WRITE"]', b'"WRITE", "EXPORTED"]', 1))


def no_mgt(path):
    damage.text(path, lambda text: text.replace(b'MGT {', b'MGU {', 1))


def broken_vhd(path):
    for name in [name for name in volumes(path) if name.startswith('VHD-')][:1]:
        damage.header(path, name, damage.put(0, b'no cookie'))


def volumes(path):
    with reader.Lun(path) as lun:
        return list(lun.volumes)


# (what is done to the LUN, the reason's name); none of their sentences names the device, which differs from door to door
REFUSALS = [(no_label, 'NoLabel'), (damaged_text, 'BadArea'), (exported, 'Exported'), (no_mgt, 'NoMGT'), (broken_vhd, 'BadVHD'),
            (lambda path: None, 'NothingToDrop'), (broken_vhd, 'NothingLeft')]
ABSENT = '12345678-1234-4123-8123-123456789abc'


def words(text):
    """A fault's text without what xapi's error of that number says before it."""
    found = re.match(r'.*?\[opterr=(.*)\]$', text, re.DOTALL)
    return found.group(1) if found else text


def driver_create(a):
    code, text, stderr = a.create(config(a))
    assert stderr == ''
    assert code.startswith('SR_BACKEND_FAILURE_') and text != SUCCESS
    return int(code.rsplit('_', 1)[1]), words(text)


def plugin_attach(a):
    with pytest.raises(Failure) as caught:
        attach.attach(Session(a.xapi), a.xapi.with_secrets(config(a)))
    assert caught.value.details[0].startswith('SR_BACKEND_FAILURE_')
    return int(caught.value.details[0].rsplit('_', 1)[1]), words(caught.value.details[2])


def driver_probe(a):
    answer = a.xapi.sr_probe('relvmoiscsi', config(a))
    assert a.xapi.runs[-1].stderr == ''
    return shown(answers.preview(answer))


def plugin_preview(a):
    return shown(answers.preview(Session(a.xapi).xenapi.SR.probe(a.xapi.host, config(a), 'relvmoiscsi', {})))


def command_preview(a):
    ended = relvm('preview', a.clone, '--json', '--drop', drop_of(a))
    assert ended.status == 1
    return shown(ended.json())


def shown(data):
    assert data['possible'] is False
    reason, = data['reasons']
    return reason['code'], reason['sentence']


def command_resign(a):
    ended = relvm('resign', a.clone, '--json', '--drop', drop_of(a))
    assert ended.status == 1
    answer = json.loads(ended.out)
    assert answer['done'] is False
    assert ended.err == 'relvm: %s: %s\n' % (a.clone, answer['sentence'])
    return answer['reason'], answer['sentence']


def config(a):
    return a.config(chapuser='user', chappassword=MARKER, **dict([('drop', value) for value in [drop_of(a)] if value]))


def drop_of(a):
    """What all doors are to leave behind."""
    return getattr(a, 'drop', '')


DOORS = [driver_create, plugin_attach, driver_probe, plugin_preview, command_preview, command_resign]


@pytest.mark.parametrize('spoil, reason', REFUSALS, ids=[reason for _, reason in REFUSALS])
def test_a_refusal_is_the_same_at_every_door(array, spoil, reason):  # noqa: F811
    a = array(shapes.one(1), same_target=False, chap=['user', MARKER])
    a.attach_original()
    spoil(a.clone)
    a.drop = {'NothingToDrop': ABSENT, 'NothingLeft': str(a.sr.vdis[0].uuid)}.get(reason, '')
    before, untouched, original = a.traces(), damage.fingerprint(a.clone), damage.fingerprint(a.original)
    sentences = {}
    for door in DOORS:
        name, sentence = door(a)
        assert name in (reason, SM_FAULTS[getattr(errors, reason).sm_error]), door.__name__
        sentences[door.__name__] = sentence
        assert damage.fingerprint(a.clone) == untouched, door.__name__
    assert len(set(sentences.values())) == 1, sentences
    assert a.traces() == before
    assert damage.fingerprint(a.original) == original
    assert 's3cret' not in a.world.log() + ''.join(run.stdout + run.stderr + run.argument for run in a.xapi.runs)
