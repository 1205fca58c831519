# SPDX-License-Identifier: LGPL-2.1-only
"""The rows of the table of bad inputs that are about the device, the caller or a second run, and need no spoilt structure."""
from __future__ import absolute_import, division, print_function, unicode_literals

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest

from fuzz import luns, media, rows, rows_log, rows_lvm, rows_mgt, rows_vhd
from fuzz.edit import Editor
from luns import damage, devices
from lvhd import image, reader
from relvm import cli, errors
from relvm.engine import blockdev, resign, verify
from relvm.formats import lvmgroup
from relvm.engine.lun import Lun, Placement
from test_bad_inputs import NEW_SR

OTHER_SR = str("2f0e0d0c-1111-4222-8333-444455556666")
NO_LABEL = "no SR on this LUN: it has no LVM label. Check that this is the LUN you mean and that the array has copied all of it."
SCSI_ID = "360000000000000000e00000000010001"
ORIGINAL = "the SR on this LUN was last used on this very LUN (%s): it is an original, perhaps of another pool, and not a copy" % SCSI_ID
DRIVERS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(resign.__file__))))


@pytest.fixture
def written(tmpdir):
    """A function: (model, name of the file) -> (path, Editor)."""
    def write(sr, name="lun.img"):
        path = str(tmpdir.join(name))
        image.write(path, sr)
        return path, Editor(media.File(path), sr)
    return write


def command(capfd, *arguments):
    """(exit status, what went to stdout, what went to stderr) of a command line."""
    status = cli.main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return status, out, err


@pytest.mark.parametrize("size", [0, 1, 512, 1023, 1024, 4096, 8191, 8192, 1 << 20])
def test_row_1_lun_of_zeros(size, tmpdir):
    path = str(tmpdir.join("lun.img"))
    with open(path, "wb") as stream:
        stream.truncate(size)
    before = damage.fingerprint(path)
    with pytest.raises(errors.NoLabel) as caught:
        devices.run(path, NEW_SR)
    assert str(caught.value) == NO_LABEL
    assert damage.fingerprint(path) == before


def test_row_11_metadata_changes_while_the_log_is_written(written):
    """Another host commits between this run's two looks: log and staged area are in spare room, and nobody reads them."""
    path, lun = written(luns.snapshot())
    read_before = reader.live_strings(path)

    class Meddler(resign.Progress):
        def step(self, name):
            if name == "switch 1":
                lun.text("max_pv = 0", "max_pv = 1")

    device = blockdev.Device(path)
    try:
        with pytest.raises(errors.Changing) as caught:
            resign.resign(device, NEW_SR, progress=Meddler())
    finally:
        device.close()
    assert str(caught.value) == ("the LUN is being changed by somebody else: the LVM metadata changed while the log was written. "
                                 "Detach the LUN "
                                 "everywhere, also in other pools.")
    now = reader.live_strings(path)
    differing = [name for name in now if now[name] != read_before[name]]
    assert differing == ["metadata area header", "metadata text"]
    assert now["metadata text"] == read_before["metadata text"].replace(b"max_pv = 0", b"max_pv = 1")


def test_row_15_the_other_clones_are_not_touched(written, tmpdir):
    path, _ = written(luns.snapshot())
    others = [str(tmpdir.join("other%d.img" % number)) for number in range(2)]
    for other in others:
        shutil.copy(path, other)
    before = damage.fingerprint(path)
    devices.run(path, NEW_SR)
    assert [damage.fingerprint(other) for other in others] == [before, before]
    assert damage.fingerprint(path) != before


