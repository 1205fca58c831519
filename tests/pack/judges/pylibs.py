# SPDX-License-Identifier: LGPL-2.1-only
"""python-libs' own reader of supplemental packs, on the files of an image. Prints JSON.

    python pylibs.py CHECKOUT DIRECTORY

Runs in the Python that the checkout is written for.
"""
from __future__ import print_function

import json
import sys
import types


def main(libraries, directory):
    sys.path.insert(0, libraries)
    try:
        import six
    except ImportError:
        # All that it takes from six is six.moves.urllib.
        import urllib.error
        import urllib.parse
        import urllib.request
        six = types.ModuleType('six')
        six.moves = types.ModuleType('six.moves')
        six.moves.urllib = urllib
        sys.modules.update({'six': six, 'six.moves': six.moves})
    from xcp.accessor import FileAccessor
    from xcp.repository import Repository
    accessor = FileAccessor('file://%s/' % directory, True)
    assert Repository.isRepo(accessor, '')
    repo = Repository(accessor, '')
    print(json.dumps({
        'identifier': repo.identifier, 'description': repo.description, 'version': str(repo.product_version),
        'product': repo.product, 'requires': repo.requires,
        'packages': [[package.__class__.__name__, package.label, package.filename, int(package.size), package.md5sum, package.options]
                     for package in repo.packages]}))


if __name__ == '__main__':
    main(*sys.argv[1:])
