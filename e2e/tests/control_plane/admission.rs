//! The chart's ValidatingAdmissionPolicy: who writes a profile must be allowed
//! to read what it sends to agents.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::api::Api;
use e2e::cluster::{Kubeconfig, RELEASE, User, random_suffix, repository, shared};
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{API_VERSION, profile};
use kube::core::Status;
use serde_json::{Value, json};

/// A policy comes into force some time after it was written.
const IN_FORCE: Duration = Duration::from_secs(60);
const RBAC: &str = "rbac.authorization.k8s.io";

/// A namespace with the policy, somebody who may write profiles and get the
/// Secret `mine`, and somebody who may only write profiles.
struct Place {
    admin: Api,
    author: Api,
    stranger: Api,
    namespace: String,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Result<Self> {
        let cluster = shared().await?;
        cluster.install_definitions().await?;
        let namespace = format!("e2e-admission-{}", random_suffix()?);
        let admin = cluster.api().await?.within(&namespace);
        admin.make_namespace(&namespace).await?;
        let chart = repository().join("charts/opamp-operator");
        let chart = chart.to_str().context("a path in UTF-8")?;
        let arguments = [
            "template",
            RELEASE,
            chart,
            "--namespace",
            &namespace,
            "--set",
            "admissionPolicy.enabled=true",
            "--show-only",
            "templates/admission.yaml",
        ];
        let policy = cluster.helm()?.run(&arguments).await?;
        let apply = ["apply", "-f", "-"];
        cluster.kubectl()?.run_with(&apply, &policy).await?;

        let profiles = ["create", "get", "update", "patch"];
        let may_write = json!([{
            "apiGroups": ["opamp-operator.dev"],
            "resources": ["opampconnectionprofiles"],
            "verbs": profiles,
        }]);
        let may_get = json!([{
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"],
        }]);
        let folder = tempfile::tempdir()?;
        let mut clients = Vec::new();
        for (account, roles) in [
            ("author", vec![("write", &may_write), ("get", &may_get)]),
            ("stranger", vec![("write", &may_write)]),
        ] {
            let metadata = json!({"name": account});
            let object =
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
            admin.apply(&object).await?;
            for (name, rules) in roles {
                grant(&admin, account, name, rules).await?;
            }
            let token = admin.token(account).await?;
            let file = folder.path().join(account);
            let user = User::Token(token);
            Kubeconfig::like(&cluster.admin(), &namespace, user)?.write(&file)?;
            clients.push(Api::of(&file).await?);
        }
        let [author, stranger] =
            <[Api; 2]>::try_from(clients).map_err(|_| anyhow::anyhow!("two"))?;
        let place = Self {
            admin,
            author,
            stranger,
            namespace,
            _folder: folder,
        };
        let refused = eventually_async("the policy is in force", IN_FORCE, || async {
            match place
                .stranger
                .judge("OpAMPConnectionProfile", &sends("mine"))
                .await
            {
                Ok(answer) => Look::some(answer.err(), "accepted"),
                Err(error) => Look::NotYet(format!("{error:#}")),
            }
        });
        let status = refused.await?;
        ensure!(status.code == 403, "{status:?}");
        Ok(place)
    }

    async fn judge(&self, who: &Api, spec: &Value) -> Result<Result<Value, Box<Status>>> {
        let text = serde_saphyr::to_string(&whole(spec))?;
        who.judge("OpAMPConnectionProfile", &text).await
    }
}

async fn grant(admin: &Api, account: &str, name: &str, rules: &Value) -> Result<()> {
    let name = format!("{account}-{name}");
    let version = format!("{RBAC}/v1");
    let metadata = json!({"name": name});
    let role = json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules});
    admin.apply(&role).await?;
    let binding = json!({
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": admin.namespace()}],
    });
    admin.apply(&binding).await.map(drop)
}

fn header(name: &str, secret: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}})
}

/// A profile in YAML that sends this Secret as a header.
fn sends(secret: &str) -> String {
    let object = whole(&json!({"opamp": {"headers": [header("X-Token", secret)]}}));
    serde_saphyr::to_string(&object).unwrap_or_default()
}

/// A profile with what a test does not care about.
fn whole(spec: &Value) -> Value {
    let mut opamp = json!({
        "clientCertificate": {"source": "None"},
        "tls": {"caBundleRef": {"name": "server-ca", "key": "ca.crt"}},
    });
    let mut object = profile("p", &opamp);
    for (field, value) in spec.as_object().into_iter().flatten() {
        if field == "opamp" {
            for (field, value) in value.as_object().into_iter().flatten() {
                opamp[field] = value.clone();
            }
        } else {
            object["spec"][field] = value.clone();
        }
    }
    object["spec"]["opamp"] = opamp;
    object
}

