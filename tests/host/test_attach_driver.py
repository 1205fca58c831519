# SPDX-License-Identifier: LGPL-2.1-only
"""The plugin's attach and preview with the real driver behind them, on one dom0 double: they see xapi only, and the driver's own
tests cover every sm."""
from __future__ import absolute_import, division, print_function

import pytest

from dom0 import pools
from dom0.session import Failure, Session
from luns import damage
from lvhd import shapes
from relvm.pool import attach, answers
from test_driver import CLONE, KILLER, ORIGINAL, array  # noqa: F401 (a fixture)


@pytest.fixture(params=pools.cases([(name,) for name in pools.profiles()[-1:]], False))
def profile(request):
    reason = pools.why_not(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def test_attach_next_to_the_attached_original(array):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    untouched = damage.fingerprint(a.original)
    answer = attach.attach(Session(a.xapi), dict(a.config(), **{"name-label": "from Monday"}))
    assert answer["resigned"] is True
    assert (answer["name_label"], [pbd["attached"] for pbd in answer["pbds"]]) == ("from Monday", [True])
    assert answer["sr"] != a.sr.uuid
    originals, copies = a.xapi.vdis(a.sr.uuid), a.xapi.vdis(answer["sr"])
    assert sorted(vdi["uuid"] for vdi in answer["vdis"]) == sorted(copies)
    assert len(copies) == len(originals) == 1
    assert not set(copies) & set(originals)
    assert damage.fingerprint(a.original) == untouched
    again = attach.attach(Session(a.xapi), a.config())
    assert again == dict(answer, resigned=False)


@pytest.mark.parametrize("write", [1, 4])
def test_attach_repeated_after_the_driver_was_killed(array, write):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    with a.pool.wrapped(KILLER, "write", write), pytest.raises(Failure) as caught:
        attach.attach(Session(a.xapi), a.config())
    assert caught.value.details[0] == "SR_BACKEND_FAILURE"
    answer = attach.attach(Session(a.xapi), a.config())
    assert answer["resigned"] is True
    assert sorted(a.xapi.srs()) == sorted([a.sr.uuid, answer["sr"]])


def test_attach_of_the_original_itself(array):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    config = dict(a.config(), SCSIid=ORIGINAL)
    untouched = damage.fingerprint(a.original)
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(Session(a.xapi), config)
    assert a.sr.uuid in caught.value.sentence
    assert damage.fingerprint(a.original) == untouched


def test_preview(array):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    untouched = damage.fingerprint(a.clone)
    answer = answers.preview(Session(a.xapi).xenapi.SR.probe(a.xapi.host, a.config(), "relvmoiscsi", {}))
    assert (answer["uuid"], answer["copy_of"], answer["possible"], answer["reasons"]) == (a.sr.uuid, a.sr.uuid, True, [])
    assert sorted(vdi["uuid"] for vdi in answer["vdis"]) == sorted(a.xapi.vdis(a.sr.uuid))
    assert {vdi["action"] for vdi in answer["vdis"]} == {"keep"}
    assert damage.fingerprint(a.clone) == untouched
    assert CLONE in a.config().values()
