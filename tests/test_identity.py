# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.identity."""
from __future__ import absolute_import, division, print_function

import os
import uuid

import pytest

from lvhd import reader
from relvm import identity

ONE = '0b9c1b5e-9a51-4dd8-8a3c-2f1c8a8f6a01'
TWO = 'ffffffff-0000-4000-8000-000000000002'


@pytest.mark.parametrize('string', [ONE, TWO, '0' * 8 + '-0000-0000-0000-' + '0' * 12])
def test_uuid(string):
    assert identity.is_uuid(string)


@pytest.mark.parametrize('string', ['', ONE.upper(), ONE[:-1], ONE + '0', ' ' + ONE[1:], ONE + '\n', ONE.replace('-', ''),
                                    ONE[:-1] + 'g', ONE.replace('-', '_')])
def test_no_uuid(string):
    assert not identity.is_uuid(string)


def test_new_uuids_are_random_ones_of_version_4():
    found = set(identity.new_uuid() for _ in range(500))
    assert len(found) == 500
    for string in found:
        assert identity.is_uuid(string)
        parsed = uuid.UUID(string)
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
    # every position that is free takes every digit
    for position in [at for at in range(36) if at not in (8, 13, 14, 18, 19, 23)]:
        assert len(set(string[position] for string in found)) == 16
    assert set(string[19] for string in found) == set('89ab')


class Taken(object):
    """Says of the first uuids that it is asked about that they are in use."""

    def __init__(self, count):
        self.asked = []
        self.count = count

    def __contains__(self, string):
        self.asked.append(string)
        return len(self.asked) <= self.count


def test_a_uuid_in_use_is_not_chosen():
    taken = Taken(3)
    chosen = identity.unused_uuid(taken)
    assert len(taken.asked) == 4
    assert chosen == taken.asked[3]
    assert chosen not in taken.asked[:3]


def test_new_lvm_ids_have_the_form_that_lvm_writes():
    found = set(identity.new_lvm_id() for _ in range(500))
    assert len(found) == 500
    for string in found:
        assert reader.dashed(string.replace('-', '')) == string
        assert identity.LVM_ID.match(string).group(0) == string
    used = set(''.join(found)) - set('-')
    assert used == set(identity.LVM_ID_ALPHABET)
    assert len(identity.LVM_ID_ALPHABET) == 62


def test_bytes_that_would_favour_some_characters_are_thrown_away(monkeypatch):
    monkeypatch.setattr(os, 'urandom', lambda count: bytes(bytearray([248, 255, 0, 61, 62, 247] * (count // 6))))
    assert identity.new_lvm_id().replace('-', '') == '0Z0Z' * 8


@pytest.mark.parametrize('string, expected', [
    (ONE, TWO),
    ('VHD-%s' % ONE, 'VHD-%s' % TWO),
    ('ab%scd' % ONE, 'ab%scd' % TWO),
    ('%s %s %s' % (ONE, TWO, ONE), '%s %s %s' % (TWO, TWO, TWO)),
    ('', ''),
    (ONE.upper(), ONE.upper()),
    (ONE[:-1], ONE[:-1]),
])
def test_substitute(string, expected):
    assert identity.substitute(string, {ONE: TWO}) == expected


def test_substitution_is_not_repeated_on_its_own_result():
    assert identity.substitute('%s=%s' % (ONE, TWO), {ONE: TWO, TWO: ONE}) == '%s=%s' % (TWO, ONE)


