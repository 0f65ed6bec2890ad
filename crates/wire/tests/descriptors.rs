//! Our `.proto` files against the descriptors inside the opamp-go module: what
//! it defines, we define in the same way. What we have beyond it is listed.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test end it by panicking"
)]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use opamp_wire::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions,
};

/// Prints the descriptors of opamp-go.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../e2e/parts/opamp-go-descriptors"
);

/// Enough to download and compile two modules on a slow machine.
const DEADLINE: Duration = Duration::from_mins(5);

/// What the specification has and opamp-go does not have yet: the line as
/// [`Account`] writes it, and the section of the specification.
const EXTRAS: [(&str, &str); 0] = [];

/// Every definition by its full name, with all that matters on the wire.
type Account = BTreeMap<String, String>;

fn account(set: &FileDescriptorSet) -> Account {
    let mut out = Account::new();
    for file in &set.file {
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
        let scope = format!(".{}", file.package());
        for message in &file.message_type {
            add_message(&mut out, &scope, message);
        }
        for choice in &file.enum_type {
            add_enum(&mut out, &scope, choice);
        }
    }
    out
}

fn add_message(out: &mut Account, scope: &str, message: &DescriptorProto) {
    let path = format!("{scope}.{}", message.name());
    let options = message.options.as_ref();
    let is_map = options.is_some_and(MessageOptions::map_entry);
    out.insert(format!("message {path}"), format!("map entry: {is_map}"));
    for field in &message.field {
        let line = describe(message, field);
        out.insert(format!("field {path}.{}", field.name()), line);
    }
    for nested in &message.nested_type {
        add_message(out, &path, nested);
    }
    for choice in &message.enum_type {
        add_enum(out, &path, choice);
    }
}

fn describe(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let oneof = field
        .oneof_index
        .map(|at| message.oneof_decl[usize::try_from(at).unwrap()].name());
    format!(
        "number {}, {:?}, {:?}, type {:?}, oneof {oneof:?}, presence {}, packed {:?}",
        field.number(),
        field.label(),
        field.r#type(),
        field.type_name(),
        field.proto3_optional(),
        field.options.as_ref().and_then(|options| options.packed),
    )
}

fn add_enum(out: &mut Account, scope: &str, choice: &EnumDescriptorProto) {
    let path = format!("{scope}.{}", choice.name());
    out.insert(format!("enum {path}"), String::new());
    for value in &choice.value {
        let line = format!("number {}", value.number());
        out.insert(format!("value {path}.{}", value.name()), line);
    }
}

/// What is wrong with `ours`, one line each.
fn differences(ours: &Account, theirs: &Account, extras: &[(&str, &str)]) -> Vec<String> {
    let mut out = Vec::new();
    for (name, wanted) in theirs {
        match ours.get(name) {
            Some(line) if line == wanted => {}
            Some(line) => out.push(format!("{name}: ours {line}; theirs {wanted}")),
            None => out.push(format!("{name}: missing")),
        }
    }
    let listed = |name: &str| extras.iter().any(|(extra, _)| *extra == name);
    for name in ours.keys() {
        if theirs.contains_key(name) == listed(name) {
            out.push(format!(
                "{name}: extra and unlisted, or listed and no extra"
            ));
        }
    }
    for (extra, section) in extras {
        if section.is_empty() || !ours.contains_key(*extra) {
            out.push(format!("{extra}: listed without section or definition"));
        }
    }
    out
}

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap()
}

fn theirs() -> FileDescriptorSet {
    let started = Command::new("go")
        .args(["run", "."])
        .current_dir(PROGRAM)
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match started {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("this test needs Go: install it (1.24 or newer) and put `go` on the PATH")
        }
        started => started.unwrap(),
    };
    let mut stdout = child.stdout.take().unwrap();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut data = Vec::new();
        let result = stdout.read_to_end(&mut data).map(|_| data);
        // Nobody listens after the deadline.
        let _ = send.send(result);
    });
    let Ok(data) = receive.recv_timeout(DEADLINE) else {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("`go run .` in {PROGRAM} took more than {DEADLINE:?}");
    };
    let status = child.wait().unwrap();
    assert!(status.success(), "`go run .` in {PROGRAM}: {status}");
    FileDescriptorSet::decode(&data.unwrap()[..]).unwrap()
}

#[test]
fn our_messages_are_those_of_opamp_go() {
    let theirs = account(&theirs());
    assert!(theirs.contains_key("field .opamp.proto.ServerToAgent.connection_settings"));
    let wrong = differences(&account(&ours()), &theirs, &EXTRAS);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The comparison itself: each kind of drift is seen.
#[test]
fn drift_is_noticed() {
    let before = account(&ours());
    assert!(differences(&before, &before, &[]).is_empty());
    let changes: [fn(&mut DescriptorProto); 6] = [
        |message| message.field[0].number = Some(99),
        |message| message.field[0].name = Some("other".into()),
        |message| message.field[0].r#type = Some(8),
        |message| message.field[0].label = Some(3),
        |message| message.field[2].type_name = Some(".opamp.proto.Header".into()),
        |message| drop(message.field.pop()),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut set = ours();
        let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
        let mut reply = messages.filter(|message| message.name() == "ServerToAgent");
        change(reply.next().unwrap());
        drop(reply);
        let after = account(&set);
        assert!(!differences(&after, &before, &[]).is_empty(), "change {at}");
        assert!(!differences(&before, &after, &[]).is_empty(), "change {at}");
    }
}

#[test]
fn extras_need_a_line_and_a_section() {
    let all = account(&ours());
    let mut fewer = all.clone();
    let name = "field .opamp.proto.ServerToAgent.flags";
    fewer.remove(name).unwrap();
    assert!(differences(&all, &fewer, &[(name, "ServerToAgent.flags")]).is_empty());
    assert!(!differences(&all, &fewer, &[]).is_empty());
    assert!(!differences(&all, &fewer, &[(name, "")]).is_empty());
    assert!(!differences(&all, &all, &[(name, "ServerToAgent.flags")]).is_empty());
}
