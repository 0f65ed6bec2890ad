//! The picture: panels where the dashboard has them, as SVG.

use std::fmt::Write as _;

use super::numbers::shown;
use super::plot::plot;
use super::{Line, Panel};
use crate::prometheus::Span;

/// Of a column and of a row.
const UNIT: (f64, f64) = (56.0, 30.0);
const GAP: f64 = 8.0;
/// Lines of a legend; Grafana lets people scroll the others.
const LEGEND: f64 = 4.0;

/// What shapes are added to.
pub(super) struct Canvas(String);

/// Left, top, width, height.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

impl Canvas {
    pub(super) fn add(&mut self, shape: &str) {
        self.0.push_str(shape);
        self.0.push('\n');
    }

    pub(super) fn fill(&mut self, area: Area, colour: &str) {
        let Area { x, y, w, h } = area;
        self.add(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="{colour}"/>"#
        ));
    }

    /// `style` is of class and anchor.
    pub(super) fn text(&mut self, x: f64, y: f64, style: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.add(&format!(
            r#"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"#
        ));
    }
}

/// All panels; `marks` are the moments of its annotation.
#[must_use]
pub fn picture(title: &str, panels: &[Panel], span: Span, marks: &[f64]) -> String {
    let rows = panels.iter().map(|panel| panel.place[1] + panel.place[3]);
    let (width, height) = (
        24.0f64.mul_add(UNIT.0, GAP),
        rows.fold(0.0, f64::max).mul_add(UNIT.1, GAP + 36.0),
    );
    let mut canvas = Canvas(String::new());
    canvas.add(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" font-family="Inter, 'DejaVu Sans', Helvetica, Arial, sans-serif">"#
    ));
    canvas.add(
        "<style>text { font-size: 11px; fill: #24292e } .title { font-size: 13px; font-weight: 600 } \
         .big { font-size: 34px; font-weight: 600; fill: #fff } .small { fill: #57606a; font-size: 10px } \
         .white { fill: #fff }</style>",
    );
    let whole = Area {
        x: 0.0,
        y: 0.0,
        w: width,
        h: height,
    };
    canvas.fill(whole, "#f0f2f4");
    canvas.text(
        GAP + 4.0,
        26.0,
        r#"class="title" style="font-size: 16px""#,
        title,
    );
    for panel in panels {
        let [x, y, w, h] = panel.place;
        let area = Area {
            x: x.mul_add(UNIT.0, GAP),
            y: y.mul_add(UNIT.1, GAP + 36.0),
            w: w.mul_add(UNIT.0, -GAP),
            h: h.mul_add(UNIT.1, -GAP),
        };
        draw(&mut canvas, panel, area, span, marks);
    }
    canvas.add("</svg>");
    canvas.0
}

