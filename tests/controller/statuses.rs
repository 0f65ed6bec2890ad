//! What agents do and what is written of it.

use std::{sync::Arc, time::Duration};

use opamp_operator::{
    backend::{Observation, to_agent, to_record},
    hub::SharedAgent,
};
use opamp_operator_api::{
    Reason,
    v1alpha1::{OpAMPConnectionProfileSpec, OpAMPConnectionProfileStatus},
};
use opamp_operator_core::{
    catalog::{Choice, Stored},
    fleet::{Link, LinkId, Transport, Wish},
    identity::{Presented, Proof},
    offer::WireHash,
};
use opamp_wire::{
    AgentCapabilities, InstanceUid, OfferBytes,
    proto::{
        AgentDescription, AgentToServer, ConnectionSettingsStatus, ConnectionSettingsStatuses,
    },
};

use crate::{BOOTSTRAP, Bench, profile, spec};

impl Bench {
    /// Writes a profile as it was, but for some fields.
    async fn edit(
        &self,
        name: &str,
        generation: i64,
        edit: impl FnOnce(&mut OpAMPConnectionProfileSpec),
    ) {
        let mut changed = spec(false);
        edit(&mut changed);
        let stored = Stored {
            generation,
            uid: None,
            spec: Ok(Arc::new(changed)),
            status: OpAMPConnectionProfileStatus::default(),
        };
        self.observe(Observation::Profile(profile(name), Some(Box::new(stored))))
            .await;
    }

    /// A profile that names this Secret.
    pub(crate) async fn refer(&self, name: &str, secret: &str) {
        let named = serde_json::json!({
            "name": "X-Named",
            "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}},
        });
        self.edit(name, 1, |spec| {
            let header = serde_json::from_value(named).unwrap();
            spec.opamp.headers.push(header);
        })
        .await;
    }

    /// Stores the ledger entries that wait, and lets what follows happen.
    async fn in_force(&mut self) {
        self.seconds(4).await;
        while !self.ledger.is_empty() {
            self.store(Ok);
        }
        self.seconds(2).await;
    }

    /// An agent that connects, on its link.
    fn agent(&self, last: u8) -> (SharedAgent, LinkId) {
        let Some(Proof::Proved(verdict)) = self.proof(BOOTSTRAP) else {
            panic!("nobody is proved")
        };
        let (now, id) = (self.hub.clock.now(), self.hub.roster.link_id());
        let uid = InstanceUid::from_bytes([last; 16]);
        let agent = self.hub.roster.find(uid, &verdict, now).unwrap();
        let shown = Presented::default();
        let link = Link::new(id, Transport::WebSocket, shown, verdict, now.uptime);
        let step = agent.lock().attach(link, now).unwrap();
        self.hub.roster.note(&agent.lock(), &step.transitions);
        (agent, id)
    }

    /// The agent speaks, and chooses among the profiles as they are.
    fn hear(
        &self,
        (agent, id): &(SharedAgent, LinkId),
        message: &AgentToServer,
    ) -> Option<OfferBytes> {
        let now = self.hub.clock.now();
        let mut agent = agent.lock();
        let (reply, heard) = agent.hear(*id, message, now);
        let candidates = self.hub.book.candidates("a").borrow().clone().unwrap();
        let (choice, chosen) = agent.settle(*id, &candidates, now);
        let Choice::Profile(profile) = choice else {
            panic!("{choice:?}")
        };
        let target = self.hub.book.target(&profile).borrow().clone();
        let wish = Wish {
            target: target.as_deref(),
            trust: None,
            hold: Duration::ZERO,
        };
        let (reply, step) = agent.answer(*id, reply, &wish, now);
        for transitions in [heard, chosen, step.transitions] {
            self.hub.roster.note(&agent, &transitions);
        }
        reply.offer
    }

    /// How often an event was told of a profile, and its last note.
    fn told(&self, name: &str, reason: Reason) -> (usize, String) {
        let mut told = self
            .events
            .iter()
            .filter(|(of, event)| of == name && event.reason == reason);
        let last = told
            .clone()
            .next_back()
            .map(|(_, event)| event.note.clone());
        (told.by_ref().count(), last.unwrap_or_default())
    }
}

/// Takes settings and says what became of them.
fn full(sequence_num: u64) -> AgentToServer {
    AgentToServer {
        sequence_num,
        capabilities: AgentCapabilities::REPORTS_STATUS
            | AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS
            | AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS,
        agent_description: Some(AgentDescription::default()),
        ..AgentToServer::default()
    }
}

/// Says that it could not use what has this hash.
fn failed(sequence_num: u64, hash: &WireHash) -> AgentToServer {
    AgentToServer {
        connection_settings_status: Some(ConnectionSettingsStatus {
            last_connection_settings_hash: hash.as_bytes().to_vec().into(),
            status: ConnectionSettingsStatuses::Failed.into(),
            error_message: "tls: bad certificate".into(),
        }),
        ..full(sequence_num)
    }
}

