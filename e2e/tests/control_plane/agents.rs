//! `OpAMPAgent` objects: who runs what at a glance, found by fields, and
//! written by nobody but the operator.

use anyhow::{Result, ensure};
use e2e::cluster::{ClusterWorld, RELEASE};
use e2e::eventually::{Look, eventually_async};
use e2e::scene::{PROFILE, SOON, Setup};

use crate::accounts::by_account;
use crate::probe::{Probe, bearing};
use crate::steps::{ready, shows_leaf};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_found_by_what_became_of_their_settings() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("agents", Setup::default()).await?;
    let good = world.supervisor("a1").await?;
    shows_leaf(&world, &good, &leaf).await?;
    ready(&world, 1, 1).await?;

    let token = world.bootstrap_token().to_owned();
    let long = "x".repeat(64 * 1024);
    let names = [
        ("service.name", "収集器\u{202e}\n東京"),
        ("host.name", long.as_str()),
    ];
    let mut bad = Probe::enter(&world, &bearing(&token), &names).await?;
    let words = format!("tls: bad certificate, sent \u{1b}[31mBearer {token} to it");
    bad.fails(&words).await?;
    let uid = bad.uid().to_string();

    let api = world.api.clone();
    let failed = eventually_async("the failure is written", SOON, || async {
        let agent = api.get("OpAMPAgent", &uid).await.ok().flatten();
        let agent = agent.unwrap_or_default();
        let failed = agent["status"]["settings"]["state"] == "Failed";
        let seen = agent["status"].to_string();
        Look::some(failed.then_some(agent), seen)
    })
    .await?;
    let status = &failed["status"];
    let said = &status["settings"]["lastError"]["message"];
    ensure!(said == "tls bad certificate … to it", "{said}");
    let description = &status["description"];
    ensure!(description["serviceName"] == "収集器 東京", "{description}");
    ensure!(description["hostName"].is_null(), "{description}");
    ensure!(
        status["connected"] == true && status["connectedTime"].is_string(),
        "{status}"
    );
    let capabilities = status["capabilities"].to_string();
    ensure!(
        capabilities.contains("AcceptsOpAMPConnectionSettings"),
        "{capabilities}"
    );

    let profile = format!("status.profile.name={PROFILE},status.connected=true");
    let both = {
        let mut both = [good.clone(), uid.clone()];
        both.sort();
        both.to_vec()
    };
    for (selector, expected) in [
        ("status.settings.state=Failed", vec![uid.clone()]),
        ("status.settings.state=Applied", vec![good.clone()]),
        ("status.settings.state=Lost", Vec::new()),
        (profile.as_str(), both),
    ] {
        let get = ["get", "opag", "-o", "name", "--field-selector", selector];
        let found = world.kubectl(&get, "").await?;
        let found = found.lines().filter_map(|line| line.rsplit('/').next());
        let mut found: Vec<_> = found.map(str::to_owned).collect();
        found.sort();
        ensure!(found == expected, "{selector}: {found:?}");
    }
    let table = world.kubectl(&["get", "opag"], "").await?;
    let row = |uid: &str| {
        table
            .lines()
            .find(|line| line.starts_with(uid))
            .unwrap_or_default()
    };
    for word in ["SERVICE", "HOST", "PROFILE", "SETTINGS", "EVIDENCE"] {
        ensure!(
            table.lines().next().is_some_and(|head| head.contains(word)),
            "{table}"
        );
    }
    ensure!(
        row(&good).contains("Applied") && row(&good).contains("SettingsHeader"),
        "{table}"
    );
    ensure!(
        row(&uid).contains("Failed") && row(&uid).contains("収集器 東京"),
        "{table}"
    );
    world.timeline.add("kubectl get opag", format!("\n{table}"));
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_look_at_agents_and_write_profiles_by_their_usual_roles() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let mut world = ClusterWorld::new("people", setup).await?;
    for role in ["view", "edit", "admin"] {
        let (name, role, user) = (
            format!("{role}-in-test"),
            format!("--clusterrole={role}"),
            format!("--user={role}-in-test"),
        );
        world
            .kubectl(&["create", "rolebinding", &name, &role, &user], "")
            .await?;
    }
    let agents = "opampagents.opamp-operator.dev";
    let profiles = "opampconnectionprofiles.opamp-operator.dev";
    for (role, verb, resource, status, expected) in [
        ("view", "list", agents, false, true),
        ("view", "watch", profiles, false, true),
        ("view", "update", profiles, false, false),
        ("view", "delete", agents, false, false),
        ("edit", "create", profiles, false, true),
        ("edit", "get", agents, false, true),
        ("edit", "patch", agents, false, false),
        ("edit", "delete", agents, false, false),
        ("edit", "patch", agents, true, false),
        ("admin", "create", agents, false, false),
        ("admin", "update", agents, true, false),
        ("admin", "delete", profiles, false, true),
        ("admin", "connect", agents, false, false),
    ] {
        let user = format!("--as={role}-in-test");
        let mut ask = vec!["auth", "can-i", verb, resource, &user];
        if status {
            ask.push("--subresource=status");
        }
        // The control plane aggregates roles a moment after they are made.
        let what = format!("{role} may {verb} {resource}: {expected}");
        let (kubectl, namespace) = (&world.kubectl, world.api.namespace());
        eventually_async(&what, SOON, || async {
            let ask = [&["--namespace", namespace][..], &ask[..]].concat();
            let output = kubectl.output(&ask, "").await;
            let said = output.map(|output| output.stdout).unwrap_or_default();
            Look::when((said.trim() == "yes") == expected && !said.is_empty(), said)
        })
        .await?;
    }
    // Nobody has `connect`, and the administrator of a namespace gives it.
    let namespace = world.api.namespace().to_owned();
    let agent = format!("--clusterrole={namespace}-{RELEASE}-connect");
    let whom = format!("--serviceaccount={namespace}:default");
    for (role, may) in [("edit", false), ("admin", true)] {
        let user = format!("--as={role}-in-test");
        let bind = [
            "--namespace",
            &namespace,
            "create",
            "rolebinding",
            "agents",
            &agent,
            &whom,
            &user,
        ];
        let output = world.kubectl.output(&bind, "").await?;
        ensure!(output.success == may, "{role}: {}", output.stderr);
    }
    let user = format!("--as=system:serviceaccount:{namespace}:default");
    let ask = [
        "--namespace",
        &namespace,
        "auth",
        "can-i",
        "connect",
        agents,
        &user,
    ];
    let output = world.kubectl.output(&ask, "").await?;
    ensure!(output.stdout.trim() == "yes", "{}", output.stderr);
    world.start_operator().await?;
    world.finish().await
}
