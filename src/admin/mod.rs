//! Probes, metrics, and pages about profiles and agents, in the clear and away
//! from the OpAMP port.
//!
//! The pages hold no secret, but they tell who runs where: they are for callers
//! on the same machine or in the same Pod (`kubectl port-forward`).

mod explanation;
mod pages;
mod scrape;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    hub::{Check, Hub},
    metrics::Registry,
};
pub use explanation::{Explanation, Line};

/// Pages are made one at a time: whoever asks for many costs no more than one.
const AT_ONCE: usize = 1;
/// How long somebody waits for a turn.
const TURN: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Clone, Debug)]
pub struct Admin {
    hub: Arc<OnceLock<Arc<Hub>>>,
    closing: CancellationToken,
    turns: Arc<Semaphore>,
    /// Apart, so that nobody who reads pages keeps a scraper waiting.
    scrapes: Arc<Semaphore>,
    metrics: Registry,
}

impl Admin {
    /// Probes and metrics; pages too from the time on that `hub` is filled.
    #[must_use]
    pub fn new(
        hub: Arc<OnceLock<Arc<Hub>>>,
        metrics: Registry,
        closing: CancellationToken,
    ) -> Self {
        Self {
            hub,
            closing,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            scrapes: Arc::new(Semaphore::new(AT_ONCE)),
            metrics,
        }
    }

    /// Serves until `closing` is cancelled.
    pub async fn serve(self, listener: TcpListener) {
        let closing = self.closing.clone();
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape::metrics))
            .route("/profiles", get(page))
            .route("/agents", get(page))
            .route("/agents/{uid}", get(page))
            .route("/agents/{uid}/explanation", get(page))
            .with_state(self)
            .into_make_service_with_connect_info::<SocketAddr>();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "probes ended");
        }
    }
}

/// Whether to start the process anew. One that waits for the Kubernetes API is
/// alive: another would wait as well.
async fn livez(State(admin): State<Admin>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let checks = admin.hub.get().map(|hub| hub.health.live());
    said(&checks.unwrap_or_default(), query.as_deref())
}

/// Whether to send agents here.
async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let checks = match admin.hub.get() {
        Some(hub) => hub.health.ready(hub.clock.now().wall),
        None => vec![Check {
            name: "started",
            problem: Some("what an earlier process left is still read; the log says more".into()),
        }],
    };
    said(&checks, query.as_deref())
}

/// What is wrong, or, to `?verbose`, everything that was looked at.
fn said(checks: &[Check], query: Option<&str>) -> (StatusCode, String) {
    let fails = checks.iter().any(|check| check.problem.is_some());
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose"));
    let mut text = String::new();
    for check in checks {
        let line = match &check.problem {
            Some(problem) => format!("[-]{}: {problem}\n", check.name),
            None if verbose => format!("[+]{} ok\n", check.name),
            None => continue,
        };
        text.push_str(&line);
    }
    if fails {
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    (StatusCode::OK, text + "ok\n")
}

async fn page(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if !is_local(peer, &headers) {
        let text = "only for callers on the same machine, by its address or `localhost`: \
                    see `kubectl port-forward`\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let Some(hub) = admin.hub.get().map(Arc::clone) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "not started yet\n").into_response();
    };
    let Ok(Ok(turn)) = timeout(TURN, admin.turns.acquire_owned()).await else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "others ask for pages: try again\n",
        )
            .into_response();
    };
    // Thousands of agents take a while, which nobody else is to wait for. The
    // page is made to its end, and its turn lasts so long, whether or not
    // whoever asked still waits for it.
    let making = move || {
        let page = pages::page(&hub, &uri);
        drop(turn);
        page
    };
    let made = tokio::task::spawn_blocking(making).await;
    match made {
        Ok(Ok(yaml)) => ([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response(),
        Ok(Err((status, text))) => (status, text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A caller on this machine that means it: a page that somebody's browser shows
/// could reach us under a name that was made to point here.
fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<axum::http::uri::Authority>().ok());
    let meant = host.is_some_and(|host| {
        let host = host.host().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok()
    });
    peer.ip().to_canonical().is_loopback() && meant
}
