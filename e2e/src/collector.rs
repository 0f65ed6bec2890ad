//! A real Collector that takes traces over TLS, and what it got.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::manifests::write_atomically;
use crate::parts::{Parts, Set};
use crate::pki::{Ca, DAY, Window};
use crate::process::{LogMark, Process, read_from};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A collector. It ends with this value.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    ca: PathBuf,
    log: PathBuf,
    _process: Process,
}

/// A span as the collector shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Of which trace.
    pub trace: String,
    /// Its own name within the trace.
    pub id: String,
    /// Of the span above it; empty at the top.
    pub parent: String,
    /// What happened.
    pub name: String,
    /// Its times, as text that sorts as they do.
    pub times: (String, String),
    /// `Unset`, `Ok` or `Error`.
    pub status: String,
    /// More.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    /// Starts one with its files in this folder.
    ///
    /// # Errors
    /// When it is not there or does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let parts = Parts::ensure(Set::Directory).await?;
        let ca = Ca::new("collector CA")?;
        let serving = ca.server(Window::lasting(DAY))?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            write_atomically(&path, text).map(|()| path)
        };
        let (cert, key) = (
            file("c.crt", &serving.certificate)?,
            file("c.key", &serving.key)?,
        );
        let config = json!({
            "receivers": {"otlp": {"protocols": {"http": {
                "endpoint": format!("127.0.0.1:{port}"),
                "tls": {"cert_file": cert, "key_file": key},
            }}}},
            "exporters": {"debug": {"verbosity": "detailed", "sampling_initial": 10_000}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
            },
        });
        let config = file("collector.yaml", &serde_saphyr::to_string(&config)?)?;
        let log = folder.join("collector.log");
        let mut command = Command::new(parts.path("otelcol")?);
        command.arg("--config").arg(config);
        let mark = LogMark::end_of(&log);
        let mut process = Process::spawn("collector", command, &log)?;
        let ready = process.wait_for_log("Everything is ready", mark, START);
        ready.await.context("the collector does not start")?;
        Ok(Self {
            port,
            ca: file("ca.crt", ca.pem())?,
            log,
            _process: process,
        })
    }

    /// Where it takes OTLP over HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Who vouches for it.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// All that it wrote.
    #[must_use]
    pub fn text(&self) -> String {
        read_from(&self.log, LogMark::default())
    }

    /// All spans that it got.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.text())
    }
}

/// Reads what the debug exporter writes: `Span #0` and a line for each field.
fn spans(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Span #") {
            spans.push(Span::default());
        }
        let Some(span) = spans.last_mut() else {
            continue;
        };
        if let Some((key, value)) = line.strip_prefix("-> ").and_then(|l| l.split_once(": ")) {
            // `Str(text)`, `Int(7)`.
            let value = value.split_once('(').map_or(value, |(_, value)| value);
            let value = value.strip_suffix(')').unwrap_or(value);
            span.attributes.insert(key.to_owned(), value.to_owned());
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim().to_owned();
        match key.trim() {
            "Trace ID" => span.trace = value,
            "Parent ID" => span.parent = value,
            "ID" => span.id = value,
            "Name" => span.name = value,
            "Start time" => span.times.0 = value,
            "End time" => span.times.1 = value,
            "Status code" => span.status = value,
            _ => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read() {
        let text = "Span #0\n    Trace ID       : aa\n    Parent ID      : \n    ID             : bb\n    \
                    Name           : rotation\n    Kind           : Internal\n    \
                    Start time     : 2026-11-24 03:00:00.1 +0000 UTC\n    End time       : 2026-11-24 03:00:01 +0000 UTC\n    \
                    Status code    : Unset\n    Status message : \nAttributes:\n     -> opamp.change: Str(00000001)\n     \
                    -> opamp.agents: Int(1)\nSpan #1\n    Trace ID       : cc\n";
        let read = spans(text);
        assert_eq!(read.len(), 2);
        let first = &read[0];
        let fields = (&*first.trace, &*first.parent, &*first.id, &*first.name);
        assert_eq!(fields, ("aa", "", "bb", "rotation"));
        assert_eq!(first.times.0, "2026-11-24 03:00:00.1 +0000 UTC");
        assert_eq!(first.attributes["opamp.change"], "00000001");
        assert_eq!(first.attributes["opamp.agents"], "1");
        assert_eq!(read[1].trace, "cc");
    }
}
