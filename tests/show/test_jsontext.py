# -*- coding: utf-8 -*-
# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.show.jsontext against the json module of the Python that runs the test."""
from __future__ import unicode_literals

import json

import pytest

from relvm.show import jsontext

VALUES = [
    None, True, False, 0, -1, 1 << 80, 1.5, -2e-300, '', 'plain', 'quote " backslash \\ slash /',
    '\x00\x01\x08\x09\x0a\x0c\x0d\x1f\x7f', 'Grün 中文 \u2028\u2029', '\U0001f600 beyond the BMP', [], {}, [[], {}, [{}]],
    {'b': 1, 'a': [1, 2, {'z': None, 'é': 'ü'}]}, [1, [2, [3, [4]]]],
]


@pytest.mark.parametrize('value', VALUES, ids=[repr(number) for number in range(len(VALUES))])
@pytest.mark.parametrize('indent', [None, 0, 2])
def test_json_reads_back_the_same_value(value, indent):
    assert json.loads(jsontext.dumps(value, indent)) == value


@pytest.mark.parametrize('value', VALUES, ids=[repr(number) for number in range(len(VALUES))])
def test_answer_is_one_line_of_ascii(value):
    text = jsontext.dumps(value)
    assert isinstance(text, str)
    assert '\n' not in text
    assert [char for char in text if not ' ' <= char <= '~'] == []


def test_keys_are_sorted_and_the_layout_is_stable():
    value = {'c': [], 'a': {'y': 1, 'x': [True, None]}, 'b': ()}
    assert jsontext.dumps(value) == '{"a": {"x": [true, null], "y": 1}, "b": [], "c": []}'
    assert jsontext.dumps(value, 1) == (
        '{\n "a": {\n  "x": [\n   true,\n   null\n  ],\n  "y": 1\n },\n "b": [],\n "c": []\n}')


def test_byte_strings_are_utf8_and_what_is_not_is_marked():
    assert jsontext.dumps('é'.encode('utf-8')) == '"\\u00e9"'
    assert json.loads(jsontext.dumps(b'a\xffb')) == 'a\ufffdb'
    assert jsontext.dumps({b'key': b'value'}) == '{"key": "value"}'


def test_lone_surrogate_does_not_stop_the_writer():
    assert jsontext.dumps('\ud800') == '"\\ud800"'


@pytest.mark.parametrize('value', [object(), {1: 2}, {None: 1}, set(['a'])], ids=['object', 'int key', 'null key', 'set'])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(TypeError):
        jsontext.dumps(value)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')], ids=['nan', 'inf', '-inf'])
def test_not_a_number_is_refused(value):
    with pytest.raises(ValueError):
        jsontext.dumps([value])
