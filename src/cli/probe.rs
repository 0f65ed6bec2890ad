//! `opamp-operator probe`: connects as an agent does that has no credential yet.

use std::{error::Error as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Collected, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::time::{Instant, sleep, timeout};

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest time to go on trying.
const LONGEST_WAIT: u64 = 600;
/// What a refusal says is short.
const MAX_BYTES: usize = 4 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Probe {
    /// As agents are given it.
    #[arg(value_name = "URL")]
    url: url::Url,
    /// The CAs that agents trust; without such a file those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The name by which agents know the server, if it is not that of the URL.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Seconds to go on trying while the server cannot be reached or says that it is not ready, at most 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT))]
    wait: u64,
}

impl Probe {
    /// What the server is found to be.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut url = self.url.clone();
        if url.scheme() == "wss" {
            url = url.as_str().replacen("wss", "https", 1).parse()?;
        }
        ensure!(
            url.scheme() == "https",
            "the URL must be wss:// or https://: this operator serves TLS only"
        );
        let uri = url.as_str().parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let tls = self.tls()?;
            let name = self.name()?;
            let until = Instant::now() + Duration::from_secs(self.wait);
            loop {
                let asked = timeout(PATIENCE, ask(&uri, tls.clone(), name.clone())).await;
                let late = || {
                    Err(Failure::Passing(anyhow!(
                        "the server did not answer in time"
                    )))
                };
                match asked.unwrap_or_else(|_| late()) {
                    Ok(()) => return Ok(()),
                    // A Service leads nowhere until each node has heard of its Pods.
                    Err(Failure::Passing(_)) if Instant::now() + PAUSE < until => {
                        sleep(PAUSE).await;
                    }
                    Err(Failure::Passing(why) | Failure::Lasting(why)) => return Err(why),
                }
            }
        })?;
        Ok(format!(
            "{}: the server proved itself and serves OpAMP\n",
            self.url
        ))
    }

    fn name(&self) -> anyhow::Result<Option<ServerName<'static>>> {
        let name = self.server_name.clone().map(ServerName::try_from);
        name.transpose()
            .context("`--server-name` must be a DNS name or an IP address")
    }

    fn tls(&self) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let Some(file) = self.ca_file.as_ref().filter(|file| file.exists()) else {
            return Ok(tls.with_native_roots()?.with_no_client_auth());
        };
        let name = file.display();
        let mut roots = RootCertStore::empty();
        let all = CertificateDer::pem_file_iter(file).with_context(|| name.to_string())?;
        for certificate in all {
            let certificate = certificate.with_context(|| name.to_string())?;
            roots.add(certificate).with_context(|| name.to_string())?;
        }
        ensure!(!roots.is_empty(), "{name} holds no certificate");
        Ok(tls.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Why it is not as it should be.
enum Failure {
    /// A moment later it may be.
    Passing(anyhow::Error),
    Lasting(anyhow::Error),
}

async fn ask(
    uri: &Uri,
    tls: ClientConfig,
    name: Option<ServerName<'static>>,
) -> Result<(), Failure> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only();
    let connector = match name {
        Some(name) => connector
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .build(),
        None => connector.enable_http1().build(),
    };
    let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
    let request = Request::post(uri)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .body(Empty::new())
        .map_err(|error| Failure::Lasting(error.into()))?;
    let answer = client.request(request).await.map_err(unreached)?;
    match answer.status() {
        // Strangers are refused, or may report and sent no message just now.
        StatusCode::UNAUTHORIZED | StatusCode::OK => Ok(()),
        StatusCode::NOT_FOUND => Err(Failure::Lasting(anyhow!(
            "there is no OpAMP at this path (404)"
        ))),
        status => {
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            let said = String::from_utf8_lossy(&body);
            let line = said.lines().next().unwrap_or_default();
            // What a stranger says must not steer a terminal.
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            let why = anyhow!("the server answers {status}: {line}");
            Err(if status == StatusCode::SERVICE_UNAVAILABLE {
                Failure::Passing(why)
            } else {
                Failure::Lasting(why)
            })
        }
    }
}

/// A certificate stays as wrong as it is.
fn unreached(error: hyper_util::client::legacy::Error) -> Failure {
    let mut causes = std::iter::successors(error.source(), |cause| {
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<std::io::Error>();
        match wrapped.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => (*cause).source(),
        }
    });
    if causes.any(<dyn std::error::Error + 'static>::is::<rustls::Error>) {
        Failure::Lasting(error.into())
    } else {
        Failure::Passing(error.into())
    }
}
