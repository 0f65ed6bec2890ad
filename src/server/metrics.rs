//! What the server sees of connections, credentials and messages.

use std::fmt;

use opamp_operator_api::IdentityMethod;
use opamp_operator_core::{fleet::Transport, identity::Verdict};

use super::exchange::Denied;
use crate::metrics::{Counter, Kind, Label, Metric, Page, Source, Values};

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: None,
        labels,
        help,
    }
}

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::Of(values),
    }
}

const TRANSPORTS: [&str; 2] = ["WebSocket", "HTTP"];
static MESSAGES: Metric = counter(
    "opamp_operator_messages_total",
    &[label("transport", &TRANSPORTS)],
    "Messages of agents that were read.",
);

const METHODS: [&str; 7] = [
    "AgentToken",
    "ClientCertificate",
    "ServiceAccount",
    "JWT",
    "Offered",
    "Anonymous",
    "Unknown",
];
const RESULTS: [&str; 3] = ["proved", "refused", "unavailable"];
static AUTHENTICATIONS: Metric = counter(
    "opamp_operator_authentications_total",
    &[label("method", &METHODS), label("result", &RESULTS)],
    "Upgrades and polls by what became of their credentials. `Offered`: proved by what the operator itself gave; `Unknown`: not proved by anything.",
);

/// Why credentials prove nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are none.
    NoCredentials,
    /// Nobody knows them, or they have ended.
    UnknownCredentials,
    /// They are revoked.
    Revoked,
    /// Somebody who could judge has not been heard.
    NotReady,
}

const REFUSED: [&str; 4] = [
    "no_credentials",
    "unknown_credentials",
    "revoked",
    "not_ready",
];
static REFUSALS: Metric = counter(
    "opamp_operator_authentications_refused_total",
    &[label("reason", &REFUSED)],
    "Upgrades and polls that were refused for their credentials; with `not_ready` they are answered 503 and come back, else 401.",
);

const DENIED: [&str; 9] = [
    "foreign",
    "retired",
    "not_allowed",
    "identity_limit",
    "revoked",
    "contradicts",
    "full",
    "not_ready",
    "newcomers",
];
static DENIALS: Metric = counter(
    "opamp_operator_agents_denied_total",
    &[label("reason", &DENIED)],
    "Agents that proved who they are, and were denied: their instance UID is another's (foreign), their credentials admit no new agent any more (retired), may not use that instance UID (not_allowed) or are revoked, an attribute contradicts them, or a limit is reached.",
);

/// Why a connection is turned away or given up, beside its credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// Its address has its share of those that wait.
    AddressLimit,
    /// It waited too long for TLS, or said nothing.
    Waiting,
    /// TLS failed, or took too long.
    Tls,
    /// No request that authenticates came in time.
    Slow,
    /// `limits.connections`.
    Limit,
    /// `limits.connectionsPerIdentity`.
    IdentityLimit,
}

const UNWANTED: [&str; 6] = [
    "address_limit",
    "waiting",
    "tls",
    "slow",
    "limit",
    "identity_limit",
];
static CONNECTIONS_REFUSED: Metric = counter(
    "opamp_operator_connections_refused_total",
    &[label("reason", &UNWANTED)],
    "Connections that were closed or answered 503: too many of one address (address_limit), silent or without a turn for TLS in time (waiting), TLS failed or took too long (tls), no credentials in time (slow), `limits.connections` (limit), `limits.connectionsPerIdentity` (identity_limit).",
);

/// See the module.
#[derive(Debug, Default)]
pub struct Metrics {
    messages: [Counter; TRANSPORTS.len()],
    authentications: [[Counter; RESULTS.len()]; METHODS.len()],
    refused: [Counter; REFUSED.len()],
    denied: [Counter; DENIED.len()],
    unwanted: [Counter; UNWANTED.len()],
}

impl Metrics {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[
        &MESSAGES,
        &AUTHENTICATIONS,
        &REFUSALS,
        &DENIALS,
        &CONNECTIONS_REFUSED,
    ];

    /// A message came.
    pub(super) fn message(&self, transport: Transport) {
        let place = match transport {
            Transport::WebSocket => 0,
            Transport::Http => 1,
        };
        self.messages[place].inc();
    }

    /// Somebody proved something.
    pub(super) fn proved(&self, verdict: &Verdict) {
        let retired = verdict.retired.as_ref().map(|(identity, _)| identity);
        let method = match verdict.primary.as_ref().or(retired) {
            Some(identity) => match identity.method {
                IdentityMethod::AgentToken => 0,
                IdentityMethod::ClientCertificate => 1,
                IdentityMethod::ServiceAccount => 2,
                IdentityMethod::Jwt => 3,
            },
            None if verdict.shown().next().is_some() => 4,
            None => 5,
        };
        self.authentications[method][0].inc();
    }

    /// Somebody proved nothing.
    pub(super) fn refused(&self, why: Refused) {
        let result = if why == Refused::NotReady { 2 } else { 1 };
        self.authentications[METHODS.len() - 1][result].inc();
        self.refused[why as usize].inc();
    }

    /// An agent may not speak.
    pub(super) fn denied(&self, denied: &Denied) {
        let place = match denied {
            Denied::Foreign => 0,
            Denied::Retired => 1,
            Denied::NotAllowed => 2,
            Denied::Quota => 3,
            Denied::Revoked(_) => 4,
            Denied::Contradicts(_) => 5,
            Denied::Full => 6,
            Denied::NotYet => 7,
            Denied::Newcomer => 8,
        };
        self.denied[place].inc();
    }

    /// A connection ends before it is an agent's.
    pub(super) fn unwanted(&self, why: Unwanted) {
        self.unwanted[why as usize].inc();
    }
}

impl Source for Metrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.values(&MESSAGES, counted(TRANSPORTS, &self.messages))?;
        let mut samples = page.metric(&AUTHENTICATIONS)?;
        for (method, results) in METHODS.iter().zip(&self.authentications) {
            for (result, counter) in RESULTS.iter().zip(results) {
                // Of the pairs that cannot be nothing is said.
                let unknown = *method == "Unknown";
                if unknown != (*result == "proved") {
                    samples.value(&[method, result], counter.get())?;
                }
            }
        }
        page.values(&REFUSALS, counted(REFUSED, &self.refused))?;
        page.values(&DENIALS, counted(DENIED, &self.denied))?;
        page.values(&CONNECTIONS_REFUSED, counted(UNWANTED, &self.unwanted))
    }
}

fn counted<const N: usize>(
    names: [&'static str; N],
    counters: &[Counter; N],
) -> impl Iterator<Item = (&'static str, u64)> {
    names.into_iter().zip(counters.iter().map(Counter::get))
}
