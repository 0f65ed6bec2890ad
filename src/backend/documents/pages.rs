//! Pages, fetched over TLS.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::ClientConfig;

use super::MAX_BYTES;
use crate::backend::root_cause;

/// Whom pages are fetched from.
#[derive(Clone, Debug)]
pub struct Pages(Option<ClientConfig>);

impl Pages {
    /// From whoever the system trusts.
    #[must_use]
    pub fn trusting_the_system() -> Self {
        Self(None)
    }

    /// From whoever this trusts.
    #[must_use]
    pub fn trusting(tls: ClientConfig) -> Self {
        Self(Some(tls))
    }

    /// Looked up anew for every page: the system's roots may change.
    fn tls(&self) -> Result<ClientConfig, String> {
        if let Some(tls) = &self.0 {
            return Ok(tls.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let tls = tls.with_native_roots().map_err(|error| error.to_string())?;
        Ok(tls.with_no_client_auth())
    }

    /// What a page holds.
    pub(super) async fn fetch(&self, url: &str) -> Result<Vec<u8>, String> {
        let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls()?)
            .https_only()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build::<_, Empty<Bytes>>(connector);
        let request = Request::get(uri).header("Accept", "application/json");
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = client.request(request).await.map_err(|e| root_cause(&e))?;
        match answer.status() {
            StatusCode::OK => {}
            other if other.is_redirection() => {
                return Err(format!(
                    "it answers {other}: name the address that it leads to"
                ));
            }
            other => return Err(format!("it answers {other}")),
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        Ok(body.map_err(|error| root_cause(&*error))?.to_bytes().into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::{Response, header};
    use http_body_util::Full;
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use rustls::{RootCertStore, ServerConfig};
    use rustls_pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// Serves pages on the loopback; returns its port and whoever trusts it.
    pub(in crate::backend::documents) async fn serve() -> (u16, Pages) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], der)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let connection = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(page));
                    let _ = connection.await;
                });
            }
        });
        (port, Pages::trusting(client))
    }

    async fn page(request: Request<hyper::body::Incoming>) -> http::Result<Response<Full<Bytes>>> {
        let answer = Response::builder();
        match request.uri().path() {
            "/keys" => answer.body(Full::from("the keys")),
            "/large" => answer.body(Full::from(vec![b'x'; MAX_BYTES + 1])),
            "/moved" => answer
                .status(302)
                .header(header::LOCATION, "/keys")
                .body(Full::default()),
            _ => answer.status(404).body(Full::default()),
        }
    }

    #[tokio::test]
    async fn law10_a_page_is_had_whole_or_not_at_all() {
        let (port, pages) = serve().await;
        let fetch = async |path: &str| {
            pages
                .fetch(&format!("https://localhost:{port}{path}"))
                .await
        };
        assert_eq!(fetch("/keys").await.unwrap(), b"the keys");
        for (path, words) in [
            ("/large", "length limit exceeded"),
            ("/moved", "302"),
            ("/nothing", "404"),
        ] {
            let error = fetch(path).await.unwrap_err();
            assert!(error.contains(words), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn law3_a_page_of_somebody_whom_nobody_trusts_is_not_read() {
        let (port, _) = serve().await;
        let url = format!("https://localhost:{port}/keys");
        let error = Pages::trusting_the_system().fetch(&url).await.unwrap_err();
        assert!(error.contains("certificate"), "{error}");
        let plain = url.replace("https", "http");
        assert!(Pages::trusting_the_system().fetch(&plain).await.is_err());
    }
}
