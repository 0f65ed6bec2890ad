//! Making a connection with exactly what the settings say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::server::{Roots, Server, Tls};

/// For each step of making a connection.
const STEP: Duration = Duration::from_secs(30);

/// A way to a server that has been checked as far as that goes without it.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) url: Url,
    tls: Option<Arc<ClientConfig>>,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Dialer {
    /// # Errors
    /// When the endpoint is no URL or the certificates do not load.  This is
    /// all that makes a supervisor go back to its old settings.
    pub(super) fn new(server: &Server) -> Result<Self> {
        let url = Url::parse(&server.endpoint)?;
        let tls = match url.scheme() {
            "wss" | "https" => Some(Arc::new(config(&server.tls)?)),
            _ => None,
        };
        Ok(Self { url, tls })
    }

    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>> {
        let host = self.url.host_str().context("no host")?;
        let port = self.url.port_or_known_default().context("no port")?;
        let stream = timeout(STEP, TcpStream::connect((host, port))).await??;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.to_owned())?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(Box::new(
            timeout(STEP, connector.connect(name, stream)).await??,
        ))
    }
}

fn config(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &tls.roots {
        Some(roots) => builder.with_root_certificates(store(roots)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider))),
    };
    let mut config = match &tls.identity {
        Some((cert, key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(cert).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn store(roots: &Roots) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    // No root of the system signs a server on the loopback: none does as well.
    let Roots::These(pem) = roots else {
        return Ok(store);
    };
    for root in CertificateDer::pem_slice_iter(pem) {
        store.add(root?)?;
    }
    if store.is_empty() {
        bail!("no certificate in the CA bundle");
    }
    Ok(store)
}

/// What a supervisor that is offered no certificate takes: any server at all.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
