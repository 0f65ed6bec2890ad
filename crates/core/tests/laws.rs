//! The laws of the design, by their numbers, on the decision core alone.

#[cfg(test)]
mod common;

#[cfg(test)]
#[path = "laws/apart.rs"]
mod apart;

#[cfg(test)]
#[path = "laws/calm.rs"]
mod calm;

#[cfg(test)]
#[path = "laws/catalog.rs"]
mod catalog;

#[cfg(test)]
#[path = "laws/changes.rs"]
mod changes;

#[cfg(test)]
#[path = "laws/choice.rs"]
mod choice;

#[cfg(test)]
#[path = "laws/clones.rs"]
mod clones;

#[cfg(test)]
#[path = "laws/conditions.rs"]
mod conditions;

#[cfg(test)]
#[path = "laws/connection.rs"]
mod connection;

#[cfg(test)]
#[path = "laws/evidence.rs"]
mod evidence;

#[cfg(test)]
#[path = "laws/external.rs"]
mod external;

#[cfg(test)]
#[path = "laws/identity.rs"]
mod identity;

#[cfg(test)]
#[path = "laws/jwt.rs"]
mod jwt;

#[cfg(test)]
#[path = "laws/leaks.rs"]
mod leaks;

#[cfg(test)]
#[path = "laws/lease.rs"]
mod lease;

#[cfg(test)]
#[path = "laws/links.rs"]
mod links;

#[cfg(test)]
#[path = "laws/material.rs"]
mod material;

#[cfg(test)]
#[path = "laws/memory.rs"]
mod memory;

#[cfg(test)]
#[path = "laws/offers.rs"]
mod offers;

#[cfg(test)]
#[path = "laws/overlap.rs"]
mod overlap;

#[cfg(test)]
#[path = "laws/polls.rs"]
mod polls;

#[cfg(test)]
#[path = "laws/rollout.rs"]
mod rollout;

#[cfg(test)]
#[path = "laws/sections.rs"]
mod sections;

#[cfg(test)]
#[path = "laws/status.rs"]
mod status;

#[cfg(test)]
#[path = "laws/withdrawn.rs"]
mod withdrawn;
