//! The chart's alerts and dashboard, with Prometheus' own tools.

mod rules;
mod run;

use anyhow::{Context as _, Result};
use e2e::cluster::repository;
use e2e::manifests::read_yaml;
use serde_json::Value;

/// The rules that the chart makes by default; a test with helm compares them.
fn rules() -> Result<Value> {
    let path = repository().join("charts/opamp-operator/examples/alerts.yaml");
    let mut object = read_yaml(&path).context("no rules")?;
    Ok(object["spec"].take())
}

fn dashboard() -> Result<Value> {
    let path = repository().join("charts/opamp-operator/files/dashboard.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}
