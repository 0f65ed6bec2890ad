//! Somebody who takes OTLP over HTTP, and says what came.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::pki::Leaf;

/// A listener on loopback that keeps the heads of the requests it got.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    heads: watch::Receiver<Vec<String>>,
}

impl Receiver {
    /// Starts one, behind TLS where there is a certificate for `localhost`; it
    /// ends with the test's runtime.
    ///
    /// # Errors
    /// When no port can be had, or the certificate is not one.
    pub async fn start(serving: Option<&Leaf>) -> Result<Self> {
        let acceptor = serving.map(acceptor).transpose()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr()?.port());
        let (heads, seen) = watch::channel(Vec::new());
        let heads = Arc::new(heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heads) = (acceptor.clone(), Arc::clone(&heads));
                tokio::spawn(async move {
                    match acceptor {
                        None => receive(stream, heads).await,
                        Some(acceptor) => {
                            // Who does not trust the certificate goes away.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                receive(stream, heads).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { url, heads: seen })
    }

    /// The URL of this path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Waits for a request to this path; returns its head, in lower case.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn got(&mut self, path: &str, within: Duration) -> Result<String> {
        let line = format!("post {path} ");
        let is_it = |head: &&String| head.starts_with(&line);
        let wait = self
            .heads
            .wait_for(|heads| heads.iter().any(|head| is_it(&head)));
        let heads = tokio::time::timeout(within, wait).await;
        let heads = heads.with_context(|| format!("nothing came to {path}"))??;
        heads.iter().find(is_it).cloned().context("a request")
    }
}

fn acceptor(serving: &Leaf) -> Result<TlsAcceptor> {
    let (chain, key) = serving.for_tls()?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config).into())
}

/// Reads requests and is content with each.
async fn receive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heads: Arc<watch::Sender<Vec<String>>>,
) {
    let mut read = Vec::new();
    loop {
        let end = read.windows(4).position(|w| w == b"\r\n\r\n");
        let head = end.map(|end| String::from_utf8_lossy(&read[..end]).to_ascii_lowercase());
        let length = head.as_deref().map_or(0, |head| {
            let lines = head.lines();
            let mut lengths = lines.filter_map(|line| line.strip_prefix("content-length:"));
            let length = lengths.next().and_then(|length| length.trim().parse().ok());
            length.unwrap_or(0)
        });
        if let Some(end) = end.filter(|end| read.len() >= end + 4 + length) {
            heads.send_modify(|heads| heads.extend(head));
            read.drain(..end + 4 + length);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        } else if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return;
        }
    }
}