#[tokio::test(start_paused = true)]
async fn law9_a_status_never_speaks_of_a_generation_before_it_is_in_force() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let observed = |bench: &Bench| {
        let status = &bench.statuses[&profile("p")];
        let ready = bench.reason("p", "Ready").unwrap();
        let number = status.revision.as_ref().unwrap().number;
        (status.observed_generation, ready, number)
    };
    let first = (Some(1), "True NoAgents".to_owned(), 1);
    assert_eq!(observed(&bench), first);
    bench
        .edit("p", 2, |spec| spec.opamp.heartbeat_interval_seconds = 7)
        .await;
    bench.seconds(30).await;
    assert_eq!(bench.ledger.len(), 1, "it waits for the ledger");
    assert_eq!(observed(&bench), first);
    bench.store(Ok);
    bench.seconds(2).await;
    assert_eq!(observed(&bench), (Some(2), "True NoAgents".to_owned(), 2));
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_takes_agents_over_is_told_of_and_counted_on_both_sides() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let agents = [1, 2].map(|last| bench.agent(last));
    for agent in &agents {
        bench.hear(agent, &full(1));
    }
    bench.seconds(2).await;
    assert_eq!(
        bench.reason("p", "Overlapping").as_deref(),
        Some("False NoOverlap")
    );

    bench.edit("q", 1, |spec| spec.priority = 5).await;
    bench.in_force().await;
    for agent in &agents {
        bench.hear(agent, &full(2));
    }
    bench.seconds(3).await;
    let lost = bench.statuses[&profile("p")].agents.unwrap();
    assert_eq!((lost.matched, lost.overridden), (0, 2));
    assert_eq!(
        bench.reason("p", "Overlapping").as_deref(),
        Some("True Overridden")
    );
    let won = bench.statuses[&profile("q")].agents.unwrap();
    assert_eq!((won.matched, won.overridden), (2, 0));
    assert_eq!(
        bench.reason("q", "Overlapping").as_deref(),
        Some("True TakesPrecedence")
    );
    let (times, note) = bench.told("q", Reason::ProfileTookOver);
    assert!(
        times == 1 && note.starts_with("2 agents of profile `a/p`"),
        "{times} {note}"
    );
    assert_eq!(bench.told("p", Reason::ProfileTookOver).0, 0);

    // The profile above is gone: they are back, and nothing was taken.
    bench
        .observe(Observation::Profile(profile("q"), None))
        .await;
    bench.seconds(3).await;
    for agent in &agents {
        bench.hear(agent, &full(3));
    }
    bench.seconds(3).await;
    let back = bench.statuses[&profile("p")].agents.unwrap();
    assert_eq!((back.matched, back.overridden), (2, 0));
    assert_eq!(
        bench.reason("p", "Overlapping").as_deref(),
        Some("False NoOverlap")
    );
    assert_eq!(bench.told("p", Reason::ProfileTookOver).0, 0);
}

#[tokio::test(start_paused = true)]
async fn law10_agents_that_fail_are_told_of_once_when_others_may_have_followed() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let agent = bench.agent(1);
    bench.hear(&agent, &full(1));
    bench.seconds(2).await;
    // It is the first, so the offer comes with the next message.
    assert!(bench.hear(&agent, &full(2)).is_some(), "nothing is offered");
    let current = Arc::clone(&bench.target("p").unwrap().current);
    let failed = failed(3, &current.hash(0));
    bench.hear(&agent, &failed);
    bench.seconds(5).await;
    let failures = bench.statuses[&profile("p")].failures.clone();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0].message, "tls bad certificate");
    assert_eq!(
        bench.reason("p", "Ready").as_deref(),
        Some("False AgentsFailed")
    );
    assert_eq!(
        bench.told("p", Reason::AgentsFailed).0,
        0,
        "others may follow"
    );
    bench.seconds(60).await;
    let (times, note) = bench.told("p", Reason::AgentsFailed);
    assert!(
        times == 1 && note.contains("(tls bad certificate)"),
        "{times} {note}"
    );
}

#[tokio::test(start_paused = true)]
async fn law6_an_agent_that_is_lost_is_told_of_once() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let agent = bench.agent(1);
    bench.hear(&agent, &full(1));
    bench.seconds(2).await;
    assert!(bench.hear(&agent, &full(2)).is_some(), "nothing is offered");
    let gone = agent.0.lock().detach(agent.1, bench.hub.clock.now());
    bench.hub.roster.note(&agent.0.lock(), &gone.transitions);
    bench.seconds(60).await;
    assert_eq!(bench.told("p", Reason::AgentsLost).0, 0);
    bench.seconds(90).await;
    // It was the first, so nobody else is touched.
    let why = bench.reason("p", "Ready");
    assert_eq!(why.as_deref(), Some("False Halted"));
    let (times, note) = bench.told("p", Reason::AgentsLost);
    assert!(times == 1 && note.starts_with("1 agent left"), "{note}");
}

