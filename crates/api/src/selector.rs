//! Whether a selector means an agent.

use std::fmt;

use crate::{
    v1alpha1::profile::{
        AgentSelector, AttributeExpression, AttributeOperator, AttributeScope, AuthenticatedAs,
    },
    values::{Attributes, Found, Identity, IdentityMethod},
};

/// How the subject of a certificate begins that is named by a URI among its
/// subject alternative names, or else by its common name. A CA that checks the
/// one may leave the other to whoever asks.
pub const URI_SUBJECT: &str = "URI:";
/// See [`URI_SUBJECT`].
pub const COMMON_NAME_SUBJECT: &str = "CN:";

/// A part of a selector that does not agree with an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mismatch<'a> {
    /// `authenticatedAs` names another identity.
    Identity,
    /// `instanceUIDs` lacks the agent's.
    InstanceUid,
    /// An attribute has another value, or is missing.
    Attribute {
        /// Its key.
        key: &'a str,
        /// What the selector wants.
        value: &'a str,
        /// What the agent has.
        found: Found<'a>,
    },
    /// A condition does not hold.
    Expression {
        /// Which of `matchExpressions`, from 0.
        index: usize,
        /// The condition.
        expression: &'a AttributeExpression,
        /// What the agent has.
        found: Found<'a>,
    },
}

/// What an agent says of itself is not repeated: it may be anything.
impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |found, value| match found {
            Found::Value(_) => value,
            Found::Unread => {
                "one whose value is longer than 1024 bytes or no scalar, which no selector can judge"
            }
            Found::Unknown => "more than 64 attributes, and not all of them are looked at",
            Found::Nothing => "none",
        };
        match *self {
            Self::Identity => {
                f.write_str("`authenticatedAs` names none that is what the agent proved to be")
            }
            Self::InstanceUid => f.write_str("`instanceUIDs` lacks the agent's"),
            Self::Attribute { key, value, found } => write!(
                f,
                "`matchAttributes` wants `{key}` to be `{value}`; the agent has {}",
                has(found, "another value")
            ),
            Self::Expression {
                index,
                expression,
                found,
            } => {
                let AttributeExpression { key, operator, .. } = expression;
                write!(f, "`matchExpressions[{index}]` wants `{key}` {operator:?}")?;
                if !expression.values.is_empty() {
                    write!(f, " ({})", expression.values.join(", "))?;
                }
                if expression.scope != AttributeScope::Any {
                    write!(f, " among {:?} attributes", expression.scope)?;
                }
                write!(f, "; the agent has {}", has(found, "one that is not so"))
            }
        }
    }
}

impl AgentSelector {
    /// Whether all parts of the selector agree with the agent. An empty
    /// selector means every agent. Without an identity nothing can be said of
    /// `authenticatedAs`, and it does not count.
    #[must_use]
    pub fn matches(&self, uid: &str, identity: Option<&Identity>, attributes: &Attributes) -> bool {
        self.mismatch(uid, identity, attributes).is_none()
    }

    /// The first part of the selector that does not agree with the agent.
    #[must_use]
    pub fn mismatch<'a>(
        &'a self,
        uid: &str,
        identity: Option<&Identity>,
        attributes: &'a Attributes,
    ) -> Option<Mismatch<'a>> {
        let means = |identity| self.authenticated_as.iter().any(|one| one.means(identity));
        let proved = self.authenticated_as.is_empty() || identity.is_none_or(means);
        if !proved {
            return Some(Mismatch::Identity);
        }
        let named = self.instance_uids.is_empty() || self.instance_uids.iter().any(|u| u == uid);
        if !named {
            return Some(Mismatch::InstanceUid);
        }
        let unequal = |(key, value): (&'_ String, &'_ String)| {
            let found = attributes.get(key, AttributeScope::Any);
            found != Some(value)
        };
        let found = |key, scope| attributes.find(key, scope);
        let mut wanted = self.match_attributes.iter();
        if let Some((key, value)) = wanted.find(|wanted| unequal(*wanted)) {
            return Some(Mismatch::Attribute {
                key,
                value,
                found: found(key, AttributeScope::Any),
            });
        }
        let mut expressions = self.match_expressions.iter().enumerate();
        let (index, expression) = expressions.find(|(_, one)| !one.holds(attributes))?;
        Some(Mismatch::Expression {
            index,
            expression,
            found: found(&expression.key, expression.scope),
        })
    }

    /// Whether the selector looks at what an agent says about itself, so that
    /// it cannot be judged before the agent's description is known.
    #[must_use]
    pub fn reads_attributes(&self) -> bool {
        !self.match_attributes.is_empty() || !self.match_expressions.is_empty()
    }
}

