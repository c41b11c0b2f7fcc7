"""The report: ratios pair by pair, verdicts in words, a table, Markdown, a plot."""
import datetime
import os
import platform
import re
import statistics
import sys

from .variants import NAMES


class Line:
    """A row with its figures: one dict of variant to value per round."""

    def __init__(self, work, row, rounds, failures):
        self.work, self.row, self.rounds = work, row, rounds
        self.failures = failures                 # variant -> why

    def values(self, variant):
        return [r[variant][self.row.figure] for r in self.rounds
                if variant in r and self.row.figure in r[variant]]

    def median(self, variant):
        values = self.values(variant)
        return statistics.median(values) if values else None

    def base(self, variant):
        """The variant whose figures the column shows: K may stand for K in another arrangement."""
        return self.row.base if variant == "K" and self.row.base[0] == "K" else variant

    def ratios(self, variant, other):
        """How many times as good as `other` the variant was, round by round."""
        result = []
        for r in self.rounds:
            a, b = (r.get(v, {}).get(self.row.figure) for v in (variant, other))
            if a and b:
                result.append(b / a if self.row.less_is_better else a / b)
        return result

    def compares(self):
        return not any(need.kind in ("over", "most") for need in self.row.needs) \
            or any(need.kind == "K" for need in self.row.needs)

    def ratio(self, variant, other):
        ratios = self.ratios(variant, other) if self.compares() else []
        return statistics.median(ratios) if ratios else None

    def verdict(self):
        if "L" in self.failures:
            return self.failures["L"]
        if self.median("L") is None:
            return "not measured"
        grades = [self.grade(need) for need in self.row.needs]
        worst = max(grades, key=lambda g: GRADES.index(g.split(" (")[0])) if grades else ""
        control = self.ratios("K2", "K")
        noise = f"; K against itself {number(min(control))}–{number(max(control))}" if control else ""
        return worst + noise

    def grade(self, need):
        """`reach` is how many times the requirement was reached; above one is met."""
        spread = []
        if need.kind in ("K", "U"):
            spread = [r / need.value for r in self.ratios("L", self.row.base if need.kind == "K" else "U")]
        elif need.kind == "least":
            spread = [v / need.value for v in self.values("L")]
        elif need.kind == "most":
            if need.value == 0:
                return "met" if self.median("L") == 0 else f"short ({figure(self.median('L'), self.row.unit)})"
            spread = [need.value / max(v, need.value / 100) for v in self.values("L")]
        elif need.kind == "over":
            more = [r["L"][self.row.figure] - r["K"][self.row.figure] for r in self.rounds if "L" in r and "K" in r]
            spread = [need.value / max(m, need.value / 100) for m in more]
        if not spread:
            return "no comparison"
        reach = statistics.median(spread)
        if reach >= 1.5:
            return "met, half again"
        if reach >= 1:
            return "met"
        within = max(spread) >= 1
        return f"short{', within the spread' if within else ''} ({reach:.2f} of it)"


GRADES = ["met, half again", "met", "no comparison", "short, within the spread", "short"]


