# SPDX-License-Identifier: LGPL-2.1-only
"""Runs a job in a throw-away QEMU guest that has a real kernel, udev, iSCSI, device-mapper and LVM.

    import rig
    outcome = rig.run(rig.Job("python3 -m pytest /rig/scenarios/boot.py", ship={"/rig/scenarios": HERE / "scenarios"}), results)

    python3 tests/guest/rig.py [--ship GUEST=HOST ...] [--disk NAME=FILE ...] [--timeout S] [--results DIR] COMMAND

The guest's disks:

* root: the shared image of image.py, with QEMU's ``snapshot=on``: what a guest writes there is gone when it ends;
* job: a tar of the shipped files at their guest paths, and of ``/rig/inside`` (this directory's `inside`), unpacked over the
  root before the guest's init (``/rig/inside/init``) starts;
* results: the guest leaves a tar of its ``/results`` here when the job has ended;
* one more per entry of `Job.disks`: a file of the host, kept, for LUNs that must outlive a power cut. The guest finds it as
  ``/dev/disk/by-id/virtio-NAME``. What the guest's page cache had not written there when the power went is lost.

Two serial lines: the console, and one that carries reports: one JSON object a line, as the job makes them. A caller sees
each as it comes (`on_report`) and may cut the power by answering CUT; so nothing depends on the guest ending well.

QEMU's own CPU emulation is used always: KVM is rarely usable where tests run, and one kind of guest is enough to know.
"""

import argparse
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import image  # noqa: E402  (beside this file, wherever that is imported from)

REPOSITORY = HERE.parent.parent
CACHE = REPOSITORY / "build" / "guest"

Unavailable = image.Unavailable

CUT = object()
"""What on_report returns to have the guest's power cut at once."""

RESULTS_BYTES = 256 << 20
UNUSED_LIBRARY = ("test", "idlelib", "lib2to3", "ensurepip", "tkinter", "lib-tk", "turtledemo", "site-packages")


@dataclass
class Job:
    """A command for the guest's ``sh -c`` and what it needs.

    ship: guest path -> file or directory of the host, copied without following links; disks: name -> image file of the host;
    environment: for the command; memory in MiB; timeout in seconds from the start of QEMU.
    """

    command: str
    ship: dict = field(default_factory=dict)
    disks: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    memory: int = 1536
    timeout: float = 600


@dataclass
class Outcome:
    """How a guest ended. `status` is the job's exit status, or None when it did not come to an end."""

    ending: str  # "finished", "power cut" or "timed out"
    status: "int | None"
    reports: list
    results: pathlib.Path
    console: str
    seconds: float
    cpu_seconds: float  # of QEMU: what it would take alone on one processor that is never idle

    def __str__(self):
        tail = "\n".join(self.console.splitlines()[-40:])
        return f"guest {self.ending} after {self.seconds:.1f} s, status {self.status}; end of its console:\n{tail}"


def dom0_ship():
    """What makes the guest's root a dom0: the driver and the engine, sm's doubles.

    Guest paths: ``/opt/relvmoiscsi/{drivers,tests}`` as in the repository. The job installs from there, as an administrator would.
    """
    ship = {f"/opt/relvmoiscsi/{name}": REPOSITORY / name for name in ("drivers", "plugins") if (REPOSITORY / name).is_dir()}
    for name in ("dom0", "lvhd", "data"):
        if (REPOSITORY / "tests" / name).is_dir():
            ship[f"/opt/relvmoiscsi/tests/{name}"] = REPOSITORY / "tests" / name
    return ship


