//! Probes, metrics, and pages about profiles and agents, in the clear and away
//! from the OpAMP port.
//!
//! The pages hold no secret, but they tell who runs where: they are for callers
//! on the same machine or in the same Pod (`kubectl port-forward`).

mod explanation;
mod pages;
mod scrape;
mod ui;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::map_response,
    response::{Html, IntoResponse, Redirect, Response},
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
            .merge(for_people())
            .with_state(self)
            .into_make_service_with_connect_info::<SocketAddr>();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(closing.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "probes ended");
        }
    }
}

/// The HTML pages, which only a browser is to look at, and no other page.
fn for_people() -> Router<Admin> {
    let style = || async { ([(header::CONTENT_TYPE, "text/css")], ui::STYLE) };
    let icon = || async { ([(header::CONTENT_TYPE, "image/svg+xml")], ui::ICON) };
    let first = || async { Redirect::to("/ui/") };
    Router::new()
        .route("/", get(first))
        .route("/ui", get(first))
        .route("/ui/", get(html))
        .route("/ui/{*page}", get(html))
        .route("/ui/style.css", get(style))
        .route("/ui/icon.svg", get(icon))
        .layer(map_response(guarded))
}

/// What a browser must not do with these pages, whatever they say.
const GUARDS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

async fn guarded(mut response: Response) -> Response {
    for (name, value) in GUARDS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
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

/// A page as an object.
async fn page(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let page = make(admin, peer, &headers, move |hub| pages::page(hub, &uri));
    match page.await {
        Ok(Ok(yaml)) => ([(header::CONTENT_TYPE, "application/yaml")], yaml).into_response(),
        Ok(Err(none)) | Err(none) => none.into_response(),
    }
}

/// A page for people.
async fn html(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let page = make(admin, peer, &headers, move |hub| ui::page(hub, &uri));
    match page.await {
        Ok((status, html)) => (status, Html(html)).into_response(),
        Err(none) => none.into_response(),
    }
}

/// Why there is no page.
type NoPage = (StatusCode, &'static str);

async fn make<T: Send + 'static>(
    admin: Admin,
    peer: SocketAddr,
    headers: &HeaderMap,
    page: impl FnOnce(&Hub) -> T + Send + 'static,
) -> Result<T, NoPage> {
    if !is_local(peer, headers) {
        let text = "only for callers on the same machine, by its address or `localhost`: \
                    see `kubectl port-forward`\n";
        return Err((StatusCode::FORBIDDEN, text));
    }
    let unavailable = |text| (StatusCode::SERVICE_UNAVAILABLE, text);
    let hub = admin.hub.get().map(Arc::clone);
    let hub = hub.ok_or(unavailable("not started yet\n"))?;
    let turn = timeout(TURN, admin.turns.acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(unavailable("others ask for pages: try again\n"));
    };
    // Thousands of agents take a while, which nobody else is to wait for. The
    // page is made to its end, and its turn lasts so long, whether or not
    // whoever asked still waits for it.
    let making = move || {
        let page = page(&hub);
        drop(turn);
        page
    };
    let made = tokio::task::spawn_blocking(making).await;
    made.map_err(|_| {
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the page cannot be made\n",
        )
    })
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
