"""report.json and report.html of a demo run: what was measured, and nothing else."""
import html
import json

FIGURES = [  # key, words, unit
    ("requests", "requests", ""),
    ("failed_requests", "requests failed", ""),
    ("logged_out_users", "users logged out", ""),
    ("acknowledged_writes", "uploads acknowledged", ""),
    ("lost_writes", "acknowledged uploads lost", ""),
    ("duplicated_writes", "uploads duplicated", ""),
    ("interrupted_requests", "requests that broke off inside the killed zone (writes were repeated)", ""),
    ("held_requests", "requests held during switch and reverse", ""),
    ("longest_hold_ms", "longest hold", "ms"),
    ("longest_wait_ms", "longest wait of a user", "ms"),
    ("p50_ms", "median wait", "ms"),
    ("p99_ms", "99 % waited less than", "ms"),
    ("rows_compared", "rows compared", ""),
    ("files_compared", "files compared", ""),
    ("sessions_compared", "sessions compared", ""),
    ("files_downloaded", "uploads downloaded and compared with the ledger", ""),
    ("zone_back_s", "killed zone back after", "s"),
    ("seconds", "whole run", "s"),
]


def write(directory, figures):
    part = directory / "report.json.part"
    part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    part.rename(directory / "report.json")
    (directory / "report.html").write_text(page(figures), encoding="utf-8")


def number(value, unit):
    text = f"{value:,.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"
    return f"{text} {unit}".strip()


def summary(figures):
    lines = ["SUMMARY"]
    lines += [f"  {number(figures[key], unit):>12}  {words}" for key, words, unit in FIGURES if key in figures]
    if figures.get("ok"):
        lines.append("OK: nothing was lost, nobody was logged out, no request failed.")
    else:
        lines += [f"FAILED: {problem}" for problem in figures.get("problems", ["unfinished"])]
    return "\n".join(lines)


def rows(pairs):
    return "\n".join(f"<tr><td>{html.escape(str(left))}</td><td class=n>{html.escape(str(right))}</td></tr>"
                     for left, right in pairs)


def bars(pairs, unit):
    """Horizontal bars, the longest at full width."""
    longest = max([value for _, value in pairs], default=0) or 1
    return "\n".join(
        f"<tr><td>{html.escape(label)}</td><td class=bar><span style='width:{100 * value / longest:.1f}%'></span></td>"
        f"<td class=n>{number(value, unit)}</td></tr>" for label, value in pairs)


def histogram(figures):
    pairs = list(figures.get("latency_histogram_ms", {}).items())
    while pairs and not pairs[-1][1]:
        pairs.pop()
    return bars([(f"to {limit} ms" if limit != "more" else "more", count) for limit, count in pairs], "")


def transcript(figures):
    return "\n".join(
        f"<details><summary><code>{html.escape(entry['command'])}</code> &rarr; {entry['exit']}</summary>"
        f"<pre>{html.escape(chr(10).join(entry['output']))}</pre></details>"
        for entry in figures.get("transcript", []))


def verdict(figures):
    if figures.get("ok"):
        return "<p class=ok>Nothing was lost, nobody was logged out, no request failed.</p>"
    problems = "".join(f"<li>{html.escape(problem)}</li>" for problem in figures.get("problems", []))
    failures = "".join(f"<li>{html.escape(failure['what'])}</li>" for failure in figures.get("failures", [])[:20])
    return f"<div class=bad><p>This run failed.</p><ul>{problems}{failures}</ul></div>"


def page(figures):
    measured = rows((words, number(figures[key], unit)) for key, words, unit in FIGURES if key in figures)
    steps = bars([(step["title"], step["seconds"]) for step in figures.get("steps", [])], "s")
    return PAGE.format(verdict=verdict(figures), measured=measured, steps=steps, histogram=histogram(figures),
                       transcript=transcript(figures))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Banyan: report of a move</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --ok: #1a7f4b; --bad: #b3261e; --bar: #4a7fb5; --line: #8884; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ padding: .25rem .5rem; border-bottom: 1px solid var(--line); }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.bar {{ width: 45%; }} .bar span {{ display: block; height: .8rem; background: var(--bar); border-radius: .2rem; }}
.ok, .bad {{ border-left: .4rem solid var(--ok); padding: .5rem 1rem; font-size: 1.1rem; }}
.bad {{ border-color: var(--bad); }}
pre {{ overflow-x: auto; padding: .5rem 1rem; border: 1px solid var(--line); }}
</style></head><body>
<h1>A live monolith, moved</h1>
{verdict}
<h2>Measured</h2><table>{measured}</table>
<h2>Time of each step</h2><table>{steps}</table>
<h2>How long users waited (requests, held ones included)</h2><table>{histogram}</table>
<h2>What was typed</h2>
{transcript}
</body></html>
"""
