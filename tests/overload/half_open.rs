//! Connections that begin and go no further.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use opamp_operator::server::Limits;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
    time::{Instant, interval, timeout},
};

use crate::{
    agent::{Elsewhere, Steady, exchange, socket, tcp},
    files::{alone, connections, open, say},
    world::{World, hello},
};

const FLOOD: usize = 10_000;
/// The loopback loses packets of larger bursts, also those of others.
const AT_ONCE: usize = 500;
const DEADLINE: Duration = Duration::from_secs(300);
/// Files that come and go for other reasons.
const OTHERS: usize = 100;

fn of_its_own(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number)
}

fn the_same(_: u32) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_silent_connections_from_10000_hosts_hold_nobody_up() {
    Box::pin(flood("silent, from as many hosts", of_its_own, Vec::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_10000_silent_connections_of_one_host_hold_nobody_up() {
    Box::pin(flood("silent, from one address", the_same, Vec::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_handshakes_begun_by_10000_hosts_hold_nobody_up() {
    let hello = client_hello();
    Box::pin(flood("in TLS, from as many hosts", of_its_own, hello)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law10_10000_handshakes_begun_by_one_host_hold_nobody_up() {
    Box::pin(flood("in TLS, from one address", the_same, client_hello())).await;
}

/// Many connections say `first` and then nothing. Meanwhile an agent that was
/// there is answered, and one that comes gets in. What the server holds is
/// bounded, and in the end it has ended them all.
async fn flood(how: &str, address: fn(u32) -> Ipv4Addr, first: Vec<u8>) {
    let _alone = alone().await;
    let limits = Limits {
        handshake_seconds: 2,
        ..Limits::default()
    };
    let most = limits.waiting + limits.handshakes;
    let count = connections(FLOOD, 1, most);
    let world = Arc::new(World::trusting(limits).await);
    let steady = Steady::begin(&world).await;
    let before = open();
    let begun = Instant::now();
    let elsewhere = Elsewhere::start();
    let first = Arc::<[u8]>::from(first);
    let clients = Arc::new(Clients {
        turn: Semaphore::new(AT_ONCE),
        open: AtomicUsize::new(0),
        connected: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
    });
    for number in 0..u32::try_from(count).unwrap() {
        let (world, clients) = (Arc::clone(&world), Arc::clone(&clients));
        elsewhere.handle().spawn(half_open(
            world,
            address(number),
            Arc::clone(&first),
            clients,
        ));
    }
    let newcomer = async {
        let mut look = interval(Duration::from_millis(10));
        while clients.connected.load(SeqCst) < count * 3 / 4 {
            look.tick().await;
        }
        let came = Instant::now();
        loop {
            // As any agent, it comes again when it is cut off.
            if let Some(mut socket) = socket(&world, Ipv4Addr::LOCALHOST).await {
                exchange(&mut socket, &hello(1)).await;
                break (came.elapsed(), socket);
            }
        }
    };
    let mut most_held = 0;
    let ended = async {
        let mut look = interval(Duration::from_millis(100));
        loop {
            look.tick().await;
            let all = clients.connected.load(SeqCst) == count;
            let held = open().saturating_sub(before + clients.open.load(SeqCst));
            most_held = most_held.max(held);
            if all && held <= OTHERS {
                break begun.elapsed();
            }
        }
    };
    let both = async { futures::join!(newcomer, ended) };
    let both = timeout(DEADLINE, Box::pin(both)).await;
    let ((waited, mut newcomer), took) = both.expect("let in, and all others cut off");
    assert!(most_held <= most + OTHERS, "{most_held} connections held");
    // Where the system's backlog was full, a client may believe that it is
    // connected to a server that never heard of it.
    let ended = clients.ended.load(SeqCst);
    drop(elsewhere);
    exchange(&mut newcomer, &hello(1)).await;
    let (_, slowest) = steady.end();
    say(&format!(
        "{count} connections {how}: an agent got in after {waited:.1?}, another waited {slowest:.1?} for an answer at most, \
         the server held {most_held} at most and none after {took:.1?}, when {ended} had seen their end"
    ));
}

struct Clients {
    turn: Semaphore,
    open: AtomicUsize,
    connected: AtomicUsize,
    ended: AtomicUsize,
}

async fn half_open(world: Arc<World>, from: Ipv4Addr, first: Arc<[u8]>, clients: Arc<Clients>) {
    let turn = clients.turn.acquire().await.unwrap();
    clients.open.fetch_add(1, SeqCst);
    let stream = tcp(&world, from).await;
    drop(turn);
    clients.connected.fetch_add(1, SeqCst);
    if let Ok(mut stream) = stream
        && stream.write_all(&first).await.is_ok()
    {
        // A server that ends it may not have read everything: reset.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    clients.open.fetch_sub(1, SeqCst);
    clients.ended.fetch_add(1, SeqCst);
}

/// What a client says first.
fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
