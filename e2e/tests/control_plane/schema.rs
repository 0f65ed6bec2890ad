//! What the API server makes of a profile: fields with two owners, defaults,
//! explanations, and what the rules cost.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{random_suffix, repository, shared};
use serde_json::{Value, json};

/// How much longer the lists and texts are made.
const FACTORS: [u64; 12] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

fn full() -> Result<Value> {
    let file = repository().join("tests/profiles/accepted/full.yaml");
    Ok(serde_saphyr::from_str(&fs::read_to_string(file)?)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_managers_share_a_profile_and_see_its_defaults() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let kubectl = cluster.kubectl()?;
    let namespace = format!("schema-{}", random_suffix()?);
    kubectl.run(&["create", "namespace", &namespace]).await?;
    let apply = async |manager: &str, object: &Value| {
        let manager = format!("--field-manager={manager}");
        let arguments = [
            "apply",
            "--server-side",
            &manager,
            "-n",
            &namespace,
            "-f",
            "-",
        ];
        kubectl.run_with(&arguments, &object.to_string()).await
    };
    // All of it by both, and the least that there is by both, defaults left out.
    let full = full()?;
    apply("git", &full).await?;
    apply("people", &full).await?;
    let least = json!({
        "apiVersion": full["apiVersion"],
        "kind": full["kind"],
        "metadata": {"name": "least"},
        "spec": {
            "agentSelector": {},
            "opamp": {
                "clientCertificate": {"source": "None"},
                "tls": {"caBundleRef": {"name": "server-ca"}},
            },
            "ownTelemetry": {"logs": {"endpoint": "http://localhost:4318/v1/logs"}},
        },
    });
    apply("git", &least).await?;
    apply("people", &least).await?;
    // Each adds to the same lists, of which entries are known by name.
    let adds = |name: &str| {
        let mut object = least.clone();
        object["spec"]["opamp"]["headers"] = json!([{"name": name, "value": "a"}]);
        let other = json!({"name": name, "endpoint": "localhost:1"});
        object["spec"]["otherConnections"] = json!([other]);
        object
    };
    apply("git", &adds("X-Git")).await?;
    apply("people", &adds("X-People")).await?;
    let arguments = ["get", "opcp", "least", "-n", &namespace, "-o", "json"];
    let stored: Value = serde_saphyr::from_str(&kubectl.run(&arguments).await?)?;
    let opamp = &stored["spec"]["opamp"];
    ensure!(
        opamp["headers"].as_array().map(Vec::len) == Some(2),
        "{opamp}"
    );
    let others = &stored["spec"]["otherConnections"];
    ensure!(others.as_array().map(Vec::len) == Some(2), "{others}");
    for (path, default) in [
        ("/priority", json!(0)),
        ("/paused", json!(false)),
        ("/opamp/servedBy", json!("Operator")),
        ("/opamp/compatibility", json!("Universal")),
        ("/opamp/heartbeatIntervalSeconds", json!(30)),
        ("/opamp/tls/systemCAs", json!("Exclude")),
        ("/opamp/tls/insecureSkipVerify", json!(false)),
        ("/opamp/tls/caBundleRef/kind", json!("ConfigMap")),
        ("/opamp/tls/caBundleRef/key", json!("ca.crt")),
        ("/ownTelemetry/logs/clientCertificate/source", json!("None")),
        ("/ownTelemetry/logs/tls/systemCAs", json!("Exclude")),
        ("/otherConnections/0/tls/insecureSkipVerify", json!(false)),
    ] {
        let found = stored["spec"].pointer(path);
        ensure!(found == Some(&default), "{path}: {found:?}");
    }
    // A version of TLS has none: it would be one more field of every offer.
    ensure!(opamp["tls"].get("minVersion").is_none(), "{opamp}");

    let said = kubectl
        .run(&["explain", "opcp.spec.ownTelemetry.metrics"])
        .await?;
    for word in ["clientCertificate", "full URL of the receiver"] {
        ensure!(said.to_lowercase().contains(&word.to_lowercase()), "{said}");
    }
    kubectl
        .run(&["delete", "namespace", &namespace, "--wait=false"])
        .await?;
    Ok(())
}

/// The API server refuses a definition whose rules may cost too much. How near
/// that is, is tried: with lists and texts that may be as many times as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_cost_less_than_the_api_server_allows() -> Result<()> {
    let cluster = shared().await?;
    cluster.install_definitions().await?;
    let kubectl = cluster.kubectl()?;
    let file = repository().join("crds/opampconnectionprofiles.yaml");
    let definition: Value = serde_saphyr::from_str(&fs::read_to_string(file)?)?;
    let arguments = ["replace", "--dry-run=server", "-f", "-"];
    let tried = async |factor: u64| {
        let mut definition = definition.clone();
        let schema = &mut definition["spec"]["versions"][0]["schema"];
        longer(schema, factor);
        kubectl.output(&arguments, &definition.to_string()).await
    };
    let as_it_is = tried(1).await?;
    ensure!(as_it_is.success, "{as_it_is:?}");
    for factor in FACTORS {
        let output = tried(factor).await?;
        if !output.success {
            let said = output.stderr;
            ensure!(said.contains("budget"), "{said}");
            let first = said.split("spec.").nth(1).unwrap_or_default();
            let first: String = first.chars().take(300).collect();
            println!(
                "the rules cost too much with lists and texts {factor} times as long: {first}"
            );
            return Ok(());
        }
    }
    let most = FACTORS.last().context("factors")?;
    println!("the rules cost little: lists and texts may be {most} times as long");
    Ok(())
}

/// Makes all that has a bound that many times as long.
fn longer(schema: &mut Value, factor: u64) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                let bound = ["maxItems", "maxLength", "maxProperties"].contains(&name.as_str());
                match value.as_u64().filter(|_| bound) {
                    Some(most) => *value = (most * factor).into(),
                    None => longer(value, factor),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| longer(item, factor)),
        _ => {}
    }
}
