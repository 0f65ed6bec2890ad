//! What the chart's ServiceAccount may do: what is listed here, and no more. That
//! the operator needs no more is shown by every other test of this tier.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::api::Api;
use e2e::cluster::{Cluster, Kubeconfig, RELEASE, User, random_suffix, repository, shared};
use serde_json::json;

/// Verbs on resources (`group/resource` or `resource`), of one object where one is named.
type Row = (&'static str, &'static str, &'static [&'static str]);

const READ: &[&str] = &["get", "list", "watch"];

const OWN: &[Row] = &[
    (
        "apps/controllerrevisions",
        "",
        &["create", "delete", "get", "list", "watch"],
    ),
    ("coordination.k8s.io/leases", "", &["create"]),
    (
        "coordination.k8s.io/leases",
        "opamp-operator",
        &["get", "update"],
    ),
    ("discovery.k8s.io/endpointslices", "", &["list"]),
    (
        "opamp-operator.dev/opampagents",
        "",
        &["create", "delete", "list", "patch"],
    ),
    ("opamp-operator.dev/opampagents/status", "", &["patch"]),
    ("secrets", "", &["create"]),
    ("configmaps", "opamp-operator-held", &["create", "patch"]),
    ("secrets", "", READ),
    ("configmaps", "", READ),
];

/// Instead of the last two, where it may read no objects but its own and those
/// that the values name.
const OWN_OBJECTS: &[Row] = &[
    ("secrets", "opamp-operator-hash-key", READ),
    ("secrets", "opamp-operator-serving", READ),
    ("secrets", "agent-tokens", READ),
    ("configmaps", "opamp-operator-held", &["get"]),
];

const WATCHED: &[Row] = &[
    (
        "opamp-operator.dev/opampconnectionprofiles",
        "",
        &["list", "watch"],
    ),
    (
        "opamp-operator.dev/opampconnectionprofiles/status",
        "",
        &["patch"],
    ),
    (
        "opamp-operator.dev/opampagents",
        "",
        &["create", "delete", "list", "patch"],
    ),
    ("opamp-operator.dev/opampagents/status", "", &["patch"]),
    ("secrets", "", READ),
    ("configmaps", "", READ),
    ("events.k8s.io/events", "", &["create", "patch"]),
];

/// Where agents may be ServiceAccounts, more in every home namespace ...
const SUBJECTS: &[Row] = &[("serviceaccounts", "", READ), ("pods", "", READ)];

/// ... and everywhere.
const REVIEWS: &[Row] = &[
    ("authentication.k8s.io/tokenreviews", "", &["create"]),
    ("authorization.k8s.io/subjectaccessreviews", "", &["create"]),
];

/// In a home namespace that is not watched, with its token Secret.
const HOME: &[Row] = &[
    (
        "opamp-operator.dev/opampagents",
        "",
        &["create", "delete", "list", "patch"],
    ),
    ("opamp-operator.dev/opampagents/status", "", &["patch"]),
    ("secrets", "agent-tokens", READ),
];

/// Where the chart was applied.
struct Place {
    cluster: &'static Cluster,
    folder: tempfile::TempDir,
    admin: Api,
    own: String,
    watched: String,
    home: String,
    other: String,
}

impl Place {
    /// `helm template … | kubectl apply -f -`, definitions included; `accounts`
    /// says whether agents may be ServiceAccounts.
    async fn new(accounts: bool, values: &[&str]) -> Result<Self> {
        let cluster = shared().await?;
        cluster.install_definitions().await?;
        let admin = cluster.api().await?;
        let own = format!("e2e-permissions-{}", random_suffix()?);
        let (watched, other) = (format!("{own}-watched"), format!("{own}-other"));
        let home = format!("{own}-home");
        for namespace in [&own, &watched, &home, &other] {
            admin.make_namespace(namespace).await?;
        }
        let chart = repository().join("charts/opamp-operator");
        let chart = chart.to_str().context("a path in UTF-8")?;
        let value = format!("watchNamespaces={{{watched}}}");
        let authenticators = if accounts {
            json!([
                {"name": "cluster", "serviceAccount": {}},
                {"name": "tokens", "agentToken": {"secretName": "agent-tokens", "namespace": home}},
            ])
        } else {
            json!([{"name": "tokens", "agentToken": {"secretName": "agent-tokens"}}])
        };
        let authenticators = format!("authenticators={authenticators}");
        let arguments = [
            "template",
            RELEASE,
            chart,
            "--namespace",
            &own,
            "--set",
            &value,
            "--set-json",
            &authenticators,
        ];
        let values: Vec<&str> = values.iter().flat_map(|value| ["--set", *value]).collect();
        let objects = cluster
            .helm()?
            .run(&[&arguments[..], &values].concat())
            .await?;
        let kubectl = cluster.kubectl()?;
        // The definition is everybody's here: others may be writing it as well.
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        kubectl.run_with(&apply, &objects).await?;
        Ok(Self {
            cluster,
            folder: tempfile::tempdir()?,
            admin: admin.within(&own),
            own,
            watched,
            home,
            other,
        })
    }

