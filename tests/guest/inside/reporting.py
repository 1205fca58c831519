# SPDX-License-Identifier: LGPL-2.1-only
"""Reports to the host: JSON lines over the second serial line, which survive whatever happens to the guest afterwards.

As a pytest plugin (``-p inside.reporting``) it reports the outcome of every test: {"check": name, "outcome": "passed",
"failed" or "skipped", "seconds": s, "detail": text}; a failing fixture counts as its test's failure.
"""

import json
import os
import termios

LINE = "/dev/ttyS1"


def report(**fields):
    """Sends one report; it has left the guest when this returns."""
    line = (json.dumps(fields) + "\n").encode()
    descriptor = os.open(LINE, os.O_WRONLY | os.O_NOCTTY)
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        # The driver's buffer would be lost in a power cut.
        termios.tcdrain(descriptor)
    finally:
        os.close(descriptor)


def record(name, value):
    """Reports a fact that was measured, for the host's tests to judge or to print."""
    report(record=name, value=value)


def cut_power():
    """Resets the machine at once: nothing is synchronised, no device is told. The rig takes that as the power cut it is."""
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("b")


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        _send(report)


def _send(result):
    report(
        check=result.nodeid.split("::", 1)[1],
        outcome=result.outcome,
        seconds=round(result.duration, 3),
        detail=result.longreprtext[-8000:],
    )
