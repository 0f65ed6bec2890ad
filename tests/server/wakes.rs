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
use tokio_tungstenite::tungstenite::Message;

use crate::{
    offers::{candidate, profile, target},
    world::{SOON, World, answer, hello},
};

/// Publishes a target while a link is being given its first profile: whoever
/// does that needs the trust after the target, and waits for it here.
fn publish_between(hub: &Hub, target: Target, pause: Duration) {
    hub.trust.send_modify(|_| {
        hub.book
            .publish_candidates(vec![candidate()], Unknown::default());
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
async fn law4_a_target_published_while_an_agent_gets_its_profile_reaches_it() {
    let world = World::trusting(Limits::default()).await;
    let hub = &world.hub;
    let target = target(hub.clock.now());
    for uid in 1..=20 {
        hub.book.publish_candidates(Vec::new(), Unknown::default());
        hub.book.publish_target(&profile(), None);
        let mut socket = world.socket().await;
        let message = Message::Binary(encode_frame(&hello(uid)));
        socket.send(message).await.unwrap();
        answer(&mut socket).await;
        drop(hub.roster.take_dirty());
        let publishing = thread::spawn({
            let (hub, target) = (Arc::clone(hub), target.clone());
            // Another moment each time.
            let pause = Duration::from_micros(100) * u32::from(uid);
            move || publish_between(&hub, target, pause)
        });
        while answer(&mut socket).await.connection_settings.is_none() {}
        publishing.join().unwrap();
    }
}
