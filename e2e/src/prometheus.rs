//! A Prometheus that scrapes the operator every second, and what it answers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::process::{LogMark, Process};

/// How long it may take to start, and to answer.
const START: Duration = Duration::from_mins(1);

/// The namespace that a release is in, as far as this Prometheus knows.
pub const NAMESPACE: &str = "opamp-system";

/// A running Prometheus; its data goes with its folder.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    process: Process,
}

/// Times (seconds since 1970) and values, under their labels.
#[derive(Clone, Debug)]
pub struct Series {
    /// Without the name.
    pub labels: BTreeMap<String, String>,
    /// Never NaN.
    pub points: Vec<(f64, f64)>,
}

/// From when to when, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Seconds since 1970.
    pub from: f64,
    /// Seconds since 1970.
    pub to: f64,
    /// Seconds.
    pub step: f64,
}

impl Prometheus {
    /// Starts one that scrapes `target` as the chart's Service would be, with
    /// `spec` of a `PrometheusRule`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(
        binary: &Path,
        folder: &Path,
        log: &Path,
        target: SocketAddr,
        spec: &Value,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        // JSON is YAML.
        std::fs::write(folder.join("rules.yaml"), spec.to_string())?;
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": "opamp-operator",
                // The namespaces of profiles stay what they are.
                "honor_labels": true,
                "static_configs": [{
                    "targets": [target.to_string()],
                    "labels": {"namespace": NAMESPACE, "instance": "opamp-operator-0"},
                }],
            }],
        });
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, config.to_string())?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mark = LogMark::end_of(log);
        let mut command = Command::new(binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::spawn("prometheus", command, log)?;
        let ready = "Server is ready to receive web requests";
        process.wait_for_log(ready, mark, START).await?;
        Ok(Self { address, process })
    }

    /// What a query gives now.
    ///
    /// # Errors
    /// When it is none, or there is no answer.
    pub async fn now(&self, query: &str) -> Result<Vec<Series>> {
        let found = self.ask("/api/v1/query", &[("query", query)]).await?;
        let all = found["result"].as_array().context("no vector")?.iter();
        all.map(|one| series(one, std::slice::from_ref(&one["value"])))
            .collect()
    }

    /// What a query gives over a time.
    ///
    /// # Errors
    /// When it is none, or there is no answer.
    pub async fn over(&self, query: &str, span: Span) -> Result<Vec<Series>> {
        let [from, to, step] = [span.from, span.to, span.step].map(|number| number.to_string());
        let of = [
            ("query", query),
            ("start", &from),
            ("end", &to),
            ("step", &step),
        ];
        let found = self.ask("/api/v1/query_range", &of).await?;
        let all = found["result"].as_array().context("no matrix")?.iter();
        let points = |one: &Value| series(one, one["values"].as_array().map_or(&[], Vec::as_slice));
        all.map(points).collect()
    }

    /// Its rules, each with `name`, `health` and `alerts`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn rules(&self) -> Result<Vec<Value>> {
        let found = self.ask("/api/v1/rules", &[]).await?;
        let rules = found["groups"][0]["rules"].as_array();
        Ok(rules.context("no rules")?.clone())
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.stop().await.map(drop)
    }

    async fn ask(&self, path: &str, of: &[(&str, &str)]) -> Result<Value> {
        let mut url = Url::parse(&format!("http://{}{path}", self.address))?;
        url.query_pairs_mut().extend_pairs(of);
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let ask = async {
            let mut stream = TcpStream::connect(self.address).await?;
            // 1.0: the answer ends with the connection.
            let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(START, ask).await??;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let body: Value = serde_json::from_str(body).with_context(|| answer.clone())?;
        ensure!(body["status"] == "success", "{of:?}: {body}");
        Ok(body["data"].clone())
    }
}

/// Seconds since 1970.
#[must_use]
pub fn clock() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn series(one: &Value, values: &[Value]) -> Result<Series> {
    let labels = one["metric"].as_object().context("no labels")?;
    let labels = labels.iter().filter(|(name, _)| *name != "__name__");
    let labels = labels.map(|(name, value)| {
        let value = value.as_str().unwrap_or_default().to_owned();
        (name.clone(), value)
    });
    let point = |pair: &Value| {
        let value = pair[1].as_str()?.parse::<f64>().ok()?;
        Some((pair[0].as_f64()?, value)).filter(|_| !value.is_nan())
    };
    Ok(Series {
        labels: labels.collect(),
        points: values.iter().filter_map(point).collect(),
    })
}