    /// Whether the operator may do this, and nothing else.
    async fn allows_exactly(&self, expected: &[(&String, Vec<Row>)]) -> Result<()> {
        let metadata = json!({"name": "nobody", "namespace": self.own});
        let nobody = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        self.admin.apply(&nobody).await?;
        let (operator, nobody) = (self.of(RELEASE).await?, self.of("nobody").await?);
        for (namespace, rows) in expected {
            // Every ServiceAccount may ask who it is and what there is.
            let everybody = nobody.rules(namespace).await?;
            let may: BTreeSet<String> = operator.rules(namespace).await?;
            let may: BTreeSet<String> = may.difference(&everybody).cloned().collect();
            let listed: BTreeSet<String> = rows.iter().flat_map(lines).collect();
            ensure!(
                may == listed,
                "in {namespace}\n  not listed: {:?}\n  not allowed: {:?}",
                may.difference(&listed).collect::<Vec<_>>(),
                listed.difference(&may).collect::<Vec<_>>()
            );
        }
        Ok(())
    }

    /// A client of a ServiceAccount of the own namespace.
    async fn of(&self, account: &str) -> Result<Api> {
        let token = self.admin.token(account).await?;
        let file = self.folder.path().join(account);
        let kubeconfig = Kubeconfig::like(&self.cluster.admin(), &self.own, User::Token(token));
        kubeconfig?.write(&file)?;
        Api::of(&file).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_account_may_do_exactly_what_is_listed() -> Result<()> {
    let with = |rows: &[&[Row]]| rows.concat();
    for accounts in [false, true] {
        let place = Place::new(accounts, &[]).await?;
        let expected = if accounts {
            [
                (&place.own, with(&[OWN, REVIEWS])),
                (&place.watched, with(&[WATCHED, SUBJECTS, REVIEWS])),
                (&place.home, with(&[HOME, SUBJECTS, REVIEWS])),
                (&place.other, with(&[REVIEWS])),
            ]
        } else {
            [
                (&place.own, with(&[OWN])),
                (&place.watched, with(&[WATCHED])),
                (&place.home, Vec::new()),
                (&place.other, Vec::new()),
            ]
        };
        place.allows_exactly(&expected).await?;
    }
    // With as little as it can begin with, it reads nobody's Secrets.
    let place = Place::new(false, &["rbac.secretAccess=None"]).await?;
    let others = |rows: &[Row]| -> Vec<Row> {
        let anybodys = |row: &&Row| row.1.is_empty() && row.2 == READ;
        rows.iter().filter(|row| !anybodys(row)).copied().collect()
    };
    let expected = [
        (&place.own, with(&[&others(OWN), OWN_OBJECTS])),
        (&place.watched, others(WATCHED)),
    ];
    place.allows_exactly(&expected).await?;
    // Everywhere what else it may where it watches, and its own at home.
    let place = Place::new(true, &["rbac.secretAccess=Cluster"]).await?;
    let everywhere = with(&[WATCHED, SUBJECTS, REVIEWS]);
    let expected = [
        (&place.own, with(&[OWN, &everywhere])),
        (&place.watched, everywhere.clone()),
        (&place.home, everywhere.clone()),
        (&place.other, everywhere.clone()),
    ];
    place.allows_exactly(&expected).await
}

fn lines((resource, name, verbs): &Row) -> Vec<String> {
    let line = |verb: &&str| format!("{verb} {resource} {name}");
    verbs.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_allows_and_refuses_by_that_list() -> Result<()> {
    let place = Place::new(false, &[]).await?;
    let operator = place.of(RELEASE).await?;
    let (own, watched, other) = (&place.own[..], &place.watched[..], &place.other[..]);
    let profiles = "opamp-operator.dev/opampconnectionprofiles";
    let status = "opamp-operator.dev/opampconnectionprofiles/status";
    let agents = "opamp-operator.dev/opampagents";
    let agents_status = "opamp-operator.dev/opampagents/status";
    let key = "secrets/opamp-operator-hash-key";
    let lease = "coordination.k8s.io/leases";
    let table = [
        (own, "create", "apps/controllerrevisions", true),
        (own, "delete", "apps/controllerrevisions", true),
        (own, "create", lease, true),
        (own, "list", lease, false),
        (other, "create", lease, false),
        (own, "create", "secrets", true),
        (own, "update", key, false),
        (own, "watch", "secrets", true),
        (watched, "watch", profiles, true),
        (watched, "patch", status, true),
        (own, "create", agents, true),
        (watched, "patch", agents_status, true),
        (watched, "update", agents, false),
        (other, "list", agents, false),
        (watched, "watch", "secrets", true),
        (watched, "list", "configmaps", true),
        (watched, "create", "events.k8s.io/events", true),
        // It never changes what people wrote.
        (watched, "update", profiles, false),
        (watched, "create", profiles, false),
        (watched, "delete", profiles, false),
        (watched, "update", "secrets", false),
        (watched, "create", "secrets", false),
        (watched, "update", key, false),
        (watched, "update", "configmaps", false),
        (own, "update", "secrets", false),
        (own, "delete", key, false),
        (own, "create", "configmaps", false),
        (own, "list", profiles, false),
        // It gives itself nothing and becomes nobody else.
        (
            own,
            "create",
            "rbac.authorization.k8s.io/rolebindings",
            false,
        ),
        (own, "impersonate", "serviceaccounts", false),
        (own, "create", "serviceaccounts/x/token", false),
        (own, "get", "pods", false),
        (own, "list", "serviceaccounts", false),
        (own, "impersonate", "users", false),
        // Elsewhere, and everywhere at once, it may nothing.
        (other, "get", "secrets", false),
        (other, "list", profiles, false),
        ("", "list", "secrets", false),
        ("", "list", profiles, false),
        ("", "get", "namespaces", false),
        ("", "create", "authentication.k8s.io/tokenreviews", false),
        (
            "",
            "create",
            "authorization.k8s.io/subjectaccessreviews",
            false,
        ),
    ];
    for (namespace, verb, resource, allowed) in table {
        let answer = may(&operator, namespace, verb, resource).await?;
        ensure!(
            answer == allowed,
            "{verb} {resource} in {namespace:?}: expected {allowed}"
        );
    }
    // And not only by its own word.
    let secrets = operator.within(other).list("Secret").await;
    ensure!(secrets.is_err(), "it reads Secrets of {other}");
    operator.within(watched).list("Secret").await?;
    Ok(())
}

/// Asks as `kubectl auth can-i` does; `resource` is `group/resource`,
/// `resource`, `…/status`, `secrets/name` or `serviceaccounts/name/token`.
async fn may(api: &Api, namespace: &str, verb: &str, resource: &str) -> Result<bool> {
    let parts: Vec<&str> = resource.split('/').collect();
    let (group, resource, name, sub) = match parts[..] {
        ["secrets", name] => ("", "secrets", name, ""),
        [resource, name, "token"] => ("", resource, name, "token"),
        [group, resource, sub] => (group, resource, "", sub),
        [group, resource] => (group, resource, "", ""),
        _ => ("", resource, "", ""),
    };
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource,
            "name": name, "subresource": sub,
        }},
    });
    let answer = api
        .create(&review)
        .await?
        .map_err(|status| anyhow::anyhow!("{status:?}"))?;
    answer["status"]["allowed"].as_bool().context("no answer")
}
