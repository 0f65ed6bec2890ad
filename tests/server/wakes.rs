//! What is published is never missed, whenever it is.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::SinkExt as _;
use opamp_operator::{
    hub::{Hub, Unknown},
    server::Limits,
};
use opamp_operator_core::catalog::Target;
use opamp_wire::encode_frame;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    offers::{candidate, profile, target},
    world::{SOON, World, answer, hello},
};

/// Publishes a target while a link that has read none yet is being answered:
/// whoever answers needs the trust after the target, and waits for it here.
fn publish_between(hub: &Hub, target: Target, pause: Duration, held: oneshot::Sender<()>) {
    hub.trust.send_modify(|_| {
        held.send(()).unwrap();
        let end = Instant::now() + SOON;
        // Once the profile is chosen, its target is read at once.
        while !hub.roster.take_dirty().profiles.contains(&profile()) {
            assert!(Instant::now() < end, "no profile was chosen in time");
            thread::yield_now();
        }
        let end = Instant::now() + pause;
        while Instant::now() < end {
            thread::yield_now();
        }
        hub.book.publish_target(&profile(), Some(target));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law4_a_target_published_while_an_agent_is_answered_reaches_it() {
    let world = World::trusting(Limits::default()).await;
    let hub = &world.hub;
    hub.book
        .publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    for uid in 1..=20 {
        hub.book.publish_target(&profile(), None);
        let mut socket = world.socket().await;
        drop(hub.roster.take_dirty());
        let (held, holds) = oneshot::channel();
        let publishing = thread::spawn({
            let (hub, target) = (Arc::clone(hub), target.clone());
            // Another moment each time.
            let pause = Duration::from_micros(100) * u32::from(uid);
            move || publish_between(&hub, target, pause, held)
        });
        holds.await.unwrap();
        let message = Message::Binary(encode_frame(&hello(uid)));
        socket.send(message).await.unwrap();
        // With the answer, or pushed after it.
        while answer(&mut socket).await.connection_settings.is_none() {}
        publishing.join().unwrap();
    }
}
