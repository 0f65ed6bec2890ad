//! opamp-operator: I/O and composition around `opamp-operator-core`.
//!
//! ```text
//!  Secret, ConfigMap ─┐                                                      ┌─ WebSocket ─┐
//!                     ├─ backend ─► catalog ─ resolve ─► Target ─ hub ──────►│    link     │──► agent
//!  Profile ───────────┘      ▲                                               └─ HTTP ──────┘      │
//!                            └─ report ◄─ status ◄─ records ◄─ Transition ◄── Agent ◄─ evidence ◄─┘
//! ```

pub mod admin;
pub mod agent_config;
pub mod app;
pub mod backend;
pub mod cli;
pub mod config;
pub mod controller;
pub mod crd;
pub mod hub;
pub mod judge;
pub mod manifest;
pub mod metrics;
pub mod server;
pub mod telemetry;
pub mod validate;
