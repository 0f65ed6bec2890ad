//! Which profile applies, and which give way to it.

use std::collections::BTreeSet;

use opamp_operator_api::values::ProfileKey;

use super::{Agent, LinkId, Transition};
use crate::{
    Now,
    catalog::{Candidates, Choice, overridden},
};

impl Agent {
    /// Chooses a profile, as seen from a link, and records the choice.
    pub fn settle(
        &mut self,
        id: LinkId,
        candidates: &Candidates,
        now: Now,
    ) -> (Choice, Vec<Transition>) {
        let choice = self.choose(id, candidates);
        let before = self.profile.clone();
        let mut transitions = self.chosen(&choice, now);
        if choice == Choice::NotYet {
            return (choice, transitions);
        }
        let lose = self.link(id).map_or_else(Vec::new, |link| {
            let uid = self.uid.to_string();
            overridden(candidates, &self.chooser(link, &uid), &choice)
        });
        if lose == self.overridden {
            return (choice, transitions);
        }
        let taken = before.filter(|before| lose.contains(before));
        transitions.extend(taken.map(Transition::TakenFrom));
        let before = std::mem::replace(&mut self.overridden, lose);
        let all = self.overridden.iter().cloned().chain(before).collect();
        transitions.push(Transition::Overridden(all));
        (choice, transitions)
    }

    /// The profiles that select it too and give way, best first.
    #[must_use]
    pub fn overridden(&self) -> &[ProfileKey] {
        &self.overridden
    }

    /// All profiles whose status counts this agent.
    #[must_use]
    pub fn counted_by(&self) -> BTreeSet<ProfileKey> {
        let all = self.profile.iter().chain(&self.overridden);
        all.cloned().collect()
    }
}
