//! One first, whatever becomes of the agents.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc, time::Duration};

use opamp_operator_api::v1alpha1::ServedBy;
use opamp_operator_core::{
    catalog::Bound,
    fleet::{Agent, AgentRecord, Evidence, Proved, SettingsState, Transport},
    identity::Recognition,
    offer::Revision,
    rollout::{Rollout, plan},
};
use proptest::prelude::*;

use crate::{
    common::{at, uid},
    revisions::{HOME, content},
    steps::{AGENTS, seconds, transport},
};

const TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Connect(usize, Transport),
    Disconnect(usize),
    Capable(usize, bool),
    Receives(usize, bool),
    /// It is seen to poll this often.
    Polls(usize, u64),
    /// It gets what the bound allows.
    Push(usize),
    /// An agent that was offered the revision shows it.
    Prove(usize),
    /// It chooses another profile, or comes back.
    Leave(usize),
    Return(usize),
    /// An agent that was offered the revision and is gone does not come back: as
    /// one process says it, or another.
    Depart(usize, bool),
    Wait(u64),
    /// Another revision, perhaps for the server of another.
    Publish(bool),
    /// The operator forgets its rollouts; the records stay.
    Restart,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let agent = || 0..AGENTS;
    prop_oneof![
        6 => (agent(), transport()).prop_map(|(agent, transport)| Step::Connect(agent, transport)),
        3 => agent().prop_map(Step::Disconnect),
        1 => (agent(), any::<bool>()).prop_map(|(agent, yes)| Step::Capable(agent, yes)),
        1 => (agent(), any::<bool>()).prop_map(|(agent, yes)| Step::Receives(agent, yes)),
        1 => (agent(), seconds()).prop_map(|(agent, every)| Step::Polls(agent, every)),
        6 => agent().prop_map(Step::Push),
        1 => agent().prop_map(Step::Prove),
        1 => agent().prop_map(Step::Leave),
        1 => agent().prop_map(Step::Return),
        5 => seconds().prop_map(Step::Wait),
        2 => (agent(), any::<bool>()).prop_map(|(agent, lost)| Step::Depart(agent, lost)),
        1 => any::<bool>().prop_map(Step::Publish),
        1 => Just(Step::Restart),
    ]
}

struct World {
    revision: Arc<Revision>,
    agents: Vec<(AgentRecord, bool)>,
    rollout: Rollout,
    again: Option<Duration>,
    /// Who was offered the revision; proved by anybody.
    touched: BTreeSet<usize>,
    proved: bool,
    external: bool,
    seconds: u64,
}

/// Runs the steps; the core is asked after each.
pub(crate) fn run(steps: &[Step]) -> Result<(), String> {
    let mut world = World {
        revision: Arc::new(Revision::new(content(0).draft.clone(), 1)),
        agents: (1..=AGENTS).map(|i| (record(i), true)).collect(),
        rollout: Rollout::default(),
        again: None,
        touched: BTreeSet::new(),
        proved: false,
        external: false,
        seconds: 0,
    };
    let mut story = String::new();
    for step in steps {
        let _ = writeln!(story, "{:>8} s  {step:?}", world.seconds);
        world.step(*step);
        world
            .plan()
            .map_err(|broken| format!("{broken}\n{story}"))?;
    }
    Ok(())
}

fn record(number: usize) -> AgentRecord {
    let uid = uid(u8::try_from(number).unwrap());
    AgentRecord {
        capable: true,
        receives: true,
        exhausted: false,
        ..Agent::new(uid, HOME, at(0)).record()
    }
}

