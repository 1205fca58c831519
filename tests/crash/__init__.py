# SPDX-License-Identifier: LGPL-2.1-only
"""Crash exploration: every state in which a killed resign can leave a LUN, and what becomes of each.

* ``medium``: a LUN in memory, as the sectors that differ from a base image;
* ``recorder``: an engine device over a medium that keeps every write and flush in order, and can fail any of them;
* ``states``: from a recording to the crash states: prefixes, subsets of what was not flushed, torn writes;
* ``scenes``: the SRs that are resigned; ``trial``: what must be true of one state; ``witness``: the readers it asks;
* ``faults`` and ``clones``: I/O errors, and an array that clones a LUN in mid-resign;
* ``hostlvm``: real LVM on loop devices;
* ``pool``: one forked process per state; ``fresh``: the command line in a process of its own;
* ``explorer`` and ``run``: the whole of it.

A disk is assumed to write a sector of 512 bytes whole or not at all, and to have everything on the medium when a flush
returns.  Between two flushes it may write what it likes, in any order, or lose it.

``tests/crash/run`` explores everything; ``--help`` says how to explore less.
Runs on Python 2.7 and 3.6 or newer.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'drivers'))
