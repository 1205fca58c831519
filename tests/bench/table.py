# SPDX-License-Identifier: LGPL-2.1-only
"""The figures as Markdown."""

from bench.targets import MIB, median

HEAD = ('VDIs', 'what', 'changes', 'time in ms: median (lowest to highest)', 'fsync, ms', 'CPU, ms', 'LUN writes', 'flushes',
        'read', 'written', 'processes', 'peak memory')


def rows(figures, contestants):
    """The table's cells, HEAD first."""
    found = [HEAD]
    for size in figures.sizes():
        for contestant in contestants:
            if figures.has(contestant.name, size):
                found.append(_row(figures, contestant, size))
    return found


def _row(figures, contestant, size):
    runs = figures.timed[contestant.name, size]
    times = figures.times(contestant.name, size)
    trace = figures.traced.get((contestant.name, size))
    if runs[0].requests is None:
        answer = runs[0].engine
        counts = ['', '', '', '']
        if answer is not None:
            counts = [sum(answer['writes'].values()), answer['flushes'], amount(answer['bytes_read']), amount(answer['bytes_written'])]
    else:
        counts = [_middle([run.requests.writes for run in runs]), _middle([run.requests.flushes for run in runs]),
                  amount(median([run.requests.bytes_read for run in runs])),
                  amount(median([run.requests.bytes_written for run in runs]))]
    # the engine's process is one that an sm driver runs in: its start is no part of the figure
    cpu = '%.0f' % (median(figures.cpu(contestant.name, size)) * 1000)
    return [size, contestant.title, contestant.changes,
            '%.1f (%.1f to %.1f)' % (median(times) * 1000, min(times) * 1000, max(times) * 1000),
            '%.1f' % (figures.fsync_wait(contestant.name, size) * 1000), cpu] + counts + \
        [trace.processes if trace else '', amount(median([run.peak for run in runs]))]


def _middle(counts):
    return '%d' % median(counts)


def amount(count):
    """Bytes for people: '1.5 MiB'."""
    for unit, name in ((MIB, 'MiB'), (1024, 'KiB')):
        if count >= unit:
            return '%.1f %s' % (count / unit, name)
    return '%d B' % count


def markdown(cells):
    lines = ['| %s |' % ' | '.join(map(str, row)) for row in cells]
    lines.insert(1, '|%s' % (' --- |' * len(cells[0])))
    return '\n'.join(lines)


def verdicts(found):
    """Lines for the targets, the last ones of the output."""
    marks = {True: 'met', False: 'MISSED', None: 'open'}
    return '\n'.join('%-6s  %s: %s (%s)' % (marks[verdict.met], verdict.text, verdict.value, verdict.bound) for verdict in found)
