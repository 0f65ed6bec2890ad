//! The definition of `OpAMPConnectionProfile` in a real API server.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{repository, shared};
use kube::core::Status;

const NAME: &str = "opampconnectionprofiles.opamp-operator.dev";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_definition_applies_in_both_ways_and_is_established() -> Result<()> {
    let cluster = shared().await?;
    // `kubectl apply -f crds/`
    cluster.install_definitions().await?;
    let kubectl = cluster.kubectl()?;
    let folder = repository().join("crds");
    let folder = folder.to_str().context("a path in UTF-8")?;
    kubectl
        .run(&["apply", "--server-side", "-f", folder])
        .await?;
    let api = cluster.api().await?;
    let definition = api.get("CustomResourceDefinition", NAME).await?;
    let definition = definition.context("no definition")?;
    let conditions = definition["status"]["conditions"].as_array();
    for kind in ["Established", "NamesAccepted"] {
        let mut all = conditions.into_iter().flatten();
        let holds = all.any(|one| one["type"] == kind && one["status"] == "True");
        ensure!(holds, "{kind}: {conditions:?}");
    }
    // A schema that the API server finds fault with is served all the same.
    let mut all = conditions.into_iter().flatten();
    let fault = all.find(|one| one["type"] == "NonStructuralSchema");
    ensure!(fault.is_none(), "{fault:?}");

    let short = kubectl.run(&["get", "opcp", "--all-namespaces"]).await;
    ensure!(short.is_ok(), "{short:?}");
    let category = kubectl.run(&["get", "opamp", "--all-namespaces"]).await;
    ensure!(category.is_ok(), "{category:?}");
    Ok(())
}

fn corpus(folder: &str) -> Result<Vec<(String, String)>> {
    let folder = repository().join("tests/profiles").join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().context("a file")?;
        let name = name.to_string_lossy().into_owned();
        files.push((name, fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_profiles_are_accepted_by_the_api_server() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let api = cluster.api().await?;
    let files = corpus("accepted")?;
    ensure!(files.len() >= 20, "only {} files", files.len());
    let mut failures = Vec::new();
    for (name, text) in &files {
        if let Err(status) = api.judge("OpAMPConnectionProfile", text).await? {
            failures.push(format!("{name}: {}", status.message));
        }
    }
    ensure!(failures.is_empty(), "refused:\n{}", failures.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_profiles_are_refused_by_the_api_server_for_their_reason() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let api = cluster.api().await?;
    let files = corpus("refused")?;
    ensure!(files.len() >= 100, "only {} files", files.len());
    let mut failures = Vec::new();
    for (name, text) in &files {
        let comment = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# refused: "));
        let expected = comment.and_then(|text| text.split_once(": "));
        let (field, part) = expected.context(format!("{name}: no expectation"))?;
        match api.judge("OpAMPConnectionProfile", text).await? {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(status) if says(&status, field, part) => {}
            Err(status) => failures.push(format!(
                "{name}: expected {field}: {part}\n    {}\n    {:?}",
                status.message, status.details
            )),
        }
    }
    ensure!(
        failures.is_empty(),
        "{} not as expected:\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

/// Whether the refusal names the field and says this of it.
fn says(status: &Status, field: &str, part: &str) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut causes = causes.filter(|cause| same_field(&cause.field, field));
    let said = |message: &str| message.contains(part) || message.contains(&in_its_words(part));
    causes.any(|cause| said(&cause.message)) || does_not_decode(&status.message, field, part)
}

/// Rules of our own are quoted as they are; of its own the API server speaks
/// otherwise than our judge.
fn in_its_words(part: &str) -> String {
    let bounds = [
        ("must be at most ", "should be less than or equal to "),
        ("must be at least ", "should be greater than or equal to "),
        ("at most ", "may not be more than "),
    ];
    for (ours, its) in bounds {
        if let Some(bound) = part.strip_prefix(ours) {
            return format!("{its}{bound}");
        }
    }
    let words = match part {
        "must be set" => "Required value",
        "must not be empty" => "should be at least 1 chars long",
        "must match" => "should match",
        "must be unique" | "must be unique in the list" => "Duplicate value",
        "must be of type integer" => "must be of type int32",
        "must be a string" => "a valid label must be an empty string or consist of",
        "must have a key" => "name part must consist of",
        "lower-case" => "a lowercase RFC 1123 subdomain",
        _ if part.starts_with("must be one of") => "Unsupported value",
        _ => part,
    };
    words.to_owned()
}

/// It names entries of maps like fields, and of labels the whole map.
fn same_field(its: &str, ours: &str) -> bool {
    let entry = ours
        .strip_suffix(']')
        .and_then(|ours| ours.rsplit_once('['));
    let Some((map, key)) = entry.filter(|(_, key)| key.parse::<u32>().is_err()) else {
        return its == ours;
    };
    its == format!("{map}.{key}") || (map == "metadata.labels" && its == map)
}

/// What cannot be decoded has no causes, only a text.
fn does_not_decode(message: &str, field: &str, part: &str) -> bool {
    let unknown = |field: &str| message.contains(&format!("unknown field \"{field}"));
    match part {
        "unknown field" => unknown(&format!("{field}\"")),
        // Its fields are looked for before its type.
        "must be of type array" => unknown(&format!("{field}.")),
        "must be a string" => {
            let map = field.split('[').next().unwrap_or_default();
            let map = map.trim_start_matches("metadata.");
            message.contains(&format!("ObjectMeta.{map} of type string"))
        }
        _ => false,
    }
}
