//! What is published is never missed, whenever it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use futures::SinkExt as _;
use opamp_operator::{hub::Unknown, server::Limits};
use opamp_wire::encode_frame;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    offers::{candidate, profile, target},
    world::{AGENTS, World, answer, hello},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law4_a_target_published_while_an_agent_attaches_reaches_it() {
    let world = World::trusting(Limits::default()).await;
    let hub = &world.hub;
    hub.book.publish_candidates(vec![candidate()], Unknown::default());
    let target = target(hub.clock.now());
    for uid in 1..=AGENTS {
        hub.book.publish_target(&profile(), None);
        let mut socket = world.socket().await;
        let go = Arc::new(AtomicBool::new(false));
        let publishing = thread::spawn({
            let (hub, target, go) = (Arc::clone(hub), target.clone(), Arc::clone(&go));
            move || {
                while !go.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                // Another moment each time.
                for _ in 0..u32::from(uid) * 200 {
                    std::hint::spin_loop();
                }
                hub.book.publish_target(&profile(), Some(target));
            }
        });
        let message = Message::Binary(encode_frame(&hello(uid)));
        go.store(true, Ordering::Release);
        socket.send(message).await.unwrap();
        // With the answer, or pushed after it.
        while answer(&mut socket).await.connection_settings.is_none() {}
        publishing.join().unwrap();
    }
}
