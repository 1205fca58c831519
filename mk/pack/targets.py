# SPDX-License-Identifier: LGPL-2.1-only
"""The releases that packages are made for, and what differs between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One flavour of dom0.

    `key` ends the RPM's release; the keys sort (as rpm compares them) in the order of the releases.
    `python` is the interpreter in the first line of the host's own drivers.
    `digest` is the number of the algorithm of the file digests (1 MD5, 8 SHA-256), as in RFC 4880.
    `sm` is what the package requires of the storage manager. Only a lower bound where a newer sm can reach a host
    through its ordinary updates: an upper one would block them.
    `format` is the ISO's: 'pack' (XS-REPOSITORY) or 'update' (update.xml).
    `sm_entries` are the directories that xapi may search for drivers.
    `file_triggers` says whether this dom0's rpm runs triggers on files (since rpm 4.13).
    """

    key: str
    title: str
    iso: str
    format: str
    python: str
    digest: int
    sm: str
    sm_entries: tuple[str, ...] = ('/opt/xensource/sm',)
    file_triggers: bool = False

    @property
    def python_major(self) -> str:
        return '3' if self.python.endswith('3') else '2'


TARGETS = (
    # rpm 4.4 knows MD5 file digests only; the same RPM serves 7.0, whose packs have the same format.
    Target('el5', 'XenServer 6.5 and 7.0', 'xenserver-6.5-7.0', 'pack', '/usr/bin/python', 1, 'sm < 3'),
    Target('el7', 'XenServer 7.1 to 8.2 and XCP-ng up to 8.2', 'xenserver-7.1-8.2', 'update', '/usr/bin/python', 8, 'sm < 3'),
    Target('xs8', 'XenServer 8 and XCP-ng 8.3', 'xenserver-8', 'update', '/usr/bin/python3', 8, 'sm >= 3'),
    # /opt/xensource/sm is a compatibility directory there; xapi can be told to search sm's own.
    Target('xs9', 'hosts with sm 4', 'sm-4', 'update', '/usr/bin/python3', 8, 'sm >= 4',
           sm_entries=('/opt/xensource/sm', '/usr/libexec/sm/drivers'), file_triggers=True),
)

# Packages that bring a list of storage plugins, by name: a trigger on files would catch all, but rpm in dom0 is older.
LIST_OWNERS = ('xapi-core', 'sm', 'xcp-ng-linstor', 'sm-additional-drivers', 'sm-additional-rbd')
