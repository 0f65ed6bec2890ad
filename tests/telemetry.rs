//! What is logged, under the filter that lets most through.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of a test end it by panicking"
)]

#[expect(dead_code, reason = "these tests need little of it")]
#[path = "server/world.rs"]
mod world;

#[path = "server/offers.rs"]
mod offers;

#[expect(dead_code, reason = "these tests need little of it")]
#[path = "server/peer.rs"]
mod peer;

mod log;

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opamp_operator::{
    hub::Clock,
    server::Limits,
    telemetry::{LogFormat, subscriber},
};
use opamp_operator_core::fleet::SettingsState;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{
    log::Log,
    offers::{OFFERED, publish, target},
    peer::{BOTH, Peer, full},
    world::{TOKEN, World, ask, hello},
};

/// Everything that could be named, at the most verbose level.
const MOST: &str = "trace,tungstenite=trace,tokio_tungstenite=trace,hyper=trace,h2=trace,rustls=trace,tower=trace,kube_client=trace,[span]=trace";

/// Of the whole process, as in the operator.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    let logging = subscriber(LogFormat::Text, MOST, log.writer()).unwrap();
    logging.init();
    log
});

/// The forms in which a log may show bytes; what is encoded may begin at any of
/// three places of a group, and ends in one that is not known.
fn forms(secret: &str) -> Vec<String> {
    let hex: Vec<_> = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
    let spaced: Vec<_> = hex.iter().map(|byte| format!("0x{byte}")).collect();
    let mut forms = vec![
        secret.to_owned(),
        hex.concat(),
        hex.concat().to_uppercase(),
        hex.join(" "),
        spaced.join(", "),
        decimal.join(", "),
    ];
    for skipped in 0..3 {
        let whole = &secret.as_bytes()[skipped..];
        let groups = &whole[..whole.len() / 3 * 3];
        forms.push(STANDARD.encode(groups));
    }
    forms
}

fn assert_kept(log: &Log, secret: &str) {
    let text = log.text();
    for form in forms(secret) {
        let line = text.lines().find(|line| line.contains(&form));
        assert_eq!(line, None, "shows {form}");
    }
}

#[tokio::test]
async fn law7_no_filter_makes_a_library_show_what_is_offered() {
    let log = &*LOG;
    let world = World::trusting(Limits::default()).await;
    publish(&world.hub, target(world.hub.clock.now()));
    let mut socket = world.socket().await;
    let offer = ask(&mut socket, &hello(1)).await.connection_settings;
    let headers = offer.unwrap().opamp.unwrap().headers.unwrap().headers;
    assert!(headers.iter().any(|header| header.value.contains(OFFERED)));
    assert_kept(log, OFFERED);
    assert_kept(log, TOKEN);
    // The filter does let our own lines through.
    assert!(!log.lines("settings offered").is_empty());
}

#[test]
fn law7_libraries_are_capped_and_we_are_not() {
    let log = &*LOG;
    tracing::trace!(target: "opamp_operator::server", "ours-at-trace");
    tracing::trace!(target: "opamp_operator_core::fleet", "core-at-trace");
    tracing::debug!(target: "tungstenite::protocol", "theirs-at-debug");
    tracing::info!(target: "hyper", "theirs-at-info");
    tracing::warn!(target: "kube_client::client", "client-at-warn");
    tracing::error!(target: "kube_client::client", "client-at-error");
    tracing::debug!(target: "opamp_operators_of_others", "others-at-debug");
    for seen in [
        "ours-at-trace",
        "core-at-trace",
        "theirs-at-info",
        "client-at-error",
    ] {
        assert_eq!(log.lines(seen).len(), 1, "{seen}");
    }
    for unseen in ["theirs-at-debug", "client-at-warn"] {
        assert!(log.lines(unseen).is_empty(), "{unseen}");
    }
}

#[tokio::test]
async fn law10_reaching_a_limit_is_one_line_not_a_flood() {
    let log = &*LOG;
    let world = World::trusting(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let mut only = world.socket().await;
    ask(&mut only, &hello(1)).await;
    for _ in 0..5 {
        assert!(world.upgrade(Some(TOKEN)).await.is_err());
    }
    let lines = log.lines("limits.connections is reached");
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test]
async fn t06_t09_t11_both_transports_send_nothing_too_large_and_the_log_says_so() {
    let log = &*LOG;
    let target = target(Clock::start().now());
    let offer = target.current.offer(0).len();
    for (sent_bytes, fits) in [(offer + 63, false), (offer + 64, true)] {
        let world = World::trusting(Limits {
            sent_bytes,
            ..Limits::default()
        })
        .await;
        publish(&world.hub, target.clone());
        for (over, uid) in BOTH.into_iter().zip(1..) {
            let mut peer = Peer::new(&world, over, uid).await;
            // Answered it is all the same (M01).
            let reply = peer.say(full()).await;
            assert_eq!(reply.connection_settings.is_some(), fits, "{over:?}");
            let state = peer.record().unwrap().state;
            assert_eq!(state == SettingsState::Offered, fits, "{over:?}");
        }
        let lines = log.lines("larger than limits.sentBytes");
        assert_eq!(lines.len(), 1, "{}", log.text());
        assert!(lines[0].contains("default/agents"), "{lines:?}");
    }
}
