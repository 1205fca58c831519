# SPDX-License-Identifier: LGPL-2.1-only
"""The RPMs under a real rpm: install, upgrade, erase, reinstall, and what happens when others come and go."""

from __future__ import annotations

import subprocess

import pytest
from built import needs, new_host
from providers import LIST_70, LIST_83

DROP_IN = '/etc/xapi.conf.d/zz-relvmoiscsi.conf'
ENTRIES = ('/opt/xensource/sm/RELVMoISCSISR', '/opt/xensource/sm/RELVMoHBASR')
TYPES = ['relvmoiscsi', 'relvmohba']
# target and the release that it is installed on
CASES = [('el5', '6.5'), ('el5', '7.0'), ('el7', '8.2'), ('xs8', '8.3'), ('xs9', 'sm4')]
each_release = pytest.mark.parametrize('key,release', CASES, ids=[f'{key}-on-{release}' for key, release in CASES])


def listed(host) -> list[str] | None:
    """The words on the sm-plugins line of our drop-in, None without one."""
    text = host.read(DROP_IN)
    if text is None:
        return None
    lines = [line for line in text.splitlines() if not line.startswith('#')]
    assert len(lines) == 1 and lines[0].startswith('sm-plugins='), text
    return lines[0].removeprefix('sm-plugins=').split()


def prepared(host, providers, release):
    """`host` with sm and xapi of a release; returns its files."""
    host.rpm('-U', *providers.host(release))
    return host.files()


def silent(done: subprocess.CompletedProcess) -> None:
    assert (done.stdout, done.stderr) == ('', '')


def leave_bytecode(host) -> None:
    """What Python 2 and 3 leave behind when they import the modules."""
    for name in ('RELVMoISCSISR.pyc', 'RELVMoISCSISR.pyo', 'relvm/errors.pyc', 'relvm/errors.pyo', 'RELVMoHBASR.pyc',
                 '__pycache__/RELVMoISCSISR.cpython-36.pyc', '__pycache__/RELVMoHBASR.cpython-36.pyc',
                 'relvm/__pycache__/errors.cpython-36.opt-1.pyc',
                 'relvm/__pycache__/errors.cpython-312.pyc', 'relvm/formats/vhd.pyc', 'relvm/host/__pycache__/locks.cpython-36.pyc'):
        host.write(f'/opt/xensource/sm/{name}', 'bytecode')
    host.write('/var/run/relvmoiscsi/attach.3600', '')


@each_release
def test_an_upgrade_from_the_old_layout_leaves_no_old_file(host, providers, pack, older, key, release):
    prepared(host, providers, release)
    silent(host.rpm('-U', older.rpm(key)))
    assert host.read(ENTRIES[1] + '.py') is None and (release == '6.5' or listed(host)[-1] == 'relvmoiscsi')
    for name in ('lvm.pyc', 'lvm.pyo', '__pycache__/lvm.cpython-36.pyc', 'attachment.pyc'):
        host.write(f'/opt/xensource/sm/relvm/{name}', 'bytecode')
    silent(host.rpm('-U', pack.rpm(key)))
    upgraded = host.files()
    assert host.read(ENTRIES[1] + '.py') and (release == '6.5' or listed(host)[-2:] == TYPES)
    assert '/opt/xensource/sm/relvm/lvm.py' not in upgraded and '/opt/xensource/sm/relvm/formats/lvmlabel.py' in upgraded
    assert not [name for name in upgraded if name.endswith(('.pyc', '.pyo', '__pycache__'))]
    silent(host.rpm('-e', 'relvmoiscsi'))
    silent(host.rpm('-i', pack.rpm(key)))
    assert host.files() == upgraded


