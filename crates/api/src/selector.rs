//! Whether a selector means an agent.

use crate::{
    v1alpha1::profile::{AgentSelector, AttributeExpression, AttributeOperator, AttributeScope},
    values::Attributes,
};

impl AgentSelector {
    /// Whether all parts of the selector agree with the agent. An empty
    /// selector means every agent.
    #[must_use]
    pub fn matches(&self, uid: &str, attributes: &Attributes) -> bool {
        let named = self.instance_uids.is_empty() || self.instance_uids.iter().any(|u| u == uid);
        let equal = |(key, value): (&String, &String)| {
            attributes.get(key, AttributeScope::Any) == Some(value)
        };
        named
            && self.match_attributes.iter().all(equal)
            && self
                .match_expressions
                .iter()
                .all(|expression| expression.holds(attributes))
    }

    /// Whether the selector looks at what an agent says about itself, so that
    /// it cannot be judged before the agent's description is known.
    #[must_use]
    pub fn reads_attributes(&self) -> bool {
        !self.match_attributes.is_empty() || !self.match_expressions.is_empty()
    }
}

impl AttributeExpression {
    fn holds(&self, attributes: &Attributes) -> bool {
        let found = attributes.get(&self.key, self.scope);
        let listed = found.is_some_and(|found| self.values.iter().any(|value| value == found));
        match self.operator {
            AttributeOperator::In => listed,
            AttributeOperator::NotIn => !listed,
            AttributeOperator::Exists => found.is_some(),
            AttributeOperator::DoesNotExist => found.is_none(),
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
        selector.matches(UID, &collector())
    }

    fn expression(expression: &Value) -> bool {
        matches(json!({"matchExpressions": [expression]}))
    }

    #[test]
    fn empty_means_all_and_reads_nothing() {
        assert!(matches(json!({})));
        assert!(!AgentSelector::default().reads_attributes());
        assert!(AgentSelector::default().matches(UID, &Attributes::default()));
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
