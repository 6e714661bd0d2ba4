"""How the page looks: one style for light and dark screens and for paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d8dee4; --paper: #ffffff; --card: #f6f8fa;
  --candidate: #0b62c4; --champion: #b35900; --baseline: #6e7781; --liked: #8c959f; --shown: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #30363d; --paper: #0d1117; --card: #161b22;
  --candidate: #58a6ff; --champion: #e3a34f; --baseline: #8b949e; --liked: #6e7681; --shown: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 32px 24px 64px; }
header { border-bottom: 1px solid var(--line); margin-bottom: 24px; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 19px; margin: 36px 0 6px; }
p { margin: 4px 0 12px; color: var(--soft); max-width: 90ch; }
.over { margin: 0; text-transform: uppercase; letter-spacing: 0.06em; font-size: 12px; }
.digest, .numbers td { font-variant-numeric: tabular-nums; }
.digest { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 12px; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 16px; align-items: start; }
figure { margin: 0; padding: 12px 14px; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
figcaption { font-weight: 600; margin-bottom: 6px; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; max-width: 760px; font: 12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
svg text { fill: var(--ink); } svg .tick, svg .figures { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); } svg .zero { stroke: var(--ink); }
.candidate { --own: var(--candidate); } .champion { --own: var(--champion); } .baseline { --own: var(--baseline); }
.series0 { --own: var(--liked); } .series1 { --own: var(--shown); }
svg .mark { fill: var(--own, var(--baseline)); } svg .whisker { stroke: var(--own, var(--baseline)); stroke-width: 2; }
.scroll { overflow-x: auto; margin: 8px 0 12px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; } tbody th { font-weight: 500; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; padding-right: 0; padding-left: 12px; }
summary { cursor: pointer; color: var(--soft); padding: 4px 0; }
@media print { details { display: block; } main { padding: 0; } figure { break-inside: avoid; } }
"""
