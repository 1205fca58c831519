# SPDX-License-Identifier: LGPL-2.1-only
"""What is built once for all tests of the packages, and the hosts that they install on."""

from __future__ import annotations

import shutil

import pytest
from built import ROOT, UPDATES, Pack, build, copy_tree, new_host, volume
from providers import Providers


@pytest.fixture(scope='session')
def pack(tmp_path_factory) -> Pack:
    """Everything, unsigned."""
    out = tmp_path_factory.mktemp('pack')
    return Pack(out, ROOT, build(ROOT, 'iso', out).stderr)


@pytest.fixture(scope='session')
def newer(tmp_path_factory, pack) -> Pack:
    """The next version, which knows that the first one was published: one module more, one less."""
    source = copy_tree(tmp_path_factory.mktemp('newer') / 'tree')
    init = source / 'drivers/relvm/__init__.py'
    init.write_text(init.read_text().replace("'1.1.0'", "'1.1.1'"))
    (source / 'drivers/relvm/show/jsontext.py').rename(source / 'drivers/relvm/show/jsontext2.py')
    with open(source / 'mk/releases', 'a') as releases:
        releases.writelines(f'{key} 1.1.0 {volume(pack.iso(key))[1].lower()}\n' for key in UPDATES)
    out = tmp_path_factory.mktemp('newer-pack')
    build(source, 'iso', out)
    return Pack(out, source)


@pytest.fixture(scope='session')
def older(tmp_path_factory) -> Pack:
    """As 1.0.0 was laid out: all modules in one folder, and one driver."""
    source = copy_tree(tmp_path_factory.mktemp('older') / 'tree')
    for name, now, then in (('mk/pack/tree.py', "('RELVMoISCSISR', 'RELVMoHBASR')", "('RELVMoISCSISR',)"),
                            ('mk/templates/allow-list.sh', 'relvmoiscsi relvmohba"', 'relvmoiscsi"')):
        text = (source / name).read_text()
        assert now in text
        (source / name).write_text(text.replace(now, then))
    package = source / 'drivers/relvm'
    shutil.rmtree(package)
    package.mkdir()
    (package / '__init__.py').write_text("__version__ = '1.0.0'\nMAINTAINER = 'nobody'\n")
    for name in ('attach', 'attachment', 'blockdev', 'dom0', 'errors', 'lvm', 'mgt', 'octets', 'smcompat', 'vhd'):
        (package / f'{name}.py').write_text(f'# {name} of 1.0.0\n')
    out = tmp_path_factory.mktemp('older-pack')
    build(source, 'rpm', out)
    return Pack(out, source)


@pytest.fixture(scope='session')
def providers(tmp_path_factory) -> Providers:
    return Providers(tmp_path_factory.mktemp('providers'))


@pytest.fixture
def host():
    made = new_host()
    yield made
    made.close()
