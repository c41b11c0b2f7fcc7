//! A net as a diagram: text for Graphviz, or SVG with the hosts on a circle. Hosts are boxes with their addresses and the
//! ports that they listen on; arrows are connections, from who connected.

use std::f64::consts::TAU;
use std::io;

use super::show::{Host, Net, ports};
use crate::cli::output::{Output, bytes};

/// What a box says: the name, then the rest in smaller print.
fn lines(host: &Host) -> Vec<String> {
    /// More ports than this are counted instead.
    const MOST_PORTS: usize = 4;
    let mut ports = ports(host);
    if ports.len() > MOST_PORTS {
        let others = ports.len() + 1 - MOST_PORTS;
        ports.truncate(MOST_PORTS - 1);
        ports.push(format!("and {others} others"));
    }
    [host.name.clone(), host.v4.clone()].into_iter().chain(ports).collect()
}

/// From one host to another: everything that goes there.
struct Edge {
    /// Their places in the list of hosts.
    ends: [usize; 2],
    labels: Vec<String>,
}

fn edges(net: &Net) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::new();
    let place = |name: &str| net.hosts.iter().position(|host| host.name == name);
    for c in &net.connections {
        // Where anybody may send there is no arrow to draw.
        let (Some(from), Some(to)) = (place(&c.from), place(&c.to)) else { continue };
        let times = if c.count > 1 { format!(" \u{d7}{}", c.count) } else { String::new() };
        let mut label = format!("{} {}{times}: {} \u{2192}, {} \u{2190}", c.proto, c.port, bytes(c.sent_bytes), bytes(c.got_bytes));
        if let Some(faults) = &c.faults {
            label += &format!(" ({faults})");
        }
        match edges.iter_mut().find(|edge| edge.ends == [from, to]) {
            Some(edge) => edge.labels.push(label),
            None => edges.push(Edge { ends: [from, to], labels: vec![label] }),
        }
    }
    edges
}

/// As a string of the DOT language.
fn quoted(lines: &[String]) -> String {
    let escaped: Vec<String> = lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    format!("\"{}\"", escaped.join("\\n"))
}

pub fn dot(out: &mut Output, net: &Net) -> io::Result<()> {
    let name = |host: &Host| quoted(std::slice::from_ref(&host.name));
    writeln!(out, "digraph {} {{", quoted(std::slice::from_ref(&net.name)))?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];")?;
    for host in &net.hosts {
        writeln!(out, "  {} [label={}];", name(host), quoted(&lines(host)))?;
    }
    for Edge { ends: [from, to], labels } in edges(net) {
        writeln!(out, "  {} -> {} [label={}];", name(&net.hosts[from]), name(&net.hosts[to]), quoted(&labels))?;
    }
    writeln!(out, "}}")
}

type Point = (f64, f64);

/// A host's box, by its middle.
#[derive(Clone, Copy)]
struct Shape {
    at: Point,
    /// Half the width, half the height.
    half: Point,
}

const LINE: f64 = 16.0;
const LETTER: f64 = 7.2;
/// Between boxes, for what is written on arrows.
const GAP: f64 = 160.0;
const MARGIN: f64 = 50.0;

impl Shape {
    fn of(lines: &[String]) -> Shape {
        let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        Shape { at: (0.0, 0.0), half: (longest as f64 * LETTER / 2.0 + 12.0, lines.len() as f64 * LINE / 2.0 + 8.0) }
    }

    /// Where the way from the middle to a point leaves the box.
    fn edge_towards(&self, (x, y): Point) -> Point {
        let (dx, dy) = (x - self.at.0, y - self.at.1);
        let scale = (self.half.0 / dx.abs()).min(self.half.1 / dy.abs());
        if scale.is_finite() { (self.at.0 + dx * scale.min(1.0), self.at.1 + dy * scale.min(1.0)) } else { self.at }
    }
}

