//! A server on loopback TLS, and agents of it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::{SinkExt as _, StreamExt as _};
use opamp_operator::{
    backend::Question,
    hub::{Hub, Reviews, Roster},
    server::{Limits, Server},
};
use opamp_operator_core::{
    fleet::LinkId,
    identity::{
        Authenticator, Bearer, Fingerprint, KeyRing, Ledger, Presented, Proof, Sources, Trust,
    },
};
use opamp_wire::{
    InstanceUid, decode_frame, encode_frame,
    proto::{AgentDescription, AgentToServer, ServerToAgent},
};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, sign::CertifiedKey};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        handshake::client::{Request, Response},
        protocol::{WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const TOKEN: &str = "a-token-that-is-long-enough";
/// Of another identity.
pub(crate) const OTHER: &str = "another-token-also-long-enough";
/// How many agents are remembered.
pub(crate) const AGENTS: u8 = 100;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) client: TlsConnector,
    roots: RootCertStore,
    /// The serving certificate, as PEM.
    pub(crate) serving: String,
    pub(crate) hub: Arc<Hub>,
    pub(crate) closing: CancellationToken,
    pub(crate) large_messages: Arc<Semaphore>,
    asked: mpsc::Receiver<Question>,
}

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl World {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::remembering(AGENTS.into(), limits).await
    }

    /// A server whose endpoint has this path.
    pub(crate) async fn at(path: &str, limits: Limits) -> Self {
        Self::with(AGENTS.into(), path, limits).await
    }

    /// A server that remembers so many agents, and trusts nobody yet.
    pub(crate) async fn remembering(agents: usize, limits: Limits) -> Self {
        Self::with(agents, "/v1/opamp", limits).await
    }

    async fn with(agents: usize, path: &str, limits: Limits) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signer = provider.key_provider.load_private_key(der).unwrap();
        let (questions, asked) = mpsc::channel(16);
        let hub = Arc::new(Hub::new(
            Roster::new(agents, agents),
            Duration::ZERO,
            Reviews::new(questions, Duration::from_secs(3600)),
        ));
        let serving = CertifiedKey::new(vec![certificate.der().clone()], signer);
        hub.serving.send_replace(Some(Arc::new(serving)));
        let closing = CancellationToken::new();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(
            listen,
            path,
            Arc::clone(&hub),
            limits,
            &provider,
            closing.clone(),
        )
        .await
        .unwrap();
        let address = server.address().unwrap();
        let large_messages = server.large_messages();
        tokio::spawn(server.run());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Self {
            address,
            client: TlsConnector::from(Arc::new(config)),
            roots,
            serving: certificate.pem(),
            hub,
            closing,
            large_messages,
            asked,
        }
    }

    pub(crate) async fn trusting(limits: Limits) -> Self {
        let world = Self::start(limits).await;
        world.trust();
        world
    }

    pub(crate) fn trust(&self) {
        self.judge(Sources {
            authenticators: tokens(),
            ..Sources::default()
        });
    }

    /// Trusts otherwise from now on, as the controller says it.
    pub(crate) fn judge(&self, sources: Sources) {
        self.judge_by(sources, &Ledger::default());
    }

    pub(crate) fn judge_by(&self, sources: Sources, ledger: &Ledger) {
        let keys = KeyRing::new(vec![[1; 32]]).unwrap();
        let trust = Trust::of(sources, keys, ledger);
        self.hub.trust.send_replace(Some(Arc::new(trust)));
        self.hub.judgement.send_modify(|turn| *turn += 1);
    }

    /// What the Kubernetes API is asked from now on.
    pub(crate) fn asked(&mut self) -> mpsc::Receiver<Question> {
        std::mem::replace(&mut self.asked, mpsc::channel(1).1)
    }

    /// A TCP connection from an address of the loopback network.
    pub(crate) async fn tcp(&self, from: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        self.connect(socket, Ipv4Addr::new(127, 0, 0, from)).await
    }

    /// A TCP connection whose system keeps little that is not read.
    pub(crate) async fn narrow_tcp(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        for set in [
            TcpSocket::set_recv_buffer_size,
            TcpSocket::set_send_buffer_size,
        ] {
            set(&socket, 4096).unwrap();
        }
        self.connect(socket, Ipv4Addr::LOCALHOST).await
    }

    pub(crate) async fn connect(&self, socket: TcpSocket, from: Ipv4Addr) -> TcpStream {
        socket.bind((IpAddr::V4(from), 0).into()).unwrap();
        timeout(SOON, socket.connect(self.address))
            .await
            .expect("a connection in time")
            .unwrap()
    }

    /// What clients verify the server by.
    pub(crate) fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    /// TLS of one version, for one protocol above it.
    pub(crate) async fn tls_with(
        &self,
        version: &'static SupportedProtocolVersion,
        alpn: &[u8],
    ) -> TlsStream<TcpStream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, self.tcp(1).await);
        timeout(SOON, connecting)
            .await
            .expect("TLS in time")
            .unwrap()
    }

    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
        self.tls_from(1).await
    }

    pub(crate) async fn tls_from(&self, from: u8) -> TlsStream<TcpStream> {
        self.tls_over(self.tcp(from).await).await
    }

    pub(crate) async fn tls_over(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        timeout(SOON, self.client.connect(name, stream))
            .await
            .expect("TLS in time")
            .unwrap()
    }

    pub(crate) async fn upgrade(&self, token: Option<&str>) -> Result<Socket, Error> {
        let bearer = token.map(|token| ("authorization", format!("Bearer {token}")));
        let headers: Vec<_> = bearer.into_iter().collect();
        let (socket, _) = self.upgrade_at("/v1/opamp", &headers).await?;
        Ok(socket)
    }

    /// An upgrade with these headers, and what it was answered.
    pub(crate) async fn upgrade_at(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<(Socket, Response), Error> {
        let mut request = format!("wss://localhost{path}")
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self::upgrade_with(self.tls().await, request).await
    }

    pub(crate) async fn upgrade_over(
        stream: TlsStream<TcpStream>,
        token: Option<&str>,
    ) -> Result<Socket, Error> {
        let mut request = "wss://localhost/v1/opamp".into_client_request().unwrap();
        if let Some(token) = token {
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (socket, _) = Self::upgrade_with(stream, request).await?;
        Ok(socket)
    }

    async fn upgrade_with(
        stream: TlsStream<TcpStream>,
        request: Request,
    ) -> Result<(Socket, Response), Error> {
        // As little memory as does: a test may hold thousands.
        let lean = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0);
        tokio_tungstenite::client_async_with_config(request, stream, Some(lean)).await
    }

    pub(crate) async fn socket(&self) -> Socket {
        self.upgrade(Some(TOKEN)).await.unwrap()
    }

    /// Status and body of one POST, on a connection of its own.
    pub(crate) async fn post(&self, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let answer = self.ask(headers, body).await;
        (answer.status, answer.body)
    }

    /// The answer to one POST, on a connection of its own.
    pub(crate) async fn ask(&self, headers: &str, body: &[u8]) -> Answer {
        self.ask_at("/v1/opamp", headers, body).await
    }

    pub(crate) async fn ask_at(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.tls().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that has seen enough may close before all is written.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer))
            .await
            .expect("an answer in time");
        let end = answer
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a response head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        Answer {
            status: head[9..12].parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: answer[end + 4..].to_vec(),
        }
    }
}

