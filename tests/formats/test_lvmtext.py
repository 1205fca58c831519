# SPDX-License-Identifier: LGPL-2.1-only
"""relvm.formats.lvmtext, against the parser of lvhd and by hand."""
from __future__ import absolute_import, division, print_function

import pytest

from lvhd import reader, vgtext
from relvm import errors
from relvm.formats import lvmtext
from relvm.octets import text


def plain(section):
    """A parsed Section as [(name, value or list)], order kept."""
    found = []
    for name in section.order:
        entry = section.entries[name]
        if isinstance(entry, lvmtext.Section):
            found.append((name, plain(entry)))
        else:
            found.append((name, entry.data))
    return found


def witness(tree):
    """The same of lvhd's parser."""
    return [(name, witness(value) if isinstance(value, dict) else value) for name, value in tree.items()]


def parse(string):
    return plain(lvmtext.parse(string))


@pytest.mark.parametrize('string, expected', [
    ('', []),
    ('\0', []),
    ('a = 1', [('a', 1)]),
    ('a=1 b=2', [('a', 1), ('b', 2)]),
    ('a = -5\n', [('a', -5)]),
    ('a = 1.5', [('a', 1.5)]),
    ('a = 9223372036854775807', [('a', 9223372036854775807)]),
    ('a = ""', [('a', '')]),
    ('a = "x y # {}[]=,"', [('a', 'x y # {}[]=,')]),
    (r'a = "q\"b\\n"', [('a', 'q"b\\n')]),
    (r'a = "\x"', [('a', 'x')]),
    ('a = "two\nlines"', [('a', 'two\nlines')]),
    ('a = []', [('a', [])]),
    ('a = [1]', [('a', [1])]),
    ('a = [ "x" , 2,\n3.0 ]', [('a', ['x', 2, 3.0])]),
    ('a = ["x",]', [('a', ['x'])]),
    ('a {}', [('a', [])]),
    ('a { b { c = 1 } d = 2 } e = 3', [('a', [('b', [('c', 1)]), ('d', 2)]), ('e', 3)]),
    ('VG-1.x_y+z { }', [('VG-1.x_y+z', [])]),
    ('1 { }', [('1', [])]),
    ('# one\n\t# two\n  a = 1 # three\n# four', [('a', 1)]),
    ('a = # here\n 1', [('a', 1)]),
    ('a # here\n = [ # and\n 1 # here\n , # there\n ] # end\n', [('a', [1])]),
    ('a = [ # "no"\n "x#y" # 1 ]\n , 2 ]', [('a', ['x#y', 2])]),
    ('a = 1\r\nb = 2\r\n\0', [('a', 1), ('b', 2)]),
    ('a = 1 # "unclosed { [\n', [('a', 1)]),
    ('a = "# no comment"', [('a', '# no comment')]),
    ('a = 1\n\0\0\0', [('a', 1)]),
    ('#', []),
    ('a = "\xfc"', [('a', '\xfc')]),
])
def test_syntax(string, expected):
    assert parse(string) == expected


@pytest.mark.parametrize('string', [
    'a', 'a =', 'a = {', 'a {', 'a { b = 1', '}', 'a { } }', '= 1', '"a" = 1', 'a = b', 'a = [', 'a = [1', 'a = [1,', 'a = [1 2]',
    'a = [,]', 'a = [1,,2]', 'a = [[1]]', 'a = "x', 'a = "x\\"', 'a = 1 2', 'a = "x" "y"', 'a b', 'a = ]', '[', ',', 'a = 1;', 'a = $',
    'a = 1 \0 b = 2', '\0a = 1', 'a = 0x10', 'a = 1e5', 'a = --1', 'a = 12345678901234567890', 'a = .5', 'a = 1/2',
    'a = 1 a = 2', 'a = 1 a { }', 'a { } a { }', 'a { b = 1 b = 2 }', 'a = \xfc', '\xa0a = 1', 'a = 1\x85', '\x1ca = 1',
])
def test_what_does_not_follow_the_syntax_is_refused(string):
    with pytest.raises(errors.BadText):
        lvmtext.parse(string)


def nested(depth):
    return 'a { ' * depth + '} ' * depth


def test_depth_is_limited():
    """LVM's own texts are five deep."""
    lvmtext.parse(nested(lvmtext.MAX_DEPTH - 1))
    with pytest.raises(errors.BadText):
        lvmtext.parse(nested(lvmtext.MAX_DEPTH))
    with pytest.raises(errors.BadText):
        lvmtext.parse(nested(100000))


