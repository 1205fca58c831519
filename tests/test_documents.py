# SPDX-License-Identifier: LGPL-2.1-only
"""The documents: short where they must be, without dead links, and with every make target and function of the plugin that there is."""
from __future__ import absolute_import, division, print_function

import io
import os
import re

import pytest

from lvhd.judges import command

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ['README.md'] + sorted(os.path.join('docs', name) for name in os.listdir(os.path.join(TOP, 'docs')) if name.endswith('.md'))
MAN_PAGE = os.path.join(TOP, 'docs', 'relvmoiscsi.8')


def read(name):
    with io.open(os.path.join(TOP, name), encoding='utf-8') as stream:
        return stream.read()


def test_the_readme_is_short_and_its_limits_are_on_the_first_screen():
    lines = read('README.md').split('\n')
    assert len(lines) <= 120
    assert [line for line in lines[:25] if line.startswith('## Status and known limits')]


def test_the_top_level_holds_what_it_may():
    allowed = set(['drivers', 'tests', 'mk', 'plugins', 'docs', 'Makefile', 'install.sh', 'README.md', 'setup.cfg', 'LICENSE', 'build'])
    assert set(name for name in os.listdir(TOP) if not name.startswith('.')) <= allowed


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', read(page)):
        assert '://' in target or os.path.exists(os.path.join(TOP, os.path.dirname(page), target)), target


@pytest.mark.parametrize('page', PAGES)
def test_make_targets_that_are_named_exist(page):
    targets = set(re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE))
    named = set(re.findall(r'(?:`|^ {4})make ([a-z-]+)', read(page), re.MULTILINE))
    assert named <= targets, named - targets


def test_every_function_of_the_plugin_is_in_the_manual():
    functions = set(re.findall(r"'(\w+)': _answering\(", read(os.path.join('plugins', 'relvmoiscsi'))))
    assert len(functions) >= 4
    described = set(re.findall(r'^\.It Cm (\w+)', read(MAN_PAGE), re.MULTILINE))
    assert functions <= described, functions - described


def test_every_key_of_the_device_config_is_in_the_manual():
    driver = read(os.path.join('drivers', 'RELVMoISCSISR.py'))
    keys = set(re.findall(r"^        \['([\w-]+)', ", driver, re.MULTILINE))
    assert len(keys) >= 10
    described = set(re.findall(r'\w[\w-]*', ' '.join(re.findall(r'^\.It Cm (.*)', read(MAN_PAGE), re.MULTILINE))))
    assert keys <= described, keys - described


def test_the_manual_is_well_formed():
    if command.find('mandoc') is None:
        pytest.skip('mandoc is not installed (Debian package mandoc)')
    done = command.run(['mandoc', '-T', 'lint', '-W', 'warning', MAN_PAGE])
    assert (done.status, done.out) == (0, '')
