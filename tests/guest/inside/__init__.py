# SPDX-License-Identifier: LGPL-2.1-only
"""What a job uses inside the guest: an iSCSI array, an initiator, device-mapper and LVM as a dom0 has them."""
