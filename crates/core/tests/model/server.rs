//! What the server does with links and messages, watched.

use std::time::Duration;

use opamp_operator_api::values::ProfileKey;
use opamp_operator_core::{
    catalog::Choice,
    fleet::{Link, LinkId, SettingsState, Transition, Transport, Wish},
    identity::Presented,
};
use opamp_wire::{AgentCapabilities, proto::AgentToServer};

use crate::{
    agents::Given,
    common::decode,
    fleet::Fleet,
    steps::Says,
    watch::{Report, Seen, Watch, is},
};

/// How often a link looks whether it is the only one.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
const HOLD: Duration = Duration::from_secs(15);

impl Fleet {
    pub(crate) fn connect(
        &mut self,
        agent: usize,
        transport: Transport,
        shows: Presented,
        sequence: u64,
    ) -> Result<Option<LinkId>, String> {
        let now = self.now();
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let Some(verdict) = self.catalog.verify(&shows, now)? else {
            return Ok(None);
        };
        let sim = &mut self.agents[agent];
        let link = Link::new(id, transport, shows.clone(), verdict.clone(), now.uptime);
        if sim.agent.attach(link, now).is_none() {
            // What ended is known by the record alone.
            let ended = verdict.primary.is_none() && verdict.recognised.is_empty();
            return if ended && sim.lagged {
                Ok(None)
            } else {
                Err("law 8: refused with what it was given".into())
            };
        }
        let polls = |link: &&Seen| link.transport == Transport::Http;
        let old: Vec<_> = sim.links.iter().filter(polls).map(|link| link.id).collect();
        sim.links.push(Seen {
            id,
            transport,
            presented: shows.clone(),
            verdict,
            shared: false,
            sequence,
            greeted: false,
            described: false,
            fresh: false,
            capable: None,
            said: 0,
            reported: None,
            of_beside: false,
            polled: now.uptime,
            polls: 0,
        });
        sim.shows = shows;
        // As the server does: an agent has one link over HTTP, but for one that
        // proves more.
        if transport == Transport::Http {
            for old in old {
                if !self.agents[agent].agent.gives_way(old, id) {
                    continue;
                }
                self.close(agent, old);
            }
        }
        Ok(Some(id))
    }

    pub(crate) fn say(&mut self, agent: usize, id: LinkId, says: Says) -> Result<(), String> {
        let now = self.now();
        let sim = &mut self.agents[agent];
        let mut message = sim.message(says);
        // Of the agent only such a link says anything as proves no less than
        // the one that speaks for it.
        let strength = |link: Option<&Link>| link.map(|link| link.rights.strength());
        let outranked = strength(sim.agent.newest_link()) > strength(sim.agent.link(id));
        let link = sim.links.iter_mut().find(|link| link.id == id).unwrap();
        message.sequence_num = link.sequence + u64::from(matches!(says, Says::AfterAGap));
        link.sequence = message.sequence_num + 1;
        let described = message.agent_description.is_some();
        link.fresh |= !link.greeted && described && message.sequence_num <= 1;
        link.greeted = true;
        link.described |= described;
        // The link was alive after what was sent there.
        let arrived = sim.sent_beside.last().filter(|sent| sent.link == id);
        sim.has = arrived.map(|sent| sent.what.clone()).or(sim.has.take());
        let gap = now.uptime.saturating_sub(link.polled);
        link.polls += if gap > Duration::from_secs(26 * 3600) {
            2
        } else {
            1
        };
        link.polled = now.uptime;
        if message.capabilities != 0 {
            let accepts = AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;
            link.capable = Some(message.capabilities & accepts != 0);
            link.said = message.capabilities;
            if !outranked {
                sim.watch.capabilities = message.capabilities;
            }
        }
        let report = message.connection_settings_status.as_ref().map(|status| {
            let hash = status.last_connection_settings_hash.to_vec();
            (status.status(), hash)
        });
        if !outranked {
            sim.watch.heard(link, report.as_ref(), now);
        }
        let told = |report: &Report| sim.sent_beside.iter().any(|sent| sent.hash == report.1);
        let here = |report: &Report| {
            let last = sim.sent_beside.iter().rfind(|sent| sent.link == id);
            last.is_some_and(|sent| sent.hash == report.1)
        };
        // One of what was sent here takes back nothing that was said before.
        let counts = |report: &Report| link.reported.is_none() || !here(report);
        if let Some(report) = report.filter(counts) {
            link.of_beside = told(&report);
            link.reported = Some(report);
        }
        self.exchange(agent, id, Some(&message))?;
        if matches!(says, Says::GoodBye) {
            self.close(agent, id);
        }
        Ok(())
    }

