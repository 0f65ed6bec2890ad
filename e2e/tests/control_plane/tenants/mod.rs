//! Two tenants and an administrator, each with a real agent of a ServiceAccount
//! of its own: a tenant reaches its own agents and no Secret but its own, the
//! administrator reaches all, and whoever is not meant does not notice.

mod hundred;
mod party;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::{SOON, Setup};
use serde_json::json;

use crate::accounts::by_account;
use crate::statuses::told;
use crate::steps::{is_left_alone, nobody_was_refused};
use party::{KIND, OTHER_TLS, Party, accounts, profile_of, shown, was_offered};

/// The highest priority that a tenant may use.
const HIGHEST: i32 = 1_000_000;

/// Two tenants and an administrator; the operator runs, and so do their agents.
async fn parties(world: &mut ClusterWorld) -> Result<[Party; 3]> {
    let tenant = |more| world.api.within(&world.namespace(more));
    let (a, b, admin) = (tenant("tenant-a"), tenant("tenant-b"), world.api.clone());
    let mut parties = [
        Party::new(world, a, "alpha").await?,
        Party::new(world, b, "beta").await?,
        Party::new(world, admin, "gamma").await?,
    ];
    // The tenants want whom they can get; the administrator only his own.
    for (party, selector) in parties
        .iter()
        .zip([json!({}), json!({}), accounts(&["gamma"])])
    {
        let object = profile_of("everything", selector, 0, CLIENT_TLS);
        party.api.apply(&object).await?;
    }
    let others = profile_of("account", accounts(&["beta"]), HIGHEST, CLIENT_TLS);
    parties[0].api.apply(&others).await?;
    world.start_operator().await?;
    for party in &mut parties {
        party.connects(world).await?;
    }
    Ok(parties)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_and_an_administrator_get_what_is_theirs() -> Result<()> {
    let setup = Setup {
        authenticators: Some(by_account()),
        ..Setup::default()
    };
    let more = ["tenant-a", "tenant-b"];
    let mut world = ClusterWorld::watching("tenants", setup, &more).await?;
    let parties = parties(&mut world).await?;
    let [a, b, admin] = &parties;
    for party in &parties {
        party
            .runs(&world, &party.api, "everything", &party.leaf)
            .await?;
    }
    each_reaches_only_its_own(&world, a, b).await?;
    nobody_uses_the_secret_of_another(&world, a, b).await?;
    for party in &parties {
        is_left_alone(&world, &party.uid, &party.leaf, 1).await?;
    }
    println!("{}", shown(&world, "each tenant has its own agent").await?);

    let month = Window::lasting(30 * DAY);
    let leaf = world.client_leaf("takeover", KeyKind::EcdsaP256, month)?;
    admin.api.apply(&offerable_tls(OTHER_TLS, &leaf)).await?;
    let selector = accounts(&["alpha", "beta"]);
    let takeover = profile_of("takeover", selector, 2 * HIGHEST, OTHER_TLS);
    admin.api.apply(&takeover).await?;
    for tenant in [a, b] {
        tenant.runs(&world, &admin.api, "takeover", &leaf).await?;
        gives_way(&world, tenant, admin).await?;
    }
    let counts = [("matched", 2), ("upToDate", 2), ("overridden", 0)];
    admin
        .says("takeover", ("Ready", "True", "Complete"), &counts)
        .await?;
    let said = admin.says(
        "takeover",
        ("Overlapping", "True", "TakesPrecedence"),
        &counts,
    );
    let said = said.await?;
    for tenant in [a, b] {
        let named = format!("`{}/everything` (1 agent)", tenant.api.namespace());
        ensure!(said.contains(&named), "{said}");
    }
    // Nor does a tenant use what the administrator calls the same.
    let missing = ("ResolvedRefs", "False", "SecretNotFound");
    b.says("borrow", missing, &[]).await?;
    println!(
        "{}",
        shown(&world, "the administrator took both over").await?
    );
    let describe = ["describe", "opcp", "everything", "-n", a.api.namespace()];
    println!(
        "$ kubectl {}\n{}",
        describe.join(" "),
        world.kubectl.run(&describe).await?
    );

    admin.api.delete(KIND, "takeover").await?;
    for tenant in [a, b] {
        tenant
            .runs(&world, &tenant.api, "everything", &tenant.leaf)
            .await?;
        let counts = [("matched", 1), ("upToDate", 1), ("overridden", 0)];
        for condition in [
            ("Ready", "True", "Complete"),
            ("Overlapping", "False", "NoOverlap"),
        ] {
            tenant.says("everything", condition, &counts).await?;
        }
    }
    println!(
        "{}",
        shown(&world, "the administrator's profile is gone").await?
    );
    was_offered(&world, a, &[&a.leaf, &leaf, &a.leaf])?;
    was_offered(&world, b, &[&b.leaf, &leaf, &b.leaf])?;

    // All that time nobody touched the third, and nobody's settings changed.
    is_left_alone(&world, &admin.uid, &admin.leaf, 1).await?;
    let links = world.tap.record().of(&admin.uid).len();
    ensure!(
        links == 2,
        "{links} connections of an agent that was offered once"
    );
    for party in &parties {
        let status = party.api.status("everything").await?;
        ensure!(status["revision"]["number"] == 1, "{status}");
    }
    nobody_was_refused(&world)?;
    world.finish().await
}

/// Naming an agent of another tenant, by what it proved or by its instance UID
/// and with the highest priority there is, selects nobody.
async fn each_reaches_only_its_own(world: &ClusterWorld, a: &Party, b: &Party) -> Result<()> {
    for (by, other) in [(a, b), (b, a)] {
        let selector = json!({"instanceUIDs": [other.uid]});
        let object = profile_of("uid", selector, HIGHEST, CLIENT_TLS);
        by.api.apply(&object).await?;
    }
    let none = [("matched", 0), ("overridden", 0)];
    for (by, name) in [(a, "account"), (a, "uid"), (b, "uid")] {
        for condition in [
            ("Ready", "True", "NoAgents"),
            ("Overlapping", "False", "NoOverlap"),
        ] {
            by.says(name, condition, &none).await?;
        }
    }
    for party in [a, b] {
        was_offered(world, party, &[&party.leaf])?;
    }
    Ok(())
}

/// A name means the Secret of the profile's own namespace: there is no other
/// way to say it, and what is not there is not found.
async fn nobody_uses_the_secret_of_another(
    world: &ClusterWorld,
    a: &Party,
    b: &Party,
) -> Result<()> {
    a.api.apply(&offerable_tls(OTHER_TLS, &a.leaf)).await?;
    let borrow = profile_of("borrow", json!({}), 10, OTHER_TLS);
    b.api.apply(&borrow).await?;
    let missing = ("ResolvedRefs", "False", "SecretNotFound");
    let said = b.says("borrow", missing, &[]).await?;
    ensure!(said.contains(OTHER_TLS), "{said}");
    ensure!(!said.contains(a.api.namespace()), "{said}");

    let mut reach = borrow;
    let namespace = json!(a.api.namespace());
    reach["spec"]["opamp"]["clientCertificate"]["secretRef"]["namespace"] = namespace;
    let text = serde_saphyr::to_string(&reach)?;
    let judged = b.api.judge(KIND, &text).await?;
    let refused = judged.err().context("a Secret of another namespace")?;
    ensure!(
        refused.message.contains("secretRef.namespace"),
        "{}",
        refused.message
    );

    let greedy = profile_of("greedy", json!({}), HIGHEST + 1, CLIENT_TLS);
    b.api.apply(&greedy).await?;
    let denied = ("Accepted", "False", "PolicyDenied");
    let said = b.says("greedy", denied, &[]).await?;
    ensure!(said.contains("priority"), "{said}");
    let alone = ("Overlapping", "False", "NoOverlap");
    b.says("everything", alone, &[("matched", 1), ("overridden", 0)])
        .await?;
    was_offered(world, b, &[&b.leaf])
}

/// The tenant is told who has its agent now, and so is the administrator.
async fn gives_way(world: &ClusterWorld, tenant: &Party, admin: &Party) -> Result<()> {
    let counts = [("matched", 0), ("overridden", 1)];
    let lost = ("Overlapping", "True", "Overridden");
    let said = tenant.says("everything", lost, &counts).await?;
    let winner = format!("`{}/takeover` (1 agent)", admin.api.namespace());
    ensure!(said.contains(&winner), "{said}");
    let loser = format!("1 agent of profile `{}/everything`", tenant.api.namespace());
    eventually_async("the event is there", SOON, || async {
        let told = told(world).await.unwrap_or_default();
        let mut about = told.iter().filter(|(what, note, count)| {
            let right = what == "takeover ProfileTookOver" && note.contains(&loser);
            right && note.contains(&tenant.uid) && *count == 1
        });
        Look::when(about.next().is_some(), format!("{told:?}"))
    })
    .await
}
