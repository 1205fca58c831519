# SPDX-License-Identifier: LGPL-2.1-only
"""What xapi gives its plugins: a call in argv, the answer on stdout. Runs with sm's Python, 2.7 and newer."""
from __future__ import absolute_import, division, print_function

import sys

import XenAPI

try:
    from xmlrpc import client as xmlrpclib
except ImportError:
    import xmlrpclib


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
        answer = {"Status": "Success", "Value": functions[method](session, params[1])}
    except Failure as failure:
        answer = {"Status": "Failure", "ErrorDescription": failure.params}
    sys.stdout.write(xmlrpclib.dumps((answer,), "", True))
