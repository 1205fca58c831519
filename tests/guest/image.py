# SPDX-License-Identifier: LGPL-2.1-only
"""The disk image a test guest boots from: kernel, initramfs and root file system.

Everything comes from the package archive of the host's own release (Debian or Ubuntu), through mmdebstrap. The result is
kept below ``build/guest/<key>/`` where the key is a hash of everything it was made from, so it is made again when, and only
when, one of those changes. Nothing of the tests themselves is in the image: they come with each job.
"""

import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

HOST_COMMANDS = {
    # command: the package that brings it
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "setpriv": "util-linux",
}

GUEST_PACKAGES = (
    "apt",  # fetches the kernel package
    "busybox-static",  # is the initramfs
    "dmsetup",
    "e2fsprogs",
    "gdisk",
    "iproute2",
    "kmod",
    "lvm2",
    "multipath-tools",
    "open-iscsi",
    "procps",
    "psmisc",
    "python3",
    "python3-pytest",
    "qemu-utils",
    "sg3-utils",
    "strace",
    "sysvinit-utils",
    "udev",
    "util-linux",
)

# The metapackage whose dependency is the newest kernel for virtual machines, by the ID of /etc/os-release.
KERNEL_METAPACKAGES = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}

# Loaded by the initramfs, with what they depend on, so that the root disk can be seen.
INITRAMFS_MODULES = ("virtio_pci", "virtio_blk", "ext4")

# Runs inside mmdebstrap while the new root still has its package lists. The kernel package is unpacked, not installed:
# installing it would build an initramfs that is not needed. It is unpacked beside the root and moved, because /lib of the
# root is a symbolic link. $1 is the root, KERNEL the metapackage.
KERNEL_HOOK = r"""#!/bin/sh
set -eu
root=$1
image=$(chroot "$root" apt-cache depends KERNEL | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)/\1/p' | head -n 1)
version=${image#linux-image-}
mkdir -p "$root/kernel/tree"
for package in "$image" "linux-modules-$version" "linux-modules-extra-$version"; do
    if chroot "$root" apt-cache show "$package" >/dev/null 2>&1; then
        chroot "$root" sh -c "cd /kernel && apt-get -q download $package"
    fi
done
for archive in "$root"/kernel/*.deb; do
    dpkg-deb -x "$archive" "$root/kernel/tree"
done
mv "$root/kernel/tree/boot/vmlinuz-$version" "$root/kernel/vmlinuz"
for modules in "$root/kernel/tree/lib/modules" "$root/kernel/tree/usr/lib/modules"; do
    if [ -d "$modules/$version" ]; then mkdir -p "$root/usr/lib/modules"; mv "$modules/$version" "$root/usr/lib/modules/"; fi
done
chroot "$root" depmod "$version"
echo "$version" >"$root/kernel/version"
rm -rf "$root/kernel/tree" "$root"/kernel/*.deb
"""

# /init of the initramfs. The job disk is unpacked over the root (which QEMU throws away at the end), then the job's own
# init takes over.
INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read module; do /bin/busybox insmod "$module"; done </modules
while [ ! -b /dev/vdb ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox tar -xf /dev/vdb -C /root
/bin/busybox mount -o move /dev /root/dev
/bin/busybox mount -o move /sys /root/sys
/bin/busybox mount -o move /proc /root/proc
exec /bin/busybox switch_root /root /rig/inside/init
"""


class Unavailable(Exception):
    """This host cannot run a guest; the text says what is missing."""


@dataclass(frozen=True)
class Image:
    """Paths of the three files QEMU needs. `root` must be used with ``snapshot=on``: it is shared by all guests."""

    kernel: pathlib.Path
    initramfs: pathlib.Path
    root: pathlib.Path


def ensure_host():
    """Install the host's missing commands with apt. Raises Unavailable when that is impossible."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"the guest is an x86_64 one, this machine is {platform.machine()}")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = sorted({package for command, package in HOST_COMMANDS.items() if not shutil.which(command)})
    if not missing:
        return
    if os.geteuid() != 0:
        raise Unavailable(f"{', '.join(missing)} not installed, and not root")
    if not shutil.which("apt-get"):
        raise Unavailable(f"{', '.join(missing)} not installed, and no apt-get to install them with")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    # The lists may be absent (a fresh container) or older than the archive.
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{' '.join(command)} failed: {(done.stderr or done.stdout).strip()[-400:]}")


def host_release():
    """(ID, codename) of /etc/os-release, for instance ("debian", "bookworm"). Raises Unavailable for other systems."""
    try:
        lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    except OSError as reason:
        raise Unavailable(f"cannot tell this system's release: {reason}") from reason
    release = {name: value.strip("\"'") for name, separator, value in (line.partition("=") for line in lines) if separator}
    distribution, codename = release.get("ID"), release.get("VERSION_CODENAME")
    if distribution not in KERNEL_METAPACKAGES or not codename:
        raise Unavailable(f"the guest is made of the host's own packages; {distribution} is not Debian or Ubuntu")
    return distribution, codename


def archive_sources(distribution):
    """The host's own apt source files for its release, as arguments for mmdebstrap. Raises Unavailable when there is none."""
    candidates = (pathlib.Path("/etc/apt/sources.list.d", f"{distribution}.sources"), pathlib.Path("/etc/apt/sources.list"))
    found = [str(path) for path in candidates if path.is_file() and "deb" in path.read_text()]
    if not found:
        raise Unavailable(f"apt has no sources for {distribution} on this machine, which the guest's packages come from")
    return found


def directory(path):
    """`path` as a directory that exists; a link that leads nowhere is followed, and what it names is made."""
    place = pathlib.Path(path).resolve()
    place.mkdir(parents=True, exist_ok=True)
    return place


def obtain(cache):
    """The Image for this host, made below the directory `cache` if it is not there yet. Raises Unavailable.

    Several test runs may ask at once: one makes it, the others wait.
    """
    ensure_host()
    distribution, codename = host_release()
    inputs = [distribution, codename, pathlib.Path(__file__).read_text()]
    key = hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:16]
    cache = directory(cache)
    place = cache / key
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.is_dir():
            if os.geteuid() != 0:
                raise Unavailable("making the guest's image needs root")
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _build(distribution, codename, pathlib.Path(scratch))
                ready = pathlib.Path(scratch, "ready")
                ready.rename(place)
    return Image(place / "vmlinuz", place / "initramfs", place / "root.ext4")


