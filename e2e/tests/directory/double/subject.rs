//! Whoever plays the supervisor in a scenario, and how their traces compare.

use anyhow::{Result, ensure};
use e2e::double::{self, Double, Mode, VERIFY};
use e2e::scene::Scene;
use e2e::supervisor::{Options, Release};
use e2e::tap::Trace;
use uuid::Uuid;

/// Everyone that a scenario is played with: both real supervisors, and the
/// double that stands for them.
pub(crate) const EVERYONE: [Player; 3] = [
    Player::Real(Release::V0_158),
    Player::Real(Release::V0_149),
    Player::Double(Mode::Legacy0),
];

/// Who plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Player {
    Real(Release),
    Double(Mode),
}

impl Player {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Real(Release::V0_158) => "real-158",
            Self::Real(Release::V0_149) => "real-149",
            Self::Double(Mode::Legacy0) => "double",
            Self::Double(Mode::Legacy) => "modelled-unverified-legacy",
            Self::Double(Mode::Persist) => "modelled-unverified-persist",
        }
    }
}

/// A player with its agent.
pub(crate) struct Subject {
    pub(crate) player: Player,
    pub(crate) uid: String,
    double: Option<Double>,
    /// Its trace, stage by stage.
    pub(crate) stages: Vec<(&'static str, Trace)>,
    seen: usize,
}

impl Subject {
    /// Starts the player's agent, with a bootstrap token.
    pub(crate) async fn start(scene: &mut Scene, player: Player) -> Result<Self> {
        let mut double = None;
        let uid = match player {
            Player::Real(release) => {
                let options = Options {
                    release,
                    ..scene.supervisor_options(player.name())
                };
                scene.supervisor_with(player.name(), &options).await?
            }
            Player::Double(mode) => {
                let started = Double::start(player.name(), double_options(scene, mode))?;
                double.insert(started).uid()
            }
        };
        Ok(Self {
            player,
            uid,
            double,
            stages: Vec::new(),
            seen: 0,
        })
    }

    /// Ends what happened so far as a stage.
    pub(crate) fn stage(&mut self, scene: &Scene, name: &'static str, health: bool) {
        let events = scene.tap.record().events_of(&self.uid);
        let trace = Trace::of(&events, self.seen, health);
        self.seen = events.len();
        self.stages.push((name, trace));
    }

    /// From now on it is known by this name; its trace begins anew.
    pub(crate) fn is_renamed(&mut self, name: Uuid) {
        self.uid = name.to_string();
        self.seen = 0;
    }

    /// Kills its process and starts it again on the same disk.
    pub(crate) async fn restart(&mut self, scene: &mut Scene) -> Result<()> {
        scene.timeline.note(self.player.name(), "is killed");
        if let Some(double) = &mut self.double {
            double.kill9().await;
            return double.start_again();
        }
        let supervisor = scene.supervisor_mut(self.player.name())?;
        supervisor.kill9()?;
        supervisor.start_again()
    }

    pub(crate) fn double(&self) -> Option<&Double> {
        self.double.as_ref()
    }
}

/// What a double's file would say.
pub(crate) fn double_options(scene: &Scene, mode: Mode) -> double::Options {
    double::Options {
        mode,
        endpoint: scene.tap.url("wss"),
        token: scene.bootstrap_token().to_owned(),
        ca: scene.pki.server_ca.pem().to_owned(),
        accepts_settings: true,
        attributes: vec![("e2e.agent".to_owned(), "double".to_owned())],
        verify: VERIFY,
        loses_marker: false,
        uid: None,
        timeline: scene.timeline.clone(),
    }
}

/// Every double did what the supervisor did that it plays, and both releases
/// did the same.
pub(crate) fn agree(subjects: &[Subject]) -> Result<()> {
    let Some((first, others)) = subjects.split_first() else {
        return Ok(());
    };
    for other in others {
        for ((stage, one), (_, another)) in first.stages.iter().zip(&other.stages) {
            ensure!(
                one == another,
                "{stage}: {} and {} differ\n--- {0}\n{one}--- {1}\n{another}",
                first.player.name(),
                other.player.name(),
            );
        }
        ensure!(first.stages.len() == other.stages.len());
    }
    Ok(())
}