def real_sm_ship(tree, python, vhd_util=None, qcow2_helper=None):
    """What makes sm in that dom0 a real one: the checkout, the interpreter for it (at its own path) without what sm never imports, and
    a real vhd-util and qcow2_helper, the latter with the libraries it needs."""
    ship = {"/opt/relvmoiscsi/sm": pathlib.Path(tree)}
    if vhd_util:
        ship["/opt/relvmoiscsi/vhd-util"] = pathlib.Path(vhd_util)
    if qcow2_helper:
        ship["/opt/xensource/libexec/qcow2_helper"] = pathlib.Path(qcow2_helper)
        needed = re.findall(r"=> (/\S+)", subprocess.check_output(["ldd", qcow2_helper], text=True))
        for library in map(pathlib.Path, needed):
            if not library.name.startswith("libc."):
                ship[str(library.parent.resolve() / library.name)] = library.resolve()
    python = pathlib.Path(python)
    if python.is_relative_to("/usr"):
        return ship
    place = python.parent.parent
    library = place / "lib" / python.name
    for path in [python, *place.glob("lib/libpython*.so*"), *library.iterdir()]:
        if path.name not in UNUSED_LIBRARY and not (path.is_dir() and path.name.startswith("config")):
            ship[str(path)] = path
    return ship


def run(job, results, on_report=None, console_to=None):
    """Boot a guest, run the job, return its Outcome. `results` (a directory, made) receives /results of the guest.

    on_report(report) is called for every report as it arrives; console_to is a text file that receives the console live.
    Raises Unavailable when this host cannot run a guest.
    """
    built = image.obtain(CACHE)
    results = pathlib.Path(results)
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guest-") as scratch:
        return _Guest(job, built, pathlib.Path(scratch), results, on_report, console_to).run()


