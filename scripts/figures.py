#!/usr/bin/env python3
"""Prints figures of the source's shape and prose, to look at beside those of other projects.

Usage: scripts/figures.py [--list] [PATH ...]

Without a path: `src`, one row for each folder below it. With `--list`: the doc comments that open
with one of the listed words, and those of three words or fewer, by file and line.
Nothing is held to these figures: prose is judged by reading it.
"""
import re
import statistics
import sys
from pathlib import Path

OPENERS = set(
    "It Its They Their Those Whose That One This Who What How When Why Which Where Whether Of From "
    "So As Until Since By In".split()
)
RELATIVE = re.compile(r"\b(those|who|whom|whose|what)\b", re.IGNORECASE)
COMMENT = re.compile(r"^\s*//([/!]?)\s?(.*)$")
FUNCTION = re.compile(r"^(\s*)(pub(\([a-z]+\))? )?(const )?(async )?fn \w+")


def without_tests(text):
    """The source up to its inline tests."""
    return text.split("\n#[cfg(test)]\nmod tests {")[0]


def docs(lines):
    """Each doc comment as (line number, text): the first paragraph of a run of `///` or `//!`."""
    run, start = [], 0
    for number, line in enumerate([*lines, ""], 1):
        match = COMMENT.match(line)
        if match and match[1]:
            start = start if run else number
            run.append(match[2])
        elif run:
            first = " ".join(run).strip() if "" not in run else " ".join(run[: run.index("")]).strip()
            if first:
                yield start, first
            run = []


def functions(lines):
    """The length in lines of each function."""
    for number, line in enumerate(lines):
        match = FUNCTION.match(line)
        if not match or line.rstrip().endswith(";"):
            continue
        end = match[1] + "}"
        for length, later in enumerate(lines[number:], 1):
            if later == end or (length == 1 and later.rstrip().endswith("}")):
                yield length
                break


def row(name, files, listed):
    sizes, lengths, words, relative, found, opens, short = [], [], 0, 0, 0, 0, 0
    wide = code = 0
    for path in files:
        lines = without_tests(path.read_text()).splitlines()
        sizes.append(len(lines))
        lengths.extend(functions(lines))
        code += len(lines)
        wide += sum(len(line) > 100 for line in lines)
        text = " ".join(match[2] for match in map(COMMENT.match, lines) if match)
        words += len(text.split())
        relative += len(RELATIVE.findall(text))
        for number, doc in docs(lines):
            found += 1
            opens_badly = re.split(r"\W", doc, maxsplit=1)[0] in OPENERS
            is_short = len(doc.split()) <= 3
            opens += opens_badly
            short += is_short
            if listed and (opens_badly or is_short):
                print(f"{path}:{number}: {doc}")
    share = lambda part, whole: 100 * part / max(whole, 1)
    ninetieth = lambda values: sorted(values)[len(values) * 9 // 10] if values else 0
    median = lambda values: statistics.median(values) if values else 0
    print(
        f"{name:12} {len(sizes):5} {sum(sizes):6}   {median(sizes):5.0f} {ninetieth(sizes):4} {max(sizes, default=0):5}"
        f"   {median(lengths):4.0f} {ninetieth(lengths):4} {max(lengths, default=0):4}"
        f"   {found:5} {share(opens, found):5.1f} % {share(short, found):5.1f} %"
        f"   {10000 * relative / max(words, 1):5.0f}   {wide:4}"
    )


def main():
    listed = "--list" in sys.argv
    given = [Path(argument) for argument in sys.argv[1:] if argument != "--list"]
    roots = given or sorted(path for path in Path("src").iterdir() if path.is_dir()) + [Path("src")]
    print(
        "                          file lines           function lines   docs          three words  those, what …\n"
        "             files  lines  median  p90   max   med.  p90  max          openers   or fewer  in 10,000  over 100"
    )
    for root in roots:
        row(str(root), sorted(root.rglob("*.rs")) if root.is_dir() else [root], listed)


if __name__ == "__main__":
    main()
