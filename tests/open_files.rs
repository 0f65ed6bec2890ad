//! The limit of open files, which is the process's: so, in one of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test end it by panicking"
)]

#[expect(dead_code, reason = "one test needs little of it")]
#[path = "server/world.rs"]
mod world;

mod log;

use opamp_operator::{
    server::Limits,
    telemetry::{LogFormat, subscriber},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{log::Log, world::World};

#[tokio::test]
async fn law10_as_many_files_are_opened_as_the_system_allows() {
    let few = Rlimit {
        current: Some(256),
        maximum: Some(512),
    };
    setrlimit(Resource::Nofile, few).unwrap();
    let log = Log::default();
    let subscriber = subscriber(LogFormat::Text, "info", log.writer()).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    let world = World::start(Limits::default()).await;
    drop(guard);
    assert_eq!(getrlimit(Resource::Nofile).current, Some(512));
    // 20,000 agents would not find room.
    assert_eq!(log.lines("open_files=512").len(), 1, "{}", log.text());
    drop(world);
}