@each_release
def test_install_upgrade_reinstall_erase(host, providers, pack, newer, key, release):
    before = prepared(host, providers, release)
    silent(host.rpm('-U', pack.rpm(key)))

    first = '#!/usr/bin/python3' if key in ('xs8', 'xs9') else '#!/usr/bin/python'
    for name in [entry + '.py' for entry in ENTRIES] + ['/etc/xapi.d/plugins/relvmoiscsi']:
        assert host.read(name).splitlines()[0] == first
        assert host.path(name).stat().st_mode & 0o777 == 0o755
    for entry in ENTRIES:
        assert host.run('readlink', '-f', entry).stdout.strip() == entry + '.py'
    assert host.run('rpm', '-V', 'relvmoiscsi', '--nodeps').stdout == ''
    if release == '6.5':
        assert not host.path('/etc/xapi.conf.d').exists()
    else:
        assert listed(host)[-2:] == TYPES
        assert host.path(DROP_IN).stat().st_mode & 0o777 == 0o644
    added = set(host.files()) - set(before)
    owned = set(host.run('rpm', '-ql', 'relvmoiscsi').stdout.split())
    assert added <= owned
    assert owned - added == (set() if release != '6.5' else {DROP_IN})

    leave_bytecode(host)
    silent(host.rpm('-U', newer.rpm(key)))
    assert host.run('rpm', '-q', 'relvmoiscsi').stdout.startswith('relvmoiscsi-1.1.1-1')
    assert host.read('/opt/xensource/sm/relvm/show/jsontext.py') is None
    assert host.read('/opt/xensource/sm/relvm/show/jsontext2.py')
    assert not [name for name in host.files() if name.endswith(('.pyc', '.pyo', '__pycache__'))], 'bytecode of the old version'
    assert (listed(host) is None) == (release == '6.5')

    leave_bytecode(host)
    silent(host.rpm('-U', '--replacepkgs', newer.rpm(key)))
    assert host.read('/opt/xensource/sm/relvm/show/jsontext2.py')
    assert (listed(host) is None) == (release == '6.5')

    leave_bytecode(host)
    silent(host.rpm('-e', 'relvmoiscsi'))
    assert host.files() == before

    silent(host.rpm('-i', pack.rpm(key)))
    assert (listed(host) is None) == (release == '6.5')
    silent(host.rpm('-e', 'relvmoiscsi'))
    assert host.files() == before


@pytest.mark.parametrize('shell', ['/usr/bin/bash', '/usr/bin/dash', '/usr/bin/busybox'])
def test_scriptlets_run_in_any_posix_shell(providers, pack, newer, shell):
    needs(*(['busybox'] if 'busybox' in shell else []))
    host = new_host(shell)
    try:
        before = prepared(host, providers, '8.2')
        silent(host.rpm('-U', pack.rpm('el7')))
        assert listed(host) == (LIST_70 + ' zfs relvmoiscsi relvmohba').split()
        leave_bytecode(host)
        silent(host.rpm('-U', newer.rpm('el7')))
        silent(host.rpm('-e', 'relvmoiscsi'))
        assert host.files() == before
    finally:
        host.close()


@pytest.mark.parametrize('key,release', [('el5', '8.3'), ('el7', '8.3'), ('el7', 'sm4'), ('xs8', '8.2'), ('xs8', '6.5'),
                                         ('xs9', '8.3'), ('xs9', '8.2')])
def test_the_rpm_of_another_release_is_refused(host, providers, pack, key, release):
    before = prepared(host, providers, release)
    refused = host.rpm('-U', pack.rpm(key), check=False)
    assert refused.returncode
    assert 'sm ' in refused.stderr and 'is needed by relvmoiscsi' in refused.stderr
    assert host.files() == before


def test_nothing_runs_and_nothing_is_called(host, providers, pack):
    """Scriptlets start nothing and do not expect xapi: neither service tools nor xe are touched."""
    prepared(host, providers, '8.3')
    tools = ['xe', 'systemctl', 'service', 'xe-toolstack-restart', 'python', 'python3', 'chkconfig', 'initctl']
    for tool in tools:
        host.write(f'/usr/local/bin/{tool}', f'#!/bin/sh\necho {tool} >> /root/called\n', 0o755)
    host.rpm('-U', pack.rpm('xs8'))
    host.rpm('-e', 'relvmoiscsi')
    assert host.read('/root/called') is None


@pytest.mark.parametrize('key,release', [('el5', '7.0'), ('el7', '8.2'), ('xs8', '8.3'), ('xs9', 'sm4')])
def test_a_new_xapi_brings_a_new_list(host, providers, pack, key, release):
    prepared(host, providers, release)
    original = host.read('/etc/xapi.conf')
    host.rpm('-U', pack.rpm(key))
    assert host.read('/etc/xapi.conf') == original
    host.rpm('-U', providers.xapi('99.1', LIST_83 + ' newdriver'))
    assert listed(host) == (LIST_83 + ' newdriver relvmoiscsi relvmohba').split()
    assert 'relvmoiscsi' not in host.read('/etc/xapi.conf')
    assert sorted(path.name for path in host.path('/etc/xapi.conf.d').iterdir()) == ['zz-relvmoiscsi.conf']


