//! What an agent did on the wire, without what chance decides: times, ports,
//! names, the number of heartbeats, how its messages and the answers to them
//! interleave.  Two agents that behave alike have equal traces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::decode::{FromAgent, Offer, ToAgent};
use super::events::{Event, Kind, Request, Side};

/// A trace, a line for each thing that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(pub Vec<String>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Which headers say nothing about the agent: each has another value in each
/// request, or names the place.
const CHANCE: [&str; 2] = ["host", "sec-websocket-key"];

/// What a collector has news of, whenever it likes.
const NEWS: [&str; 3] = ["description", "health", "effective config"];

impl Trace {
    /// The trace of one agent's events, from the one at `start` on.  `health`:
    /// whether what it says of its health is part of it; a collector that
    /// starts at the same time says when it likes that it is healthy.
    #[must_use]
    pub fn of(events: &[Event], start: usize, health: bool) -> Self {
        let mut reader = Reader::default();
        for (at, event) in events.iter().enumerate() {
            reader.read(event, at >= start);
        }
        let news = |link: &&Link| link.is_new || link.told != Told::default();
        let links = reader.links.iter().filter(news);
        Self(links.flat_map(|link| link.lines(health)).collect())
    }
}

/// A name for every value, by the order in which they turn up.
#[derive(Debug, Default)]
struct Names(BTreeMap<String, Vec<String>>);

impl Names {
    fn of(&mut self, kind: &str, value: &str) -> String {
        let known = self.0.entry(kind.to_owned()).or_default();
        let at = known.iter().position(|have| have == value);
        let at = at.unwrap_or_else(|| {
            known.push(value.to_owned());
            known.len() - 1
        });
        format!("{kind} {}", at + 1)
    }
}

/// A WebSocket, or all polls of one client.
#[derive(Debug, Default)]
struct Link {
    connections: BTreeSet<u64>,
    /// How it introduced itself.
    head: String,
    is_websocket: bool,
    /// Whether it began after the start of the trace.
    is_new: bool,
    /// The number of its last message.
    last: Option<u64>,
    ended: bool,
    told: Told,
}

/// What came after the start of the trace.
#[derive(Debug, Default, PartialEq)]
struct Told {
    answers: Vec<u16>,
    first: Option<(&'static str, Vec<&'static str>)>,
    said: BTreeSet<&'static str>,
    capabilities: BTreeSet<u64>,
    healthy: Option<bool>,
    /// Offers and reports, each in its order.
    heard: Vec<String>,
    reports: Vec<String>,
    notes: BTreeSet<&'static str>,
    end: Option<String>,
}

impl Link {
    fn lines(&self, health: bool) -> Vec<String> {
        let told = &self.told;
        let begins = if self.is_new { "" } else { "(before) " };
        let mut lines = vec![format!("{begins}{} answered {:?}", self.head, told.answers)];
        let mut line = |text: String| lines.push(format!("    {text}"));
        if let Some((number, parts)) = &told.first {
            line(format!("says first {number} {parts:?}"));
            line(format!("capabilities {:x?}", told.capabilities));
        }
        if !told.said.is_empty() {
            line(format!("says in all {:?}", told.said));
        }
        told.heard.iter().for_each(|heard| line(heard.clone()));
        told.reports.iter().for_each(|report| line(report.clone()));
        if let Some(healthy) = told.healthy.filter(|_| health) {
            line(format!("healthy at last: {healthy}"));
        }
        told.notes.iter().for_each(|note| line((*note).to_owned()));
        told.end.iter().for_each(|end| line(end.clone()));
        lines
    }

    fn say(&mut self, message: &FromAgent, names: &mut Names) {
        let (number, told) = (message.sequence, &mut self.told);
        let news = !message.is_bare() && message.parts.iter().all(|part| NEWS.contains(part));
        match self.last {
            None => {
                // A client that goes on counts on; from where, chance decides.
                let begins = if number == 0 { "#0" } else { "a later number" };
                told.first = Some((begins, message.parts.clone()));
            }
            Some(last) if number == last => drop(told.notes.insert("says some again")),
            Some(last) if number != last + 1 => drop(told.notes.insert("leaves numbers out")),
            Some(_) if message.is_bare() => drop(told.notes.insert("beats")),
            Some(_) => {}
        }
        self.last = Some(number);
        if news && !message.disconnect {
            // Of a supervisor's first client alone: one after it never hears it.
            if self.is_new {
                told.healthy = message.healthy.or(told.healthy);
            }
            return;
        }
        told.said.extend(&message.parts);
        told.capabilities.insert(message.capabilities);
        told.healthy = message.healthy.or(told.healthy);
        if message.disconnect {
            told.notes.insert("says goodbye");
        }
        if let Some(settings) = &message.settings {
            let hash = names.of("hash", &settings.hash);
            let why = if settings.explained { ", says why" } else { "" };
            let line = format!("reports {hash} {:?}{why}", settings.status);
            if told.reports.last() != Some(&line) {
                told.reports.push(line);
            }
        }
    }

