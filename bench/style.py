"""The style of the page, light or dark as the reader has it."""

CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #22272e; --soft: #5b6470; --line: #dde1e6;
  --good: #00694d; --bad: #a50e1b; --open: #8a5a00; --wash-good: #e9f6f1; --wash-bad: #fdecee; --wash-open: #fdf4e1;
  --ours: #0072b2; --ours-light: #7fb8d9; --ours-wash: #eaf4fa; --other: #8d96a0; --other-light: #c9ced4 }
@media (prefers-color-scheme: dark) {
  :root { --page: #16191d; --ink: #e4e7eb; --soft: #9aa4b0; --line: #31373f;
    --good: #4cc49c; --bad: #ff7b86; --open: #e0b050; --wash-good: #14302a; --wash-bad: #3a1a1e; --wash-open: #33290f;
    --ours: #3ea6e0; --ours-light: #23628a; --ours-wash: #16303f; --other: #8d96a0; --other-light: #4d555f }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px; color: var(--ink); background: var(--page);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { border-left: 10px solid var(--tone); background: var(--wash); padding: 16px 20px; border-radius: 4px }
header.met { --tone: var(--good); --wash: var(--wash-good) }
header.missed { --tone: var(--bad); --wash: var(--wash-bad) }
header.open { --tone: var(--open); --wash: var(--wash-open) }
.word { font-weight: 700; letter-spacing: .06em; text-transform: uppercase; color: var(--tone); font-size: 14px }
h1 { font-size: clamp(21px, 3.4vw, 32px); line-height: 1.2; margin: 2px 0 6px }
h2 { font-size: 18px; margin: 30px 0 8px } h3 { font-size: 15px; margin: 22px 0 4px }
p, ul { margin: 4px 0 } ul { padding-left: 20px } .soft { color: var(--soft) } li.void { color: var(--bad) }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 4px 9px; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600; vertical-align: bottom } th small { display: block; font-weight: 400 }
th.left, td.left { text-align: left }
tr.ours td { background: var(--ours-wash) } tr.ours td:first-child { font-weight: 700; color: var(--ours) }
td.best { font-weight: 700 } td.met { color: var(--good) } td.missed { color: var(--bad) }
td.open { color: var(--open) }
td.met, td.missed, td.open { font-weight: 700; text-align: left }
code { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px }
.scroll { overflow-x: auto; margin: 8px 0 }
.scroll > svg { width: 100%; min-width: 800px; height: auto; display: block }
dl { display: grid; grid-template-columns: max-content auto; gap: 4px 18px; margin: 8px 0; font-size: 13.5px }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media print { body { max-width: none; padding: 0; font-size: 11px } .scroll > svg { min-width: 0 }
  header, tr.ours td { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2, h3 { break-after: avoid } tr { break-inside: avoid } @page { size: A4 landscape; margin: 12mm } }
"""
