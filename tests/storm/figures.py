# SPDX-License-Identifier: LGPL-2.1-only
"""What a storm is measured by: the figures, the table and the targets."""
from __future__ import absolute_import, division, print_function

import re

_TIME = re.compile(r"(device there|lock taken|switch 1|lock released|attach returned) after ([0-9.]+) s")
TARGET = 0.5
HEAD = ('multipathing', 'clones', 'resigned', 'before attach returned', 'total, s', 'lock held per clone, s: median, longest',
        'in one piece, s', 'an LVM command waited, s', 'visible under the old identity, s: median, longest', 'LVM commands')


class Storm(object):
    """The figures of one storm; times are seconds.

    clones; succeeded; errors [text]; total; held [per clone]; piece (the longest in one); waited (an LVM command, longest);
    visible [per clone]; early (how many were resigned before sm's attach returned); left [what is left on the host]; commands
    """

    def __init__(self, clones):
        self.clones = clones
        self.succeeded = self.early = self.total = self.piece = self.waited = self.commands = 0
        self.errors, self.held, self.visible, self.left = [], [], [], []

    def read_log(self, log, scsi_ids):
        """What the SM log says of each clone."""
        for scsi_id in scsi_ids:
            lines = [line for line in log.splitlines() if "relvmoiscsi: %s: " % scsi_id in line and "attach returned after" in line]
            if not lines:
                continue
            seen = [(what, float(when)) for what, when in _TIME.findall(lines[-1])]
            names = [what for what, _ in seen]
            self.early += "switch 1" in names[:names.index("attach returned")]
            taken = [when for what, when in seen if what == "lock taken"]
            released = [when for what, when in seen if what == "lock released"]
            pieces = [end - begin for begin, end in zip(taken, released)]
            self.held.append(sum(pieces))
            self.piece = max([self.piece] + pieces)

    def watched(self, visible, waiting, commands):
        """What the watch.Watchers saw."""
        self.visible = sorted(visible.seconds.values())
        self.waited = max(waiting.waits or [0])
        self.commands = commands.count
        self.left.extend("an LVM command on the original failed: %s" % (failure,) for failure in commands.failed[:1])


def row(result, multipath):
    return ['on' if multipath else 'off', str(result.clones), str(result.succeeded), str(result.early), '%.1f' % result.total,
            middle_and_last(result.held), '%.3f' % result.piece, '%.3f' % result.waited, middle_and_last(result.visible),
            str(result.commands)]


def middle_and_last(values):
    values = sorted(values) or [0]
    return '%.3f, %.3f' % (values[len(values) // 2], values[-1])


def judged(result, multipath):
    """[sentence]: what is not as it has to be."""
    found = ['%d clones: %s' % (result.clones, error) for error in result.errors + result.left]
    if result.succeeded != result.clones:
        found.append('%d of %d clones were resigned' % (result.succeeded, result.clones))
    if not multipath:
        if result.piece > TARGET:
            found.append('%d clones: the lock was held for %.3f s in one piece' % (result.clones, result.piece))
        if result.clones == 1 and max(result.visible or [0]) > TARGET:
            found.append('one clone was visible under its old identity for %.3f s' % max(result.visible))
        if result.clones == 1 and result.waited > TARGET:
            found.append('one clone: an LVM command on the original waited for %.3f s' % result.waited)
    return found
