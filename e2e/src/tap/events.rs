//! The tap's record: every event of every connection, in the order in which
//! it was forwarded, and the view of it by connection.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::decode::{FromAgent, Offer, ToAgent};
use crate::eventually::Look;
use crate::timeline::Timeline;

/// Something the tap saw.
#[derive(Clone, Debug)]
pub struct Event {
    /// Time since the start of the timeline.
    pub at: Duration,
    /// Number of the connection.
    pub connection: u64,
    /// What it was.
    pub kind: Kind,
}

/// What the tap saw.
#[derive(Clone)]
pub enum Kind {
    /// A request head.
    Request(Request),
    /// The status that the operator answered.
    Answer(u16),
    /// A message of an agent.
    FromAgent(FromAgent),
    /// A message of the operator.
    ToAgent(ToAgent),
    /// A WebSocket close frame.
    CloseFrame(Side, Option<u16>),
    /// The connection has ended; by whom.
    Closed(Side),
    /// A handshake failed or the operator was not there.
    Failed(String),
    /// Bytes that the tap could not read (they were forwarded all the same).
    Unreadable(Side, String),
}

/// A request head as the agent sent it.
#[derive(Clone)]
pub struct Request {
    /// Method, path and version.
    pub line: String,
    /// All headers, values included.
    pub headers: Vec<(String, String)>,
    /// SHA-256 over the certificate the agent showed.
    pub certificate: Option<String>,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }
}

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The supervisor.
    Agent,
    /// The operator.
    Operator,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => request.fmt(f),
            Self::Answer(status) => write!(f, "answered {status}"),
            Self::FromAgent(message) => {
                let described = if message.described { " full state" } else { "" };
                let bye = if message.disconnect { " goodbye" } else { "" };
                let (uid, number) = (short(&message.uid), message.sequence);
                write!(f, "agent {uid} → #{number}{described}{bye}")
            }
            Self::ToAgent(message) => {
                let (uid, flags) = (short(&message.uid), message.flags);
                write!(f, "agent {uid} ← flags {flags}")?;
                if let Some(error) = &message.error {
                    write!(f, " error {error:?}")?;
                }
                message
                    .offer
                    .as_ref()
                    .map_or(Ok(()), |offer| write!(f, " {offer:?}"))
            }
            Self::CloseFrame(side, code) => write!(f, "close frame by {side:?} {code:?}"),
            Self::Closed(side) => write!(f, "closed by {side:?}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Unreadable(side, why) => write!(f, "unreadable from {side:?}: {why}"),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let certificate = self.certificate.as_deref().map_or("none", short);
        write!(
            f,
            "{} certificate {certificate} headers {names:?}",
            self.line
        )
    }
}

fn value_of<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
    headers.iter().find(found).map(|(_, value)| value.as_str())
}

/// The end of a UID or the start of a digest: enough to tell them apart.
fn short(text: &str) -> &str {
    match text.rsplit_once('-') {
        Some((_, last)) => last,
        None => text.get(..8).unwrap_or(text),
    }
}

/// One connection, gathered from its events.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Its number; later connections have higher ones.
    pub id: u64,
    /// SHA-256 over the certificate the agent showed.
    pub certificate: Option<String>,
    /// Headers of its first request.
    pub headers: Vec<(String, String)>,
    /// The status answered to its first request.
    pub status: Option<u16>,
    /// The instance UID of its messages.
    pub uid: Option<String>,
    /// Messages of the agent.
    pub received: Vec<FromAgent>,
    /// Messages of the operator.
    pub sent: Vec<ToAgent>,
    /// Whether it is still open.
    pub open: bool,
    /// When it opened and, once it has, ended.
    pub life: (Duration, Option<Duration>),
}

