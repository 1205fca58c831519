# SPDX-License-Identifier: LGPL-2.1-only
"""The package is laid out in wings: a module imports from its own wing, from the wings below and from the ground, never from above."""
from __future__ import absolute_import, division, print_function

import ast
import io
import os

import pytest

DRIVERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'drivers')
PACKAGE = os.path.join(DRIVERS, 'relvm')
# From the top down; what stands in one line does not know each other
STOREYS = (('__main__',), ('cli',), ('pool', 'install'), ('host',), ('show',), ('engine',), ('formats',),
           ('errors', 'identity', 'octets', '__init__'))
MAX_LINES = 460
# A table, a few lines a reason
CATALOGUE = 'errors'


def modules():
    """[dotted name below relvm] of every module: 'errors', 'formats.vhd'."""
    found = []
    for directory, _, names in os.walk(PACKAGE):
        place = os.path.relpath(directory, PACKAGE).split(os.sep)
        for name in names:
            if name.endswith('.py'):
                found.append('.'.join([part for part in place if part != '.'] + [name[:-3]]))
    return sorted(found)


def path_of(module):
    return os.path.join(PACKAGE, *module.split('.')) + '.py'


def imported(source):
    """[dotted name below relvm] of what a module imports of the package, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split('.')[0] == 'relvm':
            for alias in node.names:
                found.append('.'.join(node.module.split('.')[1:] + [alias.name]))
        elif isinstance(node, ast.Import):
            found.extend(['.'.join(alias.name.split('.')[1:]) for alias in node.names if alias.name.split('.')[0] == 'relvm'])
    return found


def storey(module):
    wing = module.split('.')[0]
    for number, wings in enumerate(STOREYS):
        if wing in wings:
            return number
    raise AssertionError('%s stands in no wing' % module)


def upward(module, source):
    """What a module imports that it must not: from above, or from the wing beside its own."""
    bad = []
    for name in imported(source):
        if name in ('__version__', 'MAINTAINER'):
            continue
        same = name.split('.')[0] == module.split('.')[0]
        if storey(name) < storey(module) or storey(name) == storey(module) and not same and storey(module) != len(STOREYS) - 1:
            bad.append(name)
    return bad


def read(module):
    with io.open(path_of(module), encoding='utf-8') as stream:
        # Python 2 takes no declaration of an encoding in Unicode
        return stream.read().encode('utf-8')


@pytest.mark.parametrize('module', modules())
def test_imports_point_down(module):
    assert upward(module, read(module)) == []


def test_imports_that_point_up_are_seen():
    assert upward('formats.vhd', 'from relvm.engine import lun') == ['engine.lun']
    assert upward('pool.attach', 'def f():\n    import relvm.install.hostcheck') == ['install.hostcheck']
    assert upward('engine.lun', 'from relvm.host.locks import FileLock\nfrom relvm.formats import vhd\nfrom relvm import cli') == \
        ['host.locks.FileLock', 'cli']


def test_formats_know_no_device_and_the_engine_no_sm():
    for module in modules():
        if module.split('.')[0] in ('formats', 'engine', 'show'):
            names = set()
            for node in ast.walk(ast.parse(read(module))):
                if isinstance(node, ast.Import):
                    names.update([alias.name.split('.')[0] for alias in node.names])
                elif isinstance(node, ast.ImportFrom):
                    names.add(node.module.split('.')[0])
            foreign = names & set(['SR', 'util', 'lvutil', 'vhdutil', 'XenAPI', 'xs_errors', 'subprocess'])
            assert not foreign, module
            if module.startswith('formats.'):
                assert not names & set(['os', 'fcntl', 'mmap']), module


def test_no_module_is_too_long_or_called_utils():
    for module in modules():
        assert len(read(module).splitlines()) <= MAX_LINES or module == CATALOGUE, module
        assert 'util' not in module.split('.')[-1], module


def test_no_two_names_differ_by_a_suffix():
    names = [module.split('.')[-1] for module in modules() if not module.endswith('__')]
    clashes = [(one, other) for one in names for other in names if one != other and other.startswith(one) and len(one) > 3]
    assert clashes == []