/// Every place where a profile names a Secret: where it is in the schema, and a
/// spec that names this one there.
fn places(secret: &str) -> Vec<(&'static str, Value)> {
    let pair = json!({"source": "Secret", "secretRef": {"name": secret}});
    let bundle = json!({"caBundleRef": {"kind": "Secret", "name": secret, "key": "ca.crt"}});
    let proxy = json!({
        "url": "https://proxy.example.com:3128",
        "connectHeaders": [header("Proxy-Authorization", secret)],
    });
    let connection = |field: &str, value: &Value| {
        let mut one = json!({"endpoint": "https://telemetry.example.com:4318/v1/metrics"});
        one["tls"] = json!({"caBundleRef": {"name": "server-ca", "key": "ca.crt"}});
        one[field] = value.clone();
        one
    };
    let other = |field: &str, value: &Value| {
        let mut one = connection(field, value);
        one["name"] = json!("otlp");
        json!({"otherConnections": [one]})
    };
    let headers = json!([header("X-Token", secret)]);
    vec![
        ("/opamp", json!({"opamp": {"headers": headers}})),
        ("/opamp", json!({"opamp": {"clientCertificate": pair}})),
        ("/opamp", json!({"opamp": {"tls": bundle}})),
        (
            "/opamp/properties/proxy",
            json!({"opamp": {"proxy": proxy}}),
        ),
        (
            "/ownTelemetry",
            json!({"ownTelemetry": {"metrics": connection("headers", &headers)}}),
        ),
        (
            "/ownTelemetry",
            json!({"ownTelemetry": {"traces": connection("clientCertificate", &pair)}}),
        ),
        (
            "/ownTelemetry",
            json!({"ownTelemetry": {"logs": connection("tls", &bundle)}}),
        ),
        (
            "/ownTelemetry",
            json!({"ownTelemetry": {"logs": connection("proxy", &proxy)}}),
        ),
        ("/otherConnections", other("headers", &headers)),
        ("/otherConnections", other("clientCertificate", &pair)),
        ("/otherConnections", other("tls", &bundle)),
        ("/otherConnections", other("proxy", &proxy)),
    ]
}

/// Whether the definition has a field below `spec`.
fn defined(field: &str) -> Result<bool> {
    let file = repository().join("crds/opampconnectionprofiles.yaml");
    let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    Ok(definition.pointer(&format!("{spec}{field}")).is_some())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_author_must_be_allowed_to_get_each_secret_of_a_profile() -> Result<()> {
    let place = Place::new().await?;
    let mut judged = 0;
    for (field, spec) in places("mine") {
        if !defined(field)? {
            continue;
        }
        let allowed = place.judge(&place.author, &spec).await?;
        ensure!(allowed.is_ok(), "{spec}: {allowed:?}");
        let refused = place.judge(&place.stranger, &spec).await?;
        let status = refused.err().with_context(|| format!("accepted: {spec}"))?;
        for part in [
            "stranger may not get Secret `mine`",
            &format!(
                "kubectl create role read-mine -n {} --verb=get",
                place.namespace
            ),
        ] {
            ensure!(status.message.contains(part), "{spec}: {}", status.message);
        }
        judged += 1;
    }
    ensure!(judged >= 3, "only {judged} places");
    // Of several the one is named that is not allowed.
    let headers = json!([
        header("X-A", "mine"),
        header("X-B", "mine"),
        header("X-C", "others")
    ]);
    let both = json!({"opamp": {"headers": headers}});
    let refused = place.judge(&place.author, &both).await?;
    let status = refused.err().context("accepted")?;
    ensure!(
        status.message.contains("may not get Secret `others`"),
        "{}",
        status.message
    );
    ensure!(!status.message.contains("`mine`"), "{}", status.message);
    // Without any Secret nobody is asked anything.
    let none = place.judge(&place.stranger, &json!({})).await?;
    ensure!(none.is_ok(), "{none:?}");
    // As many as one connection takes are looked at, each once.
    let headers: Vec<_> = (0..24)
        .map(|n| header(&format!("X-{n}"), &format!("s-{n}")))
        .collect();
    let mut many = json!({"opamp": {"headers": headers}});
    let answer = place.judge(&place.admin, &many).await?;
    ensure!(answer.is_ok(), "{answer:?}");
    let pair = |name: &str| json!({"source": "Secret", "secretRef": {"name": name}});
    many["opamp"]["clientCertificate"] = pair("s-7");
    let answer = place.judge(&place.admin, &many).await?;
    ensure!(answer.is_ok(), "{answer:?}");
    many["opamp"]["clientCertificate"] = pair("s-24");
    let answer = place.judge(&place.admin, &many).await?;
    let status = answer.err().context("accepted")?;
    ensure!(
        status.message.contains("more than 24 Secrets"),
        "{}",
        status.message
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_author_is_asked_again_when_the_spec_changes() -> Result<()> {
    let place = Place::new().await?;
    let kind = "OpAMPConnectionProfile";
    let object = whole(&json!({"opamp": {"headers": [header("X-Token", "mine")]}}));
    let made = place.author.create(&object).await?;
    ensure!(made.is_ok(), "{made:?}");
    // The same Secret would go elsewhere.
    let elsewhere = json!({"spec": {"opamp": {"endpoint": "wss://elsewhere.example.com/"}}});
    let refused = place.stranger.merge(kind, "p", &elsewhere).await;
    let said = refused.err().context("accepted")?.to_string();
    ensure!(
        said.contains("stranger may not get Secret `mine`"),
        "{said}"
    );
    place.author.merge(kind, "p", &elsewhere).await?;
    let label = json!({"metadata": {"labels": {"team": "blue"}}});
    place.stranger.merge(kind, "p", &label).await?;
    // By server-side apply as well, and with the Secret taken out.
    let applied = json!({
        "apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "p"},
        "spec": {"priority": 7},
    });
    ensure!(place.stranger.apply(&applied).await.is_err(), "applied");
    place.author.apply(&applied).await?;
    let without = json!({"spec": {"opamp": {"headers": null}}});
    place.stranger.merge(kind, "p", &without).await?;
    Ok(())
}
