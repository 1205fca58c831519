# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.show.dump: what stands where it says, of any LUN, also of a damaged one."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from fuzz import media, rows_lvm, rows_mgt, rows_vhd
from fuzz.edit import Editor
from lvhd import image
from relvm.engine import blockdev
from relvm.formats import excerpt
from relvm.show import dump, pack

ROWS = rows_lvm.table.rows + rows_mgt.table.rows + rows_vhd.table.rows
LINE = re.compile(r'([0-9a-f]{12})  (\S.*)')
# field -> bytes that stand at its offset
SIGNS = [('label: id', b'LABELONE'), ('area: magic', b' LVM2 x[5A%r0N*>'), ('MGT header', b'XSSM:'), ('SR record', b'<?xml'),
         ('VDI record', b'<vdi>'), ('footer copy: cookie', b'conectix'), ('header: cookie', b'cxsparse'), ('footer: cookie', b'conectix'),
         ('locator 0: code', b'MacX'), ('locator 0: says', b'file://')]


def dumped(path, names=True):
    device = pack.opened(str(path))
    try:
        return list(dump.lines(device, names))
    finally:
        device.close()


@pytest.mark.parametrize('name', ['two_snapshots', 'fragmented', 'wrapped_text'])
def test_each_field_stands_where_it_says(name, shape_called):
    path = shape_called(name).path
    found = dumped(path)
    device = blockdev.Device(path, False)
    for field, sign in SIGNS:
        places = [int(LINE.match(line).group(1), 16) for line in found if line[14:].startswith(field + ' ')]
        assert places, field
        if field == 'VDI record':
            places = places[::2]
        for place in places:
            assert device.read_any(place, len(sign)) == sign, (field, place)
    for line in found:
        if line[14:].startswith('text  ') and line[43:].strip():
            stored = line[43:].encode('ascii')
            assert device.read_any(int(line[:12], 16), len(stored) + 8).replace(b'\t', b' ').startswith(stored[:4].rstrip())


def test_every_line_has_an_offset_on_the_lun(shape_called):
    path = shape_called('two_snapshots').path
    size = blockdev.Device(path, False).size
    for line in dumped(path):
        assert int(LINE.match(line).group(1), 16) < size


def test_what_a_field_says(shape_called):
    found = dumped(shape_called('one').path)
    model = shape_called('one').model
    words = dict((line[14:42].strip(), line[43:]) for line in found)
    assert words['label: PV UUID'] == model.pv_id.replace('-', '')
    assert words['label: size of the device'] == words['LUN'].split()[0]
    assert words['header: BAT at'] == '1536'
    assert words['footer: virtual size'] == str(model.vdis[0].size)
    assert words['footer: type'] == '3' and words['footer: hidden'] == '0'


def test_names_are_replaced_unless_asked_for(shape_called):
    path = shape_called('unicode_names').path
    assert not [line for line in dumped(path, False) if 'here, line' in line]
    assert [line for line in dumped(path, True) if 'here, line' in line]


def test_a_file_of_pack_is_dumped_as_its_lun(shape_called, tmpdir):
    path = shape_called('one').path
    device = blockdev.Device(path, False)
    pack.pack(device, str(tmpdir.join('packed')))
    device.close()
    assert isinstance(pack.opened(str(tmpdir.join('packed'))), excerpt.Excerpt)
    assert dumped(tmpdir.join('packed')) == dumped(path, False)


@pytest.mark.parametrize('row', sorted(dict((row.reason, row) for row in ROWS).values(), key=repr), ids=repr)
def test_a_damaged_lun_is_dumped_as_far_as_it_goes(row, tmpdir):
    path = str(tmpdir.join('lun.img'))
    model = image.write(path, row.model())
    row.spoil(Editor(media.File(path), model))
    found = dumped(path, False)
    assert found
    for line in found:
        assert re.match(r'[0-9a-f]{12,}  [ -~]+\Z', line)
