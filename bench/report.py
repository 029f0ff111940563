"""Writes the report from the results: plain Markdown, misses as plain as hits."""

from collections.abc import Mapping, Sequence

from bench.peers import Peer
from bench.rows import Result
from bench.rows.base import Table, Verdict

COMMAND = "make bench"


def _table(lines: Sequence[Sequence[str]]) -> str:
    heading, *rest = [["" if cell is None else cell for cell in line] for line in lines]
    marks = ["---", *("---:" for _ in heading[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, marks, *rest))


def _verdict(verdict: Verdict) -> str:
    if verdict.met:
        return f"* met: {verdict.goal}: {verdict.measured}"
    bound = f" (bounded by: {verdict.bound})" if verdict.bound else ""
    return f"* **missed**: {verdict.goal}: {verdict.measured}{bound}"


def _section(key: str, result: Result) -> str:
    parts = [f"## {result.title}", result.how]
    parts += [_table(table.lines) for table in result.tables if isinstance(table, Table)]
    parts.append("\n".join(map(_verdict, result.verdicts)))
    parts.append(f"`python -m bench --only {key}`, {result.runs} rounds, {result.date}")
    return "\n\n".join(parts)


def _summary(results: Mapping[str, Result]) -> str:
    lines = [["goal", "measured", "met"]]
    for result in results.values():
        for verdict in result.verdicts:
            met = "yes" if verdict.met else "**no**"
            lines.append([f"{result.title}: {verdict.goal}", verdict.measured, met])
    return _table(lines)


def describe_tools(
    versions: Mapping[str, str], kinds: Sequence[type[Peer]], missing: Mapping[str, str]
) -> str:
    """A table of the tools that were there, and why the others were not."""
    lines = [["tool", "version", "as it was run"]]
    lines += [[kind.name, versions[kind.name], kind.note] for kind in kinds]
    text = _table(lines)
    for name, reason in missing.items():
        text += f"\n\nNot measured: {name}: {reason}."
    return text


def write(
    machine: Mapping[str, str],
    tools: str,
    results: Mapping[str, Result],
    plots: Mapping[str, str],
    *,
    quick: bool,
) -> str:
    """The whole report."""
    facts = _table([["machine", ""], *([name, value] for name, value in machine.items())])
    how = (
        f"Made by `{COMMAND}`; each row by the command below it. Every measured command runs in "
        "turns with what it is compared with (A B A B); the system's dirty pages are written out "
        "before each; the page cache is warm; times are wall times of whole commands unless the "
        "row says otherwise; a ratio is the median over the rounds of our time over theirs in the "
        "same round, with the smallest and largest. Every result is compared with the original "
        "byte for byte. Tables in which slow tools take part have at most 3 rounds, the folder 2. "
        "Peaks of memory are the kernel's, of the largest part of the command; they cannot show "
        "less than the benchmark's own memory, about 30 MiB. Compare numbers only within a table."
    )
    if quick:
        warning = "**A quick run on small files: it checks the benchmark, its times mean nothing.**"
        how = f"{warning}\n\n{how}"
    parts = ["# Benchmarks", how, "## Goals", _summary(results), "## Machine", facts]
    parts += ["## Tools", tools]
    parts += [f"![{words}]({name})" for name, words in plots.items()]
    parts += [_section(key, result) for key, result in results.items()]
    return "\n\n".join(parts) + "\n"
