# SPDX-License-Identifier: LGPL-2.1-only
"""Stand-ins for dom0's commands.

Each module has ``main(root, argv)``: `root` is the double's directory, `argv` the command line with
the command's name first; it returns the exit status. The world writes a small script for each command
which calls it, so the commands are real processes with real exit codes.
"""
