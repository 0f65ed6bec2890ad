//! An agent as it is: what it has, what it comes with and what it says.

use std::time::Duration;

use opamp_operator_core::{
    Now,
    fleet::{Agent, AgentRecord, LinkId},
    identity::Presented,
};
use opamp_wire::{
    AgentCapabilities,
    proto::{AgentDisconnect, AgentToServer, ConnectionSettingsOffers, ConnectionSettingsStatuses},
};

use crate::{
    common::{CAPABLE, at, full, reported, uid},
    revisions::{HOME, bootstrap, content},
    steps::{Named, Says, Shows},
    watch::{Seen, Watch},
};

const METRICS: u64 = AgentCapabilities::REPORTS_OWN_METRICS;
const TRACES: u64 = AgentCapabilities::REPORTS_OWN_TRACES;

/// What it was offered.
pub(crate) struct Given {
    pub(crate) content: usize,
    pub(crate) external: bool,
}

/// What was sent beside the settings for OpAMP.
pub(crate) struct SentBeside {
    pub(crate) link: LinkId,
    pub(crate) hash: Vec<u8>,
    /// Without the hash.
    pub(crate) what: ConnectionSettingsOffers,
}

/// One agent: its own memory, the core's, and the watch between.
pub(crate) struct Sim {
    pub(crate) agent: Agent,
    pub(crate) watch: Watch,
    pub(crate) links: Vec<Seen>,
    /// Contents that it was offered, ever.
    pub(crate) given: Vec<Given>,
    pub(crate) shows: Presented,
    /// It went to the server of another, and said nothing since.
    pub(crate) departed: bool,
    pub(crate) saved: Option<AgentRecord>,
    /// What it was sent beside the settings for OpAMP, in any process.
    pub(crate) sent_beside: Vec<SentBeside>,
    /// The last that it is known to have, by this process or the record.
    pub(crate) has: Option<ConnectionSettingsOffers>,
    /// The process began with a record that lacks some of what it was given.
    pub(crate) lagged: bool,
    pub(crate) until: Option<Duration>,
}

impl Sim {
    pub(crate) fn new(number: usize) -> Self {
        let uid = uid(u8::try_from(number + 1).unwrap());
        Self {
            agent: Agent::new(uid, HOME, at(0)),
            watch: Watch::default(),
            links: Vec::new(),
            given: Vec::new(),
            shows: bootstrap(),
            sent_beside: Vec::new(),
            has: None,
            departed: false,
            saved: None,
            lagged: false,
            until: None,
        }
    }

    /// The link that speaks for it: the newest of those that prove as much, or
    /// one that proves less and shows what it was offered.
    pub(crate) fn speaker(&self) -> Result<LinkId, String> {
        let newest = self.agent.newest_link().ok_or("nobody speaks")?;
        let primary = |link: &Seen| link.verdict.primary.is_some();
        let speaker = self.links.iter().find(|link| link.id == newest.id);
        let speaker = speaker.ok_or("a link speaks that ended")?;
        let better = |link: &&Seen| primary(link) || !primary(speaker);
        let latest = self.links.iter().rfind(better);
        let latest = latest.is_none_or(|link| link.id == speaker.id);
        if !latest && primary(speaker) {
            return Err("law 2: an older link speaks that proves no more".into());
        }
        let given =
            self.agent.was_offered(speaker.verdict.shown()) || speaker.presented.marker.is_some();
        if !latest && !given {
            return Err("law 2: weaker proof displaces stronger".into());
        }
        Ok(newest.id)
    }

    /// Its record is written.
    pub(crate) fn save(&mut self) {
        self.saved = Some(self.agent.record());
    }

    /// The process ends, and the next one begins with a record that may lag
    /// behind the last offers.
    pub(crate) fn restart(&mut self, stale: bool, now: Now) {
        let record = self.agent.record();
        // It lags behind newer revisions of profiles that it can know of and
        // nothing else: an agent that was brought back to an older one, or
        // chose a profile of another namespace, needs its primary proof.
        let lags = |saved: &AgentRecord| {
            record.offered.iter().all(|o| {
                let same = || saved.offered.iter().filter(|s| s.profile == o.profile);
                let known = o.profile.namespace == HOME
                    || saved.profile.as_ref() == Some(&o.profile)
                    || same().next().is_some();
                saved.offered.contains(o) || (known && same().all(|s| s.number < o.number))
            })
        };
        self.departed = false;
        if stale {
            self.has = None;
        }
        let saved = self.saved.take().filter(|saved| stale && lags(saved));
        if std::mem::replace(&mut self.lagged, saved.is_some()) {
            // Nobody could tell the next process what that one did not know.
            self.given.clear();
            self.shows = bootstrap();
        }
        self.agent = Agent::restore(saved.unwrap_or(record), now);
        self.watch = Watch::default();
        self.links.clear();
        self.until = None;
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.links.iter().map(|link| link.id).collect()
    }

    pub(crate) fn seen(&mut self, id: LinkId) -> &mut Seen {
        self.links.iter_mut().find(|link| link.id == id).unwrap()
    }

    pub(crate) fn choose(&self, shows: Shows) -> Presented {
        let given = |back: usize, marked: bool| {
            // What it was given for another server it has there.
            let given = self.given.iter().rev().nth(back);
            let given = given.filter(|given| !given.external);
            given.map_or_else(bootstrap, |g| content(g.content).presented(marked))
        };
        match shows {
            Shows::Bootstrap => bootstrap(),
            Shows::Offered => given(0, true),
            Shows::Unmarked => given(0, false),
            Shows::Leaf => {
                let mut shows = given(0, false);
                shows.authorization.take_if(|_| shows.leaf.is_some());
                shows
            }
            Shows::Older => given(1, true),
            Shows::Same => self.shows.clone(),
        }
    }

    pub(crate) fn message(&self, says: Says) -> AgentToServer {
        let accepts = AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;
        let reports = AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;
        let able = |capabilities| AgentToServer {
            capabilities,
            ..full()
        };
        let bare = |capabilities| AgentToServer {
            capabilities,
            ..Default::default()
        };
        match says {
            Says::FullState => full(),
            Says::Bare | Says::AfterAGap => bare(CAPABLE),
            Says::ZeroCapabilities => bare(0),
            Says::Incapable => able(CAPABLE & !accepts),
            Says::ReportsNothing => able(CAPABLE & !reports),
            Says::Telemetry => able(CAPABLE | METRICS | TRACES),
            Says::Metrics => able(CAPABLE | METRICS),
            Says::OnlyTelemetry => able((CAPABLE | METRICS | TRACES) & !accepts),
            Says::BareTelemetry => bare(CAPABLE | METRICS | TRACES),
            Says::Report(status, named) => self.report(status, named),
            Says::GoodBye => AgentToServer {
                agent_disconnect: Some(AgentDisconnect::default()),
                ..bare(CAPABLE)
            },
        }
    }

    fn report(&self, status: ConnectionSettingsStatuses, named: Named) -> AgentToServer {
        let hash = match named {
            Named::Last => self.watch.hash(0),
            Named::Before => self.watch.hash(1),
            Named::Beside => self.sent_beside.last().map(|sent| sent.hash.clone()),
            Named::Unknown => None,
        };
        reported(status, &hash.unwrap_or_else(|| b"unknown".to_vec()))
    }
}
