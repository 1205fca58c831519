# SPDX-License-Identifier: LGPL-2.1-only
"""Explores one scene: its crash states, those of the runs that recover from them, errors, and copies."""
from __future__ import absolute_import, division, print_function, unicode_literals

import functools
import os
import random
import time

from crash import clones, faults, fresh, hostlvm, pool, recorder, scenes, states, trial, witness

# One state in so many has every byte hashed
HASHED = 25
PHASES = (witness.OLD, witness.LOCKED, witness.NEW)


class Count(object):
    """How many crash states there were, how many of them showed one VG, and how many were finished by the next run."""

    def __init__(self):
        self.enumerated = self.states = self.visible = self.finished = 0
        self.phases = dict.fromkeys(PHASES, 0)
        self.troubles = []

    def add(self, name, verdict):
        self.states += 1
        if isinstance(verdict, pool.JobDied):
            self.troubles.append((name, str(verdict)))
            return
        self.visible += verdict.visible
        self.finished += verdict.finished
        if verdict.phase in self.phases:
            self.phases[verdict.phase] += 1
        if verdict.trouble:
            self.troubles.append((name, verdict.trouble))

    def include(self, other):
        for name in ('enumerated', 'states', 'visible', 'finished'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for phase in PHASES:
            self.phases[phase] += other.phases[phase]
        self.troubles.extend(other.troubles)

    @property
    def passed(self):
        return self.states == self.visible == self.finished and not self.troubles

    def line(self):
        return 'crash states %d, VG visible %d, finished %d' % (self.states, self.visible, self.finished)


class Answers(object):
    """How many answers there were, and the troubles among them: [(name, trouble)]."""

    def __init__(self, answers):
        self.number = 0
        self.troubles = []
        for name, trouble in answers:
            self.number += 1
            if trouble:
                self.troubles.append((name, str(trouble)))


def _each(results):
    """The (name, trouble) of jobs that return lists of them."""
    for name, answers in results:
        if isinstance(answers, pool.JobDied):
            yield name, answers
            continue
        for what, trouble in answers:
            yield '%s, %s' % (name, what), trouble


class Explorer(object):
    """A scene with its first run recorded.  No crash state is judged twice."""

    def __init__(self, scene, seed=0):
        self.scene = scene
        self.seed = seed
        self.random = random.Random(seed)
        self.recording = scenes.Recording(scene.medium(), seed + 1, scene.options)
        self.rules = trial.Trial(scene, {self.recording.sr_uuid: self.recording.identities})
        self._seen = set()

    def states(self, effort, seen=None):
        """The states.Exploration of the first run."""
        return states.Exploration(self.scene.medium(), self.recording.events, effort, self.random, seen)

    def first_run(self, effort):
        """Count of the crash states of the first run."""
        return self._judge(self.states(effort, self._seen), self.rules, '')

    def kills(self):
        """What a first run leaves: (what, Medium, [Write]) for every prefix.

        The writes are those that have not been flushed: a kill leaves them in the disk's cache, where the next run reads them
        and a power loss can still undo them.
        """
        settled = self.scene.medium()
        for number, writes in enumerate(recorder.stretches(self.recording.events)):
            for length in range(len(writes) + 1):
                if length or not number:
                    yield 'a kill after flush %d and %d writes' % (number, length), settled.copy(), writes[:length]
            for write in writes:
                settled.write(write.offset, write.data)
        yield 'a whole run', settled, []

    def left(self, phase=None):
        """[(what, Medium)] of those kills that leave the LUN in this phase, or of all, with everything on the medium."""
        found = []
        for what, medium, pending in self.kills():
            for write in pending:
                medium.write(write.offset, write.data)
            if phase in (None, self.rules.phase(medium)):
                found.append((what, medium))
        return found

    def second_run(self, effort, start):
        """Count of the crash states of a run on one of `kills`."""
        what, medium, pending = start
        visible = medium.copy()
        for write in pending:
            visible.write(write.offset, write.data)
        recording = scenes.Recording(visible, self.seed + 2, self.scene.options)
        rules = trial.Trial(self.scene, dict(self.rules.stale))
        rules.stale[recording.sr_uuid] = recording.identities
        exploration = states.Exploration(medium, list(pending) + recording.events, effort, self.random, self._seen)
        return self._judge(exploration, rules, 'second run after %s, ' % what)

    def second_runs(self, effort, thorough):
        """Count for all of `kills`; `thorough` is the effort for the first one that leaves the LUN locked."""
        count = Count()
        found = False
        for start in self.kills():
            now = effort
            if not found and [write for write in start[2] if write.step == 'switch 1']:
                found, now = True, thorough
            count.include(self.second_run(now, start))
        return count

    def faults(self):
        """Answers for runs with one I/O error: on the old SR, and on both ends of the locked state."""
        locked = self.left(witness.LOCKED)
        starts = [('the old SR', self.scene.medium()), locked[0], locked[-1]]
        return Answers((name, trouble) for name, _, trouble in faults.explore(self.rules, starts, self.seed + 3))

    def clones(self):
        """Answers for two copies of every prefix that leaves the LUN locked."""
        return Answers(clones.explore(self.rules, self.left(witness.LOCKED)))

    def processes(self, directory):
        """Answers for the command line on every prefix."""
        return Answers(fresh.explore(self.rules, self.left(), directory))

    def real_lvm(self, directory, chosen, shares=2):
        """Answers of real LVM on States, each of which has to look as it does to our reader."""
        def judge(share):
            path = os.path.join(str(directory), 'lvm-%d.img' % share)
            with hostlvm.Host(self.scene.base, path) as host:
                return [(state.what, host.judge(state.medium)) for state in chosen[share::shares]]
        return Answers(_each(pool.run([('%s: real LVM' % self.scene.name, functools.partial(judge, share))
                                       for share in range(shares)])))

    def untouchable(self, directory):
        """Answers for every command of `hostlvm`, which must change nothing on a locked LUN, nor make anything active."""
        medium = self.left(witness.LOCKED)[0][1]

        def attempt():
            with hostlvm.Host(self.scene.base, os.path.join(str(directory), 'locked.img')) as host:
                return [(attempt.name, hostlvm.harm(attempt)) for attempt in host.attempts(medium)]
        return Answers(_each(pool.run([('%s: locked' % self.scene.name, attempt)])))

    def _judge(self, exploration, rules, prefix):
        count = Count()

        def jobs():
            for number, state in enumerate(exploration):
                hashes = state.prefix or number % HASHED == 0
                yield '%s: %s%s' % (self.scene.name, prefix, state.what), functools.partial(rules.judge, state.medium, hashes)
        for name, verdict in pool.run(jobs()):
            count.add(name, verdict)
        count.enumerated = exploration.enumerated
        return count


class Clock(object):
    """Seconds since it was made, for the reader of a report."""

    def __init__(self):
        self._start = time.time()

    def __str__(self):
        return '%.0f s' % (time.time() - self._start)
