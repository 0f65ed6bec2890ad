//! `opamp-operator explain`: asks a running operator which profile applies to
//! an agent.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{admin::Explanation, config::Config};

/// How long the operator may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// No explanation is longer.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// Its instance UID.
    #[arg(long, value_name = "UID")]
    agent: String,
    /// Where the operator's admin listener is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    admin: SocketAddr,
    /// The operator's configuration, which says where it listens.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
}

impl Explain {
    /// What the operator says.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut address = self.admin;
        if let Some(file) = &self.config {
            let config = Config::read(file)?;
            let admin = config.admin.context(
                "the configuration has no `admin.listen`, so nobody can ask this operator",
            )?;
            address = admin.listen;
        }
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        let uid: opamp_wire::InstanceUid = self
            .agent
            .parse()
            .map_err(|_| anyhow::anyhow!("--agent must be an instance UID, which is a UUID"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let yaml = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, ask(address, uid))
                .await
                .context("the operator did not answer in time")?
        })?;
        let explanations: Vec<Explanation> = serde_saphyr::from_str(&yaml)
            .map_err(|_| anyhow::anyhow!("the answer is not understood: is it this operator's?"))?;
        Ok(explanations
            .iter()
            .map(table)
            .collect::<Vec<_>>()
            .join("\n"))
    }
}

async fn ask(address: SocketAddr, uid: opamp_wire::InstanceUid) -> anyhow::Result<String> {
    let client: Client<_, Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let url = format!("http://{address}/agents/{uid}/explanation").parse()?;
    let answer = client.get(url).await.with_context(|| {
        format!(
            "no operator answers at {address}: name its admin listener with --admin or --config"
        )
    })?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let body = body.map_err(|_| anyhow::anyhow!("the answer broke off"))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if !status.is_success() {
        bail!("{}", text.trim_end());
    }
    Ok(text)
}

fn table(explanation: &Explanation) -> String {
    let Explanation {
        instance_uid,
        namespace,
        identity,
        connected,
        answer,
        profiles,
        left_out,
    } = explanation;
    let identity = identity.as_deref().unwrap_or("nobody it proved to be");
    let mut text = format!(
        "agent {instance_uid} at home in {namespace}, {}, belongs to {identity}\n{answer}\n",
        if *connected { "connected" } else { "away" }
    );
    let width = |of: fn(&crate::admin::Line) -> usize, least| {
        profiles.iter().map(of).max().unwrap_or(0).max(least)
    };
    let name = width(|line| line.profile.len(), "PROFILE".len());
    let verdict = width(|line| line.verdict.len(), "VERDICT".len());
    if !profiles.is_empty() {
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "\n{:name$}  {:>11}  {:verdict$}  WHY",
            "PROFILE", "PRIORITY", "VERDICT"
        );
    }
    for line in profiles {
        let priority = line
            .priority
            .map_or("-".to_owned(), |number| number.to_string());
        let _ = writeln!(
            text,
            "{:name$}  {priority:>11}  {:verdict$}  {}",
            line.profile, line.verdict, line.because
        );
    }
    if *left_out > 0 {
        let _ = writeln!(text, "and {left_out} more");
    }
    // Names that agents or certificates chose must not steer a terminal.
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect()
}
