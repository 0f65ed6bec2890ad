//! Directory tier: the real operator binary, the real Supervisor with a real
//! collector, and the tap between them.  No cluster.
//!
//! Everything is judged from outside: the wire (the tap), the operator's state
//! files and the processes' logs.

mod agent_config;
mod broken;
mod browser;
mod capabilities;
mod changes;
mod counterparts;
mod double;
mod edits;
mod explain;
mod external;
mod fleet;
mod identity;
mod monitoring;
mod overload;
mod pages;
mod polling;
mod restart;
mod rotation;
mod settings;
mod steps;
mod telemetry;
mod traces;
