//! The chart: well-formed, strict about its values, with the definition of this
//! repository.

mod sets;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{RELEASE, repository, shared};
use serde_json::{Value, json};

fn chart() -> Result<String> {
    let folder = repository().join("charts/opamp-operator");
    let folder = folder.to_str().context("a path in UTF-8")?;
    Ok(folder.to_owned())
}

fn read(path: &str) -> Result<String> {
    let file = repository().join(path);
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_lints_and_is_strict_about_its_values() -> Result<()> {
    let helm = shared().await?.helm()?;
    let chart = chart()?;
    helm.run(&["lint", "--strict", &chart]).await?;
    let template = ["template", RELEASE, &chart, "--namespace", "ops"];
    for (value, complaint) in [
        (
            "watchNamespace={a}",
            "additional properties 'watchNamespace'",
        ),
        ("crds.enable=true", "additional properties 'enable'"),
        ("watchNamespaces={A}", "/watchNamespaces/0"),
        ("watchNamespaces={a,a}", "/watchNamespaces"),
        ("serviceAccount.create=false", "/serviceAccount/name"),
        ("crds.keep=maybe", "/crds/keep"),
        ("rbac.secretAccess=Some", "/rbac/secretAccess"),
        ("admissionPolicy.enabled=yes", "/admissionPolicy/enabled"),
        ("homeNamespaces={A}", "/homeNamespaces/0"),
        ("limits.conections=1", "additional properties 'conections'"),
        ("image.digest=latest", "/image/digest"),
        ("service.type=ExternalName", "/service/type"),
        ("advertisedURL=ws://x/v1/opamp", "/advertisedURL"),
        ("gateway.tlsRoute.enabled=true", "/gateway/tlsRoute"),
        (
            "metrics.dashboards.enabled=true",
            "additional properties 'dashboards'",
        ),
        (
            "metrics.prometheusRule.alertLabels.severity=page",
            "invalid propertyName 'severity'",
        ),
        (
            "metrics.serviceMonitor.interval=often",
            "/metrics/serviceMonitor/interval",
        ),
        ("replicaCount=2", "only one replica is possible yet"),
        (
            "authenticators[0].name=a,authenticators[0].jwt.issuer=x",
            "missing properties 'audiences', 'jwks'",
        ),
        ("authenticators[0].serviceAccount=x", "/authenticators/0"),
        (
            "authenticators[0].name=a,authenticators[0].clientCertificate.caBundleRef.name=x",
            "'oneOf' failed",
        ),
        ("advertisedURL=wss://x", "its path must be /v1/opamp"),
        (
            "terminationGracePeriodSeconds=20",
            "/terminationGracePeriodSeconds",
        ),
        (
            "podLabels.app\\.kubernetes\\.io/name=x",
            "invalid propertyName 'app.kubernetes.io/name'",
        ),
        (
            "authenticators[0].name=a,authenticators[0].agentTokens.secretName=x",
            "additional properties 'agentTokens'",
        ),
    ] {
        let output = helm
            .output(&[&template[..], &["--set", value]].concat())
            .await?;
        ensure!(!output.success, "{value} was taken");
        ensure!(
            output.stderr.contains(complaint),
            "{value}: {}",
            output.stderr
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_does_what_it_says() -> Result<()> {
    let all = rendered(&[]).await?;
    let definition = find(&all, "CustomResourceDefinition", "");
    let definition = definition.context("no definition")?;
    let ours: Value = serde_saphyr::from_str(&read("crds/opampagents.yaml")?)?;
    let (have, wanted) = (definition["spec"].clone(), ours["spec"].clone());
    ensure!(whole(have) == whole(wanted), "another definition");
    ensure!(keeps(definition), "{}", definition["metadata"]);
    let mut seen = names(&all);
    seen.sort();
    ensure!(
        seen == [
            "Certificate ops/opamp-operator-ca",
            "Certificate ops/opamp-operator-serving",
            "ClusterRole /ops-opamp-operator-admin",
            "ClusterRole /ops-opamp-operator-connect",
            "ClusterRole /ops-opamp-operator-edit",
            "ClusterRole /ops-opamp-operator-reviews",
            "ClusterRole /ops-opamp-operator-view",
            "ClusterRoleBinding /ops-opamp-operator-reviews",
            "ConfigMap ops/opamp-operator",
            "CustomResourceDefinition /opampagents.opamp-operator.dev",
            "CustomResourceDefinition /opampconnectionprofiles.opamp-operator.dev",
            "Deployment ops/opamp-operator",
            "Issuer ops/opamp-operator-ca",
            "Issuer ops/opamp-operator-root",
            "Pod ops/opamp-operator-test",
            "Role ops/opamp-operator",
            "Role ops/opamp-operator-agents",
            "Role ops/opamp-operator-profiles",
            "RoleBinding ops/opamp-operator",
            "RoleBinding ops/opamp-operator-agents",
            "RoleBinding ops/opamp-operator-profiles",
            "Service ops/opamp-operator",
            "Service ops/opamp-operator-metrics",
            "ServiceAccount ops/opamp-operator",
        ],
        "{seen:?}"
    );

    let all = rendered(&["crds.keep=false"]).await?;
    ensure!(!find(&all, "CustomResourceDefinition", "").is_some_and(keeps));
    let all = rendered(&["crds.enabled=false"]).await?;
    ensure!(find(&all, "CustomResourceDefinition", "").is_none());
    let all = rendered(&["rbac.create=false"]).await?;
    ensure!(names(&all).iter().all(|name| !name.contains("Role")));
    let all = rendered(&["rbac.aggregate=false"]).await?;
    ensure!(!names(&all).iter().any(|name| name.ends_with("-edit")));
    let all = rendered(&["strategy.type=Recreate"]).await?;
    let deployment = find(&all, "Deployment", "ops").context("no Deployment")?;
    ensure!(deployment["spec"]["strategy"] == json!({"type": "Recreate"}));
    names_are_what_they_are_set_to().await
}

/// The certificate has what agents call the operator by, and what its issuer signs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_has_the_names_that_agents_use() -> Result<()> {
    let names = async |values: &[&str]| -> Result<(Value, Value)> {
        let all = rendered(values).await?;
        let serving = named(&all, "Certificate", "ops", "opamp-operator-serving");
        let spec = &serving.context("no certificate")?["spec"];
        Ok((spec["dnsNames"].clone(), spec["ipAddresses"].clone()))
    };
    let cluster = [
        "opamp-operator.ops.svc",
        "opamp-operator.ops.svc.cluster.local",
        "opamp-operator.ops",
        "opamp-operator",
    ];
    let (dns, addresses) = names(&[]).await?;
    ensure!(dns == json!(cluster) && addresses.is_null(), "{dns}");
    let public = "advertisedURL=wss://opamp.example.com/v1/opamp";
    let only = ["servingCertificate.internalNames=false", public];
    let (dns, addresses) = names(&only).await?;
    ensure!(
        dns == json!(["opamp.example.com"]) && addresses.is_null(),
        "{dns}"
    );
    for (host, address) in [
        ("192.0.2.1:4320", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ] {
        let url = format!("advertisedURL=wss://{host}/v1/opamp");
        let (dns, addresses) = names(&[&url]).await?;
        ensure!(dns == json!(cluster), "{dns}");
        ensure!(addresses == json!([address]), "{addresses}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_needs_a_restart_replaces_the_pod() -> Result<()> {
    let checksum = |all: &[Value]| -> Result<String> {
        let deployment = find(all, "Deployment", "ops").context("no Deployment")?;
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        let checksum = annotations["checksum/configuration"].as_str();
        Ok(checksum.context("no checksum")?.to_owned())
    };
    let before = checksum(&rendered(&[]).await?)?;
    for value in [
        "retirementHours=1",
        "denyList.name=x",
        "authenticators=null",
    ] {
        ensure!(checksum(&rendered(&[value]).await?)? == before, "{value}");
    }
    for value in ["reviewSeconds=1", "limits.connections=1", "path=/x"] {
        ensure!(checksum(&rendered(&[value]).await?)? != before, "{value}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_follow_from_what_is_configured() -> Result<()> {
    let all = rendered(&["watchNamespaces={a,b}"]).await?;
    for namespace in ["a", "b"] {
        let binding = find(&all, "RoleBinding", namespace).context("no binding")?;
        let subject = &binding["subjects"][0];
        ensure!(subject["namespace"] == "ops" && subject["name"] == RELEASE);
        ensure!(find(&all, "Role", namespace).is_some());
    }
    let own = all.iter().filter(|object| object["kind"] == "Role");
    let own = own.filter(|object| object["metadata"]["namespace"] == "ops");
    ensure!(own.count() == 1, "the release namespace is not watched");

    // Without the right to read everything, what the values name can be read.
    let little = [
        "rbac.secretAccess=None",
        "denyList.name=denied",
        "authenticators[0].name=a",
        "authenticators[0].agentToken.secretName=token",
        "authenticators[1].name=b",
        "authenticators[1].clientCertificate.caBundleRef.name=agents",
        "authenticators[1].clientCertificate.namespace=ops",
    ];
    let all = rendered(&little).await?;
    let role = named(&all, "Role", "ops", RELEASE).context("no role")?;
    let rules = role["rules"].as_array().context("no rules")?;
    for (kind, name) in [
        ("secrets", "opamp-operator-serving"),
        ("secrets", "token"),
        ("configmaps", "denied"),
        ("configmaps", "agents"),
    ] {
        let reads = rules.iter().any(|rule| {
            let watch = json!(["get", "list", "watch"]);
            rule["resources"] == json!([kind])
                && rule["resourceNames"] == json!([name])
                && rule["verbs"] == watch
        });
        ensure!(reads, "{kind} {name}: {role}");
    }
    // Strangers are at home somewhere, too.
    let all = rendered(&["anonymous.namespace=strangers"]).await?;
    ensure!(named(&all, "Role", "strangers", "opamp-operator-agents").is_some());

    // With permissions for every namespace there are no Roles in them.
    let everywhere = ["watchNamespaces={a,b}", "rbac.secretAccess=Cluster"];
    let all = rendered(&everywhere).await?;
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        ensure!(named(&all, kind, "", "ops-opamp-operator").is_some());
    }
    ensure!(find(&all, "Role", "a").is_none() && find(&all, "Role", "ops").is_some());

    // Agents that are ServiceAccounts need more than those that have tokens.
    let tokens = [
        "authenticators[0].name=a",
        "authenticators[0].agentToken.secretName=x",
    ];
    let fewer = names(&rendered(&tokens).await?);
    ensure!(
        !fewer
            .iter()
            .any(|name| name.ends_with("-agents") || name.ends_with("-reviews"))
    );
    let people = |all: &[Value], name: &str| named(all, "ClusterRole", "", name).is_some();
    let accounts = [
        "authenticators[0].name=a",
        "authenticators[0].serviceAccount.audience=x",
        "homeNamespaces={a,ops}",
    ];
    let all = rendered(&accounts).await?;
    // Who administers a namespace lets its ServiceAccounts connect.
    let without = rendered(&[&accounts[..], &["rbac.aggregate=false"]].concat()).await?;
    let (connect, admin) = ("ops-opamp-operator-connect", "ops-opamp-operator-admin");
    ensure!(people(&all, connect) && people(&without, connect));
    ensure!(people(&all, admin) && !people(&without, admin));
    for namespace in ["a", "ops"] {
        let role = named(&all, "Role", namespace, "opamp-operator-agents");
        let role = role.context("no role")?.to_string();
        ensure!(role.contains("\"pods\""), "{role}");
        // What the release namespace has anyway is not given twice.
        ensure!(role.contains("opampagents") == (namespace == "a"), "{role}");
        let bound = named(&all, "RoleBinding", namespace, "opamp-operator-agents");
        ensure!(bound.is_some(), "nobody has the role");
    }
    for kind in ["ClusterRole", "ClusterRoleBinding"] {
        let reviews = named(&all, kind, "", "ops-opamp-operator-reviews");
        ensure!(reviews.is_some(), "no {kind}");
    }
    Ok(())
}

async fn names_are_what_they_are_set_to() -> Result<()> {
    let account = ["serviceAccount.create=false", "serviceAccount.name=mine"];
    let all = rendered(&account).await?;
    ensure!(find(&all, "ServiceAccount", "ops").is_none());
    let bindings = all.iter().filter(|object| object["kind"] == "RoleBinding");
    for binding in bindings {
        ensure!(binding["subjects"][0]["name"] == "mine", "{binding}");
    }
    let all = rendered(&["fullnameOverride=x", "serviceAccount.annotations.a=b"]).await?;
    let account = find(&all, "ServiceAccount", "ops").context("no account")?;
    ensure!(account["metadata"]["name"] == "x");
    ensure!(account["metadata"]["annotations"]["a"] == "b");
    let all = rendered(&["nameOverride=agents"]).await?;
    let account = find(&all, "ServiceAccount", "ops").context("no account")?;
    ensure!(account["metadata"]["name"] == "opamp-operator-agents");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_found_by_who_scrapes() -> Result<()> {
    let monitor = |all: &[Value]| find(all, "ServiceMonitor", "ops").cloned();
    let wanted = "metrics.serviceMonitor.enabled=true";
    ensure!(
        monitor(&rendered(&[wanted]).await?).is_none(),
        "no such API"
    );
    let labels = "metrics.serviceMonitor.labels.release=prometheus";
    let all = rendered_by(&[API], &[wanted, labels]).await?;
    let made = monitor(&all).context("no ServiceMonitor")?;
    let forced = [wanted, labels, "metrics.serviceMonitor.force=true"];
    ensure!(monitor(&rendered(&forced).await?) == Some(made.clone()));
    ensure!(made["metadata"]["labels"]["release"] == "prometheus");
    // It finds the one Service that has what it scrapes.
    let endpoint = &made["spec"]["endpoints"][0];
    ensure!(endpoint["path"] == "/metrics" && endpoint["interval"] == "30s");
    let selected = made["spec"]["selector"]["matchLabels"].as_object();
    let selected = selected.context("no selector")?;
    let found = all.iter().filter(|object| {
        let labels = &object["metadata"]["labels"];
        object["kind"] == "Service" && selected.iter().all(|(key, value)| labels[key] == *value)
    });
    let found: Vec<_> = found.collect();
    ensure!(found.len() == 1, "{found:?}");
    let port = &found[0]["spec"]["ports"][0];
    ensure!(port["name"] == endpoint["port"] && port["targetPort"] == "admin");
    // And is let in.
    let policy = |all: &[Value]| {
        let policy = find(all, "NetworkPolicy", "ops").context("no NetworkPolicy")?;
        anyhow::Ok(policy["spec"]["ingress"].to_string())
    };
    let enabled = "networkPolicy.enabled=true";
    let from = "networkPolicy.metrics[0].namespaceSelector.matchLabels.a=b";
    let open = policy(&rendered(&[enabled, from]).await?)?;
    ensure!(
        open.contains("admin") && open.contains(r#"{"a":"b"}"#),
        "{open}"
    );
    let off = rendered(&[enabled, wanted, "metrics.enabled=false"]).await?;
    ensure!(!policy(&off)?.contains("admin") && monitor(&off).is_none());
    ensure!(named(&off, "Service", "ops", "opamp-operator-metrics").is_none());
    Ok(())
}

/// Of the Prometheus operator.
const API: &str = "--api-versions=monitoring.coreos.com/v1/ServiceMonitor";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admission_policy_is_for_the_watched_namespaces() -> Result<()> {
    let all = rendered(&["admissionPolicy.enabled=true", "watchNamespaces={a,b}"]).await?;
    for kind in [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ] {
        let found = named(&all, kind, "", "ops-opamp-operator-secrets");
        let text = found.with_context(|| format!("no {kind}"))?.to_string();
        let bound = text.contains(r#""values":["a","b"]"#);
        ensure!(bound == kind.ends_with("Binding"), "{text}");
    }
    Ok(())
}

/// What the chart makes of some values, in namespace `ops`.
async fn rendered(values: &[&str]) -> Result<Vec<Value>> {
    rendered_by(&[], values).await
}

/// The same with more arguments.
async fn rendered_by(more: &[&str], values: &[&str]) -> Result<Vec<Value>> {
    let chart = chart()?;
    let template = ["template", RELEASE, &chart, "--namespace", "ops"];
    let mut arguments = [&template[..], more].concat();
    for value in values {
        arguments.extend(["--set", value]);
    }
    let text = shared().await?.helm()?.run(&arguments).await?;
    let text = text.trim_start_matches("---\n");
    let documents = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).with_context(|| document.to_owned()));
    documents.collect()
}

/// YAML's 1.0 is Helm's 1.
fn whole(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields.map(|(name, value)| (name, whole(value))).collect()
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) => float.into(),
            None => number.into(),
        },
        other => other,
    }
}

/// Kind, namespace and name of each object.
fn names(all: &[Value]) -> Vec<String> {
    let text = |object: &Value, pointer| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let name = |object: &Value| {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        format!("{kind} {}/{name}", text(object, "/metadata/namespace"))
    };
    all.iter().map(name).collect()
}

fn find<'a>(all: &'a [Value], kind: &str, namespace: &str) -> Option<&'a Value> {
    let of = |object: &&Value| {
        let place = object["metadata"]["namespace"].as_str();
        object["kind"] == kind && place.unwrap_or_default() == namespace
    };
    all.iter().find(of)
}

fn named<'a>(all: &'a [Value], kind: &str, namespace: &str, name: &str) -> Option<&'a Value> {
    let of = |object: &&Value| {
        let place = object["metadata"]["namespace"].as_str();
        object["kind"] == kind
            && place.unwrap_or_default() == namespace
            && object["metadata"]["name"] == name
    };
    all.iter().find(of)
}

fn keeps(definition: &Value) -> bool {
    definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
}
