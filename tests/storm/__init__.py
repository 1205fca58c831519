# SPDX-License-Identifier: LGPL-2.1-only
"""Many clones of one attached original, resigned at once on one dom0 double, with LVM at work on the original meanwhile.

* ``run``: the program; ``clones``: the array, the host and the clones; ``watch``: what is looked at while they are resigned;
  ``figures``: what that is measured by. The same in the guest: tests/guest/storm.
"""
