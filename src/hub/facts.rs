//! What is known of profiles and agents, as numbers: looked up whenever somebody
//! asks.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, OnceLock, atomic::Ordering},
};

use opamp_operator_api::{ProfileKey, v1alpha1::AgentCounts};
use opamp_operator_core::fleet::Transport;

use super::{
    Hub, Known,
    offers::{HELD_BACK, OFFERS, ROTATION},
};
use crate::metrics::{Kind, Label, Metric, Page, Source, Unit, Values};

/// The labels of whatever is counted by profile.
pub(super) const PROFILE: [Label; 2] = [
    Label {
        name: "namespace",
        values: Values::Text("of the profile; empty for `other`"),
    },
    Label {
        name: "profile",
        values: Values::Text("its name; `other` for all beyond the first 1,000"),
    },
];

const fn of_profile(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: None,
        labels,
        help,
    }
}

const STATES: [&str; 8] = [
    "up_to_date",
    "pending",
    "in_progress",
    "failed",
    "lost",
    "incapable",
    "departed",
    "overridden",
];

static AGENTS: Metric = of_profile(
    "opamp_operator_agents",
    &[
        PROFILE[0],
        PROFILE[1],
        Label {
            name: "state",
            values: Values::Of(&STATES),
        },
    ],
    "Agents by where they stand with the revision in force, as `status.agents` of the profile counts them.",
);
static MATCHED: Metric = of_profile(
    "opamp_operator_agents_matched",
    &PROFILE,
    "Agents that use the profile.",
);
static CONNECTED: Metric = of_profile(
    "opamp_operator_agents_connected",
    &PROFILE,
    "Agents that use the profile and are connected.",
);
static CANNOT_RETURN: Metric = of_profile(
    "opamp_operator_agents_cannot_return",
    &PROFILE,
    "Agents that are connected by credentials that would not be admitted again.",
);
static OUTDATED: Metric = of_profile(
    "opamp_operator_agents_outdated",
    &PROFILE,
    "Agents that lack the revision in force: those that are pending, in progress, failed or lost.",
);
static REVISION: Metric = of_profile(
    "opamp_operator_profile_revision",
    &PROFILE,
    "Number of the revision in force; none for `other`.",
);
static CONDITION: Metric = of_profile(
    "opamp_operator_profile_condition",
    &[
        PROFILE[0],
        PROFILE[1],
        Label {
            name: "condition",
            values: Values::Text("its type, see [conditions](conditions.md)"),
        },
        Label {
            name: "status",
            values: Values::Of(&["True", "False", "Unknown"]),
        },
        Label {
            name: "reason",
            values: Values::Text("its reason, see [conditions](conditions.md)"),
        },
    ],
    "1 for each condition as it is now; of `other`, how many profiles have it so.",
);
static EXPIRATION: Metric = Metric {
    name: "opamp_operator_certificate_expiration_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    labels: &[
        PROFILE[0],
        PROFILE[1],
        Label {
            name: "kind",
            values: Values::Of(&["Secret", "ConfigMap"]),
        },
        Label {
            name: "name",
            values: Values::Text("of the object; empty for `other`"),
        },
    ],
    help: "When the certificate ends that ends first in an object which the profile uses; of `other`, in any.",
};
static SERVING_EXPIRATION: Metric = Metric {
    name: "opamp_operator_serving_certificate_expiration_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    labels: &[],
    help: "When the operator's serving certificate ends; absent while there is none.",
};
static LEADER: Metric = Metric {
    name: "opamp_operator_leader",
    kind: Kind::Gauge,
    unit: None,
    labels: &[],
    help: "1 while this process is the one that writes settings and statuses, else 0.",
};
static PROFILES: Metric = of_profile(
    "opamp_operator_profiles",
    &[],
    "Profiles that the operator reads.",
);
static KNOWN: Metric = of_profile(
    "opamp_operator_agents_known",
    &[],
    "Agents that this process remembers, connected or not, with a profile or without.",
);
const TRANSPORTS: [&str; 2] = ["WebSocket", "HTTP"];
static CONNECTIONS: Metric = of_profile(
    "opamp_operator_connections",
    &[Label {
        name: "transport",
        values: Values::Of(&TRANSPORTS),
    }],
    "Connections by which agents speak to this process: WebSockets, and series of polls. Each agent behind a gateway counts.",
);

/// See the module.
#[derive(Debug)]
pub struct Facts(Arc<Hub>);

impl Facts {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[
        &AGENTS,
        &MATCHED,
        &CONNECTED,
        &CANNOT_RETURN,
        &OUTDATED,
        &REVISION,
        &CONDITION,
        &EXPIRATION,
        &SERVING_EXPIRATION,
        &PROFILES,
        &KNOWN,
        &CONNECTIONS,
        &OFFERS,
        &HELD_BACK,
        &ROTATION,
    ];

    /// Of this process.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self(hub)
    }
}

impl Source for Facts {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let hub = &self.0;
        let all = hub.statuses.page(None, usize::MAX);
        let named: HashSet<_> = hub.roster.offers.named().into_iter().collect();
        let (named, other): (Vec<_>, Vec<_>) = all.iter().partition(|(key, _)| named.contains(key));
        write_counts(page, &named, &other)?;
        write_conditions(page, &named, &other)?;
        write_expiration(page, &named, &other)?;
        if let Some(end) = hub.health.serving_until() {
            page.value(&SERVING_EXPIRATION, seconds(end))?;
        }
        page.value(&PROFILES, all.len() as u64)?;
        let (known, links) = hub.roster.counts();
        page.value(&KNOWN, known)?;
        page.values(&CONNECTIONS, TRANSPORTS.into_iter().zip(links))?;
        hub.roster.offers.write(page)
    }
}

