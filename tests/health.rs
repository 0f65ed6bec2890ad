//! What docs/operate.md gives to Argo CD and Flux, run over profiles as the API
//! server shows them: both say of each what `Ready` says.

#![expect(clippy::unwrap_used, reason = "helpers of a test end it by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

use mlua::LuaSerdeExt as _;
use serde_json::{Value, json};

/// The block of YAML on the page that has this line.
fn yaml_with(line: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate.md");
    let page = fs::read_to_string(path).unwrap();
    // After the language stands what tests do with a block.
    let mut blocks = page
        .split("```")
        .filter_map(|text| Some(text.strip_prefix("yaml")?.split_once('\n')?.1));
    serde_saphyr::from_str(blocks.find(|text| text.contains(line)).unwrap()).unwrap()
}

/// The verdict of Argo CD, and what it shows beside it.
fn argo(object: &Value) -> (String, String) {
    const KEY: &str = "resource.customizations.health.opamp-operator.dev_OpAMPConnectionProfile";
    let page = yaml_with(KEY);
    let lua = mlua::Lua::new();
    let object = lua.to_value(object).unwrap();
    lua.globals().set("obj", object).unwrap();
    let health: BTreeMap<String, String> = lua
        .load(page["data"][KEY].as_str().unwrap())
        .eval()
        .unwrap();
    (health["status"].clone(), health["message"].clone())
}

/// What Flux makes of it: the first of its expressions that holds.
fn flux(object: &Value) -> &'static str {
    let page = yaml_with("healthCheckExprs");
    let check = &page["spec"]["healthCheckExprs"][0];
    assert_eq!(check["apiVersion"], "opamp-operator.dev/v1alpha1");
    let mut context = cel::Context::default();
    for (name, value) in object.as_object().unwrap() {
        context.add_variable(name.as_str(), value).unwrap();
    }
    let holds = |name: &str| {
        let program = cel::Program::compile(check[name].as_str().unwrap()).unwrap();
        program.execute(&context).unwrap() == cel::Value::Bool(true)
    };
    // The order in which kustomize-controller asks.
    match (holds("failed"), holds("current")) {
        (true, _) => "Failed",
        (false, true) => "Current",
        (false, false) => "InProgress",
    }
}

fn profile(observed: i64, conditions: &[(&str, &str, &str)]) -> Value {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status, reason)| {
            json!({"type": kind, "status": status, "reason": reason, "message": format!("because of {reason}")})
        })
        .collect();
    json!({
        "metadata": {"generation": 2},
        "status": {"observedGeneration": observed, "conditions": conditions},
    })
}

#[test]
fn argo_and_flux_say_what_ready_says() {
    let good = [
        ("Accepted", "True", "Accepted"),
        ("ResolvedRefs", "True", "Resolved"),
    ];
    let with = |ready: (&'static str, &'static str)| {
        profile(2, &[good[0], good[1], ("Ready", ready.0, ready.1)])
    };
    let refused = [
        ("ResolvedRefs", "False", "SecretNotFound"),
        ("Ready", "False", "SecretNotFound"),
    ];
    for (object, in_argo, in_flux) in [
        (with(("True", "Complete")), "Healthy", "Current"),
        (with(("True", "NoAgents")), "Healthy", "Current"),
        (
            with(("False", "RolloutInProgress")),
            "Progressing",
            "InProgress",
        ),
        (with(("False", "AgentsLost")), "Degraded", "InProgress"),
        (with(("False", "Paused")), "Suspended", "InProgress"),
        (with(("False", "Halted")), "Degraded", "InProgress"),
        (profile(2, &refused), "Degraded", "Failed"),
        // What was judged is not this version: whatever it said counts for nothing.
        (profile(1, &refused), "Progressing", "InProgress"),
        (
            profile(1, &[("Ready", "True", "Complete")]),
            "Progressing",
            "InProgress",
        ),
        (profile(-1, &[]), "Progressing", "InProgress"),
    ] {
        let (status, message) = argo(&object);
        assert_eq!((&*status, flux(&object)), (in_argo, in_flux), "{object}");
        assert!(!message.is_empty());
        let ready = object["status"]["conditions"].as_array().unwrap().last();
        if let Some(ready) = ready.filter(|_| object["status"]["observedGeneration"] == 2) {
            assert_eq!(ready["message"], message);
        }
    }
}

/// Argo CD asks before anybody wrote a status.
#[test]
fn a_profile_without_status_is_on_its_way() {
    let object = json!({"metadata": {"generation": 1}});
    assert_eq!(argo(&object).0, "Progressing");
}
