//! What the chart's alerts and its dashboard ask Prometheus for is what the
//! operator tells, by name and label; and somebody is called for everything that
//! is wrong with a profile.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test end it by panicking"
)]

#[path = "monitoring/promql.rs"]
mod promql;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use opamp_operator_api::{ConditionStatus, ConditionType, Reason};
use promql::{Matcher, Query};
use regex::Regex;
use serde_json::Value;

/// What Prometheus itself adds to what it scrapes.
const ADDED: [&str; 4] = ["instance", "job", "namespace", "le"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Name, labels and their values (none: any) of each metric.
type Metrics = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// As the reference has them.
fn metrics() -> Metrics {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let metrics: Metrics = rows.map(metric).collect();
    assert!(metrics.len() > 20, "{metrics:?}");
    metrics
}

/// Of `| name | type | unit | labels | meaning |`.
fn metric(row: &str) -> (String, BTreeMap<String, BTreeSet<String>>) {
    let cells: Vec<_> = row.split(" | ").collect();
    let mut labels = BTreeMap::new();
    for label in cells[3]
        .split("<br>")
        .filter(|label| !label.trim().is_empty())
    {
        let (name, values) = label.split_once(": ").unwrap();
        // Others say what a value is.
        let words = values.split(", ").filter(|_| values.starts_with('`'));
        let words = words.map(|word| word.trim().trim_matches('`').to_owned());
        labels.insert(name.trim().trim_matches('`').to_owned(), words.collect());
    }
    let name = cells[0].trim_start_matches('|').trim().trim_matches('`');
    (name.to_owned(), labels)
}

fn alerts() -> Vec<Value> {
    let rules: Value =
        serde_saphyr::from_str(&read("charts/opamp-operator/examples/alerts.yaml")).unwrap();
    rules["spec"]["groups"][0]["rules"]
        .as_array()
        .unwrap()
        .clone()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("charts/opamp-operator/files/dashboard.json")).unwrap()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    let text = value[field].as_str();
    text.unwrap_or_else(|| panic!("no {field}: {value}"))
}

/// The labels that `{{ … }}` in a text names, each after `prefix`.
fn named(text: &str, prefix: &str) -> Vec<String> {
    let pattern = format!(r"\{{\{{\s*{}([a-zA-Z_]+)\s*\}}\}}", regex::escape(prefix));
    let pattern = Regex::new(&pattern).unwrap();
    let found = pattern.captures_iter(text);
    found.map(|found| found[1].to_owned()).collect()
}

/// Returns the labels that may be in the answer.
fn check(place: &str, expression: &str, metrics: &Metrics) -> BTreeSet<String> {
    let query = Query::read(expression).unwrap_or_else(|why| panic!("{place}: {why}"));
    assert!(!query.selectors.is_empty(), "{place}: asks for nothing");
    let mut known: BTreeSet<String> = ADDED.map(str::to_owned).into();
    for selector in &query.selectors {
        let name = &selector.metric;
        let of_histogram = |end| name.strip_suffix(end).and_then(|name| metrics.get(name));
        let metric = metrics.get(name).or_else(|| {
            ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(of_histogram)
        });
        let labels = metric.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
        known.extend(labels.keys().cloned());
        for matcher in &selector.matchers {
            check_matcher(place, matcher, labels);
        }
    }
    for label in &query.grouped {
        assert!(known.contains(label), "{place}: groups by {label}");
    }
    if query.groups() {
        known.retain(|label| query.grouped.contains(label));
    }
    known
}

fn check_matcher(place: &str, matcher: &Matcher, labels: &BTreeMap<String, BTreeSet<String>>) {
    let Matcher { label, value, .. } = matcher;
    if value.starts_with('$') {
        return assert!(labels.contains_key(label), "{place}: no label {label}");
    }
    let Some(values) = labels.get(label) else {
        return assert!(ADDED.contains(&&**label), "{place}: no label {label}");
    };
    let words: BTreeSet<_> = match &**label {
        "condition" => ConditionType::ALL.iter().map(ToString::to_string).collect(),
        "reason" if values.is_empty() => Reason::ALL.iter().map(ToString::to_string).collect(),
        _ => values.clone(),
    };
    for value in value.split('|').filter(|_| !words.is_empty()) {
        assert!(words.contains(value), "{place}: {label} is never {value}");
    }
}

#[test]
fn alerts_ask_for_what_the_operator_tells() {
    let metrics = metrics();
    for alert in alerts() {
        let name = text(&alert, "alert");
        let known = check(name, text(&alert, "expr"), &metrics);
        let annotations = &alert["annotations"];
        for field in ["summary", "description"] {
            for label in named(text(annotations, field), "$labels.") {
                assert!(known.contains(&label), "{name}: {field} names {label}");
            }
        }
        let severity = text(&alert["labels"], "severity");
        assert!(["critical", "warning"].contains(&severity), "{name}");
    }
}

