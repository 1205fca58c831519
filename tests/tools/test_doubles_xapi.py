# SPDX-License-Identifier: LGPL-2.1-only
"""The toolstack's double: what xapi makes of a driver's answer, and of records that are not there.

The driver here is a stub that does as its device_config says.
"""
from __future__ import absolute_import, division, print_function

import json
import os

import pytest

from dom0 import pools, profile
from dom0.world import World
from dom0.xapi import NULL, Dispatcher, Xapi, XapiCrashed, XapiError, new_vdi

STUB = """
import json, os, signal, sys
sys.path.insert(0, os.environ["DOM0_ROOT"] + "/opt/xensource/sm")
try:
    import xmlrpc.client as xmlrpclib
except ImportError:
    import xmlrpclib
if len(sys.argv) != 2:
    sys.exit(9)
params, method = xmlrpclib.loads(sys.argv[1])
call = params[0]
config = call["device_config"]
with open(os.environ["DOM0_ROOT"] + "/tmp/call.json", "w") as f:
    json.dump(call, f)
if "stderr" in config:
    sys.stderr.write(config["stderr"])
    sys.stderr.flush()
if "signal" in config:
    os.kill(os.getpid(), signal.SIGKILL)
if "exit" in config:
    sys.stdout.write("half an answer")
    sys.exit(int(config["exit"]))
if call["command"] == "vdi_snapshot":
    sys.stdout.write(xmlrpclib.dumps(({"uuid": call["vdi_uuid"]},), "", True))
elif "garbage" in config:
    sys.stdout.write("no XML")
elif "fault" in config:
    sys.stdout.write(xmlrpclib.dumps(xmlrpclib.Fault(int(config["fault"]), config.get("text", "why")), "", True))
elif "api" in config:
    import XenAPI
    session = XenAPI.xapi_local()
    session._session = call["session_ref"]
    try:
        answer = eval(config["api"])
    except XenAPI.Failure:
        answer = sys.exc_info()[1].details
    sys.stdout.write(xmlrpclib.dumps((json.dumps(answer, default=str),), "", True))
else:
    sys.stdout.write(xmlrpclib.dumps((None,), "", True, allow_none=True))
"""


@pytest.fixture
def xapi(tmpdir):
    world = World(str(tmpdir.join("dom0")), mode="file", profile=None, driver=False, python=pools.interpreter())
    directory = world.path("/opt/xensource/sm")
    with open(os.path.join(directory, "StubSR"), "w") as f:
        f.write(STUB)
    os.chmod(os.path.join(directory, "StubSR"), 0o755)
    profile.write(os.path.join(directory, "XenAPI.py"), profile.read(os.path.join(profile.SOURCES, "XenAPI.py")))
    with Xapi(world, slaves=1) as toolstack:
        yield toolstack
    world.close()


def failure(xapi, **config):
    with pytest.raises(XapiError) as caught:
        xapi.sr_create("stub", config)
    return caught.value


@pytest.mark.parametrize("number, code", [(24, "VDI_IN_USE"), (16, "SR_DEVICE_IN_USE"), (38, "SR_OPERATION_NOT_SUPPORTED"),
                                          (39, "SR_NOT_EMPTY"), (144, "VDI_MISSING")])
def test_five_faults_lose_their_text(xapi, number, code):
    error = failure(xapi, fault=str(number), text="what nobody will read")
    assert error.code == code and "nobody" not in str(error)


@pytest.mark.parametrize("number", [1, 47, 202, 1200])
def test_other_faults_keep_number_text_and_stderr(xapi, number):
    error = failure(xapi, fault=str(number), text=u"be\u00f6bachtet & <klar>", stderr="oops")
    assert error.code == "SR_BACKEND_FAILURE_%d" % number
    assert error.params == ["", u"be\u00f6bachtet & <klar>", "oops"]


def test_xe_prints_numbered_failures_by_their_parameters(xapi):
    error = failure(xapi, fault="1", text="done")
    assert error.xe() == "Error code: SR_BACKEND_FAILURE_1\nError parameters: , done, \n"


@pytest.mark.parametrize("config, status", [({"exit": "1"}, "non-zero exit"), ({"signal": "9"}, "received signal")])
def test_a_driver_that_ends_badly(xapi, config, status):
    error = failure(xapi, stderr="trace", **config)
    assert error.code == "SR_BACKEND_FAILURE" and error.params[0] == status and error.params[2] == "trace"
    assert error.xe().startswith("There was an SR backend failure.\nstatus: %s\n" % status)


def test_an_answer_that_is_none(xapi):
    assert failure(xapi, garbage="yes").code == "SR_BACKEND_FAILURE"


def test_the_argument_of_sr_create(xapi):
    import json
    uuid = xapi.sr_create("stub", {"target": u"\u00fcber", "chappassword": "s3cret"}, name_label="n", physical_size=17)
    with open(xapi.world.path("/tmp/call.json")) as f:
        call = json.load(f)
    assert call["command"] == "sr_attach"           # a successful create is followed by a plug
    create = xapi.runs[0]
    assert create.command == "sr_create" and "s3cret" not in create.argument and u"\u00fcber" in create.argument
    assert call["sr_uuid"] == uuid and call["device_config"]["SRmaster"] == "true"
    secret = call["device_config"]["chappassword_secret"]
    assert xapi.db.get("secret", xapi.db.find("secret", secret))["value"] == "s3cret"
    assert len(xapi.pbds(uuid)) == 2 and all(pbd["currently_attached"] for pbd in xapi.pbds(uuid).values())


