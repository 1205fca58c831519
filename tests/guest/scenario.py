# SPDX-License-Identifier: LGPL-2.1-only
"""A file of in-guest tests (``scenarios/NAME.py``), run in one boot, each of its tests judged by itself on the host.

A test module of the host has:

    BOOT = Scenario("boot")

    @pytest.fixture(scope="module")
    def boot(tmp_path_factory):
        return BOOT.run(tmp_path_factory.mktemp("guest"))

    @pytest.mark.parametrize("check", BOOT.checks())
    def test_in_guest(boot, check):
        boot.assert_passed(check)
"""

import ast
import pathlib
import sys

import pytest
import rig

SCENARIOS = pathlib.Path(__file__).resolve().parent / "scenarios"


class Scenario:
    """scenarios/NAME.py; `ship`, `disks` and the other keyword arguments are those of rig.Job."""

    def __init__(self, name, ship=None, **job):
        self.path = SCENARIOS / (name + ".py")
        self.job = dict(job, ship={"/rig/scenarios": SCENARIOS, **(ship or {})})

    def checks(self):
        """Names of the test functions, its own and imported ones, read from the source: it can be imported in the guest only."""
        tree = ast.parse(self.path.read_text())
        names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
        names += [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
        return [name for name in names if name.startswith("test_")]

    def run(self, results, on_report=None, **job):
        """Boots once and runs every check; skips when no guest can be had, saying why. on_report: as rig.run's."""
        command = f"python3 -m pytest -q --color=no -p inside.reporting -p no:cacheprovider /rig/scenarios/{self.path.name}"
        try:
            outcome = rig.run(rig.Job(command, **{**self.job, **job}), results, on_report=on_report, console_to=sys.stdout)
        except rig.Unavailable as reason:
            pytest.skip(f"no guest: {reason}")
        return Verdict(outcome)


class Verdict:
    """What a scenario reported."""

    def __init__(self, outcome):
        self.outcome = outcome
        self.results = outcome.results

    def assert_passed(self, check):
        """Fails unless the check (every parameter set of it) was reported as passed; skips if the guest skipped it."""
        reports = [r for r in self.outcome.reports if r.get("check", "").split("[")[0] == check]
        assert reports, f"{check} was not reported; {self.outcome}"
        for report in reports:
            if report["outcome"] == "skipped":
                pytest.skip(f"in the guest: {report['detail']}")
            assert report["outcome"] == "passed", f"{report['check']} in the guest:\n{report['detail']}"

    def record(self, name):
        """The value of a record that the scenario reported; None if it did not."""
        values = [r["value"] for r in self.outcome.reports if r.get("record") == name]
        return values[-1] if values else None