    /// What the server does with a message, a change or a timer.
    pub(crate) fn exchange(
        &mut self,
        agent: usize,
        id: LinkId,
        message: Option<&AgentToServer>,
    ) -> Result<(), String> {
        let now = self.now();
        let sim = &mut self.agents[agent];
        let before = sim.agent.record();
        if message.is_some() && before.state == SettingsState::Departed {
            sim.watch.returned();
        }
        sim.departed &= message.is_none();
        let reply = message.map(|message| sim.agent.hear(id, message, now).0);
        let choice = sim.agent.choose(id, &self.catalog.candidates);
        sim.agent.chosen(&choice, now);
        let target = match &choice {
            Choice::Profile(profile) => self.catalog.target_of(profile),
            _ => None,
        };
        let admin = |profile: &ProfileKey| self.catalog.is_admin(profile);
        let wish = Wish {
            target,
            trust: Some(&self.catalog.trust),
            hold: HOLD,
        };
        let (offer, step) = if let Some(reply) = reply {
            let (reply, step) = sim.agent.answer(id, reply, &wish, now);
            (reply.offer, step)
        } else {
            let mut step = sim.agent.refresh(id, &wish, now);
            (step.push.take(), step)
        };
        sim.until = step.until;
        if step.until.is_some_and(|until| until <= now.uptime) {
            return Err("until: asks again at once".into());
        }
        let looks = now.uptime + LOOK_AGAIN;
        if sim.links.len() > 1 && step.push.is_none() && step.until.is_none_or(|at| at > looks) {
            return Err("until: another link may end, and it does not look".into());
        }
        let known = self.catalog.targets.iter().flatten();
        let known: Vec<_> = known
            .flat_map(|t| [Some(&t.current), t.previous.as_ref()])
            .collect();
        for transition in &step.transitions {
            if let Transition::Proved(proved, _) = transition {
                let revision = known.iter().flatten().find(|r| is(proved, r));
                sim.watch.proved(
                    revision
                        .ok_or("law 6: proves an unknown revision")?
                        .marker(),
                );
            }
        }
        let link = sim.links.iter().find(|link| link.id == id).unwrap();
        let newest = sim.speaker()? == id;
        if !newest {
            Watch::ghost(&before, &sim.agent.record())?;
        }
        let judged = target.filter(|_| newest && link.greeted);
        if judged.is_some() {
            sim.watch.came(link);
        }
        let mut told = None;
        let beside = offer.clone().map(decode).filter(|o| o.opamp.is_none());
        if let Some(beside) = beside {
            sim.told(beside, id, target, admin, now)?;
        } else if let Some(offer) = offer {
            sim.left_alone(id, before.proved.as_ref(), target)?;
            let uid = sim.agent.uid();
            let which = sim
                .watch
                .offered(&offer, link, &sim.links, target, (uid, &admin), now)?;
            let external = sim.watch.last_is_external();
            sim.given.push(Given {
                content: which,
                external,
            });
            told = Some(format!("agent {agent} is offered content {which}"));
        }
        let link = sim.links.iter().find(|link| link.id == id).unwrap();
        if let Some(target) = judged {
            let record = sim.agent.record();
            sim.watch.settled(
                before.proved.as_ref(),
                &record,
                link,
                &sim.links,
                target,
                now,
            )?;
        }
        if let Some(told) = told {
            let sim = &mut self.agents[agent];
            sim.seen(id).polls = 0;
            self.tell(&told);
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, agent: usize, id: LinkId) {
        let now = self.now();
        let sim = &mut self.agents[agent];
        sim.agent.detach(id, now);
        sim.links.retain(|link| link.id != id);
    }
}
