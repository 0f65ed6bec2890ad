//! From observations to what agents should have, and from what agents do to
//! the status. One task owns the catalog; nobody else writes it.

mod own;
mod publish;
mod report;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::SignedDuration;
use opamp_operator_api::{ObjectRef, ProfileKey};
use opamp_operator_core::{
    catalog::{AuthenticatorSource, Catalog, Settings},
    earliest,
    identity::{KeyRing, Ledger, Trust},
    offer::Serving,
    rollout::Rollout,
};
use rustls::crypto::CryptoProvider;
use tokio::{sync::watch, time::sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Memory, Observation, Port},
    hub::Hub,
};

/// What the controller is told once.
#[derive(Debug)]
pub struct Setup {
    /// Of the catalog.
    pub settings: Settings,
    /// For profiles without an endpoint.
    pub advertised_url: url::Url,
    /// The Secret with the serving certificate.
    pub serving: ObjectRef,
    /// In their order.
    pub authenticators: Vec<AuthenticatorSource>,
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
    trust: Arc<Trust>,
    serving: Option<Serving>,
    next_serving: Option<own::NextServing>,
    rollouts: BTreeMap<ProfileKey, Rollout>,
    /// Profiles to be reported, and when each may be.
    dirty: BTreeSet<ProfileKey>,
    agents: BTreeSet<(opamp_wire::InstanceUid, String)>,
    reported: BTreeMap<ProfileKey, Duration>,
    replan: BTreeMap<ProfileKey, Duration>,
    synced: bool,
    ready: watch::Sender<bool>,
}

/// Status writes of one profile are at least this far apart.
const BETWEEN_REPORTS: Duration = Duration::from_secs(1);
/// How often time passes for agents without a task of their own.
const TICK: Duration = Duration::from_secs(2);

/// How long an agent is remembered after it was last heard.
const AGENT_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often it is looked who is to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

impl Controller {
    /// A controller that knows what an earlier process left.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        port: Port,
        setup: Setup,
        memory: Memory,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let now = hub.clock.now();
        let ledger = Ledger::new(memory.ledger);
        for record in memory.agents {
            hub.roster.restore(record, now);
        }
        let trust = Arc::new(Trust::new(Vec::new(), memory.keys.clone(), &ledger));
        Self {
            catalog: Catalog::new(setup.settings.clone()),
            hub,
            port,
            setup,
            provider,
            ledger,
            keys: memory.keys,
            trust,
            serving: None,
            next_serving: None,
            rollouts: BTreeMap::new(),
            dirty: BTreeSet::new(),
            agents: BTreeSet::new(),
            reported: BTreeMap::new(),
            replan: BTreeMap::new(),
            synced: false,
            ready: watch::Sender::new(false),
        }
    }

    /// Becomes true when agents can be served: all was read once and there is
    /// a serving certificate.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Runs until the backend is gone or `closing` is cancelled.
    pub async fn run(mut self, closing: CancellationToken) {
        self.want();
        let mut tick = tokio::time::interval(TICK);
        let mut forget = tokio::time::interval(FORGET_EVERY);
        loop {
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
                () = self.hub.roster.changed() => {}
                _ = tick.tick() => self.hub.roster.tick(self.hub.clock.now()),
                _ = forget.tick() => self.forget_agents().await,
                () = sleep_until(next) => {}
            }
            while let Ok(observation) = self.port.observations.try_recv() {
                self.observe(observation);
            }
            self.collect();
            if self.synced {
                // What agents showed may let a certificate go that was held back.
                let now = self.hub.clock.now().uptime;
                let over = self.held_until().is_some_and(|until| until <= now);
                if over || (self.next_serving.is_some() && !self.dirty.is_empty()) {
                    self.change_serving();
                }
                self.publish().await;
                self.report().await;
            }
        }
        self.collect();
        self.report().await;
    }

    fn next_due(&self) -> Option<Duration> {
        let reports = self.dirty.iter().map(|key| {
            self.reported
                .get(key)
                .map_or(Duration::ZERO, |last| *last + BETWEEN_REPORTS)
        });
        let next = earliest(self.catalog.next_due(), reports.min());
        let next = earliest(next, self.replan.values().min().copied());
        earliest(next, self.held_until())
    }

    /// When a new serving certificate is held back no longer.
    fn held_until(&self) -> Option<Duration> {
        self.next_serving.as_ref().and_then(|next| next.until)
    }

    fn observe(&mut self, observation: Observation) {
        let now = self.hub.clock.now();
        match observation {
            Observation::Profile(key, stored) => {
                let gone = stored.is_none();
                self.catalog
                    .set_profile(&key, stored.map(|stored| *stored), now);
                if gone {
                    self.hub.book.publish_target(&key, None);
                    self.rollouts.remove(&key);
                    self.replan.remove(&key);
                }
                self.want();
            }
            Observation::Object(object, observed) => {
                let changed = self.catalog.set_object(&object, observed, now);
                if changed && self.is_own(&object) {
                    self.read_own(&object);
                }
            }
            Observation::Synced => {
                self.synced = true;
                self.publish_trust();
            }
        }
        if self.synced {
            self.hub.book.publish_candidates(self.catalog.candidates());
        }
    }

    /// What agents did since the last look.
    fn collect(&mut self) {
        let dirty = self.hub.roster.take_dirty();
        self.dirty.extend(dirty.profiles);
        self.agents.extend(dirty.agents);
    }

    fn want(&mut self) {
        let mut wanted = self.catalog.wanted();
        wanted.insert(self.setup.serving.clone());
        wanted.extend(
            self.setup
                .authenticators
                .iter()
                .map(|source| source.object.clone()),
        );
        self.catalog.retain(&wanted);
        self.port.wanted.send_if_modified(|known| {
            let differs = *known != wanted;
            if differs {
                *known = wanted;
            }
            differs
        });
    }
}