def test_a_failed_create_leaves_no_records(xapi):
    failure(xapi, fault="47")
    assert not xapi.srs() and not xapi.pbds()


def test_a_crash_of_xapi_leaves_them(xapi):
    xapi.crash_next = True
    with pytest.raises(XapiCrashed):
        xapi.sr_create("stub", {"fault": "47"})
    assert len(xapi.srs()) == 1 and len(xapi.pbds()) == 2
    assert failure(xapi, fault="47") and len(xapi.srs()) == 1


def test_unknown_types_and_uuids(xapi):
    with pytest.raises(XapiError) as caught:
        xapi.sr_create("lvmoiscsi", {})
    assert caught.value.code == "SR_UNKNOWN_DRIVER"
    xapi.sr_introduce("stub", "0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111")
    with pytest.raises(XapiError) as caught:
        xapi.sr_introduce("stub", "0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c111")
    assert caught.value.code == "SR_UUID_EXISTS"


def ask(xapi, expression):
    """What the expression gives in a driver: sr_create of an SR of its own, answered through a probe-like string."""
    import json
    fields = {"device_config": {"api": expression}}
    sr = xapi._new_sr("0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c222", "stub", "mine", "", True, {"a": "b"})
    fields["sr_ref"] = sr
    answer = xapi.result(xapi.exec_driver("stub", "sr_create", fields, sr))
    return sr, json.loads(answer)


@pytest.mark.parametrize("expression, expected", [
    ("session.xenapi.SR.get_sm_config(call['sr_ref'])", {"a": "b"}),
    ("session.xenapi.SR.get_by_uuid('none')", ["UUID_INVALID", "SR", "none"]),
    ("session.xenapi.SR.get_sm_config('OpaqueRef:none')", ["HANDLE_INVALID", "SR", "OpaqueRef:none"]),
    ("session.xenapi.SR.add_to_sm_config(call['sr_ref'], 'a', 'c')[:0]", ["MAP_DUPLICATE_KEY", "SR", "sm_config"]),
    ("session.xenapi.SR.get_nothing(call['sr_ref'])", ["MESSAGE_METHOD_UNKNOWN", "SR.get_nothing"]),
    ("session.xenapi.host.get_other_config(call['host_ref'])['iscsi_iqn']", "iqn.2020-01.test:dom0"),
    ("sorted(session.xenapi.pool.get_all_records().values())[0]['master'] == call['host_ref']", True),
])
def test_calls_of_a_driver(xapi, expression, expected):
    found = ask(xapi, expression)[1]
    assert (found[:3] if isinstance(expected, list) else found) == expected


def test_a_drivers_session_may_change_its_own_sr_only(xapi):
    other = xapi._new_sr("0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c333", "stub", "other", "", True, {})
    assert ask(xapi, "session.xenapi.SR.set_sm_config(%r, {})" % other)[1][0] == "PERMISSION_DENIED"
    assert xapi.db.get("SR", other)["sm_config"] == {}


def test_a_vdi_uuid_is_introduced_once_in_a_pool(xapi):
    introduce = ("[session.xenapi.VDI.db_introduce('v', 'l', 'd', call['sr_ref'], 'user', False, False, {}, 'v', {}, {'vdi_type': 'vhd'})"
                 " for n in range(2)]")
    sr, answer = ask(xapi, introduce)
    assert answer[0] == "INTERNAL_ERROR" and "Uniqueness" in answer[1]
    record = list(xapi.db.all("VDI").values())
    assert len(record) == 1 and record[0]["SR"] == sr and record[0]["snapshot_of"] == NULL


def test_a_filter_of_records(xapi):
    call = "len(session.xenapi.%s.get_all_records_where('%s'))"
    domain = call % ("VM", 'field "uuid" = "%s"' % xapi.world.domain_uuid)
    # sm leaves out the space before the second field
    none = call % ("PBD", 'field "SR" = "x" andfield "host" = "y"')
    assert ask(xapi, "[%s, %s]" % (domain, none))[1] == [1, 0]


def test_the_garbage_collector_has_a_disk_snapshotted_in_its_place(xapi):
    sr = xapi._new_sr("0c8bfaf1-8bd1-4e5d-a2a9-c7e0f0a2c444", "stub", "mine", "", True, {})
    xapi._new_pbd(sr, xapi.host, {})
    xapi.db.insert("SM", {"type": "stub"})
    vdi = xapi.db.insert("VDI", new_vdi(uuid="v", SR=sr))
    session = xapi.new_session(None)
    assert Dispatcher(xapi).call("VDI.snapshot", [session, vdi, {"type": "internal"}]) == vdi
    with open(xapi.world.path("/tmp/call.json")) as stream:
        call = json.load(stream)
    assert call["vdi_uuid"] == "v" and call["driver_params"] == {"type": "internal"}
