//! Sends traces by OTLP over HTTP. Headers and CA are read each time: rotations
//! are rare, and both may change.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceResponse, trace::v1::Span,
};
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio::time::timeout;

use super::{settings::Traces, span::request};

/// An answer is no larger.
const MAX_ANSWER: usize = 64 * 1024;

/// Why spans were not taken.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) why: String,
    /// They may be taken later.
    pub(super) again: bool,
}

/// Sends spans; how many of them were not taken.
pub(super) async fn post(traces: &Traces, spans: Vec<Span>) -> Result<u64, Refused> {
    let body = request(spans).encode_to_vec();
    let sent = timeout(traces.timeout(), send(traces, body.into())).await;
    sent.unwrap_or_else(|_| Err(again("no answer in time".into())))
}

fn again(why: String) -> Refused {
    Refused { why, again: true }
}

async fn send(traces: &Traces, body: Bytes) -> Result<u64, Refused> {
    let tls = tls(traces.ca_file().map(|file| &**file)).await;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.map_err(again)?)
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build::<_, Full<Bytes>>(connector);
    let mut request = Request::post(traces.endpoint().as_str())
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(
            header::USER_AGENT,
            concat!("opamp-operator/", env!("CARGO_PKG_VERSION")),
        )
        .body(Full::new(body))
        .map_err(|error| again(error.to_string()))?;
    if let Some(file) = traces.headers_file() {
        let headers = read(file).await.and_then(|text| headers(&text));
        request.headers_mut().extend(headers.map_err(again)?);
    }
    let answer = client.request(request).await;
    let answer = answer.map_err(|error| again(root_cause(&error)))?;
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(Refused {
            why: format!("it answers {status}"),
            // As the specification lists them.
            again: matches!(status.as_u16(), 429 | 502 | 503 | 504),
        });
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|error| again(root_cause(&*error)))?.to_bytes();
    let said = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let rejected = said.partial_success.map(|partial| partial.rejected_spans);
    Ok(u64::try_from(rejected.unwrap_or_default()).unwrap_or_default())
}

async fn tls(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let Some(file) = ca else {
        let tls = tls.with_native_roots().map_err(|error| error.to_string())?;
        return Ok(tls.with_no_client_auth());
    };
    let text = read(file).await?;
    let mut roots = RootCertStore::empty();
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| named(&error))?;
        roots.add(certificate).map_err(|error| named(&error))?;
    }
    if roots.is_empty() {
        return Err(named(&"it holds no certificate"));
    }
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

async fn read(file: &Path) -> Result<String, String> {
    let read = tokio::fs::read_to_string(file).await;
    read.map_err(|error| format!("{}: {error}", file.display()))
}

/// One `Name: value` a line. What is wrong is said without the values.
fn headers(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let lines = text.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {} of headersFile is no `Name: value`", number + 1);
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law7_a_header_that_is_wrong_is_named_by_its_line() {
        let good = headers("Authorization: Bearer a:b\n\n X-Scope: fleet \n").unwrap();
        assert_eq!(good["authorization"], "Bearer a:b");
        assert_eq!(good["x-scope"], "fleet");
        assert!(!format!("{good:?}").contains("Bearer"), "{good:?}");
        for wrong in [
            "secret-without-a-name",
            "a: b\nsp ace: secret",
            "a: se\u{1}cret",
        ] {
            let error = headers(wrong).unwrap_err();
            assert!(error.starts_with("line "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
