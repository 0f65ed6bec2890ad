//! What a test chooses of its operator, and how long it waits for what.

use std::time::Duration;

use serde_json::Value;

/// How long anything may take that should take a moment, on a busy machine.
pub const SOON: Duration = Duration::from_secs(40);

/// Longer than the least time between two offers to one agent.
pub const OFFER: Duration = Duration::from_mins(1);

/// The profile of the standard manifests.
pub const PROFILE: &str = "fleet";

/// Everything the operator itself has to say.
const OWN_LOG: &str = "info,opamp_operator=debug,opamp_operator_core=debug";

/// What a scene is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long the operator gathers changes.
    pub debounce: Duration,
    /// How long the operator waits for a first agent's evidence.
    pub first_agent: Duration,
    /// How long an operator without memory waits before it offers.
    pub restart_hold: Duration,
    /// Replaces the standard authenticators.
    pub authenticators: Option<Value>,
    /// More of the operator's configuration.
    pub configuration: Value,
    /// What the operator logs.
    pub log: &'static str,
    /// In which form: `text` or `json`.
    pub log_format: &'static str,
    /// Prints the timeline as it grows, and leaves signals to the caller.
    pub echo: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(300),
            first_agent: Duration::from_mins(2),
            restart_hold: Duration::from_secs(4),
            authenticators: None,
            configuration: Value::Null,
            log: OWN_LOG,
            log_format: "text",
            echo: false,
        }
    }
}
