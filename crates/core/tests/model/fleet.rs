//! Agents as they are, and the operator's core between them and their profile.

use std::{fmt::Write as _, time::Duration};

use opamp_operator_core::{
    Now,
    catalog::{Bound, Target},
    fleet::{Link, LinkId, SettingsState, Transport},
};

use crate::{
    agents::Sim,
    common::at,
    revisions::{Catalog, bootstrap, stranger},
    steps::{AGENTS, Says, Shows, Step},
    watch::Seen,
};

/// The longest wait of any law.
const BOUNDED: Duration = Duration::from_secs(6 * 3600 + 600);

pub(crate) struct Fleet {
    pub(crate) catalog: Catalog,
    /// Since the start of the process, and of the test.
    pub(crate) uptime: Duration,
    pub(crate) earlier: Duration,
    pub(crate) skew: i64,
    pub(crate) next_link: u64,
    pub(crate) agents: Vec<Sim>,
    pub(crate) story: String,
}

/// Runs the steps; a broken law comes with the story that led to it.
pub(crate) fn run(admin: bool, steps: &[Step]) -> Result<(), String> {
    let mut fleet = Fleet::new(admin);
    let mut go = || {
        for step in steps {
            fleet.tell(&format!("{step:?}"));
            fleet.step(*step)?;
        }
        fleet.everybody_gets_there()
    };
    let outcome: Result<(), String> = go();
    outcome.map_err(|broken| format!("{broken}\n{}", fleet.story))
}

