# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.octets: the same answers on every Python."""
from __future__ import absolute_import, division, print_function

import sys

import pytest

from relvm import octets

ALL = bytes(bytearray(range(256)))


def test_every_byte_is_one_character():
    string = octets.text(ALL)
    assert isinstance(string, str)
    assert [ord(char) for char in string] == list(range(256))
    assert octets.octets(string) == ALL


@pytest.mark.parametrize('string', [u'', u'plain', u'Gr\xfcn', u'\u4e2d\u6587', u'\U0001f4be'])
def test_names_of_users_are_utf8_inside(string):
    inside = octets.from_user(string)
    assert isinstance(inside, str)
    assert octets.octets(inside) == string.encode('utf-8')
    assert octets.for_user(inside) == string
    assert octets.from_user(string.encode('utf-8')) == inside


def test_other_lone_surrogates_become_something_else():
    assert octets.is_utf8(octets.from_user(u'a\ud800b'))


def test_what_is_not_utf8_is_shown_as_such():
    assert octets.for_user(octets.text(b'a\xffb')) == u'a\ufffdb'


@pytest.mark.parametrize('data', [b'', b'abc', b'\xc3\xbc', b'\xf0\x9f\x92\xbe', b'\xed\x9f\xbf', b'\xee\x80\x80'])
def test_utf8(data):
    assert octets.is_utf8(octets.text(data))


@pytest.mark.parametrize('data', [b'\xff', b'\xc3', b'\x80', b'\xc0\x80', b'\xed\xa0\x80', b'\xed\xbf\xbf', b'\xf5\x80\x80\x80',
                                  b'\xe0\x80\x80', b'ok\xfe'])
def test_not_utf8(data):
    assert not octets.is_utf8(octets.text(data))


# On Python 2 arguments are bytes, and so is a native str
if sys.version_info[0] >= 3:
    def test_undecodable_arguments_keep_their_bytes():
        """Under the C locale Python 3 hands over each byte beyond ASCII as a lone surrogate."""
        assert octets.octets(octets.from_user('\udcc3\udcbc')) == u'\xfc'.encode('utf-8')

    def test_octets_refuses_characters_that_are_no_byte():
        with pytest.raises(UnicodeError):
            octets.octets(u'\u0100')
