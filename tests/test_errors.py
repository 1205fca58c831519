# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.errors: sentences that can go anywhere."""
from __future__ import absolute_import, division, print_function

import ast
import glob
import io
import os
import re
import subprocess
import sys
import xml.dom.minidom

import pytest

from relvm import errors

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# XE_SR_ERRORCODES.xml of sm, the same from XenServer 6.5 to sm v4.1
SM_FAULTS = {'SRUnavailable': 47, 'LVMMaster': 58, 'LVMOneLUN': 99, 'LVMNoVolume': 100, 'ConfigSCSIid': 107, 'MetadataError': 181}
# xapi drops the text of these (ocaml/xapi/storage_access.ml, transform_storage_exn and the SMAPIv1 adapter)
DROPPED_NUMBERS = (16, 24, 38, 39, 144)
# xapi drops the text of these (SM error codes), so no reason may use them
LOSES_ITS_TEXT = ('SRInUse', 'ConfigLUNMissing')


def test_there_are_reasons():
    found = errors.reasons()
    assert len(found) > 50
    assert [cls.__name__ for cls in found] == sorted(cls.__name__ for cls in found)
    assert errors.Refused not in found and errors.Interrupted not in found


@pytest.mark.parametrize('cls', errors.reasons(), ids=lambda cls: cls.__name__)
def test_every_reason_is_a_sentence_of_its_fields(cls):
    error = cls(**dict((field, 'the %s' % field) for field in re.findall(r'%\((\w+)\)s', cls.text + cls.advice)))
    sentence = error.sentence()
    assert error.code() == cls.__name__
    for field in re.findall(r'%\((\w+)\)s', cls.text):
        assert 'the %s' % field in sentence
    assert sentence[-1] not in '. '
    assert str(error).startswith(sentence) and str(error).endswith('.')
    assert '..' not in str(error) and '%' not in str(error)
    if cls.advice:
        assert cls.advice.split(' ')[-1] in str(error)
    assert (issubclass(cls, errors.Refused), issubclass(cls, errors.Interrupted)) in ((True, False), (False, True), (False, False))
    assert cls.sm_error not in LOSES_ITS_TEXT


@pytest.mark.parametrize('value, expected', [
    ('plain ~ text', 'plain ~ text'), ('', ''), ('a\nb\0', 'a\\x0ab\\x00'), ('\x1b[1m', '\\x1b[1m'), ('\x7f\x80\xff', '\\x7f\\x80\\xff'),
    (u'\u4e2d', '\\u4e2d'), (u'caf\xe9', 'caf\\xe9'), ('x' * 2000, 'x' * 2000), ('x' * 2001, 'x' * 2000 + '...')])
def test_printable(value, expected):
    assert errors.printable(value) == expected
    assert isinstance(errors.printable(value), str)


def test_hostile_fields():
    error = errors.NotAnSR(vg='\x1b]0;x\x07%s%(vg)s')
    assert error.sentence() == 'the VG on this LUN is \\x1b]0;x\\x07%s%(vg)s, which is not an LVHD SR (VG_XenStorage-<uuid>)'


def test_unicode_fields():
    """What comes by XML-RPC is Unicode on every Python."""
    assert 'caf\\xe9' in str(errors.BadSCSIid(scsi_id=u'caf\xe9'))
    mixed = errors.WrongLUN(device='/dev/\xc3\xa9', found=u'\u4e2d', wanted=7).sentence()
    assert mixed == '/dev/\\xc3\\xa9 reports the SCSI id \\u4e2d, not 7'


def test_a_sentence_without_advice():
    assert str(errors.ResignError()) == 'resign failed.'


def test_current():
    try:
        raise errors.NoMGT()
    except errors.Refused:
        assert isinstance(errors.current(), errors.NoMGT)


# Where they are raised

