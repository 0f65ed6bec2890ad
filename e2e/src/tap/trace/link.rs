//! What an agent did over one WebSocket, or with all its polls.

use std::collections::BTreeSet;

use super::super::decode::FromAgent;
use super::super::events::Side;
use super::Names;

/// What a collector has news of, whenever it likes.
const NEWS: [&str; 3] = ["description", "health", "effective config"];

/// A WebSocket, or all polls of one client.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) connections: BTreeSet<u64>,
    /// How it introduced itself.
    pub(super) head: String,
    pub(super) is_websocket: bool,
    /// Whether it began after the start of the trace.
    pub(super) is_new: bool,
    /// The number of its last message.
    pub(super) last: Option<u64>,
    pub(super) ended: bool,
    pub(super) told: Told,
}

/// What came after the start of the trace.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) answers: Vec<u16>,
    pub(super) first: Option<(&'static str, Vec<&'static str>)>,
    pub(super) said: BTreeSet<&'static str>,
    pub(super) capabilities: BTreeSet<u64>,
    pub(super) healthy: Option<bool>,
    /// Offers and reports, each in its order.
    pub(super) heard: Vec<String>,
    pub(super) reports: Vec<String>,
    pub(super) notes: BTreeSet<&'static str>,
    pub(super) end: Option<String>,
}

impl Link {
    pub(super) fn lines(&self, health: bool) -> Vec<String> {
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

    pub(super) fn say(&mut self, message: &FromAgent, names: &mut Names) {
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

    pub(super) fn close(&mut self, by: Side, code: Option<u16>) {
        // Who hears a goodbye may be the first to close: chance decides.
        let parted = self.told.notes.contains("says goodbye");
        self.end(match (parted, by) {
            (true, _) => format!("closed {code:?}"),
            (false, Side::Agent) => format!("closes {code:?} without a goodbye"),
            (false, Side::Operator) => format!("is closed {code:?}"),
        });
    }

    pub(super) fn end(&mut self, how: String) {
        if !std::mem::replace(&mut self.ended, true) {
            self.told.end = Some(how);
        }
    }
}
