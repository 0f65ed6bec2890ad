//! From observations to what agents should have, and from what agents do to
//! the status. One task owns the catalog; nobody else writes it.

mod lead;
mod metrics;
mod own;
mod publish;
mod report;
mod serving;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use opamp_operator_api::{ObjectRef, ProfileKey, Reason};
use opamp_operator_core::{
    catalog::{AuthenticatorSource, Catalog, KeySource, Settings},
    earliest,
    identity::{Authenticator, DenyList, HeldBook, KeyRing, Ledger, ServiceAccounts, Trust},
    offer::{Change, Observed, Serving},
    rollout::Rollout,
    status::Taken,
};
use rustls::crypto::CryptoProvider;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Memory, Observation, Port, Ticket, Wanted},
    config::Authentication,
    hub::Hub,
};

pub use metrics::Metrics;

/// What the controller is told once.
#[derive(Debug)]
pub struct Setup {
    /// Of the catalog.
    pub settings: Settings,
    /// For profiles without an endpoint.
    pub advertised_url: url::Url,
    /// Where OpAMP is served.
    pub path: String,
    /// Whose profiles are read.
    pub namespaces: BTreeSet<String>,
    /// The Secret with the serving certificate.
    pub serving: ObjectRef,
    /// Who may connect, as configured.
    pub authentication: Authentication,
    /// A new configuration of that.
    pub reloads: mpsc::Receiver<Authentication>,
    /// How long the first agent may take to bring evidence.
    pub first_agent_timeout: Duration,
}

/// See the module.
pub struct Controller {
    hub: Arc<Hub>,
    port: Port,
    setup: Setup,
    provider: Arc<CryptoProvider>,
    catalog: Catalog,
    ledger: Ledger,
    keys: KeyRing,
    /// Why nothing may be offered, if the key of earlier processes is lost.
    key_lost: Option<String>,
    trust: Arc<Trust>,
    /// The last usable form of each authenticator, and what is wrong with it.
    authenticators: BTreeMap<String, Authenticator>,
    /// What they hold and held.
    held: HeldBook,
    /// They are to be stored.
    held_changed: bool,
    /// Files and pages that they read.
    documents: BTreeMap<KeySource, Result<Vec<u8>, String>>,
    /// The last deny list that could be read.
    deny: Option<DenyList>,
    service_accounts: Arc<ServiceAccounts>,
    impaired: BTreeMap<String, String>,
    serving: Option<Serving>,
    next_serving: Option<serving::NextServing>,
    rollouts: BTreeMap<ProfileKey, Rollout>,
    /// Profiles to be reported, and when each may be.
    dirty: BTreeSet<ProfileKey>,
    agents: BTreeSet<(opamp_wire::InstanceUid, String)>,
    /// This process writes what only one may.
    leads: bool,
    /// While it does not: profiles whose settings nobody published yet, and
    /// agents that are not here, of which another process may know more.
    awaiting: BTreeSet<ProfileKey>,
    untold: BTreeSet<(opamp_wire::InstanceUid, String)>,
    forgotten: Vec<(String, opamp_wire::InstanceUid)>,
    /// When it is told what became of agents of a profile: others may follow.
    failing: BTreeMap<(ProfileKey, Reason), Duration>,
    /// Agents that profiles took over since they were reported.
    taken: BTreeMap<(ProfileKey, ProfileKey), Taken>,
    reported: BTreeMap<ProfileKey, Duration>,
    replan: BTreeMap<ProfileKey, Duration>,
    wanted: Wanted,
    next_ticket: Ticket,
    /// Namespaces whose profiles have not been told, and those of them for
    /// which nobody waits any more.
    unlisted: BTreeSet<String>,
    unlistable: BTreeSet<String>,
    /// Ledger entries on their way, and what became of them.
    storing: BTreeMap<ProfileKey, publish::Storing>,
    /// Why the last attempt failed.
    unstored: BTreeMap<ProfileKey, String>,
    stored: (
        mpsc::Sender<publish::Stored>,
        mpsc::Receiver<publish::Stored>,
    ),
    ready: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// Ledger entries that may be on their way at once wait here for the loop.
const STORED_QUEUE: usize = 64;

/// Status writes of one profile are at least this far apart.
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);
/// Agents that fail or are lost within this time are told of at once.
const GATHER_FAILURES: Duration = Duration::from_secs(10);
/// How often time passes for agents without a task of their own.
const TICK: Duration = Duration::from_secs(2);

/// How long an agent is remembered after it was last heard.
const AGENT_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often it is looked who is to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Where this process begins to name changes.
fn any_number() -> u32 {
    // Without it names are less apart from those of other processes.
    getrandom::u32().unwrap_or_default()
}

