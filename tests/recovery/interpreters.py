# SPDX-License-Identifier: LGPL-2.1-only
"""Which interpreter runs a checkout of sm."""
from __future__ import absolute_import, division, print_function

import os
import subprocess

from dom0 import native

PATHS = "/usr/local/bin:/usr/bin"


def for_sm(tree):
    """The path of Python 2.7 or 3.6, as that sm has it in dom0, from pyenv or PATH; sm for Python 3 takes python3 where there is no 3.6."""
    version = "3.6" if native.is_python3(tree) else "2.7"
    found = [os.path.join(prefix, "bin", "python" + version) for prefix in _pyenv(version)]
    found += [os.path.join(place, "python" + version) for place in os.environ.get("PATH", PATHS).split(":") if "shims" not in place]
    if version == "3.6":
        found.append("/usr/bin/python3")
    for path in found:
        if os.path.exists(path):
            return path
    raise ValueError("%s needs Python %s, which is not here" % (tree, version))


def _pyenv(version):
    try:
        process = subprocess.Popen(["pyenv", "prefix", version], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError:
        return []
    out = process.communicate()[0].decode("utf-8")
    return [] if process.returncode else out.split("\n")[:1]