def test_row_16_read_only(written):
    """As a user who may read the image and not write it: root may write everything."""
    directory = tempfile.mkdtemp()
    try:
        os.chmod(directory, 0o755)
        path = os.path.join(directory, "lun.img")
        image.write(path, luns.snapshot())
        os.chmod(path, 0o444)
        before = damage.fingerprint(path)
        code = ("import os, sys\nif os.getuid() == 0:\n    os.setuid(65534)\nsys.path.insert(0, sys.argv.pop(1))\n"
                "from relvm import cli\nsys.exit(cli.main(sys.argv[1:]))\n")
        # the engine is read before the user changes: its directory may be closed to others
        code = code.replace("import os, sys\n", "import os, sys\nsys.path.insert(0, sys.argv[1])\nimport relvm.cli, relvm.engine.resign\n")
        process = subprocess.Popen([sys.executable, "-c", code, DRIVERS, "resign", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate()
        assert (process.returncode, out) == (1, b"")
        assert err.decode("ascii") == "relvm: %s: %s is read-only. Let the array present the clone writable.\n" % (path, path)
        assert damage.fingerprint(path) == before
    finally:
        shutil.rmtree(directory)


def test_row_39_second_run_at_once(written):
    path, _ = written(luns.snapshot())
    before = damage.fingerprint(path)
    first = blockdev.Device(path)
    try:
        with pytest.raises(errors.DeviceBusy) as caught:
            devices.run(path, NEW_SR)
    finally:
        first.close()
    assert str(caught.value) == ("%s is in use on this host. Detach what uses it (an SR, a mounted file system, a device-mapper "
                                 "map) first." % path)
    assert damage.fingerprint(path) == before
    devices.run(path, NEW_SR)


def test_row_44_resigned_again(written):
    path, _ = written(luns.snapshot())
    devices.run(path, NEW_SR)
    first = reader.identities(path)
    device = blockdev.Device(path)
    try:
        resign.resign(device, OTHER_SR)
        assert verify.problems(Lun(device, Placement(device))) == []
    finally:
        device.close()
    assert not first & reader.identities(path)


def test_row_44_resigned_again_as_the_same(written):
    path, _ = written(luns.snapshot())
    devices.run(path, NEW_SR)
    before = damage.fingerprint(path)
    with pytest.raises(errors.SameUuid) as caught:
        devices.run(path, NEW_SR)
    assert str(caught.value) == "the LUN already carries the uuid %s. Leave the choice of the uuid to sr-create." % NEW_SR
    assert damage.fingerprint(path) == before


@pytest.mark.parametrize("cut", range(20))
def test_row_45_truncated_clone(cut, written):
    """Whatever is missing at the end, also when it is not allocated to an LV."""
    path, lun = written(luns.snapshot())
    size = lun.medium.size * cut // 20 // 512 * 512
    with open(path, "r+b") as stream:
        stream.truncate(size)
    before = damage.fingerprint(path)
    with pytest.raises(errors.Refused) as caught:
        devices.run(path, NEW_SR)
    if size > 1 << 20:
        assert str(caught.value) == "the LUN has %d bytes, but its PV label needs %d. The clone is truncated; make a new one." % (
            size, lun.sr.pv_size)
    assert caught.value.code() in ("NoLabel", "BadArea", "TooSmall")
    assert damage.fingerprint(path) == before


def test_row_45_one_byte_is_missing(written):
    path, lun = written(luns.snapshot())
    with open(path, "r+b") as stream:
        stream.truncate(lun.medium.size - 1)
    with pytest.raises(errors.TooSmall):
        devices.run(path, NEW_SR)


@pytest.mark.parametrize("make, sentence", [
    (lambda path: os.mkdir(path), "%s is not a whole disk but a directory. Name the LUN itself."),
    (lambda path: os.mkfifo(path), "%s is not a whole disk but a special file. Name the LUN itself."),
    (lambda path: os.symlink("/dev/zero", path), "%s is not a whole disk but a special file. Name the LUN itself."),
    (lambda path: os.symlink(path, path), "cannot open %s: Too many levels of symbolic links. Check the path, and that the LUN is "
     "attached to "
                                          "this host."),
    (lambda path: None, "cannot open %s: No such file or directory. Check the path, and that the LUN is attached to this host.")],
    ids=["directory", "FIFO", "character device", "endless link", "nothing"])
@pytest.mark.parametrize("name", ["preview", "resign", "verify"])
def test_what_is_no_lun(name, make, sentence, tmpdir, capfd):
    path = str(tmpdir.join("lun"))
    make(path)
    status, out, err = command(capfd, name, path)
    assert (status, out) == (1, "")
    assert err == "relvm: %s: %s\n" % (path, sentence % path)


@pytest.mark.parametrize("hint, scsi_id, refused", [
    ("/dev/disk/by-scsid/" + SCSI_ID + "/sda", SCSI_ID, True),
    ("/dev/disk/by-scsid/" + SCSI_ID + "/mapper", SCSI_ID, True),
    ("/dev/disk/by-id/scsi-" + SCSI_ID, SCSI_ID, True),
    ("/dev/mapper/" + SCSI_ID, SCSI_ID, True),
    ("/dev/disk/mpInuse/" + SCSI_ID, SCSI_ID, True),
    ("/dev/disk/by-scsid/" + SCSI_ID + "/sda", SCSI_ID[:-1] + "2", False),
    ("/dev/sdb", SCSI_ID, False),
    ("", SCSI_ID, False),
    ("/dev/mapper/mpath0", "mpath0", False)])
def test_row_53_original(hint, scsi_id, refused, written, capfd):
    path, _ = written(luns.snapshot(device=hint))
    before = damage.fingerprint(path)
    for name in ("preview", "resign"):
        status, out, err = command(capfd, name, path, "--json", "--scsi-id", scsi_id)
        answer = json.loads(out)
        if refused:
            assert status == 1
            if name == "resign":
                assert (answer["done"], answer["reason"]) == (False, "Original") and answer["sentence"].startswith(ORIGINAL)
                assert err == "relvm: %s: %s\n" % (path, answer["sentence"])
            else:
                assert [reason["code"] for reason in answer["reasons"]] == ["Original"]
                assert answer["reasons"][0]["sentence"].startswith(ORIGINAL)
            assert damage.fingerprint(path) == before
        else:
            assert (status, err) == (0, "")
    if refused:
        assert command(capfd, "resign", path, "--json", "--scsi-id", scsi_id, "--force")[0] == 0
    assert damage.fingerprint(path) != before


@pytest.mark.parametrize("hint", [
    "/dev/disk/by-scsid/\x1b[2J/sda", "/dev/disk/by-scsid/a\nb/sda", "/dev/disk/by-scsid/\xff\xfe/sda", "/dev/disk/by-scsid/../sda",
    "/dev/disk/by-scsid//sda", "/dev/disk/by-id/scsi-", "/dev/disk/by-scsid/a/b/c", "x/dev/disk/by-scsid/a/sda",
    "/dev/mapper/VG-LV", "a" * 5000])
def test_row_53_hints_that_name_no_scsi_id(hint):
    assert lvmgroup.copied_from(str(hint) if str is not bytes else hint.encode("latin-1")) == ""


def test_image_is_a_link(written, tmpdir):
    """udev's names of LUNs are links."""
    path, _ = written(luns.snapshot())
    link = str(tmpdir.join("link"))
    os.symlink(path, link)
    devices.run(link, NEW_SR)
    assert os.path.islink(link)
    assert stat.S_ISREG(os.lstat(path).st_mode)
    assert reader.vg_names(path) == ["VG_XenStorage-" + NEW_SR]


WATCHED = r"""
import json, os, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from relvm import cli
from relvm.engine import resign
from relvm.show import report
import relvm.show.jsontext, relvm.engine.verify
seen = []

def hook(event, arguments):
    if event.split(".")[0] in ("open", "subprocess", "socket", "ctypes", "exec") or event.startswith(("os.", "shutil.", "pty.")):
        # compiled code of a module that Python itself loads
        if event == "open" and str(arguments[0]).endswith((".py", ".pyc", ".so")) or event == "exec":
            return
        seen.append([event, str(arguments[0])])

sys.addaudithook(hook)
status = cli.main(sys.argv[2:])
parsers = [name for name in sys.modules if name.startswith(("xml", "pyexpat", "lxml"))]
os.write(3, json.dumps([status, seen, parsers]).encode("ascii"))
"""


PATHS = ("locator_absolute", "locator_with_dots", "locator_of_etc_shadow", "parent_name_with_a_path", "external_entity",
         "dtd_before_a_vdi_record")


@pytest.mark.newest
@pytest.mark.skipif(sys.version_info < (3, 8), reason="audit hooks came with Python 3.8")
@pytest.mark.parametrize("row", [None] + [row for row in rows_vhd.table.rows + rows_mgt.table.rows if row.name in PATHS], ids=repr)
def test_nothing_but_the_lun_is_opened(row, written, tmpdir):
    """Whatever names a LUN holds, they are compared and never opened, and no XML parser sees them."""
    path, lun = written(row.model() if row else luns.snapshot())
    if row:
        row.spoil(lun)
    for name in ("preview", "resign"):
        with open(str(tmpdir.join("seen")), "w+b") as answer:
            def hand_over(answer=answer):
                os.dup2(answer.fileno(), 3)
            process = subprocess.Popen([sys.executable, "-c", WATCHED, DRIVERS, name, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       close_fds=False, preexec_fn=hand_over, cwd="/")
            _, err = process.communicate()
            answer.seek(0)
            status, seen, parsers = json.loads(answer.read().decode("ascii"))
        assert status == (1 if row and row.reason else 0), err
        assert set(tuple(event) for event in seen) == {("open", path)}
        assert parsers == []


def names_of_tests(module):
    """The names of the tests in a module, which says the folder too where it is not this one: host/test_driver."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", *(module + ".py").split("/"))) as stream:
        return re.findall(r"^def (test_\w+)", stream.read(), re.MULTILINE)


def test_every_row_of_the_table_has_a_test():
    here = set(int(number) for number in re.findall(r"\btest_row_(\d+)_", " ".join(names_of_tests("engine/test_bad_devices"))))
    shown = here | set(row.number for table in (rows_lvm, rows_mgt, rows_vhd, rows_log) for row in table.table.rows)
    assert sorted(shown - set([rows.NEW])) == sorted(set(rows.TABLE) - set(rows.ELSEWHERE))
    for place in rows.ELSEWHERE.values():
        module, name = place.split(".")
        assert name in names_of_tests(module)
