//! The chart's alerts, with Prometheus' own tool.

mod rules;

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
