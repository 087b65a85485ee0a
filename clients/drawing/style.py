"""The page's own style: one column, tables that become cards on a phone, no toolbar in print."""

CSS = """
:root { color-scheme: light; --ink: #22272e; --soft: #5b6470; --line: #dde1e6;
  --good: #00694d; --bad: #a50e1b; --open: #8a5a00 }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1180px; padding: 20px; color: var(--ink); background: white;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
header { border-left: 10px solid var(--tone); background: var(--wash); padding: 16px 20px; border-radius: 4px }
header.good { --tone: var(--good); --wash: #e9f6f1 } header.bad { --tone: var(--bad); --wash: #fdecee }
header.other { --tone: var(--open); --wash: #fdf4e1 }
.word { font-weight: 700; letter-spacing: .06em; text-transform: uppercase; color: var(--tone); font-size: 14px }
h1 { font-size: clamp(21px, 3.4vw, 32px); line-height: 1.2; margin: 2px 0 6px; overflow-wrap: break-word }
h2 { font-size: 18px; margin: 30px 0 8px }
p { margin: 4px 0 } .soft { color: var(--soft) }
ul.themes { display: flex; flex-wrap: wrap; gap: 4px 22px; list-style: none; margin: 12px 0 0; padding: 0 }
ul.themes { font-weight: 600 }
dl.facts { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 16px 0 0 }
dl.facts div { min-width: 70px }
dt { color: var(--soft); font-size: 12.5px } dd { margin: 0; font-size: 20px; font-weight: 600 }
dd.bad { color: var(--bad) }
table { border-collapse: collapse; width: 100%; font-size: 13.5px }
th, td { text-align: left; padding: 4px 14px 4px 0; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 }
tr.theme td { font-weight: 700; padding-top: 14px; border-bottom-color: #aab2bc }
td { overflow-wrap: anywhere } code, .mono { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12.5px }
.name { white-space: nowrap } .status { font-weight: 700; white-space: nowrap }
.pass { color: var(--good) } .fail { color: var(--bad) } .inconclusive { color: var(--open) }
.scroll { overflow-x: auto } .scroll > div { min-width: 800px }
details { margin-top: 14px } summary { cursor: pointer; font-weight: 600 }
@media (max-width: 700px) {
  body { padding: 12px } table, tbody, tr, td { display: block } thead { display: none }
  tr { padding: 8px 0; border-bottom: 1px solid var(--line) } td { border: 0; padding: 1px 0 }
  td[data-name]::before { content: attr(data-name) ": "; color: var(--soft) }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11px } table { font-size: 10px }
  code, .mono { font-size: 9px }
  .modebar-container, .modebar { display: none !important }
  .scroll { overflow: visible } .scroll > div { min-width: 0 }
  header { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  h2 { break-after: avoid } tr { break-inside: avoid } @page { size: A4; margin: 12mm }
}
"""
