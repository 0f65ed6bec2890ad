//! Small on the wire, large when it is unpacked.

use std::{io::Write as _, net::Ipv4Addr, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use opamp_operator::server::Limits;
use opamp_wire::{Message as _, gzip};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    agent::{Elsewhere, Steady, poll},
    files::{alone, say},
    world::{World, hello},
};

const MIB: usize = 1024 * 1024;
const BOMBS: usize = 20;
/// The bombs as they are sent, at both ends, and what is unpacked of them.
const BOUND: usize = 100 * MIB;
const DEADLINE: Duration = Duration::from_secs(300);

/// A gibibyte of zeros, as several gzip members.
fn bomb() -> Vec<u8> {
    const PART: usize = 16 * MIB;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; PART]).unwrap();
    encoder.finish().unwrap().repeat(1024 * MIB / PART)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_law10_a_gzip_bomb_is_refused_and_never_unpacked() {
    let _alone = alone().await;
    let world = Arc::new(World::trusting(Limits::default()).await);
    let steady = Steady::begin(&world).await;
    let bomb: Arc<[u8]> = bomb().into();
    // More would be refused for what it is, not for what it unpacks to.
    assert!(bomb.len() <= Limits::default().message_bytes);
    let before = memory::forget_peak();
    let elsewhere = Elsewhere::start();
    let mut thrown = JoinSet::new();
    for _ in 0..BOMBS {
        let (world, bomb) = (Arc::clone(&world), Arc::clone(&bomb));
        let throw = async move { poll(&world, Ipv4Addr::LOCALHOST, &bomb).await };
        thrown.spawn_on(throw, elsewhere.handle());
    }
    let all = async {
        while let Some(status) = thrown.join_next().await {
            assert_eq!(status.unwrap(), 413);
        }
    };
    timeout(DEADLINE, all).await.expect("all are answered");
    let more = memory::peak().saturating_sub(before);
    let (_, slowest) = steady.end();
    say(&format!(
        "{BOMBS} bodies that unpack to 1 GiB each: {} MiB more at most, an agent waited {slowest:.1?} for an answer at most",
        more / MIB
    ));
    assert!(more < BOUND, "{more} bytes");
    // Every place for large messages was given back.
    assert_eq!(world.large_messages.available_permits(), 4);
    let good = gzip(&hello(1).encode_to_vec());
    assert_eq!(poll(&world, Ipv4Addr::LOCALHOST, &good).await, 200);
}

/// Of this process, both ends together.
mod memory {
    use std::fs::{read_to_string, write};

    /// Memory in use now; the peak counts from here.
    pub(super) fn forget_peak() -> usize {
        write("/proc/self/clear_refs", "5").unwrap();
        peak()
    }

    /// The most that was in use since.
    pub(super) fn peak() -> usize {
        let status = read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().split_whitespace().next().unwrap();
        kib.parse::<usize>().unwrap() * 1024
    }
}