/// To a POST.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whose name is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Seconds of `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.header("retry-after")?.parse().ok()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Those that know `TOKEN` and `OTHER`.
pub(crate) fn tokens() -> Vec<Authenticator> {
    let token = |(name, token): (&str, &str)| {
        let header = format!("Bearer {token}");
        let known = Fingerprint::of_authorization(header.as_bytes());
        Authenticator::token(name, "default", name, [known])
    };
    [("bootstrap", TOKEN), ("other", OTHER)].map(token).into()
}

pub(crate) fn hello(uid: u8) -> AgentToServer {
    AgentToServer {
        instance_uid: vec![uid; 16].into(),
        capabilities: 0x2101,
        agent_description: Some(AgentDescription::default()),
        ..AgentToServer::default()
    }
}

pub(crate) async fn ask(socket: &mut Socket, message: &AgentToServer) -> ServerToAgent {
    socket
        .send(Message::Binary(encode_frame(message)))
        .await
        .unwrap();
    answer(socket).await
}

pub(crate) async fn answer(socket: &mut Socket) -> ServerToAgent {
    loop {
        let next = timeout(SOON, socket.next()).await;
        match next.expect("an answer in time") {
            Some(Ok(Message::Binary(data))) => return decode_frame(data).unwrap(),
            Some(Ok(Message::Ping(_))) => {}
            other => panic!("no message: {other:?}"),
        }
    }
}

pub(crate) async fn close_code(socket: &mut Socket) -> Option<CloseCode> {
    loop {
        match timeout(SOON, socket.next()).await.expect("an end in time") {
            Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

pub(crate) const PROTOBUF: &str =
    "Content-Type: application/x-protobuf\r\nAuthorization: Bearer a-token-that-is-long-enough\r\n";

/// Numbers of the links that an agent has.
pub(crate) fn links(world: &World, uid: u8) -> Vec<LinkId> {
    let header = format!("Bearer {TOKEN}");
    let presented = Presented::new(Vec::new(), Some(header.as_bytes()), None);
    let now = world.hub.clock.now();
    let trust = world.hub.trust.borrow().clone().unwrap();
    let Proof::Proved(verdict) = trust.verify(&presented, &Bearer::Nobody, now) else {
        panic!("nobody");
    };
    let uid = InstanceUid::from_bytes([uid; 16]);
    let agent = world.hub.roster.find(uid, &verdict, now).unwrap();
    agent.lock().links().iter().map(|link| link.id).collect()
}

/// Told that there is no room, and when to come again.
pub(crate) async fn refused_for_room(world: &World, token: &str) {
    match timeout(SOON, world.upgrade(Some(token))).await {
        Ok(Err(Error::Http(response))) => {
            assert_eq!(response.status(), 503);
            let retry: u64 = response.headers()["retry-after"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!((30..60).contains(&retry));
        }
        other => panic!("{:?}", other.map(|other| other.map(|_| "upgraded"))),
    }
}
