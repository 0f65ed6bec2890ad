//! A server that says exactly what a test tells it to: also what the operator
//! never would.  It answers every message, over WebSocket and over HTTP.

mod socket;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opamp_wire::{AgentToServer, Message as _, ServerToAgent};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::pki::{Ca, Leaf, fingerprint};

/// A running server; everything of it ends when it is dropped.
#[derive(Debug)]
pub struct RawServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What is still to be said, next first.
    to_say: Mutex<VecDeque<ServerToAgent>>,
    news: watch::Sender<()>,
    /// The newest WebSocket: what is to be said is said there.
    newest: AtomicU64,
    /// Answered to every request; 0: none is refused.
    refusal: AtomicU16,
    /// Whether it reads what comes over a WebSocket.
    listens: watch::Sender<bool>,
    /// The certificate of every connection, in order.
    shown: Mutex<Vec<Option<String>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl RawServer {
    /// Listens on a free port of the loopback; takes agents without a
    /// certificate, and with one of this CA.
    ///
    /// # Errors
    /// When it cannot listen or the certificates do not load.
    pub async fn start(serving: &Leaf, client_ca: &Ca) -> Result<Self> {
        let acceptor = TlsAcceptor::from(tls(serving, client_ca)?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            to_say: Mutex::default(),
            news: watch::Sender::new(()),
            newest: AtomicU64::new(0),
            refusal: AtomicU16::new(0),
            listens: watch::Sender::new(true),
            shown: Mutex::default(),
            tasks: Mutex::default(),
        });
        // Weak: the tasks end with the server.
        let weak = Arc::downgrade(&shared);
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, Some(shared)) = (acceptor.clone(), weak.upgrade()) else {
                    return;
                };
                let weak = weak.clone();
                shared.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, weak).await;
                    }
                });
            }
        };
        shared.spawn(accept);
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this next: at once over the newest WebSocket, or with the next poll.
    pub fn say(&self, message: ServerToAgent) {
        lock(&self.shared.to_say).push_back(message);
        self.shared.news.send_replace(());
    }

    /// Refuses every request with this status from now on; 0 refuses none.
    pub fn refuse(&self, status: u16) {
        self.shared.refusal.store(status, Ordering::Relaxed);
    }

    /// Whether it reads what comes over a WebSocket from now on.  While it does
    /// not, it answers nothing, no close frame either, but can still speak.
    pub fn listen(&self, listens: bool) {
        self.shared.listens.send_replace(listens);
    }

    /// The fingerprints of the certificates that agents showed, by connection.
    #[must_use]
    pub fn shown(&self) -> Vec<Option<String>> {
        lock(&self.shared.shown).clone()
    }
}

type Weak = std::sync::Weak<Shared>;
type Tls = tokio_rustls::server::TlsStream<TcpStream>;

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        lock(&self.tasks).spawn(task);
    }

    /// Everything that is to be said now, addressed to an agent; empty when
    /// there is a newer WebSocket.
    fn take(&self, link: u64, uid: &Bytes) -> Vec<ServerToAgent> {
        if link != self.newest.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut all: Vec<_> = lock(&self.to_say).drain(..).collect();
        for message in &mut all {
            message.instance_uid.clone_from(uid);
        }
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tls(serving: &Leaf, client_ca: &Ca) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(client_ca.pem().as_bytes())?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let (chain, key) = serving.for_tls()?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

async fn serve(stream: Tls, shared: Weak) {
    if let Some(shared) = shared.upgrade() {
        let chain = stream.get_ref().1.peer_certificates();
        let leaf = chain.and_then(<[_]>::first).map(fingerprint);
        lock(&shared.shown).push(leaf);
    }
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How a connection ends is for the tap to tell.
    let _ = connection.with_upgrades().await;
}

async fn answer(request: Request<Incoming>, shared: Weak) -> Response<Full<Bytes>> {
    let Some(server) = shared.upgrade() else {
        return only(StatusCode::SERVICE_UNAVAILABLE);
    };
    let refusal = server.refusal.load(Ordering::Relaxed);
    if let Some(refused) = StatusCode::from_u16(refusal).ok().filter(|_| refusal != 0) {
        return only(refused);
    }
    if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() {
        return socket::upgrade(request, &key, &server, shared);
    }
    drop(server);
    match poll(request, shared).await {
        Some(body) => {
            let mut response = Response::new(Full::new(body));
            let protobuf = HeaderValue::from_static("application/x-protobuf");
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, protobuf);
            response
        }
        None => only(StatusCode::BAD_REQUEST),
    }
}

fn only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn poll(request: Request<Incoming>, shared: Weak) -> Option<Bytes> {
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let uid = AgentToServer::decode(body).ok()?.instance_uid;
    let server = shared.upgrade()?;
    // One message answers one poll; what else is to be said waits for the next.
    let next = lock(&server.to_say).pop_front();
    let reply = ServerToAgent {
        instance_uid: uid,
        ..next.unwrap_or_default()
    };
    Some(reply.encode_to_vec().into())
}
