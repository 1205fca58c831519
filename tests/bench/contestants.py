# SPDX-License-Identifier: LGPL-2.1-only
"""What is compared. A contestant is a list of commands that changes one LUN; what it needs is prepared before and not measured."""

import compileall
import dataclasses
import os
import shutil
import subprocess
import sys
import typing
import uuid

from bench import lvmtools

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENGINE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'engine.py')


@dataclasses.dataclass
class Job:
    """One run of one contestant on one fresh LUN.

    lun        path of a loop device, or of an image file
    drivers    the directory with the package relvm
    directory  an empty one for its own files; answer  where the engine leaves its figures
    environ    the environment of its commands
    """
    lun: str
    drivers: str
    directory: str
    environ: dict
    answer: str


def installed(directory, revision=None):
    """Copies of the drivers as the pack installs them, byte-compiled: `drivers`, and `before`, those of a git revision."""
    place = os.path.join(directory, 'drivers')
    shutil.copytree(os.path.join(TOP, 'drivers'), place, ignore=shutil.ignore_patterns('__pycache__'))
    compileall.compile_dir(place, quiet=1)
    if revision:
        place = os.path.join(directory, 'before')
        os.mkdir(place)
        archive = subprocess.run(['git', 'archive', revision + ':drivers'], cwd=TOP, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(['tar', '-x', '-C', place], input=archive, check=True)
        compileall.compile_dir(place, quiet=1)


@dataclasses.dataclass
class Contestant:
    """title and changes are for the table; loop: it needs a block device; lvm: it needs LVM's tools; slow: it takes minutes; drivers: which
    copy of them it runs."""
    name: str
    title: str
    changes: str
    loop: bool
    lvm: bool
    commands: typing.Callable[[Job], list]
    slow: bool = False
    drivers: str = 'drivers'


def _process(job):
    job.environ['PYTHONPATH'] = job.drivers
    return [[sys.executable, '-m', 'relvm', 'resign', job.lun]]


def _engine(job):
    return [[sys.executable, ENGINE, job.drivers, job.lun, str(uuid.uuid4()), job.answer]]


def _vgimportclone(job):
    return [['vgimportclone', '--basevgname', 'VG_XenStorage-%s' % uuid.uuid4(), job.lun]]


def _restore(job):
    backup = os.path.join(job.directory, 'new.vg')
    pv_id, vg_name = lvmtools.resigned_backup(job.environ, backup)
    return [['pvcreate', '--force', '--force', '--yes', '--uuid', pv_id, '--restorefile', backup, job.lun],
            ['vgcfgrestore', '--file', backup, vg_name]]


def _lvrename(job):
    vg_name = lvmtools.vg_name(job.environ)
    names = lvmtools.run(job.environ, 'lvs', '--noheadings', '-o', 'lv_name', vg_name).split()
    return [['lvrename', vg_name, name, 'VHD-%s' % uuid.uuid4()] for name in names if name.startswith('VHD-')]


CONTESTANTS = [
    Contestant('process', 'resign, whole process', 'LVM, MGT, VHDs', True, False, _process),
    Contestant('engine', 'resign, engine alone', 'LVM, MGT, VHDs', True, False, _engine),
    Contestant('process-file', 'resign of an image file, whole process', 'LVM, MGT, VHDs', False, False, _process),
    Contestant('engine-file', 'resign of an image file, engine alone', 'LVM, MGT, VHDs', False, False, _engine),
    Contestant('vgimportclone', 'vgimportclone', 'PV and VG', True, True, _vgimportclone),
    Contestant('restore', 'pvcreate --restorefile, vgcfgrestore', 'PV, VG, LVs', True, True, _restore),
    Contestant('lvrename', 'one lvrename per LV', 'LV names', True, True, _lvrename, True),
]


def before(revision):
    """The engine of a git revision, as further contestants."""
    return [dataclasses.replace(each, name=each.name + '-before', title='%s, of %s' % (each.title, revision), drivers='before')
            for each in CONTESTANTS if each.name in ('engine', 'engine-file')]
