# SPDX-License-Identifier: LGPL-2.1-only
"""sm looks at the iSCSI sessions of the whole host in two steps, a list and then each of them. Where one of somebody else's goes away in
between, sm fails, and the LUN that was asked for has nothing to do with it: the look is repeated.
"""

import errno
import time

from relvm import errors

LOOKS = 5
PAUSE = 0.5
_SESSIONS = '/class/iscsi_'


def vanished(error):
    """True for the exceptions that say that something in sysfs was there, and then was not (iscsilib.get_targetIQN takes the first of a
    list of none; util.get_single_entry opens a file)."""
    if isinstance(error, IndexError):
        return True
    return isinstance(error, EnvironmentError) and error.errno in (errno.ENOENT, errno.ENODEV, errno.EINVAL) and \
        _SESSIONS in str(error.filename)


def repeated(log, look, *arguments):
    """What look(*arguments) answers, which is called again after such an exception, LOOKS times at most. log: function (line)."""
    for _ in range(LOOKS - 1):
        try:
            return look(*arguments)
        except Exception:
            error = errors.current()
            if not vanished(error):
                raise
        log('something vanished while sm looked at it, and it is asked to look again: %s' % errors.printable(error))
        time.sleep(PAUSE)
    return look(*arguments)
