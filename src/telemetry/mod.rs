//! Logs: to standard error, as text or JSON; and traces, if they are wanted.

pub mod traces;

use clap::ValueEnum;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, registry,
    util::SubscriberInitExt as _,
};

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Crates that never log what they handle: ours, by law 7.
const OURS: [&str; 4] = [
    "opamp_operator",
    "opamp_operator_api",
    "opamp_operator_core",
    "opamp_wire",
];

/// Starts logging; `filter` is a level or a list of `target=level`.
///
/// # Errors
/// If the filter cannot be understood.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    subscriber(format, filter, std::io::stderr)?
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// What [`start`] starts, writing elsewhere.
///
/// # Errors
/// If the filter cannot be understood.
pub fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> anyhow::Result<impl Subscriber + Send + Sync + use<W>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter)?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(registry().with(lines).with(filter).with(cap()))
}

/// What no filter lifts (law 7): below INFO, libraries log what passes through
/// them – tungstenite the frames with the credentials that we offer, h2 and
/// hyper headers – and at WARN kube-client logs answers that it cannot parse,
/// Secrets among them; kube-runtime says again and again what we say once.
fn cap() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("kube_client", LevelFilter::ERROR)
        .with_target("kube_runtime", LevelFilter::ERROR)
        .with_targets(OURS.map(|ours| (ours, LevelFilter::TRACE)))
}
