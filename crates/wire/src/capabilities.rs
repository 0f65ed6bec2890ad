//! What the two peers can do, as bits.

use crate::proto;

const fn bit(capability: proto::AgentCapabilities) -> u64 {
    // The protocol's bits are positive: the cast changes none.
    (capability as i32).cast_unsigned() as u64
}

/// What names of the protocol begin with.
const PREFIX: &str = "AgentCapabilities_";

/// An agent's `capabilities`, as it sent them. Bits unknown to this version
/// are kept and mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentCapabilities(pub u64);

macro_rules! agent_capabilities {
    ($($name:ident, $ask:ident, $variant:ident, $doc:literal;)*) => {
        impl AgentCapabilities {
            $(
                #[doc = concat!("The bit of `", stringify!($variant), "`.")]
                pub const $name: u64 = bit(proto::AgentCapabilities::$variant);
            )*

            $(
                #[doc = $doc]
                #[must_use]
                pub const fn $ask(self) -> bool {
                    self.has(Self::$name)
                }
            )*
        }
    };
}

agent_capabilities! {
    REPORTS_STATUS, reports_status, ReportsStatus,
        "Obligatory for every agent.";
    ACCEPTS_REMOTE_CONFIG, accepts_remote_config, AcceptsRemoteConfig,
        "May be sent `remote_config`.";
    REPORTS_EFFECTIVE_CONFIG, reports_effective_config, ReportsEffectiveConfig,
        "Sends `effective_config`.";
    ACCEPTS_PACKAGES, accepts_packages, AcceptsPackages,
        "May be sent `packages_available`.";
    REPORTS_PACKAGE_STATUSES, reports_package_statuses, ReportsPackageStatuses,
        "Sends `package_statuses`.";
    REPORTS_OWN_TRACES, reports_own_traces, ReportsOwnTraces,
        "May be offered `own_traces`.";
    REPORTS_OWN_METRICS, reports_own_metrics, ReportsOwnMetrics,
        "May be offered `own_metrics`.";
    REPORTS_OWN_LOGS, reports_own_logs, ReportsOwnLogs,
        "May be offered `own_logs`.";
    ACCEPTS_OPAMP_CONNECTION_SETTINGS, accepts_opamp_connection_settings,
        AcceptsOpAmpConnectionSettings,
        "May be offered the `opamp` section.";
    ACCEPTS_OTHER_CONNECTION_SETTINGS, accepts_other_connection_settings,
        AcceptsOtherConnectionSettings,
        "May be offered `other_connections`.";
    ACCEPTS_RESTART_COMMAND, accepts_restart_command, AcceptsRestartCommand,
        "May be told to restart.";
    REPORTS_HEALTH, reports_health, ReportsHealth,
        "Sends `health`.";
    REPORTS_REMOTE_CONFIG, reports_remote_config, ReportsRemoteConfig,
        "Sends `remote_config_status`.";
    REPORTS_HEARTBEAT, reports_heartbeat, ReportsHeartbeat,
        "Sends heartbeats; only then does silence mean anything.";
    REPORTS_AVAILABLE_COMPONENTS, reports_available_components, ReportsAvailableComponents,
        "Sends `available_components`.";
    REPORTS_CONNECTION_SETTINGS_STATUS, reports_connection_settings_status,
        ReportsConnectionSettingsStatus,
        "Sends `connection_settings_status`.";
}

impl AgentCapabilities {
    /// All bits, unknown ones too.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Those that this version knows by name, as the specification names them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = (0..u64::BITS).filter_map(move |bit| {
            let capability = i32::try_from(self.0 & (1 << bit)).ok()?;
            proto::AgentCapabilities::try_from(capability).ok()
        });
        let named = known.filter(|known| *known != proto::AgentCapabilities::Unspecified);
        named.filter_map(|known| known.as_str_name().strip_prefix(PREFIX))
    }

    /// The bits of these names; others mean nothing.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let bits = names.into_iter().filter_map(|name| {
            proto::AgentCapabilities::from_str_name(&format!("{PREFIX}{name}")).map(bit)
        });
        Self(bits.fold(0, |all, bit| all | bit))
    }

    /// Whether every bit of `wanted` is set.
    #[must_use]
    pub const fn has(self, wanted: u64) -> bool {
        self.0 & wanted == wanted
    }
}

impl From<u64> for AgentCapabilities {
    fn from(bits: u64) -> Self {
        Self(bits)
    }
}

/// What this server says of itself.
#[derive(Clone, Copy, Debug)]
pub struct ServerCapabilities;

impl ServerCapabilities {
    /// `AcceptsStatus` and `OffersConnectionSettings`: said to every agent,
    /// whatever it can do itself. Agents decide by it whether they report a
    /// connection settings status at all.
    pub const OURS: u64 = proto::ServerCapabilities::AcceptsStatus as u64
        | proto::ServerCapabilities::OffersConnectionSettings as u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m04_ours_is_status_and_offers() {
        assert_eq!(ServerCapabilities::OURS, 0b10_0001);
    }

    #[test]
    fn names_are_those_of_the_specification() {
        let some = AgentCapabilities::from(0x2101 | 1 << 60);
        let names: Vec<_> = some.names().collect();
        let expected = [
            "ReportsStatus",
            "AcceptsOpAMPConnectionSettings",
            "ReportsHeartbeat",
        ];
        assert_eq!(names, expected);
        assert_eq!(AgentCapabilities::from_names(names).bits(), 0x2101);
        assert_eq!(
            AgentCapabilities::from_names(["Unspecified", "x"]).bits(),
            0
        );
        assert_eq!(AgentCapabilities::from(u64::MAX).names().count(), 16);
    }

    #[test]
    fn bits_are_those_of_the_protocol() {
        let accepts = AgentCapabilities::ACCEPTS_OPAMP_CONNECTION_SETTINGS;
        assert_eq!(accepts, 0x100);
        assert_eq!(AgentCapabilities::ACCEPTS_OTHER_CONNECTION_SETTINGS, 0x200);
        assert_eq!(AgentCapabilities::REPORTS_OWN_TRACES, 0x20);
        assert_eq!(AgentCapabilities::REPORTS_OWN_METRICS, 0x40);
        assert_eq!(AgentCapabilities::REPORTS_OWN_LOGS, 0x80);
        assert_eq!(AgentCapabilities::REPORTS_HEARTBEAT, 0x2000);
        let status = AgentCapabilities::REPORTS_CONNECTION_SETTINGS_STATUS;
        assert_eq!(status, 0x8000);
    }

    #[test]
    fn each_answer_is_its_own_bit() {
        let metrics = AgentCapabilities(AgentCapabilities::REPORTS_OWN_METRICS);
        assert!(metrics.reports_own_metrics());
        assert!(!metrics.reports_own_traces() && !metrics.reports_own_logs());
        assert!(!metrics.accepts_opamp_connection_settings());
        assert!(!AgentCapabilities::default().reports_status());
    }

    #[test]
    fn m14_unknown_bits_are_kept_and_ignored() {
        let odd = AgentCapabilities::from(1 << 63 | AgentCapabilities::REPORTS_HEARTBEAT);
        assert!(odd.reports_heartbeat() && !odd.reports_connection_settings_status());
        assert_eq!(odd.bits() >> 63, 1);
    }
}
