# SPDX-License-Identifier: LGPL-2.1-only
"""An I/O error at the K-th read, write or flush of a run, for every K, and the run after it."""
from __future__ import absolute_import, division, print_function, unicode_literals

import functools
import traceback

from crash import pool, recorder, scenes, witness
from crash.trial import Trial
from relvm import errors, identity
from relvm.engine import resign

REPEATABLE = 'Repeat the command'
WAYS = (recorder.NOTHING, recorder.HALF, recorder.ALL)
# Faults for one process
SHARE = 40


def faults(counts):
    """Every single Fault of a run with so many operations of each kind."""
    for operation in sorted(counts):
        for number in range(1, counts[operation] + 1):
            for way in WAYS if operation == 'write' else ('',):
                yield recorder.Fault(operation, number, way)


class Sufferer(object):
    """Runs on one Medium, each with another error.

    rules: trial.Trial; start: Medium; seed: of the identities that all of these runs would give.
    """

    def __init__(self, rules, start, seed):
        self.start = start
        self.seed = seed
        self.whole = scenes.Recording(start, seed, rules.scene.options)
        self.rules = Trial(rules.scene, dict(rules.stale))
        self.rules.stale[self.whole.sr_uuid] = self.whole.identities
        # A start is a crash state by itself and has been judged as one
        self._judged = set([start.key()])

    def suffer(self, fault):
        """One run with one error, then what must be true; returns the error's class name.  Raises witness.Wrong.

        The error says that the LUN is safe and to repeat the command, or it is a refusal that has written only what nobody
        reads.  What is left, with all that the run wrote and with only what it flushed, is finished by the next run.
        """
        medium = self.start.copy()
        device = recorder.Recorder(medium, fault)
        try:
            scenes.determined(self.seed, lambda: resign.resign(device, identity.new_uuid(), scsi_id=scenes.SCSI_ID,
                                                                   **self.rules.scene.options))
        except errors.ResignError as error:
            answer = error
        else:
            raise witness.Wrong('it went unnoticed')
        finally:
            device.close()
        self._check_answer(answer, medium)
        flushed = self.start.copy()
        for write in sum(recorder.stretches(device.events)[:-1], []):
            flushed.write(write.offset, write.data)
        for left in (medium, flushed):
            if left.key() not in self._judged:
                self._judged.add(left.key())
                found = pool.alone(functools.partial(self.rules.judge, left))
                if found.trouble:
                    raise witness.Wrong('after %s: %s' % (answer, found.trouble))
        return answer.code()

    def suffer_all(self, chosen):
        """[(Fault, error's class name or '', trouble or '')]"""
        found = []
        for fault in chosen:
            try:
                found.append((fault, self.suffer(fault), ''))
            except Exception:
                found.append((fault, '', traceback.format_exc()))
        return found

    def _check_answer(self, answer, medium):
        sentence = str(answer)
        if isinstance(answer, errors.Interrupted):
            if REPEATABLE not in sentence:
                raise witness.Wrong('it does not say what to do: %s' % sentence)
        elif not isinstance(answer, errors.Refused):
            raise witness.Wrong('%s is neither a refusal nor an interruption' % answer.code())
        elif witness.the_vg(self.start.file()) == (self.rules.scene.sr_uuid, False):
            if self.rules.phase(medium) != witness.OLD:
                raise witness.Wrong('refused, but the LUN is not the old SR: %s' % sentence)
        elif medium.key() != self.start.key():
            raise witness.Wrong('refused, but the LUN was written: %s' % sentence)


def explore(rules, starts, seed):
    """Yield (name, error's class name, trouble) for every fault of runs on each (what, Medium) of `starts`."""
    def jobs():
        for what, start in starts:
            sufferer = Sufferer(rules, start, seed)
            chosen = list(faults(sufferer.whole.counts))
            parts = max(1, len(chosen) // SHARE)
            for part in range(parts):
                yield '%s: %s' % (rules.scene.name, what), functools.partial(sufferer.suffer_all, chosen[part::parts])
    for name, answers in pool.run(jobs()):
        if isinstance(answers, pool.JobDied):
            yield name, '', str(answers)
            continue
        for fault, code, trouble in answers:
            yield ('%s, %s %d fails %s' % ((name,) + tuple(fault))).strip(), code, trouble
