# SPDX-License-Identifier: LGPL-2.1-only
"""Gives a cloned LVHD storage repository an identity of its own."""

__version__ = '1.1.0'
# Who gets reports: shown by the plugin's fn=version and as the RPM's packager. Whoever builds and hands on the pack puts an address here
MAINTAINER = 'relvmoiscsi project'