def number(value):
    """Three significant digits, never an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) < 0.001:
        return "0"
    return f"{value:.{2 if abs(value) < 10 else 1}f}" if abs(value) >= 1 else f"{value:.3f}"


def figure(value, unit):
    if value is None:
        return ""
    if not unit.endswith("/s"):
        return f"{number(value)} {unit}".strip()
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{number(value / scale)} {prefix}{unit.replace('x/s', '/s')}"
    return f"{number(value)} {unit.replace('x/s', '/s')}"


def cell(line, variant):
    used = line.base(variant)
    median = line.median(used)
    if used in line.failures and median is None:
        return "fails"
    if median is None:
        return "–"
    return figure(median, line.row.unit) + (" (fails)" if used in line.failures else "")


def times(value):
    return "–" if value is None else f"{number(value)}×"


def requirement(row):
    def amount(value):
        return f"{value:g} {row.unit}".strip() if row.less_is_better else figure(value, row.unit)
    words = {"K": lambda v: f"{v:g} × K", "U": lambda v: f"{v:g} × U", "most": lambda v: f"≤ {amount(v)}",
             "least": lambda v: f"≥ {amount(v)}", "over": lambda v: f"≤ K + {amount(v)}"}
    return ", ".join(words[need.kind](need.value) for need in row.needs)


def spread(line, other):
    ratios = line.ratios("L", other) if line.compares() else []
    return f"{number(min(ratios))}–{number(max(ratios))}" if ratios else "–"


def against_k(line):
    """L against K: the ratio, or for a cost the difference."""
    ratio = line.ratio("L", line.base("K"))
    if ratio is not None:
        return times(ratio)
    more = [r["L"][line.row.figure] - r["K"][line.row.figure] for r in line.rounds if "L" in r and "K" in r]
    return f"{statistics.median(more):+.3g} {line.row.unit}".strip() if more else "–"


HEADINGS = ["work", "K", "U", "W", "L", "L/K", "L/U", "required", "verdict"]


def table_rows(lines):
    return [[line.row.label, *(cell(line, v) for v in "KUWL"), against_k(line), times(line.ratio("L", "U")),
             requirement(line.row), line.verdict()] for line in lines]


def legend():
    return ("K kernel TCP or UDP over loopback, U AF_UNIX, W socket_wrapper, L Landline on both ends; where there is no K, "
            "over AF_UNIX. Medians; a ratio is how many times as good, taken round by round.")


def print_table(lines):
    rows = [HEADINGS] + table_rows(lines)
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADINGS) - 1)]
    for n, row in enumerate(rows):
        print("  ".join(text.ljust(w) if i == 0 else text.rjust(w)
                        for i, (text, w) in enumerate(zip(row, widths))) + "  " + row[-1])
        if n == 0:
            print("  ".join("-" * w for w in widths) + "  " + "-" * 8)
    print(legend())
    for line, variant, why in distinct_failures(lines):
        print(f"{line.work.name}, {NAMES[variant[0]]}: {why}")


def distinct_failures(lines):
    seen = set()
    for line in lines:
        for variant, why in line.failures.items():
            if (line.work.name, variant) not in seen:
                seen.add((line.work.name, variant))
                yield line, variant, why


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    return cpu[1] if cpu else platform.machine()


def markdown(setup, lines, absent, plot):
    out = ["# Benchmarks", "", "Written by `make bench`; how it measures is in `benches/README.md`.", ""]
    out += [f"- Date: {datetime.date.today().isoformat()}", f"- Kernel: {platform.system()} {platform.release()}",
            f"- Processor: {machine()}, {len(setup.processors)} cores",
            f"- Rounds: {setup.rounds} (twice as many where one end is preloaded, and for pgbench; three fifths for sockperf), {setup.seconds:g} s each, the "
            "variants of a line in turn within a round"]
    out += [f"- Not measured: {NAMES[variant]}, {why}" for variant, why in absent.items()]
    out += ["", legend() + " In brackets after a ratio: the least and the "
            "greatest of the rounds.", ""]
    if plot:
        out += ["![How many times as good as the kernel, log scale](benchmarks.svg)", ""]
    out += ["| " + " | ".join(HEADINGS) + " |", "|---" + "|--:" * 6 + "|---|---|"]
    for line, row in zip(lines, table_rows(lines)):
        row[5] += f" ({spread(line, line.base('K'))})" if line.ratio("L", line.base("K")) else ""
        row[6] += f" ({spread(line, 'U')})" if line.ratio("L", "U") else ""
        out.append("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |")
    failures = list(distinct_failures(lines))
    if failures:
        out += ["", "Failures:", ""]
        out += [f"- {line.work.name}, {NAMES[variant[0]]}: {why}" for line, variant, why in failures]
    return "\n".join(out) + "\n"


def plot(lines, path):
    """A bar for every variant, as times K, on a log scale; a mark where L must reach."""
    try:
        import matplotlib
    except ImportError:
        print("No plot: matplotlib is missing (apt-get install python3-matplotlib).", file=sys.stderr)
        return False
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "landline", "svg.fonttype": "none"})
    import matplotlib.pyplot as plt
    lines = [line for line in lines if line.compares()]
    shown = [v for v in "UWL" if any(line.ratio(v, line.row.base) for line in lines)]
    if not shown:
        return False
    colours = {"U": "#8da0cb", "W": "#bbbbbb", "L": "#1b7837"}
    height = 0.8 / len(shown)
    fig, axes = plt.subplots(figsize=(9, 0.38 * len(lines) + 1.4))
    for i, variant in enumerate(shown):
        at = [n + (i - (len(shown) - 1) / 2) * height for n in range(len(lines))]
        ratios = [line.ratio(variant, line.row.base) for line in lines]
        axes.barh([y for y, r in zip(at, ratios) if r], [r - 1 for r in ratios if r], height, left=1,
                  color=colours[variant], label=NAMES[variant])
        for y, r, line in zip(at, ratios, lines):
            if r and variant == "L":
                axes.text(max(r, 1) * 1.05, y, times(r), va="center", fontsize=7)
    for n, line in enumerate(lines):
        for need in line.row.needs:
            if need.kind == "K":
                axes.plot([need.value] * 2, [n - 0.42, n + 0.42], color="black", linewidth=1.2,
                          label=None if n else "required of Landline")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [line.row.label for line in lines], fontsize=8)
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlabel("times as good as the kernel over loopback, or over AF_UNIX where the line is about that (log scale)")
    axes.grid(axis="x", which="major", linewidth=0.3)
    axes.legend(fontsize=8, loc="lower right")
    fig.tight_layout()
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)
    return True


def write(setup, lines, absent, folder):
    os.makedirs(folder, exist_ok=True)
    drawn = plot(lines, os.path.join(folder, "benchmarks.svg"))
    with open(os.path.join(folder, "benchmarks.md"), "w", encoding="utf-8") as file:
        file.write(markdown(setup, lines, absent, drawn))
