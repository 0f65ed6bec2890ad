//! `promtool` about the rules: they are well-formed, and each alert fires when
//! it should and not when it should not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::parts::{Parts, Set};
use serde_json::Value;
use tempfile::TempDir;

use super::rules;

/// When what fires.
const TESTS: &str = include_str!("alerts.yaml");

struct Bench {
    promtool: std::path::PathBuf,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Result<Self> {
        let parts = Parts::ensure(Set::Monitoring).await?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("alerts.yaml"), TESTS)?;
        Ok(Self {
            promtool: parts.path("promtool")?.to_owned(),
            folder,
        })
    }

    /// What promtool says of these rules, and whether it is content.
    fn judge(&self, rules: &Value, arguments: &[&str]) -> Result<(bool, String)> {
        // JSON is YAML.
        fs::write(self.folder.path().join("rules.yaml"), rules.to_string())?;
        said(&self.promtool, self.folder.path(), arguments)
    }
}

fn said(program: &Path, folder: &Path, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((output.status.success(), text))
}

#[tokio::test]
async fn the_rules_of_the_chart_are_what_promtool_takes() -> Result<()> {
    let (bench, mut rules) = (Bench::new().await?, rules()?);
    let check = ["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"];
    let (good, text) = bench.judge(&rules, &check)?;
    ensure!(good, "{text}");
    let count = rules["groups"][0]["rules"].as_array().context("no rules")?;
    ensure!(text.contains(&format!("{} rules", count.len())), "{text}");
    rules["groups"][0]["rules"][0]["expr"] = "absent(".into();
    ensure!(!bench.judge(&rules, &check)?.0);
    Ok(())
}

#[tokio::test]
async fn each_alert_fires_when_it_should_and_not_when_it_should_not() -> Result<()> {
    let (bench, rules) = (Bench::new().await?, rules()?);
    let unit_tests = ["test", "rules", "alerts.yaml"];
    let (good, text) = bench.judge(&rules, &unit_tests)?;
    ensure!(good, "{text}");
    let all = rules["groups"][0]["rules"].as_array().context("no rules")?;
    for (at, alert) in all.iter().enumerate() {
        let expression = alert["expr"].as_str().context("no expression")?;
        let own = format!("({expression})");
        // The tests see it if an alert is deaf, or fires at once for all that it is told.
        for (field, broken) in [
            ("expr", format!("{own} > Inf")),
            ("expr", always(expression)?),
            ("for", "0s".to_owned()),
        ] {
            let mut rules = rules.clone();
            rules["groups"][0]["rules"][at][field] = broken.clone().into();
            let (good, text) = bench.judge(&rules, &unit_tests)?;
            let name = &alert["alert"];
            ensure!(!good, "no test sees that {name} has {field}: {broken}");
            ensure!(!text.contains("could not parse"), "{text}");
        }
    }
    Ok(())
}

/// The same without what bounds it.
fn always(expression: &str) -> Result<String> {
    if let Some(absent) = expression.strip_prefix("absent(") {
        return Ok(format!("absent(no_such_metric and {absent}"));
    }
    // A reason, or a number behind `>` or `<`.
    if let Some(at) = ["reason=", "reason!"]
        .iter()
        .find_map(|it| expression.find(it))
    {
        let (before, rest) = expression.split_at(at);
        let after = rest.splitn(3, '"').nth(2).context("a matcher")?;
        return Ok(format!("{before}reason=~\".+\"{after}"));
    }
    let (sign, bound) = [(" > ", "-Inf"), (" < ", "Inf")]
        .into_iter()
        .find(|(sign, _)| expression.contains(sign))
        .context("no bound")?;
    let (before, rest) = expression.split_once(sign).context("a bound")?;
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    Ok(format!("{before}{sign}{bound}{after}"))
}