def raise_sites():
    """[(file, line, class, names of the keywords)] of every reason that the drivers make. '**' stands for handed-on keywords."""
    found = []
    names = glob.glob(os.path.join(TOP, 'drivers', '*.py')) + glob.glob(os.path.join(TOP, 'drivers', 'relvm', '*.py')) + \
        glob.glob(os.path.join(TOP, 'drivers', 'relvm', '*', '*.py')) + \
        [os.path.join(TOP, 'plugins', 'relvmoiscsi')]
    for name in names:
        with io.open(name, encoding='utf-8') as stream:
            tree = ast.parse(stream.read().encode('utf-8'))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and \
                    node.func.value.id == 'errors' and isinstance(getattr(errors, node.func.attr), type) and not node.args:
                given = [keyword.arg or '**' for keyword in node.keywords]
                if getattr(node, 'kwargs', None) is not None:
                    given.append('**')
                found.append((os.path.basename(name), node.lineno, getattr(errors, node.func.attr), sorted(given)))
    return found


# Made from a class that is handed over as an argument, resign._expect and in mgt
INDIRECT = {'Changing': ['step', 'what'], 'ChangedWhileLocked': ['step', 'what'], 'BadRecord': ['what'], 'BadName': ['what', 'wrong'],
            'BadVDIName': ['what', 'wrong']}
# Made from another reason's fields, resign._read_failed
HANDED_ON = {'ReadBackFailed': errors.ReadFailed, 'UnreadableVDI': errors.ReadFailed}


def fields_of(cls):
    return sorted(set(re.findall(r'%\((\w+)\)s', cls.text + cls.advice)))


def test_every_raise_site_gives_the_fields_of_its_sentence():
    sites = raise_sites()
    assert len(sites) > 100
    wrong = []
    for name, line, cls, given in sites:
        if '**' in given:
            given = sorted(given[1:] + fields_of(HANDED_ON[cls.__name__]))
        if given != fields_of(cls):
            wrong.append((name, line, cls.__name__, given))
    assert wrong == []
    for name, given in INDIRECT.items():
        assert set(fields_of(getattr(errors, name))) <= set(given)


def test_every_reason_is_given_somewhere():
    given = set(cls.__name__ for _, _, cls, _ in raise_sites()) | set(INDIRECT)
    assert [cls.__name__ for cls in errors.reasons() if cls.__name__ not in given] == []


@pytest.mark.parametrize('cls', errors.reasons(), ids=lambda cls: cls.__name__)
def test_what_a_reason_is_made_of(cls):
    assert cls.advice, 'says nothing of what the administrator can do'
    assert '%' not in re.sub(r'%\(\w+\)s', '', cls.text + cls.advice)
    for sentence in (cls.text, cls.advice):
        assert sentence == sentence.strip() and sentence[-1] not in '.,;:!' and '  ' not in sentence
        assert all(' ' <= char <= '~' for char in sentence)
    assert cls.advice[0].isupper() or cls.advice.startswith(('sr-probe', 'device-config:'))
    number = SM_FAULTS[cls.sm_error]
    assert number not in DROPPED_NUMBERS and number != 1


def test_the_numbers_are_those_of_a_real_sm():
    tree = os.environ.get('SM_TREE')
    if not tree:
        pytest.skip('SM_TREE names no checkout of sm')
    paths = [os.path.join(top, name) for top, _, names in os.walk(tree) for name in names if name == 'XE_SR_ERRORCODES.xml']
    assert paths
    codes = {}
    for code in xml.dom.minidom.parse(paths[0]).getElementsByTagName('code'):
        name, value = [code.getElementsByTagName(tag)[0].firstChild.data.strip() for tag in ('name', 'value')]
        codes[name] = int(value)
    assert dict((name, codes.get(name)) for name in SM_FAULTS) == SM_FAULTS


# In the documents

def test_the_table_has_the_reasons_as_the_code_has_them():
    """mk/reasons --write brings it up to date."""
    with io.open(os.path.join(TOP, 'docs', 'reasons.md'), encoding='utf-8') as stream:
        page = stream.read()
    found = re.findall('<!-- reasons -->\n(.*?)<!-- /reasons -->', page, re.DOTALL)
    assert len(found) == 1
    listed = re.findall(r'^\| `(\w+)` \| (\d+) \|', found[0], re.MULTILINE)
    assert sorted(listed) == [(cls.__name__, str(SM_FAULTS[cls.sm_error])) for cls in errors.reasons()]
    if sys.version_info < (3, 6):
        # mk/ is for newer Pythons; its output is compared below on those
        return
    made = subprocess.check_output([sys.executable, os.path.join(TOP, 'mk', 'reasons')])
    assert found[0].strip() == made.decode('utf-8').strip()
