# SPDX-License-Identifier: LGPL-2.1-only
"""Hostile LUNs.

* ``luns``: the small SRs that everything here starts from; ``media``: a LUN in a file, or in memory as the engine's device;
* ``edit``: changes one structure of a LUN and makes its checksums right again; ``locked``: the same for what an interrupted resign left;
* ``rows`` and ``rows_*``: the table of bad inputs, each with the sentence that must come of it, for test_bad_inputs;
* ``choices``, ``mutate``, ``bases``: random changes; ``oracle``: what must hold for every LUN; ``parts`` and ``cases``: one case of the
  fuzzers, which test_fuzz runs for seconds and ``run`` for as long as one likes.
"""
