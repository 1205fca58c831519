# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.errors: sentences that can go anywhere."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from relvm import errors

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


def test_current():
    try:
        raise errors.NoMGT()
    except errors.Refused:
        assert isinstance(errors.current(), errors.NoMGT)