#[test]
fn the_dashboard_asks_for_what_the_operator_tells() {
    let (metrics, dashboard) = (metrics(), dashboard());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = text(panel, "title");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let known = check(title, text(target, "expr"), &metrics);
            for label in named(target["legendFormat"].as_str().unwrap_or_default(), "") {
                assert!(known.contains(&label), "{title}: its legend has {label}");
            }
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        check("annotations", text(annotation, "expr"), &metrics);
    }
    let values = Regex::new(r"^label_values\((.+), ([a-z_]+)\)$").unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for variable in &variables[1..] {
        let query = text(variable, "query");
        let parts = values.captures(query).unwrap();
        assert!(check(query, &parts[1], &metrics).contains(&parts[2]));
    }
}

/// Nothing lies on another or is unexplained, and the picture is of this one.
#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeSet<_> = variables.iter().map(|it| text(it, "name")).collect();
    assert_eq!(variables, ["datasource", "namespace", "profile"].into());
    let alerts = alerts();
    let alerts: BTreeSet<_> = alerts.iter().map(|alert| text(alert, "alert")).collect();
    let (named_alert, variable) = (
        Regex::new(r"OpAMP[A-Z]\w+").unwrap(),
        Regex::new(r"\$\{?([a-z]\w+)").unwrap(),
    );
    let (mut taken, mut ids, mut told) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let picture = read("docs/dashboard.svg");
    for panel in dashboard["panels"].as_array().unwrap() {
        let (title, about) = (text(panel, "title"), text(panel, "description"));
        assert!(about.ends_with('.'), "{title}: {about}");
        // `UPDATE=1 cargo test --package e2e --test directory monitoring::run` draws it.
        assert!(picture.contains(&format!(">{title}<")), "no {title}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        for alert in named_alert.find_iter(about) {
            assert!(alerts.contains(alert.as_str()), "{title}: {about}");
            told.insert(alert.as_str().to_owned());
        }
        for used in variable.captures_iter(&panel.to_string()) {
            assert!(variables.contains(&used[1]), "{title}: ${}", &used[1]);
        }
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        for (x, y) in (0..at("w")).flat_map(|x| (0..at("h")).map(move |y| (x, y))) {
            let (x, y) = (at("x") + x, at("y") + y);
            assert!(x < 24 && taken.insert((x, y)), "{title} at {x}, {y}");
        }
    }
    let lines = taken.iter().map(|(_, y)| y).max().unwrap() + 1;
    assert_eq!(taken.len() as u64, 24 * lines, "there is a hole");
    // What has no graph of its own: that nothing is scraped, and the operator's own certificate.
    let untold: Vec<_> = alerts.iter().filter(|it| !told.contains(**it)).collect();
    assert_eq!(
        untold,
        [&"OpAMPOperatorDown", &"OpAMPServingCertificateExpiresSoon"]
    );
}

/// Whatever makes `Ready` False calls somebody once, unless it is meant so, goes
/// by itself, or is counted in agents.
#[test]
fn each_reason_why_a_profile_is_not_ready_calls_somebody_once() {
    let mut callers = BTreeMap::<&str, Vec<String>>::new();
    for alert in alerts() {
        let query = Query::read(text(&alert, "expr")).unwrap();
        let Some(first) = query.selectors.first() else {
            continue;
        };
        if first.metric != "opamp_operator_profile_condition" {
            continue;
        }
        let reason = first
            .matchers
            .iter()
            .find(|it| it.label == "reason")
            .unwrap();
        for word in Reason::ALL
            .iter()
            .filter(|word| reason.takes(word.as_str()))
        {
            let callers = callers.entry(word.as_str()).or_default();
            callers.push(text(&alert, "alert").to_owned());
        }
    }
    for reason in Reason::ALL {
        let not_ready = (ConditionType::Ready, ConditionStatus::False);
        if !reason.shown().contains(&not_ready) {
            continue;
        }
        let called = callers.get(reason.as_str()).map_or(0, Vec::len);
        let by_others = [
            Reason::AgentsFailed,
            Reason::AgentsLost,
            Reason::Paused,
            Reason::RolloutInProgress,
        ];
        let wanted = usize::from(!by_others.contains(reason));
        assert_eq!(called, wanted, "{reason}: {callers:?}");
    }
}

/// Each alert has a section of the runbook, and leads there.
#[test]
fn each_alert_leads_to_its_section_of_the_runbook() {
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = text(alert, "alert");
        let url = text(&alert["annotations"], "runbook_url");
        let (page, section) = url.rsplit_once('#').unwrap();
        assert!(page.ends_with("/docs/runbook.md"), "{url}");
        assert_eq!(section, name.to_lowercase());
        names.insert(name);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook.md");
    if !path.exists() {
        return;
    }
    let page = fs::read_to_string(path).unwrap();
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().trim_matches('`'));
    let headings: BTreeSet<_> = headings.filter(|it| it.starts_with("OpAMP")).collect();
    let missing: Vec<_> = names.difference(&headings).collect();
    assert!(missing.is_empty(), "docs/runbook.md lacks {missing:?}");
    let more: Vec<_> = headings.difference(&names).collect();
    assert!(
        more.iter().all(|it| it.contains(' ')),
        "no alerts: {more:?}"
    );
}
