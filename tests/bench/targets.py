# SPDX-License-Identifier: LGPL-2.1-only
"""What the figures have to be. Each target is a ratio of, or a bound on, figures of one run of the benchmark."""

import dataclasses
import statistics

MIB = 1024 * 1024


@dataclasses.dataclass
class Verdict:
    """One target: what it says, the value, the bound (both as text), and whether it is met (None: not measured)."""
    text: str
    value: str
    bound: str
    met: object


def median(values):
    return statistics.median(values)


class Figures:
    """Every run of one benchmark.

    timed     {(contestant's name, size): [measure.Timed]}
    traced    {(contestant's name, size): measure.Traced}
    baseline  [seconds] of `python3 -c 'import struct, zlib, re'`
    children  VHD children of the largest SR; large: measure.Timed of the engine on it
    """

    def __init__(self):
        self.timed = {}
        self.traced = {}
        self.baseline = []
        self.children = 0
        self.large = None

    def has(self, name, size):
        return bool(self.timed.get((name, size)))

    def sizes(self):
        return sorted({size for _, size in self.timed})

    def fsync_wait(self, name, size):
        """Seconds that one run waits in fsync: measured inside for the engine, in the traced run for processes."""
        runs = self.timed[name, size]
        if runs[0].engine is not None:
            return median([run.engine['fsync'] for run in runs])
        trace = self.traced.get((name, size))
        return trace.fsync_wait if trace else 0.0

    def times(self, name, size):
        """[seconds], without the waiting in fsync."""
        runs = self.timed[name, size]
        if runs[0].engine is not None:
            return [run.engine['wall'] - run.engine['fsync'] for run in runs]
        wait = self.fsync_wait(name, size)
        return [run.wall - wait for run in runs]

    def cpu(self, name, size):
        """[seconds] of processor time."""
        runs = self.timed[name, size]
        if runs[0].engine is not None:
            return [run.engine['cpu'] for run in runs]
        return [run.cpu for run in runs]

    def time(self, name, size):
        return median(self.times(name, size))


def judge(figures):
    """[Verdict] of every target, in the order of their importance."""
    sizes = figures.sizes()
    small, large = sizes[0], sizes[-1]
    found = []
    for suffix, where in (('', 'loop device'), ('-file', 'image file')):
        for name, factor, what in (('process', 1.0, 'whole job'), ('engine', 0.5, 'in-process')):
            found.append(_against_vgimportclone(figures, name + suffix, large, factor, '%s, %s' % (what, where)))
    engine = 'engine' if figures.has('engine', small) else 'engine-file'
    process = 'process' if figures.has('process', small) else 'process-file'
    found.append(_at_most('engine at %d VDI' % small, figures.time(engine, small) * 1000, 10, '%.1f ms'))
    found.append(_ratio("process at %d VDI / python3 -c 'import struct, zlib, re'" % small,
                        figures.times('process-file', small), figures.baseline, 2))
    for name in ('engine', 'engine-file'):
        if figures.has(name + '-before', large):
            found.append(_ratio('CPU of %s at %d VDIs / before' % (name, large), figures.cpu(name, large),
                                figures.cpu(name + '-before', large), 0.5))
    answers = {size: figures.timed[engine, size][0].engine for size in sizes}
    found.append(_at_most('LUN writes at %d VDI' % small, sum(answers[small]['writes'].values()), 12, '%d'))
    found.append(_constant('LUN writes of the LVM part', [answers[size]['in_lvm'] for size in sizes]))
    found.append(_constant('flushes', [answers[size]['flushes'] for size in sizes]))
    trace = figures.traced.get((process, large))
    if trace is None:
        found.append(Verdict('processes that a resign starts', 'not measured (no strace)', '0', None))
    else:
        found.append(_at_most('processes that a resign starts', trace.processes - 1, 0, '%d'))
    if len(sizes) > 1:
        step = sizes[-2]
        allowed = 9.0 * (large / step) / 7
        found.append(_ratio('engine at %d VDIs / at %d' % (large, step), figures.times(engine, large), figures.times(engine, step),
                            allowed))
    peak = median([run.peak for run in figures.timed[process, large]])
    found.append(Verdict('VHD children of the largest SR resigned here', '%d in %.0f ms, %d bytes of log' % (
        figures.children, figures.large.engine['wall'] * 1000, figures.large.engine['log']), 'more than 1000',
        figures.children > 1000))
    found.append(_at_most('peak memory at %d VDIs' % large, peak / MIB, 64, '%.1f MiB'))
    return found


def _against_vgimportclone(figures, name, size, factor, what):
    text = 'resign (%s) at %d VDIs / vgimportclone' % (what, size)
    if not figures.has('vgimportclone', size) or not figures.has(name, size):
        return Verdict(text, 'not measured', 'at most %.2f' % factor, None)
    return _ratio(text, figures.times(name, size), figures.times('vgimportclone', size), factor)


def _ratio(text, times, others, bound):
    """Of the medians. That of the lowest times stands beside it: on a machine that does other things too it is the steadier one."""
    value = median(times) / median(others)
    return Verdict(text, '%.2f (lowest to lowest: %.2f)' % (value, min(times) / min(others)), 'at most %.2f' % bound, value <= bound)


def _at_most(text, value, bound, pattern):
    return Verdict(text, pattern % value, 'at most ' + pattern % bound, value <= bound)


def _constant(text, values):
    return Verdict(text, ', '.join(map(str, values)), 'the same at every size', len(set(values)) == 1)
