//! The world of a directory-tier test: a scene around a directory of manifests.

use std::ops::{Deref, DerefMut};

use anyhow::Result;

use crate::manifests::{CLIENT_TLS, Manifests, basics, mutual_tls, offerable_tls, profile};
use crate::operator::Backend;
use crate::parts::Set;
use crate::pki::{DAY, KeyKind, Leaf, Window};
use crate::scene::Scene;
pub use crate::scene::{OFFER, PROFILE, SOON, Setup};
use crate::state::State;

/// Everything a test of the directory tier has.
pub struct World {
    scene: Scene,
    /// What the operator watches.
    pub manifests: Manifests,
}

/// Most of what a test asks of its world is asked of the scene in it.
impl Deref for World {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }
}

impl World {
    /// Makes a scene and the manifests of a serving certificate, CAs and a
    /// bootstrap token; nothing runs yet but the tap.
    ///
    /// # Errors
    /// When a part is missing or something cannot be made.
    pub async fn new(name: &str, setup: Setup) -> Result<Self> {
        Self::with(name, setup, Set::Directory).await
    }

    /// As [`World::new`], with another set of parts.
    ///
    /// # Errors
    /// When a part is missing or something cannot be made.
    pub async fn with(name: &str, setup: Setup, parts: Set) -> Result<Self> {
        let scene = Scene::new(name, setup, parts).await?;
        let manifests = Manifests::new(&scene.folder().join("manifests"))?;
        for object in basics(&scene.pki, scene.bootstrap_token()) {
            manifests.apply(&object)?;
        }
        Ok(Self { scene, manifests })
    }

    /// As [`World::new`], with the standard profile (mutual TLS) and a running
    /// operator; returns the certificate that agents are to be given.
    ///
    /// # Errors
    /// When something cannot be made or the operator does not start.
    pub async fn with_mutual_tls(name: &str, setup: Setup) -> Result<(Self, Leaf)> {
        let mut world = Self::new(name, setup).await?;
        let leaf = world.client_leaf("fleet-1", KeyKind::EcdsaP256, Window::lasting(30 * DAY))?;
        world.publish_mutual_tls(&leaf)?;
        world.start_operator().await?;
        Ok((world, leaf))
    }

    /// Writes the standard profile and its certificate.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn publish_mutual_tls(&self, leaf: &Leaf) -> Result<()> {
        self.manifests.apply(&offerable_tls(CLIENT_TLS, leaf))?;
        self.manifests.apply(&profile(PROFILE, &mutual_tls()))
    }

    /// Starts the operator on the manifests.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_operator(&mut self) -> Result<()> {
        let backend = Backend::Directory {
            manifests: self.manifests.folder().to_owned(),
            state: self.state().folder().to_owned(),
        };
        self.run_operator(backend).await
    }

    /// What the operator says about profiles and agents.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(&self.folder().join("operator/state"))
    }

    /// The end of a world that nobody wants to judge: everything stops, nothing is printed.
    pub fn abandon(self) {
        self.scene.abandon();
    }

    /// The end of every good test: looks for leaks, also in the state files.
    ///
    /// # Errors
    /// When a secret leaked or the operator does not end as it should.
    pub async fn finish(self) -> Result<()> {
        let state = self.state();
        let nothing_more = async || Ok(Vec::new());
        self.scene.finish(&[state.folder()], nothing_more).await
    }
}
