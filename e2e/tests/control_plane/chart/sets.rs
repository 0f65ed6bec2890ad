//! What people get by default, and by the sets of values that the chart has.

use std::{fs, io::Write as _, process::Command};

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{RELEASE, random_suffix, repository, shared};
use e2e::operator::binary;
use serde_json::Value;

use super::{chart, read};

/// Whoever changes the chart sees here what people get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_is_rendered_as_it_is_shown() -> Result<()> {
    // The definitions are in `crds/` already.
    is_shown("default", &["--set", "crds.enabled=false"]).await
}

/// Promtool judges what is shown, and so do tests that have no helm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alerts_are_rendered_as_they_are_shown() -> Result<()> {
    let only = ["--show-only", "templates/prometheusrule.yaml"];
    let on = ["--set", "metrics.prometheusRule.enabled=true"];
    is_shown("alerts", &[only, on].concat()).await
}

async fn is_shown(name: &str, values: &[&str]) -> Result<()> {
    let chart = chart()?;
    let arguments = ["template", RELEASE, &chart, "--namespace", "opamp-system"];
    let arguments = [&arguments[..], values].concat();
    let made = shared().await?.helm()?.run(&arguments).await?;
    let path = format!("charts/opamp-operator/examples/{name}.yaml");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(repository().join(path), made)?;
    } else {
        ensure!(
            made == read(&path)?,
            "{path} is another: run `UPDATE=1 cargo test --package e2e --test control_plane rendered_as`"
        );
    }
    Ok(())
}

/// Each set of values in `ci/` is one that people have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_set_of_values_lints_and_is_taken_by_an_api_server() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    cluster.install_gateway_definitions().await?;
    cluster.install_monitoring_definitions().await?;
    let (chart, kubectl, helm) = (chart()?, cluster.kubectl()?, cluster.helm()?);
    let api = cluster.api().await?;
    for namespace in ["team-a", "team-b", "edge", "strangers"] {
        api.make_namespace(namespace).await?;
    }
    let folder = repository().join("charts/opamp-operator/ci");
    let mut sets: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    sets.sort_by_key(std::fs::DirEntry::file_name);
    ensure!(sets.len() >= 8, "{sets:?}");
    for set in sets {
        let (path, name) = (set.path(), set.file_name());
        let name = name.to_string_lossy();
        let values = path.to_str().context("a path in UTF-8")?;
        helm.run(&["lint", "--strict", &chart, "--values", values])
            .await?;
        // What the Pod is judged by.
        let label = "pod-security.kubernetes.io/enforce=restricted";
        let namespace = format!("e2e-chart-{}", random_suffix()?);
        api.make_namespace(&namespace).await?;
        kubectl
            .run(&["label", "namespace", &namespace, label])
            .await?;
        let template = ["template", RELEASE, &chart, "--namespace", &namespace];
        // Other tests write the definitions at the same time.
        let values = ["--values", values, "--set", "crds.enabled=false"];
        let objects = helm.run(&[&template[..], &values].concat()).await?;
        let taken = kubectl
            .output(&["apply", "--dry-run=server", "-f", "-"], &objects)
            .await?;
        ensure!(taken.success, "{name}: {}", taken.stderr);
        // A Deployment is only warned of what its Pods would be refused for.
        ensure!(
            !taken.stderr.contains("Warning"),
            "{name}: {}",
            taken.stderr
        );
        let configuration = ["--show-only", "templates/configmap.yaml"];
        let text = helm
            .run(&[&template[..], &values, &configuration].concat())
            .await?;
        checked(&text).with_context(|| format!("{name}: {text}"))?;
        let rules = name.starts_with("monitoring").then_some("prometheusrule");
        let kinds = ["deployment.apps", "service", "configmap"].into_iter();
        for kind in kinds.chain(rules) {
            ensure!(taken.stdout.contains(kind), "{name}: {}", taken.stdout);
        }
    }
    Ok(())
}

/// The operator takes the configuration that the chart made for it.
fn checked(rendered: &str) -> Result<()> {
    let map = rendered.split("\n---\n").next().unwrap_or_default();
    let map: Value = serde_saphyr::from_str(map.trim_start_matches("---\n"))?;
    let text = map["data"]["operator.yaml"].as_str();
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.context("no configuration")?.as_bytes())?;
    let mut command = Command::new(binary()?);
    command.args(["config", "check"]).arg(file.path());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(())
}
