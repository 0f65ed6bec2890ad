//! A man in the middle between supervisors and operator that knows the test's keys.
//!
//! It shows agents the operator's serving certificate, shows the operator the
//! agent's own client certificate, forwards every byte untouched and keeps a
//! decoded copy of both directions.  Keys that it sees offered it knows as well.  An event is recorded *before* its bytes go
//! on, so the record's order is the order of cause and effect.

mod decode;
mod events;
mod stream;
mod tls;
mod trace;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use decode::{FromAgent, Offer, OfferedCertificate, SettingsStatus, ToAgent};
pub use events::{Connection, Event, Kind, Record, Request, Side};
use stream::{Decoder, Item};
pub use trace::Trace;

use crate::pki::{Leaf, Wallet, fingerprint};
use crate::timeline::Timeline;

/// For each of the steps of making a connection.
const STEP: Duration = Duration::from_secs(10);

/// How long the other direction may still speak after one has ended.
const LINGER: Duration = Duration::from_secs(5);

/// A running tap; it stops listening when dropped.
#[derive(Debug)]
pub struct Tap {
    port: u16,
    shared: Arc<Shared>,
    accepting: Mutex<Vec<AbortHandle>>,
}

#[derive(Debug)]
struct Shared {
    record: Record,
    wallet: Wallet,
    settings: Mutex<Settings>,
    next: AtomicU64,
}

/// What may change while it runs.
#[derive(Clone, Debug)]
struct Settings {
    operator: Option<SocketAddr>,
    /// Trusted to have signed the operator's certificate.
    server_ca: String,
    facing_agents: Arc<ServerConfig>,
}

impl Tap {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When it cannot listen or the serving certificate does not load.
    pub async fn start(
        timeline: Timeline,
        serving: &Leaf,
        server_ca: &str,
        wallet: Wallet,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            record: Record::new(timeline),
            wallet,
            settings: Mutex::new(Settings {
                operator: None,
                server_ca: server_ca.to_owned(),
                facing_agents: tls::towards_agents(serving)?,
            }),
            next: AtomicU64::new(1),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            port,
            shared,
            accepting: Mutex::new(vec![accepting]),
        })
    }

    /// Listens on one more port; returns its URL for agents, which names
    /// another host than [`Tap::url`] does.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn second_url(&self, scheme: &str) -> Result<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&self.shared)));
        let mut all = self
            .accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(accepting.abort_handle());
        Ok(format!("{scheme}://127.0.0.1:{port}/v1/opamp"))
    }

    /// The URL agents use, with scheme `wss` or `https`.
    #[must_use]
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/v1/opamp", self.port)
    }

    /// Says where the operator listens.
    pub fn set_operator(&self, address: SocketAddr) {
        self.shared
            .change(|settings| settings.operator = Some(address));
    }

    /// Shows agents another serving certificate from now on.
    ///
    /// # Errors
    /// When the certificate does not load.
    pub fn set_serving(&self, serving: &Leaf) -> Result<()> {
        let config = tls::towards_agents(serving)?;
        self.shared
            .change(|settings| settings.facing_agents = config);
        Ok(())
    }

    /// Trusts these CAs to have signed the operator's certificate from now on.
    pub fn trust(&self, server_ca: &str) {
        self.shared
            .change(|settings| server_ca.clone_into(&mut settings.server_ca));
    }

    /// The fingerprint of the certificate that the operator shows now.
    ///
    /// # Errors
    /// When it cannot be connected to or none of the trusted CAs signed it.
    pub async fn operator_shows(&self) -> Result<String> {
        let stream = dial(&self.shared, None).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let leaf = chain.and_then(<[_]>::first);
        leaf.map(fingerprint).context("the operator showed none")
    }

    /// What it has seen.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.shared.record
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let all = self.accepting.get_mut();
        for accepting in all.unwrap_or_else(PoisonError::into_inner) {
            accepting.abort();
        }
    }
}

impl Shared {
    fn change(&self, with: impl FnOnce(&mut Settings)) {
        with(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn settings(&self) -> Settings {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            if let Err(error) = relay(stream, id, &shared).await {
                shared.record.push(id, Kind::Failed(format!("{error:#}")));
            }
        });
    }
}

