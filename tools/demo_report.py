"""report.json and report.html of a demo run: what was measured, and nothing else.

The page stands alone (no script, nothing fetched) and follows the reader's light or dark setting. Everything about the
migration itself comes from `banyan migrate report NAME --json`, so that any migration's evidence can be shown so.
"""
import datetime
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
    ("adoption_compared", "requests compared through the gateway", ""),
    ("rows_compared", "rows compared", ""),
    ("files_compared", "files compared", ""),
    ("sessions_compared", "sessions compared", ""),
    ("files_downloaded", "uploads downloaded and compared with the ledger", ""),
    ("zone_back_s", "killed zone back after", "s"),
    ("seconds", "whole run", "s"),
]
TILES = [  # must be zero?, key, words, what it stands beside
    (False, "requests", "requests of users", None),
    (True, "failed_requests", "failed", None),
    (True, "lost_writes", "of {acknowledged_writes} acknowledged uploads lost", "acknowledged_writes"),
    (True, "duplicated_writes", "duplicated", None),
    (True, "logged_out_users", "users logged out", None),
    (False, "longest_hold_ms", "ms, the longest a request was held", None),
]
STEP_WORDS = {
    "prepare": "way back prepared", "hold": "requests held", "commit-hold": "nothing in flight", "fence": "writes refused",
    "catch-up": "other side has everything", "sequences": "sequences set", "files": "files drained",
    "sessions": "sessions carried", "check": "recent rows compared", "hand-over": "handed over (the decision)",
    "open": "other side may be written", "flip": "routes lead there", "release": "held requests released",
    "turn": "files follow back", "un-fence": "writes allowed again",
}


def write(directory, figures):
    part = directory / "report.json.part"
    part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    part.rename(directory / "report.json")
    (directory / "report.html").write_text(page(figures), encoding="utf-8")


def number(value, unit=""):
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


# ---- pieces of the page --------------------------------------------------------------------------

def safe(text):
    return html.escape(str(text))