    fn close(&mut self, by: Side, code: Option<u16>) {
        // Who hears a goodbye may be the first to close: chance decides.
        let parted = self.told.notes.contains("says goodbye");
        self.end(match (parted, by) {
            (true, _) => format!("closed {code:?}"),
            (false, Side::Agent) => format!("closes {code:?} without a goodbye"),
            (false, Side::Operator) => format!("is closed {code:?}"),
        });
    }

    fn end(&mut self, how: String) {
        if !std::mem::replace(&mut self.ended, true) {
            self.told.end = Some(how);
        }
    }
}

#[derive(Default)]
struct Reader {
    links: Vec<Link>,
    names: Names,
}

impl Reader {
    fn read(&mut self, event: &Event, new: bool) {
        if let Kind::Request(request) = &event.kind {
            return self.begin(event.connection, request, new);
        }
        let mut all = self.links.iter_mut().rev();
        let of = |link: &&mut Link| link.connections.contains(&event.connection);
        let Some(link) = all.find(of) else {
            return;
        };
        match &event.kind {
            Kind::Answer(status) if link.told.answers.last() != Some(status) => {
                link.told.answers.push(*status);
            }
            Kind::FromAgent(message) => link.say(message, &mut self.names),
            Kind::ToAgent(message) => {
                let heard = heard(message, &mut self.names);
                link.told.heard.extend(heard);
            }
            Kind::CloseFrame(side, code) => link.close(*side, *code),
            // Polls come over whatever connection there is.
            Kind::Closed(side) if link.is_websocket => link.end(format!("broken off by {side:?}")),
            _ => {}
        }
        if !new {
            link.told = Told::default();
        }
        if !link.is_new {
            // How many times it still beats before something happens is chance.
            link.told.notes.remove("beats");
            link.told.capabilities.clear();
        }
    }

    fn begin(&mut self, connection: u64, request: &Request, new: bool) {
        let is_websocket = request.header("upgrade").is_some();
        let head = self.head(request);
        // The next poll of the same client, perhaps over another connection; or
        // the next attempt of one that was refused.
        let same = |link: &Link| {
            let again = !link.is_websocket || link.last.is_none();
            link.head == head && again
        };
        if let Some(link) = self.links.last_mut().filter(|link| same(link)) {
            link.connections.insert(connection);
            return;
        }
        for link in &mut self.links {
            if new && link.is_websocket && !link.ended {
                link.told.notes.insert("still open when the next begins");
            }
        }
        self.links.push(Link {
            connections: [connection].into(),
            head,
            is_websocket,
            is_new: new,
            ..Link::default()
        });
    }

    fn head(&mut self, request: &Request) -> String {
        let names = &mut self.names;
        let mut headers: Vec<String> = Vec::new();
        for (name, value) in &request.headers {
            let name = name.to_ascii_lowercase();
            if CHANCE.contains(&name.as_str()) {
                headers.push(name);
            } else if name == "opamp-instance-uid" {
                headers.push(names.of(&name, value));
            } else {
                headers.push(shown(&name, value, names));
            }
        }
        headers.sort();
        let certificate = request.certificate.as_deref();
        let certificate = certificate.map_or_else(
            || "no certificate".to_owned(),
            |shown| names.of("certificate", shown),
        );
        format!("{}, {certificate}, {headers:?}", request.line)
    }
}

/// Values that a test makes up have names, others stand for themselves.
fn shown(name: &str, value: &str, names: &mut Names) -> String {
    let made_up = ["authorization", "opamp-settings-hash"];
    if made_up.contains(&name) {
        return names.of(name, value);
    }
    format!("{name}: {value}")
}

fn heard(message: &ToAgent, names: &mut Names) -> Vec<String> {
    let mut heard = Vec::new();
    if message.flags != 0 {
        heard.push(format!("is told flags {}", message.flags));
    }
    if message.command {
        heard.push("is told a command".to_owned());
    }
    if let Some(offer) = &message.offer {
        heard.push(offered(offer, names));
    }
    heard
}

fn offered(offer: &Offer, names: &mut Names) -> String {
    let mut headers = Vec::new();
    for (name, value) in &offer.headers {
        headers.push(shown(&name.to_ascii_lowercase(), value, names));
    }
    let scheme = offer.endpoint.split("://").next().unwrap_or_default();
    let certificate = offer.certificate.as_ref().map(|_| {
        let leaf = offer.leaf();
        leaf.map(|leaf| names.of("certificate", leaf))
    });
    format!(
        "is offered {} {scheme:?} {headers:?} {certificate:?} heartbeat {}",
        names.of("hash", &offer.hash),
        offer.heartbeat,
    )
}
