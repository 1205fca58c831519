# SPDX-License-Identifier: LGPL-2.1-only
"""xapi's configuration, as far as it decides which storage drivers xapi starts.

xapi (7.0 and later) reads /etc/xapi.conf and then every file in /etc/xapi.conf.d in byte order of the names, hidden ones
too. Of several definitions of a key the last one counts; `sm-plugins` is a list of types separated by blanks, of which `*`
allows all. A `#` begins a comment, a pair of quotes round a value is dropped (ocaml/xapi-idl/lib/xcp_service.ml).
XenServer 6.5 has no such key and starts every driver.
"""

import os
import re

from relvm.octets import text

CONFIG = '/etc/xapi.conf'
DIRECTORY = '/etc/xapi.conf.d'
OWN = 'zz-relvmoiscsi.conf'

DEFINITION = re.compile('([^=\\\\ \t]+)[\\\\ \t]*=[\\\\ \t]*(.*)')


def definitions(key, config=CONFIG, directory=DIRECTORY):
    """Every definition of `key` in the order in which xapi reads them: a list of (path, value)."""
    paths = [config]
    if os.path.isdir(directory):
        names = os.listdir(directory)
        names.sort()
        paths.extend([os.path.join(directory, name) for name in names])
    found = []
    for path in paths:
        if not os.path.isfile(path):
            continue
        source = open(path, 'rb')
        try:
            content = text(source.read())
        finally:
            source.close()
        for line in content.split('\n'):
            match = DEFINITION.search(line.split('#')[0].rstrip(' \t'))
            if match and match.group(1) == key:
                found.append((path, _unquoted(match.group(2))))
    return found


def _unquoted(value):
    if len(value) > 1 and value[0] == value[-1] and value[0] in '"\'':
        return value[1:-1]
    return value


def problem(driver, config=CONFIG, directory=DIRECTORY):
    """Why xapi would not start the driver of type `driver`, or why our own drop-in would keep it from starting another
    one, as a sentence; None if all is well."""
    found = definitions('sm-plugins', config, directory)
    if not found:
        return None
    own = os.path.join(directory, OWN)
    path, value = found[-1]
    if not _allows(value, driver):
        return ('%s has the last word on sm-plugins and does not list %s: add it there, or run install.sh again'
                % (path, driver))
    others = [other for other in found if other[0] != own]
    if path == own and others:
        hidden = [word for word in others[-1][1].split() if not _allows(value, word)]
        if hidden:
            return ('%s is older than %s and hides %s from xapi: run install.sh again'
                    % (own, others[-1][0], ' '.join(hidden)))
    return None


def _allows(value, driver):
    words = value.lower().split()
    return '*' in words or driver.lower() in words
