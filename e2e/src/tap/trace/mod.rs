//! What an agent did on the wire, without what chance decides: times, ports,
//! names, the number of heartbeats, how its messages and the answers to them
//! interleave.  Two agents that behave alike have equal traces.

mod link;

use std::collections::BTreeMap;
use std::fmt;

use super::decode::{Offer, ToAgent};
use super::events::{Event, Kind, Request};
use link::{Link, Told};

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tap::{FromAgent, Side};

    fn event(connection: u64, kind: Kind) -> Event {
        Event {
            at: Duration::ZERO,
            connection,
            kind,
        }
    }

    fn request(connection: u64, line: &str, marker: &str) -> Event {
        let mut headers = vec![("OpAMP-Settings-Hash".to_owned(), marker.to_owned())];
        if line.starts_with("GET") {
            headers.push(("Upgrade".to_owned(), "websocket".to_owned()));
        }
        let request = Request {
            line: line.to_owned(),
            headers,
            certificate: None,
        };
        event(connection, Kind::Request(request))
    }

    fn message(connection: u64, sequence: u64, parts: &[&'static str]) -> Event {
        let message = FromAgent {
            uid: String::new(),
            sequence,
            capabilities: 1,
            described: false,
            disconnect: false,
            parts: parts.to_vec(),
            healthy: None,
            settings: None,
        };
        event(connection, Kind::FromAgent(message))
    }

    fn polls(beats: u64, connection: impl Fn(u64) -> u64) -> Vec<Event> {
        let of = |number| {
            let parts: &[_] = if number == 0 { &["description"] } else { &[] };
            let at = connection(number);
            [request(at, "POST /", "m"), message(at, number, parts)]
        };
        (0..beats).flat_map(of).collect()
    }

    fn whole(events: &[Event]) -> Trace {
        Trace::of(events, 0, true)
    }

    #[test]
    fn what_chance_decides_makes_no_difference() {
        let one = whole(&polls(3, |_| 1));
        assert_eq!(one, whole(&polls(7, |_| 4)));
        assert_eq!(one, whole(&polls(3, |number| number)));
        let mut news = polls(3, |_| 1);
        news.push(message(1, 3, &["health"]));
        assert_eq!(one, whole(&news));
    }

    #[test]
    fn what_an_agent_does_makes_one() {
        let one = whole(&polls(3, |_| 1));
        for more in [
            message(1, 4, &[]),
            message(1, 2, &[]),
            message(1, 3, &["settings request"]),
            request(2, "POST /", "other"),
            request(2, "GET /", "m"),
            event(1, Kind::Answer(503)),
        ] {
            let mut events = polls(3, |_| 1);
            events.push(more.clone());
            assert_ne!(one, whole(&events), "{more:?}");
        }
        assert_ne!(one, whole(&polls(1, |_| 1)), "no heartbeat");
    }

    #[test]
    fn a_stage_tells_what_came_in_it_and_knows_what_came_before() {
        let mut events = vec![
            request(1, "GET /", "a"),
            message(1, 0, &["description"]),
            request(2, "GET /", "b"),
        ];
        let start = events.len();
        assert_eq!(Trace::of(&events, start, true), Trace::default());
        events.push(event(1, Kind::CloseFrame(Side::Agent, Some(1000))));
        events.push(request(3, "GET /", "a"));
        let Trace(lines) = Trace::of(&events, start, true);
        let has = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!(has("(before)"), 2, "{lines:#?}");
        assert_eq!(has("still open when the next begins"), 1, "{lines:#?}");
        assert_eq!(has("opamp-settings-hash 1"), 2, "{lines:#?}");
        assert_eq!(has("Some(1000) without a goodbye"), 1, "{lines:#?}");
    }
}
