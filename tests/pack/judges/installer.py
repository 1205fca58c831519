# SPDX-License-Identifier: LGPL-2.1-only
"""The host installer's own reader, on the files of an image: what it takes them for, and what it finds wrong. Prints JSON.

    python installer.py HOST_INSTALLER_CHECKOUT PYLIBS_CHECKOUT DIRECTORY

Runs in the Python that the checkout is written for. The parts of the installer that need a machine to install on are
replaced by empty modules.
"""
from __future__ import print_function

import json
import os
import sys
import types


class Empty(types.ModuleType):
    """A module in which every name exists and does nothing."""

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *arguments, **named: None


class Url(object):
    """As util.URL."""

    def __init__(self, text):
        self.text = text


def main(installer, libraries, directory):
    sys.path[:0] = [installer, libraries]
    for name in ('xelogging', 'diskutil', 'hardware', 'version', 'util', 'constants'):
        sys.modules[name] = Empty(name)
    sys.modules['constants'].__all__ = ['MAIN_REPOSITORY_NAME']
    sys.modules['constants'].MAIN_REPOSITORY_NAME = 'main'
    sys.modules['util'].URL = Url
    sys.modules['util'].dev_null = lambda: open(os.devnull, 'r+')
    import repository
    accessor = repository.FilesystemAccessor(directory)
    if hasattr(accessor, 'findRepositories'):
        found = accessor.findRepositories()
    else:
        found = [accessor.findRepository()]
    answer = []
    for repo in found:
        one = {'class': repo.__class__.__name__, 'identifier': repo.identifier(), 'name': repo.name(),
               # The name is the file's in newer ones, which have packages of one kind only.
               'packages': [os.path.basename(getattr(package, 'repository_filename', package.name)) for package in repo],
               'types': [package.type for package in repo],
               'problems': [str(package) for package in repo.check()],
               'targets': getattr(repo, '_targets', None)}
        if hasattr(repo, 'compatible_with'):
            one['compatible'] = [repo.compatible_with(*pair) for pair in (('XCP', 'XenServer'), ('XCP', 'Another'), ('X', 'Y'))]
        if hasattr(repo, 'check_requires'):
            one['requires'] = [problems(repo, version) for version in ('1.8.0', '1.9.0', '2.1.0')]
        answer.append(one)
    print(json.dumps(answer))


def problems(repo, version):
    """What is missing on a host whose platform repository has this version."""
    from xcp.version import Version

    class Installed(object):
        _product_version = Version.from_string(version)

        def identifier(self):
            return 'xcp:main'

    return repo.check_requires({'main': Installed()})


if __name__ == '__main__':
    main(*sys.argv[1:])
