//! The panels of the chart's dashboard, filled from a Prometheus and drawn
//! without Grafana: enough to see what people will see.

mod draw;
mod numbers;
mod plot;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::prometheus::{Prometheus, Series, Span};

pub use draw::picture;

/// A panel and what it shows.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// `stat`, `timeseries`, `bargauge` or `table`.
    kind: String,
    /// Of Grafana: `s`, `bytes`, …
    unit: String,
    /// Left, top, width, height, of 24 columns.
    place: [f64; 4],
    /// Bars that stand on each other, areas that do, or lines.
    style: Style,
    /// From which value on it has which colour.
    colours: Vec<(f64, String)>,
    /// What its queries gave, in their order.
    pub answers: Vec<Vec<Line>>,
}

/// One line of a graph, bar or row.
#[derive(Clone, Debug)]
pub struct Line {
    /// As the legend has it.
    name: String,
    series: Series,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Lines,
    Areas,
    Bars,
}

/// Asks what all panels of a dashboard ask, for all profiles; rates are over
/// `window`.
///
/// # Errors
/// When a query cannot be answered.
pub async fn filled(
    dashboard: &Value,
    prometheus: &Prometheus,
    span: Span,
    window: &str,
) -> Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for json in dashboard["panels"].as_array().context("no panels")? {
        let mut panel = Panel::read(json)?;
        for target in json["targets"].as_array().context("no targets")? {
            let query = for_all(target["expr"].as_str().context("no query")?, window);
            let found = if target["instant"] == true {
                prometheus.now(&query).await?
            } else {
                prometheus.over(&query, span).await?
            };
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let lines = found.into_iter().map(|series| Line {
                name: filled_in(legend, &series),
                series,
            });
            panel.answers.push(lines.collect());
        }
        panels.push(panel);
    }
    Ok(panels)
}

/// When a dashboard's first annotation holds.
///
/// # Errors
/// When the query cannot be answered.
pub async fn marks(
    dashboard: &Value,
    prometheus: &Prometheus,
    span: Span,
    window: &str,
) -> Result<Vec<f64>> {
    let query = dashboard["annotations"]["list"][0]["expr"].as_str();
    let query = for_all(query.context("no annotation")?, window);
    let found = prometheus.over(&query, span).await?;
    // Grafana too draws one line for what holds a while.
    let starts = found.iter().flat_map(|series| {
        let times = series.points.iter().map(|(time, _)| *time);
        times.scan(f64::MIN, move |before, time| {
            let new = time - *before > 1.5 * span.step;
            *before = time;
            Some((time, new))
        })
    });
    Ok(starts
        .filter(|(_, new)| *new)
        .map(|(time, _)| time)
        .collect())
}

/// With all namespaces and profiles chosen.
fn for_all(query: &str, window: &str) -> String {
    query
        .replace("$namespace", ".*")
        .replace("$profile", ".*")
        .replace("$__rate_interval", window)
}

/// `{{label}}` in a legend.
fn filled_in(legend: &str, series: &Series) -> String {
    let mut text = legend.to_owned();
    for (label, value) in &series.labels {
        text = text.replace(&format!("{{{{{label}}}}}"), value);
    }
    text
}

impl Panel {
    fn read(json: &Value) -> Result<Self> {
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
        let defaults = &json["fieldConfig"]["defaults"];
        let custom = &defaults["custom"];
        let place = ["x", "y", "w", "h"].map(|side| json["gridPos"][side].as_f64().unwrap_or(0.0));
        let steps = defaults["thresholds"]["steps"].as_array();
        let steps = steps.into_iter().flatten().map(|step| {
            let from = step["value"].as_f64().unwrap_or(f64::MIN);
            (from, step["color"].as_str().unwrap_or_default().to_owned())
        });
        let mut colours: Vec<_> = steps.collect();
        if let Some(fixed) = defaults["color"]["fixedColor"].as_str() {
            colours.push((f64::MIN, fixed.to_owned()));
        }
        let stacked = custom["stacking"]["mode"] == "normal";
        let style = match (stacked, custom["drawStyle"] == "bars") {
            (_, true) => Style::Bars,
            (true, false) => Style::Areas,
            (false, false) => Style::Lines,
        };
        Ok(Self {
            title: text("/title").context("a panel without title")?.to_owned(),
            kind: text("/type").context("a panel without type")?.to_owned(),
            unit: defaults["unit"].as_str().unwrap_or("short").to_owned(),
            place,
            style,
            colours,
            answers: Vec::new(),
        })
    }

    /// The queries (from 0) that gave nothing.
    pub fn empty(&self) -> impl Iterator<Item = usize> {
        let nothing = |lines: &Vec<Line>| lines.iter().all(|line| line.series.points.is_empty());
        let answers = self.answers.iter().enumerate();
        answers
            .filter(move |(_, lines)| nothing(lines))
            .map(|(at, _)| at)
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.answers.iter().flatten()
    }

    /// The colour of a value.
    fn colour(&self, value: f64) -> &str {
        let reached = self.colours.iter().rev().find(|(from, _)| value >= *from);
        reached.map_or("blue", |(_, name)| name)
    }
}

impl Line {
    fn last(&self) -> Option<f64> {
        self.series.points.last().map(|(_, value)| *value)
    }
}