def _build(distribution, codename, scratch):
    root = scratch / "root"
    hook = scratch / "kernel-hook"
    hook.write_text(KERNEL_HOOK.replace("KERNEL", KERNEL_METAPACKAGES[distribution]))
    hook.chmod(0o755)
    command = [
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory",
        "--include=" + ",".join(GUEST_PACKAGES),
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--customize-hook={hook}",
        codename, str(root), *archive_sources(distribution),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"mmdebstrap {codename} failed: {done.stderr.strip()[-800:]}")
    ready = scratch / "ready"
    ready.mkdir()
    version = (root / "kernel/version").read_text().strip()
    shutil.move(root / "kernel/vmlinuz", ready / "vmlinuz")
    _make_initramfs(root, version, scratch, ready / "initramfs")
    used = int(subprocess.check_output(["du", "-sm", root], text=True).split()[0])
    # No journal: nothing on this disk outlives a guest.
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, ready / "root.ext4", f"{used * 5 // 4 + 512}M"],
        check=True,
    )


def _make_initramfs(root, version, scratch, path):
    modules = root / "usr/lib/modules" / version
    tree = scratch / "initramfs"
    for name in ("bin", "dev", "proc", "sys", "root", "lib"):
        (tree / name).mkdir(parents=True)
    shutil.copy(next(p for p in (root / "bin/busybox", root / "usr/bin/busybox") if p.exists()), tree / "bin/busybox")
    listed = []
    for module in _module_order(modules, INITRAMFS_MODULES):
        name = pathlib.Path(module).name.split(".ko")[0] + ".ko"
        (tree / "lib" / name).write_bytes(_plain_module(modules / module))
        listed.append(f"/lib/{name}\n")
    (tree / "modules").write_text("".join(listed))
    (tree / "init").write_text(INITRAMFS_INIT)
    (tree / "init").chmod(0o755)
    names = "\n".join(str(p.relative_to(tree)) for p in sorted(tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True
    ).stdout
    path.write_bytes(archive)


def _module_order(modules, names):
    """Paths (relative to `modules`) of the named modules and their dependencies, dependencies first.

    A name that modules.dep does not know is built into the kernel.
    """
    dependencies = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needs = line.partition(":")
        dependencies[path] = needs.split()
    by_name = {pathlib.Path(path).name.split(".")[0]: path for path in dependencies}
    order = []

    def add(path):
        for need in reversed(dependencies[path]):
            add(need)
        if path not in order:
            order.append(path)

    for name in names:
        if name in by_name:
            add(by_name[name])
    return order


def _plain_module(path):
    """The bytes of a kernel module, decompressed: busybox insmod reads no zstd, and Ubuntu compresses with it."""
    unpack = {".zst": "zstdcat", ".xz": "xzcat", ".gz": "zcat"}.get(path.suffix)
    return subprocess.check_output([unpack, path]) if unpack else path.read_bytes()
