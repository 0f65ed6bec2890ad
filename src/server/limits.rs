//! Law 10: every bound of the server, in one place.

use std::time::Duration;

use serde::Deserialize;

/// Bounds of the server; all configurable under `limits`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Open TCP connections.
    pub connections: usize,
    /// Agents that are remembered.
    pub agents: usize,
    /// Largest message or body, in bytes, after decompression.
    pub message_bytes: usize,
    /// Time for TLS and for a request's head, in seconds.
    pub handshake_seconds: u64,
    /// Time to the first message of a WebSocket, in seconds.
    pub first_message_seconds: u64,
    /// Time for one write, in seconds: a reader that does not read.
    pub write_seconds: u64,
    /// Silence after which a WebSocket is pinged, in seconds; closed after twice that.
    pub idle_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            agents: 100_000,
            // The specification's default is 64 MiB; an agent that reports its
            // configuration and its components stays far below this.
            message_bytes: 4 * 1024 * 1024,
            handshake_seconds: 10,
            first_message_seconds: 30,
            write_seconds: 30,
            idle_seconds: 300,
        }
    }
}

impl Limits {
    /// See [`Self::handshake_seconds`].
    #[must_use]
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds.max(1))
    }

    /// See [`Self::first_message_seconds`].
    #[must_use]
    pub fn first_message(&self) -> Duration {
        Duration::from_secs(self.first_message_seconds.max(1))
    }

    /// See [`Self::write_seconds`].
    #[must_use]
    pub fn write(&self) -> Duration {
        Duration::from_secs(self.write_seconds.max(1))
    }

    /// See [`Self::idle_seconds`].
    #[must_use]
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.max(1))
    }
}