impl AuthenticatedAs {
    fn means(&self, identity: &Identity) -> bool {
        let subject = identity.subject.as_str();
        let by = |method, authenticator: Option<&str>| {
            identity.method == method
                && authenticator.is_none_or(|name| name == identity.authenticator)
        };
        let service_account = self.service_account.as_ref().is_some_and(|account| {
            by(IdentityMethod::ServiceAccount, None) && account.name == subject
        });
        let token = self.agent_token.as_ref().is_some_and(|token| {
            by(IdentityMethod::AgentToken, None) && token.secret_name == subject
        });
        let certificate = self.certificate.as_ref().is_some_and(|certificate| {
            let uri = |prefix: &String| {
                subject
                    .strip_prefix(URI_SUBJECT)
                    .is_some_and(|uri| uri.starts_with(prefix))
            };
            let common_name =
                |name: &String| subject.strip_prefix(COMMON_NAME_SUBJECT) == Some(name);
            by(
                IdentityMethod::ClientCertificate,
                Some(&certificate.authenticator),
            ) && certificate.uri_san_prefix.as_ref().is_none_or(uri)
                && certificate.common_name.as_ref().is_none_or(common_name)
        });
        let jwt = self.jwt.as_ref().is_some_and(|jwt| {
            let named = |name: &String| name == subject;
            by(IdentityMethod::Jwt, Some(&jwt.authenticator))
                && jwt.subject.as_ref().is_none_or(named)
        });
        service_account || token || certificate || jwt
    }
}

