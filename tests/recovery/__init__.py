# SPDX-License-Identifier: LGPL-2.1-only
"""A clone of a busy SR, at any instant: what a resign makes of it beside what sm's own recovery makes of it.

A trace is a directory with every write that a real sm made on a LUN, in order (`traces`). At each instant of it there are two copies
of the LUN. One is resigned by the engine and attached once by sm, with an xapi that knows nothing of it (`ours`). The other one
is left as it is; sm attaches it as often as it needs, with an xapi that still knows the VDIs, as after a power cut (`theirs`). Then both
collect garbage. Every VDI that was there before the operation and is there after it must read the same on both, and as the trace's facts
say. What else differs is named (`judge.DESIGNED`) or is a failure.

    make recovery TRACES=<directory> SM_TREE=<a checkout of sm> [VHD_UTIL=<path>]
"""
