# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.excerpt: the file as its docstring has it, and every way in which it can be broken."""
from __future__ import absolute_import, division, print_function

import struct
import zlib

import pytest

from relvm import errors
from relvm.formats import excerpt

PIECES = [(512, b'a' * 512), (1024, b'b' * 10), (4096, b'c' * 4096)]


def crc(data):
    return zlib.crc32(data) & 0xffffffff


def rendered(pieces=PIECES, size=1 << 20, version=1, count=None, length=None, checksum=None, magic=b'RELVMPAK', body=None):
    """The file by hand, from the docstring."""
    if body is None:
        body = b''.join(struct.pack('<QI', offset, len(data)) + data for offset, data in pieces)
    head = magic + struct.pack('<IIQIQI20s', version, 1, size, len(pieces) if count is None else count,
                               len(body) if length is None else length, crc(body) if checksum is None else checksum, b'9.8.7')
    return head + struct.pack('<I', crc(head)) + zlib.compress(body)


def opened(data, tmpdir):
    tmpdir.join('file').write_binary(data)
    return excerpt.Excerpt(str(tmpdir.join('file')))


def test_it_is_written_as_it_is_described(tmpdir):
    with open(str(tmpdir.join('file')), 'wb') as stream:
        excerpt.write(stream, 1 << 20, iter(PIECES), True, '9.8.7')
    data = tmpdir.join('file').read_binary()
    expected = rendered()
    assert data[:64] == expected[:64]
    assert zlib.decompress(data[64:]) == zlib.decompress(expected[64:])


def test_it_reads_like_a_device(tmpdir):
    found = opened(rendered(), tmpdir)
    assert (found.size, found.replaced, found.program, found.pieces) == (1 << 20, True, '9.8.7', PIECES)
    whole = bytearray(1 << 20)
    for offset, data in PIECES:
        whole[offset:offset + len(data)] = data
    for offset, length in ((0, 512), (0, 8192), (512, 512), (1024, 512), (600, 500), (4000, 200), (8191, 2), ((1 << 20) - 5, 5), (700, 0)):
        assert found.read_any(offset, length) == bytes(whole[offset:offset + length])
        assert found.read(offset, length) == bytes(whole[offset:offset + length])
    for offset, length in ((-1, 1), (1 << 20, 1), ((1 << 20) - 5, 6)):
        with pytest.raises(errors.ReadFailed):
            found.read(offset, length)


def test_names_may_have_been_left(tmpdir):
    with open(str(tmpdir.join('file')), 'wb') as stream:
        excerpt.write(stream, 4096, [], False, '1.1.0')
    found = excerpt.Excerpt(str(tmpdir.join('file')))
    assert not found.replaced and found.pieces == [] and found.read(0, 4096) == bytes(bytearray(4096))


BROKEN = [
    ('empty', b'', 'does not begin'),
    ('short', rendered()[:63], 'does not begin'),
    ('another file', rendered(magic=b'RELVMLOG'), 'does not begin'),
    ('head', rendered()[:20] + b'\xff' + rendered()[21:], 'head is damaged'),
    ('version', rendered(version=2), 'version is 2'),
    ('too long', rendered(length=(1 << 30) + 1), '1073741825 bytes'),
    ('no stream', rendered()[:64], 'contents are damaged'),
    ('cut', rendered()[:-20], 'contents are damaged'),
    ('rubbish', rendered()[:64] + b'rubbish', 'contents are damaged'),
    ('longer than it says', rendered(length=100), 'contents are damaged'),
    ('shorter than it says', rendered(length=10000), 'contents are damaged'),
    ('checksum', rendered(checksum=0), 'contents are damaged'),
    ('too few pieces', rendered(count=4), 'piece is missing'),
    ('too many pieces', rendered(count=2), 'more than its pieces'),
    ('overlap', rendered([(0, b'a' * 512), (511, b'b')]), 'offset 511 is out of place'),
    ('order', rendered([(512, b'a' * 512), (0, b'b')]), 'offset 0 is out of place'),
    ('behind the end', rendered([((1 << 20) - 1, b'ab')]), 'offset 1048575 is out of place'),
    ('cut piece', rendered(body=struct.pack('<QI', 0, 513) + b'a' * 512, count=1), 'offset 0 is out of place'),
]


@pytest.mark.parametrize('name, data, what', BROKEN, ids=[row[0].replace(' ', '-') for row in BROKEN])
def test_a_broken_file_is_refused_by_name(name, data, what, tmpdir):
    with pytest.raises(errors.BadExcerpt) as caught:
        opened(data, tmpdir)
    assert what in str(caught.value)


def test_pieces_may_touch_and_reach_the_end(tmpdir):
    assert len(opened(rendered([(0, b'a' * 512), (512, b'b' * 512)], size=1024), tmpdir).pieces) == 2


def test_a_file_that_is_not_there(tmpdir):
    with pytest.raises(errors.BadExcerpt) as caught:
        excerpt.Excerpt(str(tmpdir.join('nothing')))
    assert 'No such file' in str(caught.value)