@pytest.mark.parametrize('key,release', [('el7', '8.2'), ('xs8', '8.3'), ('xs9', 'sm4')])
def test_another_packs_list_comes_changes_and_goes(host, providers, pack, key, release):
    prepared(host, providers, release)
    own = listed(host)
    linstor = '/etc/xapi.conf.d/99-enable-sm-driver-linstor.conf'
    host.rpm('-U', pack.rpm(key))
    without = listed(host)
    assert own is None and without[-2:] == TYPES
    host.rpm('-U', providers.get('xcp-ng-linstor', '1.0', {linstor: 'sm-plugins=ext nfs linstor\n'}))
    assert listed(host) == ['ext', 'nfs', 'linstor', *TYPES]
    host.rpm('-U', providers.get('xcp-ng-linstor', '2.0', {linstor: 'sm-plugins=ext nfs linstor more\n'}))
    assert listed(host) == ['ext', 'nfs', 'linstor', 'more', *TYPES]
    host.rpm('-e', 'xcp-ng-linstor')
    assert listed(host) == without
    host.rpm('-U', providers.get('xcp-ng-linstor', '1.0'))
    host.rpm('-e', 'relvmoiscsi')
    assert host.read(linstor) == 'sm-plugins=ext nfs linstor\n'
    host.rpm('-U', pack.rpm(key))
    assert listed(host) == ['ext', 'nfs', 'linstor', *TYPES]
    host.rpm('-e', 'relvmoiscsi', 'xcp-ng-linstor')
    assert listed(host) is None


def test_any_packs_list_where_rpm_has_triggers_on_files(host, providers, pack):
    prepared(host, providers, 'sm4')
    host.rpm('-U', pack.rpm('xs9'))
    without = listed(host)
    host.rpm('-U', providers.get('vendor-pack', '1.0', {'/etc/xapi.conf.d/vendor.conf': 'sm-plugins=ext vendor\n'}))
    assert listed(host) == ['ext', 'vendor', *TYPES]
    host.rpm('-e', 'vendor-pack')
    assert listed(host) == without


def test_where_it_has_not_reinstalling_takes_the_list_over(host, providers, pack):
    prepared(host, providers, '8.3')
    host.rpm('-U', pack.rpm('xs8'))
    host.rpm('-U', providers.get('vendor-pack', '1.0', {'/etc/xapi.conf.d/vendor.conf': 'sm-plugins=ext vendor\n'}))
    host.rpm('-U', '--replacepkgs', pack.rpm('xs8'))
    assert listed(host) == ['ext', 'vendor', *TYPES]


def test_all_plugins_allowed_is_respected(host, providers, pack):
    prepared(host, providers, '8.3')
    host.rpm('-U', pack.rpm('xs8'))
    host.write('/etc/xapi.conf.d/50-all.conf', 'sm-plugins=*\n')
    host.rpm('-U', '--replacepkgs', pack.rpm('xs8'))
    assert listed(host) is None
    host.remove('/etc/xapi.conf.d/50-all.conf')
    host.rpm('-U', '--replacepkgs', pack.rpm('xs8'))
    assert listed(host) == (LIST_83 + ' relvmoiscsi relvmohba').split()


def test_a_later_list_is_told(host, providers, pack):
    prepared(host, providers, '8.3')
    host.write('/etc/xapi.conf.d/zzz.conf', 'sm-plugins=ext\n')
    done = host.rpm('-U', pack.rpm('xs8'))
    assert '/etc/xapi.conf.d/zzz.conf is read after zz-relvmoiscsi.conf' in done.stderr
    assert listed(host) == ['ext', *TYPES]


def test_sm_and_xapi_of_our_own_transaction(host, providers, pack):
    """The host installer installs everything at once."""
    host.rpm('-U', *providers.host('8.3'), pack.rpm('xs8'))
    assert listed(host) == (LIST_83 + ' relvmoiscsi relvmohba').split()


