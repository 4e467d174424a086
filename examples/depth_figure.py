"""Draws docs/pictures/depth.svg: the relative error of the first layer's GAIT update, over depth.

Needs only Python 3.

    for rule in gait:f32 gait:absolute:f64 gait:absolute:f32; do
        gaitprop align --rules $rule,gait:f64 --data MNIST --values 2,3,4,5,6,8,10,15,20,30,50 --csv $rule.csv
    done
    python3 examples/depth_figure.py gait:f32.csv gait:absolute:f64.csv gait:absolute:f32.csv > depth.svg

The reference is the difference form in float64. Tests keep it within 1.7e-14 of the definition in
750-bit arithmetic, at any depth.
"""

import csv
import math
import sys

NAMES = {
    "gait:f32": ("difference form, float32", "g0"),
    "gait:absolute:f64": ("published form, float64", "g1"),
    "gait:absolute:f32": ("published form, float32", "g3"),
}
LIGHT = {"g0": "#0072b2", "g1": "#d55e00", "g3": "#b8548f"}
DARK = {"g0": "#5ab4f0", "g1": "#ff8a47", "g3": "#e59ac4"}
LEFT, RIGHT, TOP, BOTTOM = 48, 348, 78, 218
DEPTHS, POWERS = (2, 5, 10, 20, 50), range(-10, 5, 2)


def across(layers):
    return LEFT + (RIGHT - LEFT) * math.log(layers / DEPTHS[0]) / math.log(DEPTHS[-1] / DEPTHS[0])


def down(power):
    return BOTTOM - (BOTTOM - TOP) * (power - POWERS[0]) / (POWERS[-1] - POWERS[0])


def curves(paths):
    for path in paths:
        with open(path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["layer"] == "0"]
        if not rows:
            sys.exit(f"{path}: no rows of a first layer: it should come from `gaitprop align --over depth --csv`")
        name = rows[0]["a"].split(",")[0]
        if name not in NAMES:
            sys.exit(f"{path}: compares {name}, not one of {', '.join(NAMES)}")
        yield NAMES[name], [(int(row["layers"]), float(row["difference"])) for row in rows]


def picture(paths):
    style = "".join(f".{k}{{stroke:{v}}}.f{k}{{fill:{v}}}" for k, v in LIGHT.items())
    dark = "".join(f".{k}{{stroke:{v}}}.f{k}{{fill:{v}}}" for k, v in DARK.items())
    yield (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 262" role="img" font-size="9.5" '
        "font-family=\"system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif\">"
        "<title>Relative error of the first layer's update, over depth</title>"
        f"<style>.paper{{fill:#fff}}.ink{{fill:#1b1f24}}.muted{{fill:#59636e}}.grid{{stroke:#dfe3e8}}{style}"
        f"@media (prefers-color-scheme:dark){{.paper{{fill:#14181d}}.ink{{fill:#e8eaed}}.muted{{fill:#a4aebb}}.grid{{stroke:#343b45}}{dark}}}</style>"
        '<rect class="paper" width="100%" height="100%"/>'
        '<text class="ink" x="12" y="17" font-size="11.5" font-weight="600">Relative error of the first layer\'s update</text>'
    )
    for power in POWERS:
        y = down(power)
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="muted" x="{LEFT - 6}" y="{y + 3:.1f}" text-anchor="end">10<tspan dy="-3" font-size="7">{power}</tspan></text>'
    for layers in DEPTHS:
        yield f'<text class="muted" x="{across(layers):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{layers}</text>'
    yield f'<text class="muted" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 28}" text-anchor="middle">layers of 784 units (a curve ends above 10⁴)</text>'
    for row, ((label, color), points) in enumerate(curves(paths)):
        y = 31 + 12 * row
        yield f'<line class="{color}" x1="12" x2="30" y1="{y}" y2="{y}" stroke-width="2"/><text class="ink" x="35" y="{y + 3}">{label}</text>'
        shown = []
        for layers, error in points:
            if not error <= 10.0 ** POWERS[-1]:
                break
            shown.append((across(layers), down(max(math.log10(error), POWERS[0]))))
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
        yield f'<polyline class="{color}" points="{line}" fill="none" stroke-width="2"/>'
        yield from (f'<circle class="f{color}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in shown)
    yield "</svg>\n"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.stdout.write("".join(picture(sys.argv[1:])))
