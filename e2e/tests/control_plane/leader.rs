//! Two processes of one operator: one writes, both serve, and neither offers
//! against the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::{ClusterWorld, RELEASE};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::operator::Operator;
use e2e::pki::{DAY, KeyKind, Leaf, Window};
use e2e::process::{LogMark, read_from};
use e2e::scene::{PROFILE, SOON, Setup};
use e2e::steps::comes_back;
use serde_json::Value;

use crate::statuses::told;
use crate::steps::{everyone_runs, nobody_was_refused, offers, ready, shows_leaf, stays_unoffered};

/// What the holder of the Lease says.
const LEADS: &str = "holding the Lease";
/// A Lease runs out 15 s after it was renewed last, and is looked at every 2 s.
/// The rest is for a busy machine.
const LEASE: Duration = Duration::from_secs(17 + 8);
/// A released one is taken within 2 s.
const RELEASED: Duration = Duration::from_secs(2 + 4);

/// Agents that were connected to another process are expected for two minutes.
const EXPECTED: Duration = Duration::from_secs(180);

/// Waits until an operator leads; how long after `since` that was.
async fn leads(operator: &mut Operator, since: Instant, within: Duration) -> Result<Duration> {
    let from = LogMark::default();
    operator.wait_for_log(LEADS, from, within).await?;
    Ok(since.elapsed())
}

async fn lease(world: &ClusterWorld) -> Result<Value> {
    let lease = world.api.get("Lease", RELEASE).await?;
    Ok(lease.context("no Lease")?["spec"].take())
}

