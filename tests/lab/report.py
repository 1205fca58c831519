# SPDX-License-Identifier: LGPL-2.1-only
"""The report: Markdown that can be published. Versions, verdicts, timings; no names, addresses, ids or secrets.

What is known to be private is replaced first, wherever it stands; then whatever looks like it.
"""

import re

SHAPES = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.I), "uuid"),
    # LVM's own ids
    (re.compile(r"\b\w{6}(?:-\w{4}){5}-\w{6}\b"), "LVM id"),
    (re.compile(r"\b(?:iqn\.[0-9]{4}-[0-9]{2}\.|eui\.|naa\.)[^\s,;'\"|)]+", re.I), "target"),
    (re.compile(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b(?::[0-9]+)?"), "address"),
    (re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])", re.I), "address"),
    (re.compile(r"\b[0-9a-f]{16,33}\b", re.I), "LUN"),
    (re.compile(r"[\w.+-]+@[\w.-]+"), "mail"),
]


class Mask:
    """private: {text: kind}; each gets a number of its own within its kind, wherever it turns up."""

    def __init__(self, private=()):
        self.private = dict(private)
        self._names = {}

    def add(self, text, kind):
        if text:
            self.private[text] = kind

    def __call__(self, text):
        # the longest first: one may be a part of another
        for known in sorted(self.private, key=len, reverse=True):
            text = re.sub(r"(?<!\w)%s(?!\w)" % re.escape(known),
                          lambda found, kind=self.private[known]: self._name(found.group(0), kind), text)
        for shape, kind in SHAPES:
            text = shape.sub(lambda found, kind=kind: self._name(found.group(0), kind), text)
        return text

    def _name(self, text, kind):
        same = self._names.setdefault(kind, {})
        return f"<{kind} {same.setdefault(text.lower(), len(same) + 1)}>"


def table(head, rows):
    """A Markdown table."""
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |"
    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)]) + "\n"


def markdown(lab, mask, day):
    """The whole report. lab: story.Lab."""
    count = {verdict: len([point for point in lab.points if point["verdict"] == verdict]) for verdict in ("ok", "failed", "not done")}
    result = "all is well" if not count["failed"] else "%d of %d points failed" % (count["failed"], len(lab.points))
    text = "# Lab report of relvmoiscsi %s: %s\n\n" % (lab.facts.get("relvmoiscsi", "(unknown)"), result)
    text += "%s; %d points ok, %d failed, %d not done.\n\n" % (day, count["ok"], count["failed"], count["not done"])
    text += table(["what", "which"], list(lab.facts.items()))
    text += "\n## Points\n\n"
    text += table(["point", "verdict", "seconds", "remark"],
                  [(point["name"], point["verdict"], "%.1f" % point["seconds"], point["sentence"]) for point in lab.points])
    if lab.selftest and lab.selftest["points"]:
        text += "\n## Selftest of the host\n\n"
        text += table(["point", "verdict", "seconds", "remark"],
                      [(point["name"], "ok" if point["ok"] else "failed", point["seconds"], point["sentence"])
                       for point in lab.selftest["points"]])
    return mask(text).replace("<", "&lt;")