fn draw(canvas: &mut Canvas, panel: &Panel, area: Area, span: Span, marks: &[f64]) {
    let Area { x, y, w, h } = area;
    if panel.kind == "stat" {
        return stat(canvas, panel, area);
    }
    canvas.add(&format!(
        r##"<rect x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" fill="#fff" stroke="#d0d7de"/>"##
    ));
    canvas.text(x + 10.0, y + 19.0, r#"class="title""#, &panel.title);
    let inner = Area {
        x: x + 10.0,
        y: y + 30.0,
        w: w - 20.0,
        h: h - 38.0,
    };
    match &*panel.kind {
        "bargauge" => bars(canvas, panel, inner),
        "table" => table(canvas, panel, inner),
        _ => plot(canvas, panel, inner, span, marks),
    }
}

fn stat(canvas: &mut Canvas, panel: &Panel, area: Area) {
    let Area { x, y, w, h } = area;
    let value = panel.lines().find_map(Line::last);
    let colour = value.map_or("#8c959f", |value| hex(panel.colour(value)));
    canvas.fill(area, colour);
    canvas.text(x + 10.0, y + 19.0, r#"class="title white""#, &panel.title);
    let text = value.map_or_else(|| "no data".to_owned(), |value| shown(value, &panel.unit));
    let middle = r#"class="big" text-anchor="middle""#;
    canvas.text(x + w / 2.0, y + h / 2.0 + 22.0, middle, &text);
}

fn bars(canvas: &mut Canvas, panel: &Panel, area: Area) {
    let lines: Vec<_> = panel
        .lines()
        .filter_map(|line| Some((line, line.last()?)))
        .collect();
    let top = lines.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let (name, number) = (area.w * 0.42, 70.0);
    for (row, (line, value)) in (0u32..).zip(&lines) {
        let y = f64::from(row).mul_add(26.0, area.y);
        if y + 20.0 > area.y + area.h {
            break;
        }
        canvas.text(area.x, y + 14.0, "", &line.name);
        let whole = area.w - name - number;
        let bar = Area {
            x: area.x + name,
            y,
            w: whole,
            h: 19.0,
        };
        canvas.fill(bar, "#eaeef2");
        let long = (value / top).clamp(0.0, 1.0) * whole;
        canvas.fill(Area { w: long, ..bar }, hex(panel.colour(*value)));
        let end = r#"text-anchor="end" font-weight="600""#;
        canvas.text(area.x + area.w, y + 14.0, end, &shown(*value, &panel.unit));
    }
}

/// The rows of the first query, with what the others say of the same.
fn table(canvas: &mut Canvas, panel: &Panel, area: Area) {
    let Some((first, others)) = panel.answers.split_first() else {
        return;
    };
    let columns = ["namespace", "profile", "status", "reason"];
    let mut rows = vec![columns.map(str::to_owned).to_vec()];
    rows[0].push("revision".to_owned());
    for line in first {
        let label = |name: &str| line.series.labels.get(name).cloned().unwrap_or_default();
        let mut row: Vec<_> = columns.iter().map(|name| label(name)).collect();
        let same = |other: &&Line| {
            let mut labels = other.series.labels.iter();
            labels.all(|(name, value)| label(name) == *value)
        };
        let more = others.iter().flatten().find(same).and_then(Line::last);
        row.push(more.map_or_else(String::new, |value| shown(value, "short")));
        rows.push(row);
    }
    rows[1..].sort_by(|one, other| one[2].cmp(&other[2]));
    let widths = [0.17, 0.17, 0.13, 0.38, 0.15];
    for (at, row) in (0u32..).zip(&rows) {
        let y = f64::from(at).mul_add(24.0, area.y + 14.0);
        if y > area.y + area.h {
            break;
        }
        let mut x = area.x;
        for (cell, width) in row.iter().zip(widths) {
            let style = match (at, &**cell) {
                (0, _) => r#"class="small" font-weight="600""#,
                (_, "False") => r#"style="fill: #c4162a; font-weight: 600""#,
                _ => "",
            };
            canvas.text(x, y, style, cell);
            x += width * area.w;
        }
        let line = Area {
            y: y + 7.0,
            h: 1.0,
            ..area
        };
        canvas.fill(line, "#eaeef2");
    }
}

/// Grafana's colours by their names.
fn hex(name: &str) -> &'static str {
    match name {
        "green" => "#37872d",
        "yellow" => "#e0a800",
        "red" => "#c4162a",
        _ => "#1f60c4",
    }
}

/// A short legend in lines of its own; returns how high it is.
pub(super) fn legend(canvas: &mut Canvas, area: Area, names: &[(String, &str)]) -> f64 {
    let (mut x, mut lines) = (area.x, 1.0);
    let mut shapes = Vec::new();
    for (name, colour) in names {
        let letters = u32::try_from(name.chars().count()).unwrap_or_default();
        let wide = f64::from(letters).mul_add(6.4, 30.0);
        if x + wide > area.x + area.w && x > area.x {
            if lines >= LEGEND {
                break;
            }
            (x, lines) = (area.x, lines + 1.0);
        }
        shapes.push((x, lines, name, colour));
        x += wide;
    }
    let top = area.y + area.h - lines * 15.0;
    for (x, line, name, colour) in shapes {
        let y = line * 15.0 + top;
        let mark = Area {
            x,
            y: y - 8.0,
            w: 12.0,
            h: 4.0,
        };
        canvas.fill(mark, colour);
        canvas.text(x + 16.0, y - 3.0, "", name);
    }
    lines * 15.0
}

/// Adds points of a path.
pub(super) fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut text = String::new();
    for (x, y) in points {
        let sign = if text.is_empty() { 'M' } else { 'L' };
        let _ = write!(text, "{sign}{x:.1} {y:.1}");
    }
    text
}
