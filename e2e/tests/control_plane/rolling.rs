//! A rolling update as the agents see it: one process ends while another one
//! takes over, behind one address.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::ClusterWorld;
use e2e::eventually::{Look, eventually_async};
use e2e::manifests::{CLIENT_TLS, offerable_tls};
use e2e::operator::POD;
use e2e::pki::{DAY, KeyKind, Window};
use e2e::process::{LogMark, read_from};
use e2e::scene::{SOON, Setup};
use e2e::tap::{Kind, Side};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::statuses::{versions, watch};
use crate::steps::{everyone_runs, nobody_was_refused, offers, ready, stays_unoffered};

const SERVICE: &str = "opamp";
const AGENTS: usize = 4;
/// From the announced close to the next upgrade, for each agent.
const BACK: Duration = Duration::from_secs(30);
/// What the operator may take to end with few agents, on a busy machine.
const END: Duration = Duration::from_secs(30);

/// What the control plane writes of the Service: is the Pod ready?
fn slice(ready: bool) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "opamp-1",
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": "IPv4",
        "ports": [{"port": 4320}],
        "endpoints": [{
            "addresses": ["10.1.2.3"],
            "conditions": {"ready": ready, "serving": true, "terminating": !ready},
            "targetRef": {"kind": "Pod", "name": POD},
        }],
    })
}

/// When the operator announced to an agent that it goes, and when that agent
/// asked for the next connection.
fn gap(world: &ClusterWorld, uid: &str) -> Option<Duration> {
    let of = world.tap.record().of(uid);
    let last = of.last()?;
    let before = of.iter().rev().nth(1)?;
    let events = world.tap.record().events();
    let away = |kind: &Kind| matches!(kind, Kind::CloseFrame(Side::Operator, Some(1001)));
    let announced = events
        .iter()
        .find(|event| event.connection == before.id && away(&event.kind))?;
    let asked = events
        .iter()
        .find(|event| event.connection == last.id && matches!(event.kind, Kind::Request(_)))?;
    Some(asked.at.saturating_sub(announced.at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law8_agents_come_through_a_rolling_update_unoffered_and_unrefused() -> Result<()> {
    let setup = Setup {
        configuration: json!({"shutdown": {"serviceName": SERVICE}}),
        ..Setup::default()
    };
    let (mut world, leaf) = ClusterWorld::with_mutual_tls("rolling", setup).await?;
    world.api.apply(&slice(true)).await?;
    let mut agents = Vec::new();
    for number in 1..=AGENTS {
        agents.push(world.supervisor(&format!("a{number}")).await?);
    }
    everyone_runs(&world, &agents, &leaf, 1).await?;
    let file = world.folder().join("watch.json");
    let watched = watch(&world, &file)?;
    let mut second = world.second_operator().await?;
    ensure!(second.admin("/readyz").await?.contains("200 OK"));

    // Asked to end it is not ready, and serves as long as agents are sent to it.
    let operator = world.operator_mut()?;
    let (old, log) = (operator.address(), operator.log().to_owned());
    let asked = Instant::now();
    operator.terminate();
    let unready = || async {
        let page = operator.admin("/readyz").await.unwrap_or_default();
        Look::when(page.contains("503") && page.contains("[-]running"), page)
    };
    eventually_async("it is not ready", SOON, unready).await?;
    ensure!(operator.admin("/livez").await?.contains("200 OK"));
    TcpStream::connect(old).await.context("it serves on")?;
    let closed = |log: &str| log.contains("no agent is sent here any more");
    ensure!(!closed(&read_from(&log, LogMark::default())));
    // Its endpoint goes, and the address leads to the other one.
    world.tap.set_operator(second.address());
    world.api.apply(&slice(false)).await?;
    world.operator_mut()?.end(END).await?;
    println!("ended {:?} after SIGTERM", asked.elapsed());
    ensure!(closed(&read_from(&log, LogMark::default())));

    for uid in &agents {
        stays_unoffered(&world, uid, &leaf).await?;
        let gap = gap(&world, uid).context("it was not told 1001")?;
        println!("{uid}: {gap:?} from the close to the next upgrade");
        ensure!(gap <= BACK, "{gap:?}");
        let count = offers(&world, uid).len();
        ensure!(count == 1, "{count} offers");
    }
    let from = LogMark::default();
    second.wait_for_log("holding the Lease", from, SOON).await?;
    ready(&world, 1, u64::try_from(AGENTS)?).await?;
    nobody_was_refused(&world)?;
    // Whoever looked at the profile saw nothing of it all.
    let seen = versions(&file);
    drop(watched);
    ensure!(!seen.is_empty());
    for version in &seen {
        let status = &version["status"];
        let all = status["conditions"].as_array().into_iter().flatten();
        let mut ready = all.filter(|one| one["type"] == "Ready");
        let ready = ready.next().is_some_and(|ready| ready["status"] == "True");
        let counts = &status["agents"];
        let whole = counts["connected"] == AGENTS && counts["upToDate"] == AGENTS;
        ensure!(ready && whole, "{status:#}");
    }
    println!("{} versions of the profile meanwhile", seen.len());

    let window = Window::lasting(60 * DAY);
    let renewed = world.client_leaf("renewed", KeyKind::EcdsaP256, window)?;
    let secret = offerable_tls(CLIENT_TLS, &renewed);
    world.api.apply(&secret).await?;
    everyone_runs(&world, &agents, &renewed, 2).await?;
    nobody_was_refused(&world)?;
    world.start_operator_again().await?;
    second.stop().await?;
    world.finish().await
}
