//! An agent made of opamp-go's client library alone: it takes no settings,
//! and what it says it takes can change while it is connected.

use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;
use uuid::Uuid;

use crate::manifests::write_atomically;
use crate::process::{LogMark, Process};
use crate::scene::{SOON, Scene};

/// The client's process.
#[derive(Debug)]
pub struct GoClient {
    process: Process,
    uid: String,
}

impl GoClient {
    /// Starts one that does not take connection settings, with the scene's
    /// bootstrap token, against the scene's tap.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, scene: &Scene) -> Result<Self> {
        let folder = scene.folder().join("clients").join(name);
        std::fs::create_dir_all(&folder)?;
        let (token, ca) = (folder.join("token"), folder.join("server-ca.pem"));
        write_atomically(&token, scene.bootstrap_token())?;
        write_atomically(&ca, scene.pki.server_ca.pem())?;
        let uid = Uuid::now_v7();
        let mut command = Command::new(scene.parts().path("opamp-go-client")?);
        command
            .args(["-endpoint", &scene.tap.url("wss"), "-uid"])
            .arg(uid.simple().to_string())
            .arg("-token-file")
            .arg(token)
            .arg("-ca-file")
            .arg(ca);
        let process = Process::spawn(name, command, &folder.join("log"))?;
        Ok(Self {
            process,
            uid: uid.to_string(),
        })
    }

    /// Its instance UID.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// From now on it says that it takes connection settings, or that it does not.
    ///
    /// # Errors
    /// When it does not hear.
    pub async fn accepts_settings(&mut self, accepts: bool) -> Result<()> {
        let mark = LogMark::end_of(self.process.log());
        let signal = if accepts { Signal::USR1 } else { Signal::USR2 };
        self.process.signal(signal)?;
        let said = self.process.wait_for_log("capabilities", mark, SOON);
        said.await.map(drop)
    }
}
