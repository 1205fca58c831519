# SPDX-License-Identifier: LGPL-2.1-only
"""rpmlint on every package, shellcheck on every script; what stays is explained in rpmlint.toml and here."""

from __future__ import annotations

import re
import subprocess

import pytest
from built import ROOT, UPDATES, needs, unpack


def test_rpmlint(pack, tmp_path):
    needs('rpmlint')
    packages = list(pack.out.glob('rpm/*.rpm'))
    for key in UPDATES:
        packages += [path for path in unpack(pack.iso(key), tmp_path / key).glob('Packages/*.rpm') if path.name[0] in 'cu']
    assert len(packages) == 10
    done = subprocess.run(['rpmlint', '--config', ROOT / 'tests/pack/rpmlint.toml', *packages], capture_output=True, text=True, check=False)
    assert ' 0 errors, 0 warnings, ' in done.stdout, done.stdout
    assert done.returncode == 0


# Globs with a variable in them, a file of the host's that is not here, names of files without line ends, and a bracket
# expression that is made of a variable.
STAY = 'SC2231,SC1091,SC2012,SC2295'


@pytest.mark.parametrize('name', ['install.sh', 'mk/templates/install', 'mk/templates/bytecode.sh', 'mk/templates/allow-list.sh',
                                  'mk/templates/precheck.sh'])
def test_shellcheck(name, tmp_path):
    needs('shellcheck')
    script = tmp_path / 'script'
    # What the builder fills in.
    script.write_text(re.sub('@[A-Z_]+@', '3', (ROOT / name).read_text()))
    done = subprocess.run(['shellcheck', '--shell=sh', f'--exclude={STAY}', script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
