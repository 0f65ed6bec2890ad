//! Accepting: bounded connections, bounded handshakes, ordered end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts as _, Request, State, WebSocketUpgrade},
    http::{Method, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::any,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::crypto::CryptoProvider;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::{unconstrained, yield_now},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    Limits, Metrics,
    authenticate::{PeerChain, authenticate, unavailable},
    connection::{Connection, Full, Over},
    counted::counted,
    heard::Heard,
    http,
    metrics::Unwanted,
    open_files,
    room::{Arrival, Room},
    seldom::Seldom,
    shared::Shared,
    socket, tls, ws,
};
use crate::hub::Hub;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: choose another `listen` address")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// From the system.
        #[source]
        source: std::io::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The system's backlog is short, and what does not fit is lost for seconds. So
/// many are accepted before anything else has its turn: about ten milliseconds.
const ACCEPTED_AT_ONCE: u64 = 1024;

/// A bound server.
pub struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    router: Router,
}

impl Server {
    /// Binds; agents are served by [`Self::run`].
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(
        address: SocketAddr,
        path: &str,
        hub: Arc<Hub>,
        limits: Limits,
        provider: &Arc<CryptoProvider>,
        closing: CancellationToken,
    ) -> Result<Self, ServeError> {
        let config =
            tls::server_config(provider, hub.serving.subscribe()).map_err(ServeError::Tls)?;
        let listener = socket::listen(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        open_files::raise(&limits);
        let shared = Arc::new(Shared::new(hub, limits, closing));
        let router = Router::new()
            .route(path, any(opamp))
            .layer(from_fn_with_state(Arc::clone(&shared), counted))
            .with_state(Arc::clone(&shared));
        Ok(Self {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            shared,
            router,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What is counted of it.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// The places for large messages (`limits.largeMessages`): how many are
    /// left, and whoever takes one holds that many messages back.
    #[must_use]
    pub fn large_messages(&self) -> Arc<Semaphore> {
        Arc::clone(self.shared.budget.places())
    }

    /// Serves until `closing` is cancelled, then closes every WebSocket with
    /// 1001, a few at a time so that they do not come back all at once, and
    /// returns when all are closed.
    pub async fn run(self) {
        let room = Room::new(&self.shared.limits);
        let failures = Seldom::default();
        let closing = &self.shared.closing;
        for turn in 1_u64.. {
            if turn.is_multiple_of(ACCEPTED_AT_ONCE) {
                yield_now().await;
            }
            let seat = closing.run_until_cancelled(room.seat()).await;
            let Some(Some(seat)) = seat else { break };
            let accept = unconstrained(self.listener.accept());
            let accepted = closing.run_until_cancelled(accept).await;
            match accepted {
                None => break,
                Some(Ok((stream, peer))) => {
                    let Some(arrival) = room.arrive(seat, peer.ip()) else {
                        self.shared.metrics.unwanted(Unwanted::AddressLimit);
                        continue;
                    };
                    let (acceptor, shared, router) = (
                        self.acceptor.clone(),
                        Arc::clone(&self.shared),
                        self.router.clone(),
                    );
                    self.shared.tasks.spawn(async move {
                        if let Some(connection) = place(&shared, arrival, &stream).await {
                            // Boxed: whoever has no place yet costs no room for it.
                            let serving =
                                serve(stream, peer, acceptor, &shared, connection, router);
                            Box::pin(serving).await;
                        }
                    });
                }
                Some(Err(error)) => {
                    // Mostly: out of file descriptors. The connection stays in
                    // the backlog, so wait for others to end.
                    failures.note(|left_out| {
                        tracing::warn!(%error, left_out, "cannot accept connections");
                    });
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        self.shared.begin_to_leave();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// A connection with a place; none if it got none, or the server ends.
async fn place(shared: &Shared, arrival: Arrival, stream: &TcpStream) -> Option<Arc<Connection>> {
    let placing = arrival.place(stream);
    let placed = shared.closing.run_until_cancelled(placing).await?;
    if placed.is_none() {
        shared.metrics.unwanted(Unwanted::Waiting);
    }
    placed
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    shared: &Shared,
    connection: Arc<Connection>,
    router: Router,
) {
    // An agent's answer is one small message; waiting to fill a packet only
    // delays it. If it cannot be set, all is slower and nothing wrong.
    let _ = stream.set_nodelay(true);
    let heard = Heard {
        stream,
        connection: Arc::clone(&connection),
    };
    let handshake = tokio::select! {
        biased;
        handshake = timeout(shared.limits.handshake(), acceptor.accept(heard)) => handshake,
        over = connection.over() => {
            tracing::debug!(%peer, ?over, "connection closed during TLS");
            shared.metrics.unwanted(Unwanted::Tls);
            return;
        }
    };
    let tls = match handshake {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            shared.metrics.unwanted(Unwanted::Tls);
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
            shared.metrics.unwanted(Unwanted::Tls);
            return;
        }
    };
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = PeerChain(chain.iter().map(|der| der.clone().into_owned()).collect());
    let serving = Arc::clone(&connection);
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let under_way = serving.request();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(chain.clone());
            request.extensions_mut().insert(Arc::clone(&serving));
            let response = router.clone().oneshot(request);
            async move {
                let response = response.await;
                drop(under_way);
                response
            }
        });
    let builder = http_builder(shared);
    let http = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    tokio::pin!(http);
    let result = tokio::select! {
        // What is here is read before anybody is called slow.
        biased;
        result = &mut http => result,
        over = connection.over() => {
            tracing::debug!(%peer, ?over, "connection closed");
            if matches!(over, Over::Stranger | Over::Slow) {
                shared.metrics.unwanted(Unwanted::Slow);
                return;
            }
            http.as_mut().graceful_shutdown();
            timeout(shared.limits.handshake(), http).await.unwrap_or(Ok(()))
        }
        () = shared.closing.cancelled() => {
            http.as_mut().graceful_shutdown();
            timeout(shared.limits.handshake(), http).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// HTTP/1.1 and HTTP/2, whichever the client begins with. How long it may take
/// to begin, and to be silent, is [`Connection::over`]'s to say: this builder
/// waits for ever for the first bytes, and for a client that answers pings.
fn http_builder(shared: &Shared) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Counts from the end of the request before, so a poll's interval must
        // fit into it.
        .header_read_timeout(shared.limits.idle())
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(8)
        .max_header_list_size(32 * 1024)
        .keep_alive_interval(shared.limits.idle())
        .keep_alive_timeout(shared.limits.handshake());
    builder
}

/// `Content-Type: application/x-protobuf` makes a plain exchange of a request;
/// without it, it must be a WebSocket upgrade (spec section "Plain HTTP
/// Transport").
async fn opamp(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let peer = request
        .extensions()
        .get::<PeerChain>()
        .cloned()
        .unwrap_or_default();
    let standing = match authenticate(&shared, &peer, request.headers()).await {
        Ok(standing) => standing,
        Err(refusal) => return *refusal,
    };
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let Some(connection) = connection else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let account = shared.quotas.account(&standing.verdict);
    if let Err(full) = connection.admit(&shared.quotas, &account) {
        shared.metrics.unwanted(match full {
            Full::Server => Unwanted::Limit,
            Full::Identity => Unwanted::IdentityLimit,
        });
        return unavailable(shared.refusal(), full.text());
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let protobuf = content_type.is_some_and(|value| {
        let value = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        value
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/x-protobuf")
    });
    if protobuf {
        if request.method() != Method::POST {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                "an OpAMP message is sent by POST\n",
            )
                .into_response();
        }
        if !shared.quotas.message(&account) {
            return unavailable(shared.refusal(), "the server is overloaded");
        }
        return http::exchange(&shared, request, &standing, &account).await;
    }
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => ws::upgrade(upgrade, shared, connection, standing),
        Err(_) => (
            StatusCode::BAD_REQUEST,
            "this is an OpAMP server: upgrade to WebSocket, or POST with Content-Type application/x-protobuf\n",
        )
            .into_response(),
    }
}
