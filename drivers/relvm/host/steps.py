# SPDX-License-Identifier: LGPL-2.1-only
"""What the SM log gets about a run: each step with its duration, and when what happened to the LUN."""

import time

from relvm.engine import resign
from relvm.host import smcompat


class Steps(resign.Progress):
    """Logs each step with its duration, and lets LVM go on with the original once the LUN does not look like it any more.

    lun: access.Access; say: a function (line) that gets them
    """

    def __init__(self, lun, say=smcompat.log):
        self._lun = lun
        self.say = say
        self._name = ''
        self._since = time.time()

    def step(self, name):
        self.end()
        self._name = name
        self._since = time.time()
        self._lun.touch()

    def end(self):
        """The last step is over."""
        if self._name:
            self.say('%s: %s took %.3f s' % (self._lun.scsi_id, self._name, time.time() - self._since))
        self._name = ''

    def planned(self, names):
        # whoever does the work, and when: nothing is written that this host's sm would lose
        smcompat.refuse_images(names)
        if self._lun.question is not None:
            self._lun.question.check(self.say)

    def switched(self):
        self._lun.guard.note('switch 1')
        self._lun.guard.unlock()


def times(begin, noted):
    """What happened when, as words. begin: seconds since the epoch; noted: [(what, seconds since the epoch)]."""
    return ', '.join(['%s after %.3f s' % (what, when - begin) for what, when in noted])
