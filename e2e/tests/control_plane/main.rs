//! Control-plane tier: a real API server with cert-manager, the real operator
//! under the chart's ServiceAccount, the real Supervisor, and the tap.
//!
//! Everything is judged from outside: the wire (the tap), what the API says and
//! the processes' logs.

mod accounts;
mod admission;
mod agents;
mod authority;
mod broken;
mod certificates;
mod chart;
mod debounce;
mod definitions;
mod identity;
mod isolation;
mod keeper;
mod kinds_of_write;
mod leader;
mod metrics;
mod pages;
mod permissions;
mod privilege;
mod probe;
mod renewal;
mod restart;
mod revocation;
mod rolling;
mod schema;
mod settings;
mod statuses;
mod steps;
mod telemetry;
mod tenants;
mod withdrawn;