impl World {
    fn step(&mut self, step: Step) {
        let this = Recognition {
            profile: self.revision.profile().clone(),
            number: self.revision.number(),
        };
        match step {
            Step::Connect(i, transport) => {
                self.agents[i].0.connected = Some(transport);
                self.agents[i].0.state = SettingsState::Pending;
            }
            Step::Disconnect(i) => self.agents[i].0.connected = None,
            Step::Capable(i, yes) => self.agents[i].0.capable = yes,
            Step::Receives(i, yes) => self.agents[i].0.receives = yes,
            Step::Polls(i, seconds) => {
                self.agents[i].0.interval = Duration::from_secs(seconds);
            }
            Step::Push(i) if self.may_have(i) => {
                self.agents[i].0.last_offer = Some((this.clone(), at(self.seconds).wall));
                self.agents[i].0.offered.push(this);
                self.agents[i].0.state = SettingsState::Offered;
                self.touched.insert(i);
            }
            Step::Prove(i) if self.touched.contains(&i) && self.agents[i].1 => {
                // What it shows here is no evidence that it is elsewhere.
                self.proved |= !self.external;
                self.agents[i].0.proved = Some(Proved {
                    profile: this.profile,
                    number: this.number,
                    evidence: Evidence::SettingsHeader,
                    at: at(self.seconds).wall,
                });
            }
            Step::Depart(i, lost) => {
                let (agent, here) = &mut self.agents[i];
                if self.touched.contains(&i) && agent.connected.is_none() && *here {
                    agent.state = if lost || !self.external {
                        SettingsState::Lost
                    } else {
                        SettingsState::Departed
                    };
                    self.proved |= self.external;
                }
            }
            Step::Push(_) | Step::Prove(_) => {}
            Step::Leave(i) => self.agents[i].1 = false,
            Step::Return(i) => self.agents[i].1 = true,
            Step::Wait(seconds) => self.seconds += seconds,
            Step::Publish(external) => {
                let number = self.revision.number() + 1;
                let mut draft = content(0).draft.clone();
                if external {
                    draft.served_by = ServedBy::External;
                }
                self.external = external;
                self.revision = Arc::new(Revision::new(draft, number));
                self.touched.clear();
                self.proved = false;
            }
            Step::Restart => {
                self.rollout = Rollout::default();
                for (agent, here) in &mut self.agents {
                    // Nobody knows of one that left before.
                    *here = true;
                    agent.last_offer = None;
                    agent.connected = None;
                }
            }
        }
    }

    fn eligible(&self, i: usize) -> bool {
        let (agent, here) = &self.agents[i];
        *here && agent.connected.is_some() && agent.capable && agent.receives
    }

    /// Is this agent evidence enough?
    fn opens(&self, agent: &AgentRecord) -> bool {
        use SettingsState::{Departed, Lost};
        let number = self.revision.number();
        if self.external {
            let given = agent.offered.iter().any(|r| r.number == number);
            given && matches!(agent.state, Departed | Lost)
        } else {
            agent.proved.as_ref().is_some_and(|p| p.number == number)
        }
    }

    fn may_have(&self, i: usize) -> bool {
        let open = match self.rollout.bound() {
            Bound::Nobody => false,
            Bound::One(uid) => uid == self.agents[i].0.uid,
            Bound::Everyone => true,
        };
        open && self.rollout.number == self.revision.number() && self.eligible(i)
    }

    fn plan(&mut self) -> Result<(), String> {
        let here = self.agents.iter().filter(|(_, here)| *here);
        let here: Vec<_> = here.map(|(agent, _)| agent.clone()).collect();
        let now = at(self.seconds);
        (self.rollout, self.again) = plan(&self.rollout, &self.revision, &here, TIMEOUT, now);
        let mut touched = self.touched.clone();
        touched.extend((0..AGENTS).filter(|i| self.may_have(*i)));
        let rollout = &self.rollout;
        if !self.proved && touched.len() > 1 {
            return Err(format!(
                "{touched:?} may have it before evidence: {rollout:?}"
            ));
        }
        if !self.proved && rollout.bound() == Bound::Everyone {
            return Err(format!("opened without evidence: {rollout:?}"));
        }
        let pending = !rollout.opened
            && !rollout.halted
            && ((0..AGENTS).any(|i| self.eligible(i)) || rollout.offered.is_some());
        // Once open it stays so, and what opened it is enough for that.
        let opens = self.proved && here.iter().any(|a| self.opens(a));
        if opens && !rollout.opened {
            return Err(format!("evidence does not open it: {rollout:?}"));
        }
        if pending && self.again.is_none() {
            return Err(format!("pending, and never asked again: {rollout:?}"));
        }
        if self.again.is_some_and(|again| again <= now.uptime) {
            return Err("asks again at once".into());
        }
        if rollout.halted && (rollout.opened || self.again.is_some()) {
            return Err(format!("halted, and not at rest: {rollout:?}"));
        }
        Ok(())
    }
}