/// Nobody else remembers it, and the next process repeats no event.
#[tokio::test(start_paused = true)]
async fn law8_what_happened_in_the_last_second_is_told_before_the_end() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let agent = bench.agent(1);
    bench.hear(&agent, &full(1));
    bench.seconds(2).await;
    assert!(bench.hear(&agent, &full(2)).is_some(), "nothing is offered");
    let before = bench.writes;
    bench.pass(Duration::from_millis(100)).await;
    assert!(bench.writes > before, "the profile has just been reported");
    let current = Arc::clone(&bench.target("p").unwrap().current);
    bench.hear(&agent, &failed(3, &current.hash(0)));
    bench.end().await;
    let (times, note) = bench.told("p", Reason::AgentsFailed);
    assert!(times == 1 && note.contains("bad certificate"), "{note}");

    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let agents = [1, 2].map(|last| bench.agent(last));
    for agent in &agents {
        bench.hear(agent, &full(1));
    }
    bench.edit("q", 1, |spec| spec.priority = 5).await;
    bench.in_force().await;
    bench.hear(&agents[0], &full(2));
    bench.pass(Duration::from_millis(100)).await;
    assert_eq!(bench.told("q", Reason::ProfileTookOver).0, 1);
    bench.hear(&agents[1], &full(2));
    bench.end().await;
    assert_eq!(bench.told("q", Reason::ProfileTookOver).0, 2);
}

/// Until the agents are back, and whatever is still unknown, the status says
/// what it said.
#[tokio::test(start_paused = true)]
async fn law8_a_restart_changes_no_condition_of_a_halted_rollout() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.seconds(4).await;
    let mut ledger = Vec::new();
    bench.store(|entry| {
        ledger.push(entry.clone());
        Ok(entry)
    });
    bench.seconds(2).await;
    let agents = [1, 2].map(|last| bench.agent(last));
    bench.hear(&agents[0], &full(1));
    bench.seconds(2).await;
    assert!(bench.hear(&agents[0], &full(2)).is_some());
    assert!(bench.hear(&agents[1], &full(1)).is_none());
    bench.seconds(130).await;
    let halted = ["False Halted".to_owned(), "False Halted".to_owned()];
    let says = |status: &OpAMPConnectionProfileStatus| {
        let reason = |kind: &str| {
            let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
            format!("{} {}", found.status, found.reason)
        };
        [reason("Progressing"), reason("Ready")]
    };
    let here = |status: &OpAMPConnectionProfileStatus| status.agents.as_ref().unwrap().connected;
    let status = bench.statuses[&profile("p")].clone();
    assert_eq!(says(&status), halted);

    let records = agents.map(|(agent, _)| {
        let record = agent.lock().record();
        to_record(to_agent(&record).unwrap()).unwrap()
    });
    let mut next = Bench::after(None, ledger, records.into());
    next.objects = std::mem::take(&mut bench.objects);
    let stored = Stored {
        generation: 1,
        uid: None,
        spec: Ok(Arc::new(spec(false))),
        status,
    };
    next.observe(Observation::Profile(profile("p"), Some(Box::new(stored))))
        .await;
    next.pass(Duration::from_millis(10)).await;
    for second in 0..60 {
        let known = next.hub.statuses.page(None, 9);
        assert_eq!(known.len(), 1, "it is on the page before it is judged");
        assert_eq!(says(&known[0].1.status), halted, "after {second} s");
        // Whoever was offered the settings left to come back with them.
        assert!(here(&known[0].1.status) >= 1, "after {second} s");
        if second == 2 {
            next.list().await;
        }
        next.seconds(1).await;
    }
    assert_eq!(next.target("p").unwrap().current.number(), 1);
    // They do not come back.
    next.seconds(90).await;
    let known = next.hub.statuses.page(None, 9);
    assert_eq!(here(&known[0].1.status), 0);
}

#[tokio::test(start_paused = true)]
async fn law10_a_profile_is_reported_once_a_second_at_most() {
    let mut bench = Bench::new(None);
    bench.write("p", 1, false).await;
    bench.list().await;
    bench.in_force().await;
    let before = bench.writes;
    for last in 1..=100 {
        let agent = bench.agent(last);
        bench.hear(&agent, &full(1));
        bench.pass(Duration::from_millis(50)).await;
    }
    bench.seconds(2).await;
    let writes = bench.writes - before;
    assert!((2..=7).contains(&writes), "{writes} in five seconds");
    assert_eq!(bench.statuses[&profile("p")].agents.unwrap().matched, 100);
}
