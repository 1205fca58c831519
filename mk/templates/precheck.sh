#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-only
# Run by xapi on each host before the update is applied: does this host's own LVM over iSCSI driver run in the Python
# that this update is made for?
entry=/opt/xensource/sm/LVMoISCSISR
first=
[ -r $entry ] && read -r first < $entry
case $first in
    *python3*) found=3 ;;
    *python*) found=2 ;;
    *) found=none ;;
esac
[ $found = @PYTHON_MAJOR@ ] && exit 0
echo '<error errorcode="UPDATE_PRECHECK_FAILED_WRONG_SERVER_VERSION">'
echo "<found>storage manager in Python $found</found>"
echo '<required>storage manager in Python @PYTHON_MAJOR@ (@TITLE@)</required></error>'
exit 1