impl Fleet {
    fn new(admin: bool) -> Self {
        let mut catalog = Catalog::new(admin);
        catalog.publish(0, false, at(0));
        Self {
            catalog,
            uptime: Duration::ZERO,
            earlier: Duration::ZERO,
            skew: 0,
            next_link: 1,
            agents: (0..AGENTS).map(Sim::new).collect(),
            story: String::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let wall = at(0).wall + self.earlier + self.uptime;
        Now {
            wall: wall + jiff::SignedDuration::from_secs(self.skew),
            uptime: self.uptime,
        }
    }

    pub(crate) fn tell(&mut self, what: &str) {
        let _ = writeln!(self.story, "{:>8} s  {what}", self.uptime.as_secs());
    }

    /// The link with this number; 0 is the newest.
    fn pick(&self, agent: usize, link: usize) -> Option<LinkId> {
        let links = &self.agents[agent].links;
        let back = link.checked_rem(links.len())?;
        links.iter().rev().nth(back).map(|link| link.id)
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let story = step.story();
        if !story.is_empty() {
            return story.into_iter().try_for_each(|step| self.step(step));
        }
        match step {
            Step::Connect {
                agent,
                transport,
                shows,
                says,
                sequence,
            } => {
                let shows = self.agents[agent].choose(shows);
                let id = self.connect(agent, transport, shows, sequence)?;
                id.zip(says)
                    .map_or(Ok(()), |(id, says)| self.say(agent, id, says))
            }
            Step::Accept {
                agent,
                leaves_the_old_link,
            } => {
                let old = self.pick(agent, 0);
                let transport = self.agents[agent].links.last().map(|link| link.transport);
                if let Some(old) = old.filter(|_| !leaves_the_old_link) {
                    self.close(agent, old);
                }
                let transport = transport.unwrap_or(Transport::WebSocket);
                let shows = self.agents[agent].choose(Shows::Offered);
                let id = self.connect(agent, transport, shows, 0)?;
                id.map_or(Ok(()), |id| self.say(agent, id, Says::FullState))
            }
            Step::Say { agent, link, says } => {
                let id = self.pick(agent, link);
                id.map_or(Ok(()), |id| self.say(agent, id, says))
            }
            Step::Close { agent, link } => {
                if let Some(id) = self.pick(agent, link) {
                    self.close(agent, id);
                }
                Ok(())
            }
            Step::Refresh { agent, link } => {
                let id = self.pick(agent, link);
                id.map_or(Ok(()), |id| self.refresh(agent, id))
            }
            Step::Follow { agent } => {
                if let Some(until) = self.agents[agent].until {
                    self.uptime = self.uptime.max(until);
                }
                let id = self.pick(agent, 0);
                id.map_or(Ok(()), |id| self.refresh(agent, id))
            }
            Step::Share { agent, link } => {
                if let Some(id) = self.pick(agent, link) {
                    let sim = &mut self.agents[agent];
                    sim.agent.mark_shared(id);
                    sim.seen(id).shared = true;
                }
                Ok(())
            }
            Step::Stranger { agent } => self.stranger(agent),
            Step::Tick => self.tick(),
            Step::Wait(seconds) => {
                self.uptime += Duration::from_secs(seconds);
                Ok(())
            }
            Step::WallClockJumps(seconds) => {
                self.skew += seconds;
                Ok(())
            }
            Step::Save => {
                self.agents.iter_mut().for_each(Sim::save);
                Ok(())
            }
            Step::Restart { stale } => {
                self.restart(stale);
                Ok(())
            }
            wish => {
                self.wish(wish);
                self.refresh_all()
            }
        }
    }

    fn wish(&mut self, step: Step) {
        let now = self.now();
        let bound = match step {
            Step::Publish { content } => {
                self.catalog.publish(content, false, now);
                return;
            }
            Step::SendAway { content } => {
                self.catalog.publish(content, true, now);
                return;
            }
            Step::Beside { beside } => return self.catalog.beside(beside),
            Step::Select { profile, alone } => return self.catalog.select(profile, alone),
            Step::Pause(paused) => {
                if let Some(target) = self.catalog.target_mut() {
                    target.paused = paused;
                }
                return;
            }
            Step::OpenToNobody => Bound::Nobody,
            Step::OpenTo { agent } => Bound::One(self.agents[agent].agent.uid()),
            _ => Bound::Everyone,
        };
        if let Some(target) = self.catalog.target_mut() {
            target.bound = bound;
        }
    }

    fn refresh(&mut self, agent: usize, id: LinkId) -> Result<(), String> {
        // A poll that did not come cannot be answered.
        match self.agents[agent].seen(id).transport {
            Transport::WebSocket => self.exchange(agent, id, None),
            Transport::Http => Ok(()),
        }
    }

    fn refresh_all(&mut self) -> Result<(), String> {
        for agent in 0..AGENTS {
            for id in self.agents[agent].ids() {
                self.refresh(agent, id)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), String> {
        let now = self.now();
        for sim in &mut self.agents {
            let step = sim.agent.tick(now);
            sim.links.retain(|link| sim.agent.link(link.id).is_some());
            if step.until.is_some_and(|until| until <= now.uptime) {
                return Err("until: asks to tick again at once".into());
            }
            let polls = |link: &Seen| link.transport == Transport::Http;
            if sim.links.iter().any(polls) && step.until.is_none() {
                return Err("until: a link that polls may never end".into());
            }
            let state = sim.agent.record().state;
            sim.departed |= state == SettingsState::Departed;
            if sim.departed && state != SettingsState::Departed {
                return Err(format!(
                    "law 6: a connection alone brings it back: {state:?}"
                ));
            }
            if sim.links.is_empty() {
                sim.watch.away(&sim.agent.record(), step.until)?;
            }
        }
        Ok(())
    }

    fn stranger(&mut self, agent: usize) -> Result<(), String> {
        let now = self.now();
        let verdict = self.catalog.verify(&stranger(), now)?.unwrap();
        let sim = &mut self.agents[agent];
        let id = LinkId(self.next_link);
        let link = Link::new(id, Transport::WebSocket, stranger(), verdict, now.uptime);
        let bound = sim.agent.record().binding;
        match bound.and_then(|_| sim.agent.attach(link, now)) {
            Some(_) => Err("law 2: somebody else speaks for this agent".into()),
            None => Ok(()),
        }
    }

    fn restart(&mut self, stale: bool) {
        self.earlier += self.uptime;
        self.uptime = Duration::ZERO;
        let now = self.now();
        for sim in &mut self.agents {
            sim.restart(stale, now);
        }
    }

    /// A well-behaved agent that nothing keeps back gets its settings by
    /// waiting for the times that the core names, and nothing else.
    fn everybody_gets_there(&mut self) -> Result<(), String> {
        self.tell("from here on everybody behaves");
        let now = self.now();
        let ended = |target: &Target| {
            let end = target.current.credential().not_after;
            end.is_some_and(|end| end <= now.wall + BOUNDED * 10)
        };
        let away = |target: &Target| target.current.is_external();
        let target = self.catalog.target();
        if target.is_none_or(|target| ended(target) || away(target)) {
            self.catalog.publish(0, false, now);
        }
        self.wish(Step::OpenToEveryone);
        self.wish(Step::Pause(false));
        for agent in 0..AGENTS {
            for id in self.agents[agent].ids() {
                self.close(agent, id);
            }
            let given = self.agents[agent].given.len();
            // One polls, at the times that the core named.
            let transport = match agent {
                1 => Transport::Http,
                _ => Transport::WebSocket,
            };
            let id = self.connect(agent, transport, bootstrap(), 500)?;
            let id = id.ok_or("law 8: refused")?;
            self.say(agent, id, Says::FullState)?;
            let begin = self.uptime;
            while self.agents[agent].given.len() == given {
                let until = self.agents[agent].until;
                self.uptime = until.ok_or("liveness: silent for ever")?;
                if self.uptime > begin + BOUNDED {
                    return Err("liveness: silent for too long".into());
                }
                match transport {
                    Transport::WebSocket => self.refresh(agent, id)?,
                    Transport::Http => self.say(agent, id, Says::FullState)?,
                }
            }
            self.close(agent, id);
            let shows = self.agents[agent].choose(Shows::Offered);
            let id = self.connect(agent, Transport::WebSocket, shows, 0)?;
            let id = id.ok_or("law 8: refused")?;
            self.say(agent, id, Says::FullState)?;
            let record = self.agents[agent].agent.record();
            if record.state != SettingsState::Applied {
                return Err(format!("liveness: {:?} in the end", record.state));
            }
            self.close(agent, id);
        }
        Ok(())
    }
}
