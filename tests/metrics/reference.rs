//! `docs/metrics.md` is what the metrics say of themselves.

use std::{fmt::Write as _, fs, path::Path};

use opamp_operator::{
    app::METRICS,
    metrics::{Kind, Metric, Unit, Values},
};

use crate::page::{Page, Sample};

const HEAD: &str = "\
# Metrics

`GET /metrics` on the admin port (`admin.listen`, 8081 in the chart), in the OpenMetrics format to whoever accepts it, else in the text format of Prometheus. It is open to every caller that reaches the port: it names profiles, their objects and conditions, and neither agents nor secrets. One page is made at a time; who waits for its turn for more than 10 s is answered 503. The chart makes the Service and, if asked, a ServiceMonitor; see [Operating it](operate.md#metrics).

- The first 1,000 profiles that a process reads have labels of their own. All others together are `namespace=\"\", profile=\"other\"`. The series of a profile end when it is deleted.
- Everything is of one process. Where two run, as during an upgrade, both tell of every profile: `max by (namespace, profile) (…)` counts none twice. Counters begin with 0 when the process starts, and are there from the start.
- Until the operator has read what an earlier process left, `build_info`, `process_…` and what is counted of the Kubernetes API are all there is; counters of the server are there once its port is open.

This page is made of the operator's own descriptions (`make generate`).

| name | type | unit | labels | meaning |
|---|---|---|---|---|
";

pub(crate) fn all() -> Vec<&'static Metric> {
    let mut all: Vec<_> = METRICS.concat();
    all.sort_by_key(|metric| (metric.name.starts_with("process_"), metric.name));
    all
}

fn reference() -> String {
    let mut page = HEAD.to_owned();
    for metric in all() {
        let labels = metric.labels.iter().map(|label| {
            let name = label.name;
            match label.values {
                Values::Of(values) => format!("`{name}`: `{}`", values.join("`, `")),
                Values::Text(text) => format!("`{name}`: {text}"),
            }
        });
        let labels: Vec<_> = labels.collect();
        let unit = metric.unit.map_or("", Unit::name);
        writeln!(
            page,
            "| `{}` | {} | {unit} | {} | {} |",
            metric.name,
            metric.kind.name(),
            labels.join("<br>"),
            metric.help
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_says_what_the_metrics_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = reference();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/metrics.md is not what the metrics make; run `make generate`"
    );
}

#[test]
fn metrics_are_named_as_people_expect() {
    let all = all();
    for metric in &all {
        let name = metric.name;
        let ours = name.starts_with("opamp_operator_") || name.starts_with("process_");
        assert!(ours, "{name}");
        let counter = metric.kind == Kind::Counter;
        assert_eq!(name.ends_with("_total"), counter, "{name}");
        let unit = metric.unit.map(|unit| format!("_{}", unit.name()));
        assert!(unit.is_none_or(|unit| name.ends_with(&unit)), "{name}");
        assert!(metric.help.ends_with('.'), "{name}: {}", metric.help);
        assert!(!metric.help.contains(['\\', '\n', '|']), "{name}");
        let same = all.iter().filter(|other| other.name == name);
        assert_eq!(same.count(), 1, "{name}");
    }
}

/// Whatever a page shows is described, kind, unit, help, labels and all.
pub(crate) fn describes(page: &Page) {
    let all = all();
    for (base, family) in page {
        let total = if family.kind == "counter" {
            "_total"
        } else {
            ""
        };
        let name = format!("{base}{total}");
        let known = all.iter().find(|metric| metric.name == name);
        let metric = known.unwrap_or_else(|| panic!("{name} is not described"));
        assert_eq!(family.kind, metric.kind.name(), "{name}");
        assert_eq!(family.help, metric.help, "{name}");
        assert_eq!(family.unit.as_deref(), metric.unit.map(Unit::name));
        for sample in &family.samples {
            labelled(metric, sample);
        }
    }
}

fn labelled(metric: &Metric, sample: &Sample) {
    let mut labels = sample.labels.clone();
    labels.remove("le");
    for label in metric.labels {
        let value = labels.remove(label.name);
        let value = value.unwrap_or_else(|| panic!("{sample:?} lacks {}", label.name));
        if let Values::Of(values) = label.values {
            assert!(values.contains(&&*value), "{sample:?}");
        }
    }
    assert!(labels.is_empty(), "{sample:?}");
}