def table(head, rows):
    """Columns of numbers, and those without a heading, are set to the right."""
    def cell(tag, text, right):
        return f"<{tag} class=n>{text}</{tag}>" if right else f"<{tag}>{text}</{tag}>"

    right = [not name or all(isinstance(row[i], (int, float)) for row in rows) for i, name in enumerate(head)]
    lines = ["<tr>" + "".join(cell("th", safe(name), right[i]) for i, name in enumerate(head)) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(
            cell("td", safe(value if isinstance(value, str) else number(value)), right[i]) for i, value in enumerate(row)) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def bars(pairs, unit):
    """Horizontal bars, the longest at full width."""
    longest = max([value for _, value in pairs], default=0) or 1
    return "<table class=bars>" + "".join(
        f"<tr><td>{safe(label)}</td><td class=bar><span style='width:{100 * value / longest:.1f}%'></span></td>"
        f"<td class=n>{number(value, unit)}</td></tr>" for label, value in pairs) + "</table>"


def verdict(figures):
    if figures.get("ok"):
        return ("<p class='verdict ok'><b>Moved, moved back and moved again, under load.</b> "
                "Nothing was lost, nobody was logged out, no request failed.</p>")
    problems = "".join(f"<li>{safe(problem)}</li>" for problem in figures.get("problems", []))
    failures = "".join(f"<li>{safe(failure['what'])}</li>" for failure in figures.get("failures", [])[:20])
    return f"<div class='verdict bad'><b>This run failed.</b><ul>{problems}{failures}</ul></div>"


def tiles(figures):
    shown = []
    for must_be_zero, key, words, beside in TILES:
        if key not in figures or (beside and beside not in figures):
            continue
        kind = "" if not must_be_zero else " good" if figures[key] == 0 else " wrong"
        words = words.format(**{name: number(value) for name, value in figures.items() if isinstance(value, int)})
        shown.append(f"<li class='tile{kind}'><b>{number(figures[key])}</b>{safe(words)}</li>")
    return f"<ul class=tiles>{''.join(shown)}</ul>"


def timeline(figures):
    """One strip of the whole run, and what each step was."""
    steps = figures.get("steps", [])
    whole = sum(step["seconds"] for step in steps) or 1
    strip = "".join(f"<span style='flex:{max(step['seconds'] / whole, .012):.4f}' title='{safe(step['title'])}'>{i}</span>"
                    for i, step in enumerate(steps, 1))
    items = "".join(
        f"<li><b>{safe(step['title'])}</b> <i>{number(step['seconds'], 's')}</i><br>{safe(step.get('sentence', ''))}</li>"
        for step in steps)
    return f"<div class=strip>{strip}</div><ol class=steps>{items}</ol>"


# ---- the migration -------------------------------------------------------------------------------

def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def acts_of(migration):
    """[(act id, [(step, begin ms, length ms, outcome)])]: each act's steps from its first hold on, in order."""
    acts = {}
    for event in migration.get("events", []):
        detail = event.get("detail") or {}
        if event.get("kind") == "intent" or event.get("step") == "act" or "us" not in detail:
            continue
        end, length = milliseconds(event["time"]), detail["us"] / 1000
        acts.setdefault(event["act_id"], []).append((event["step"], end - length, length, detail))
    return list(acts.items())


def act(name, steps):
    """A waterfall over the time in which requests were held."""
    held = [step for step in steps if step[0] not in ("prepare", "turn")] or steps
    begin, end = held[0][1], max(start + length for _, start, length, _ in held)
    whole = max(end - begin, 1)
    rows = "".join(
        f"<tr><td>{safe(STEP_WORDS.get(step, step))}</td><td class=fall><span style='margin-left:"
        f"{100 * max(start - begin, 0) / whole:.1f}%;width:{max(100 * length / whole, .6):.1f}%'></span></td>"
        f"<td class=n>{number(length, 'ms')}</td></tr>" for step, start, length, _ in held)
    release = next((detail for step, _, _, detail in steps if step == "release"), {})
    kind = "to the new side" if name.startswith("switch") else "back to the old side"
    failed = [detail.get("error", "") for _, _, _, detail in steps if not detail.get("ok", True)]
    waited = "1 request" if release.get("held") == 1 else f"{number(release.get('held', 0))} requests"
    told = (f"{waited} waited, the longest {number(release.get('longest_hold_ms', 0), 'ms')}; "
            f"{number(release.get('failed', 0))} failed, {number(release.get('refused', 0))} were refused."
            if "held" in release else "")
    note = "".join(f"<p class=wrong>{safe(why)}</p>" for why in failed)
    return (f"<section class=act><h3>{safe(name)}: {kind}, {number(whole, 'ms')}</h3><p>{told}</p>{note}"
            f"<table class=bars>{rows}</table></section>")


def acts(figures):
    return "".join(act(name, steps) for name, steps in acts_of(figures.get("migration", {}))) or "<p>None.</p>"


def compared(figures):
    """What was compared, by what, and how much of it."""
    migration = figures.get("migration", {})
    verified, adoption = migration.get("verified") or {}, migration.get("adoption") or {}
    rows = []
    if adoption:
        rows.append(("Answers, asked directly and through the gateway", adoption["equal"],
                     f"{adoption['equal']} of {adoption['wanted']} equal: " + ", ".join(adoption["paths"])))
    if database := verified.get("database"):
        rows.append(("Rows, old database against new", database["rows"],
                     f"{database['state']}, {len(database['tables'])} tables"))
    for name, files in verified.get("files", {}).items():
        rows.append((f"Files of {name}, directory against bucket, every byte", files["files"],
                     f"{files['state']}, {files['bytes'] / 1e6:.1f} MB"))
    if sessions := verified.get("sessions"):
        rows.append(("Sessions, database against Redis", sessions["sessions"], sessions["state"]))
    if "files_downloaded" in figures:
        rows.append(("Uploads in the users' ledger, downloaded again at the end", figures["files_downloaded"],
                     f"{figures.get('lost_writes', '?')} lost, {figures.get('duplicated_writes', '?')} twice"))
    tables = [(one["table"], one["rows"], "equal" if one["equal"] else "DIFFERENT")
              for one in (verified.get("database") or {}).get("tables", [])]
    each = (f"<details><summary>Each table</summary>{table(('table', 'rows', 'outcome'), tables)}</details>"
            if tables else "")
    accepted = "".join(f"<p class=wrong>Accepted before the copy: {safe(one['id'])}: {safe(one['detail'])}</p>"
                       for one in migration.get("accepted") or [])
    return (table(("what", "how many", "outcome"), rows) if rows else "<p>Nothing.</p>") + each + accepted


def histogram(figures):
    pairs = list(figures.get("latency_histogram_ms", {}).items())
    while pairs and not pairs[-1][1]:
        pairs.pop()
    return bars([(f"to {limit} ms" if limit != "more" else "more", count) for limit, count in pairs], "")


def transcript(figures):
    return "".join(
        f"<details><summary><code>{safe(entry['command'])}</code> &rarr; {entry['exit']}</summary>"
        f"<pre>{safe(chr(10).join(entry['output']))}</pre></details>" for entry in figures.get("transcript", []))


def page(figures):
    began = datetime.datetime.fromtimestamp(figures.get("started_at", 0), datetime.timezone.utc)
    measured = table(("measured", ""), [(words, number(figures[key], unit)) for key, words, unit in FIGURES
                                        if key in figures])
    return PAGE.format(
        when=began.strftime("%-d %B %Y, %H:%M UTC"), size=safe(figures.get("size", "")),
        seconds=number(figures.get("seconds", 0), "s"), verdict=verdict(figures), tiles=tiles(figures),
        timeline=timeline(figures), acts=acts(figures), compared=compared(figures), histogram=histogram(figures),
        measured=measured, transcript=transcript(figures))


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Banyan: report of a move</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --page: #fbfaf7; --card: #fff; --text: #1d2521; --soft: #5d6862; --line: #dfe3df;
  --ok: #17693f; --okbg: #e5f3ea; --bad: #a3261b; --badbg: #fbe9e7; --bar: #3f7f5f; --bar2: #8fb9a3; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #141816; --card: #1c221f; --text: #e6ebe8; --soft: #9aa8a1;
  --line: #313a35; --ok: #7fd3a3; --okbg: #173024; --bad: #f2988d; --badbg: #3a1d1a; --bar: #57a57d; --bar2: #35604b; }} }}
* {{ box-sizing: border-box; }}
body {{ font: 16px/1.55 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }}
h1 {{ font-size: 2.1rem; line-height: 1.15; margin: 0; letter-spacing: -.02em; }}
h2 {{ font-size: 1.25rem; margin: 2.75rem 0 .75rem; }}
h3 {{ font-size: 1rem; margin: 0; }}
p {{ margin: .4rem 0; }}
.sub {{ color: var(--soft); margin: .35rem 0 1.5rem; }}
.verdict {{ border-radius: .6rem; padding: .9rem 1.1rem; font-size: 1.08rem; }}
.ok {{ background: var(--okbg); color: var(--ok); }} .bad {{ background: var(--badbg); color: var(--bad); }}
.tiles {{ list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem;
  padding: 0; margin: 1.25rem 0 0; }}
.tile {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  color: var(--soft); font-size: .9rem; line-height: 1.35; }}
.tile b {{ display: block; font-size: 1.75rem; line-height: 1.3; color: var(--text); font-variant-numeric: tabular-nums; }}
.tile.good b {{ color: var(--ok); }} .tile.wrong b, p.wrong {{ color: var(--bad); }}
.strip {{ display: flex; gap: 2px; height: 1.9rem; }}
.strip span {{ background: var(--bar); color: #fff; font-size: .8rem; display: grid; place-items: center; overflow: hidden;
  min-width: 1.1rem; }}
