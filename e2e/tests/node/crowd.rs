//! Many agents at once: doubles of the supervisor on the node, which dial the
//! Service by its name and have a token of the same ServiceAccount.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::double::{Double, Mode, Options, VERIFY};
use e2e::eventually::{Look, eventually};
use e2e::node::{NodeWorld, TEAM, pods};
use e2e::scene::SOON;
use e2e::timeline::Timeline;
use serde_json::json;

/// The crowd.
pub(crate) struct Crowd {
    doubles: Vec<Double>,
    timeline: Timeline,
}

/// What one of them lived through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lived {
    offers: usize,
    connections: usize,
    refusals: usize,
    /// The time between two connections, where the last one ended.
    gap: Duration,
}

impl Crowd {
    pub(crate) async fn start(
        world: &NodeWorld,
        endpoint: &str,
        ca: &str,
        count: usize,
    ) -> Result<Self> {
        let spec = json!({"audiences": [pods::AUDIENCE], "expirationSeconds": 3600});
        let team = world.api.within(TEAM);
        let token = team.token_with(pods::ACCOUNT, &spec).await?;
        let timeline = Timeline::start(false);
        let options = Options {
            mode: Mode::Legacy0,
            endpoint: endpoint.to_owned(),
            token,
            ca: ca.to_owned(),
            accepts_settings: true,
            attributes: Vec::new(),
            verify: VERIFY,
            loses_marker: false,
            uid: None,
            timeline: timeline.clone(),
        };
        let start = |number| Double::start(&format!("double-{number}"), options.clone());
        let doubles = (0..count).map(start).collect::<Result<_>>()?;
        let crowd = Self { doubles, timeline };
        let here = || {
            let lived = crowd.lived();
            let here = lived.values().filter(|lived| lived.connections > 0).count();
            let last = crowd.timeline.entries().pop();
            Look::when(here == count, format!("{here} of {count}; {last:?}"))
        };
        eventually("every double is connected", SOON, here).await?;
        Ok(crowd)
    }

    pub(crate) fn len(&self) -> usize {
        self.doubles.len()
    }

    pub(crate) fn lived(&self) -> BTreeMap<String, Lived> {
        let mut all: BTreeMap<String, (Lived, Option<Duration>)> = BTreeMap::new();
        for entry in self.timeline.entries() {
            let (lived, left) = all.entry(entry.who).or_default();
            match &*entry.what {
                "is offered settings" => lived.offers += 1,
                "is disconnected" => *left = Some(entry.at),
                "is connected" => {
                    lived.connections += 1;
                    lived.gap = entry.at.saturating_sub(left.unwrap_or(entry.at));
                }
                refused if refused.starts_with("is refused") => lived.refusals += 1,
                _ => {}
            }
        }
        let all = all.into_iter().map(|(who, (lived, _))| (who, lived));
        all.collect()
    }

    /// Waits until each has connected anew since `before`, was offered nothing
    /// and was not refused; returns the longest time that one was away.
    pub(crate) async fn is_back(
        &self,
        before: &BTreeMap<String, Lived>,
        within: Duration,
    ) -> Result<Duration> {
        let back = || {
            let now = self.lived();
            let back = |who: &String| now[who].connections > before[who].connections;
            let count = before.keys().filter(|who| back(who)).count();
            Look::when(count == self.len(), format!("{count} of {}", self.len()))
        };
        eventually("every double came back", within, back).await?;
        let now = self.lived();
        for (who, then) in before {
            let now = &now[who];
            let calm = now.offers == then.offers && now.refusals == then.refusals;
            ensure!(calm, "{who}: {now:?} after {then:?}");
        }
        Ok(now
            .values()
            .map(|lived| lived.gap)
            .max()
            .unwrap_or_default())
    }
}
