//! The rows of what the specification asks of a server, as an agent sees them.
//! `tests/requirements` holds the table of rows, and that each has its tests.

mod carriage;
mod credentials;
mod limits;
mod messages;
mod naming;
mod requests;
mod sections;
mod settings;
mod state;
