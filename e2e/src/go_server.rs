//! A server that nobody here wrote: opamp-go's, for agents that are sent away.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::eventually::{Look, eventually};
use crate::manifests::write_atomically;
use crate::pki::Leaf;
use crate::process::{LogMark, Process, read_from};
use crate::scene::{SOON, Scene};

/// The name of its part.
const NAME: &str = "opamp-go-server";

/// The server's process.
#[derive(Debug)]
pub struct GoServer {
    process: Process,
    url: String,
}

/// A connection on which an agent described itself, as the server saw it.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Whether its `Authorization` was the one that is demanded.
    pub authorized: bool,
    /// Whether it goes on.
    pub open: bool,
    headers: Value,
}

impl Visit {
    /// The first value of a header of its request; `Authorization` is never there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.as_object()?.iter();
        let found = all.find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.and_then(|(_, values)| values[0].as_str())
    }
}

impl GoServer {
    /// Starts one with a certificate, and with the `Authorization` that it
    /// demands of everyone.
    ///
    /// # Errors
    /// When it does not start to listen.
    pub async fn start(scene: &Scene, serving: &Leaf, authorization: &str) -> Result<Self> {
        let folder = scene.folder().join(NAME);
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new(scene.parts().path(NAME)?);
        for (flag, text) in [
            ("--certificate-file", serving.certificate.as_str()),
            ("--key-file", &serving.key),
            ("--authorization-file", authorization),
        ] {
            let file = folder.join(flag.trim_start_matches('-'));
            write_atomically(&file, text)?;
            command.arg(flag).arg(file);
        }
        let log = scene.logs().join(format!("{NAME}.log"));
        let mut process = Process::spawn(NAME, command, &log)?;
        let says = process.wait_for_log("serves ", LogMark::default(), SOON);
        let url = says.await?.trim_start_matches("serves ").trim().to_owned();
        scene.timeline.add(NAME, format!("serves {url}"));
        Ok(Self { process, url })
    }

    /// Where agents connect.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The connections on which an agent described itself, oldest first.
    #[must_use]
    pub fn visits(&self, uid: &str) -> Vec<Visit> {
        let log = read_from(self.process.log(), LogMark::default());
        let lines = |word: &'static str| {
            let mine = log.lines().filter_map(move |line| line.strip_prefix(word));
            mine.filter_map(|line| serde_json::from_str::<Value>(line).ok())
        };
        let about = |word, number: &Value| lines(word).find(|line| line["number"] == *number);
        let visit = |connection: Value| Visit {
            authorized: connection["authorization"] == "matches",
            open: about("closed ", &connection["number"]).is_none(),
            headers: connection["headers"].clone(),
        };
        let its = |connection: &Value| {
            about("agent ", &connection["number"]).is_some_and(|agent| agent["uid"] == uid)
        };
        lines("connection ").filter(its).map(visit).collect()
    }

    /// Waits until an agent has come for the `nth` time, counted from 1.
    ///
    /// # Errors
    /// When the deadline passes.
    pub async fn visit(&self, uid: &str, nth: usize, within: Duration) -> Result<Visit> {
        let what = format!("agent {uid} comes to {NAME}, visit {nth}");
        eventually(&what, within, || {
            let all = self.visits(uid);
            Look::some(all.get(nth - 1).cloned(), format!("{all:?}"))
        })
        .await
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end with success, or ended before.
    pub async fn stop(mut self) -> Result<()> {
        let status = self.process.stop().await;
        let status = status.with_context(|| format!("{NAME} does not stop"))?;
        ensure!(status.success(), "{NAME} ended with {status}");
        Ok(())
    }
}
