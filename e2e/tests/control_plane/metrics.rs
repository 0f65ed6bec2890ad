//! What a scraper sees of an operator with an API server and a real agent.

use anyhow::{Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::pki::{DAY, KeyKind, Window};
use e2e::scene::{SOON, Setup};

use crate::steps::everyone_runs;

/// The number of the one line that begins so, up to its labels or between them.
fn number(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let named = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|it| line.contains(it))
    };
    let line = page.lines().find(named)?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_is_seen_by_a_scraper() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("metrics", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let window = Window::lasting(60 * DAY);
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, window)?;
    let secret = offerable_tls(CLIENT_TLS, &renewed);
    world.api.apply(&secret).await?;
    everyone_runs(&world, &agents, &renewed, 2).await?;
    let operator = world.operator_mut()?;
    let wanted: [(&str, &[&str], f64); 11] = [
        ("opamp_operator_leader", &[], 1.0),
        ("opamp_operator_profile_revision", &[], 2.0),
        ("opamp_operator_agents", &["state=\"up_to_date\""], 1.0),
        (
            "opamp_operator_connections",
            &["transport=\"WebSocket\""],
            1.0,
        ),
        ("opamp_operator_offers_total", &["outcome=\"proved\""], 2.0),
        ("opamp_operator_rotation_seconds_count", &[], 1.0),
        ("opamp_operator_ledger_entries", &[], 2.0),
        (
            "opamp_operator_kubernetes_writes_total",
            &["\"OpAMPConnectionProfile\"", "\"success\""],
            1.0,
        ),
        (
            "opamp_operator_kubernetes_writes_total",
            &["\"OpAMPAgent\"", "\"success\""],
            1.0,
        ),
        (
            "opamp_operator_kubernetes_writes_total",
            &["\"ControllerRevision\"", "\"success\""],
            2.0,
        ),
        (
            "opamp_operator_kubernetes_writes_total",
            &["\"Lease\"", "\"success\""],
            1.0,
        ),
    ];
    let page = eventually_async("all of it is counted", SOON, async || {
        let page = operator.admin("/metrics").await.unwrap_or_default();
        let lacks = wanted.iter().find(|(name, labels, least)| {
            number(&page, name, labels).is_none_or(|number| number < *least)
        });
        let seen = lacks.map_or(String::new(), |(name, labels, least)| {
            format!("{name} {labels:?} is not {least} in {page}")
        });
        Look::some(lacks.is_none().then_some(page), seen)
    });
    let page = page.await?;
    let end = number(
        &page,
        "opamp_operator_certificate_expiration_timestamp_seconds",
        &["kind=\"Secret\"", CLIENT_TLS],
    );
    let begin = number(&page, "process_start_time_seconds", &[]);
    let days = end.zip(begin).map(|(end, begin)| (end - begin) / 86_400.0);
    ensure!(
        days.is_some_and(|days| (59.0..61.0).contains(&days)),
        "{days:?}"
    );
    for uid in &agents {
        ensure!(!page.contains(uid.as_str()), "metrics name no agents");
    }
    world.finish().await
}
