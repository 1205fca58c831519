# SPDX-License-Identifier: LGPL-2.1-only
"""Double of sm's ipc: flags as files."""

import os
import shutil

import generation
import util


class IPCFlag(object):
    """Flags of one namespace."""

    BASE_DIR = os.environ.get("DOM0_ROOT", "") + generation.RUN_DIRECTORY + "/sm/ipc"

    def __init__(self, ns):
        self.directory = os.path.join(self.BASE_DIR, ns)

    def set(self, name, soft=False):
        util.makedirs(self.directory)
        with open(os.path.join(self.directory, name), "w"):
            return True

    def test(self, name):
        return os.path.exists(os.path.join(self.directory, name))

    def clear(self, name):
        util.force_unlink(os.path.join(self.directory, name))

    def clearAll(self):
        shutil.rmtree(self.directory, ignore_errors=True)
