//! Accepting: bounded connections, bounded handshakes, ordered end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts as _, Request, State, WebSocketUpgrade},
    http::{Method, StatusCode, header},
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
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{
    Limits,
    authenticate::{PeerChain, authenticate, unavailable},
    http, open_files,
    room::{Connection, Over, Room},
    seldom::Seldom,
    shared::Shared,
    tls, ws,
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
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Bind { address, source })?;
        open_files::raise(&limits);
        let shared = Arc::new(Shared::new(hub, limits, closing));
        let router = Router::new()
            .route(path, any(opamp))
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

    /// The places for large messages (`limits.largeMessages`): how many are
    /// left, and whoever takes one holds that many messages back.
    #[must_use]
    pub fn large_messages(&self) -> Arc<Semaphore> {
        Arc::clone(self.shared.budget.places())
    }

    /// Serves until `closing` is cancelled, then closes every WebSocket with
    /// 1001 and returns when all are closed.
    pub async fn run(self) {
        let room = Room::new(&self.shared.limits);
        let failures = Seldom::default();
        let closing = &self.shared.closing;
        loop {
            let place = closing.run_until_cancelled(room.place()).await;
            let Some(Some(place)) = place else { break };
            let accepted = closing.run_until_cancelled(self.listener.accept()).await;
            match accepted {
                None => break,
                Some(Ok((stream, peer))) => {
                    let Some(connection) = room.enter(place, peer.ip()) else {
                        continue;
                    };
                    let (acceptor, shared, router) = (
                        self.acceptor.clone(),
                        Arc::clone(&self.shared),
                        self.router.clone(),
                    );
                    self.shared.tasks.spawn(async move {
                        serve(stream, peer, acceptor, &shared, connection, router).await;
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
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
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
    let tls = match timeout(shared.limits.handshake(), acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
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
        result = &mut http => result,
        over = connection.over() => {
            tracing::debug!(%peer, ?over, "connection closed");
            if over == Over::Stranger {
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
    let Some(connection) = connection.filter(|connection| connection.admit()) else {
        return unavailable(shared.refusal(), "the server takes no more connections");
    };
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
        return http::exchange(&shared, request, &standing).await;
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