@pytest.mark.parametrize('scripted', [True, False], ids=['links from its scripts', 'links of its own'])
def test_the_earlier_plugin_is_replaced_and_the_type_registered_once(host, providers, pack, scripted):
    prepared(host, providers, '7.0')
    sm = '/opt/xensource/sm'
    files = {f'{sm}/ReLVMoISCSISR.py': '#!/usr/bin/python\n', f'{sm}/VDILUNSR.py': '#!/usr/bin/python\n'}
    post = ''
    if scripted:
        post = f'ln -s ReLVMoISCSISR.py {sm}/ReLVMoISCSISR; ln -s VDILUNSR.py {sm}/VDILUNSR'
    else:
        files.update({f'{sm}/ReLVMoISCSISR': 'link:ReLVMoISCSISR.py', f'{sm}/VDILUNSR': 'link:VDILUNSR.py'})
    # The list as that plugin's own script edits it.
    host.write('/etc/xapi.conf', f'sm-plugins={LIST_70} relvmoiscsi vdilun\n')
    version = '1.0' if scripted else '2.0'
    host.rpm('-U', providers.get('ReLVHDoISCSISR', version, files, post))
    host.rpm('-U', pack.rpm('el5'))
    assert host.run('rpm', '-q', 'ReLVHDoISCSISR', check=False).returncode
    candidates = [path.name for path in host.path(sm).iterdir() if path.name.endswith('SR')]
    assert sorted(candidates) == ['LVMoISCSISR', 'RELVMoHBASR', 'RELVMoISCSISR']
    assert listed(host) == (LIST_70 + ' vdilun relvmoiscsi relvmohba').split()


def test_another_plugins_driver_stays(host, providers, pack):
    """VDILUNSR is no part of our job: it goes only when nothing is behind it."""
    prepared(host, providers, '7.0')
    host.write('/opt/xensource/sm/VDILUNSR.py', '#!/usr/bin/python\n', 0o755)
    host.path('/opt/xensource/sm/VDILUNSR').symlink_to('VDILUNSR.py')
    host.rpm('-U', pack.rpm('el5'))
    assert host.path('/opt/xensource/sm/VDILUNSR').is_symlink()


@pytest.mark.parametrize('key', ['el5', 'el7', 'xs8', 'xs9'])
def test_what_an_old_rpm_can_read(pack, key):
    """rpm 4.4 of XenServer 6.5: MD5 digests, gzip, no newer rpmlib feature, no tag types that it does not know (above
    9), and a header and payload signature that it can check (SHA1HEADER 269, SIZE 1000, MD5 1004)."""
    def query(form):
        return subprocess.run(['rpm', '-qp', '--qf', form, pack.rpm(key)], capture_output=True, text=True, check=True).stdout

    features = {line.split(' ')[0] for line in query('[%{REQUIRES} %{REQUIREVERSION}\n]').splitlines() if 'rpmlib' in line}
    expected = {'rpmlib(CompressedFileNames)', 'rpmlib(PayloadFilesHavePrefix)'}
    assert query('%{PAYLOADCOMPRESSOR} %{PAYLOADFORMAT} %{ARCH}') == 'gzip cpio noarch'
    lengths = {len(digest) for digest in query('[%{FILEMD5S}\n]').split()}
    if key == 'el5':
        assert features == expected
        assert lengths == {32}
    else:
        assert features == expected | {'rpmlib(FileDigests)'}
        assert lengths == {64}
    assert not query('%{GROUP}').endswith('/Kernel')
    signature, header = headers(pack.rpm(key).read_bytes())
    assert {269, 1000, 1004} <= set(signature)
    assert max(signature.values()) <= 9 and max(header.values()) <= 9


def headers(data: bytes) -> list[dict[int, int]]:
    """{tag: type} of the signature header and the main header of an RPM file."""
    found = []
    place = 96
    for _ in range(2):
        place = (place + 7) // 8 * 8
        assert data[place:place + 3] == b'\x8e\xad\xe8'
        count, size = (int.from_bytes(data[place + offset:place + offset + 4], 'big') for offset in (8, 12))
        entries = [data[place + 16 + 16 * number:place + 32 + 16 * number] for number in range(count)]
        found.append({int.from_bytes(entry[:4], 'big'): int.from_bytes(entry[4:8], 'big') for entry in entries})
        place += 16 + 16 * count + size
    return found


def test_releases_sort_in_the_order_of_the_products(pack):
    """A host that is upgraded to the next product may keep the package: the newer product's must be the newer one."""
    releases = [subprocess.run(['rpm', '-qp', '--qf', '%{RELEASE}', pack.rpm(key)], capture_output=True, text=True,
                               check=True).stdout for key in ('el5', 'el7', 'xs8', 'xs9')]
    for older, newer in zip(releases, releases[1:]):
        compared = subprocess.run(['rpm', '--eval', f'%{{lua: print(rpm.vercmp("{newer}", "{older}"))}}'], capture_output=True,
                                  text=True, check=True).stdout
        assert compared.strip() == '1', (older, newer)
