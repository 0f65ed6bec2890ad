//! What an agent must say of itself for a selector to mean it.

use opamp_operator_api::v1alpha1::profile::{AgentSelector, AttributeOperator, AttributeScope};
use serde_json::{Map, Value};

use super::escaped;

/// Attributes to configure, and what cannot be configured.
#[derive(Debug, Default)]
pub(super) struct Description {
    /// `identifying_attributes` and `non_identifying_attributes`.
    pub(super) attributes: Map<String, Value>,
    /// For a person.
    pub(super) to_do: Vec<String>,
}

impl Description {
    pub(super) fn for_selector(selector: &AgentSelector) -> Self {
        let mut description = Self::default();
        for (key, value) in &selector.match_attributes {
            description.set(key, value, AttributeScope::Any);
        }
        for expression in &selector.match_expressions {
            let key = &expression.key;
            match (expression.operator, expression.values.first()) {
                (AttributeOperator::In, Some(value)) => {
                    if !selector.match_attributes.contains_key(key) {
                        description.set(key, value, expression.scope);
                    }
                    if let [_, _, ..] = expression.values.as_slice() {
                        let values = expression.values.join(", ");
                        let one = format!("`{key}` may be any of: {values}");
                        description.to_do.push(one);
                    }
                }
                (AttributeOperator::Exists, _) if !description.has(key) => {
                    let text = format!("the profile wants an attribute `{key}`, of any value");
                    description.to_do.push(text);
                }
                (AttributeOperator::NotIn | AttributeOperator::DoesNotExist, _) => {
                    let values = expression.values.join(", ");
                    let text = match expression.operator {
                        AttributeOperator::NotIn => {
                            format!(
                                "the profile wants an attribute `{key}` that is none of: {values}; or none"
                            )
                        }
                        _ => format!("the profile wants no attribute `{key}`"),
                    };
                    description.to_do.push(text);
                }
                _ => {}
            }
        }
        if !selector.instance_uids.is_empty() {
            let text = "the profile names the instance UIDs of its agents: add this one's, which the supervisor \
                        makes up when it first starts";
            description.to_do.push(text.into());
        }
        if !selector.authenticated_as.is_empty() {
            let text = "the profile is for certain identities (`authenticatedAs`): what the agent connects with must \
                        prove one of them";
            description.to_do.push(text.into());
        }
        description
    }

    /// Names of the service are identifying by convention; everything else is
    /// not, unless the selector looks there alone.
    fn set(&mut self, key: &str, value: &str, scope: AttributeScope) {
        let identifying = match scope {
            AttributeScope::Any => key.starts_with("service."),
            AttributeScope::Identifying => true,
            AttributeScope::NonIdentifying => false,
        };
        let part = if identifying {
            "identifying_attributes"
        } else {
            "non_identifying_attributes"
        };
        let part = self
            .attributes
            .entry(part)
            .or_insert_with(|| Map::new().into());
        if let Value::Object(part) = part {
            part.insert(key.to_owned(), escaped(value));
        }
    }

    fn has(&self, key: &str) -> bool {
        self.attributes.values().any(|part| part.get(key).is_some())
    }
}