@pytest.mark.parametrize('string', [' ' * 300000 + '$', '# x\n' * 100000 + '$', 'a = "' + '\\"' * 200000, '#' * 300000 + '\n$',
                                    ' #\n' * 50000 + 'a = [' + '1,' * 50000],
                         ids=['spaces', 'comments', 'string', 'comment', 'list'])
def test_long_rubbish_is_refused_in_linear_time(string):
    """This test does not come to an end when it is not."""
    with pytest.raises(errors.BadText):
        lvmtext.parse(string)


def test_shape_is_understood_as_by_the_other_parser(shape):
    with reader.Lun(shape.path) as lun:
        string = text(lun.text)
    assert parse(string) == witness(vgtext.parse(string.rstrip('\0')))


def test_sample_is_understood_as_by_the_other_parser(sample):
    with reader.Lun(sample) as lun:
        string = text(lun.text)
    assert parse(string) == witness(vgtext.parse(string.rstrip('\0')))
    root = lvmtext.parse(string)
    assert root.end == len(string)


TEXT = '# top\nvg {\n\tid = "x" # c\n\tlist = ["a", "b"]\n\tnumbers = [1, 2]\n\tn = 3\n\tlv {\n\t}\n}\nf = 1.5\nminus = -1\n'


def test_places():
    root = lvmtext.parse(TEXT)
    vg = root.section('vg')
    assert TEXT[vg.start:vg.name_end] == 'vg'
    assert TEXT[vg.start:vg.body] == 'vg {'
    assert TEXT[vg.start:vg.end] == TEXT[6:TEXT.index('f = ') - 1]
    assert TEXT[vg.value('id').start:vg.value('id').end] == '"x"'
    assert TEXT[vg.value('list').start:vg.value('list').end] == '["a", "b"]'
    assert TEXT[vg.value('n').start:vg.value('n').end] == '3'
    lv = vg.section('lv')
    assert TEXT[lv.start:lv.end] == 'lv {\n\t}'
    assert (root.start, root.end) == (0, len(TEXT))


def test_access():
    root = lvmtext.parse(TEXT)
    vg = root.section('vg')
    assert [section.name for section in root.sections()] == ['vg']
    assert [section.name for section in vg.sections()] == ['lv']
    assert (vg.string('id'), vg.number('n'), vg.strings('list'), vg.strings('id'), vg.strings('none')) == \
        ('x', 3, ['a', 'b'], ['x'], [])
    assert vg.value('none') is None


@pytest.mark.parametrize('get', [
    lambda root: root.section('none'), lambda root: root.section('f'), lambda root: root.value('vg'),
    lambda root: root.number('none'), lambda root: root.number('f'), lambda root: root.number('minus'), lambda root: root.number('vg'),
    lambda root: root.section('vg').number('id'), lambda root: root.section('vg').number('list'),
    lambda root: root.string('none'), lambda root: root.string('f'), lambda root: root.section('vg').string('n'),
    lambda root: root.section('vg').string('list'), lambda root: root.section('vg').strings('n'),
    lambda root: root.section('vg').strings('numbers'), lambda root: root.strings('vg')])
def test_access_to_what_is_not_there(get):
    with pytest.raises(errors.BadText):
        get(lvmtext.parse(TEXT))


@pytest.mark.parametrize('string', ['', 'x', 'a"b', 'a\\b', '\\', '"', '\\"', 'a\nb'])
def test_quoted_text_reads_back(string):
    quoted = lvmtext.quote(string)
    assert lvmtext.parse('a = %s' % quoted).string('a') == string
    assert vgtext.parse(u'a = %s' % quoted)['a'] == string


def test_edits_change_nothing_else():
    root = lvmtext.parse(TEXT)
    vg = root.section('vg')
    edits = lvmtext.Edits()
    edits.replace(vg.value('n').start, vg.value('n').end, '44')
    edits.remove(vg.section('lv'))
    edits.replace(vg.value('id').start, vg.value('id').end, '"yy"')
    assert edits.apply(TEXT) == TEXT.replace('"x"', '"yy"').replace('n = 3', 'n = 44').replace('lv {\n\t}', '')


def test_edits_may_touch_but_not_overlap():
    edits = lvmtext.Edits()
    edits.replace(0, 2, 'A')
    edits.replace(2, 4, 'B')
    assert edits.apply('abcdef') == 'ABef'
    edits.replace(3, 5, 'C')
    with pytest.raises(ValueError):
        edits.apply('abcdef')


def test_no_edits():
    assert lvmtext.Edits().apply(TEXT) == TEXT
