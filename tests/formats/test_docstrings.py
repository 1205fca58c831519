# SPDX-License-Identifier: LGPL-2.1-only
"""The tables in the docstrings of the formats say what the code does: each row that gives an offset and a size is a field of the struct
that reads it or a constant, and no field is left out that is not padding."""
from __future__ import absolute_import, division, print_function

import re
import struct

import pytest

from relvm.formats import lvmlabel, qcow2, redolog, vhd

ROW = re.compile(r'^    (\d+) +(\d+)(\*?) +\S')


def rows(module, title):
    """{offset: (size, True for a list)} of the table below the line of a module's docstring that begins with a title."""
    found = {}
    lines = module.__doc__.split('\n')
    start, = [number for number, line in enumerate(lines) if line.startswith(title)]
    for line in lines[start + 1:]:
        match = ROW.match(line)
        if match:
            found[int(match.group(1))] = (int(match.group(2)), bool(match.group(3)))
        elif found and not line.startswith('     '):
            break
    return found


def fields(layout, start=0):
    """{offset: size} of the fields of a struct format, padding left out."""
    found = {}
    position = start
    for count, code in re.findall(r'(\d*)([a-zA-Z])', layout[1:]):
        size = struct.calcsize(layout[0] + code)
        if code in 'sx':
            size, repeat = int(count or 1), 1
        else:
            repeat = int(count or 1)
        for _ in range(repeat):
            if code != 'x':
                found[position] = size
            position += size
    return found


# module, the table's title, [(offset, struct)], {offset: size} of what constants say
TABLES = [
    (lvmlabel, 'Label: ', [(0, lvmlabel.LABEL)], {lvmlabel.AREAS_AT: struct.calcsize('<QQ')}),
    (lvmlabel, 'Metadata area: ', [(0, lvmlabel.AREA)], {lvmlabel.LOCATIONS_AT: lvmlabel.RAW_LOCATION}),
    (vhd, 'Footer, ', [(0, vhd.FOOTER)], {}),
    (vhd, 'Dynamic header, ', [(0, vhd.HEADER)], {56: 4, vhd.NAME_AT: vhd.NAME_SIZE, vhd.LOCATORS_AT: 24}),
    (qcow2, 'Header, version 3', [(0, qcow2.HEADER)], {qcow2.COMPRESSION_AT: 1}),
    (redolog, 'Head:', [(0, redolog.HEAD), (struct.calcsize(redolog.HEAD), redolog.BODY),
                        (redolog.HISTORY_AT, redolog.HISTORY)], {}),
]


@pytest.mark.parametrize('module, title, structs, constants', TABLES, ids=[table[1].strip(' :,') for table in TABLES])
def test_a_table_is_what_the_code_reads(module, title, structs, constants):
    expected = dict(constants)
    for start, layout in structs:
        expected.update(fields(layout, start))
    told = rows(module, title)
    assert dict((offset, size) for offset, (size, _) in told.items()) == expected


@pytest.mark.parametrize('module, title, structs, constants', TABLES, ids=[table[1].strip(' :,') for table in TABLES])
def test_rows_are_in_order_and_do_not_overlap(module, title, structs, constants):
    end = 0
    for offset, (size, _) in sorted(rows(module, title).items()):
        assert offset >= end
        end = offset + size


def test_fields():
    assert fields('<8sQ4xIB') == {0: 8, 8: 8, 20: 4, 24: 1}
    assert fields('>2H', 6) == {6: 2, 8: 2}


def test_a_wrong_row_is_seen():
    class Module(object):
        __doc__ = 'x\n\nHead: it\n\n    0    8  magic\n    8    2  wrong\n\nmore\n'
    assert rows(Module, 'Head') == {0: (8, False), 8: (2, False)} != {0: (8, False), 8: (4, False)}
