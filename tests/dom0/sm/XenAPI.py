# SPDX-License-Identifier: LGPL-2.1-only
"""Double of XenAPI.py: XML-RPC over xapi's unix socket."""

import os
import socket

try:
    import http.client as httplib
    import xmlrpc.client as xmlrpclib
except ImportError:
    import httplib
    import xmlrpclib

SOCKET = os.environ.get("DOM0_ROOT", "") + "/var/lib/xcp/xapi"


class Failure(Exception):
    """xapi refused a call; `details` is its error code and parameters."""

    def __init__(self, details):
        Exception.__init__(self)
        self.details = details

    def __str__(self):
        return str(self.details)


class UDSHTTPConnection(httplib.HTTPConnection):
    """HTTP over the unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if len(SOCKET) < 100:
            self.sock.connect(SOCKET)
            return
        here = os.getcwd()
        os.chdir(os.path.dirname(SOCKET))
        try:
            self.sock.connect(os.path.basename(SOCKET))
        finally:
            os.chdir(here)


class UDSTransport(xmlrpclib.Transport):
    """Transport with additional headers."""

    def __init__(self):
        xmlrpclib.Transport.__init__(self)
        self._extra_headers = []

    def add_extra_header(self, key, value):
        self._extra_headers.append((key, value))

    def make_connection(self, host):
        return UDSHTTPConnection("localhost")

    def close(self):
        pass

    def request(self, host, handler, request_body, verbose=False):
        connection = self.make_connection(host)
        headers = {"Content-Type": "text/xml"}
        headers.update(dict(self._extra_headers))
        if not isinstance(request_body, bytes):
            request_body = request_body.encode("utf-8")
        connection.request("POST", "/", request_body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        parser, unmarshaller = self.getparser()
        parser.feed(data)
        parser.close()
        return unmarshaller.close()


class Method(object):
    """session.xenapi.CLASS.NAME(...)"""

    def __init__(self, session, name):
        self._session = session
        self._name = name

    def __getattr__(self, name):
        return Method(self._session, self._name + "." + name)

    def __call__(self, *args):
        return self._session.call(self._name, args)


class Namespace(object):
    """session.xenapi"""

    def __init__(self, session):
        self._owner = session

    def __getattr__(self, name):
        if name.startswith("login"):
            return lambda *args: self._owner.login(name, args)
        if name == "logout":
            return self._owner.logout
        return Method(self._owner, name)


class Session(object):
    """A connection to xapi; `_session` is the session's reference."""

    def __init__(self, uri=None, transport=None):
        self.transport = transport or UDSTransport()
        self._session = None
        self.xenapi = Namespace(self)

    def login(self, name, args):
        self._session = self._raw("session." + name, args)

    def call(self, name, args):
        return self._raw(name, (self._session,) + tuple(args))

    def logout(self):
        return self._raw("session.logout", (self._session,))

    def _raw(self, name, args):
        body = xmlrpclib.dumps(tuple(args), name, allow_none=True)
        answer = self.transport.request("localhost", "/", body)[0]
        if answer["Status"] != "Success":
            raise Failure(answer["ErrorDescription"])
        return answer["Value"]


def xapi_local():
    return Session("http://_var_lib_xcp_xapi/", UDSTransport())
