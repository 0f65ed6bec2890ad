//! `opamp-operator explain` and the pages of the admin listener, on a running
//! operator with a real supervisor.

use anyhow::{Context as _, Result, ensure};
use e2e::manifests::{bearer, mutual_tls, offerable_tls, profile};
use e2e::operator::command;
use e2e::pki::{DAY, KeyKind, Window};
use e2e::world::{PROFILE, SOON, Setup, World};
use serde_json::{Value, json};

use crate::steps::applies_leaf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_operator_explains_which_profile_applies() -> Result<()> {
    let (mut world, _) = World::with_mutual_tls("explain", Setup::default()).await?;
    let better = world.client_leaf("better", KeyKind::EcdsaP256, Window::lasting(DAY))?;
    world
        .manifests
        .apply(&offerable_tls("better-tls", &better))?;
    let mut opamp = mutual_tls();
    opamp["clientCertificate"]["secretRef"]["name"] = "better-tls".into();
    for (name, priority, agent) in [("better", 5, "a1"), ("best", 9, "another")] {
        let mut object = profile(name, &opamp);
        object["spec"]["priority"] = priority.into();
        object["spec"]["agentSelector"] = json!({"matchAttributes": {"e2e.agent": agent}});
        world.manifests.apply(&object)?;
    }
    world
        .manifests
        .apply(&profile("broken", &bearer("nowhere")))?;
    let state = world.state();
    for name in ["better", "best"] {
        state
            .wait_for_condition(name, "ResolvedRefs", "True", "", SOON)
            .await?;
    }
    state
        .wait_for_condition("broken", "ResolvedRefs", "False", "SecretNotFound", SOON)
        .await?;
    let uid = world.supervisor("a1").await?;
    applies_leaf(&world, &uid, &better).await?;
    ensure!(state.agent(&uid)["status"]["profile"]["name"] == "better");

    let operator = world.operator_mut()?;
    let address = operator.admin_address().to_string();
    let text = command(&["explain", "--agent", &uid, "--admin", &address])?;
    let line = |profile: &str| {
        let mut table = text.lines().skip_while(|line| !line.starts_with("PROFILE"));
        let found = table.find(|line| line.starts_with(profile));
        found.with_context(|| format!("no {profile} in {text}"))
    };
    ensure!(text.contains("\ndefault/better applies\n"), "{text}");
    ensure!(line("default/better ")?.contains("Applies"), "{text}");
    let best = line("default/best ")?;
    ensure!(
        best.contains("NotSelected") && best.contains("`e2e.agent` to be `another`"),
        "{text}"
    );
    let standard = line(&format!("default/{PROFILE} "))?;
    ensure!(
        standard.contains("Outranked") && standard.contains("higher priority (5 against 0)"),
        "{text}"
    );
    let broken = line("default/broken ")?;
    ensure!(
        broken.contains("NotInForce") && broken.contains("SecretNotFound"),
        "{text}"
    );
    // Pages show what the state files hold.
    let answer = operator.admin(&format!("/agents/{uid}")).await?;
    let body = answer.split("\r\n\r\n").nth(1).context("no body")?;
    let shown: Value = serde_saphyr::from_str(body)?;
    ensure!(shown["status"]["settings"]["state"] == "Applied", "{shown}");
    let answer = operator.admin("/profiles").await?;
    ensure!(
        answer.contains("name: better") && answer.contains("SecretNotFound"),
        "{answer}"
    );
    world.finish().await
}
