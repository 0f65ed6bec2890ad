//! A fleet comes back whole.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use opamp_operator::server::Limits;
use opamp_wire::proto::{AgentDescription, AgentToServer};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    agent::{Elsewhere, Steady, exchange, socket},
    files::{alone, connections, say},
    world::{Socket, World},
};

const FLEET: usize = 5000;
/// On two cores it takes five seconds, both ends together.
const DEADLINE: Duration = Duration::from_secs(300);
/// `AgentToServerFlags_ReportFullState`.
const REPORT_FULL_STATE: u64 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_a_fleet_of_5000_comes_back_at_once_from_as_many_hosts() {
    let of_its_own = |agent: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + agent);
    storm("from as many hosts", of_its_own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_a_fleet_of_5000_comes_back_at_once_behind_one_load_balancer() {
    storm("from one address", |_| Ipv4Addr::new(127, 0, 0, 2)).await;
}

async fn storm(how: &str, address: impl Fn(u32) -> Ipv4Addr) {
    let _alone = alone().await;
    let fleet = connections(FLEET, 2, 0);
    // Clients that share the cores with the server may be slow for its reasons.
    let limits = Limits {
        handshake_seconds: 120,
        first_message_seconds: 120,
        ..Limits::default()
    };
    let world = Arc::new(World::remembering(100_000, limits).await);
    world.trust();
    let steady = Steady::begin(&world).await;
    let begun = Instant::now();
    let elsewhere = Elsewhere::start();
    let mut coming = JoinSet::new();
    for agent in 0..u32::try_from(fleet).unwrap() {
        let client = comes_back(Arc::clone(&world), agent, address(agent));
        coming.spawn_on(client, elsewhere.handle());
    }
    let mut back = Vec::new();
    let all = async {
        while let Some(agent) = coming.join_next().await {
            back.push(agent.unwrap());
        }
    };
    timeout(DEADLINE, all).await.expect("all are back in time");
    let took = begun.elapsed();
    let (answers, slowest) = steady.end();
    say(&format!(
        "{fleet} agents back {how} in {took:.1?}; meanwhile another got {answers} answers, the slowest after {slowest:.1?}"
    ));
    // All of them stay: none got in at the expense of another.
    assert_eq!(back.len(), fleet);
    let beats = async {
        for (socket, last) in &mut back {
            last.sequence_num += 1;
            last.agent_description = None;
            assert!(exchange(socket, last).await.error_response.is_none());
        }
    };
    timeout(DEADLINE, beats).await.expect("all are answered");
}

/// One try: who is turned away, cut off or not answered fails the test.
async fn comes_back(world: Arc<World>, agent: u32, from: Ipv4Addr) -> (Socket, AgentToServer) {
    let mut socket = socket(&world, from).await.expect("let in");
    let mut uid = [7; 16];
    uid[..4].copy_from_slice(&agent.to_be_bytes());
    // What opamp-go says of itself on a connection that is not its first.
    let bare = AgentToServer {
        instance_uid: uid.to_vec().into(),
        sequence_num: 7,
        capabilities: 0x2101,
        ..AgentToServer::default()
    };
    let greeting = exchange(&mut socket, &bare).await;
    assert_eq!(greeting.flags & REPORT_FULL_STATE, REPORT_FULL_STATE);
    let full = AgentToServer {
        sequence_num: 8,
        agent_description: Some(AgentDescription::default()),
        ..bare
    };
    let answer = exchange(&mut socket, &full).await;
    assert!(answer.error_response.is_none());
    (socket, full)
}
