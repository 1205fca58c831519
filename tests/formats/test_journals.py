# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.journals: names and blocks, as sm writes them and as a clone may have them."""
from __future__ import absolute_import, division, print_function, unicode_literals

import pytest

from lvhd.leftovers import journal
from relvm.formats import journals

A, B, C = [letter * 8 + "-1111-4111-8111-" + letter * 12 for letter in "abc"]
LONG = [("clone", "%s_%s" % (B, C), (B, C)), ("clone", B + "_", (B, "")), ("leaf", B, (B,))]
SHORT = [("inflate", "8388608", ("8388608",)), ("relink", "1", ("1",)), ("coalesce", "1", ("1",)), ("zero", "0", ("0",))]


def parsed(name, block=b"", tags=("journaler",)):
    return journals.parse(str(name), list(tags), block)


@pytest.mark.parametrize("kind, value, values", LONG)
def test_a_value_in_the_block(kind, value, values):
    volume = journal(kind, A, value)
    assert volume.name == "%s_%s_1" % (kind, A) and journals.in_block(str(volume.name))
    found = parsed(volume.name, volume.content[0][1])
    assert (found.kind, found.uuid, found.lv, found.values) == (kind, A, volume.name, values)


@pytest.mark.parametrize("kind, value, values", LONG + SHORT)
def test_a_value_in_the_name(kind, value, values):
    """As 6.5 has it for all kinds."""
    name = "%s_%s_%s" % (kind, A, value)
    assert not journals.in_block(str(name))
    found = parsed(name)
    assert (found.kind, found.uuid, found.values) == (kind, A, values)


@pytest.mark.parametrize("block", [
    b"\0" * 512, b" " * 512, b"x" * 512, b"36 ", b"36 " + B[:35].encode("ascii"), b"37 " + B.encode("ascii") + b" " * 400,
    b"36" + B.encode("ascii"), b"-1 " + B.encode("ascii"), b"99999 " + B.encode("ascii").ljust(500), b"\xff" * 512,
    ("73 %s_%s" % (B, C)).encode("ascii").ljust(512), b"0 " + b" " * 500])
def test_a_block_that_says_nothing(block):
    found = parsed("leaf_%s_1" % A, block)
    assert (found.kind, found.values) == ("leaf", None)


def test_text_of_the_other_kind_says_nothing():
    assert parsed("clone_%s_1" % A, ("36 " + B).encode("ascii").ljust(512)).values is None


def test_the_value_ends_where_its_length_says():
    assert parsed("leaf_%s_1" % A, ("36 " + B).encode("ascii") + b"trash").values == (B,)


@pytest.mark.parametrize("name", ["clone_x_1", "leaf_" + A, "copy_%s_1" % A, "relink_%s_2" % A, "inflate_%s_-1" % A, "zero_%s_" % A,
                                  "inflate_%s_%s" % (A, "9" * 19), "leaf_%s_%s_%s" % (A, B, C), "x_leaf_%s_1" % A, "relink_%s_1x" % A,
                                  "leaf_%s_1" % A.upper(), "jvhd_" + A])
def test_names_that_no_sm_gives(name):
    assert parsed(name) is None


def test_the_journal_of_a_resize():
    found = parsed("jvhd_" + A, tags=("jvhd",))
    assert (found.kind, found.uuid, found.values) == ("jvhd", A, ())
    assert parsed("jvhd_%s_1" % A, tags=("jvhd",)) is None
