# SPDX-License-Identifier: LGPL-2.1-only
"""The plugin's attach and preview with the real driver behind them, on one dom0 double: they see xapi only, and the driver's own
tests cover every sm."""
from __future__ import absolute_import, division, print_function

import pytest

from dom0 import pools
from lvhd import shapes
from relvm.pool import attach, answers
from test_driver import CLONE, KILLER, ORIGINAL, array, sha256  # noqa: F401 (a fixture)


@pytest.fixture(params=pools.cases([(name,) for name in pools.profiles()[-1:]], False))
def profile(request):
    reason = pools.why_not(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


class Failure(Exception):
    """As XenAPI.Failure."""

    def __init__(self, error):
        Exception.__init__(self, str(error))
        self.details = [error.code] + error.params


class Calls(object):
    """session.xenapi over the double's records and its SR calls."""

    def __init__(self, xapi, table=None):
        self._xapi = xapi
        self._table = table

    def __getattr__(self, name):
        if self._table is None:
            return Calls(self._xapi, name)

        def call(*arguments):
            try:
                special = getattr(type(self), "_%s_%s" % (self._table, name), None)
                if special is not None:
                    return special(self, *arguments)
                return self._generic(name)(*arguments)
            except pools.XapiError as error:
                raise Failure(error)
        return call

    def _generic(self, name):
        def call(*arguments):
            records = self._xapi.db.all(self._table)
            if name == "get_all_records":
                return dict((ref, dict(record)) for ref, record in records.items())
            if name == "get_all":
                return sorted(records)
            record = self._xapi.db.get(self._table, arguments[0])
            if name.startswith("add_to_"):
                record[name[len("add_to_"):]][arguments[1]] = arguments[2]
                return ""
            return dict(record) if name == "get_record" else record[name[len("get_"):]]
        return call

    def _related(self, table, sr):
        return sorted(ref for ref, record in self._xapi.db.all(table).items() if record["SR"] == sr)

    def _SR_get_PBDs(self, sr):
        return self._related("PBD", sr)

    def _SR_get_VDIs(self, sr):
        return self._related("VDI", sr)

    def _SR_create(self, host, config, size, label, description, kind, content, shared, sm_config):
        return self._xapi.sr_create(kind, config, label, description, shared, int(size), sm_config)

    def _SR_probe(self, host, config, kind, sm_config):
        return self._xapi.sr_probe(kind, config, sm_config)

    def _SR_introduce(self, uuid, label, description, kind, content, shared, sm_config):
        self._xapi.sr_introduce(kind, uuid, label, description, shared)
        ref = self._xapi.db.find("SR", uuid)
        self._xapi.db.get("SR", ref)["sm_config"].update(sm_config)
        return ref

    def _SR_scan(self, sr):
        self._xapi.sr_scan(self._xapi.db.get("SR", sr)["uuid"])

    def _PBD_create(self, record):
        return self._xapi.pbd_create(self._xapi.db.get("SR", record["SR"])["uuid"], record["device_config"], record["host"])

    def _PBD_plug(self, pbd):
        self._xapi.pbd_plug(pbd)


class Session(object):
    def __init__(self, xapi):
        self.xenapi = Calls(xapi)


def test_attach_next_to_the_attached_original(array):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    untouched = sha256(a.original)
    answer = attach.attach(Session(a.xapi), dict(a.config(), **{"name-label": "from Monday"}))
    assert answer["resigned"] is True
    assert (answer["name_label"], [pbd["attached"] for pbd in answer["pbds"]]) == ("from Monday", [True])
    assert answer["sr"] != a.sr.uuid
    originals, copies = a.xapi.vdis(a.sr.uuid), a.xapi.vdis(answer["sr"])
    assert sorted(vdi["uuid"] for vdi in answer["vdis"]) == sorted(copies)
    assert len(copies) == len(originals) == 1
    assert not set(copies) & set(originals)
    assert sha256(a.original) == untouched
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
    untouched = sha256(a.original)
    with pytest.raises(attach.AttachError) as caught:
        attach.attach(Session(a.xapi), config)
    assert a.sr.uuid in caught.value.sentence
    assert sha256(a.original) == untouched


def test_preview(array):  # noqa: F811
    a = array(shapes.one(1))
    a.attach_original()
    untouched = sha256(a.clone)
    answer = answers.preview(Session(a.xapi).xenapi.SR.probe(a.xapi.host, a.config(), "relvmoiscsi", {}))
    assert (answer["uuid"], answer["copy_of"], answer["possible"], answer["reasons"]) == (a.sr.uuid, a.sr.uuid, True, [])
    assert sorted(vdi["uuid"] for vdi in answer["vdis"]) == sorted(a.xapi.vdis(a.sr.uuid))
    assert {vdi["action"] for vdi in answer["vdis"]} == {"keep"}
    assert sha256(a.clone) == untouched
    assert CLONE in a.config().values()