.strip span:nth-child(even) {{ opacity: .78; }}
.strip span:first-child {{ border-radius: .4rem 0 0 .4rem; }} .strip span:last-child {{ border-radius: 0 .4rem .4rem 0; }}
.steps {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .9rem 2rem;
  padding-left: 1.3rem; color: var(--soft); font-size: .92rem; }}
.steps b {{ color: var(--text); }} .steps i {{ font-style: normal; font-variant-numeric: tabular-nums; float: right; }}
.act {{ background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem; margin: .75rem 0; }}
.act p {{ color: var(--soft); }}
table {{ border-collapse: collapse; width: 100%; font-size: .94rem; }}
th {{ text-align: left; color: var(--soft); font-weight: 500; }}
th, td {{ padding: .34rem .6rem .34rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }}
.bars td {{ border: 0; padding: .16rem .6rem .16rem 0; }} .bars td:first-child {{ white-space: nowrap; width: 1%; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; width: 1%; }}
.bar span, .fall span {{ display: block; height: .85rem; margin-top: .3rem; background: var(--bar); border-radius: .2rem; }}
.fall {{ background: linear-gradient(var(--line), var(--line)) center / 100% 1px no-repeat; }}
details {{ margin: .3rem 0; }} summary {{ cursor: pointer; padding: .15rem 0; }}
pre {{ overflow-x: auto; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--card);
  font-size: .82rem; line-height: 1.4; }}
@media print {{ body {{ background: #fff; }} details {{ display: none; }} .act {{ break-inside: avoid; }} }}
</style></head><body><main>
<h1>A live monolith, moved</h1>
<p class=sub>{when} &middot; size {size} &middot; {seconds} in all, with users working throughout</p>
{verdict}
{tiles}
<h2>What happened</h2>{timeline}
<h2>Each cutover, from the first held request to the last released</h2>{acts}
<h2>What was compared</h2>{compared}
<h2>How long users waited (held requests included)</h2>{histogram}
<h2>All figures</h2>{measured}
<h2>What was typed</h2>
{transcript}
</main></body></html>
"""