/// Whether this process leads, also while it does not know yet: one that waits
/// for what an earlier one left leads nobody.
#[derive(Debug)]
pub struct Leadership(Arc<OnceLock<Arc<Hub>>>);

impl Leadership {
    /// What it writes.
    pub const METRICS: &[&Metric] = &[&LEADER];

    /// Of the hub that is there later.
    #[must_use]
    pub fn new(hub: Arc<OnceLock<Arc<Hub>>>) -> Self {
        Self(hub)
    }
}

impl Source for Leadership {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let leads = |hub: &Arc<Hub>| hub.leads.load(Ordering::Relaxed);
        page.value(&LEADER, self.0.get().is_some_and(leads).into())
    }
}

type Profile = (ProfileKey, Arc<Known>);

/// Adds up what agents of these profiles are.
fn write_counts(page: &mut Page<'_>, named: &[&Profile], other: &[&Profile]) -> fmt::Result {
    let counts = |profile: &&Profile| profile.1.status.agents.map(numbers);
    let own = named.iter().filter_map(|profile| {
        let key = &profile.0;
        Some((&*key.namespace, &*key.name, counts(profile)?))
    });
    let mut rows: Vec<_> = own.collect();
    let rest = other.iter().filter_map(counts).reduce(|mut sum, one| {
        sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
        sum
    });
    rows.extend(rest.map(|rest| ("", "other", rest)));
    let mut samples = page.metric(&AGENTS)?;
    for (namespace, profile, numbers) in &rows {
        for (state, number) in STATES.iter().zip(numbers) {
            samples.value(&[namespace, profile, state], *number)?;
        }
    }
    for (place, metric) in [&MATCHED, &CONNECTED, &CANNOT_RETURN]
        .into_iter()
        .enumerate()
    {
        let mut samples = page.metric(metric)?;
        for (namespace, profile, numbers) in &rows {
            samples.value(&[namespace, profile], numbers[STATES.len() + place])?;
        }
    }
    let mut samples = page.metric(&OUTDATED)?;
    for (namespace, profile, numbers) in &rows {
        // From `pending` to `lost`.
        samples.value(&[namespace, profile], numbers[1..5].iter().sum())?;
    }
    let mut samples = page.metric(&REVISION)?;
    for (key, known) in named {
        if let Some(revision) = &known.status.revision {
            let number = u64::try_from(revision.number).unwrap_or_default();
            samples.value(&[&key.namespace, &key.name], number)?;
        }
    }
    Ok(())
}

/// In the order of [`STATES`], and then matched, connected, cannot return.
fn numbers(counts: AgentCounts) -> [u64; STATES.len() + 3] {
    [
        counts.up_to_date,
        counts.pending,
        counts.in_progress,
        counts.failed,
        counts.lost,
        counts.incapable,
        counts.departed,
        counts.overridden,
        counts.matched,
        counts.connected,
        counts.cannot_return,
    ]
    .map(|count| u64::try_from(count).unwrap_or_default())
}

fn write_conditions(page: &mut Page<'_>, named: &[&Profile], other: &[&Profile]) -> fmt::Result {
    let mut samples = page.metric(&CONDITION)?;
    for (key, known) in named {
        for it in &known.status.conditions {
            let (namespace, name) = (&key.namespace, &key.name);
            samples.value(&[namespace, name, &it.type_, &it.status, &it.reason], 1)?;
        }
    }
    let mut rest = BTreeMap::<_, u64>::new();
    for it in other.iter().flat_map(|(_, known)| &known.status.conditions) {
        *rest
            .entry((&*it.type_, &*it.status, &*it.reason))
            .or_default() += 1;
    }
    for ((kind, status, reason), count) in rest {
        samples.value(&["", "other", kind, status, reason], count)?;
    }
    Ok(())
}

fn write_expiration(page: &mut Page<'_>, named: &[&Profile], other: &[&Profile]) -> fmt::Result {
    let mut samples = page.metric(&EXPIRATION)?;
    for (key, known) in named {
        for object in &known.status.references {
            if let Some(end) = &object.not_after {
                let labels = [
                    &key.namespace,
                    &key.name,
                    object.kind.as_str(),
                    &object.name,
                ];
                samples.value(&labels, seconds(end.0))?;
            }
        }
    }
    let mut rest = BTreeMap::new();
    for object in other.iter().flat_map(|(_, known)| &known.status.references) {
        if let Some(end) = &object.not_after {
            let first = rest.entry(object.kind.as_str()).or_insert(end.0);
            *first = end.0.min(*first);
        }
    }
    for (kind, end) in rest {
        samples.value(&["", "other", kind, ""], seconds(end))?;
    }
    Ok(())
}

/// Since 1970.
fn seconds(at: jiff::Timestamp) -> u64 {
    u64::try_from(at.as_second()).unwrap_or_default()
}

/// Where a transport stands in [`TRANSPORTS`].
pub(super) const fn place(transport: Transport) -> usize {
    match transport {
        Transport::WebSocket => 0,
        Transport::Http => 1,
    }
}
