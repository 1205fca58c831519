# SPDX-License-Identifier: LGPL-2.1-only
"""Shared by the tests of this directory: the way to what is tested, images of LUNs, loop devices."""
from __future__ import absolute_import, division, print_function

import os
import re
import shutil
import subprocess
import sys
import time
import zlib

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
for place in (HERE, os.path.join(os.path.dirname(HERE), 'drivers')):
    if place not in sys.path:
        sys.path.insert(0, place)
pytest.register_assert_rewrite('luns.expect')

from lvhd import image, samples, shapes  # noqa: E402
from lvhd.judges import command  # noqa: E402

# Which Python of three this is, 0 to 2, if they share the long series
SHARE = 'RELVM_SHARE'
# Beginnings of the names of what the newest Python alone runs
ONCE = 'RELVM_ONCE'
LOOP_ATTEMPTS = 120
LOOP_PAUSE = 0.25


def pytest_configure(config):
    """A skip is named with its reason, also when setup.cfg is not read."""
    config.addinivalue_line('markers', 'own: the generations of sm that it is about are its own choice')
    config.addinivalue_line('markers', 'newest: the newest Python does most of it')
    config.addinivalue_line('markers', 'shared: the Pythons share its cases among them; RELVM_SHARE numbers them')
    chars = config.option.reportchars or ''
    if 's' not in chars:
        config.option.reportchars = chars + 's'


def pythons_of(item):
    """Those of the three Pythons that run a test: one of them what is marked as shared; one of the two that dom0 has what is tested on one
    generation of sm; 2.7 and one of the others what is the engine's."""
    # not by the generation, which goes with the Python
    case = re.sub(r'^[A-Z](-|$)', '', item.name.partition('[')[2].rstrip(']'))
    name = item.name.partition('[')[0]
    if item.get_closest_marker('own'):
        return (0, 1, 2)
    newest = item.get_closest_marker('newest')
    if item.get_closest_marker('shared') and newest:
        return (2,)
    if item.get_closest_marker('shared'):
        # by the parameters, since what they stand for is made once for several tests
        return [(0,), (1,), (2,)][sum_of(case or name) % 3]
    if {'profile', 'pool'} & set(item.fixturenames) and not getattr(item.function, 'everywhere', False):
        return [(0, 2), (1, 2)][sum_of(name + case) % 2]
    alone = newest or item.nodeid.startswith(tuple(os.environ.get(ONCE, '-').split()))
    if item.nodeid.startswith('tests/engine/') and not alone:
        return [(0, 1), (0, 2)][sum_of(name + case) % 2]
    return (0, 1, 2)


def sum_of(text):
    """2.7's is signed."""
    return zlib.crc32(text.encode('utf-8')) & 0xffffffff


def pytest_collection_modifyitems(config, items):
    """Leaves out the cases that another Python runs. What is deselected is counted in pytest's last line."""
    if not os.environ.get(SHARE):
        return
    number = int(os.environ[SHARE])
    kept, left_out = [], []
    for item in items:
        (kept if number in pythons_of(item) else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Remembers whether a test failed, for lean()."""
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True


@pytest.fixture(autouse=True)
def lean(request):
    """Images take room: the directory of a test that passed goes with it, behind all that uses it."""
    directory = None
    if 'tmpdir' in request.fixturenames:
        directory = request.getfixturevalue('tmpdir')
    yield
    if directory is not None and not getattr(request.node, 'failed', False):
        shutil.rmtree(str(directory), True)


def copy(source, target):
    """Copy an image and leave its holes out."""
    subprocess.check_call(['cp', '--sparse=always', str(source), str(target)])
    return str(target)


@pytest.fixture(scope='session')
def unpacked(tmpdir_factory):
    """{name: path} of the samples; not to be written."""
    directory = tmpdir_factory.mktemp('samples')
    yield dict((name, samples.unpack(name, directory)) for name in samples.NAMES)
    shutil.rmtree(str(directory), True)


@pytest.fixture(params=samples.NAMES)
def sample(request, unpacked, tmpdir):
    """The path of a fresh copy of each LUN that XenServer's own storage manager made."""
    return copy(unpacked[request.param], tmpdir.join('sample.img'))


class Shape(object):
    """An image, not to be written, and the lvhd model that it was written from."""

    def __init__(self, name, directory):
        self.name = name
        self.path = str(directory.join(name + '.img'))
        self.model = image.write(self.path, shapes.SHAPES[name](1))

    def copy(self, path):
        return copy(self.path, path)


@pytest.fixture(scope='session')
def shape_called(tmpdir_factory):
    """A function from the name of a shape of lvhd.shapes to its Shape, written once."""
    directory = tmpdir_factory.mktemp('shapes')
    known = {}

    def get(name):
        if name not in known:
            known[name] = Shape(name, directory)
        return known[name]
    yield get
    shutil.rmtree(str(directory), True)


@pytest.fixture(params=list(shapes.SHAPES))
def shape(request, shape_called):
    """Every shape of lvhd.shapes."""
    return shape_called(request.param)


@pytest.fixture
def written(tmpdir):
    """A function that writes a model to a fresh image and returns its path."""
    paths = []

    def write(model):
        paths.append(str(tmpdir.join('lun%d.img' % len(paths))))
        image.write(paths[-1], model)
        return paths[-1]
    return write


def loop_missing():
    """None when loop devices can be had, else what is not there."""
    if os.geteuid() != 0:
        return 'loop devices need root'
    if command.find('losetup') is None:
        return 'losetup is not installed (Debian package mount)'
    if not os.path.exists('/dev/loop-control'):
        return 'this kernel has no loop devices'
    return None


@pytest.fixture
def loop():
    """A function (path, losetup's further options) -> path of a loop device. Released at the end of the test."""
    if loop_missing():
        pytest.skip(loop_missing())
    taken = []

    def attach(path, *options):
        for _ in range(LOOP_ATTEMPTS):
            result = command.run(('losetup', '--find', '--show') + options + (path,))
            if result.status == 0:
                taken.append(result.out.strip())
                return str(taken[-1])
            if 'sector-size' in ''.join(options) and 'unrecognized option' in result.err:
                pytest.skip('losetup knows no --sector-size')
            # All taken, or another process took the one that was found
            time.sleep(LOOP_PAUSE)
        raise RuntimeError(result.err)
    yield attach
    for device in taken:
        command.run(['losetup', '--detach', device])
