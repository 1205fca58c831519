# SPDX-License-Identifier: LGPL-2.1-only
"""What xapi gives its plugins: a call in argv, the answer on stdout. Runs with sm's Python, 2.7 and newer. In a double, paths are the
double's."""
import os
import sys

try:
    from xmlrpc import client as xmlrpclib
except ImportError:
    import xmlrpclib

import XenAPI

ROOT = os.environ.get("DOM0_ROOT", "")
if ROOT:
    from relvm.host import devices, locks
    from relvm.pool import calls
    import sgio
    devices.DEV = ROOT + devices.DEV
    devices.SYS = ROOT + devices.SYS
    locks.RUN_DIR = ROOT + locks.RUN_DIR
    calls.INVENTORY = ROOT + calls.INVENTORY
    sgio.install(ROOT)


class Failure(Exception):
    """A code and its parameters."""

    def __init__(self, code, params):
        Exception.__init__(self)
        self.params = [code] + params


def dispatch(functions):
    """Does the one call that is in argv: params are (reference of a session, {argument: text})."""
    params, method = xmlrpclib.loads(sys.argv[1])
    session = XenAPI.xapi_local()
    session._session = params[0]
    try:
        if method not in functions:
            raise Failure("UNKNOWN_XENAPI_PLUGIN_FUNCTION", [method])
        answer = {"Status": "Success", "Value": functions[method](session, params[1])}
    except Failure:
        answer = {"Status": "Failure", "ErrorDescription": sys.exc_info()[1].params}
    except XenAPI.Failure:
        answer = {"Status": "Failure", "ErrorDescription": sys.exc_info()[1].details}
    except Exception:
        error = sys.exc_info()[1]
        answer = {"Status": "Failure", "ErrorDescription": ["XENAPI_PLUGIN_FAILURE", method, error.__class__.__name__, str(error)]}
    sys.stdout.write(xmlrpclib.dumps((answer,), "", True))