/// Numbers in the ledger, in order.
async fn published(world: &ClusterWorld) -> Result<Vec<u64>> {
    let all = world.api.list("ControllerRevision").await?;
    let all = all["items"].as_array().into_iter().flatten();
    let mut numbers: Vec<_> = all.filter_map(|one| one["revision"].as_u64()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

async fn renew(world: &mut ClusterWorld, name: &str, days: u32) -> Result<Leaf> {
    let window = Window::lasting(days * DAY);
    let leaf = world.client_leaf(name, KeyKind::EcdsaP256, window)?;
    world.api.apply(&offerable_tls(CLIENT_TLS, &leaf)).await?;
    Ok(leaf)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_the_next_process_goes_on_when_the_holder_of_the_lease_is_killed() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("leader", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let (before, first) = (told(&world).await?, lease(&world).await?);
    let mut second = world.second_operator().await?;
    ensure!(!read_from(second.log(), LogMark::default()).contains(LEADS));

    let left = world.tap.record().of(&agents[0]).pop().map(|last| last.id);
    world.tap.set_operator(second.address());
    let killed = Instant::now();
    world.kill_operator()?;
    // It serves at once, and publishes when it leads.
    comes_back(&world, &agents[0], "another connection", |last| {
        Some(last.id) != left
    })
    .await?;
    stays_unoffered(&world, &agents[0], &leaf).await?;
    let renewed = renew(&mut world, "renewed", 60).await?;
    let after = leads(&mut second, killed, LEASE).await?;
    println!("kill -9: leads after {after:?}");
    ensure!(after <= LEASE, "{after:?}");
    everyone_runs(&world, &agents, &renewed, 2).await?;
    ensure!(published(&world).await? == [1, 2]);
    ensure!(offers(&world, &agents[0]).len() == 2);
    let next = lease(&world).await?;
    let changed = first["holderIdentity"] != next["holderIdentity"];
    ensure!(changed && next["leaseTransitions"] == 1, "{first} {next}");
    // What was told before was not told again.
    let now = told(&world).await?;
    ensure!(before.is_subset(&now), "{before:#?} {now:#?}");

    // In order: nobody waits for the Lease to run out.
    world.start_operator_again().await?;
    second.stop().await?;
    let ended = Instant::now();
    let operator = world.operator_mut()?;
    let log = read_from(operator.log(), LogMark::default());
    let already = log.matches(LEADS).count();
    ensure!(already <= 2, "{already}");
    let deadline = ended + RELEASED;
    while read_from(operator.log(), LogMark::default())
        .matches(LEADS)
        .count()
        < 2
    {
        ensure!(Instant::now() < deadline, "the Lease was not released");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("orderly end: leads after {:?}", ended.elapsed());
    ready(&world, 2, 1).await?;
    nobody_was_refused(&world)?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_two_processes_serve_what_one_of_them_publishes() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("follower", Setup::default()).await?;
    let one = world.supervisor("a1").await?;
    everyone_runs(&world, std::slice::from_ref(&one), &leaf, 1).await?;
    let mut second = world.second_operator().await?;
    world.tap.set_operator(second.address());
    // Its first settings come from a process that publishes nothing.
    let two = world.supervisor("a2").await?;
    let agents = [one, two];
    shows_leaf(&world, &agents[1], &leaf).await?;

    let renewed = renew(&mut world, "renewed", 60).await?;
    for uid in &agents {
        shows_leaf(&world, uid, &renewed).await?;
    }
    ensure!(published(&world).await? == [1, 2]);
    for uid in &agents {
        let count = offers(&world, uid).len();
        ensure!(count == 2, "{uid}: {count} offers");
    }
    let log = read_from(second.log(), LogMark::default());
    ensure!(!log.contains(LEADS), "two lead");

    // The first one goes: what it said stays so, and nobody is offered anything.
    let (said, status) = (told(&world).await?, world.api.status(PROFILE).await?);
    world.operator_mut()?.stop().await?;
    let after = leads(&mut second, Instant::now(), RELEASED).await?;
    println!("rolling update: leads after {after:?}");
    ready(&world, 2, 2).await?;
    let now = world.api.status(PROFILE).await?;
    ensure!(status["revision"] == now["revision"], "{status} {now}");
    let now = told(&world).await?;
    ensure!(said.is_subset(&now), "{said:#?} {now:#?}");
    let third = renew(&mut world, "third", 90).await?;
    everyone_runs(&world, &agents, &third, 3).await?;
    ensure!(published(&world).await? == [1, 2, 3]);
    for uid in &agents {
        let count = offers(&world, uid).len();
        ensure!(count == 3, "{uid}: {count} offers");
    }
    nobody_was_refused(&world)?;
    // The world's end asks the first one.
    world.start_operator_again().await?;
    second.stop().await?;
    world.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_a_holder_that_stood_still_writes_nothing_when_it_goes_on() -> Result<()> {
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("still", Setup::default()).await?;
    let agents = [world.supervisor("a1").await?];
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let mut second = world.second_operator().await?;
    let begun = Instant::now();
    world.operator_mut()?.stand_still();
    leads(&mut second, begun, LEASE).await?;
    // The agent is still with the first one, and waits.
    let renewed = renew(&mut world, "renewed", 60).await?;
    let from = LogMark::default();
    let in_force = "revision=2 marker";
    second.wait_for_log(in_force, from, SOON).await?;
    let first = world.operator_mut()?;
    let from = LogMark::end_of(first.log());
    first.go_on();
    first.wait_for_log("the Lease is lost", from, SOON).await?;
    // What the second one published reaches the agent through the first one,
    // with which alone there is an agent to begin with: as soon as the second
    // one expects none any more.
    let nobody = |status: &Value| (status["agents"]["connected"] == 0).then_some(());
    let api = world.api.clone();
    api.wait_for_status("nobody comes to the second", PROFILE, EXPECTED, nobody)
        .await?;
    shows_leaf(&world, &agents[0], &renewed).await?;
    ensure!(published(&world).await? == [1, 2]);
    ensure!(offers(&world, &agents[0]).len() == 2);
    let log = read_from(world.operator_mut()?.log(), from);
    ensure!(!log.contains(LEADS), "two lead");
    nobody_was_refused(&world)?;
    second.stop().await?;
    leads_again(&mut world, from).await?;
    ready(&world, 2, 1).await?;
    world.finish().await
}

/// The first process holds the Lease once more.
async fn leads_again(world: &mut ClusterWorld, from: LogMark) -> Result<()> {
    let first = world.operator_mut()?;
    first.wait_for_log(LEADS, from, LEASE).await.map(drop)
}
