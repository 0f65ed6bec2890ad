//! The API server's own answers, as plain JSON: what tests look at and write.

use std::path::Path;

use anyhow::{Context, Result, bail};
use http::{Method, Request};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use serde_json::{Value, json};

/// The manager of fields that tests write.
pub const MANAGER: &str = "e2e";

/// A client of one user that looks at one namespace.
#[derive(Clone)]
pub struct Api {
    client: Client,
    namespace: String,
}

impl Api {
    /// A client of the user of a kubeconfig, in its namespace.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub async fn of(kubeconfig: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(file, &options).await?;
        Ok(Self {
            namespace: config.default_namespace.clone(),
            client: Client::try_from(config)?,
        })
    }

    /// The same client in another namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
        }
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether the API server says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let Ok(request) = Request::get("/readyz").body(Vec::new()) else {
            return false;
        };
        self.client.request_text(request).await.is_ok()
    }

    /// An object, or none.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let path = self.path(kind, name)?;
        match self.ask(Method::GET, &path, None).await? {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.code == 404 => Ok(None),
            Err(status) => bail!("GET {path}: {}", status.message),
        }
    }

    /// All objects of a kind.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn list(&self, kind: &str) -> Result<Value> {
        let path = self.path(kind, "")?;
        good(&path, self.ask(Method::GET, &path, None).await?)
    }

    /// Makes an object; a refusal is an answer too.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn create(&self, object: &Value) -> Result<Result<Value, Box<Status>>> {
        let kind = object["kind"].as_str().context("an object without kind")?;
        let path = self.path(kind, "")?;
        self.ask(Method::POST, &path, Some(("application/json", object)))
            .await
    }

    /// Whether a text in YAML would be taken as a new object: nothing is stored,
    /// and unknown fields are refused, as `kubectl apply` has it.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn judge(&self, kind: &str, text: &str) -> Result<Result<Value, Box<Status>>> {
        let query = "dryRun=All&fieldValidation=Strict";
        let path = format!("{}?{query}", self.path(kind, "")?);
        let request = Request::post(path).header("Content-Type", "application/yaml");
        answer(self.client.request(request.body(text.into())?).await)
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn make_namespace(&self, name: &str) -> Result<()> {
        let metadata = json!({"name": name});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        self.apply(&object).await.map(drop)
    }

    /// Writes an object as server-side apply does: what an earlier write of the
    /// same manager had and this one has not goes away.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn apply(&self, object: &Value) -> Result<Value> {
        self.apply_as(MANAGER, object).await
    }

    /// As [`Api::apply`], as another manager of fields.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn apply_as(&self, manager: &str, object: &Value) -> Result<Value> {
        let kind = object["kind"].as_str().context("an object without kind")?;
        let name = &object["metadata"]["name"];
        let name = name.as_str().context("an object without name")?;
        let path = self.path(kind, name)?;
        let path = format!("{path}?fieldManager={manager}&force=true");
        let body = Some(("application/apply-patch+yaml", object));
        good(&path, self.ask(Method::PATCH, &path, body).await?)
    }

    /// Merges into an object (`name`) or its status (`name/status`).
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn merge(&self, kind: &str, name: &str, change: &Value) -> Result<Value> {
        let path = self.path(kind, name)?;
        let body = Some(("application/merge-patch+json", change));
        good(&path, self.ask(Method::PATCH, &path, body).await?)
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let path = self.path(kind, name)?;
        good(&path, self.ask(Method::DELETE, &path, None).await?).map(drop)
    }

    /// Deletes a Pod at once: no kubelet would end it.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn delete_pod(&self, name: &str) -> Result<()> {
        let path = self.path("Pod", name)?;
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        let body = Some(("application/json", &options));
        good(&path, self.ask(Method::DELETE, &path, body).await?).map(drop)
    }

    /// A bearer token of a ServiceAccount for the API server itself.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn token(&self, service_account: &str) -> Result<String> {
        let spec = json!({"expirationSeconds": 3600});
        self.token_with(service_account, &spec).await
    }

    /// A bearer token of a ServiceAccount, by a TokenRequest.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub async fn token_with(&self, service_account: &str, spec: &Value) -> Result<String> {
        let path = self.path("ServiceAccount", &format!("{service_account}/token"))?;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": spec,
        });
        let body = Some(("application/json", &request));
        let answer = good(&path, self.ask(Method::POST, &path, body).await?)?;
        let token = answer["status"]["token"].as_str();
        token.map(str::to_owned).context("an answer without token")
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Result<Value, Box<Status>>> {
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((form, value)) = body {
            request = request.header("Content-Type", form);
            bytes = serde_json::to_vec(value)?;
        }
        let asked = self.client.request(request.body(bytes)?).await;
        answer(asked).with_context(|| path.to_owned())
    }

    fn path(&self, kind: &str, name: &str) -> Result<String> {
        let (group, plural) = match kind {
            "Namespace" => return Ok(format!("/api/v1/namespaces/{name}")),
            "SelfSubjectRulesReview" => {
                return Ok("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews".to_owned());
            }
            "SelfSubjectAccessReview" => {
                return Ok("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned());
            }
            "CustomResourceDefinition" => {
                let all = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
                return Ok(format!("{all}/{name}"));
            }
            "Node" => return Ok(format!("/api/v1/nodes/{name}")),
            "ValidatingAdmissionPolicy" => {
                let all = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
                return Ok(format!("{all}/{name}"));
            }
            "ClusterRoleBinding" => {
                let all = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
                return Ok(format!("{all}/{name}"));
            }
            "ConfigMap" => ("api/v1", "configmaps"),
            "Pod" => ("api/v1", "pods"),
            "Secret" => ("api/v1", "secrets"),
            "Service" => ("api/v1", "services"),
            "ServiceAccount" => ("api/v1", "serviceaccounts"),
            "Deployment" => ("apis/apps/v1", "deployments"),
            "ControllerRevision" => ("apis/apps/v1", "controllerrevisions"),
            "EndpointSlice" => ("apis/discovery.k8s.io/v1", "endpointslices"),
            "Lease" => ("apis/coordination.k8s.io/v1", "leases"),
            "Event" => ("apis/events.k8s.io/v1", "events"),
            "Role" => ("apis/rbac.authorization.k8s.io/v1", "roles"),
            "RoleBinding" => ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
            "Certificate" => ("apis/cert-manager.io/v1", "certificates"),
            "Issuer" => ("apis/cert-manager.io/v1", "issuers"),
            "OpAMPAgent" => ("apis/opamp-operator.dev/v1alpha1", "opampagents"),
            "OpAMPConnectionProfile" => (
                "apis/opamp-operator.dev/v1alpha1",
                "opampconnectionprofiles",
            ),
            _ => bail!("no test has asked for a {kind} before: add where it is"),
        };
        let slash = if name.is_empty() { "" } else { "/" };
        let namespace = &self.namespace;
        Ok(format!(
            "/{group}/namespaces/{namespace}/{plural}{slash}{name}"
        ))
    }
}

/// A refusal by the API server is an answer; anything else is a failure.
fn answer(asked: kube::Result<Value>) -> Result<Result<Value, Box<Status>>> {
    match asked {
        Ok(value) => Ok(Ok(value)),
        Err(kube::Error::Api(status)) => Ok(Err(status)),
        Err(error) => Err(error.into()),
    }
}

fn good(path: &str, answer: Result<Value, Box<Status>>) -> Result<Value> {
    answer.map_err(|status| anyhow::anyhow!("{path}: {} ({})", status.message, status.code))
}
