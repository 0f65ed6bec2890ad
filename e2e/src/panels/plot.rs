//! A graph over time.

use std::collections::BTreeMap;

use super::draw::{Area, Canvas, legend, path};
use super::numbers::{shown, ticks};
use super::{Line, Panel, Style};
use crate::prometheus::Span;

const COLOURS: [&str; 10] = [
    "#56a64b", "#e0a800", "#3274d9", "#e02f44", "#8f3bb8", "#ff780a", "#37a2a2", "#8c6d46",
    "#c15c9c", "#7a828a",
];

/// Values at each step of the time, by what lies below them too.
type Stack = BTreeMap<i64, f64>;

/// Where times and values are.
struct Scale {
    area: Area,
    span: Span,
    top: f64,
}

impl Scale {
    fn at(&self, (time, value): (f64, f64)) -> (f64, f64) {
        let share = (time - self.span.from) / (self.span.to - self.span.from).max(1.0);
        let high = (value / self.top).clamp(0.0, 1.0);
        (
            share.mul_add(self.area.w, self.area.x),
            (1.0 - high).mul_add(self.area.h, self.area.y),
        )
    }
}

pub(super) fn plot(canvas: &mut Canvas, panel: &Panel, area: Area, span: Span, marks: &[f64]) {
    let lines: Vec<&Line> = panel.lines().collect();
    let colours = COLOURS.iter().copied().cycle();
    let names: Vec<_> = lines
        .iter()
        .map(|line| line.name.clone())
        .zip(colours)
        .collect();
    let below = legend(canvas, area, &names);
    let inner = Area {
        x: area.x + 44.0,
        y: area.y + 4.0,
        w: area.w - 48.0,
        h: area.h - below - 26.0,
    };
    let stacked = panel.style != Style::Lines;
    let mut stack = Stack::new();
    let mut shapes = Vec::new();
    for (line, (_, colour)) in lines.iter().zip(&names) {
        let under = stack.clone();
        let points = line.series.points.iter().map(|&(time, value)| {
            let step = slot(time, span);
            let low = if stacked {
                under.get(&step).copied().unwrap_or(0.0)
            } else {
                0.0
            };
            let high = low + value;
            stack.insert(step, high);
            (time, low, high)
        });
        let points: Vec<_> = points.collect();
        shapes.push((points, *colour));
    }
    let highest = shapes
        .iter()
        .flat_map(|(points, _)| points)
        .map(|(_, _, high)| *high);
    let ticks = ticks(highest.fold(0.0, f64::max), &panel.unit);
    let top = ticks.last().copied().unwrap_or(1.0);
    let scale = Scale {
        area: inner,
        span,
        top,
    };
    axes(canvas, &scale, &ticks, &panel.unit, marks);
    for (points, colour) in &shapes {
        series(canvas, &scale, panel.style, points, colour);
    }
}

/// Which step a time is at.
#[expect(clippy::cast_possible_truncation, reason = "a count of steps")]
fn slot(time: f64, span: Span) -> i64 {
    ((time - span.from) / span.step).round() as i64
}

fn axes(canvas: &mut Canvas, scale: &Scale, ticks: &[f64], unit: &str, marks: &[f64]) {
    let Area { x, y, w, h } = scale.area;
    for tick in ticks {
        let (_, at) = scale.at((0.0, *tick));
        let line = Area {
            x,
            y: at,
            w,
            h: 1.0,
        };
        canvas.fill(line, "#eaeef2");
        let end = r#"class="small" text-anchor="end""#;
        canvas.text(x - 5.0, at + 3.5, end, &shown(*tick, unit));
    }
    let length = scale.span.to - scale.span.from;
    let every = [10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
    let every = every
        .into_iter()
        .find(|every| length / every <= 8.0)
        .unwrap_or(3600.0);
    let mut time = 0.0;
    while time <= length {
        let (at, _) = scale.at((scale.span.from + time, 0.0));
        let text = format!("{}:{:02}", (time / 60.0).floor(), time % 60.0);
        canvas.text(
            at,
            y + h + 14.0,
            r#"class="small" text-anchor="middle""#,
            &text,
        );
        time += every;
    }
    for mark in marks {
        let (at, _) = scale.at((*mark, 0.0));
        let line = path([(at, y), (at, y + h)]);
        canvas.add(&format!(
            r##"<path d="{line}" stroke="#1f60c4" stroke-dasharray="4 3" fill="none"/>"##
        ));
    }
}

/// `points` are a time, what it stands on, and its end.
fn series(
    canvas: &mut Canvas,
    scale: &Scale,
    style: Style,
    points: &[(f64, f64, f64)],
    colour: &str,
) {
    if style == Style::Bars {
        let wide = scale.span.step / (scale.span.to - scale.span.from).max(1.0) * scale.area.w;
        for (time, low, high) in points.iter().filter(|(_, low, high)| high > low) {
            let ((x, y), (_, base)) = (scale.at((*time, *high)), scale.at((*time, *low)));
            let bar = Area {
                x: x - wide * 0.45,
                y,
                w: wide * 0.9,
                h: base - y,
            };
            canvas.fill(bar, colour);
        }
        return;
    }
    // What is missing is a gap.
    let together =
        |one: &(f64, f64, f64), next: &(f64, f64, f64)| next.0 - one.0 < scale.span.step * 1.5;
    for part in points.chunk_by(together) {
        let upper = part.iter().map(|(time, _, high)| scale.at((*time, *high)));
        let upper: Vec<_> = upper.collect();
        if style == Style::Areas {
            let lower = part
                .iter()
                .rev()
                .map(|(time, low, _)| scale.at((*time, *low)));
            let around = path(upper.iter().copied().chain(lower));
            canvas.add(&format!(
                r#"<path d="{around}Z" fill="{colour}" fill-opacity="0.35"/>"#
            ));
        }
        if let [(x, y)] = *upper {
            canvas.add(&format!(
                r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{colour}"/>"#
            ));
        }
        let line = path(upper);
        canvas.add(&format!(
            r#"<path d="{line}" stroke="{colour}" stroke-width="1.8" fill="none"/>"#
        ));
    }
}