/// Makes both ends of a connection and forwards until one of them ends.
async fn relay(stream: TcpStream, id: u64, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let settings = shared.settings();
    let acceptor = TlsAcceptor::from(settings.facing_agents);
    let agent = timeout(STEP, acceptor.accept(stream)).await?;
    let agent = agent.context("handshake with the agent")?;
    let shown = shown_certificate(&agent);
    let operator = dial(shared, shown.as_deref()).await?;

    let (agent_read, agent_write) = tokio::io::split(agent);
    let (operator_read, operator_write) = tokio::io::split(operator);
    let listen = |side| Listener {
        id,
        side,
        shared,
        shown: shown.clone(),
        decoder: Decoder::new(),
        websocket: false,
        refused: false,
    };
    let up = listen(Side::Agent).forward(agent_read, operator_write);
    let down = listen(Side::Operator).forward(operator_read, agent_write);
    tokio::pin!(up, down);
    let by = tokio::select! {
        clean = &mut up => {
            if clean { let _ = timeout(LINGER, &mut down).await; }
            Side::Agent
        }
        clean = &mut down => {
            if clean { let _ = timeout(LINGER, &mut up).await; }
            Side::Operator
        }
    };
    shared.record.push(id, Kind::Closed(by));
    Ok(())
}

async fn dial(shared: &Shared, shown: Option<&str>) -> Result<client::TlsStream<TcpStream>> {
    let settings = shared.settings();
    let operator = settings
        .operator
        .context("the operator does not listen yet")?;
    let leaf = shown.and_then(|shown| shared.wallet.find(shown));
    let config = tls::towards_operator(&settings.server_ca, leaf.as_ref())?;
    let stream = timeout(STEP, TcpStream::connect(operator)).await?;
    let stream = stream.context("no connection to the operator")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let stream = timeout(STEP, TlsConnector::from(config).connect(name, stream)).await?;
    stream.context("handshake with the operator")
}

fn shown_certificate(agent: &server::TlsStream<TcpStream>) -> Option<String> {
    let chain = agent.get_ref().1.peer_certificates()?;
    chain.first().map(fingerprint)
}

/// One direction.
struct Listener<'a> {
    id: u64,
    side: Side,
    shared: &'a Shared,
    shown: Option<String>,
    decoder: Decoder,
    websocket: bool,
    /// The last answer was a refusal: its body is text for people.
    refused: bool,
}

impl Listener<'_> {
    /// Forwards until the end; true when it was an orderly one.
    async fn forward(
        mut self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(count) = from.read(&mut buffer).await else {
                return false;
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return to.shutdown().await.is_ok();
            }
            for item in self.decoder.feed(bytes) {
                self.note(item);
            }
            let sent = async {
                to.write_all(bytes).await?;
                to.flush().await
            };
            if sent.await.is_err() {
                return false;
            }
        }
    }

    fn note(&mut self, item: Item) {
        let kind = match item {
            Item::Head(head) => {
                self.websocket = head.is_websocket();
                match head.status() {
                    Some(status) => {
                        self.refused = status >= 300;
                        Kind::Answer(status)
                    }
                    None => Kind::Request(Request {
                        line: head.first_line,
                        headers: head.headers,
                        certificate: self.shown.clone(),
                    }),
                }
            }
            Item::Message(_) if self.refused => return,
            Item::Message(bytes) => self.message(&bytes),
            Item::Close(code) => Kind::CloseFrame(self.side, code),
            Item::Broken(why) => Kind::Unreadable(self.side, why),
        };
        self.shared.record.push(self.id, kind);
    }

    fn message(&self, bytes: &[u8]) -> Kind {
        let kind = match self.side {
            Side::Agent => decode::from_agent(bytes, self.websocket).map(Kind::FromAgent),
            Side::Operator => decode::to_agent(bytes, self.websocket).map(|message| {
                // Before the agent has it: it may come back at once.
                if let Some(pair) = message.offer.as_ref().and_then(Offer::pair) {
                    self.shared.wallet.add(pair);
                }
                Kind::ToAgent(message)
            }),
        };
        kind.unwrap_or_else(|why| Kind::Unreadable(self.side, why))
    }
}