impl Connection {
    /// The offers made on it.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.sent
            .iter()
            .filter_map(|message| message.offer.as_ref())
    }

    /// The value of a request header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    /// What the agent said last of its health.
    #[must_use]
    pub fn healthy(&self) -> Option<bool> {
        let mut said = self.received.iter().rev();
        said.find_map(|message| message.healthy)
    }

    /// The marker of the settings it runs.
    #[must_use]
    pub fn marker(&self) -> Option<&str> {
        self.header("OpAMP-Settings-Hash")
    }

    fn take(&mut self, event: &Event) {
        match &event.kind {
            Kind::Request(request) if self.headers.is_empty() => {
                self.open = true;
                self.life.0 = event.at;
                self.certificate.clone_from(&request.certificate);
                self.headers.clone_from(&request.headers);
            }
            Kind::Answer(status) => self.status = self.status.or(Some(*status)),
            Kind::FromAgent(message) => {
                self.uid = Some(message.uid.clone());
                self.received.push(message.clone());
            }
            Kind::ToAgent(message) => self.sent.push(message.clone()),
            Kind::Closed(_) | Kind::Failed(_) => {
                self.open = false;
                self.life.1 = Some(event.at);
            }
            Kind::Request(_) | Kind::CloseFrame(..) | Kind::Unreadable(..) => {}
        }
    }
}

/// The record.
#[derive(Debug)]
pub struct Record {
    timeline: Timeline,
    events: Mutex<Vec<Event>>,
    changed: watch::Sender<usize>,
}

impl Record {
    pub(super) fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            events: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn push(&self, connection: u64, kind: Kind) {
        self.timeline.note("tap", format!("#{connection} {kind:?}"));
        let mut events = self.lock();
        events.push(Event {
            at: self.timeline.now(),
            connection,
            kind,
        });
        let count = events.len();
        drop(events);
        self.changed.send_replace(count);
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// All connections so far, oldest first.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let mut all: Vec<Connection> = Vec::new();
        for event in self.lock().iter() {
            let at = all.iter().position(|have| have.id == event.connection);
            let at = at.unwrap_or_else(|| {
                all.push(Connection {
                    id: event.connection,
                    ..Connection::default()
                });
                all.len() - 1
            });
            if let Some(connection) = all.get_mut(at) {
                connection.take(event);
            }
        }
        all
    }

    /// Everything that happened on the connections of one agent.
    #[must_use]
    pub fn events_of(&self, uid: &str) -> Vec<Event> {
        let its: Vec<u64> = self.of(uid).iter().map(|link| link.id).collect();
        let mut events = self.events();
        events.retain(|event| its.contains(&event.connection));
        events
    }

    /// The connections of one agent, oldest first.
    #[must_use]
    pub fn of(&self, uid: &str) -> Vec<Connection> {
        let mut all = self.connections();
        all.retain(|connection| connection.uid.as_deref() == Some(uid));
        all
    }

    /// Every refusal and everything unreadable so far, in words.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        let refused = |event: &&Event| match &event.kind {
            Kind::Answer(status) => !matches!(status, 101 | 200),
            Kind::Unreadable(..) => true,
            // An operator says goodbye with 1000 or, when it ends, 1001 or 1012.
            Kind::CloseFrame(Side::Operator, code) => matches!(code, Some(1002..=1011)),
            _ => false,
        };
        let events = self.lock();
        let refusals = events.iter().filter(refused);
        refusals
            .map(|event| format!("#{} {:?}", event.connection, event.kind))
            .collect()
    }

    /// Looks again after every event until the condition holds.
    ///
    /// # Errors
    /// When the deadline passes or the condition can never come true.
    pub async fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&Self) -> Look<T>,
    ) -> Result<T> {
        let mut changed = self.changed.subscribe();
        let deadline = Instant::now() + within;
        loop {
            changed.mark_unchanged();
            let seen = match look(self) {
                Look::Done(value) => return Ok(value),
                Look::Never(why) => bail!("{what}: cannot come true: {why}"),
                Look::NotYet(seen) => seen,
            };
            if timeout_at(deadline, changed.changed()).await.is_err() {
                bail!("{what}: not seen by the tap within {within:?}; last: {seen}");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