/// Places the boxes on a circle, the first at the top, so that none touches another; returns the picture's size.
fn place_on_circle(shapes: &mut [Shape]) -> Point {
    let most = |of: fn(&Shape) -> f64| shapes.iter().map(of).fold(0.0, f64::max);
    let (width, height) = (most(|s| s.half.0), most(|s| s.half.1));
    // Neighbours are this far apart, by the chord between them.
    let chord = 2.0 * width.hypot(height) + GAP;
    let n = shapes.len().max(1);
    let radius = match n {
        1 => 0.0,
        _ => (chord / 2.0 / (TAU / 2.0 / n as f64).sin()).max(120.0),
    };
    for (i, shape) in shapes.iter_mut().enumerate() {
        let angle = TAU * (i as f64 / n as f64 - 0.25);
        shape.at = (radius * angle.cos(), radius * angle.sin());
    }
    let least = |of: fn(&Shape) -> f64| shapes.iter().map(of).fold(f64::INFINITY, f64::min);
    let (left, top) = (least(|s| s.at.0 - s.half.0) - MARGIN, least(|s| s.at.1 - s.half.1) - MARGIN);
    for shape in shapes.iter_mut() {
        shape.at = (shape.at.0 - left, shape.at.1 - top);
    }
    let most = |of: fn(&Shape) -> f64| shapes.iter().map(of).fold(0.0, f64::max);
    (most(|s| s.at.0 + s.half.0) + MARGIN, most(|s| s.at.1 + s.half.1) + MARGIN)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Lines of text around a point: of one class the first, of another the rest.
fn text(out: &mut Output, (x, y): Point, lines: &[String], classes: [&str; 2]) -> io::Result<()> {
    let first = y - (lines.len() as f64 - 1.0) * LINE / 2.0 + 4.0;
    for (i, line) in lines.iter().enumerate() {
        let class = classes[i.min(1)];
        writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{:.1}">{}</text>"#, first + i as f64 * LINE, escaped(line))?;
    }
    Ok(())
}

const STYLE: &str = r##"<style>
text { font: 12px sans-serif; text-anchor: middle; fill: #222 }
.name { font-weight: bold }
.label { font-size: 11px; fill: #555; paint-order: stroke; stroke: #fff; stroke-width: 4px }
.small { font-size: 11px; fill: #555 }
rect { fill: #eef4fb; stroke: #4a7ab5; stroke-width: 1.5 }
path { fill: none; stroke: #888; stroke-width: 1.3 }
</style>
<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
<path d="M0,0 L8,4 L0,8 z" style="fill: #888; stroke: none"/></marker></defs>"##;

pub fn svg(out: &mut Output, net: &Net) -> io::Result<()> {
    let boxes: Vec<Vec<String>> = net.hosts.iter().map(lines).collect();
    let mut shapes: Vec<Shape> = boxes.iter().map(|lines| Shape::of(lines)).collect();
    let (width, height) = place_on_circle(&mut shapes);
    writeln!(out, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}">"#)?;
    writeln!(out, "<title>{}</title>\n{STYLE}", escaped(&net.name))?;
    let edges = edges(net);
    let curves: Vec<(String, Point)> = edges.iter().map(|edge| curve(shapes[edge.ends[0]], shapes[edge.ends[1]])).collect();
    for (d, _) in &curves {
        writeln!(out, r#"<path d="{d}" marker-end="url(#end)"/>"#)?;
    }
    for (shape, lines) in shapes.iter().zip(&boxes) {
        let ((x, y), (w, h)) = (shape.at, shape.half);
        writeln!(out, r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" rx="7"/>"#, x - w, y - h, 2.0 * w, 2.0 * h)?;
        text(out, shape.at, lines, ["name", "small"])?;
    }
    for (edge, (_, label)) in edges.iter().zip(&curves) {
        text(out, *label, &edge.labels, ["label", "label"])?;
    }
    writeln!(out, "</svg>")
}

/// The way of an arrow, bent to the right so that there and back are apart; and the place for what is written on it.
fn curve(from: Shape, to: Shape) -> (String, Point) {
    let (a, b) = (from.at, to.at);
    if a == b {
        // To itself: an ear above the box.
        let (top, w) = (a.1 - from.half.1, from.half.0 / 2.0);
        let d = format!("M{:.1},{top:.1} C{:.1},{y:.1} {:.1},{y:.1} {:.1},{top:.1}", a.0 - w, a.0 - w, a.0 + w, a.0 + w, y = top - 36.0);
        return (d, (a.0, top - 32.0));
    }
    let bend = 0.12;
    let turn = (a.0 + (b.0 - a.0) / 2.0 - (b.1 - a.1) * bend, a.1 + (b.1 - a.1) / 2.0 + (b.0 - a.0) * bend);
    let (start, end) = (from.edge_towards(turn), to.edge_towards(turn));
    // Not in the middle, where arrows cross.
    let t = 0.38;
    let along = |a: f64, turn: f64, b: f64| (1.0 - t) * (1.0 - t) * a + 2.0 * t * (1.0 - t) * turn + t * t * b;
    let label = (along(start.0, turn.0, end.0), along(start.1, turn.1, end.1));
    (format!("M{:.1},{:.1} Q{:.1},{:.1} {:.1},{:.1}", start.0, start.1, turn.0, turn.1, end.0, end.1), label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::net::show::Connections;

    fn net() -> Net {
        let host = |name: &str, v4: &str| Host { name: name.to_owned(), v4: v4.to_owned(), ..Host::default() };
        let connections = |from: &str, to: &str, port| Connections {
            from: from.to_owned(),
            to: to.to_owned(),
            proto: "tcp",
            port,
            count: 2,
            sent_bytes: 10,
            got_bytes: 2048,
            queued_bytes: 0,
            faults: None,
        };
        Net {
            name: "a \"net\"".to_owned(),
            hosts: vec![host("db", "10.70.0.5"), host("web", "10.70.0.6")],
            connections: vec![connections("web", "db", 6379), connections("web", "db", 80), connections("*", "db", 53), connections("db", "db", 1)],
            ..Net::default()
        }
    }

    fn written(write: impl Fn(&mut Output, &Net) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out, &net()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_diagram_for_graphviz() {
        let dot = written(|out, net| dot(out, net));
        let lines: Vec<&str> = dot.lines().map(str::trim).collect();
        assert_eq!(lines[0], r#"digraph "a \"net\"" {"#);
        assert!(lines.contains(&r#""db" [label="db\n10.70.0.5"];"#), "{dot}");
        assert!(lines.contains(&r#""web" -> "db" [label="tcp 6379 ×2: 10 B →, 2.0 KiB ←\ntcp 80 ×2: 10 B →, 2.0 KiB ←"];"#), "{dot}");
        assert_eq!(dot.matches("->").count(), 2, "those that have two ends");
    }

    #[test]
    fn a_drawing_has_every_host_and_arrow() {
        let svg = written(|out, net| svg(out, net));
        assert_eq!((svg.matches("<rect").count(), svg.matches("marker-end").count()), (2, 2));
        assert!(svg.contains("<title>a &quot;net&quot;</title>"));
    }

    #[test]
    fn boxes_do_not_touch() {
        for n in [1, 2, 3, 7, 200] {
            let mut shapes: Vec<Shape> = (0..n).map(|i| Shape::of(&vec!["x".repeat(5 + i % 20); 2 + i % 3])).collect();
            let (width, height) = place_on_circle(&mut shapes);
            for (i, a) in shapes.iter().enumerate() {
                assert!(a.at.0 - a.half.0 > 0.0 && a.at.1 + a.half.1 < height && a.at.0 + a.half.0 < width);
                for b in &shapes[i + 1..] {
                    let apart = |of: fn(Point) -> f64| (of(a.at) - of(b.at)).abs() > of(a.half) + of(b.half);
                    assert!(apart(|p| p.0) || apart(|p| p.1), "{n}");
                }
            }
        }
    }

    #[test]
    fn arrows_begin_and_end_at_boxes() {
        let shape = Shape { at: (100.0, 100.0), half: (40.0, 20.0) };
        assert_eq!(shape.edge_towards((300.0, 100.0)), (140.0, 100.0));
        assert_eq!(shape.edge_towards((100.0, 0.0)), (100.0, 80.0));
        assert_eq!(shape.edge_towards((100.0, 100.0)), (100.0, 100.0));
    }
}
