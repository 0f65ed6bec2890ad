//! A peer that does what an agent would do, or somebody who pretends to be one:
//! it shows what it is told to show, and says what it is told to say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::cluster::ClusterWorld;
use e2e::pki::Leaf;
use e2e::scene::SOON;
use futures::{SinkExt as _, StreamExt as _};
use opamp_wire::proto::{
    AgentDescription, AgentToServer, AnyValue, ConnectionSettingsStatus,
    ConnectionSettingsStatuses, KeyValue, ServerToAgent, any_value::Value,
};
use opamp_wire::{decode_frame, encode_frame};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::tungstenite::{Error, Message};
use uuid::Uuid;

/// It reports its status and heartbeats, and takes connection settings.
const CAPABILITIES: u64 = 0x1 | 0x100 | 0x2000;

/// What somebody shows.
#[derive(Clone, Default)]
pub(crate) struct Shown<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) marker: Option<&'a str>,
    pub(crate) certificate: Option<&'a Leaf>,
}

/// With a token and nothing else.
pub(crate) fn bearing(token: &str) -> Shown<'_> {
    Shown {
        token: Some(token),
        ..Shown::default()
    }
}

/// One connection that was let in.
pub(crate) struct Probe {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    uid: Uuid,
    attributes: Vec<(String, String)>,
    said: u64,
}

impl Probe {
    /// Connects through the tap; the status that refuses it is an answer too.
    pub(crate) async fn knock(
        world: &ClusterWorld,
        shown: &Shown<'_>,
        uid: Uuid,
        attributes: &[(&str, &str)],
    ) -> Result<Result<Self, u16>> {
        let mut request = world.tap.url("wss").into_client_request()?;
        let port = request.uri().port_u16().context("a URL with a port")?;
        let headers = [
            (
                "authorization",
                shown.token.map(|it| format!("Bearer {it}")),
            ),
            ("opamp-settings-hash", shown.marker.map(str::to_owned)),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                let name = HeaderName::from_static(name);
                request.headers_mut().insert(name, value.parse()?);
            }
        }
        let connect = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let tls = tls(world.pki.server_ca.pem(), shown.certificate)?;
            let name = ServerName::try_from("localhost")?;
            let stream = TlsConnector::from(tls).connect(name, stream).await?;
            match tokio_tungstenite::client_async(request, stream).await {
                Ok((socket, _)) => anyhow::Ok(Ok(socket)),
                Err(Error::Http(answer)) => Ok(Err(answer.status().as_u16())),
                Err(error) => Err(error.into()),
            }
        };
        let connected = timeout(SOON, connect)
            .await
            .context("no answer in time")??;
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Ok(connected.map(|socket| Self {
            socket,
            uid,
            attributes: attributes.iter().map(owned).collect(),
            said: 0,
        }))
    }

    /// Connects, and must be let in.
    pub(crate) async fn enter(
        world: &ClusterWorld,
        shown: &Shown<'_>,
        attributes: &[(&str, &str)],
    ) -> Result<Self> {
        let knocked = Self::knock(world, shown, Uuid::now_v7(), attributes).await?;
        knocked.map_err(|status| anyhow::anyhow!("refused with {status}"))
    }

    pub(crate) fn uid(&self) -> Uuid {
        self.uid
    }

    /// Says one more thing, the first time everything, and hears the answer.
    pub(crate) async fn exchange(&mut self) -> Result<ServerToAgent> {
        let description = (self.said == 0).then(|| self.description());
        let message = AgentToServer {
            instance_uid: self.uid.as_bytes().to_vec().into(),
            sequence_num: self.said,
            capabilities: CAPABILITIES,
            agent_description: description,
            ..AgentToServer::default()
        };
        self.said += 1;
        let frame = Message::Binary(encode_frame(&message));
        self.socket.send(frame).await?;
        self.hear().await
    }

    /// Takes the settings that it is offered for broken, and says so.
    pub(crate) async fn fails(&mut self, words: &str) -> Result<()> {
        let mut heard = self.exchange().await?;
        let hash = loop {
            match heard.connection_settings {
                Some(offer) => break offer.hash,
                None => heard = self.hear().await?,
            }
        };
        let message = AgentToServer {
            instance_uid: self.uid.as_bytes().to_vec().into(),
            sequence_num: self.said,
            capabilities: CAPABILITIES,
            connection_settings_status: Some(ConnectionSettingsStatus {
                last_connection_settings_hash: hash,
                status: ConnectionSettingsStatuses::Failed.into(),
                error_message: words.to_owned(),
            }),
            ..AgentToServer::default()
        };
        self.said += 1;
        let frame = Message::Binary(encode_frame(&message));
        self.socket.send(frame).await?;
        self.hear().await.map(drop)
    }

    fn description(&self) -> AgentDescription {
        let attribute = |(key, value): &(String, String)| KeyValue {
            key: key.clone(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(value.clone())),
            }),
        };
        AgentDescription {
            identifying_attributes: self.attributes.iter().map(attribute).collect(),
            ..AgentDescription::default()
        }
    }

    /// The next message of the operator.
    pub(crate) async fn hear(&mut self) -> Result<ServerToAgent> {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let heard = timeout_at(deadline, self.socket.next()).await;
            match heard.context("nothing was said in time")? {
                Some(Ok(Message::Binary(data))) => return Ok(decode_frame(data)?),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => bail!("no message: {other:?}"),
            }
        }
    }

    /// Hears until it is offered settings; returns the certificate in them.
    pub(crate) async fn is_offered(&mut self) -> Result<String> {
        let mut heard = self.exchange().await?;
        loop {
            if let Some(offer) = heard.connection_settings {
                let opamp = offer.opamp.context("an offer without opamp")?;
                let certificate = opamp.certificate.context("no certificate")?;
                let leaf = e2e::pki::pem_fingerprint(&certificate.cert);
                return leaf.context("no certificate in PEM");
            }
            heard = self.hear().await?;
        }
    }

    /// Says three things and is offered nothing.
    pub(crate) async fn gets_nothing(&mut self) -> Result<()> {
        for _ in 0..3 {
            let heard = self.exchange().await?;
            let error = heard.error_response.map(|error| error.error_message);
            ensure!(error.is_none(), "{error:?}");
            ensure!(
                heard.connection_settings.is_none(),
                "it was offered settings"
            );
        }
        Ok(())
    }

    /// What it says is answered with an error and nothing else.
    pub(crate) async fn is_denied(&mut self, words: &str) -> Result<()> {
        let heard = self.exchange().await?;
        ensure!(
            heard.connection_settings.is_none(),
            "it was offered settings"
        );
        let error = heard.error_response.context("no error")?;
        let text = error.error_message;
        ensure!(text.contains(words), "{text}");
        Ok(())
    }

    /// Waits until the socket is closed; how long after `since` that was.
    pub(crate) async fn closed(mut self, since: Instant, within: Duration) -> Result<Duration> {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        let ended = timeout(within, end).await;
        ended.with_context(|| format!("still open after {within:?}"))?;
        Ok(since.elapsed())
    }
}

fn tls(server_ca: &str, leaf: Option<&Leaf>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(server_ca.as_bytes()) {
        roots.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match leaf {
        Some(leaf) => {
            let (chain, key) = leaf.for_tls()?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    }))
}
