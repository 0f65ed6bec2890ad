//! What pages and examples give people to apply is taken by a real API server,
//! and what they give Helm by the chart.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{RELEASE, random_suffix, repository, shared};
use e2e::pages::{self, Page};
use serde_json::Value;

/// The operator's own configuration is no object of the API.
const OWN: &str = "OperatorConfiguration";

/// The files below `examples`.
fn examples() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["examples", "examples/laptop", "examples/quick-start"] {
        for entry in fs::read_dir(repository().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "yaml") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Everything that is an object, with where it stands.
fn objects() -> Result<Vec<(String, Value)>> {
    let mut texts = Vec::new();
    for file in examples()? {
        texts.push((file.display().to_string(), fs::read_to_string(&file)?));
    }
    for block in pages::all()?.iter().flat_map(Page::blocks) {
        if block.language() == "yaml" && block.info.len() == 1 {
            texts.push((block.place, block.text));
        }
    }
    let mut objects = Vec::new();
    for (place, text) in texts {
        for document in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).context(place.clone())?;
            // A collector's configuration has no kind, nor has a part of ours.
            if object["kind"].is_string() && object["kind"] != OWN {
                objects.push((place.clone(), object));
            }
        }
    }
    Ok(objects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_takes_what_pages_and_examples_give_it() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let kubectl = cluster.kubectl()?;
    let namespace = format!("pages-{}", random_suffix()?);
    cluster.api().await?.make_namespace(&namespace).await?;
    let objects = objects()?;
    ensure!(objects.len() >= 25, "only {}", objects.len());
    let mut refused = Vec::new();
    for (place, mut object) in objects {
        // It lies in a namespace that there is.
        object["metadata"]["namespace"] = namespace.clone().into();
        let apply = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        let taken = kubectl.output(&apply, &object.to_string()).await?;
        if !taken.success || taken.stderr.contains("Warning") {
            refused.push(format!("{place}: {}: {}", object["kind"], taken.stderr));
        }
    }
    ensure!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
    kubectl
        .run(&["delete", "namespace", &namespace, "--wait=false"])
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_takes_the_values_of_the_pages() -> Result<()> {
    let helm = shared().await?.helm()?;
    let chart = repository().join("charts/opamp-operator");
    let chart = chart.to_str().context("a path in UTF-8")?;
    let mut count = 0;
    for block in pages::all()?.iter().flat_map(Page::blocks) {
        if block.language() != "yaml" || !block.is("values") {
            continue;
        }
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), &block.text)?;
        let values = file.path().to_str().context("a path in UTF-8")?;
        let arguments = ["template", RELEASE, chart, "--values", values];
        helm.run(&arguments).await.context(block.place)?;
        count += 1;
    }
    ensure!(count > 0, "no values on any page");
    Ok(())
}
