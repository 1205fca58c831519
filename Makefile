# SPDX-License-Identifier: LGPL-2.1-only
# What can be made. `make demo` and `make test` set up what they need by themselves.

PYTHON ?= python3
OUT ?= build/pack

.PHONY: help demo test test-quick lint guest-test guest-sm test-sm test-on crash fuzz instants recovery storm bench rpm iso clean
.PHONY: mutants coverage release lab lab-double

help:
	@sed -n 's/^## //p' Makefile

## demo        a clone gets its new identity, is killed half-way, and is finished; needs no root
demo:
	$(PYTHON) mk/demo

## test        every test, on Python 2.7, 3.6 and the newest that is found, in the guest as well
test:
	$(PYTHON) mk/test

## test-quick  the same without the guest
test-quick:
	$(PYTHON) mk/test --no-guest

## lint        ruff on everything, vermin on what runs in dom0
lint:
	$(PYTHON) mk/test --lint

## guest-test  real iSCSI, device-mapper and LVM in an emulated guest
guest-test:
	$(PYTHON) mk/test --guest

## guest-sm    a real sm in that guest: make guest-sm SM_TREE=... [VHD_UTIL=...] [QCOW2_HELPER=...] [GUEST_CLONES=50]
guest-sm:
	SM_TREE=$(SM_TREE) VHD_UTIL=$(VHD_UTIL) QCOW2_HELPER=$(QCOW2_HELPER) GUEST_CLONES=$(GUEST_CLONES) $(PYTHON) mk/test --run -m pytest -q tests/guest/test_real_sm.py

## test-sm     the driver's tests against a checkout of sm: make test-sm SM_TREE=...
test-sm:
	SM_TREE=$(SM_TREE) $(PYTHON) mk/test --sm

## test-on     the engine and the driver on another Python: make test-on VERSION=3.9
test-on:
	$(PYTHON) mk/test --on $(VERSION)

## crash       every crash state of every SR shape (half an hour)
crash:
	$(PYTHON) mk/test --run tests/crash/run

## fuzz        hostile LUNs, for as long as FUZZ_SECONDS says
fuzz:
	$(PYTHON) mk/test --run tests/fuzz/run

## instants    every instant of the traces of real sm in tests/data, resigned; TRACES=<directory> for others
instants:
	INSTANTS=all $(PYTHON) mk/test --run -m pytest -q -p no:cacheprovider tests/engine/test_instants.py

## recovery    clones of a busy SR, resigned, beside sm's own recovery of them: make recovery TRACES=... SM_TREE=... [VHD_UTIL=...]
recovery:
	TRACES=$(TRACES) SM_TREE=$(SM_TREE) VHD_UTIL=$(VHD_UTIL) $(PYTHON) mk/test --run tests/recovery/run $(RECOVERY)

## storm       many clones of one attached original at once, with sm's sleeps at full length: on doubles, into build/storm, and in the guest
storm:
	$(PYTHON) mk/test --run tests/storm/run
	$(PYTHON) mk/test --run tests/guest/storm

## lab         a resign on a real host with a real array, and a report of it: see docs/testing.md. make lab-double: on a double of a host
lab:
	@HOST="$(HOST)" ERASE="$(ERASE)" CONFIG="$(CONFIG)" HOOK="$(HOOK)" $(PYTHON) tests/lab/run

lab-double:
	LAB_KIT=1 $(PYTHON) mk/test --run -m pytest -q -p no:cacheprovider tests/lab

## bench       the figures of docs/design.md, into build/bench, and what a slow medium makes of them
bench:
	$(PYTHON) mk/test --run tests/bench/run
	$(PYTHON) mk/test --run tests/bench/latency

## mutants     tests of the tests: MUTANTS=100 (0: all) changes in formats and engine, SEED=1, WORKERS=<CPUs>
mutants:
	MUTANTS=$(MUTANTS) SEED=$(SEED) WORKERS=$(WORKERS) $(PYTHON) tests/mutants/run

## coverage    branch coverage of drivers/ by the suites of the newest Python, into build/coverage
coverage:
	$(PYTHON) mk/coverage

## rpm         one RPM per release, into OUT
rpm:
	$(PYTHON) mk/build rpm OUT=$(OUT) GPG_KEY=$(GPG_KEY)

## iso         the pack's ISO images, into OUT; GPG_KEY signs the update image
iso:
	$(PYTHON) mk/build iso OUT=$(OUT) GPG_KEY=$(GPG_KEY)

## release     all of it signed, with lists of files, sums and a signed tag: make release GPG_KEY=<key>; see docs/releasing.md
release:
	$(PYTHON) mk/release OUT=$(or $(RELEASE_OUT),build/release) GPG_KEY=$(GPG_KEY)

## clean       what was built; downloads and environments stay
clean:
	rm -rf build/pack build/bench build/storm build/test
