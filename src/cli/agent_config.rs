//! `opamp-operator agent-config`.

use std::path::PathBuf;

use crate::{
    agent_config::{Agent, find, supervisor},
    config::Config,
    manifest::inputs,
};

#[derive(Debug, clap::Args)]
pub(super) struct AgentConfig {
    /// Files with the profile, as for `validate`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Which, if there are several: NAME or NAMESPACE/NAME.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// The operator's configuration, whose `advertisedURL` serves profiles that
    /// name no endpoint.
    #[arg(long, value_name = "FILE", conflicts_with = "endpoint")]
    config: Option<PathBuf>,
    /// Where the agent connects first, whatever profile and configuration say.
    #[arg(long, value_name = "URL")]
    endpoint: Option<url::Url>,
    #[command(flatten)]
    agent: Agent,
}

impl AgentConfig {
    /// The file.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let inputs = inputs(&self.files, std::io::stdin());
        let profile = find(&inputs, self.profile.as_deref()).map_err(anyhow::Error::msg)?;
        let config = self.config.as_deref().map(Config::read).transpose()?;
        let advertised = config.map(|config| config.advertised_url);
        let endpoint = self.endpoint.as_ref();
        supervisor(&profile, endpoint, advertised.as_ref(), &self.agent).map_err(anyhow::Error::msg)
    }
}
