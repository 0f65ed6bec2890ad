//! What becomes of a configuration whose file changes while the process runs.

use super::Config;

impl Config {
    /// This one with whatever of `new` takes effect without a restart.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        Self {
            authenticators: new.authenticators.clone(),
            anonymous: new.anonymous.clone(),
            deny_list: new.deny_list.clone(),
            home_namespaces: new.home_namespaces.clone(),
            retirement_hours: new.retirement_hours,
            ..self.clone()
        }
    }

    /// Fields in which `new` differs that take effect with the next start.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        // A new field must say here whether it is one of them.
        let Self {
            api_version: _,
            kind: _,
            namespace,
            listen,
            path,
            advertised_url,
            serving_certificate,
            lease_name,
            admin,
            shutdown,
            admin_namespaces,
            watch_namespaces,
            home_namespaces: _,
            policy,
            authenticators: _,
            anonymous: _,
            deny_list: _,
            retirement_hours: _,
            review_seconds,
            debounce_milliseconds,
            first_agent_timeout_seconds,
            restart_hold_seconds,
            telemetry,
            limits,
        } = self;
        let differs = [
            ("namespace", *namespace != new.namespace),
            ("listen", *listen != new.listen),
            ("path", *path != new.path),
            ("advertisedURL", *advertised_url != new.advertised_url),
            (
                "servingCertificate",
                *serving_certificate != new.serving_certificate,
            ),
            ("leaseName", *lease_name != new.lease_name),
            ("admin", *admin != new.admin),
            ("shutdown", *shutdown != new.shutdown),
            ("adminNamespaces", *admin_namespaces != new.admin_namespaces),
            ("watchNamespaces", *watch_namespaces != new.watch_namespaces),
            ("policy", *policy != new.policy),
            ("reviewSeconds", *review_seconds != new.review_seconds),
            (
                "debounceMilliseconds",
                *debounce_milliseconds != new.debounce_milliseconds,
            ),
            (
                "firstAgentTimeoutSeconds",
                *first_agent_timeout_seconds != new.first_agent_timeout_seconds,
            ),
            (
                "restartHoldSeconds",
                *restart_hold_seconds != new.restart_hold_seconds,
            ),
            ("telemetry", *telemetry != new.telemetry),
            ("limits", *limits != new.limits),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(name, _)| name).collect()
    }
}
