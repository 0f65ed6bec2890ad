//! The commands that give a permission which is missing: ours under our own
//! name, or an agent's under its own.

use std::sync::Arc;

use opamp_operator_api::{ObjectKind, ObjectRef};

/// Knows who we are.
#[derive(Clone, Debug)]
pub(super) struct Remedy {
    whom: Arc<str>,
}

impl Remedy {
    /// For this user, as a SelfSubjectReview names it.
    pub(super) fn new(user: &str) -> Self {
        Self {
            whom: whom(user).into(),
        }
    }

    /// Lets us read an object, and nothing else.
    pub(super) fn object(&self, object: &ObjectRef) -> String {
        let ObjectRef {
            namespace, name, ..
        } = object;
        let resource = match object.kind {
            ObjectKind::Secret => "secrets",
            ObjectKind::ConfigMap => "configmaps",
        };
        let rights = format!("--verb=get,list,watch --resource={resource} --resource-name={name}");
        in_namespace(
            &format!("opamp-operator-{name}"),
            namespace,
            &rights,
            &self.whom,
        )
    }

    /// Lets us read all Secrets of a namespace: RBAC knows no labels.
    pub(super) fn all_secrets(&self, namespace: &str) -> String {
        let rights = "--verb=get,list,watch --resource=secrets";
        in_namespace("opamp-operator-secrets", namespace, rights, &self.whom)
    }

    /// Lets us see which ServiceAccounts and Pods of a namespace exist.
    pub(super) fn subjects(&self, namespace: &str) -> String {
        let rights = "--verb=get,list,watch --resource=serviceaccounts,pods";
        in_namespace("opamp-operator-subjects", namespace, rights, &self.whom)
    }

    /// Lets us ask whose a token is, and who may connect.
    pub(super) fn reviews(&self) -> String {
        let whom = &self.whom;
        format!(
            "`kubectl create clusterrole opamp-operator-reviews --verb=create \
             --resource=tokenreviews.authentication.k8s.io,subjectaccessreviews.authorization.k8s.io` and \
             `kubectl create clusterrolebinding opamp-operator-reviews --clusterrole=opamp-operator-reviews {whom}`"
        )
    }
}

/// Lets the agents of a ServiceAccount connect.
pub(super) fn connect(namespace: &str, account: &str) -> String {
    let rights = "--verb=connect --resource=opampagents.opamp-operator.dev";
    let whom = format!("--serviceaccount={namespace}:{account}");
    let role = format!("opamp-agent-{account}");
    let commands = in_namespace(&role, namespace, rights, &whom);
    // Nobody may make a Role with a verb that they do not have.
    format!(
        "{commands}, by a cluster administrator; an administrator of the namespace binds the chart's ClusterRole whose \
         name ends in `-connect`: `kubectl create rolebinding {role} -n {namespace} --clusterrole=NAME {whom}`"
    )
}

fn in_namespace(role: &str, namespace: &str, rights: &str, whom: &str) -> String {
    format!(
        "`kubectl create role {role} -n {namespace} {rights}` and `kubectl create rolebinding {role} -n {namespace} \
         --role={role} {whom}`"
    )
}

fn whom(user: &str) -> String {
    user.strip_prefix("system:serviceaccount:").map_or_else(
        || format!("--user={user}"),
        |account| format!("--serviceaccount={account}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_one_object_and_our_own_account() {
        let remedy = Remedy::new("system:serviceaccount:ops:operator");
        let text = remedy.object(&ObjectRef::secret("a", "tls"));
        for part in [
            "-n a",
            "--resource=secrets",
            "--resource-name=tls",
            "--serviceaccount=ops:operator",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = Remedy::new("ann").object(&ObjectRef::config_map("a", "ca"));
        assert!(
            text.contains("--resource=configmaps") && text.ends_with("--user=ann`"),
            "{text}"
        );
    }
}