impl AttributeExpression {
    fn holds(&self, attributes: &Attributes) -> bool {
        use AttributeOperator::{DoesNotExist, Exists, In, NotIn};
        let listed = |found: &str| self.values.iter().any(|value| value == found);
        // What is not known is no reason to give an agent anything.
        match (self.operator, attributes.find(&self.key, self.scope)) {
            (In, Found::Value(found)) => listed(found),
            (NotIn, Found::Value(found)) => !listed(found),
            (Exists, Found::Value(_) | Found::Unread) | (NotIn | DoesNotExist, Found::Nothing) => {
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "0192aaaa-0000-7000-8000-000000000001";

    fn collector() -> Attributes {
        serde_json::from_value(json!({
            "identifying": {"service.name": "otelcol", "zone": "identifying"},
            "nonIdentifying": {"os.type": "linux", "zone": "other"},
        }))
        .unwrap()
    }

    fn matches(selector: Value) -> bool {
        let selector: AgentSelector = serde_json::from_value(selector).unwrap();
        selector.matches(UID, None, &collector())
    }

    fn expression(expression: &Value) -> bool {
        matches(json!({"matchExpressions": [expression]}))
    }

    #[test]
    fn empty_means_all_and_reads_nothing() {
        assert!(matches(json!({})));
        assert!(!AgentSelector::default().reads_attributes());
        assert!(AgentSelector::default().matches(UID, None, &Attributes::default()));
    }

    #[test]
    fn attributes_must_be_equal_identifying_first() {
        assert!(matches(
            json!({"matchAttributes": {"service.name": "otelcol", "os.type": "linux"}})
        ));
        assert!(!matches(
            json!({"matchAttributes": {"service.name": "otelcol", "os.type": "windows"}})
        ));
        assert!(!matches(json!({"matchAttributes": {"absent": ""}})));
        assert!(matches(json!({"matchAttributes": {"zone": "identifying"}})));
        assert!(!matches(json!({"matchAttributes": {"zone": "other"}})));
    }

    #[test]
    fn uids_are_a_list_of_names() {
        assert!(matches(json!({"instanceUIDs": [UID]})));
        assert!(!matches(
            json!({"instanceUIDs": ["0192aaaa-0000-7000-8000-000000000002"]})
        ));
        assert!(!matches(
            json!({"instanceUIDs": [UID], "matchAttributes": {"os.type": "windows"}})
        ));
        let selector: AgentSelector =
            serde_json::from_value(json!({"instanceUIDs": [UID]})).unwrap();
        assert!(!selector.reads_attributes());
    }

    #[test]
    fn an_identity_is_one_of_those_that_are_named() {
        let identity = |method, authenticator: &str, subject: &str| Identity {
            namespace: "a".into(),
            method,
            authenticator: authenticator.into(),
            subject: subject.into(),
        };
        use IdentityMethod::{AgentToken, ClientCertificate, Jwt, ServiceAccount};
        let agents = [
            identity(ServiceAccount, "cluster", "collector"),
            identity(AgentToken, "bootstrap", "collector"),
            identity(ClientCertificate, "fleet", "URI:spiffe://x/a/one"),
            identity(ClientCertificate, "fleet", "CN:spiffe://x/a/one"),
            identity(ClientCertificate, "other", "URI:spiffe://x/a/one"),
            identity(Jwt, "ci", "collector"),
            identity(Jwt, "ci", "other"),
        ];
        let cases = [
            (json!({"serviceAccount": {"name": "collector"}}), vec![0]),
            (json!({"agentToken": {"secretName": "collector"}}), vec![1]),
            (
                json!({"certificate": {"authenticator": "fleet"}}),
                vec![2, 3],
            ),
            (
                json!({"certificate": {"authenticator": "fleet", "uriSANPrefix": "spiffe://x/a/"}}),
                vec![2],
            ),
            (
                json!({"certificate": {"authenticator": "fleet", "commonName": "spiffe://x/a/one"}}),
                vec![3],
            ),
            (json!({"jwt": {"authenticator": "ci"}}), vec![5, 6]),
            (
                json!({"jwt": {"authenticator": "ci", "subject": "other"}}),
                vec![6],
            ),
            (json!({"jwt": {"authenticator": "else"}}), vec![]),
        ];
        for (wanted, expected) in cases {
            let selector: AgentSelector =
                serde_json::from_value(json!({"authenticatedAs": [wanted]})).unwrap();
            let found: Vec<_> = (0..agents.len())
                .filter(|n| selector.matches(UID, Some(&agents[*n]), &collector()))
                .collect();
            assert_eq!(found, expected, "{wanted}");
            assert!(selector.matches(UID, None, &collector()));
        }
    }

    #[test]
    fn expressions_follow_their_operator() {
        assert!(expression(
            &json!({"key": "os.type", "operator": "In", "values": ["linux", "darwin"]})
        ));
        assert!(!expression(
            &json!({"key": "os.type", "operator": "In", "values": ["darwin"]})
        ));
        assert!(!expression(
            &json!({"key": "absent", "operator": "In", "values": ["x"]})
        ));
        assert!(!expression(
            &json!({"key": "os.type", "operator": "NotIn", "values": ["linux"]})
        ));
        assert!(expression(
            &json!({"key": "absent", "operator": "NotIn", "values": ["x"]})
        ));
        assert!(expression(&json!({"key": "os.type", "operator": "Exists"})));
        assert!(!expression(
            &json!({"key": "os.type", "operator": "DoesNotExist"})
        ));
        assert!(expression(
            &json!({"key": "absent", "operator": "DoesNotExist"})
        ));
    }

    /// What an agent can make too long must not select anything for it.
    #[test]
    fn what_was_not_kept_is_there_and_is_nothing_that_is_named() {
        let mut attributes = collector();
        attributes.unread_identifying.keys.insert("env".into());
        let judged = |attributes: &Attributes, key: &str, scope: &str| -> Vec<bool> {
            let operators = ["In", "NotIn", "Exists", "DoesNotExist"].into_iter();
            let holds = operators.map(|operator| {
                let mut expression = json!({"key": key, "operator": operator, "scope": scope});
                if operator.ends_with("In") {
                    expression["values"] = json!(["linux"]);
                }
                let expression: AttributeExpression = serde_json::from_value(expression).unwrap();
                expression.holds(attributes)
            });
            holds.collect()
        };
        let unread = [false, false, true, false];
        assert_eq!(judged(&attributes, "env", "Any"), unread);
        assert_eq!(judged(&attributes, "env", "Identifying"), unread);
        let nothing = [false, true, false, true];
        assert_eq!(judged(&attributes, "env", "NonIdentifying"), nothing);
        // It hides one of the same key.
        attributes.unread_identifying.keys.insert("os.type".into());
        assert_eq!(judged(&attributes, "os.type", "Any"), unread);
        let wanted: AgentSelector =
            serde_json::from_value(json!({"matchAttributes": {"os.type": "linux"}})).unwrap();
        assert!(!wanted.matches(UID, None, &attributes));
        let told = wanted.mismatch(UID, None, &attributes).unwrap().to_string();
        assert!(told.contains("longer than 1024 bytes"), "{told}");
        // Of more than are looked at anything may be among them.
        attributes.unread_non_identifying.more = true;
        assert_eq!(judged(&attributes, "absent", "Any"), [false; 4]);
        assert_eq!(judged(&attributes, "absent", "Identifying"), nothing);
        // Whoever knows says what it is.
        attributes.vouch("os.type", "linux");
        assert!(wanted.matches(UID, None, &attributes));
    }

    #[test]
    fn scope_chooses_where_to_look() {
        let exists = |key: &str, scope: &str| {
            expression(&json!({"key": key, "operator": "Exists", "scope": scope}))
        };
        assert!(exists("service.name", "Identifying"));
        assert!(!exists("service.name", "NonIdentifying"));
        assert!(exists("os.type", "NonIdentifying"));
        assert!(!exists("os.type", "Identifying"));
        assert!(exists("os.type", "Any"));
        assert!(expression(
            &json!({"key": "zone", "operator": "In", "values": ["other"], "scope": "NonIdentifying"})
        ));
    }
}