impl Controller {
    /// A controller that knows what an earlier process left. `ready` becomes
    /// true when agents can be served: all was read once and there is a serving
    /// certificate.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        port: Port,
        setup: Setup,
        memory: Memory,
        provider: Arc<CryptoProvider>,
        ready: watch::Sender<bool>,
    ) -> Self {
        let now = hub.clock.now();
        let ledger = Ledger::new(memory.ledger);
        for record in memory.agents {
            hub.roster.restore(record, now);
        }
        let trust = Arc::new(Trust::new(Vec::new(), memory.keys.clone(), &ledger));
        if let Some(remedy) = &memory.key_lost {
            tracing::error!("HashKeyLost: {remedy}");
        }
        Self {
            unlisted: setup.namespaces.clone(),
            catalog: Catalog::new(setup.settings.clone()).naming_from(any_number()),
            hub,
            port,
            setup,
            provider,
            ledger,
            keys: memory.keys,
            key_lost: memory.key_lost,
            trust,
            authenticators: BTreeMap::new(),
            held: HeldBook::new(memory.held),
            held_changed: false,
            documents: BTreeMap::new(),
            deny: None,
            service_accounts: Arc::default(),
            impaired: BTreeMap::new(),
            serving: None,
            next_serving: None,
            rollouts: BTreeMap::new(),
            dirty: BTreeSet::new(),
            agents: BTreeSet::new(),
            leads: false,
            awaiting: BTreeSet::new(),
            untold: BTreeSet::new(),
            forgotten: Vec::new(),
            failing: BTreeMap::new(),
            taken: BTreeMap::new(),
            reported: BTreeMap::new(),
            replan: BTreeMap::new(),
            wanted: Wanted::new(),
            next_ticket: 0,
            unlistable: BTreeSet::new(),
            storing: BTreeMap::new(),
            unstored: BTreeMap::new(),
            stored: mpsc::channel(STORED_QUEUE),
            ready,
            metrics: Arc::default(),
        }
    }

    /// What others may see of it.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Runs until the backend is gone or `closing` is cancelled.
    pub async fn run(mut self, closing: CancellationToken) {
        self.want();
        let mut tick = interval(TICK);
        // It waits while another process leads.
        let mut forget = interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.hub.health.controller.beat();
            self.metrics.set(self.ledger.entries().len());
            let next = self
                .hub
                .clock
                .instant(self.next_due().unwrap_or(Duration::MAX / 4));
            tokio::select! {
                () = closing.cancelled() => break,
                observation = self.port.observations.recv() => match observation {
                    Some(observation) => self.observe(observation),
                    None => break,
                },
                Some(stored) = self.stored.1.recv() => self.stored(stored),
                Some(authentication) = self.setup.reloads.recv() => self.reload(authentication),
                () = self.hub.roster.changed() => {}
                _ = tick.tick() => self.hub.roster.tick(self.hub.clock.now()),
                _ = forget.tick(), if self.leads => self.forget_agents().await,
                () = sleep_until(next) => {}
            }
            while let Ok(observation) = self.port.observations.try_recv() {
                self.observe(observation);
            }
            self.collect();
            if self.synced() {
                // What agents showed may let a certificate go that was held back.
                let now = self.hub.clock.now().uptime;
                let over = self.held_until().is_some_and(|until| until <= now);
                if over || (self.next_serving.is_some() && !self.dirty.is_empty()) {
                    self.change_serving();
                }
                self.publish().await;
                self.report().await;
            }
            self.forget_held();
            self.store_held().await;
        }
        self.collect();
        if self.synced() {
            // What was to be told later is told now, also of profiles that were
            // told of a moment ago: nobody else remembers it. Who failed just
            // now is seen by the first report, and told by the second.
            for _ in 0..2 {
                let failing = self.failing.values_mut();
                failing.for_each(|at| *at = Duration::ZERO);
                self.reported.clear();
                self.report().await;
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let retirement = self.setup.authentication.retirement;
        let forgotten = self.held.next_end(retirement);
        let now = self.hub.clock.now();
        let forgotten = forgotten.map(|end| now.uptime_at(end));
        if !self.synced() {
            // What is due waits for the others, and not in a loop.
            return forgotten;
        }
        let reports = self.dirty.iter().map(|key| {
            self.reported
                .get(key)
                .map_or(Duration::ZERO, |last| *last + BETWEEN_REPORTS)
        });
        let next = earliest(self.catalog.next_due(), reports.min());
        let next = earliest(next, self.replan.values().min().copied());
        // What is dirty already waits for its turn.
        let failing = self
            .failing
            .iter()
            .filter(|((key, _), _)| !self.dirty.contains(key));
        let next = earliest(next, failing.map(|(_, at)| *at).min());
        earliest(earliest(next, self.held_until()), forgotten)
    }

    /// When a new serving certificate is held back no longer.
    fn held_until(&self) -> Option<Duration> {
        self.next_serving.as_ref().and_then(|next| next.until)
    }

    /// Everything that could judge an agent has been heard.
    fn synced(&self) -> bool {
        self.unlisted.is_subset(&self.unlistable)
    }

    fn observe(&mut self, observation: Observation) {
        let now = self.hub.clock.now();
        match observation {
            Observation::Profile(key, stored) => {
                let known = self.catalog.get(&key).is_some();
                let change = self
                    .catalog
                    .set_profile(&key, stored.map(|stored| *stored), now);
                if let Some(Change { id, .. }) = change {
                    if known || self.synced() {
                        tracing::info!(change = %id, profile = %key, "profile changed");
                    } else {
                        tracing::debug!(change = %id, profile = %key, "profile read");
                    }
                }
                // `paused` takes effect at once, before anything is resolved.
                let state = self.catalog.get(&key);
                if let Some(state) = state {
                    self.hub.statuses.read(&key, &state.stored);
                }
                if state.is_some_and(|p| p.current.is_some()) {
                    self.publish_target(&key);
                }
                self.want();
            }
            Observation::Object(object, ticket, observed) => {
                // What was on its way when the object was let go is not news.
                if self.wanted.get(&object) != Some(&ticket) {
                    return;
                }
                let first = *self.catalog.object(&object) == Observed::Pending;
                let changes = self.catalog.set_object(&object, observed, now);
                for Change { id, .. } in &changes {
                    if first {
                        tracing::debug!(change = %id, %object, "object read");
                    } else {
                        tracing::info!(change = %id, %object, "object changed");
                    }
                }
                if let Some(change) = changes.first()
                    && self.is_own(&object)
                {
                    self.read_own(&object, *change);
                }
            }
            Observation::Listed(namespace) => {
                let before = self.synced();
                self.unlisted.remove(&namespace);
                self.heard(before);
            }
            Observation::Unlistable(namespace) => {
                let before = self.synced();
                self.unlistable.insert(namespace);
                self.heard(before);
            }
            Observation::Document(source, read) => {
                if self.documents.insert(source, read.clone()) != Some(read) {
                    self.change_trust();
                }
            }
            Observation::ServiceAccounts(namespace, known) => {
                let accounts = Arc::make_mut(&mut self.service_accounts);
                let before = match known.clone() {
                    Some(known) => accounts.insert(namespace, known),
                    None => accounts.remove(&namespace),
                };
                // Who is new, or not known any more, is nobody who is here.
                let left = |now: BTreeMap<String, String>| {
                    before.is_none_or(|before| {
                        let stays = |(name, uid): (&String, &String)| now.get(name) == Some(uid);
                        !before.iter().all(stays)
                    })
                };
                if known.is_some_and(left) {
                    self.change_trust();
                } else {
                    self.publish_trust();
                }
            }
            Observation::PodGone(uid) => {
                self.hub.reviews.pod_gone(&uid);
                self.hub.roster.pod_gone(&uid);
            }
            Observation::Pods(namespace, uids) => self.hub.roster.pods(&namespace, uids),
            Observation::Status(key, status) => self.hear_status(&key, *status),
            Observation::Ledger(entry) => self.published(&entry),
            Observation::Agent(record) => self.hub.roster.renew(*record, now),
            Observation::Leads(leads) => self.lead(leads),
        }
    }

    fn heard(&mut self, synced_before: bool) {
        if self.synced() && !synced_before {
            self.publish_trust();
        }
        self.publish_candidates();
    }

    /// What agents did since the last look.
    fn collect(&mut self) {
        let dirty = self.hub.roster.take_dirty();
        self.dirty.extend(dirty.profiles);
        self.agents.extend(dirty.agents);
        self.forgotten.extend(dirty.forgotten);
        for (pair, taken) in dirty.taken {
            self.taken.entry(pair).or_default().merge(taken);
        }
    }

    /// Says what is to be watched. What is wanted anew gets a new ticket, and
    /// is unknown until it is told under that.
    pub(super) fn want(&mut self) {
        let mut names = self.catalog.wanted();
        names.insert(self.setup.serving.clone());
        let authentication = &self.setup.authentication;
        let read = authentication.authenticators.iter();
        names.extend(read.filter_map(AuthenticatorSource::object).cloned());
        names.extend(authentication.deny_list.clone());
        let documents = self.wanted_documents();
        self.documents
            .retain(|source, _| documents.contains(source));
        self.port.documents.send_if_modified(|wanted| {
            let differs = *wanted != documents;
            *wanted = documents;
            differs
        });
        if names.iter().eq(self.wanted.keys()) {
            return;
        }
        let before = std::mem::take(&mut self.wanted);
        for name in names {
            let ticket = before.get(&name).copied().unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            });
            self.wanted.insert(name, ticket);
        }
        let wanted = &self.wanted;
        self.catalog
            .retain(|name| wanted.contains_key(name) && before.contains_key(name));
        self.port.wanted.send_replace(self.wanted.clone());
    }
}