class _Guest:
    def __init__(self, job, built, scratch, results, on_report, console_to):
        self.job = job
        self.built = built
        self.scratch = scratch
        self.results = results
        self.on_report = on_report
        self.console_to = console_to
        self.ending = "finished"
        self.reports = []
        self.failure = None

    def run(self):
        self._write_job_disk()
        with open(self.scratch / "results.tar", "wb") as disk:
            disk.truncate(RESULTS_BYTES)
        report_reader, report_writer = os.pipe()
        started = time.monotonic()
        qemu = subprocess.Popen(
            self._command(report_writer),
            pass_fds=[report_writer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # TMPDIR: where snapshot=on puts what the guest writes to its root.
            env=dict(os.environ, TMPDIR=str(self.scratch)),
        )
        os.close(report_writer)
        watchdog = threading.Timer(self.job.timeout, self._end, args=(qemu, "timed out"))
        watchdog.start()
        reports = threading.Thread(target=self._read_reports, args=(report_reader, qemu))
        reports.start()
        try:
            console = self._read_console(qemu.stdout)
            cpu_seconds = _cpu_seconds(qemu.pid)
            qemu.wait()
        finally:
            watchdog.cancel()
            qemu.kill()
            qemu.wait()
            reports.join()
        seconds = time.monotonic() - started
        if self.failure:
            raise self.failure
        status = self._collect() if self.ending == "finished" else None
        if self.console_to:
            self.console_to.write(f"guest {self.ending} after {seconds:.0f} s, {cpu_seconds:.0f} s of processor time\n")
        return Outcome(self.ending, status, self.reports, self.results, console, seconds, cpu_seconds)

    def _command(self, report_writer):
        disks = [
            ("root", self.built.root, "snapshot=on"),
            ("job", self.scratch / "job.tar", "readonly=on"),
            ("results", self.scratch / "results.tar", "cache=unsafe"),
        ]
        # writeback: the guest's flushes reach the file, and nothing else has to.
        disks += [(name, path, "cache=writeback,discard=unmap") for name, path in self.job.disks.items()]
        # no_timer_check: on a busy machine ticks come late, which the kernel takes for a timer that does not work, and panics
        kernel_options = "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 mitigations=off random.trust_cpu=on no_timer_check"
        command = [
            # QEMU must not outlive a test run that is killed.
            "setpriv", "--pdeathsig", "KILL",
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", os.environ.get("GUEST_CPUS", "2"), "-m", str(self.job.memory),
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", self.built.kernel, "-initrd", self.built.initramfs,
            "-append", kernel_options,
            "-serial", "stdio",
            "-chardev", f"file,id=reports,path=/dev/fd/{report_writer}", "-serial", "chardev:reports",
        ]  # fmt: skip
        for name, path, options in disks:
            escaped = str(path).replace(",", ",,")
            command += ["-drive", f"if=none,id={name},format=raw,file={escaped},{options}"]
            command += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
        return [str(word) for word in command]

    def _write_job_disk(self):
        path = self.scratch / "job.tar"
        variables = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in self.job.environment.items())
        with tarfile.open(path, "w") as tar:
            for target, source in {"/rig/inside": HERE / "inside", **self.job.ship}.items():
                tar.add(source, target.lstrip("/"), filter=_as_shipped)
            for target, text in {"rig/environment": variables, "rig/command": self.job.command + "\n"}.items():
                entry = tarfile.TarInfo(target)
                entry.size = len(text.encode())
                tar.addfile(entry, io.BytesIO(text.encode()))

    def _read_console(self, stream):
        lines = []
        for raw in stream:
            line = raw.decode("utf-8", "replace").replace("\r", "")
            lines.append(line)
            if self.console_to:
                self.console_to.write(line)
                self.console_to.flush()
        return "".join(lines)

    def _read_reports(self, descriptor, qemu):
        with open(descriptor, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    report = json.loads(line)
                except ValueError:
                    # Half a line: the power went while it was being sent.
                    continue
                self.reports.append(report)
                try:
                    if self.on_report and self.on_report(report) is CUT:
                        self._end(qemu, "power cut")
                except Exception as failure:  # the caller's; it is raised again where the caller can see it
                    self.failure = failure
                    self._end(qemu, "power cut")

    def _end(self, qemu, ending):
        self.ending = ending
        qemu.kill()

    def _collect(self):
        try:
            with tarfile.open(self.scratch / "results.tar") as tar:
                # Pythons before the security releases of 2023 have no filters and need none for a tar of our own.
                tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
                tar.extractall(self.results)
            return int((self.results / "exit-status").read_text())
        except (tarfile.TarError, OSError, ValueError):
            # A panic, or a guest that cut its own power.
            self.ending = "power cut"
            return None


def _cpu_seconds(pid):
    """Processor time, user's and system's, of a process that may have ended; 0 when it has been waited for already."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _as_shipped(entry):
    """tarfile filter: what is shipped belongs to root in the guest; caches stay here, but for those of a shipped interpreter."""
    if "__pycache__" in entry.name and "/lib/python" not in entry.name or ".pytest_cache" in entry.name or "/.git/" in entry.name + "/":
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Run a command in a throw-away guest; exit with its status.")
    parser.add_argument("command")
    parser.add_argument("--ship", action="append", default=[], metavar="GUEST=HOST", help="copy into the guest")
    parser.add_argument("--dom0", action="store_true", help="ship the driver and sm as dom0_ship() does")
    parser.add_argument("--disk", action="append", default=[], metavar="NAME=FILE", help="a disk image that is kept")
    parser.add_argument("--timeout", type=float, default=600, metavar="S")
    parser.add_argument("--memory", type=int, default=1536, metavar="MIB")
    parser.add_argument("--results", metavar="DIR", help="keep what the guest left in /results")
    options = parser.parse_args(arguments)
    ship = dom0_ship() if options.dom0 else {}
    ship.update((guest, pathlib.Path(host)) for guest, _, host in (text.partition("=") for text in options.ship))
    disks = {name: pathlib.Path(path) for name, _, path in (text.partition("=") for text in options.disk)}
    job = Job(options.command, ship, disks, timeout=options.timeout, memory=options.memory)
    results = options.results or tempfile.mkdtemp(prefix="guest-results-")
    try:
        outcome = run(job, results, on_report=lambda report: print(json.dumps(report), flush=True), console_to=sys.stderr)
    except Unavailable as reason:
        print(f"no guest: {reason}", file=sys.stderr)
        return 2
    finally:
        if not options.results:
            shutil.rmtree(results)
    print(f"guest {outcome.ending} after {outcome.seconds:.1f} s, status {outcome.status}", file=sys.stderr)
    return 1 if outcome.status is None else outcome.status


if __name__ == "__main__":
    sys.exit(main())
